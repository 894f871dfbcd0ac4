"""The input pattern that each output of a layer answers to, if the network were linear up to there.

    pattern(k) = d y_k / d x        of the network with every activation replaced by the identity
                                    and every max-pooling by an average

For a first convolution this is the kernel itself. For a second one it is the sum of the first kernels,
weighted and shifted by the second - how Lee, Ekanadham & Ng 2008, "Sparse deep belief net model for visual
area V2", and Erhan et al. 2009, "Visualizing Higher-Layer Features of a Deep Network", show the units
behind the first layer. What the nonlinearities choose between is not in it, so it says less the deeper
the layer lies.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from ..errors import BadRequest
from ..gradient import backpropagate, inside
from ..graph import Tensor, op
from ..maps import View, views
from ..network import Network
from ..rules import VJP
from ..rules.pooling import average_pool

AT_ONCE = 32  # patterns of one run, for models that leave their batch open
ACTIVATIONS = (
    "Relu", "LeakyRelu", "PRelu", "ThresholdedRelu", "Clip", "Elu", "Selu", "Celu", "Gelu", "Softplus",
    "Softsign", "Sigmoid", "HardSigmoid", "HardSwish", "Swish", "Mish", "Tanh",
)  # fmt: skip


def _identity(g: Tensor, *_: Tensor | None) -> Tensor:
    return g


def _mean(
    g: Tensor,
    y: Tensor,
    x: Tensor,
    kernel_shape: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
) -> Tensor:
    return average_pool(g, y, x, kernel_shape, strides, pads, dilations)


LINEAR = VJP | dict.fromkeys(ACTIVATIONS, _identity) | {"MaxPool": _mean}


def patterns(network: Network, layer: str, outputs: Sequence[int]) -> np.ndarray:
    """The patterns of some outputs of a layer, (n, C, h, w) float32, in the values that the model takes.

    `layer` is a feature map, of which the position in the middle is taken, or a vector (N, K). They are cut
    to what any of them sees of the input. The gradient is taken at an input of zeros, where it depends
    on the input at all (a normalisation over the features). Raises BadRequest where the model takes no
    image, the layer is neither (the windows of a Swin transformer are not) or a size is not known, and
    NoRule for an operator without a gradient.
    """
    graph = network.graph.copy()
    seen = views(graph)
    image = graph[graph.inputs[0]] if graph.inputs else None
    batch, *sizes = (image.shape if image is not None else None) or (None,)
    if image is None or image.name not in seen or sizes[seen[image.name].channels - 1] not in (1, 3):
        raise BadRequest("the model takes no image that a pattern could be shown in")
    batch = batch if isinstance(batch, int) else AT_ONCE
    middle = _middle(inside(graph, layer), seen.get(graph.twins.get(layer, layer)))
    count = (middle.shape or (None, None))[-1]
    if not isinstance(count, int) or not all(isinstance(d, int) for d in sizes):
        raise BadRequest(f"a size of the input or of layer {layer!r} is not known; say --size HEIGHTxWIDTH")
    which = graph.input(graph.unused("which"), np.int64, [batch])
    seed = op.Cast(op.OneHot(which, np.int64(count), np.array([0, 1], np.float32)), to=TensorProto.FLOAT)
    (grad,) = backpropagate(graph, {middle.name: seed}, [inside(graph, image.name).name], LINEAR)
    if grad is None:
        return np.zeros((len(outputs), 1, 1, 1), np.float32)
    grad = seen[image.name](grad)
    run = network.compile(graph, [grad.name])
    zeros = np.zeros((batch, *sizes), np.float32)  # pyright: ignore[reportArgumentType, reportCallIssue]
    found = []
    for start in range(0, len(outputs), batch):
        some = list(outputs[start : start + batch])
        found.append(run({image.name: zeros, which.name: np.resize(some, batch)})[grad.name][: len(some)])
    return _cut(np.concatenate(found).astype(np.float32))


def _middle(value: Tensor, view: View | None) -> Tensor:
    """The outputs in the middle of a feature map, or a vector as it is: (N, K)."""
    if view is None:
        if len(value.shape or ()) < 2 or any(d != 1 for d in (value.shape or ())[2:]):
            raise BadRequest(
                f"layer {value.name!r} of shape {list(value.shape or ())} is no feature map and no vector"
            )
        return op.Flatten(value)
    maps = view(value)
    if maps.spatial is None:
        raise BadRequest(f"the size of layer {value.name!r} is not known; say --size HEIGHTxWIDTH")
    h, w = maps.spatial
    return op.Gather(op.Reshape(maps, [0, 0, -1]), h // 2 * w + w // 2, axis=2)


def _cut(found: np.ndarray) -> np.ndarray:
    """The smallest window that holds all that is not zero, of (n, C, h, w)."""
    for axis in (2, 3):
        felt = np.flatnonzero(np.abs(found).max(tuple(a for a in range(4) if a != axis)))
        if felt.size:
            found = found.take(range(felt[0], felt[-1] + 1), axis)
    return found
