"""Photos to another size, as Pillow and torchvision resize them: filters that widen where a photo shrinks."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numba import float32, int64, uint8

from ..jit import compiled, view

# What a filter weighs at a distance in pixels, and how far it reads: Pillow's src/libImaging/Resample.c.
FILTERS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = {
    "box": (lambda x: ((x > -0.5) & (x <= 0.5)) * 1.0, 0.5),
    "linear": (lambda x: np.maximum(1 - abs(x), 0), 1),
    "hamming": (lambda x: np.sinc(x) * (0.54 + 0.46 * np.cos(np.pi * x)) * (abs(x) < 1), 1),
    "cubic": (lambda x: _cubic(abs(x)), 2),
    "lanczos": (lambda x: np.sinc(x) * np.sinc(x / 3) * (abs(x) < 3), 3),
}


def resample(photo: np.ndarray, rows: int, columns: int, name: str) -> np.ndarray:
    """Resize a photo (H, W, K) uint8 to (rows, columns, K) with one of FILTERS.

    Pixels are areas with their centres at halves; an axis that shrinks is averaged over as many times more
    pixels, so nothing is left out (antialiasing). Agrees with Pillow to the rounding of tones. Raises
    ValueError for what is no such photo and for sizes that are empty.
    """
    photo = np.ascontiguousarray(photo)
    if photo.ndim != 3 or photo.dtype != np.uint8 or 0 in photo.shape or min(rows, columns) < 1:
        raise ValueError(f"cannot resize {photo.shape} {photo.dtype} to {rows}x{columns}")
    height, width, depth = photo.shape
    out = np.empty((rows, columns, depth), np.uint8)
    line = np.empty(width * depth, np.float32)
    down, across = _taps(height, rows, name), _taps(width, columns, name)
    _resample(photo.reshape(height, -1), *down, *across, line, out)
    return out


def filtered(numbers: np.ndarray, rows: int, columns: int, name: str, antialias: bool = True) -> np.ndarray:
    """Numbers (H, W, K) float32 at another size, as `resample` does but for the rounding to tones.

    Without `antialias` a filter is as narrow where pictures shrink as where they grow.
    """
    for axis, size in enumerate((rows, columns)):
        first, count, weights = _taps(numbers.shape[axis], size, name, antialias)
        matrix = np.zeros((size, numbers.shape[axis]), np.float32)
        for i in range(size):
            matrix[i, first[i] : first[i] + count[i]] = weights[i, : count[i]]
        numbers = np.moveaxis(np.tensordot(matrix, numbers, (1, axis)), 0, axis)
    return np.ascontiguousarray(numbers)


@lru_cache(64)  # photos of a run often have one size
def _taps(
    source: int, target: int, name: str, widens: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each target pixel: the first that it reads, how many, and their weights (target, most) float32."""
    weigh, support = FILTERS[name]
    step = source / target
    wide = max(step, 1.0) if widens else 1.0
    centre = (np.arange(target) + 0.5) * step
    first = np.maximum(centre - support * wide + 0.5, 0).astype(np.int64)
    count = np.minimum(centre + support * wide + 0.5, source).astype(np.int64) - first
    at = first[:, None] + np.arange(count.max())
    weights = weigh((at + 0.5 - centre[:, None]) / wide) * (np.arange(count.max()) < count[:, None])
    return first, count, (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys's cubic convolution with a = -1/2."""
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


_AXIS = (view(int64, 1), view(int64, 1), view(float32, 2))


@compiled(view(uint8, 2), *_AXIS, *_AXIS, float32[::1], uint8[:, :, ::1])
def _resample(photo, top, high, down, left, broad, across, line, out):
    depth = out.shape[2]
    for r in range(len(out)):
        line[:] = 0
        for i in range(high[r]):
            row, weight = photo[top[r] + i], down[r, i]
            for x in range(len(line)):
                line[x] += weight * row[x]
        for c in range(out.shape[1]):
            for k in range(depth):
                total = np.float32(0.5)  # to the nearest tone
                for i in range(broad[c]):
                    total += across[c, i] * line[(left[c] + i) * depth + k]
                out[r, c, k] = np.uint8(min(max(total, np.float32(0)), np.float32(255)))
