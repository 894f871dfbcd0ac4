"""Heatmaps of any range to [0, 1]."""

from __future__ import annotations

import numpy as np
from numba import float32

from ..jit import compiled, view


def normalise(maps: np.ndarray) -> np.ndarray:
    """Stretch each map of (N, H, W), float32, from its own minimum and maximum to [0, 1].

    A constant map becomes zeros: it has no hot spot. Pixels that are NaN or infinite take no part
    and come back as NaN. Raises ValueError for another number of axes.
    """
    maps = np.ascontiguousarray(maps, dtype=np.float32)
    if maps.ndim != 3:
        raise ValueError(f"maps have shape {maps.shape}, not (N, H, W)")
    out = np.empty_like(maps)
    _normalise(maps, out)
    return out


@compiled(view(float32, 3), float32[:, :, ::1])
def _normalise(maps, out):
    # Extremes by column first: a loop over independent numbers is one the compiler vectorises.
    count, height, width = maps.shape
    for n in range(count):
        low = np.full(width, np.inf, np.float32)
        high = np.full(width, -np.inf, np.float32)
        for y in range(height):
            row = maps[n, y]
            for x in range(width):
                value = row[x]
                finite = abs(value) < np.inf
                low[x] = value if finite and value < low[x] else low[x]
                high[x] = value if finite and value > high[x] else high[x]
        # In float64, where neither the span of two float32 numbers nor its inverse overflows.
        least, most = np.float64(np.inf), np.float64(-np.inf)
        for x in range(width):
            least, most = min(least, low[x]), max(most, high[x])
        scale = 1 / (most - least) if most > least else 0.0
        for y in range(height):
            row, stretched = maps[n, y], out[n, y]
            for x in range(width):
                value = row[x]
                stretched[x] = (value - least) * scale if abs(value) < np.inf else np.nan
