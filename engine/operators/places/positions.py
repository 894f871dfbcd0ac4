"""Where the elements of a value lie in the picture, and what the movements of operators make of that.

A field holds something for each element: along its first axis the facts, behind it the axes of the value. An
axis along which nothing changes has length 1, whatever the size of the value's own, so that the rows of
(N, 2048, 7, 7) are 7 numbers. Rows and columns have four facts, in pixels of the model's input, where pixel
p spans p to p + 1: the centre of what the element sees, the first and the end of that, and its grain: how far
apart elements were on the coarsest grid that it came through. A map that is enlarged keeps its grain.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from math import inf, isnan, nan, prod
from typing import NamedTuple

import numpy as np

CENTRE, FIRST, END, GRAIN = range(4)
NEAR = 1e-3  # of a pixel: places this near are one
MAX_ELEMENTS = 2**24  # facts that are moved one by one, four for each element
_NOTHING = np.array([nan, inf, -inf, inf])  # nowhere, seeing nothing

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


def agree(p: Positions, q: Positions) -> bool:
    """Whether all elements of two values lie in the same places and see the same."""
    fields = zip(p[1:4], q[1:4], strict=True)
    return (p.shape, p.crossed) == (q.shape, q.crossed) and all(
        np.array_equal(*np.broadcast_arrays(a, b), equal_nan=True) for a, b in fields
    )


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
