"""What a position of a feature map sees, in pixels of the photo."""

from __future__ import annotations

import numpy as np

from ...host import cv2
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


def cut(photo: np.ndarray, box: Box, side: int) -> np.ndarray:
    """The part of a photo in a box, in photo pixels, as (side, side, 3); grey beyond the photo."""
    y0, x0, y1, x1 = box
    height, width = photo.shape[:2]
    top, left = max(0, int(np.floor(y0))), max(0, int(np.floor(x0)))
    bottom, right = min(height, int(np.ceil(y1))), min(width, int(np.ceil(x1)))
    page = np.full((side, side, 3), 127, np.uint8)
    if top >= bottom or left >= right:
        return page
    down, across = side / (y1 - y0), side / (x1 - x0)
    # Where the whole pixels that hold the box would lie on the page; what is beyond it is cut off.
    rows, columns = (
        [round((edge - start) * scale) for edge in edges]
        for edges, start, scale in (((top, bottom), y0, down), ((left, right), x0, across))
    )
    size = max(1, columns[1] - columns[0]), max(1, rows[1] - rows[0])
    way = cv2.INTER_AREA if size[0] < right - left else cv2.INTER_LINEAR
    part = cv2.resize(photo[top:bottom, left:right], size, interpolation=way)
    y, x = max(rows[0], 0), max(columns[0], 0)
    part = part[y - rows[0] :, x - columns[0] :][: side - y, : side - x]
    page[y : y + part.shape[0], x : x + part.shape[1]] = part
    return page
