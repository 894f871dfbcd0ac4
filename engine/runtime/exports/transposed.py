"""The gradient of max pooling by transposed convolutions, which ONNX Runtime's CPU has fast ones of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto

from ...graph.graph import Tensor, op
from ...graph.nodes import OURS, attributes, key_of
from ...operators.rules.selection import scatter
from ..rewrites.linear import PLAIN
from ..rewrites.pools import POOL, part_of
from ..rewritten import Rewritten
from .pools import Line, gradient, greatest, rectified

PRODUCTS = 100  # that are worth a pixel that need not be written


def spelled(graph: Rewritten, node: NodeProto) -> list[Tensor] | None:
    """What goes back through a max pooling, of the kernel that `closed` has put there.

    What several gradients go back through, as those of several seeds, has its indices found once for all.
    """
    if key_of(node) != POOL:
        return None
    x, g = (Tensor(graph, name) for name in node.input)
    shared = sum(
        key_of(n) == POOL and n.input[0] == x.name and n.attribute == node.attribute
        for n in graph.before.nodes
    )
    part, attrs = _part(graph, node, x, g), attributes(node)
    return [_indexed(*part, attrs) if shared > 1 else gradient(*part, attrs, _back)]


def _indexed(x: Tensor, g: Tensor, attrs: Mapping[str, Any]) -> Tensor:
    """The gradient of x, all of it or where it is above 0, scattered to the indices of the maxima."""
    words = {name: attrs[name] for name in ("kernel_shape", "strides", "dilations", "pads") if name in attrs}
    y, where = op.MaxPool(x, **words, outputs=2)
    return scatter(rectified(g, y) if attrs["rectified"] else g, where, x)


def _part(graph: Rewritten, pool: NodeProto, x: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """The channels that a kernel gives the gradient of: of what was pooled, and of the gradient."""
    start, end = attributes(pool)["channels"]
    if (x.shape or ())[1:2] == (end - start,):
        return x, g
    name = part_of(graph, pool)
    cut = op.Slice(x, [start], [end], [1]) if name is None else Tensor(graph, name)
    return cut, op.Slice(g, [start], [end], [1])


def _back(x: Tensor, y: Tensor, g: Tensor, line: Line) -> Tensor:
    """The gradient of the pixels, padded before, by that of the greatest y of each window.

    As soon as the greatest of its first n pixels is y, one of them has taken the gradient of a window:
    t_n = [max(x_1, ..., x_n) = y] g, and the n-th pixel has t_n - t_(n-1). All that is laid down and added up
    where windows overlap by a transposed convolution of each channel by itself.
    """
    channels, (height, width) = int((g.shape or (0, 0))[1] or 0), g.spatial or (0, 0)
    first = [op.Equal(greatest(x, line, n), y) for n in range(1, line.kernel)]
    taken = [g * op.Cast(test, to=TensorProto.FLOAT) for test in first]  # Where takes longer
    stacked = op.Concat(*(op.Reshape(t, [0, channels, 1, -1]) for t in (*taken, g)), axis=2)
    differences = np.eye(line.kernel, dtype=np.float32) - np.eye(line.kernel, k=1, dtype=np.float32)
    kernel = np.tile(differences, (channels, 1))[:, None]
    return _laid(op.Reshape(stacked, [0, channels * line.kernel, height, width]), kernel, line)


def _laid(parts: Tensor, kernel: np.ndarray, line: Line) -> Tensor:
    """Windows of parts (N, C·k, h, w) as a picture (N, C, ...), by a kernel (C·k, 1, k) along the line."""
    after = (line.windows - 1) * line.step + line.offsets[-1] + 1 - line.before - line.size
    down = line.axis == 2
    along: dict[str, list[int]] = {
        name: [value, other] if down else [other, value]
        for name, value, other in (
            ("strides", line.step, 1),
            ("dilations", line.apart, 1),
            ("pads", line.before, 0),
            ("output_padding", max(-after, 0), 0),
        )
    }
    along["pads"] += [max(after, 0), 0] if down else [0, max(after, 0)]
    weights = parts.graph.constant(kernel[..., None] if down else kernel[:, :, None])
    return op.ConvTranspose(parts, weights, group=kernel.shape[0] // line.kernel, **along)


def composed(graph: Rewritten, node: NodeProto) -> list[Tensor] | None:
    """A transposed convolution of windows that were just laid down, as one with their places in its kernel.

    Windows of parts i lie at p of them, and the kernels v on the pixels:

        w[i, o, p·s + r] += u[i, p] v[c(i), o, r]       s: the stride of v

    Only where nothing is cropped in between, and for few results: a pixel that need not be written is worth
    PRODUCTS of them.
    """
    first = graph.producer(node.input[0])
    if node.op_type != "ConvTranspose" or first is None or first.op_type != "ConvTranspose":
        return None
    if not first.output[0].startswith(OURS):  # the model's own stay as they are
        return None
    u, v = graph.known(first.input[1]), graph.known(node.input[1])
    laid, last = ({**PLAIN, "output_padding": [0, 0], **attributes(n)} for n in (first, node))
    parts, pixels = Tensor(graph, first.input[0]), Tensor(graph, first.output[0])
    if u is None or v is None or any(laid["pads"]) or (laid["group"], last["group"]) != (len(v), 1):
        return None
    if parts.spatial is None or pixels.spatial is None:
        return None
    kernel = _product(u, v, laid["dilations"], last)
    more = kernel.size * np.prod(parts.spatial) - v.size * np.prod(pixels.spatial)
    if more > PRODUCTS * len(v) * np.prod(pixels.spatial):
        return None
    steps = last["strides"]
    ends = zip(laid["output_padding"], steps, last["output_padding"], strict=True)
    last["output_padding"] = [a * s + b for a, s, b in ends]
    last["strides"] = [a * s for a, s in zip(laid["strides"], steps, strict=True)]
    return [op.ConvTranspose(parts, kernel, **last | {"dilations": [1, 1]})]


def _product(u: np.ndarray, v: np.ndarray, apart: Sequence[int], last: Mapping[str, Any]) -> np.ndarray:
    """The kernels w of `composed`, (parts, results, h, w)."""
    steps = [d * s for d, s in zip(apart, last["strides"], strict=True)]
    grown = [(p - 1) * s for p, s in zip(u.shape[2:], steps, strict=True)]
    reach = [(r - 1) * d + 1 for r, d in zip(v.shape[2:], last["dilations"], strict=True)]
    w = np.zeros((len(u), v.shape[1], *(a + b for a, b in zip(grown, reach, strict=True))), u.dtype)
    each = np.repeat(v, len(u) // len(v), 0)
    for y, x in np.ndindex(*u.shape[2:]):
        rows, columns = (
            slice(p * s, p * s + r, d)
            for p, s, r, d in zip((y, x), steps, reach, last["dilations"], strict=True)
        )
        w[:, :, rows, columns] += u[:, :, y, x][..., None, None] * each
    return w
