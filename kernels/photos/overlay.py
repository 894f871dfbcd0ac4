"""Heat laid over photos: colour-map look-up and blend in one pass."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import float32, uint8, uint64

from ..jit import compiled, view

_LANES = np.array([0, 16, 32], np.uint64)


def overlay(photos: np.ndarray, maps: np.ndarray, lut: np.ndarray, alpha: float = 0.7) -> np.ndarray:
    """Blend the colours of maps into photos; returns uint8 of the photos' shape.

    `photos` (N, H, W, 3) or (H, W, 3) uint8, `maps` (N, H, W) or (H, W) in [0, 1] (clamped), `lut`
    (256, 3) uint8 in the photos' channel order. Heat h covers the photo with opacity `alpha` * h:
    where the model did not look, the photo keeps its own colours. A NaN leaves its pixel as it is.
    Raises ValueError where shapes or dtypes do not fit or `alpha` is not in [0, 1].
    """
    photos = np.ascontiguousarray(photos)
    maps = np.ascontiguousarray(maps, dtype=np.float32)
    if photos.dtype != np.uint8 or photos.ndim not in (3, 4) or photos.shape != (*maps.shape, 3):
        raise ValueError(f"maps {maps.shape} do not fit photos {photos.shape} {photos.dtype}")
    out = np.empty_like(photos)
    _overlay(photos.reshape(-1, 3), maps.ravel(), *words(lut, alpha), out.reshape(-1, 3))
    return out


def words(lut: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """What each step of heat adds, and by what it multiplies the photo: (257,) uint64 both.

    Opacities count in 256ths; entry 256 is transparent, for NaN. One word holds the three colours in lanes
    of 16 bits, so that a pixel is blended by one multiplication. Raises ValueError as `overlay` does.
    """
    if lut.shape != (256, 3) or lut.dtype != np.uint8:
        raise ValueError(f"a colour map is (256, 3) uint8, not {lut.shape} {lut.dtype}")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha {alpha} is not between 0 and 1")
    return _words(lut.tobytes(), float(alpha))


@lru_cache(16)
def _words(lut: bytes, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    opacity = np.append(np.rint(np.linspace(0, 256 * alpha, 256)), 0).astype(np.uint64)
    table = np.frombuffer(lut, np.uint8).reshape(256, 3)
    colours = np.vstack([table, table[:1]]) * opacity[:, None] + np.uint64(128)
    return np.bitwise_or.reduce(colours << _LANES, axis=1), 256 - opacity


@compiled(view(uint8, 2), view(float32, 1), view(uint64, 1), view(uint64, 1), uint8[:, ::1])
def _overlay(photos, maps, colours, keep, out):
    for i in range(maps.size):
        step = min(max(maps[i], np.float32(0)), np.float32(1)) * np.float32(255) + np.float32(0.5)
        level = np.uint64(256) if np.isnan(maps[i]) else np.uint64(np.int32(step))
        red, green, blue = np.uint64(photos[i, 0]), np.uint64(photos[i, 1]), np.uint64(photos[i, 2])
        word = (red | green << np.uint64(16) | blue << np.uint64(32)) * keep[level] + colours[level]
        out[i, 0] = np.uint8(word >> np.uint64(8))
        out[i, 1] = np.uint8(word >> np.uint64(24))
        out[i, 2] = np.uint8(word >> np.uint64(40))
