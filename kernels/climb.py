"""A step of ascent on pixels: along the slope, in steps of a known mean, within what pixels can be."""

from __future__ import annotations

import numpy as np
from numba import float32, int64

from .jit import compiled, view

TINY = 1e-12  # a mean slope that is none
WHITE = 255.0


def climb(pixels: np.ndarray, slope: np.ndarray, offset: np.ndarray, rate: float) -> np.ndarray:
    """Images after a step: clip(pixels + rate · g / mean|g|, 0, 255), the mean over each image.

    `pixels` and `slope` (N, C, H, W) float32; g is the slope moved back by `offset` (2,), which it was found
    at: its pixel (y, x) + offset, counted round the edges, belongs to the pixel (y, x). Raises ValueError
    where shapes or dtypes do not fit.
    """
    if pixels.ndim != 4 or pixels.shape != slope.shape or {pixels.dtype, slope.dtype} != {np.dtype("f4")}:
        raise ValueError(
            f"pixels {pixels.shape} {pixels.dtype} and a slope {slope.shape} {slope.dtype} differ"
        )
    out = np.empty(pixels.shape, np.float32)
    down, across = (int(o) % size for o, size in zip(offset, pixels.shape[2:], strict=True))
    _climb(np.ascontiguousarray(pixels), np.ascontiguousarray(slope), down, across, rate, out)
    return out


@compiled(view(float32, 4), view(float32, 4), int64, int64, float32, float32[:, :, :, ::1])
def _climb(pixels, slope, down, across, rate, out):
    images, channels, height, width = pixels.shape
    left = width - across  # pixels of a row before its slope begins anew at the edge
    sums = np.empty(width, np.float32)
    for n in range(images):
        total = 0.0
        for c in range(channels):
            sums[:] = 0  # as many sums as a row has pixels, which the compiler adds to side by side
            for y in range(height):
                line = slope[n, c, y]
                for k in range(width):
                    sums[k] += abs(line[k])
            for k in range(width):
                total += sums[k]
        mean = total / (channels * height * width)
        length = float32(rate / (TINY if mean < TINY else mean))
        for c in range(channels):
            for y in range(height):
                source, target, line = pixels[n, c, y], out[n, c, y], slope[n, c, (y + down) % height]
                for start, end, shift in ((0, left, across), (left, width, -left)):
                    here, there, towards = (
                        source[start:end],
                        target[start:end],
                        line[start + shift : end + shift],
                    )
                    for k in range(end - start):
                        value = here[k] + length * towards[k]
                        value = float32(0) if value < 0 else value  # so written, what is no number stays none
                        there[k] = float32(WHITE) if value > WHITE else value
