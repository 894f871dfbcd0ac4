"""The gradient of max pooling without the indices of the maxima, out of operators that copy and compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from onnx import NodeProto

from ...graph.graph import Tensor, op
from ..optimise import fast
from ..rewrites.gates import STEEP
from ..rewrites.pools import scattered
from ..rewritten import Rewritten

LOWEST = -3.4028234663852886e38  # what stands around a picture: the lowest float


class Line(NamedTuple):
    """Windows along an axis of a picture: how many, on how many pixels, and how they lie there."""

    axis: int
    windows: int
    size: int
    kernel: int
    step: int
    apart: int
    before: int

    @property
    def whole(self) -> int:
        """The pixels with those around them that windows reach."""
        reach = (self.windows - 1) * self.step + (self.kernel - 1) * self.apart + 1
        return max(reach, self.before + self.size)

    @property
    def offsets(self) -> range:
        """Where the pixels of a window lie, from its first one."""
        return range(0, self.kernel * self.apart, self.apart)


def first_maximum(graph: Rewritten, node: NodeProto) -> list[Tensor] | None:
    """What goes back through a max pooling: the first of the greatest in each window takes all.

    Pooling goes along the rows and then down the columns, and so the gradient goes up the columns and then
    along the rows. ONNX Runtime's indices cost more, and several runtimes have none or forget the batch.
    """
    found = scattered(graph, node) if node.op_type == "Reshape" else None
    return None if found is None or is_open(*found[:2]) else [gradient(*found, _back)]


def is_open(x: Tensor, g: Tensor) -> bool:
    """Whether the sizes of what was pooled are known at run time only: then it cannot be spelled out."""
    return x.spatial is None or g.spatial is None


def closed(graph: Rewritten, node: NodeProto) -> Sequence[Tensor] | None:
    """What sessions here make of a node, but no kernel that cannot be spelled out."""
    found = scattered(graph, node) if node.op_type == "Reshape" else None
    return None if found is not None and is_open(*found[:2]) else fast(graph, node)


Back = Callable[[Tensor, Tensor, Tensor, Line], Tensor]


def gradient(x: Tensor, g: Tensor, attrs: Mapping[str, Any], back: Back) -> Tensor:
    """The gradient of x, all of it or where it is above 0 (`rectified`), by a way back along a line."""
    sizes, before = zip((2, 3), g.spatial or (), x.spatial or (), strict=True), attrs["pads"]
    windows = zip(
        *(attrs.get(name, (1, 1)) for name in ("kernel_shape", "strides", "dilations")), strict=True
    )
    lines = zip(sizes, windows, before[:2], strict=True)
    down, across = (Line(*size, kernel, step, apart, b) for size, (kernel, step, apart), b in lines)
    wide = _padded(x, across)
    rows = greatest(wide, across, across.kernel)
    high = _padded(rows, down)
    y = greatest(high, down, down.kernel)
    if attrs.get("rectified"):
        g = rectified(g, y)
    return back(wide, rows, back(high, y, g, down), across)


def rectified(g: Tensor, y: Tensor) -> Tensor:
    """A gradient where y is above 0."""
    return g * op.HardSigmoid(y, alpha=STEEP, beta=0.0)


def _padded(x: Tensor, line: Line) -> Tensor:
    """A picture with the lowest number before and after it, as far as windows reach."""
    return _around(x, line.axis, line.before, line.whole - line.before - line.size, LOWEST)


def greatest(x: Tensor, line: Line, count: int) -> Tensor:
    """The greatest of the first pixels of each window."""
    of = {"kernel_shape": count, "strides": line.step, "dilations": line.apart}
    y = op.MaxPool(x, **{k: [v, 1] if line.axis == 2 else [1, v] for k, v in of.items()})
    return _between(y, line.axis, 0, line.windows)


def _back(x: Tensor, y: Tensor, g: Tensor, line: Line) -> Tensor:
    """The gradient of the pixels, padded before, by that of the greatest y of each window.

    As soon as the greatest of its first pixels is y, one of them has taken the gradient of a window. The
    pixels of a step apart from each other are a phase: each is added up, and they are put together again.
    """
    taken = [op.Where(op.Equal(greatest(x, line, n), y), g, 0) for n in range(1, line.kernel)]
    parts = [taken[0], *(b - a for a, b in pairwise([*taken, g]))] if taken else [g]
    inner = -(-line.whole // line.step)
    phases: list[list[Tensor]] = [[] for _ in range(line.step)]
    for offset, part in zip(line.offsets, parts, strict=True):
        start, phase = divmod(offset, line.step)
        phases[phase].append(_around(part, line.axis, start, inner - start - line.windows, 0))
    sums = [sum(parts[1:], parts[0]) if parts else _nothing(phases[0][0]) for parts in phases]
    joined = _joined(sums, line.axis)
    return _between(joined, line.axis, line.before, line.before + line.size)


def _joined(phases: list[Tensor], axis: int) -> Tensor:
    """Pictures of which each has every so-manieth row or column, as one."""
    step = len(phases)
    if step == 1:
        return phases[0]
    channels, (height, width) = (phases[0].shape or (0, 0))[1], phases[0].spatial or (0, 0)
    if axis == 2:
        return op.Reshape(op.Concat(*phases, axis=3), [0, channels, height * step, width])
    apart = op.Reshape(op.Concat(*phases, axis=1), [0, step, -1])
    return op.Reshape(op.Transpose(apart, perm=[0, 2, 1]), [0, channels, height, width * step])


def _nothing(like: Tensor) -> Tensor:
    """Zeros of the shape of another: for pixels that no window holds."""
    return op.Where(like.graph.constant(False), like, 0)


def _around(x: Tensor, axis: int, before: int, after: int, value: float) -> Tensor:
    """A picture (N, C, h, w) with rows or columns of a value around it."""
    if before == after == 0:
        return x
    pads = [0] * 8
    pads[axis], pads[4 + axis] = before, after
    return op.Pad(x, pads, x.graph.constant(value, x.dtype))


def _between(x: Tensor, axis: int, start: int, end: int) -> Tensor:
    """Some of the rows or columns of a picture."""
    return x if (x.shape or ())[axis : axis + 1] == (end - start,) else op.Slice(x, [start], [end], [axis])
