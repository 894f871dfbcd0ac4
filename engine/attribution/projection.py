"""From a unit back to the pixels, as tensor expressions: what of an image a class or a channel answers to.

One value of a layer is kept, all others of the layer are zero, and what is left runs back through the network
to the image. Methods differ in the rules of the way back, in what they start with and in what they make of
that which arrives. To add one, add a line to METHODS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from onnx import NodeProto

from ..anatomy.maps import feature_map, layer_named
from ..anatomy.readouts import readout
from ..autodiff.gradient import Placed, Rules, backpropagate, inside, zeros_like
from ..autodiff.variants import TABLES
from ..graph.graph import Graph, Tensor, op


def _ones(value: Tensor) -> Tensor:
    return op.Expand(value.graph.constant(1, value.dtype), value.dims)


def _as_it_arrives(signal: Tensor, image: Tensor) -> Tensor:
    return signal


class Method(NamedTuple):
    """A way back: its `rules`, what a unit of some value (N,) is to `start` with, and what is made in the
    `end` of the signal at the image and of the image. `gates`: whether ReLUs let through less of it.
    """

    rules: Rules | Placed
    start: Callable[[Tensor], Tensor] = _ones
    end: Callable[[Tensor, Tensor], Tensor] = _as_it_arrives
    gates: bool = False


METHODS: dict[str, Method] = {
    # Simonyan, Vedaldi & Zisserman 2014, "Deep Inside Convolutional Networks", section 3.
    "saliency": Method(TABLES["gradient"]),
    # Springenberg et al. 2015, "Striving for Simplicity: The All Convolutional Net", section 3.4.
    "guided": Method(TABLES["guided"], gates=True),
    # Zeiler & Fergus 2014, section 2.1: what is handed down is the activation itself. Theirs are never
    # negative; where a score is, its size is taken: the pattern is always one that raises the unit.
    "deconvnet": Method(TABLES["deconvnet"], start=op.Abs, gates=True),
    # Shrikumar et al. 2016, "Not Just a Black Box".
    "input-x-gradient": Method(TABLES["gradient"], end=op.Mul),
    # Bach et al. 2015; Montavon et al. 2019: the score itself is shared out.
    "lrp": Method(TABLES["lrp-composite"], start=op.Identity),
}


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


def note_on(method: Method, way: Iterable[NodeProto]) -> str:
    """What is to be said of a way back, the nodes that it appended: that it met nothing to gate; or empty.

    The gates are ReLUs of what comes back (variants/gates.py).
    """
    if not method.gates or any(node.op_type == "Relu" for node in way):
        return ""
    return "no ReLU lies on the way that could gate it: what comes back is ungated, as of saliency"


def projected(
    layer: Tensor, maps: Tensor, image: Tensor, unit: tuple[Tensor, Tensor, Tensor], method: Method
) -> Tensor:
    """What comes back to the image, in its shape, from one `unit` (channel, position, value) of a layer.

    The signal is put where the unit is, and nowhere else, however many others are as strong.
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
    (signal,) = backpropagate(maps.graph, {layer.name: seed}, [image.name], method.rules)
    return method.end(zeros_like(image) if signal is None else signal, image)
