"""What each operator's output sees, given what its inputs see: rules for receptive.py.

A rule is called with the output's value, the inputs' values, their fields (None for what does not depend
on the image) and the attributes. It returns the output's field, or one for each output; None where the
output may see all that any input sees. A field has the shape of its value; where fields meet, the greater
of the two holds both.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..errors import BadModel
from ..graph.graph import Graph, Tensor, emit, op
from ..operators.traits import having
from ..runtime.session import Session

NOTHING = -(2.0**30)  # below every coordinate: what sees no pixel


def sizes_of_one(value: Tensor) -> list[int] | None:
    """The sizes of a value for a batch of one, where the batch is open; None where another size is."""
    sizes = [None] if value.shape is None else list(value.shape)
    sizes = [1 if i == 0 and isinstance(d, str) else d for i, d in enumerate(sizes)]
    known = [d for d in sizes if isinstance(d, int)]
    return known if len(known) == len(sizes) else None


def everything(y: Tensor, seen: Sequence[Tensor]) -> Tensor:
    """All that any element of any input sees, for each element of y. BadModel where y's size is open."""
    sizes = sizes_of_one(y)
    if sizes is None:
        raise BadModel(f"the size of value {y.name!r} is not known; run the model through onnx-simplifier")
    return op.Expand(_max([op.ReduceMax(f, keepdims=0) for f in seen]), sizes)


def alone(y: Tensor, values: Sequence[Any], seen: Sequence[Tensor | None], **_: Any) -> Tensor | None:
    """Each element sees what the same one of the first input does."""
    return None if any(f is not None for f in seen[1:]) else seen[0]


def broadcast(y: Tensor, values: Sequence[Any], seen: Sequence[Tensor | None], **_: Any) -> Tensor:
    """Each element sees what those that meet in it do."""
    field = _max([f for f in seen if f is not None])
    for value, f in zip(values, seen, strict=True):
        if f is None and value is not None and value.shape != ():
            field = op.Expand(field, value.dims)
    return field


def moved(name: str, y: Tensor, values: Sequence[Any], seen: Sequence[Tensor | None], **attrs: Any) -> Any:
    """The operator itself, on what its elements see."""
    data = len(values) if name == "Concat" else 1
    if any(f is not None for f in seen[data:]):
        return None
    empty = partial(op.Expand, y.graph.constant(NOTHING, np.float32))
    moving = [empty(v.dims) if f is None else f for v, f in zip(values[:data], seen[:data], strict=True)]
    rest = list(values[data:])
    if name == "Pad" and attrs["mode"] == "constant":
        rest[1] = NOTHING
    node = y.graph.producer(y.name)
    return emit(name, *moving, *rest, outputs=len(node.output) if node else 1, **attrs)


def scattered(
    name: str, y: Tensor, values: Sequence[Any], seen: Sequence[Tensor | None], reduction: str, **attrs: Any
) -> Tensor | None:
    """The operator itself on what its elements see; where some meet, all of them are seen."""
    data, indices, updates = values
    if seen[1] is not None:
        return None
    data, updates = (
        op.Expand(y.graph.constant(NOTHING, np.float32), v.dims) if f is None else f
        for v, f in ((data, seen[0]), (updates, seen[2]))
    )
    return emit(name, data, indices, updates, reduction="none" if reduction == "none" else "max", **attrs)


