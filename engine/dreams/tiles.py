"""Gradients of images of any size through windows of one size: no edge, no seam, bounded memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Slope = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]  # windows to gradients and values (N,)


def starts(size: int, window: int, offset: int) -> list[int]:
    """Where windows begin along an axis closed to a ring: as few as cover it, evenly, from `offset`."""
    count = -(-size // window)
    return [(offset + i * size // count) % size for i in range(count)]


def tiled(
    pixels: np.ndarray, window: tuple[int, int], offset: np.ndarray, slope: Slope
) -> tuple[np.ndarray, np.ndarray]:
    """The gradient of images (N, C, H, W), float32, and the mean value of the windows (N,).

    The windows cover the images, which are joined at their borders, from a random `offset` (2,); what
    several see is averaged. A window larger than an image sees it repeated. One window is held at a time.
    """
    (height, width), (h, w) = pixels.shape[2:], window
    total, seen = np.zeros_like(pixels), np.zeros((height, width), np.float32)
    values = []
    for y in starts(height, h, int(offset[0])):
        for x in starts(width, w, int(offset[1])):
            rows, columns = (y + np.arange(h))[:, None] % height, (x + np.arange(w)) % width
            g, value = slope(pixels[:, :, rows, columns])
            for i in range(0, h, height):  # blocks in which no pixel lies twice
                for j in range(0, w, width):
                    at = rows[i : i + height], columns[j : j + width]
                    total[:, :, *at] += g[:, :, i : i + height, j : j + width]
                    seen[at] += 1
            values.append(value)
    total /= seen
    return total, np.mean(values, 0)
