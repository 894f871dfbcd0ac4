"""What is made of elements that meet, along an axis or in several values: the finest say where it lies."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from math import inf, nan

import numpy as np

from .positions import CENTRE, END, FIRST, GRAIN, NEAR, Positions, common, elements, spread

FINER = 1.5  # of values that meet, those count whose grain is below this times the finest one's
_TORN = np.array([nan, inf, -inf, 0])  # at several places; what is summed up further is so too


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


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a is b or (a.shape == b.shape and np.array_equal(a, b, equal_nan=True))
