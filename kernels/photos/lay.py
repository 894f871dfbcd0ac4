"""A map laid on its photo in one call: enlarged, stretched to its range, coloured and blended."""

from __future__ import annotations

import numpy as np
from numba import float32, uint8, uint64

from ..jit import compiled, view
from .normalise import _normalise
from .overlay import _overlay, words
from .upsample import AXES, Box, _upsample, axes


def lay(
    photo: np.ndarray, map_: np.ndarray, box: Box, lut: np.ndarray, alpha: float, cells: Box | None = None
) -> np.ndarray:
    """`overlay(photo, normalise(upsample(map_, ..., box, nan, cells)), lut, alpha)` for one map, to the bit.

    `photo` (H, W, 3) uint8, `map_` (h, w) float32; the rest, and the errors, are those of the three. A small
    picture takes longer to hand from one kernel to the next than to make.
    """
    photo, map_ = np.ascontiguousarray(photo), np.ascontiguousarray(map_, np.float32)
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] != 3:
        raise ValueError(f"a photo is (H, W, 3) uint8, not {photo.shape} {photo.dtype}")
    if map_.ndim != 2:
        raise ValueError(f"a map has shape {map_.shape}, not (h, w)")
    out = np.empty_like(photo)
    _lay(photo, map_[None], *axes(map_.shape, photo.shape, box, cells), *words(lut, alpha), out)
    return out


@compiled(view(uint8, 3), view(float32, 3), *AXES, view(uint64, 1), view(uint64, 1), uint8[:, :, ::1])
def _lay(photo, maps, top, bottom, y_index, y_weight, left, right, x_index, x_weight, colours, keep, out):
    heat = np.empty((1, photo.shape[0], photo.shape[1]), np.float32)
    _upsample(maps, top, bottom, y_index, y_weight, left, right, x_index, x_weight, np.float32(np.nan), heat)
    _normalise(heat, heat)
    _overlay(photo.reshape(-1, 3), heat.reshape(-1), colours, keep, out.reshape(-1, 3))
