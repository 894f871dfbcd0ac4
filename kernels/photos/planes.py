"""A window of a photo as the planes of a model's input: cut out, filled up, and each tone looked up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import float32, int64, uint8

from ..jit import compiled, view


def planes(
    photo: np.ndarray,
    corner: tuple[int, int],
    tones: np.ndarray,
    fill: Sequence[float] | np.ndarray,
    order: Sequence[int],
    out: np.ndarray,
    channels_last: bool = False,
) -> None:
    """Write to `out` the window of a photo whose upper left pixel (y, x) is `corner`.

    `photo` (H, W, K) uint8. `tones` (C, 256) float32 is what the tones of each channel become, `order` which
    of the K channels each of the C is made of, `fill` (C,) what the channels are where the window lies beyond
    the photo. `out` (C, h, w), or (h, w, C) for `channels_last`, float32, C-contiguous. Raises ValueError
    where shapes or dtypes do not fit.
    """
    photo = np.ascontiguousarray(photo)
    fill = np.ascontiguousarray(fill, np.float32)
    if photo.ndim != 3 or photo.dtype != np.uint8:
        raise ValueError(f"a photo is (H, W, K) uint8, not {photo.shape} {photo.dtype}")
    if fill.shape != (len(order),):
        raise ValueError(f"{fill.shape} fills are none for {len(order)} channels")
    if tones.shape != (len(order), 256) or not all(0 <= k < photo.shape[2] for k in order):
        raise ValueError(f"tones {tones.shape} are none of the channels {order} of {photo.shape}")
    if out.ndim != 3 or out.shape[2 if channels_last else 0] != len(order) or not out.flags.c_contiguous:
        raise ValueError(f"cannot write {len(order)} channels to {out.shape}")
    h, w = out.shape[:2] if channels_last else out.shape[1:]
    steps = (1, w * len(order), len(order)) if channels_last else (h * w, w, 1)
    where = np.array([h, w, *corner, *steps, *order], np.int64)
    _planes(photo, where, np.ascontiguousarray(tones, np.float32), fill, out.reshape(-1))


@compiled(view(uint8, 3), view(int64, 1), view(float32, 2), view(float32, 1), float32[::1])
def _planes(photo, where, tones, fill, out):
    h, w, top, left, of_channel, of_row, of_pixel = where[:7]
    first, last = min(max(-left, 0), w), max(min(photo.shape[1] - left, w), 0)
    for c in range(len(tones)):
        k, tone = where[7 + c], tones[c]
        for y in range(h):
            line = out[c * of_channel + y * of_row :]
            is_on_it = 0 <= y + top < photo.shape[0] and first < last
            start, stop = (first, last) if is_on_it else (w, w)
            for x in range(start):
                line[x * of_pixel] = fill[c]
            if is_on_it:
                row, middle = photo[y + top, left + first : left + last], line[first * of_pixel :]
                if of_pixel == 1:  # said to the compiler, which then knows that it writes neighbours
                    for x in range(len(row)):
                        middle[x] = tone[row[x, k]]
                else:
                    for x in range(len(row)):
                        middle[x * of_pixel] = tone[row[x, k]]
            for x in range(stop, w):
                line[x * of_pixel] = fill[c]
