"""Strided networks whose last cells see known places: each convolution has only its middle weight.

`KINDS` are stages of stride 2, each with the index (row, column) of the pixel that its element 0 sees, worked
out by hand; it lies between two where a kernel has no middle and sees both. Of n equal stages element i sees

    2^n i + (2^n - 1) first

which is a pixel's index; its centre lies half a pixel further.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

# Channel 0 answers to what is more red than green, channel 1 to what is more blue: to nothing in grey.
REDDER_AND_BLUER = np.float32([[1, -1, 0], [0, -1, 1]])[..., None, None]


class Kind(NamedTuple):
    """A stage and the index (row, column) that its element 0 sees."""

    stage: Callable[[Nodes, str], str]
    first: tuple[float, float]


class Nodes:
    """Nodes and weights under construction; `add` names what it makes after its operator."""

    def __init__(self) -> None:
        self.nodes, self.weights = [], []

    def add(self, op_type: str, *inputs: str | np.ndarray, **attributes: object) -> str:
        names = [i if isinstance(i, str) else self.weight(i) for i in inputs]
        result = f"{op_type.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, names, [result], result, **attributes))
        return result

    def weight(self, values: np.ndarray) -> str:
        name = f"weight{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(values, name))
        return name


def middle(*sides: int) -> np.ndarray:
    """Kernels (2, 2, *sides) that hand on each channel's middle: one pixel, or the mean of two."""
    across = [np.array([max(0, 1 - abs(i - (k - 1) / 2)) for i in range(k)]) for k in sides]
    return (np.eye(2)[..., None, None] * np.outer(*across)).astype(np.float32)


def conv(*sides: int, **attributes: object) -> Callable[[Nodes, str], str]:
    """A convolution of stride 2 and a ReLU."""

    def stage(net: Nodes, x: str) -> str:
        return net.add("Relu", net.add("Conv", x, middle(*sides), **{"strides": [2, 2], **attributes}))

    return stage


def pool(op_type: str, side: int, **attributes: object) -> Callable[[Nodes, str], str]:
    return lambda net, x: net.add(op_type, x, kernel_shape=[side] * 2, strides=[2, 2], **attributes)


def padded(begin: int, end: int, side: int) -> Callable[[Nodes, str], str]:
    """A Pad, and a convolution without padding, as Keras exports them."""
    pads = np.array([0, 0, begin, begin, 0, 0, end, end])
    return lambda net, x: conv(side, side)(net, net.add("Pad", x, pads))


def channels_last(side: int, **attributes: object) -> Callable[[Nodes, str], str]:
    """A convolution between two transpositions, as tf2onnx leaves them: the value lies (N, H, W, C)."""

    def stage(net: Nodes, x: str) -> str:
        y = conv(side, side, **attributes)(net, net.add("Transpose", x, perm=[0, 3, 1, 2]))
        return net.add("Transpose", y, perm=[0, 2, 3, 1])

    return stage


