"""Images of Pillow's as photos."""

from __future__ import annotations

from typing import Any

import numpy as np

from .photo import opaque_rgb


def is_pillow(photo: Any) -> bool:
    """Whether it is an image of Pillow's, which nothing here needs."""
    return type(photo).__module__.startswith("PIL.")


def upright(image: Any) -> np.ndarray:
    """Its pixels as `read_photo` gives those of a file: turned by EXIF, on white, (H, W, 3) uint8 RGB."""
    from PIL import ImageOps  # pyright: ignore[reportMissingImports]

    rgba = np.asarray(ImageOps.exif_transpose(image).convert("RGBA"))
    return opaque_rgb(rgba[..., [2, 1, 0, 3]], premultiplied=False)
