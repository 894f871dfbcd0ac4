"""Where each operator puts what its inputs hold: rules from a node to the positions of its outputs.

A rule gives None where places are lost: they are chosen by what the picture shows, or something is not known.
Which operators share a rule is asked of the table of traits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, Protocol

import numpy as np
from onnx import NodeProto

from ..traits import having, traits_of
from .positions import (
    Positions,
    elements,
    joined,
    met,
    nowhere,
    numbered,
    reshaped,
    sampled,
    spread,
    taken,
    tiled,
    together,
    transposed,
)
from .selecting import SELECTING

Found = Positions | Sequence[Positions | None] | None


class Around(Protocol):
    """What a rule may ask of the values around its node."""

    def known(self, name: str) -> Positions | None:
        """Where a value lies that was followed before; None for what does not depend on the picture."""
        ...

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The sizes of a value; None where they are not known."""
        ...

    def array(self, name: str) -> np.ndarray | None:
        """What a value holds that does not depend on the picture; None where it does."""
        ...


class At:
    """A node with its attributes, and what is known of what it reads."""

    def __init__(self, around: Around, node: NodeProto, attrs: dict[str, Any]):
        self.around, self.node, self.attrs = around, node, attrs

    def __len__(self) -> int:
        return len(self.node.input)

    def __getitem__(self, i: int) -> Positions:
        """Where an input lies; nowhere for one that does not depend on the picture."""
        found = self.positions(i)
        return nowhere(self.shape(i)) if found is None else found

    def given(self, i: int) -> bool:
        """Whether there is such an input."""
        return i < len(self.node.input) and bool(self.node.input[i])

    def positions(self, i: int) -> Positions | None:
        """Where an input lies; None for one that does not depend on the picture."""
        return self.around.known(self.node.input[i]) if self.given(i) else None

    def depends(self, i: int) -> bool:
        """Whether an input depends on the picture."""
        return self.positions(i) is not None

    def shape(self, i: int) -> tuple[int, ...]:
        """The sizes of an input. Raises ValueError where they are not known."""
        found = self.around.shape(self.node.input[i])
        if found is None:
            raise ValueError(f"the sizes of {self.node.input[i]!r} are not known")
        return found

    def array(self, i: int) -> np.ndarray | None:
        """What an input holds; None where it is left out or depends on the picture."""
        return self.around.array(self.node.input[i]) if self.given(i) else None

    def declared(self) -> tuple[int, ...] | None:
        """The sizes of the first output, as the graph has them."""
        return self.around.shape(self.node.output[0])


def kept(at: At) -> Found:
    """Each element lies where the same one of the first input does."""
    return at[0] if at.depends(0) else None


def meeting(at: At) -> Found:
    """Each lies where the finest of those lies that meet in it."""
    shape = np.broadcast_shapes(*(at.shape(i) for i in range(len(at)) if at.given(i)))
    return together([p for i in range(len(at)) if (p := at.positions(i)) is not None], shape)


def chosen(at: At) -> Found:
    """Where: what is chosen, not what chooses."""
    shape = np.broadcast_shapes(*(at.shape(i) for i in range(3)))
    parts = [p for i in (1, 2) if (p := at.positions(i)) is not None]
    return together(parts or [at[0]], shape)


