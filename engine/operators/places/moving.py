"""Rules of what moves elements: in another shape or order, some of them, several times, with a border."""

from __future__ import annotations

from math import prod

import numpy as np

from .at import At, Found
from .merging import joined
from .positions import (
    Positions,
    elements,
    nowhere,
    numbered,
    reshaped,
    sampled,
    spread,
    taken,
    tiled,
    transposed,
)
from .selecting import SELECTING


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


def concat(at: At, first: int = 0, every: int = 1) -> Found:
    """One behind the other; what does not depend on the picture lies nowhere.

    What is joined are the inputs from the `first` on; of integers `every` third, behind it scale and zero.
    """
    parts = [at[i] for i in range(first, len(at), every)]
    return joined(parts, at.attrs["axis"] % len(parts[0].shape))


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
            is_of_tokens = p.rows.shape[1 + axis] > 1 and p.columns.shape[1 + axis] > 1
            p = sampled(p, axis, at_.astype(float), taps[:, None])
            if is_of_tokens and mode == "constant" and min(before, after) >= 0:  # beyond tokens is no picture
                p = _within(p, axis, before, n)
    return p


def _within(p: Positions, axis: int, before: int, n: int) -> Positions:
    """With all that stands before and behind n elements of an axis nowhere."""
    inside = taken(p, axis, np.arange(before, before + n))
    empty = lambda size: nowhere([*p.shape[:axis], size, *p.shape[axis + 1 :]])
    return joined([empty(before), inside, empty(p.shape[axis] - before - n)], axis)


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
