"""An ONNX model run node by node in PyTorch, so that autograd gives its gradient: the outside witness.

Knows the operators of the classic vision networks, at the opsets these come in. Written from the
specification of ONNX, and shares nothing with the engine.

Two runtimes round differently, and of ten million ReLUs and pools a few lie so near their kink that they
fall to different sides; each such unit changes the gradient of a whole network by 1e-3 of its norm. So the
side may be told (`sides`), and then it is checked that it is PyTorch's own but for rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto, numpy_helper
from torch import Tensor
from torch.nn import functional

Attributes = dict[str, Any]


ROUNDING = 1e-4  # of the largest value of the map


def kinks(model: ModelProto) -> list[str]:
    """The values that tell on which side of its kink each unit lies: what ReLUs give and pools take."""
    relus = [n.output[0] for n in model.graph.node if n.op_type == "Relu"]
    pools = [n.input[0] for n in model.graph.node if n.op_type == "MaxPool"]
    return list(dict.fromkeys(relus + pools))


def run(
    model: ModelProto, feeds: Mapping[str, Tensor], wanted: Sequence[str], sides: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """The values named in `wanted`; feeds may be inputs and weights; `sides` values of kinks()."""
    values: dict[str, Any] = {
        t.name: torch.from_numpy(_wide(numpy_helper.to_array(t)))
        for t in model.graph.initializer
        if t.name not in feeds
    }
    values |= feeds
    last = {name: i for i, node in enumerate(model.graph.node) for name in node.input}
    for i, node in enumerate(model.graph.node):
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        inputs = [values[name] if name else None for name in node.input]
        if node.op_type == "Relu" and node.output[0] in sides:
            results = relu(inputs[0], sides[node.output[0]])
        elif node.op_type == "MaxPool" and node.input[0] in sides:
            results = max_pool(attributes, inputs[0], sides[node.input[0]])
        else:
            results = OPERATORS[node.op_type](attributes, *inputs)
        results = results if isinstance(results, tuple) else (results,)
        values.update(zip(node.output, results, strict=False))
        for name in node.input:
            if last[name] == i and name not in wanted:
                values.pop(name, None)
    return {name: values[name] for name in wanted}


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype == np.float16 else array.copy()


def _padded(x: Tensor, attributes: Attributes, fill: float = 0.0) -> Tensor:
    """ONNX gives all the beginnings and then all the ends; PyTorch pairs from the last axis on."""
    pads = attributes.get("pads", [0, 0, 0, 0])
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b""):
        raise NotImplementedError("auto_pad")
    top, left, bottom, right = pads
    return functional.pad(x, (left, right, top, bottom), value=fill)


def conv(a: Attributes, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    return functional.conv2d(
        _padded(x, a), w, b, a.get("strides", 1), 0, a.get("dilations", 1), a.get("group", 1)
    )


def relu(x: Tensor, side: Tensor) -> Tensor:
    y = x * (side > 0)
    assert_close(y, x.relu())
    return y


def max_pool(a: Attributes, x: Tensor, side: Tensor | None = None) -> Tensor:
    lowest = -float("inf")
    x = _padded(x, a, lowest)
    kernel, strides = a["kernel_shape"], a.get("strides", 1)
    own = functional.max_pool2d(x, kernel, strides)
    if side is None:
        return own
    _, where = functional.max_pool2d(_padded(side, a, lowest), kernel, strides, return_indices=True)
    y = x.flatten(2).gather(2, where.flatten(2)).reshape(own.shape)
    assert_close(y, own)
    return y


def assert_close(found: Tensor, own: Tensor) -> None:
    """A unit on the other side of its kink must lie at the kink."""
    assert (found - own).abs().max() <= ROUNDING * own.abs().max()


def average_pool(a: Attributes, x: Tensor) -> Tensor:
    kernel, strides = a["kernel_shape"], a.get("strides", 1)
    total = functional.avg_pool2d(_padded(x, a), kernel, strides)
    if a.get("count_include_pad", 0):
        return total
    return total / functional.avg_pool2d(_padded(torch.ones_like(x[:1, :1]), a), kernel, strides)


def gemm(a: Attributes, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    x = x.T if a.get("transA") else x
    w = w.T if a.get("transB") else w
    y = a.get("alpha", 1.0) * (x @ w)
    return y if b is None else y + a.get("beta", 1.0) * b


def lrn(a: Attributes, x: Tensor) -> Tensor:
    size = a["size"]
    squares = functional.pad(x * x, (0, 0, 0, 0, (size - 1) // 2, size // 2))
    window = squares.unfold(1, size, 1).sum(-1)
    return x / (a.get("bias", 1.0) + a.get("alpha", 1e-4) / size * window) ** a.get("beta", 0.75)


def batch_norm(a: Attributes, x: Tensor, scale: Tensor, b: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    return functional.batch_norm(x, mean, var, scale, b, training=False, eps=a.get("epsilon", 1e-5))


def legacy_binary(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """Before opset 7 a smaller second input is lined up at `axis`."""

    def binary(a: Attributes, x: Tensor, y: Tensor) -> Tensor:
        if a.get("broadcast") and "axis" in a:
            y = y.reshape(*y.shape, *[1] * (x.ndim - a["axis"] - y.ndim))
        return function(x, y)

    return binary


def softmax(a: Attributes, x: Tensor) -> Tensor:
    """Before opset 13: over all axes from `axis` on."""
    axis = a.get("axis", 1)
    return x.flatten(axis).softmax(-1).reshape(x.shape)


def unsqueeze(a: Attributes, x: Tensor) -> Tensor:
    for axis in sorted(a["axes"]):
        x = x.unsqueeze(axis)
    return x


def reshape(a: Attributes, x: Tensor, shape: Tensor | None = None) -> Tensor:
    wish = a["shape"] if shape is None else shape.tolist()
    return x.reshape([x.shape[i] if d == 0 else d for i, d in enumerate(wish)])


def flatten(a: Attributes, x: Tensor) -> Tensor:
    axis = a.get("axis", 1)
    return x.reshape(int(np.prod(x.shape[:axis])), -1)


OPERATORS: dict[str, Callable[..., Any]] = {
    "Add": legacy_binary(torch.add),
    "AveragePool": average_pool,
    "BatchNormalization": batch_norm,
    "Concat": lambda a, *xs: torch.cat(xs, a["axis"]),
    "Conv": conv,
    "Dropout": lambda a, x, *_: x,
    "Flatten": flatten,
    "Gemm": gemm,
    "GlobalAveragePool": lambda a, x: x.mean((2, 3), keepdim=True),
    "LRN": lrn,
    "MaxPool": max_pool,
    "Mul": legacy_binary(torch.mul),
    "Relu": lambda a, x: x.relu(),
    "Reshape": reshape,
    "Softmax": softmax,
    "Sum": lambda a, *xs: sum(xs[1:], xs[0]),
    "Transpose": lambda a, x: x.permute(a["perm"]),
    "Unsqueeze": unsqueeze,
}
