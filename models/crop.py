"""What a position of a feature map sees, in pixels of the photo."""

from __future__ import annotations

import numpy as np

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


# How far beyond the pixels that it lies on an interpolated pixel reads, where a photo is enlarged.
_BEYOND = {"nearest": 0, "linear": 1, "cubic": 2, "lanczos": 4}


def crop_of(seen: Window, box: Box, preprocess: Preprocess) -> Window:
    """The whole pixels of a photo that a window of the input is made of; `box` is what the input covers."""
    (top, bottom), (left, right) = (
        _crop_along(seen[i], seen[i + 2], box[i], box[i + 2], preprocess.size[i], preprocess.interpolation)
        for i in (0, 1)
    )
    return top, left, bottom, right


def _crop_along(
    start: int, end: int, first: float, last: float, size: int, interpolation: str
) -> tuple[int, int]:
    scale = (last - first) / size
    beyond = _BEYOND[interpolation] if scale < 1 else 0
    low, high = (first + edge * scale for edge in (start, end))
    # Rounded a little: a box holds quotients, and an edge at 12.0000001 is at 12.
    return int(np.floor(round(low, 6))) - beyond, int(np.ceil(round(high, 6))) + beyond
