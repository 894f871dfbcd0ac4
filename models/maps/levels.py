"""Maps of several layers put together on the grid of the finest: what a pyramid says of one box, or what
layers say that somebody names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from .placement import Placement

Size = tuple[int, int]
FUSIONS: dict[str, Callable[..., np.ndarray]] = {"mean": np.mean, "max": np.max}


def together(maps: Sequence[np.ndarray], places: Sequence[Placement], size: Size) -> np.ndarray:
    """The sum of maps (h, w) of one input of `size` (height, width), in the cells of the first, the finest.

    `places` say where each lies in the input. A level that nothing came back to is zero, and adds nothing.
    """
    total = np.zeros(maps[0].shape, np.float32)
    for values in _on_first(maps, places, size):
        total += values
    return total


def fused(maps: Sequence[np.ndarray], places: Sequence[Placement], size: Size, how: str) -> np.ndarray:
    """The same by one of FUSIONS, of maps that are first scaled, each to its greatest value."""
    scaled = [values / (np.abs(values).max() or 1) for values in maps]
    return FUSIONS[how](list(_on_first(scaled, places, size)), axis=0).astype(np.float32)


def _on_first(maps: Sequence[np.ndarray], places: Sequence[Placement], size: Size) -> Iterator[np.ndarray]:
    """Each of the maps in the cells of the first."""
    ys, xs = (_pixels(places[0], axis, maps[0].shape[axis], size[axis]) for axis in (0, 1))
    for values, lies in zip(maps, places, strict=True):
        if lies.grid == places[0].grid and values.shape == maps[0].shape:
            yield values
        elif values.any():
            yield lies.spread(values[None], size, outside=0)[0][np.ix_(ys, xs)]
        else:
            yield np.zeros_like(maps[0])


def _pixels(place: Placement, axis: int, count: int, side: int) -> np.ndarray:
    """The pixels of the input, along an axis, in which the cells of a map have their middles."""
    low, high = place.grid[axis], place.grid[axis + 2]
    middles = low + (np.arange(count) + 0.5) * (high - low) / count
    return middles.astype(int).clip(0, side - 1)
