"""Windows by tables of places, on rows of numbers instead of pictures.

Converters that put channels last keep their hands off these, since no axis of them is one of channels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import NodeProto

from ...graph.graph import Tensor, op
from ...graph.nodes import attributes
from ..rewrites.pools import scattered
from ..rewritten import Rewritten
from .pools import LOWEST, is_open


def looked_up_maximum(graph: Rewritten, node: NodeProto) -> list[Tensor] | None:
    """What goes back through a max pooling: the first of the greatest in each window takes all.

    A table says where the numbers of each window lie, another in which windows a pixel lies.
    """
    found = scattered(graph, node) if node.op_type == "Reshape" else None
    if found is None or is_open(*found[:2]):
        return None
    x, g, attrs = found
    places = _windows(x.spatial or [], g.spatial or [], attrs)  # (k, windows)
    kernel, windows = places.shape
    pixels = int(np.prod(x.spatial or []))
    key = str((x.spatial, g.spatial, sorted(attrs.items())))  # of several seeds they are the same
    inside = graph.once(("windows", key), lambda: places)
    around = graph.once(("pixels", key), lambda: _turned(places, pixels))
    rows = op.Pad(op.Reshape(x, [-1, pixels]), [0, 0, 0, 1], graph.constant(LOWEST, x.dtype))
    first = op.ArgMax(op.Gather(rows, inside, axis=1), axis=1, keepdims=1)  # (NC, 1, windows)
    is_first = op.Equal(first, graph.constant(np.arange(kernel).reshape(1, kernel, 1)))
    taken = op.Where(is_first, op.Reshape(g, [-1, 1, windows]), graph.constant(0, g.dtype))
    flat = op.Pad(op.Reshape(taken, [-1, kernel * windows]), [0, 0, 0, 1], graph.constant(0, g.dtype))
    summed = op.Gather(flat, around, axis=1).sum([1], keepdims=False)
    return [op.Reshape(summed, [-1, *(x.shape or ())[1:]])]


def multiplied(graph: Rewritten, node: NodeProto) -> list[Tensor] | None:
    """A convolution of pictures whose weight is computed, as a product of matrices.

    The gradient by a weight is one: of what the layer was given, by what came back to it.
    """
    if node.op_type != "Conv" or graph.known(node.input[1]) is not None:
        return None
    x, weight, *bias = (Tensor(graph, name) for name in node.input)
    y, shape = Tensor(graph.before, node.output[0]), weight.shape or ()
    sizes = [d for d in shape if isinstance(d, int)]
    if x.spatial is None or y.spatial is None or not len(x.spatial) == len(sizes) - 2 == 2:
        return None
    attrs = {"pads": [0] * 4, **attributes(node), "kernel_shape": sizes[2:]}
    outputs, numbers, groups = sizes[0], int(np.prod(sizes[1:])), attrs.get("group", 1)
    places = _windows(x.spatial, y.spatial, attrs)
    rows = op.Pad(op.Reshape(x, [-1, int(np.prod(x.spatial))]), [0, 0, 0, 1], graph.constant(0, x.dtype))
    columns = op.Gather(rows, places, axis=1)  # (NC, k, windows)
    apart = [groups] if groups > 1 else []
    product = op.MatMul(
        op.Reshape(weight, [*apart, outputs // groups, numbers]),
        op.Reshape(columns, [-1, *apart, numbers, places.shape[1]]),
    )
    product = op.Reshape(product, [-1, outputs, *y.spatial])
    return [product + op.Reshape(bias[0], [outputs, 1, 1]) if bias else product]


def _windows(size: list[int], windows: list[int], attrs: dict[str, Any]) -> np.ndarray:
    """The places of the pixels of each window, int64 (k, windows); behind the last for what lies outside."""
    kernel, before = attrs["kernel_shape"], attrs["pads"][:2]
    steps, apart = (attrs.get(name, [1, 1]) for name in ("strides", "dilations"))
    down, across = (
        np.arange(kernel[a])[:, None] * apart[a] + np.arange(windows[a]) * steps[a] - before[a]
        for a in (0, 1)
    )
    places = down[:, None, :, None] * size[1] + across[None, :, None, :]
    is_in = ((down >= 0) & (down < size[0]))[:, None, :, None] & ((across >= 0) & (across < size[1]))[
        None, :, None, :
    ]
    return np.where(is_in, places, size[0] * size[1]).reshape(kernel[0] * kernel[1], -1)


def _turned(inside: np.ndarray, pixels: int) -> np.ndarray:
    """The entries of a table in which each place stands, int64 (most, places); behind the last for none."""
    entries: list[list[int]] = [[] for _ in range(pixels + 1)]
    for entry, place in enumerate(inside.ravel().tolist()):
        entries[place].append(entry)
    entries.pop()
    most = max(map(len, entries), default=0) or 1
    return np.array([e + [inside.size] * (most - len(e)) for e in entries], np.int64).T
