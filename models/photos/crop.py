"""What a position of a feature map sees, in pixels of the photo."""

from __future__ import annotations

import numpy as np

from ...kernels.photos.resample import FILTERS
from .preprocess import Box, Preprocess

Window = tuple[int, int, int, int]


def uncut(fields: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Receptive fields (h, w, 4) with the padding that they see beyond the edges of an input of this size.

    A field that one edge of the input cut is made as large as the layer's largest again, beyond that edge.
    """
    fields = fields.copy()
    for axis, length in enumerate(size):
        start, end = fields[..., axis], fields[..., axis + 2]
        most = (end - start).max()
        cut, seen = (start == 0, end == length), end > start
        start[cut[0] & ~cut[1] & seen] = (end - most)[cut[0] & ~cut[1] & seen]
        end[cut[1] & ~cut[0] & seen] = (start + most)[cut[1] & ~cut[0] & seen]
    return fields


def crop_of(seen: Window, box: Box, preprocess: Preprocess) -> Window:
    """The whole pixels of a photo that a window of the input is made of; `box` is what the input covers."""
    scales = [(box[i + 2] - box[i]) / preprocess.size[i] for i in (0, 1)]
    (top, bottom), (left, right) = (
        _crop_along(
            seen[i], seen[i + 2], box[i], scale, _reach(preprocess, scale) if scales != [1, 1] else 0.5
        )
        for i, scale in enumerate(scales)
    )
    return top, left, bottom, right


def _reach(preprocess: Preprocess, scale: float) -> float:
    """How far from its centre a pixel of the input reads the photo, in pixels of the photo."""
    name = preprocess.interpolation
    if name == "nearest":
        return 0.5
    if preprocess.antialias or name in ("box", "hamming"):
        edge = 1e-3 if name == "box" else 0  # where alone a pixel counts that lies at the very edge
        return FILTERS[name][1] * max(scale, 1) + edge
    return 4 if name == "lanczos" else FILTERS[name][1]


def _crop_along(start: int, end: int, first: float, scale: float, reach: float) -> tuple[int, int]:
    """The first and past the last pixel whose centre lies within reach of an input pixel's."""
    low, high = first + (start + 0.5) * scale - reach, first + (end - 0.5) * scale + reach
    # Rounded a little: a box holds quotients, and an edge at 12.0000001 is at 12.
    return int(np.floor(round(low + 0.5, 6))), int(np.ceil(round(high - 0.5, 6)))
