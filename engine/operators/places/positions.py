"""Where the elements of a value lie in the picture, and what the movements of operators make of that.

A field holds something for each element: along its first axis the facts, behind it the axes of the value. An
axis along which nothing changes has length 1, whatever the size of the value's own, so that the rows of
(N, 2048, 7, 7) are 7 numbers. Rows and columns have four facts, in pixels of the model's input, where pixel
p spans p to p + 1: the centre of what the element sees, the first and the end of that, and its grain: how far
apart elements were on the coarsest grid that it came through. A map that is enlarged keeps its grain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, reduce
from math import inf, isnan, nan, prod
from typing import NamedTuple

import numpy as np

CENTRE, FIRST, END, GRAIN = range(4)
FINER = 1.5  # of values that meet, those count whose grain is below this times the finest one's
NEAR = 1e-3  # of a pixel: places this near are one
MAX_ELEMENTS = 2**24  # facts that are moved one by one, four for each element
_NOTHING = np.array([nan, inf, -inf, inf])  # nowhere, seeing nothing
_TORN = np.array([nan, inf, -inf, 0])  # at several places; what is summed up further is so too

Shape = tuple[int, ...]


class Positions(NamedTuple):
    """Where the elements of a value of `shape` lie: `rows` and `columns` (4, ...), and `images` (1, ...).

    Their other axes are those of the shape, or 1 where nothing changes along one. `images` is the index in
    the batch. What is seen is the part that matters: not what a gate or an attention brings from everywhere.
    The centre is NaN for what lies nowhere: class tokens, or what is lost. Along the `crossed` axes there are
    positions of others, which these elements relate to: those of keys, in attention.
    """

    shape: Shape
    rows: np.ndarray
    columns: np.ndarray
    images: np.ndarray
    crossed: frozenset[int] = frozenset()

    def moved(self, shape: Sequence[int], move: Callable[[np.ndarray], np.ndarray]) -> Positions:
        """The same movement of all facts."""
        return Positions(tuple(shape), move(self.rows), move(self.columns), move(self.images), self.crossed)

    @property
    def nowhere(self) -> bool:
        """Whether no element lies anywhere."""
        return _is_nowhere(self.rows[CENTRE]) or _is_nowhere(self.columns[CENTRE])

    def varies(self, axis: int) -> bool:
        """Whether rows or columns change along an axis."""
        return self.rows.shape[1 + axis] > 1 or self.columns.shape[1 + axis] > 1


def of_picture(shape: Sequence[int], down: int, across: int) -> Positions:
    """The positions of the pixels of pictures (N, ...), or of one of three axes."""

    def pixels(axis: int) -> np.ndarray:
        first = np.arange(shape[axis], dtype=float)
        return _along(np.stack([first + 0.5, first, first + 1, np.ones_like(first)]), axis, len(shape))

    batch = np.arange(shape[0] if len(shape) > 3 else 1, dtype=float)
    images = _along(batch[None], 0, len(shape))
    return Positions(tuple(shape), pixels(down), pixels(across), images)


def nowhere(shape: Sequence[int]) -> Positions:
    """The positions of what does not depend on the picture, or is lost."""
    empty = _NOTHING.reshape(4, *[1] * len(shape))
    return Positions(tuple(shape), empty, empty, np.full((1, *[1] * len(shape)), nan))


def _is_nowhere(centres: np.ndarray) -> bool:
    if centres.size and not (isnan(centres.item(0)) and isnan(centres.item(-1))):
        return False
    return bool(np.isnan(centres).all())


def _along(facts: np.ndarray, axis: int, rank: int) -> np.ndarray:
    return facts.reshape(len(facts), *(-1 if a == axis else 1 for a in range(rank)))


# -- movements -------------------------------------------------------------------------------------------


def reshaped(p: Positions, shape: Sequence[int]) -> Positions:
    """In another shape of as many elements. Raises ValueError where they are not as many."""
    groups = _groups(p.shape, tuple(shape))
    crossed = frozenset(b for before, after in groups for b in after if p.crossed.intersection(before))

    def move(field: np.ndarray) -> np.ndarray:
        if field.size == len(field):
            return field.reshape(len(field), *[1] * len(shape))
        full, dims = [len(field)], [len(field)]
        split: list[int] = []
        for before, after in groups:
            if any(field.shape[1 + a] > 1 for a in before):
                full += [p.shape[a] for a in before]
                dims += [shape[b] for b in after]
                split += [b for b in after if len(after) > 1 and shape[b] > 1]
            else:
                full += [1] * len(before)
                dims += [1] * len(after)
        elements(dims)
        field = field if field.shape == (*full,) else np.broadcast_to(field, full)
        return _compact(field.reshape(dims), split)

    return p.moved(shape, move)._replace(crossed=crossed)


@lru_cache(maxsize=1024)
def _groups(before: Shape, after: Shape) -> list[tuple[list[int], list[int]]]:
    """The axes that a Reshape makes of which: the smallest groups of the same number of elements."""
    if prod(before) != prod(after):
        raise ValueError(f"{list(before)} is not reshaped to {list(after)}")
    groups, i, j = [], 0, 0
    while i < len(before) or j < len(after):
        a, b = [i] if i < len(before) else [], [j] if j < len(after) else []
        i, j = i + len(a), j + len(b)
        while (x := prod(before[k] for k in a)) != (y := prod(after[k] for k in b)) or not (a or b):
            if x < y or j >= len(after):
                a.append(i)
                i += 1
            else:
                b.append(j)
                j += 1
        groups.append((a, b))
    return groups


def _compact(field: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """The field with length 1 along those of some axes of the value along which nothing changes."""
    for axis in axes:
        first = field.take([0], 1 + axis)
        if ((field == first) | (np.isnan(field) & np.isnan(first))).all():
            field = first
    return field


def transposed(p: Positions, perm: Sequence[int]) -> Positions:
    """With the axes in another order."""
    order = (0, *(1 + a for a in perm))
    crossed = frozenset(i for i, a in enumerate(perm) if a in p.crossed)
    return p.moved([p.shape[a] for a in perm], lambda f: f.transpose(order))._replace(crossed=crossed)


def taken(p: Positions, axis: int, index: np.ndarray) -> Positions:
    """Elements by index along an axis, whose place the axes of the index take (Gather, Slice)."""
    shape = (*p.shape[:axis], *index.shape, *p.shape[axis + 1 :])
    ones = [1] * index.ndim
    more = index.ndim - 1
    crossed = frozenset(a + more if a > axis else a for a in p.crossed if a != axis or index.ndim)

    def move(field: np.ndarray) -> np.ndarray:
        if field.shape[1 + axis] > 1:
            elements([*field.shape[: 1 + axis], index.size, *field.shape[2 + axis :]])
            return field.take(index, 1 + axis)
        return field.reshape(*field.shape[: 1 + axis], *ones, *field.shape[2 + axis :])

    return p.moved(shape, move)._replace(crossed=crossed)


def numbered(parts: Sequence[Positions], numbers: np.ndarray) -> Positions:
    """Any elements of some values, whose elements are numbered one value after the other."""

    def move(fields: Sequence[np.ndarray]) -> np.ndarray:
        flat = [
            np.broadcast_to(f, (len(f), *p.shape)).reshape(len(f), -1)
            for f, p in zip(fields, parts, strict=True)
        ]
        return _compact(np.concatenate(flat, 1)[:, numbers], range(numbers.ndim))

    return Positions(
        numbers.shape,
        move([p.rows for p in parts]),
        move([p.columns for p in parts]),
        move([p.images for p in parts]),
    )


@lru_cache(maxsize=1024)
def common(*shapes: Shape) -> Shape:
    """The shape that arrays of these have together. Raises ValueError where they have none."""
    return np.broadcast_shapes(*shapes)


def elements(shape: Sequence[int]) -> int:
    """How many there are in a shape. Raises ValueError for more than are moved one by one."""
    if prod(shape) > MAX_ELEMENTS:
        raise ValueError(f"{list(shape)} has more than {MAX_ELEMENTS} elements")
    return prod(shape)


def spread(p: Positions, shape: Sequence[int]) -> Positions:
    """Broadcast to a shape."""
    more = len(shape) - len(p.shape)
    if not more:
        return p._replace(shape=tuple(shape))
    crossed = frozenset(a + more for a in p.crossed)
    grown = p.moved(shape, lambda f: f.reshape(len(f), *[1] * more, *f.shape[1:]))
    return grown._replace(crossed=crossed)


def joined(parts: Sequence[Positions], axis: int) -> Positions:
    """One behind the other along an axis (Concat). Raises ValueError where their other sizes differ."""
    shape = list(parts[0].shape)
    if any([*p.shape[:axis], *p.shape[axis + 1 :]] != [*shape[:axis], *shape[axis + 1 :]] for p in parts):
        raise ValueError("parts of other sizes are not joined")
    shape[axis] = sum(p.shape[axis] for p in parts)

    def join(fields: Sequence[np.ndarray]) -> np.ndarray:
        if len(fields[0]) == 1:  # what lies nowhere belongs to no image, and stands among those of all
            known = [f for f in fields if not np.isnan(f).all()] or fields[:1]
            if all(f.shape[1 + axis] == 1 and _same(f, known[0]) for f in known):
                return known[0]
        if all(f.shape[1 + axis] == 1 and _same(f, fields[0]) for f in fields):
            return fields[0]
        if all(f.shape[1 + axis] == 1 and len(f) > 1 and _same(f[:1], fields[0][:1]) for f in fields):
            return _finest(np.stack(fields, 1), 1).squeeze(1)  # of the same places they see more or less
        dims = np.broadcast_shapes(
            *(tuple(1 if a == 1 + axis else d for a, d in enumerate(f.shape)) for f in fields)
        )
        elements([*dims[: 1 + axis], shape[axis], *dims[2 + axis :]])
        full = [
            np.broadcast_to(f, (*dims[: 1 + axis], p.shape[axis], *dims[2 + axis :]))
            for f, p in zip(fields, parts, strict=True)
        ]
        return np.concatenate(full, 1 + axis)

    return Positions(
        tuple(shape),
        join([p.rows for p in parts]),
        join([p.columns for p in parts]),
        join([p.images for p in parts]),
        frozenset.union(*(p.crossed for p in parts)),
    )


def agree(p: Positions, q: Positions) -> bool:
    """Whether all elements of two values lie in the same places and see the same."""
    fields = zip(p[1:4], q[1:4], strict=True)
    return (p.shape, p.crossed) == (q.shape, q.crossed) and all(
        np.array_equal(*np.broadcast_arrays(a, b), equal_nan=True) for a, b in fields
    )


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a is b or (a.shape == b.shape and np.array_equal(a, b, equal_nan=True))


def tiled(p: Positions, repeats: Sequence[int]) -> Positions:
    """Several times along each axis."""
    shape = [d * r for d, r in zip(p.shape, repeats, strict=True)]

    def move(field: np.ndarray) -> np.ndarray:
        changing = [r if d > 1 else 1 for d, r in zip(field.shape[1:], repeats, strict=True)]
        elements([*field.shape, *changing])
        return np.tile(field, (1, *changing))

    return p.moved(shape, move)


# -- windows ---------------------------------------------------------------------------------------------


def sampled(p: Positions, axis: int, at: np.ndarray, taps: np.ndarray) -> Positions:
    """What new elements along an axis see, each the old ones `taps` (m, k) around the place `at` (m,).

    Places count old elements, in fractions and beyond the ends too, where centres go on evenly; taps that lie
    beyond see nothing. Raises ValueError along an axis of images.
    """
    if p.images.shape[1 + axis] > 1:
        raise ValueError("images are not sampled")
    n, m = p.shape[axis], len(at)
    shape = (*p.shape[:axis], m, *p.shape[axis + 1 :])
    low = np.clip(np.floor(at).astype(int), 0, max(n - 2, 0))
    weight = _along((at - low)[None], axis, len(shape))
    apart = _step(at, n)
    inside = (taps >= 0) & (taps < n)
    seen = _along(np.any(inside, axis=-1)[None], axis, len(shape))
    one = np.take_along_axis(taps, inside.argmax(-1)[:, None], -1)  # in the place of those that see nothing
    taps = np.clip(np.where(inside, taps, one), 0, n - 1)

    def move(field: np.ndarray) -> np.ndarray:
        if len(field) > 1 and not field[GRAIN].all():
            field = np.where(field[GRAIN] == 0, _NOTHING.reshape(4, *[1] * len(shape)), field)
        if field.shape[1 + axis] == 1:
            return field
        elements([*field.shape[: 1 + axis], taps.size, *field.shape[2 + axis :]])
        nearest = (field[::GRAIN].take(i, 1 + axis) for i in (low, np.minimum(low + 1, n - 1)))
        (before, fine), (behind, also) = (np.split(f, 2) for f in nearest)
        grain = np.minimum(fine, also)
        with np.errstate(invalid="ignore"):
            centre = before + (behind - before) * weight
            if apart != 1:  # along an axis of tokens a neighbour may be that at the other side
                grain = np.fmax(grain, abs(behind - before) * max(apart, 1))
        # What lies nowhere (a class token) has no part in the places beside it.
        centre = np.where(weight == 0, before, np.where(weight == 1, behind, centre))
        first = field[FIRST : FIRST + 1].take(taps, 1 + axis).min(2 + axis)
        end = field[END : END + 1].take(taps, 1 + axis).max(2 + axis)
        return np.concatenate([centre, np.where(seen, first, inf), np.where(seen, end, -inf), grain])

    return p.moved(shape, move)


def _step(at: np.ndarray, count: int) -> float:
    """How many of `count` old elements one of the new ones at places `at` stands for."""
    apart = np.abs(np.diff(at))
    return float(apart[apart > 0].min(initial=count))


# -- meetings --------------------------------------------------------------------------------------------


def together(parts: Sequence[Positions], shape: Sequence[int]) -> Positions:
    """What is made of elements that meet, all of `shape` when broadcast; the finest say where it lies.

    Where those are equally fine and further than a cell from each other, as a picture and its reflection
    are, no place is right for both: it lies nowhere, and so does what is added to it before the next layer.
    """
    parts = [spread(p, shape) for p in parts]
    return Positions(
        tuple(shape),
        _meet([p.rows for p in parts]),
        _meet([p.columns for p in parts]),
        _meet([p.images for p in parts]),
        frozenset.union(*(p.crossed for p in parts)),
    )


def _meet(fields: Sequence[np.ndarray]) -> np.ndarray:
    if all(_same(f, fields[0]) for f in fields):
        return fields[0]
    elements([len(fields), *common(*(f.shape for f in fields))])
    if len(fields[0]) == 1:
        return reduce(lambda a, b: np.where(np.isnan(a), b, a), fields)
    if all(_same(f[::GRAIN], fields[0][::GRAIN]) and (f[FIRST] < f[END]).all() for f in fields):
        return reduce(_both, fields)
    every = np.stack(np.broadcast_arrays(*fields), 1)
    finest = _counted(every, 1)
    apart, grain = _span(every, 1, finest), np.where(finest, every[GRAIN], -inf).max(0)
    torn = _TORN.reshape(4, *[1] * (every.ndim - 2))
    if (apart[0] > grain + NEAR).any():
        return torn
    found = np.where((every[GRAIN] == 0).any(0), torn, _mean(every, 1, finest).squeeze(1))
    for i in range(len(fields)):  # what stands on a border sees nothing, and has its place there
        field = every[:, i]
        border = (field[END] <= field[FIRST]) & ~np.isnan(field[CENTRE])
        found[:, border] = field[:, border]
    return found


def _both(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """What lies in the same places, with all that the two see: most sums are of such."""
    return np.stack([a[CENTRE], np.minimum(a[FIRST], b[FIRST]), np.maximum(a[END], b[END]), a[GRAIN]])


def met(p: Positions, axes: Sequence[int]) -> Positions:
    """What is made of all elements along some axes, which stay with length 1: sums, means, products.

    What comes from most of the picture sees it without end, so that it says nothing where it meets others.
    """
    shape = tuple(1 if a in axes else d for a, d in enumerate(p.shape))
    if all(f.shape[1 + a] == 1 for a in axes for f in (p.rows, p.columns, p.images)):
        return p._replace(shape=shape, crossed=p.crossed.difference(axes))

    def meet(field: np.ndarray) -> np.ndarray:
        changing = [axis for axis in axes if field.shape[1 + axis] > 1]
        if len(field) == 1:
            return _one(field, changing)
        found, counted = field, ~np.isnan(field[CENTRE])
        for axis in changing:
            finest = _counted(found, 1 + axis)
            found, counted = _merged(found, 1 + axis, finest), counted & finest
        if changing and _spans_most(field[CENTRE], changing, counted):
            found[FIRST], found[END], found[GRAIN] = -inf, inf, inf
        return found

    return p.moved(shape, meet)._replace(crossed=p.crossed.difference(axes))


def _one(images: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """The index of the image of elements that meet; NaN where they are of several."""
    for axis in axes:
        first = images.take([0], 1 + axis)
        same = np.logical_and.reduce(np.equal(images, first), 1 + axis, keepdims=True)
        images = np.where(same, first, nan)
    return images


def _spans_most(centres: np.ndarray, axes: Sequence[int], known: np.ndarray) -> bool:
    """Whether what is known of what meets along some axes comes from all over the picture, or most of it."""
    low, high = np.where(known, centres, inf), np.where(known, centres, -inf)
    least, most = low.min(tuple(axes)), high.max(tuple(axes))
    span = (most - least)[most >= least]
    return bool(span.size and span.max() > (high.max() - low.min()) / 2)


def _merged(field: np.ndarray, axis: int, counted: np.ndarray) -> np.ndarray:
    """Those that are counted along an axis as one, whose grain is as many of theirs as lie between them."""
    found, span = _mean(field, axis, counted), _span(field, axis, counted)
    if (span > NEAR).any():
        with np.errstate(invalid="ignore", divide="ignore"):
            found[GRAIN] = np.fmax(found[GRAIN], found[GRAIN] * (1 + (span + NEAR) // found[GRAIN]))
    return found


def _span(field: np.ndarray, axis: int, counted: np.ndarray) -> np.ndarray:
    """How far the centres of those that are counted along an axis are apart; -inf where none is."""
    low, high = (np.where(counted, field[CENTRE], edge) for edge in (inf, -inf))
    return high.max(axis - 1, keepdims=True) - low.min(axis - 1, keepdims=True)


def _finest(field: np.ndarray, axis: int) -> np.ndarray:
    """Of what meets along an axis, the finest: the mean of their centres, and all that they see."""
    return _mean(field, axis, _counted(field, axis))


def _counted(field: np.ndarray, axis: int) -> np.ndarray:
    """Which of what meets along an axis of facts are the finest, (...).

    What is much coarser, as a whole, is a gate, a mean of the whole picture, or an enlarged map, whose middle
    says less than a cell of the finer one. What lies nowhere counts only where nothing else is.
    """
    centre, first, end, grain = field
    axis -= 1
    others = tuple(a for a in range(grain.ndim) if a != axis)
    is_placed = ~np.isnan(centre) & (end > first) & np.isfinite(grain)
    most = np.where(is_placed, grain, 0).max(others, keepdims=True)
    most = np.where(most > 0, most, inf)
    counted = is_placed & (most < FINER * most.min())
    for less in (is_placed, np.True_):  # where none of the finest is
        counted = counted | (less & ~counted.any(axis, keepdims=True))
    return counted


def _mean(field: np.ndarray, axis: int, counted: np.ndarray) -> np.ndarray:
    """Those that are counted along an axis as one: the mean of their centres, and all that they see."""
    centre, first, end, grain = field
    axis -= 1
    return np.stack(
        [
            np.where(counted, centre, 0).sum(axis, keepdims=True) / counted.sum(axis, keepdims=True),
            np.where(counted, first, inf).min(axis, keepdims=True),
            np.where(counted, end, -inf).max(axis, keepdims=True),
            np.where(counted, grain, inf).min(axis, keepdims=True),
        ]
    )
