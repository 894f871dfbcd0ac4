"""Units of a layer as tensor expressions: which one is meant, and what comes back from it to the pixels.

One value of a layer is kept, all others of the layer are zero, and what is left runs back through the network
to the image, as a method of backward.py has it.
"""

from __future__ import annotations

from collections.abc import Iterable

from onnx import NodeProto

from ..anatomy.maps import feature_map, layer_named
from ..anatomy.readouts.classes import readout
from ..autodiff.broadcasting import zeros_like
from ..autodiff.gradient import backpropagate, inside
from ..autodiff.variants import AGAINST, TABLES
from ..autodiff.variants.rescale import Beside
from ..graph.graph import Graph, Tensor, op
from .backward import Backward


def units(graph: Graph, layer: str | None) -> tuple[Tensor, Tensor]:
    """A layer (None: the scores of the classes, before a softmax) and how it is seen as maps (N, K, h, w).

    A value (N, K) is a map of one pixel. Raises BadRequest for what is not there or is no feature map.
    """
    if layer is None:
        scores = inside(graph, readout(graph).scores)
        return scores, op.Unsqueeze(op.Flatten(scores), [2, 3])
    layer = layer_named(graph, layer)
    if layer in graph and len((value := inside(graph, layer)).shape or ()) == 2:
        return value, op.Unsqueeze(value, [2, 3])
    maps = feature_map(graph, layer)
    return inside(graph, layer), maps


def chosen(maps: Tensor, channel: Tensor, position: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Which unit of each image is meant, and its value; where channel or position is below 0, the strongest.

    `maps` (N, K, h, w); `channel` and `position` (N,) int64, the position counted row by row. Returns the
    greatest value of each channel (N, K), and (N,) each the channel, the position and the value there.
    """
    planes = op.Reshape(maps, [0, 0, -1])
    peaks = op.ReduceMax(planes, [2], keepdims=0)
    channel = op.Where(channel < 0, op.ArgMax(peaks, axis=1, keepdims=0), channel)
    plane = op.GatherND(planes, op.Unsqueeze(channel, [1]), batch_dims=1)
    position = op.Where(position < 0, op.ArgMax(plane, axis=1, keepdims=0), position)
    value = op.GatherND(plane, op.Unsqueeze(position, [1]), batch_dims=1)
    return peaks, channel, position, value


def held(maps: Tensor, channel: Tensor, position: Tensor) -> Tensor:
    """The values (N,) of maps (N, K, h, w) at a channel and a position, counted row by row, of each image."""
    where = op.Concat(op.Unsqueeze(channel, [1]), op.Unsqueeze(position, [1]), axis=1)
    return op.GatherND(op.Reshape(maps, [0, 0, -1]), where, batch_dims=1)


def note_on(method: Backward, appended: Iterable[NodeProto]) -> str:
    """What is to be said of a backward pass by the nodes that it appended: that nothing was gated; or empty.

    The gates are ReLUs of what comes back (variants/gates.py).
    """
    if not method.gates or any(node.op_type == "Relu" for node in appended):
        return ""
    return "no ReLU lies on the way that could gate it: what comes back is ungated, as of saliency"


def projected(
    layer: Tensor,
    maps: Tensor,
    image: Tensor,
    unit: tuple[Tensor, Tensor, Tensor],
    method: Backward,
    against: tuple[Tensor, Beside] | None = None,
) -> Tensor:
    """What comes back to the image, in its shape, from one `unit` (channel, position, value) of a layer.

    The signal is put where the unit is, and nowhere else, however many others are as strong. `against` is the
    baseline of a method that has one, and what gives the values there.
    """
    channel, position, value = unit
    area = op.Mul(maps.dim(2), maps.dim(3))
    spot = op.OneHot(
        channel * area + position, op.Mul(area, maps.dim(1)), maps.graph.constant([0, 1], maps.dtype)
    )
    only = (spot * op.Unsqueeze(method.start(value), [1])).like(maps)
    # From the view to the layer as it is; from there on by the method's rules.
    (seed,) = backpropagate(maps.graph, {maps.name: only}, [layer.name])
    assert seed is not None
    if against is not None:
        rules = AGAINST[method.rules](against[1])
    else:
        rules = TABLES[method.rules] if isinstance(method.rules, str) else method.rules
    (signal,) = backpropagate(maps.graph, {layer.name: seed}, [image.name], rules)
    return method.end(zeros_like(image) if signal is None else signal, image, *(against or ())[:1])
