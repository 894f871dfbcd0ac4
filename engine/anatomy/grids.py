"""From positions to pictures: the grid that the elements of a value lie on, and how to lay them out on it.

A value is a picture where its positions form an even grid, whatever the order of its axes, with others
anywhere among them, in windows or in pieces of the batch; where they do not, the reason is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import numpy as np

from ..graph.graph import Tensor, op
from ..graph.sizes import Dim
from ..operators.places.positions import CENTRE, END, FIRST, MAX_ELEMENTS, NEAR, Positions, reshaped
from .coordinates import Coordinates

TOLERANCE = 0.5  # of a cell: how far a place may be from that of an even grid

Box = tuple[float, float, float, float]


class Place(NamedTuple):
    """Where a feature map lies in the model's input, in its pixels: pixel p spans p to p + 1.

    `seen` (y0, x0, y1, x1) is what its positions see together. Its h x w cells are spread evenly over
    `cells`, so that the middle of each is the middle of what it sees. They may reach out of the input.
    """

    seen: Box
    cells: Box


@dataclass(frozen=True)
class View:
    """How a value is seen as feature maps (N, K, h, w).

    It is reshaped to `shape` where axes have to be split, and its axes are brought into the order `perm`: of
    images, of channels, and of the rest, whose elements `index` (None: all) are the cells of the `grid`, row
    by row. `place` is where they lie in the input; None, as `grid`, where sizes are open.
    `channels` is the axis of the channels in the value itself, -1 where it has to be split.
    """

    channels: int
    perm: tuple[int, ...]
    grid: tuple[int, int] | None = None
    shape: tuple[int, ...] | None = None
    index: tuple[int, ...] | None = None
    place: Place | None = None

    @property
    def upright(self) -> bool:
        """Whether the value has axes of rows and of columns, in this order, and nothing has to be picked."""
        return (
            self.shape is None and self.index is None and len(self.perm) == 4 and self.perm[2] < self.perm[3]
        )

    def __call__(self, value: Tensor) -> Tensor:
        """The value, or anything of its shape such as its gradient, as (N, K, h, w)."""
        if self.shape is not None:
            value = op.Reshape(value, list(self.shape))
        if self.perm != tuple(range(len(self.perm))):
            value = op.Transpose(value, perm=list(self.perm))
        if self.grid is None or (self.index is None and len(self.perm) == 4):
            return value
        if self.index is not None:
            if len(self.perm) > 3:
                value = op.Reshape(value, [0, 0, -1])
            first, last = self.index[0], self.index[-1]
            if self.index == tuple(range(first, last + 1)):
                value = op.Slice(value, [first], [last + 1], [2])
            else:
                value = op.Gather(value, list(self.index), axis=2)
        return op.Reshape(value, [0, 0, *self.grid])

    def of_array(self, value: np.ndarray) -> np.ndarray:
        """The same of an array."""
        value = value if self.shape is None else value.reshape(self.shape)
        value = value.transpose(self.perm)
        if self.grid is None or (self.index is None and len(self.perm) == 4):
            return value
        cells = value.reshape(*value.shape[:2], -1)
        cells = cells if self.index is None else cells[:, :, list(self.index)]
        return cells.reshape(*value.shape[:2], *self.grid)


def seen_as(p: Positions, followed: Coordinates, dims: Sequence[Dim]) -> View | str:
    """How a value with these positions, of `dims` in the graph, is seen as feature maps, or why it is not."""
    if p.crossed:
        return "holds what positions are to each other (attention)"
    batch = _batch_axis(p, followed.batch)
    if p.images.size == followed.batch > 1 and not np.array_equal(p.images.ravel(), np.arange(p.images.size)):
        return "has the images in another order"
    if (found := _together(p, batch, followed, dims)) is not None:
        return found
    found = _separable(p, batch, followed, dims)
    if found is not None:
        return found
    if followed.is_open and any(isinstance(d, str) for d in dims[1:]):
        return _OPEN
    return _gathered(p, batch, followed)


def _together(
    p: Positions, batch: int | None, followed: Coordinates, dims: Sequence[Dim]
) -> View | str | None:
    """The view of a value whose channels lie within a cell of each other: patches merged, maps of two kinds.

    None where there are other channels, or none like these.
    """
    rank = len(p.shape)
    if batch is None or any(p.shape[a] > 1 and a != batch and not p.varies(a) for a in range(rank)):
        return None
    for axis in (1, rank - 1):
        if axis >= rank or axis == batch or not p.varies(axis):
            continue
        apart = [np.ptp(f[CENTRE], axis).max() if f.shape[1 + axis] > 1 else 0 for f in (p.rows, p.columns)]
        whole = p.moved(p.shape, lambda f, axis=axis: _mean(f, axis))
        found = seen_as(whole, followed, dims)
        if isinstance(found, View) and found.channels == axis and found.place and found.grid:
            y0, x0, y1, x1 = found.place.cells
            cells = zip((y1 - y0, x1 - x0), found.grid, strict=True)  # of a single one there is no step
            steps = [side / count if count > 1 else 0 for side, count in cells]
            if all(far <= step for far, step in zip(apart, steps, strict=True)):
                return found
    return None


def _mean(field: np.ndarray, axis: int) -> np.ndarray:
    """The middle of the centres along an axis of the value, all that is seen there, the coarsest grain."""
    if len(field) == 1:
        return field.take([0], 1 + axis)
    ways = (np.mean, np.min, np.max, np.max)
    return np.stack([f(v, axis=axis, keepdims=True) for f, v in zip(ways, field, strict=True)])


def _batch_axis(p: Positions, batch: int) -> int | None:
    """The axis of the images: along which the index of the image changes; of a single one the first of 1."""
    along = [a for a, d in enumerate(p.images.shape[1:]) if d > 1]
    if along:
        return along[0] if len(along) == 1 else None
    return next((a for a, d in enumerate(p.shape) if d == 1), None) if batch == 1 else None


def _separable(
    p: Positions, batch: int | None, followed: Coordinates, dims: Sequence[Dim]
) -> View | str | None:
    """The view of a value with one axis of rows and one of columns; None for others."""
    rank = len(p.shape)
    if batch is None or p.shape[batch] != followed.batch or rank != 4:
        return None
    down = [a for a in range(rank) if p.rows.shape[1 + a] > 1]
    across = [a for a in range(rank) if p.columns.shape[1 + a] > 1]
    free = [a for a in range(rank) if a not in (batch, *down, *across)]
    if len(down) > 1 or len(across) > 1 or down == across or batch in (*down, *across):
        return None
    many = [a for a in free if p.shape[a] > 1]
    if len(many) > 1:
        return None
    if not down and not across:
        return "sees the whole picture in each of its elements"
    channels = many[0] if many else min((a for a in free), key=lambda a: (a != 1, -a), default=None)
    if channels is None:
        return None
    ones = [a for a in free if a != channels]
    y = down[0] if down else ones.pop(0 if not across or ones[0] < across[0] else -1) if ones else None
    x = across[0] if across else ones.pop(-1) if ones else None
    if y is None or x is None or ones:
        return None
    rows, columns = p.rows.reshape(4, -1), p.columns.reshape(4, -1)
    h, w = p.shape[y], p.shape[x]
    if np.isnan(rows[CENTRE]).any() or np.isnan(columns[CENTRE]).any():
        return None
    orders = np.argsort(rows[CENTRE], kind="stable"), np.argsort(columns[CENTRE], kind="stable")
    rows, columns = rows[:, orders[0]], columns[:, orders[1]]
    lines = _line(rows, h, followed.size[0]), _line(columns, w, followed.size[1])
    if lines[0] is None or lines[1] is None:
        return "has positions that fall into no even grid"
    known = not followed.is_open or all(isinstance(d, int) for d in dims)
    moved = any((order[1:] < order[:-1]).any() for order in orders)
    if moved and not known:
        return _OPEN
    if moved and h * w > MAX_ELEMENTS:
        return f"is a picture turned round of more than {MAX_ELEMENTS} pixels"
    place = _place((lines[0], lines[1]), (rows, columns), followed.size) if known else None
    index = tuple((orders[0][:, None] * w + orders[1]).ravel().tolist()) if moved else None
    return View(channels, (batch, channels, y, x), (h, w) if known else None, None, index, place)


_OPEN = "is laid out by the size of the input, which is open: say --size HEIGHTxWIDTH"
Line = tuple[float, float, int]  # the centre of the first cell, the step to the next, and how many


def _line(facts: np.ndarray, count: int, size: int) -> Line | None:
    """The even grid on which the facts of cells along an axis lie; None where on none, or each sees all."""
    centres = facts[CENTRE]
    if count > 1 and np.isposinf(facts[END]).any():
        return None
    if count == 1 or len(centres) == 1:
        low, high = _reach(facts, size)
        return ((low + high) / 2, high - low, 1) if high > low else None
    i = np.arange(count)
    inner = slice(count // 4, count - count // 4)  # at a border some channels may see padding alone
    part = inner if count > 4 and np.ptp(np.diff(centres[inner])) < NEAR else slice(None)
    away = i[part] - i[part].mean()
    step = away @ centres[part] / (away @ away)
    start = centres[part].mean() - step * i[part].mean()
    if step < NEAR or np.abs(start + step * i - centres).max() > (TOLERANCE + NEAR) * step:
        return None
    return float(start), float(step), count


def _reach(facts: np.ndarray, size: int) -> tuple[float, float]:
    """All that the facts of cells say that they see of a picture so wide."""
    return max(float(facts[FIRST].min()), 0.0), min(float(facts[END].max()), float(size))


def _place(lines: tuple[Line, Line], facts: tuple[np.ndarray, np.ndarray], sizes: tuple[int, int]) -> Place:
    edges, seen = [], []
    for (start, step, count), fact, size in zip(lines, facts, sizes, strict=True):
        edges.append((start - step / 2, start + step * (count - 0.5)))
        seen.append(_reach(fact, size))
    (y0, y1), (x0, x1) = edges
    (top, bottom), (left, right) = seen
    return Place((top, left, bottom, right), (y0, x0, y1, x1))


def _gathered(p: Positions, batch: int | None, followed: Coordinates) -> View | str:
    """The view of a value whose elements lie on a grid in some order, with others between them."""
    rank, images = len(p.shape), followed.batch
    shape: tuple[int, ...] | None = None
    if batch is not None and p.shape[batch] != images:  # windows and views among the images
        parts = p.shape[batch] // images
        index = p.images.ravel()
        if p.shape[batch] % images:
            return "has images in uneven parts"
        of_image = [images, parts]
        after = 0
        if np.array_equal(index, np.arange(images).repeat(parts)):
            open_ = [-1, parts]
        elif np.array_equal(index, np.tile(np.arange(images), parts)):
            of_image, open_, after = [parts, images], [parts, -1], 1
        else:
            return "has images in no order"
        shape = (*p.shape[:batch], *open_, *p.shape[batch + 1 :])
        p = reshaped(p, [*p.shape[:batch], *of_image, *p.shape[batch + 1 :]])
        batch, rank = batch + after, rank + 1
    elif batch is None:
        if images > 1:
            return "has images in no order"
        shape = (1, *p.shape)
        p = reshaped(p, shape)
        batch, rank = 0, rank + 1
    if p.varies(batch):
        return "lies elsewhere in each image"
    cells = [a for a in range(rank) if a != batch and p.varies(a)]
    free = [a for a in range(rank) if a not in (batch, *cells)]
    many = [a for a in free if p.shape[a] > 1]
    if len(many) > 1:
        return "has several axes of channels (heads)"
    if not cells:
        return "sees the whole picture in each of its elements"
    if (not many and not free) or (not many and _split(p, cells) is not None):
        return _with_channels_apart(p, batch, cells, shape, followed)
    channels = many[0] if many else free[0]
    return _on_grid(p, batch, channels, cells, [a for a in free if a != channels], shape, followed.size)


def _split(p: Positions, cells: list[int]) -> tuple[int, int] | None:
    """The axis where channels and places stand together, and how many places; None where none is."""
    for axis in cells:
        for field in (p.rows, p.columns):
            if field.shape[1 + axis] > 1:
                line = np.moveaxis(field[CENTRE], axis, 0).reshape(p.shape[axis], -1)[:, 0]
                distinct = len(np.unique(np.round(line / NEAR)))
                if distinct < p.shape[axis] and p.shape[axis] % distinct == 0:
                    return axis, distinct
    return None


def _with_channels_apart(
    p: Positions, batch: int, cells: list[int], shape: tuple[int, ...] | None, followed: Coordinates
) -> View | str:
    """The view of a value with rows or columns among its channels: (T, N, C h)."""
    found = _split(p, cells)
    if found is None:
        return "has no axis of channels"
    axis, places = found
    outer = p.shape[axis] // places
    for parts in ([outer, places], [places, outer]):
        apart = reshaped(p, [*p.shape[:axis], *parts, *p.shape[axis + 1 :]])
        channel = axis + parts.index(outer) if outer != places else axis
        if apart.varies(channel):
            continue
        now = [a for a in range(len(apart.shape)) if apart.varies(a)]
        at_batch = batch + (batch > axis)
        others = [a for a in range(len(apart.shape)) if a not in (at_batch, channel, *now)]
        whole = shape or tuple(-1 if a == batch else d for a, d in enumerate(p.shape))
        split = (*whole[:axis], *parts, *whole[axis + 1 :])
        return _on_grid(apart, at_batch, channel, now, others, split, followed.size)
    return "has no axis of channels"


def _on_grid(
    p: Positions,
    batch: int,
    channels: int,
    cells: list[int],
    ones: list[int],
    shape: tuple[int, ...] | None,
    size: tuple[int, int],
) -> View | str:
    """The view of a value of which some axes hold the cells of a grid, and others of length 1 nothing."""
    perm = (batch, channels, *cells, *ones)
    full = [p.shape[a] if a in cells else 1 for a in range(len(p.shape))]
    if prod(full) > MAX_ELEMENTS:
        return f"has more than {MAX_ELEMENTS} positions"

    def flat(field: np.ndarray) -> np.ndarray:
        return np.broadcast_to(field, (4, *full)).reshape(4, -1)

    rows, columns = flat(p.rows), flat(p.columns)
    placed = np.flatnonzero(~np.isnan(rows[CENTRE]) & ~np.isnan(columns[CENTRE]))
    y, ys = np.unique(np.round(rows[CENTRE, placed] / NEAR), return_inverse=True)
    x, xs = np.unique(np.round(columns[CENTRE, placed] / NEAR), return_inverse=True)
    h, w = len(y), len(x)
    order = np.full(h * w, -1)
    order[ys * w + xs] = placed
    if h * w != len(placed) or (order < 0).any():
        return f"has {len(placed)} positions that fall into no grid of rows and columns"
    if h * w < 2:
        return "sees the whole picture in each of its elements"
    every = order.reshape(h, w)
    facts = _widest(rows, every, 1), _widest(columns, every, 0)
    lines = _line(facts[0], h, size[0]), _line(facts[1], w, size[1])
    if lines[0] is None or lines[1] is None:
        return "has positions that fall into no even grid"
    count = prod(p.shape[a] for a in cells)
    laid_out = np.array_equal(order, np.arange(count)) and (
        len(perm) != 4 or [p.shape[a] for a in cells] == [h, w]
    )
    index = None if laid_out else tuple(order.tolist())
    own = channels if shape is None else -1
    return View(own, perm, (h, w), shape, index, _place((lines[0], lines[1]), facts, size))


def _widest(facts: np.ndarray, cells: np.ndarray, axis: int) -> np.ndarray:
    """Of cells (h, w) along rows or columns: their centre, and all that any of these sees, (3, n)."""
    of_cells = facts[:, cells]
    return np.stack([of_cells[CENTRE].mean(axis), of_cells[FIRST].min(axis), of_cells[END].max(axis)])
