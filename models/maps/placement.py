"""Where what is found lies in its photo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...kernels.photos.upsample import upsample
from ..photos.preprocess import Box

Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class Placement:
    """Where values (h, w) lie in a photo: spread evenly over its `box` (y0, x0, y1, x1), in photo pixels.

    Pixel Y spans Y to Y + 1; the box may reach beyond the photo. Points of the values are in cells, where
    cell i spans i to i + 1.
    """

    box: Box

    def scaled(self, size: Size, other: Size) -> Placement:
        """The same in the photo of `size` (height, width) that was given an `other` one."""
        down, across = other[0] / size[0], other[1] / size[1]
        y0, x0, y1, x1 = self.box
        return Placement((y0 * down, x0 * across, y1 * down, x1 * across))

    def on_photo(self, point: tuple[float, float], size: Size) -> tuple[float, float]:
        """A point (y, x) of values of `size` (h, w) as a point of the photo."""
        y0, x0, y1, x1 = self.box
        return y0 + point[0] * (y1 - y0) / size[0], x0 + point[1] * (x1 - x0) / size[1]

    def of_pixels(self, photo: Size, size: Size) -> tuple[np.ndarray, np.ndarray]:
        """Where the centres of a photo's pixels lie in values of `size`: rows (H,) and columns (W,)."""
        (height, width), (y0, x0, y1, x1) = size, self.box
        ys = (np.arange(photo[0]) + 0.5 - y0) / (y1 - y0) * height
        xs = (np.arange(photo[1]) + 0.5 - x0) / (x1 - x0) * width
        return ys, xs

    def spread(self, planes: np.ndarray, photo: Size, outside: float = np.nan) -> np.ndarray:
        """Planes (N, h, w) on the pixels of a photo (height, width), (N, height, width) float32, bilinearly.

        `outside` is what pixels have that are not covered.
        """
        return upsample(planes, *photo, box=self.box, outside=outside)
