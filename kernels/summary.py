"""A map in five numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import float32, float64

from .jit import compiled, view


class Summary(NamedTuple):
    """`least`, `most` and `mean` of all values; of what is above zero, taken as a distribution, the `entropy`
    in nats; `peak` is where the greatest value lies in reading order, the first of equals.
    """

    least: float
    most: float
    mean: float
    entropy: float
    peak: int


def summary(map_: np.ndarray) -> Summary | None:
    """The numbers of a map, any shape, float32; None where a value is not finite, or there is none.

    The entropy is NaN where nothing is above zero.
    """
    out = np.empty(5)
    _summary(np.ascontiguousarray(map_, np.float32).reshape(-1), out)
    least, most, mean, entropy, peak = out.tolist()
    return None if np.isnan(mean) else Summary(least, most, mean, entropy, int(peak))


@compiled(view(float32, 1), float64[::1])
def _summary(values, out):
    out[:] = np.nan
    least, most, total, above, peak = np.inf, -np.inf, 0.0, 0.0, 0
    for i in range(values.size):
        value = float64(values[i])
        if not abs(value) < np.inf:
            return
        if value > most:
            most, peak = value, i
        least = min(least, value)
        total += value
        above += max(value, 0.0)
    if values.size == 0:
        return
    out[0], out[1], out[2], out[4] = least, most, total / values.size, peak
    if above > 0:
        entropy = 0.0
        for i in range(values.size):
            if values[i] > 0:
                share = values[i] / above
                entropy -= share * np.log(share)
        out[3] = max(entropy, 0.0)
