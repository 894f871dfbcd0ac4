"""Values on a grid of places from coarse to fine: between places that agree nothing is computed.

o . . . o . . . o       o: computed first, every fourth place
. . . . . . . . .       In a cell whose corners differ, the places at half the distance are computed,
. . . . . . . . .       and so on; in the others they are filled in, linearly.
. . . . . . . . .
o . . . o . . . o
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

STEPS = (4, 2, 1)  # places from one to the next, level by level


def coarse_to_fine(
    shape: tuple[int, int], compute: Callable[[np.ndarray], np.ndarray], tolerance: float, labels: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """The values (rows, columns, K) on a grid of this shape, and which were computed, (rows, columns) bool.

    `compute` takes the numbers (n,) of places in reading order and gives (n, K). A cell is refined where its
    corners differ in the first of the K values by more than `tolerance` of that value's range so far. What
    happens between four corners that agree is not seen. The last `labels` of the K are filled in with
    those of the nearest place, as they are names and not amounts.
    """
    known, values, lattice = np.zeros(shape, bool), np.empty(0), [np.empty(0, int)] * 2
    for step in STEPS:
        finer = [np.unique(np.append(np.arange(0, n, step), n - 1)) for n in shape]
        wanted = np.zeros(shape, bool)
        if step == STEPS[0]:
            wanted[np.ix_(*finer)] = True
        else:
            wanted[np.ix_(*finer)] = _changing(values, lattice, shape, tolerance)[np.ix_(*finer)]
            values = _between(values, lattice, finer, labels)
        numbers = np.flatnonzero(wanted & ~known)
        if len(numbers):
            found = compute(numbers)
            if step == STEPS[0]:
                values = np.empty((*map(len, finer), found.shape[1]))
            rows, columns = np.divmod(numbers, shape[1])
            values[np.searchsorted(finer[0], rows), np.searchsorted(finer[1], columns)] = found
        known |= wanted
        lattice = finer
    return values, known


def _changing(
    values: np.ndarray, lattice: list[np.ndarray], shape: tuple[int, int], tolerance: float
) -> np.ndarray:
    """The places in cells whose corners differ, edges included."""
    first = values[..., 0]
    within = np.ptp(first) * tolerance
    out = np.zeros(shape, bool)
    for i in range(max(1, len(lattice[0]) - 1)):
        for j in range(max(1, len(lattice[1]) - 1)):
            if np.ptp(first[i : i + 2, j : j + 2]) > within:
                (top, *bottom), (left, *right) = lattice[0][i : i + 2], lattice[1][j : j + 2]
                out[top : max([top, *bottom]) + 1, left : max([left, *right]) + 1] = True
    return out


def _between(
    values: np.ndarray, lattice: list[np.ndarray], finer: list[np.ndarray], labels: int
) -> np.ndarray:
    """The values on a finer lattice, linear between those of this one, or the nearest."""
    amounts, names = np.split(values, [values.shape[2] - labels], axis=2)
    for axis, (coarse, fine) in enumerate(zip(lattice, finer, strict=True)):
        index = np.interp(fine, coarse, np.arange(len(coarse)))
        low = index.astype(int)
        high, share = np.minimum(low + 1, len(coarse) - 1), np.expand_dims(index - low, (1 - axis, 2))
        amounts = amounts.take(low, axis) * (1 - share) + amounts.take(high, axis) * share
        names = names.take(np.rint(index).astype(int), axis)
    return np.concatenate([amounts, names], axis=2)