def reshape(at: At) -> Found:
    """In another shape, which may be computed from sizes."""
    p = at[0]
    wish = at.array(1)
    if wish is None:
        shape = at.declared()
        return None if shape is None else reshaped(p, shape)
    zero = not at.attrs.get("allowzero")
    shape = [p.shape[i] if d == 0 and zero else int(d) for i, d in enumerate(wish.tolist())]
    rest = prod(d for d in shape if d != -1)
    return reshaped(p, [prod(p.shape) // max(rest, 1) if d == -1 else d for d in shape])


def flatten(at: At) -> Found:
    """In two axes."""
    p, axis = at[0], at.attrs.get("axis", 1)
    axis = axis + len(p.shape) if axis < 0 else axis
    return reshaped(p, [prod(p.shape[:axis]), prod(p.shape[axis:])])


def squeeze(at: At) -> Found:
    """Without axes of length 1."""
    p, axes = at[0], at.array(1)
    if axes is None and at.given(1):
        return None
    gone = range(len(p.shape)) if axes is None else [int(a) % len(p.shape) for a in axes.ravel()]
    return reshaped(p, [d for a, d in enumerate(p.shape) if a not in gone or (axes is None and d != 1)])


def unsqueeze(at: At) -> Found:
    """With new axes of length 1."""
    p, axes = at[0], at.array(1)
    if axes is None:
        return None
    rank = len(p.shape) + axes.size
    new = {int(a) % rank for a in axes.ravel()}
    sizes = iter(p.shape)
    return reshaped(p, [1 if a in new else next(sizes) for a in range(rank)])


def transpose(at: At) -> Found:
    """With the axes in another order."""
    p = at[0]
    return transposed(p, at.attrs.get("perm") or range(len(p.shape))[::-1])


def slice_(at: At) -> Found:
    """A part along some axes."""
    p = at[0]
    starts, ends = at.array(1), at.array(2)
    axes, steps = at.array(3), at.array(4)
    if starts is None or ends is None or (axes is None and at.given(3)) or (steps is None and at.given(4)):
        return None
    count = starts.size
    axes = np.arange(count) if axes is None else axes
    steps = np.ones(count, int) if steps is None else steps
    for start, end, axis, step in zip(
        *(v.ravel().tolist() for v in (starts, ends, axes, steps)), strict=True
    ):
        n, axis = elements([p.shape[axis]]), axis % len(p.shape)
        # A negative end beyond the first element means all before it, which Python would count from behind.
        stop = None if step < 0 and end < -n else end
        p = taken(p, axis, np.arange(n)[start:stop:step])
    return p


def split(at: At) -> Found:
    """Parts along an axis."""
    p = at[0]
    axis = at.attrs.get("axis", 0) % len(p.shape)
    sizes = at.array(1)
    count = len(at.node.output)
    if sizes is None:
        if at.given(1):
            return None
        part = -(-p.shape[axis] // count)
        sizes = np.minimum(part, p.shape[axis] - part * np.arange(count))
    elements([p.shape[axis]])
    ends = np.cumsum(sizes)
    return [taken(p, axis, np.arange(end - size, end)) for size, end in zip(sizes, ends, strict=True)]


def gather(at: At) -> Found:
    """Elements by an index that is known; along an axis of no places, by any."""
    p, index = at[0], at.array(1)
    if not at.depends(0):
        return None
    axis = at.attrs.get("axis", 0) % len(p.shape)
    if index is None:
        elements(at.shape(1))
        return taken(p, axis, np.zeros(at.shape(1), int)) if not p.varies(axis) else None
    return taken(p, axis, index.astype(int))


def concat(at: At) -> Found:
    """One behind the other; what does not depend on the picture lies nowhere."""
    axis = at.attrs["axis"] % len(at.shape(0))
    return joined([at[i] for i in range(len(at))], axis)


def expand(at: At) -> Found:
    """Copies along axes of length 1."""
    p, wish = at[0], at.array(1)
    shape = at.declared() if wish is None else np.broadcast_shapes(p.shape, tuple(int(d) for d in wish))
    return None if shape is None else spread(p, shape)


def tile(at: At) -> Found:
    """Copies, one behind the other."""
    repeats = at.array(1)
    return None if repeats is None else tiled(at[0], [int(r) for r in repeats])


def selected(at: At) -> Found:
    """The operator itself, on numbered elements: chosen by a known index, or written by one."""
    attrs = {k: v for k, v in at.attrs.items() if k != "reduction"}
    if at.attrs.get("reduction", "none") != "none" or at.array(1) is None:
        return None
    parts = [at[i] for i in ((0, 2) if at.given(2) else (0,))]
    counts = np.cumsum([0, *(elements(p.shape) for p in parts)])
    numbers = [n + np.arange(prod(p.shape)).reshape(p.shape) for n, p in zip(counts, parts, strict=False)]
    found = SELECTING[at.node.op_type](numbers[0], at.array(1), *numbers[1:], **attrs)
    return numbered(parts, found)


def pad(at: At) -> Found:
    """Centres go on evenly beyond the border; what stands there sees nothing, or what it mirrors."""
    p, pads, axes = at[0], at.array(1), at.array(3)
    if pads is None or (axes is None and at.given(3)):
        return None
    mode = at.attrs.get("mode", "constant")
    which = range(len(p.shape)) if axes is None else [int(a) % len(p.shape) for a in axes]
    half = len(pads) // 2
    for axis, before, after in zip(which, pads[:half].tolist(), pads[half:].tolist(), strict=True):
        if before or after:
            n = p.shape[axis]
            elements([n + before + after])
            places = np.arange(-before, n + after)
            taps = _mirrored(places, n, mode)
            at_ = taps if mode == "wrap" else places  # from the other side of the picture, as in a roll
            p = sampled(p, axis, at_.astype(float), taps[:, None])
    return p


def _mirrored(places: np.ndarray, n: int, mode: str) -> np.ndarray:
    """Which of n elements stand at places inside and outside; those of a constant stay outside."""
    if mode == "edge":
        return np.clip(places, 0, n - 1)
    if mode == "wrap":
        return places % n
    if mode == "reflect" and n > 1:
        period = 2 * (n - 1)
        return (n - 1) - np.abs((n - 1) - places % period)
    return places


def center_crop_pad(at: At) -> Found:
    """The middle, or the whole and a border around it."""
    p, wish = at[0], at.array(1)
    if wish is None:
        return None
    axes = at.attrs.get("axes") or range(len(p.shape))
    for axis, size in zip((a % len(p.shape) for a in axes), wish.tolist(), strict=True):
        n = p.shape[axis]
        start = (n - size) // 2 if size < n else -((size - n) // 2)
        places = np.arange(elements([size])) + start
        p = sampled(p, axis, places.astype(float), places[:, None])
    return p


def space_to_depth(at: At) -> Found:
    """Blocks of pixels among the channels."""
    p, b = at[0], at.attrs["blocksize"]
    n, c, h, w = p.shape
    blocks = transposed(reshaped(p, [n, c, h // b, b, w // b, b]), [0, 3, 5, 1, 2, 4])
    return reshaped(blocks, [n, c * b * b, h // b, w // b])


def depth_to_space(at: At) -> Found:
    """Channels as blocks of pixels, which share the place of the one that they come from evenly."""
    p, b = at[0], at.attrs["blocksize"]
    n, c, h, w = p.shape
    if p.varies(1):
        column_first = at.attrs.get("mode", "DCR") == "CRD"
        split_, order = ([n, c // b**2, b, b, h, w], [0, 1, 4, 2, 5, 3])
        if not column_first:
            split_, order = [n, b, b, c // b**2, h, w], [0, 3, 4, 1, 5, 2]
        return reshaped(transposed(reshaped(p, split_), order), [n, c // b**2, h * b, w * b])
    p = p._replace(shape=(n, c // b**2, h, w))
    for axis in (2, 3):
        new = np.arange(elements([p.shape[axis], b]))
        p = sampled(p, axis, (new - (b - 1) / 2) / b, (new // b)[:, None])
    return p


def conv(at: At) -> Found:
    """The window over the maps, in all channels of a group."""
    kernel = at.shape(_slots(at))
    windows = at.attrs.get("kernel_shape") or kernel[2:]
    group = at.attrs.get("group", 1)
    transposed_ = traits_of(at.node).window == "transposed"
    channels = kernel[1] * group if transposed_ else kernel[0]
    p = _channels(_channels_second(at, at[0]), group, channels)
    return _as_given(at, _window(at, p, windows, transposed_))


def _is_last(at: At) -> bool:
    """Whether the channels stand last, as ONNX Runtime's own operators of integers can have them."""
    return traits_of(at.node).channels == -1 or bool(at.attrs.get("channels_last"))


def _channels_second(at: At, p: Positions) -> Positions:
    rank = len(p.shape)
    return transposed(p, [0, rank - 1, *range(1, rank - 1)]) if _is_last(at) else p


def _as_given(at: At, p: Found) -> Found:
    if not isinstance(p, Positions) or not _is_last(at):
        return p
    return transposed(p, [0, *range(2, len(p.shape)), 1])


def _slots(at: At) -> int:
    weights = traits_of(at.node).weights
    return 1 if weights is None else weights.kernel


def _channels(p: Positions, group: int, channels: int) -> Positions:
    """The channels of each group together."""
    n, c, *rest = p.shape
    if not p.varies(1):
        return p._replace(shape=(n, channels, *rest))
    if group == 1:
        return met(p, [1])._replace(shape=(n, channels, *rest))
    of_group = met(reshaped(p, [n, group, c // group, *rest]), [2])
    wide = of_group._replace(shape=(n, group, channels // group, *rest))
    return reshaped(wide, [n, channels, *rest])


def pool(at: At) -> Found:
    """The window over the map."""
    return _as_given(at, _window(at, _channels_second(at, at[0]), at.attrs["kernel_shape"]))


def _window(at: At, p: Positions, kernel: Sequence[int], transposed_: bool = False) -> Found:
    attrs, count = at.attrs, len(kernel)
    strides = attrs.get("strides") or [1] * count
    dilations = attrs.get("dilations") or [1] * count
    pads = attrs.get("pads") or [0] * 2 * count
    sizes = (at.declared() or ())[1:-1] if _is_last(at) else (at.declared() or ())[-count:]
    if attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None  # of an open size
    for i, (k, s, d) in enumerate(zip(kernel, strides, dilations, strict=True)):
        n, axis = p.shape[2 + i], 2 + i
        if sizes:
            m = sizes[i]
        elif transposed_:
            extra = (attrs.get("output_padding") or [0] * count)[i]
            m = s * (n - 1) + extra + (k - 1) * d + 1 - pads[i] - pads[count + i]
        else:
            room = n + pads[i] + pads[count + i] - (k - 1) * d - 1
            m = (-(-room // s) if attrs.get("ceil_mode") else room // s) + 1
        elements([m, k])
        new = np.arange(m)
        if transposed_:
            p = _reached(p, axis, m, k, s, d, pads[i])
        else:
            first = new * s - pads[i]
            p = sampled(p, axis, first + (k - 1) * d / 2, first[:, None] + np.arange(k) * d)
    return p


def _reached(p: Positions, axis: int, m: int, k: int, s: int, d: int, pad: int) -> Positions:
    """What m new elements along an axis are reached by: element o by i where o = i s + tap d - pad."""
    new = np.arange(elements([m]))
    reach = new[:, None] + pad - np.arange(k) * d
    taps = np.where(reach % s == 0, reach // s, -1)
    return sampled(p, axis, (new + pad - (k - 1) * d / 2) / s, taps)


def col2im(at: At) -> Found:
    """Columns of channels laid out as blocks, side by side or over each other, around the place of each."""
    p, image, block = at[0], at.array(1), at.array(2)
    if image is None or block is None or p.varies(1):
        return None
    sides, kernel = image.tolist(), block.tolist()
    rank = len(sides)
    strides, pads, dilations = (
        at.attrs.get(name) or [default] * count
        for name, default, count in (("strides", 1, rank), ("pads", 0, 2 * rank), ("dilations", 1, rank))
    )
    windows = list(zip(sides, kernel, strides, dilations, pads, pads[rank:], strict=False))
    counts = [(side + a + b - (k - 1) * d - 1) // s + 1 for side, k, s, d, a, b in windows]
    p = reshaped(p, [*p.shape[:2], *counts])
    p = p._replace(shape=(p.shape[0], p.shape[1] // prod(kernel), *counts))
    for i, (side, k, s, d, before, _) in enumerate(windows):
        p = _reached(p, 2 + i, side, elements([k]), s, d, before)
    return p


def unpool(at: At) -> Found:
    """Where its window lies; where in it, moves with the input."""
    return _window(at, at[0], at.attrs["kernel_shape"], True)


def resize(at: At) -> Found:
    """By the coordinate transformation of the operator; copies of a pixel stand evenly around it."""
    p, attrs = at[0], at.attrs
    mode, how = attrs.get("mode", "nearest"), attrs.get("coordinate_transformation_mode", "half_pixel")
    scales, sizes = at.array(2), at.array(3)
    axes = [int(a) % len(p.shape) for a in attrs.get("axes") or range(len(p.shape))]
    new = at.declared() or ()
    if sizes is not None and sizes.size and attrs.get("keep_aspect_ratio_policy", "stretch") == "stretch":
        new = list(p.shape)
        for axis, size in zip(axes, sizes.tolist(), strict=True):
            new[axis] = int(size)
    elif scales is not None and scales.size:
        new = list(p.shape)
        for axis, scale in zip(axes, scales.tolist(), strict=True):
            new[axis] = int(np.floor(p.shape[axis] * scale))
    if not new or how == "tf_crop_and_resize":
        return None
    for i, axis in enumerate(axes):
        n, m = p.shape[axis], new[axis]
        scale = float(scales[i]) if scales is not None and scales.size else m / n
        if n != m or scale != 1:
            elements([m, max(n, m) // min(n, m)])  # of a smaller picture each sees many
            p = sampled(p, axis, *_resized(n, m, scale, mode, how, attrs))
    return p


def _resized(
    n: int, m: int, scale: float, mode: str, how: str, attrs: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Where m pixels made of n lie among these, and which they see (ONNX, Resize)."""
    new = np.arange(m, dtype=float)
    at = {
        "asymmetric": lambda: new / scale,
        "align_corners": lambda: new * (n - 1) / max(m - 1, 1),
        "pytorch_half_pixel": lambda: (new + 0.5) / scale - 0.5 if m > 1 else new,
        "half_pixel_symmetric": lambda: n / 2 * (1 - m / (scale * n)) + (new + 0.5) / scale - 0.5,
    }.get(how, lambda: (new + 0.5) / scale - 0.5)()
    if mode == "nearest":
        rounded = {
            "round_prefer_ceil": np.floor(at + 0.5),
            "floor": np.floor(at),
            "ceil": np.ceil(at),
        }.get(attrs.get("nearest_mode", "round_prefer_floor"), np.ceil(at - 0.5))
        read = np.clip(rounded, 0, n - 1)
        inside = (rounded >= 0) & (rounded < n)
        bias = (rounded - at)[inside].mean() if inside.any() else 0.0
        return at + bias, read.astype(int)[:, None]
    reach = 2 if mode == "cubic" else 1
    wide = reach / scale if attrs.get("antialias") and scale < 1 else reach
    count = int(np.ceil(2 * wide))
    return at, np.floor(at - wide + 1).astype(int)[:, None] + np.arange(count)


def reduced(at: At) -> Found:
    """What is made of all elements along some axes."""
    p, rank = at[0], len(at.shape(0))
    if "axis" in at.attrs:
        axes = [at.attrs["axis"] % rank]
    elif at.given(1):
        given = at.array(1)
        if given is None:
            return None
        axes = [int(a) % rank for a in given.ravel()]
    else:
        axes = at.attrs.get("axes")
        axes = range(rank) if axes is None else [a % rank for a in axes]
        axes = [] if at.attrs.get("noop_with_empty_axes") and len(axes) == rank else axes
    found = met(p, list(axes))
    if at.attrs.get("keepdims", 1):
        return found
    return reshaped(found, [d for a, d in enumerate(found.shape) if a not in axes])


def over_map(at: At) -> Found:
    """All of a map."""
    return _as_given(at, met(_channels_second(at, at[0]), range(2, len(at.shape(0)))))


def product(at: At) -> Found:
    """A matrix product: rows of the first, or columns of the second, each where what is summed lies."""
    shapes = [at.shape(0), at.shape(_slots(at))]
    parts = [at.positions(0), at.positions(_slots(at))]
    return _product(parts, shapes)


def _product(parts: Sequence[Positions | None], shapes: Sequence[tuple[int, ...]]) -> Found:
    left, right = shapes
    a, b = parts
    if len(left) == 1 or len(right) == 1:  # a vector, as NumPy has it
        wide = [(1, *left) if len(left) == 1 else left, (*right, 1) if len(right) == 1 else right]
        grown = [None if p is None else reshaped(p, s) for p, s in zip(parts, wide, strict=True)]
        found = _product(grown, wide)
        if not isinstance(found, Positions):
            return None
        gone = {len(found.shape) - 2} if len(left) == 1 else set()
        gone |= {len(found.shape) - 1} if len(right) == 1 else set()
        return reshaped(found, [d for i, d in enumerate(found.shape) if i not in gone])
    shape = (*np.broadcast_shapes(left[:-2], right[:-2]), left[-2], right[-1])
    rank = len(shape)
    a = None if a is None else spread(met(a, [len(left) - 1]), shape)
    b = None if b is None else spread(met(b, [len(right) - 2]), shape)
    if a is None or b is None:
        return a if b is None else b
    of_a, of_b = a.varies(rank - 2), b.varies(rank - 1)
    if of_a and of_b:
        return a._replace(crossed=a.crossed | {rank - 1})
    if of_a or of_b:
        return a if of_a else b
    return together([a, b], shape)


def gemm(at: At) -> Found:
    """As a matrix product; what is added to it is a bias."""
    parts, shapes = [], []
    for i, turn in ((0, at.attrs.get("transA")), (_slots(at), at.attrs.get("transB"))):
        p, shape = at.positions(i), at.shape(i)
        parts.append(p if p is None or not turn else transposed(p, [1, 0]))
        shapes.append(shape[::-1] if turn else shape)
    return _product(parts, shapes)


def einsum(at: At) -> Found:
    """A product of one or two: elements lie where what is summed to them lies."""
    equation = at.attrs["equation"].replace(" ", "")
    if "." in equation or len(at) > 2:
        return None
    terms, _, out = equation.partition("->")
    letters = terms.split(",")
    if "->" not in equation:
        out = "".join(sorted(c for c in set(terms) if c != "," and terms.count(c) == 1))
    if any(len(set(t)) != len(t) for t in (*letters, out)):
        return None
    sizes = {c: d for i, t in enumerate(letters) for c, d in zip(t, at.shape(i), strict=True)}
    shape = [sizes[c] for c in out]
    parts = []
    for i, term in enumerate(letters):
        p = at.positions(i)
        if p is None:
            continue
        p = met(p, [a for a, c in enumerate(term) if c not in out])
        kept_ = [c for c in term if c in out]
        p = reshaped(p, [d for d, c in zip(p.shape, term, strict=True) if c in out])
        p = transposed(p, [kept_.index(c) for c in out if c in kept_])
        ones = [1 if c not in kept_ else sizes[c] for c in out]
        parts.append((term, spread(reshaped(p, ones), shape)))
    if len(parts) == 1:
        return parts[0][1]
    (first, a), (second, b) = parts
    own = [
        [i for i, c in enumerate(out) if c in t and c not in other and p.varies(i)]
        for t, other, p in ((first, second, a), (second, first, b))
    ]
    if own[0] and own[1]:
        return a._replace(crossed=a.crossed.union(own[1]))
    if own[0] or own[1]:
        return a if own[0] else b
    return together([a, b], shape)


def attention(at: At) -> Found:
    """Each token where its query is. Heads stay apart in four axes, and lie in the last one of three."""
    shape = at.declared()
    if not at.depends(0) or shape is None:
        return None
    p = at[0]
    p = met(p, range(2, len(p.shape)) if len(shape) == 3 else [len(p.shape) - 1])
    if len(p.shape) != len(shape):
        p = reshaped(p, p.shape[: len(shape)]) if set(p.shape[len(shape) :]) <= {1} else p
    return spread(p._replace(shape=tuple(shape)), shape)


def recurrent(at: At) -> Found:
    """Y (T, D, N, H) keeps the steps; the last states are made of all of them."""
    x, hidden = met(at[0], [2]), at.attrs["hidden_size"]
    if at.attrs.get("layout"):
        x = transposed(x, [1, 0, 2])
    steps, n, _ = x.shape
    directions = 2 if at.attrs.get("direction") == "bidirectional" else 1
    y = spread(reshaped(x, [steps, 1, n, 1]), [steps, directions, n, hidden])
    state = taken(met(y, [0]), 0, np.array(0))
    if at.attrs.get("layout"):
        y, state = transposed(y, [2, 0, 1, 3]), transposed(state, [1, 0, 2])
    return [y, state, state]


def ranked(at: At) -> Found:
    """Along an axis that is not one of places, all else stays; along one, places move with the input."""
    p, axis = at[0], at.attrs.get("axis", -1) % len(at.shape(0))
    shape = at.declared()
    if p.varies(axis) or shape is None:
        return None
    return [p._replace(shape=tuple(shape))] * len(at.node.output)


def grid_sample(at: At) -> Found:
    """At the places of a grid that is known: each new pixel is taken from the rows, then from the columns."""
    p, grid = at[0], at.array(1)
    if grid is None or len(p.shape) != 4 or not at.depends(0):
        return None
    if not np.isfinite(grid).all():
        return None
    n, c, height, width = p.shape
    (h, w), places = grid.shape[1:3], []
    for xy, size in ((1, height), (0, width)):
        unit = (np.clip(grid[0, ..., xy].ravel(), -3, 3) + 1) / 2  # what is further out sees nothing either
        places.append(unit * (size - 1) if at.attrs.get("align_corners") else unit * size - 0.5)
    taps = [np.floor(place).astype(int)[:, None] + np.arange(2) for place in places]
    rows = sampled(p, 2, places[0], taps[0])  # (n, c, h w, width)
    pixels = _diagonal(sampled(rows, 3, places[1], taps[1]))
    return reshaped(pixels, [n, c, h, w])


def _diagonal(p: Positions) -> Positions:
    """Of (n, c, k, k) where the last two axes agree, (n, c, k)."""

    def move(field: np.ndarray) -> np.ndarray:
        if field.shape[3] > 1 and field.shape[4] > 1:
            return np.moveaxis(np.diagonal(field, axis1=3, axis2=4), -1, 3)
        return field.reshape(*field.shape[:3], -1)

    return p.moved(p.shape[:3], move)


RULES: dict[str, Callable[[At], Found]] = {
    **dict.fromkeys(having(lambda t: t.elementwise == "alone" or t.quantises), kept),
    **dict.fromkeys(having(lambda t: t.elementwise == "together"), meeting),
    **dict.fromkeys(having(lambda t: t.normalises == "input"), kept),
    **dict.fromkeys(
        having(lambda t: t.normalises == "sum"), lambda at: together([at[0], at[1]], at.shape(0))
    ),
    **dict.fromkeys(having(lambda t: t.mixes in ("axis", "channels") and not t.normalises), kept),
    **dict.fromkeys(having(lambda t: t.mixes == "reduced"), reduced),
    **dict.fromkeys(having(lambda t: t.mixes == "map" and t.pools), over_map),
    **dict.fromkeys(having(lambda t: t.window == "window" and t.pools), pool),
    **dict.fromkeys(having(lambda t: t.window in ("window", "transposed") and t.weights), conv),
    **dict.fromkeys(having(lambda t: t.mixes == "last" and t.weights), product),
    **dict.fromkeys(having(lambda t: t.attends and not t.mixes), attention),
    **dict.fromkeys(having(lambda t: t.moves == "selects"), selected),
    "DeformConv": conv,
    "Where": chosen,
    "Reshape": reshape,
    "Flatten": flatten,
    "Squeeze": squeeze,
    "Unsqueeze": unsqueeze,
    "Transpose": transpose,
    "Slice": slice_,
    "Split": split,
    "Gather": gather,
    "Concat": concat,
    "Expand": expand,
    "Tile": tile,
    "Pad": pad,
    "CenterCropPad": center_crop_pad,
    "SpaceToDepth": space_to_depth,
    "DepthToSpace": depth_to_space,
    **dict.fromkeys(("ScatterND", "ScatterElements"), selected),
    "Resize": resize,
    "Col2Im": col2im,
    "MaxUnpool": unpool,
    "GridSample": grid_sample,
    "Gemm": gemm,
    "com.microsoft:FusedGemm": gemm,
    "com.microsoft:QGemm": gemm,
    "Einsum": einsum,
    "LSTM": recurrent,
    "GRU": recurrent,
    "RNN": recurrent,
    "TopK": ranked,
    "Trilu": kept,
}
