"""Where objects are in photos, for those who know: pictures of the same names in a folder beside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

import numpy as np

from ...engine.errors import BadImage
from .photo import decode
from .preprocess import Box

LOSSY = 128  # of a JPEG what is at least so bright is the object: it is never quite black
ENDING = ".png"


def mask_of(read: Callable[[str], bytes], name: str, size: Sequence[int]) -> np.ndarray | None:
    """The mask (H, W) bool of a photo of `size` (height, width); None where there is none.

    It is called as the photo, with the ending .png or its own, and what is not black in it is the object.
    Raises BadImage for one that is no picture or of another size.
    """
    for called in dict.fromkeys((str(PurePosixPath(name).with_suffix(ENDING)), name)):
        try:
            data = read(called)
        except (FileNotFoundError, BadImage):
            continue
        pixels = decode(data, f"mask {called}").max(2)
        if pixels.shape != tuple(size):
            (height, width), (wanted, across) = pixels.shape, size
            raise BadImage(f"mask {called} is {width}x{height}, and the photo {across}x{wanted}")
        return pixels >= LOSSY if data[:2] == b"\xff\xd8" else pixels > 0
    return None


def on_input(mask: np.ndarray, box: Box, size: tuple[int, int]) -> np.ndarray:
    """A mask (H, W) on the pixels of a model's input of `size` that sees the part `box` of its photo.

    At the centre of each pixel; what lies beyond the photo is no object.
    """
    y0, x0, y1, x1 = box
    rows = np.floor(y0 + (np.arange(size[0]) + 0.5) / size[0] * (y1 - y0)).astype(int)
    columns = np.floor(x0 + (np.arange(size[1]) + 0.5) / size[1] * (x1 - x0)).astype(int)
    inside = ((rows >= 0) & (rows < mask.shape[0]))[:, None] & ((columns >= 0) & (columns < mask.shape[1]))
    return mask[np.clip(rows, 0, mask.shape[0] - 1)][:, np.clip(columns, 0, mask.shape[1] - 1)] & inside
