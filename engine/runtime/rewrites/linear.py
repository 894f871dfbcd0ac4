"""What is linear in a gradient, as convolutions: they know the blocks and take up what stands beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import NodeProto

from ...graph.graph import Tensor, op
from ...graph.nodes import attributes
from ..rewritten import Rewritten
from .spots import spread

PLAIN: dict[str, Any] = {"strides": [1, 1], "dilations": [1, 1], "pads": [0, 0, 0, 0], "group": 1}


def convolution(graph: Rewritten, node: NodeProto) -> list[Tensor] | None:
    """A transposed convolution of stride 1 as a convolution, with its kernel turned around once and for all.

        y[t] = Σ_k w[k] g[t + pad - k·d] = Σ_j w[K-1-j] g[t + j·d - ((K-1)·d - pad)]

    With strides it stays: as a convolution that makes all phases, and DepthToSpace, it took twice as long.
    """
    g, w = Tensor(graph, node.input[0]), graph.known(node.input[1])
    if w is None or w.ndim != 4 or len(node.input) > 2:
        return None
    attrs: dict[str, Any] = PLAIN | {"output_padding": [0, 0]} | attributes(node)
    g, scaled, factor = _unscaled(graph, g, w)
    key = (node.input[1], factor, str(attrs["group"]))
    reach = [(k - 1) * d for k, d in zip(w.shape[2:], attrs["dilations"], strict=True)]
    pads = [r - p for r, p in zip(reach * 2, attrs["pads"], strict=True)]
    if {*attrs["strides"]} == {1} and not any(attrs["output_padding"]) and min(pads) >= 0:
        single = w.shape[2:] == (1, 1) and attrs["group"] == 1 and not any(pads)
        if single and (product := spread(graph, g, scaled[..., 0, 0])) is not None:
            return [product]
        kernel = graph.once(("turned", *key), lambda: turned(scaled, attrs["group"]))
        return [op.Conv(g, kernel, pads=pads, dilations=attrs["dilations"], group=attrs["group"])]
    return (
        None if scaled is w else [op.ConvTranspose(g, graph.once(("scaled", *key), lambda: scaled), **attrs)]
    )


def turned(w: np.ndarray, group: int) -> np.ndarray:
    """Kernels (C, O/group, h, w) of a transposed convolution as (O, C/group, h, w) of a convolution."""
    grouped = w.reshape(group, -1, *w.shape[1:]).swapaxes(1, 2)[..., ::-1, ::-1]
    return np.ascontiguousarray(grouped).reshape(-1, w.shape[0] // group, *w.shape[2:])


def _unscaled(graph: Rewritten, g: Tensor, w: np.ndarray) -> tuple[Tensor, np.ndarray, str]:
    """A factor for each channel of g, as BatchNormalization's gradient has, moved into the kernel."""
    maker = graph.producer(g.name)
    if maker is not None and maker.op_type == "Mul":
        for x, factor in (maker.input, maker.input[::-1]):
            scale = graph.known(factor)
            if scale is not None and scale.shape == (w.shape[0], 1, 1):
                return Tensor(graph, x), w * scale[..., None], factor
    return g, w, ""


def parts(graph: Rewritten, node: NodeProto) -> list[Tensor] | None:
    """The pieces of a convolution's result, each as a convolution with its share of the kernels.

    Split does not know the blocks; behind Concat's gradient it would cost two copies of each piece. Of a
    product with what is the same for all channels, the other factor is taken to pieces.
    """
    conv = graph.producer(node.input[0])
    sizes = graph.known(node.input[1]) if len(node.input) > 1 else None
    if conv is None or sizes is None or attributes(node).get("axis") != 1:
        return None
    if conv.op_type == "Mul":
        same, each = (Tensor(graph, i) for i in conv.input)
        if (same.shape or ())[1:2] != (1,) or (each.shape or ())[1:2] != (sizes.sum(),):
            return None
        return [same * part for part in op.Split(each, sizes, axis=1, outputs=len(sizes))]
    if conv.op_type != "Conv":
        return None
    attrs, w = PLAIN | attributes(conv), graph.known(conv.input[1])
    if attrs["group"] != 1 or w is None or w.ndim != 4 or len(conv.input) > 2:
        return None
    g, cuts = Tensor(graph, conv.input[0]), np.cumsum(sizes)[:-1]
    kernels = [
        graph.once(("part", conv.input[1], str(sizes.tolist()), str(k)), lambda part=part: part)
        for k, part in enumerate(np.split(w, cuts))
    ]
    return [op.Conv(g, kernel, **attrs) for kernel in kernels]


def total(graph: Rewritten, node: NodeProto) -> list[Tensor] | None:
    """A sum with all parts in blocks where one is: it becomes a part of the convolution before it."""
    found = [i in graph.blocked for i in node.input]
    if all(found) or not any(found):
        return None
    return [op.Sum(*(graph.in_blocks(Tensor(graph, i)) for i in node.input))]
