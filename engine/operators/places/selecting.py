"""Which elements an operator selects by an index: the operators themselves, on numbered elements.

Each takes the numbers of the elements of its data, its other inputs, and its attributes by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Numbers = np.ndarray[Any, Any]  # of any integers, in the shape of a value


def gather_elements(data: Numbers, index: Numbers, axis: int = 0) -> Numbers:
    """Along an axis, each by an index of its own."""
    return data[_places(data, index, axis)]


def gather_nd(data: Numbers, index: Numbers, batch_dims: int = 0) -> Numbers:
    """By indices of the axes behind the first few, which are gone through together."""
    together = np.indices(index.shape[:batch_dims])
    ones = [1] * (index.ndim - 1 - batch_dims)
    batch = [axis.reshape(*axis.shape, *ones) for axis in together]
    return data[(*batch, *np.moveaxis(index, -1, 0))]


def scatter_elements(data: Numbers, index: Numbers, updates: Numbers, axis: int = 0) -> Numbers:
    """Others in the place of some along an axis."""
    found = data.copy()
    found[_places(data, index, axis)] = updates
    return found


def scatter_nd(data: Numbers, index: Numbers, updates: Numbers) -> Numbers:
    """Others in the place of some."""
    found = data.copy()
    found[tuple(np.moveaxis(index, -1, 0))] = updates
    return found


def _places(data: Numbers, index: Numbers, axis: int) -> tuple[Numbers, ...]:
    grid = list(np.indices(index.shape, sparse=True))
    grid[axis % data.ndim] = index
    return tuple(grid)


def compress(data: Numbers, condition: Numbers, axis: int | None = None) -> Numbers:
    """Those of which a condition is true; without an axis those of all elements in a row."""
    return np.compress(condition, data, axis)


def reverse_sequence(data: Numbers, lengths: Numbers, batch_axis: int = 1, time_axis: int = 0) -> Numbers:
    """The first few along an axis backwards, for each image as many as its length says."""
    by_image = np.moveaxis(data, (batch_axis, time_axis), (0, 1))
    time = np.arange(by_image.shape[1])
    until = lengths.reshape(-1, 1)
    found = by_image[np.arange(len(by_image))[:, None], np.where(time < until, until - 1 - time, time)]
    return np.moveaxis(found, (0, 1), (batch_axis, time_axis))


SELECTING: dict[str, Callable[..., Numbers]] = {
    "GatherElements": gather_elements,
    "GatherND": gather_nd,
    "ScatterElements": scatter_elements,
    "ScatterND": scatter_nd,
    "Compress": compress,
    "ReverseSequence": reverse_sequence,
}
