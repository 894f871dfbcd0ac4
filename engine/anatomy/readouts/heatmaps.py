"""Where the peak of a heat map lies between its cells, for networks that were trained so.

Huang et al., "The Devil is in the Details: Delving into Unbiased Data Processing for Human Pose Estimation",
CVPR 2020; Zhang et al., "Distribution-Aware Coordinate Representation for Human Pose Estimation", CVPR 2020.
"""

from __future__ import annotations

import numpy as np

from .planes import Range

UNBIASED = ("vitpose",)  # the types of models whose producers read their heat maps so
_BLUR = 0.8, 5  # the standard deviation and the radius of the blur, in cells
_LEAST, _GREATEST = 0.001, 50.0  # what a heat map is held between before its logarithm


def unbiased(plane: np.ndarray, cell: tuple[int, int], size: tuple[int, int]) -> Range:
    """The y and x of a peak in pixels of an input of `size`, by the cell (row, column) of a plane (h, w).

    Around its peak the logarithm of a Gaussian is a paraboloid, whose top one step of Newton's finds. The
    first cell lies on the middle of the first pixel and the last cell on that of the last one. Where the
    plane has no top near the cell, it is the cell's own place.
    """
    f = np.log(np.clip(_blurred(plane.astype(np.float64)), _LEAST, _GREATEST))
    (y, x), f = cell, np.pad(f, 1, mode="edge")[cell[0] : cell[0] + 3, cell[1] : cell[1] + 3]
    slope = np.array([f[2, 1] - f[0, 1], f[1, 2] - f[1, 0]]) / 2
    down, across = (f[2, 1] - 2 * f[1, 1] + f[0, 1], f[1, 2] - 2 * f[1, 1] + f[1, 0])
    twist = (f[2, 2] - f[2, 1] - f[1, 2] + 2 * f[1, 1] - f[0, 1] - f[1, 0] + f[0, 0]) / 2
    if down < 0 and down * across > twist**2:  # a top; elsewhere the step leads anywhere
        y, x = cell - np.linalg.solve([[down, twist], [twist, across]], slope)
    high, wide = ((side - 1) / (count - 1) for side, count in zip(size, plane.shape, strict=True))
    return float(y * high + 0.5), float(x * wide + 0.5)


def _blurred(plane: np.ndarray) -> np.ndarray:
    """A plane under a Gaussian, mirrored at its borders."""
    spread, radius = _BLUR
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / spread) ** 2)
    for axis in (0, 1):
        around = np.pad(plane, [(radius * (a == axis),) * 2 for a in (0, 1)], mode="symmetric")
        windows = np.lib.stride_tricks.sliding_window_view(around, len(weights), axis)
        plane = windows @ (weights / weights.sum())
    return plane
