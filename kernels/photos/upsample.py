"""Heatmaps from the resolution of a feature map to the pixels of a photo."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import float32, intp

from ..jit import compiled, view

Box = tuple[float, float, float, float]  # y0, x0, y1, x1 in pixels; pixel Y spans Y to Y + 1


def upsample(
    maps: np.ndarray,
    height: int,
    width: int,
    box: Box | None = None,
    outside: float = 0.0,
    cells: Box | None = None,
) -> np.ndarray:
    """Resize maps (N, h, w) bilinearly to (N, height, width), all float32.

    Half-pixel centres and clamped edges, without antialiasing: what ONNX Resize (`linear`,
    `half_pixel`) and OpenCV's `INTER_LINEAR` do. `box` says which part of the photo the maps are of,
    in photo pixels; it may reach beyond the photo, and None is the whole of it. Photo pixels whose
    centre lies off the box become `outside`, which may be NaN.

    The h x w values belong to the middles of so many even cells over `cells`, by default over the
    box: value i down lies at y0 + (i + 1/2) (y1 - y0) / h. Beyond the outermost middles they stay as
    they are there. Raises ValueError for shapes, sizes and boxes that are empty or not finite.
    """
    maps = np.ascontiguousarray(maps, dtype=np.float32)
    if maps.ndim != 3 or 0 in maps.shape[1:]:
        raise ValueError(f"maps have shape {maps.shape}, not (N, h, w)")
    if height < 1 or width < 1:
        raise ValueError(f"cannot resize to {height}x{width}")
    out = np.empty((len(maps), height, width), np.float32)
    places = axes(maps.shape[1:], (height, width), (0, 0, height, width) if box is None else box, cells)
    _upsample(maps, *places, np.float32(outside), out)
    return out


def axes(
    source: tuple[int, ...], target: tuple[int, ...], box: Box, cells: Box | None = None
) -> tuple[int | np.ndarray, ...]:
    """What `_upsample` is to know of both axes: where the pixels of `target` lie in a map of `source`.

    Down, then across: the first pixel inside the box and the one behind the last, and of each pixel its index
    in the map and the weight of the next one, (n,) each.
    """
    y0, x0, y1, x1 = map(float, box)
    top, left, bottom, right = (y0, x0, y1, x1) if cells is None else map(float, cells)
    down = _axis(source[0], target[0], (y0, y1), (top, bottom))
    return *down, *_axis(source[1], target[1], (x0, x1), (left, right))


@lru_cache(64)  # photos of a run often have one size; this takes as long as the rest for a small map
def _axis(
    source: int, target: int, box: tuple[float, float], cells: tuple[float, float]
) -> tuple[int, int, np.ndarray, np.ndarray]:
    """First and past-the-last target pixel inside the box, from start to end, and of each one the source
    index and weight, where the source lies evenly over the cells.
    """
    for start, end in (box, cells):
        if not (-np.inf < start < end < np.inf and source / (end - start) < np.inf):
            raise ValueError(f"a box from {start} to {end} covers nothing")
    first, last = (int(np.clip(np.ceil(edge - 0.5), 0, target)) for edge in box)
    start, end = cells
    at = (np.arange(target) + 0.5 - start) * (source / (end - start)) - 0.5
    at = np.clip(at, 0, source - 1)
    index = np.minimum(at.astype(np.intp), max(source - 2, 0))
    return first, last, index, (at - index).astype(np.float32)


AXES = 2 * (intp, intp, view(intp, 1), view(float32, 1))


@compiled(view(float32, 3), *AXES, float32, float32[:, :, ::1])
def _upsample(maps, top, bottom, y_index, y_weight, left, right, x_index, x_weight, outside, out):
    # Across first, on the few rows of the map; then down, in loops that the compiler vectorises.
    count, h, w = maps.shape
    below, beside = min(1, h - 1), min(1, w - 1)
    wide = np.empty((h, right - left), np.float32)
    for n in range(count):
        for y in range(h):
            for x in range(right - left):
                i = x_index[left + x]
                a = maps[n, y, i]
                wide[y, x] = a + (maps[n, y, i + beside] - a) * x_weight[left + x]
        for y in range(out.shape[1]):
            row = out[n, y]
            if y < top or y >= bottom:
                row[:] = outside
                continue
            row[:left] = outside
            row[right:] = outside
            inside, weight = row[left:right], y_weight[y]
            upper, lower = wide[y_index[y]], wide[y_index[y] + below]
            for x in range(inside.size):
                inside[x] = upper[x] + (lower[x] - upper[x]) * weight
