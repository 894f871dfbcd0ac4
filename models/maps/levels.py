"""Maps of several layers put together on the grid of the finest: what a pyramid says of one box."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .placement import Placement

Size = tuple[int, int]


def together(maps: Sequence[np.ndarray], places: Sequence[Placement], size: Size) -> np.ndarray:
    """The sum of maps (h, w) of one input of `size` (height, width), in the cells of the first, the finest.

    `places` say where each lies in the input. A level that nothing came back to is zero, and adds nothing.
    """
    first, place = maps[0], places[0]
    total = first.astype(np.float32, copy=True)
    ys, xs = (
        _pixels(place, axis, count, side) for axis, count, side in zip((0, 1), first.shape, size, strict=True)
    )
    for values, lies in zip(maps[1:], places[1:], strict=True):
        if values.any():
            total += lies.spread(values[None], size, outside=0)[0][np.ix_(ys, xs)]
    return total


def _pixels(place: Placement, axis: int, count: int, side: int) -> np.ndarray:
    """The pixels of the input, along an axis, in which the cells of a map have their middles."""
    low, high = place.grid[axis], place.grid[axis + 2]
    middles = low + (np.arange(count) + 0.5) * (high - low) / count
    return middles.astype(int).clip(0, side - 1)
