"""Means and weighed sums of feature maps, such as Grad-CAM's."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from ...graph.graph import Tensor, op
from ...graph.nodes import OURS, attributes, key_of
from ...operators.traits import traits_of
from ..rewritten import Rewritten
from .linear import PLAIN
from .pools import POOL


def mean(graph: Rewritten, node: NodeProto) -> list[Tensor] | None:
    """A mean over all pixels, taken before what treats all pixels alike instead of behind it.

    Behind a layer with a linear head, Grad-CAM's weights are then found without a map of gradients:

        mean(Expand(a)) = a        mean(Expand(a) · m) = a · mean(m)        mean(w ∗ g) = w ∗ mean(g)
        mean(a · m) = a · mean(m)  for numbers a (N, K, 1, 1)

    A max pooling's gradient sums to that of its result, as each window gives its own to one pixel; and of a
    dense layer's gradient (N, K·h·w) the means are those of its weights, of which there are h·w times fewer.
    """
    if not _is_over(graph, node, [2, 3]) or not attributes(node).get("keepdims", 1):
        return None
    found = _mean(graph, node.input[0])
    return None if found is None else [found]


def _mean(graph: Rewritten, name: str) -> Tensor | None:
    """The mean (N, C, 1, 1) of a value that onnxlens made, where it can be had without the value."""
    node = graph.unblocked(name)
    if node is None or not node.output[0].startswith(OURS):
        return None
    if node.op_type == "Expand":
        return _spread(graph, name)
    if key_of(node) == POOL:
        return _of_pool(graph, node)
    if node.op_type == "Reshape":
        return _of_dense(graph, node)
    if node.op_type == "Mul":
        for x, other in (node.input, node.input[::-1]):
            factor = _spread(graph, x)
            if factor is not None and Tensor(graph, other).shape == Tensor(graph, x).shape:
                return factor * op.GlobalAveragePool(Tensor(graph, other))
            numbers, maps = Tensor(graph, x), Tensor(graph, other)
            if (numbers.shape or ())[2:] == (1, 1) and len(maps.shape or ()) == 4:
                return numbers * op.GlobalAveragePool(maps)
    if node.op_type == "Conv" and len(node.input) == 2:
        w, attrs = Tensor(graph, node.input[1]), PLAIN | attributes(node)
        if w.spatial == [1, 1] and attrs == PLAIN | {"group": attrs["group"]}:
            inner = _mean(graph, node.input[0])
            x = op.GlobalAveragePool(Tensor(graph, node.input[0])) if inner is None else inner
            return op.Conv(x, w, **attrs)
    return None


def _of_pool(graph: Rewritten, node: NodeProto) -> Tensor | None:
    """The mean of a max pooling's gradient, where each window holds a pixel that may take it."""
    x, g, attrs = *(Tensor(graph, i) for i in node.input), attributes(node)
    if attrs["rectified"] or attrs["channels"] != [0, (x.shape or (0, None))[1]]:
        return None
    if x.spatial is None or g.spatial is None or {*attrs.get("dilations", [1])} != {1}:
        return None
    windows = zip(x.spatial, g.spatial, attrs["strides"], attrs["pads"], attrs["kernel_shape"], strict=False)
    if any(pad >= kernel or (count - 1) * step - pad >= size for size, count, step, pad, kernel in windows):
        return None
    inner = _mean(graph, g.name)
    inner = op.GlobalAveragePool(g) if inner is None else inner
    return inner * float(np.prod(g.spatial) / np.prod(x.spatial))


def _of_dense(graph: Rewritten, node: NodeProto) -> Tensor | None:
    """The mean of a dense layer's gradient that was laid out as maps."""
    product, maps = graph.producer(node.input[0]), Tensor(graph, node.output[0])
    channels = (maps.shape or (0, None))[1]
    if product is None or traits_of(product).mixes != "last" or len(product.input) > 2:
        return None
    attrs, turned = attributes(product), graph.producer(product.input[1])
    flipped = turned is not None and turned.op_type == "Transpose"
    w = graph.known(turned.input[0] if turned is not None and flipped else product.input[1])
    if w is None or w.ndim != 2 or maps.spatial is None or not isinstance(channels, int):
        return None
    if attrs.get("transA") or attrs.get("alpha", 1) != 1 or w.dtype != np.float32:
        return None
    axis = 0 if bool(attrs.get("transB")) != flipped else 1  # of the weights, along which maps lie
    if w.shape[axis] != channels * np.prod(maps.spatial):
        return None
    pixels = (channels, -1, w.shape[1]) if axis == 0 else (w.shape[0], channels, -1)
    means = w.reshape(pixels).mean(1 + axis)
    product = Tensor(graph, product.input[0]) @ graph.constant(means.T if axis == 0 else means)
    return op.Unsqueeze(product, [2, 3])


def _spread(graph: Rewritten, name: str) -> Tensor | None:
    """The value (N, C, 1, 1) that was spread over all pixels of a map."""
    node, whole = graph.unblocked(name), Tensor(graph, name).shape or ()
    if node is None or node.op_type != "Expand":
        return None
    x = Tensor(graph, node.input[0])
    return x if (x.shape or ())[:2] == whole[:2] and (x.shape or ())[2:] == (1, 1) else None


def weighed(graph: Rewritten, node: NodeProto) -> list[Tensor] | None:
    """Σ_k a_k x_k over maps x_k and numbers a_k as a product of matrices: one pass, and no products kept."""
    product = graph.producer(node.input[0])
    if product is None or product.op_type != "Mul" or not _is_over(graph, node, [1]):
        return None
    for a, x in (product.input, product.input[::-1]):
        numbers, maps = Tensor(graph, a), Tensor(graph, x)
        if maps.spatial and (numbers.shape or ())[2:] == (1, 1) and _agree(numbers, maps):
            rows = op.Reshape(numbers, [0, 1, -1]) @ op.Reshape(maps, [0, 0, -1])
            kept = [1] if attributes(node).get("keepdims", 1) else []
            return [op.Reshape(rows, [0, *kept, *maps.spatial])]
    return None


def _agree(a: Tensor, b: Tensor) -> bool:
    return (a.shape or ())[:2] == (b.shape or ())[:2]


def _is_over(graph: Rewritten, node: NodeProto, axes: list[int]) -> bool:
    found = graph.known(node.input[1]) if len(node.input) > 1 else None
    return found is not None and found.tolist() == axes
