"""Copies of an image, each with a patch of another in its place: what occlusion shows a network."""

from __future__ import annotations

import numpy as np
from numba import boolean, float32, int64

from .jit import compiled, view


def tile(
    image: np.ndarray,
    filler: np.ndarray,
    corners: np.ndarray,
    patch: tuple[int, int],
    out: np.ndarray,
    channels_last: bool = False,
) -> None:
    """Write one copy of `image` for each corner into `out`, with a patch of `filler` at that corner.

    `image` and `filler` (C, H, W), or (H, W, C) for `channels_last`, float32; `corners` (N, 2) the upper
    left pixels (y, x) of the patches and `patch` their height and width, in pixels; `out` (N, *image.shape)
    float32, C-contiguous, which may be used again for the next N. Raises ValueError where shapes or dtypes
    do not fit or a patch reaches beyond the image.
    """
    if image.ndim != 3 or filler.shape != image.shape or not image.dtype == filler.dtype == np.float32:
        raise ValueError(f"image {image.shape} {image.dtype} and filler {filler.shape} {filler.dtype} differ")
    if out.shape != (len(corners), *image.shape) or out.dtype != np.float32 or not out.flags.c_contiguous:
        raise ValueError(f"cannot write {len(corners)} images {image.shape} to {out.shape} {out.dtype}")
    corners = np.asarray(corners, np.int64).reshape(-1, 2)
    height, width = image.shape[:2] if channels_last else image.shape[1:]
    down, across = height - patch[0], width - patch[1]
    # A copy of one image takes 10 microseconds, and comparing arrays half of that.
    if min(patch) < 1 or not all(0 <= y <= down and 0 <= x <= across for y, x in corners.tolist()):
        raise ValueError(f"patches of {patch[0]}x{patch[1]} reach beyond an image of {height}x{width}")
    np.copyto(out, image)  # as fast as memory allows: past the cache it writes without reading first
    _paste(np.ascontiguousarray(filler), corners, patch[0], patch[1], channels_last, out)


@compiled(view(float32, 3), view(int64, 2), int64, int64, boolean, float32[:, :, :, ::1])
def _paste(filler, corners, height, width, channels_last, out):
    for n in range(len(corners)):
        top, left = corners[n]
        bottom, right = top + height, left + width
        if channels_last:
            out[n, top:bottom, left:right] = filler[top:bottom, left:right]
        else:
            out[n, :, top:bottom, left:right] = filler[:, top:bottom, left:right]