def conv(
    y: Tensor,
    values: Sequence[Any],
    seen: Sequence[Tensor | None],
    group: int,
    transposed: bool = False,
    **attrs: Any,
) -> Tensor | None:
    """What the window covers, in all channels of the group."""
    x, out, inside = seen[0], y.spatial, values[0].spatial
    if x is None or out is None or inside is None or any(f is not None for f in seen[1:]):
        return None
    channels = values[1].shape[1] * group if transposed else values[1].shape[0]
    joint = op.ReduceMax(op.Reshape(x, [0, group, -1, *inside]), [2], keepdims=0)
    covered = pool(y, values, [joint], transposed=transposed, **attrs)
    if covered is None:
        return None
    spread = op.Expand(op.Unsqueeze(covered, [2]), [1, 1, channels // group, *[1] * len(out)])
    return op.Reshape(spread, [0, channels, *out])


def pool(
    y: Tensor,
    values: Sequence[Any],
    seen: Sequence[Tensor | None],
    kernel_shape: Sequence[int] = (),
    strides: Sequence[int] = (),
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    transposed: bool = False,
    **_: Any,
) -> Tensor | None:
    """What the window covers."""
    field, size, out = seen[0], values[0].spatial, y.spatial
    if field is None or pads is None or size is None or out is None:
        return None
    for i, (n, m, k, s) in enumerate(zip(size, out, kernel_shape, strides, strict=True)):
        reach = np.arange(k) * (dilations[i] if dilations else 1) - pads[i]
        if transposed:  # output o = input * s + reach
            taps, left = np.divmod(np.arange(m)[:, None] - reach, s)
            taps = np.where(left == 0, taps, -1)
        else:
            taps = np.arange(m)[:, None] * s + reach
        field = gathered(field, 2 + i, n, taps)
    return field


def gathered(field: Tensor, axis: int, size: int, taps: np.ndarray) -> Tensor:
    """What the taps (m, k) along an axis of this size see together, for each of m; off it is nothing."""
    rank = field.rank
    ends = [int(a == axis) for a in range(rank)]
    padded = op.Pad(field, [0] * rank + ends, NOTHING)
    where = field.graph.constant(np.where((taps >= 0) & (taps < size), taps, size))
    return op.ReduceMax(op.Gather(padded, where, axis=axis), [axis + 1], keepdims=0)


def col2im(
    y: Tensor,
    values: Sequence[Any],
    seen: Sequence[Tensor | None],
    strides: Sequence[int] = (),
    pads: Sequence[int] = (),
    dilations: Sequence[int] = (),
) -> Tensor | None:
    """All the elements of the blocks that lie on each pixel."""
    image, block = (v.array for v in values[1:])
    wide = (values[0].shape or (0, None))[1]
    if seen[0] is None or image is None or block is None or not isinstance(wide, int):
        return None
    rank = len(block)
    strides, pads, dilations = strides or [1] * rank, pads or [0] * 2 * rank, dilations or [1] * rank
    axes = list(zip(image, block, strides, pads, pads[rank:], dilations, strict=False))
    counts = [int(n + a + b - (k - 1) * d - 1) // s + 1 for n, k, s, a, b, d in axes]
    c = wide // int(np.prod(block))
    # Elements of a block and blocks, side by side for each axis.
    pairs = [i + 2 for a in range(rank) for i in (a, a + rank)]
    field = op.Transpose(op.Reshape(seen[0], [0, c, *block.tolist(), *counts]), perm=[0, 1, *pairs])
    joint = [int(k) * count for k, count in zip(block, counts, strict=True)]
    field = op.Reshape(field, [0, c, *joint])
    for i, (size, k, stride, start, _, apart) in enumerate(axes):
        at = np.arange(size)[:, None] + start - np.arange(k) * apart
        first, left = np.divmod(at, stride)
        inside = (left == 0) & (first >= 0) & (first < counts[i])
        field = gathered(field, 2 + i, joint[i], np.where(inside, np.arange(k) * counts[i] + first, -1))
    return field


def resize(y: Tensor, values: Sequence[Any], seen: Sequence[Tensor | None], **attrs: Any) -> Tensor | None:
    """Along each axis, the pixels that the runtime's own interpolation gives a weight."""
    x, field = values[0], seen[0]
    sizes = list(zip(x.shape or (), y.shape or (), strict=False))
    if field is None or attrs["coordinate_transformation_mode"] == "tf_crop_and_resize":
        return None
    for i, axis in enumerate(attrs.get("axes") or range(x.rank)):
        n, m = sizes[axis]
        scale = values[2].array[i] if values[2] is not None and values[2].array is not None else None
        if n == m and (scale is None or scale == 1):
            continue
        if not isinstance(n, int) or not isinstance(m, int) or (scale is None and values[3] is None):
            return None
        field = gathered(field, axis % x.rank, n, _taps(n, m, scale, attrs))
    return field


def _taps(n: int, m: int, scale: float | None, attrs: dict[str, Any]) -> np.ndarray:
    """The positions of n that resizing to m gives a weight, (m, k), -1 where there are fewer."""
    graph = Graph({"": 19})
    eye = graph.input("eye", np.float32, (1, 1, n, n))
    modes = {k: v for k, v in attrs.items() if k not in ("axes", "keep_aspect_ratio_policy")}
    factor, size = (None, [1, 1, n, m]) if scale is None else ([1, 1, 1, float(scale)], None)
    matrix = graph.output(op.Resize(eye, None, factor, size, **modes), "matrix")
    weights = Session(graph)({"eye": np.eye(n, dtype=np.float32)[None, None]})[matrix.name][0, 0].T
    order = np.argsort(weights == 0, axis=1, kind="stable")[:, : (weights != 0).sum(1).max()]
    return np.where(np.take_along_axis(weights, order, 1) != 0, order, -1)


def reduced(y: Tensor, values: Sequence[Any], seen: Sequence[Tensor | None], **attrs: Any) -> Tensor | None:
    """All that is reduced to one."""
    keepdims = attrs.get("keepdims", 1)
    if "axis" in attrs:  # ArgMax
        return op.ReduceMax(seen[0], [attrs["axis"]], keepdims=keepdims)
    if len(values) > 1 and values[1] is not None:
        return None if seen[1] is not None else op.ReduceMax(seen[0], values[1], keepdims=keepdims)
    return seen[0] if attrs.get("noop_with_empty_axes") else op.ReduceMax(seen[0], keepdims=keepdims)


def along(
    y: Tensor, values: Sequence[Any], seen: Sequence[Tensor | None], axis: int = 1, **_: Any
) -> Tensor | None:
    """All along an axis, for each element of it: an attribute, or an input of sums that go on."""
    (x, *others) = seen
    if len(values) > 1 and values[1] is not None:
        given = values[1].array
        axis = 0 if given is None else int(given.item())
        others = [x] if given is None else others
    if x is None or any(f is not None for f in others):
        return None
    return op.Max(x, op.ReduceMax(x, [axis], keepdims=1))


def over_map(y: Tensor, values: Sequence[Any], seen: Sequence[Tensor | None], **_: Any) -> Tensor:
    """The whole map."""
    return op.ReduceMax(seen[0], list(range(2, values[0].rank)), keepdims=1)


def matmul(y: Tensor, values: Sequence[Any], seen: Sequence[Tensor | None], **_: Any) -> Tensor | None:
    """The row of the one and the column of the other."""
    if any(v.rank < 2 for v in values):
        return None
    parts = [
        None if f is None else op.ReduceMax(f, [a], keepdims=1) for f, a in zip(seen, (-1, -2), strict=True)
    ]
    field = _max([p for p in parts if p is not None])
    for value, part, axis in zip(values, parts, (-1, -2), strict=True):
        if part is None:
            dims = op.ScatterElements(value.dims, [value.rank + axis], [1], axis=0)
            field = op.Expand(field, dims)
    return field


def gemm(
    y: Tensor, values: Sequence[Any], seen: Sequence[Tensor | None], transA: int, transB: int, **_: Any
) -> Tensor | None:
    """As a matrix product, and what is added to it."""

    def turned(t: Tensor | None, turn: int) -> Tensor | None:
        return op.Transpose(t, perm=[1, 0]) if t is not None and turn else t

    turns = (transA, transB)
    ab = [turned(v, t) for v, t in zip(values, turns, strict=False)]
    field = matmul(y, ab, [turned(f, t) for f, t in zip(seen, turns, strict=False)])
    return field if field is None or seen[2] is None else op.Max(field, seen[2])


def top_k(
    y: Tensor, values: Sequence[Any], seen: Sequence[Tensor | None], axis: int, **_: Any
) -> Tensor | None:
    """All along the axis."""
    count = (y.shape or ())[axis] if y.shape else None
    if seen[0] is None or seen[1] is not None or not isinstance(count, int):
        return None
    sizes = [1] * y.rank
    sizes[axis] = count
    return op.Expand(op.ReduceMax(seen[0], [axis], keepdims=1), sizes)


def whole(y: Tensor, values: Sequence[Any], seen: Sequence[Tensor | None]) -> None:
    """All that any input sees."""


def _max(fields: Sequence[Tensor]) -> Tensor:
    return fields[0] if len(fields) == 1 else op.Max(*fields)


# What an operator sees is its own mathematics here: of the table of traits as far as that tells.
RULES: dict[str, Callable[..., Any]] = {
    **dict.fromkeys(having(lambda t: t.mixes in ("axis", "channels")), along),
    **dict.fromkeys(having(lambda t: t.mixes == "reduced"), reduced),
    **dict.fromkeys(having(lambda t: t.mixes == "map" and t.pools), over_map),
    **dict.fromkeys(having(lambda t: t.window == "window" and t.pools), pool),
    **{name: partial(moved, name) for name in having(lambda t: t.moves)},
    **dict.fromkeys(having(lambda t: t.elementwise == "alone"), alone),
    **dict.fromkeys(having(lambda t: t.elementwise == "together"), broadcast),
    "AffineGrid": whole,  # a grid is made of all of theta
    "CastLike": lambda y, values, seen: seen[0],
    "Col2Im": col2im,
    "ScatterElements": partial(scattered, "ScatterElements"),
    "ScatterND": partial(scattered, "ScatterND"),
    "Trilu": alone,
    "Conv": conv,
    "ConvTranspose": partial(conv, transposed=True),
    "Resize": resize,
    "MatMul": matmul,
    "Gemm": gemm,
    "TopK": top_k,
}