UPPER, LOWER = {"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"}
KINDS: dict[str, Kind] = {
    "3, padding 1": Kind(conv(3, 3, pads=[1] * 4), (0, 0)),
    "3, SAME_UPPER": Kind(conv(3, 3, **UPPER), (1, 1)),
    "3, SAME_LOWER": Kind(conv(3, 3, **LOWER), (0, 0)),
    "3, VALID": Kind(conv(3, 3, auto_pad="VALID"), (1, 1)),
    "3, no padding": Kind(conv(3, 3), (1, 1)),
    "5, padding 2": Kind(conv(5, 5, pads=[2] * 4), (0, 0)),
    "5, SAME_UPPER": Kind(conv(5, 5, **UPPER), (1, 1)),
    "5, SAME_LOWER": Kind(conv(5, 5, **LOWER), (0, 0)),
    "5, no padding": Kind(conv(5, 5), (2, 2)),
    "7, padding 3": Kind(conv(7, 7, pads=[3] * 4), (0, 0)),
    "7, SAME_UPPER": Kind(conv(7, 7, **UPPER), (1, 1)),
    "7, SAME_LOWER": Kind(conv(7, 7, **LOWER), (0, 0)),
    "7, no padding": Kind(conv(7, 7), (3, 3)),
    "1, no padding": Kind(conv(1, 1), (0, 0)),
    "2, no padding": Kind(conv(2, 2), (0.5, 0.5)),
    "2, SAME_UPPER": Kind(conv(2, 2, **UPPER), (0.5, 0.5)),
    "4, padding 1": Kind(conv(4, 4, pads=[1] * 4), (0.5, 0.5)),
    "4, SAME_LOWER": Kind(conv(4, 4, **LOWER), (0.5, 0.5)),
    "4, no padding": Kind(conv(4, 4), (1.5, 1.5)),
    "4, padding 2": Kind(conv(4, 4, pads=[2] * 4), (-0.5, -0.5)),
    "3 apart, padding 2": Kind(conv(3, 3, pads=[2] * 4, dilations=[2, 2]), (0, 0)),
    "3 apart, SAME_UPPER": Kind(conv(3, 3, **UPPER, dilations=[2, 2]), (1, 1)),
    "3 apart, no padding": Kind(conv(3, 3, dilations=[2, 2]), (2, 2)),
    "uneven padding": Kind(conv(3, 5, pads=[0, 2, 1, 1]), (1, 0)),
    "another kernel across": Kind(conv(5, 3, pads=[2, 0, 2, 0]), (0, 1)),
    "more padding than kernel": Kind(conv(1, 1, pads=[2, 1, 0, 1]), (-2, -1)),
    "largest of 3, padding 1": Kind(pool("MaxPool", 3, pads=[1] * 4), (0, 0)),
    "largest of 3, ceil_mode": Kind(pool("MaxPool", 3, ceil_mode=1), (1, 1)),
    "largest of 3, SAME_UPPER": Kind(pool("MaxPool", 3, **UPPER), (1, 1)),
    "largest of 2": Kind(pool("MaxPool", 2), (0.5, 0.5)),
    "mean of 3, padding 1": Kind(pool("AveragePool", 3, pads=[1] * 4), (0, 0)),
    "mean of 3, ceil_mode": Kind(pool("AveragePool", 3, ceil_mode=1), (1, 1)),
    "mean of 2": Kind(pool("AveragePool", 2), (0.5, 0.5)),
    "Pad 1 before and behind, 3": Kind(padded(1, 1, 3), (0, 0)),
    "Pad 1 behind, 3": Kind(padded(0, 1, 3), (1, 1)),
    "Pad 3 before and behind, 7": Kind(padded(3, 3, 7), (0, 0)),
    "channels last, 3, padding 1": Kind(channels_last(3, pads=[1] * 4), (0, 0)),
    "channels last, 3, SAME_UPPER": Kind(channels_last(3, **UPPER), (1, 1)),
}


def network(kind: str, stages: int, side: int = 224) -> tuple[ModelProto, str]:
    """A classifier of red and blue marks with so many stages of a kind, and the name of its last map."""
    net, last = Nodes(), kind.startswith("channels last")
    x = "image"
    if last:
        x = net.add("Transpose", x, perm=[0, 3, 1, 2])
    x = net.add("Relu", net.add("Conv", x, REDDER_AND_BLUER))
    if last:
        x = net.add("Transpose", x, perm=[0, 2, 3, 1])
    for _ in range(stages):
        x = KINDS[kind].stage(net, x)
    mean = net.add("ReduceMean", x, np.array([1, 2] if last else [2, 3]), keepdims=0)
    net.nodes.append(
        helper.make_node("MatMul", [mean, net.weight(np.eye(2, dtype=np.float32) * 60)], ["scores"])
    )
    shape = [1, side, side, 3] if last else [1, 3, side, side]
    graph = helper.make_graph(
        net.nodes,
        "strided",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 2])],
        net.weights,
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)]), x


def places(kind: str, stages: int, count: int, axis: int) -> np.ndarray:
    """The centres of what the cells of the last map see along an axis (0 down, 1 across), (count,)."""
    stride = 2**stages
    return stride * np.arange(count) + (stride - 1) * KINDS[kind].first[axis] + 0.5
