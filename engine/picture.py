"""Floats to pixels: colour maps, overlays, grids, PNG bytes. Pictures are RGB, uint8, (H, W, 3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from ..kernels import overlay as kernel
from .errors import BadRequest, nearest

COLOURS: dict[str, Any] = {
    name.removeprefix("COLORMAP_").lower(): getattr(cv2, name)
    for name in dir(cv2)
    if name.startswith("COLORMAP_")
}
_FONT, _SCALE, _LINE = cv2.FONT_HERSHEY_SIMPLEX, 0.5, 22


def colour_map(name: str) -> np.ndarray:
    """The 256 colours of a colour map, cold to hot: (256, 3) uint8, RGB, from OpenCV's own tables.

    Raises BadRequest with the nearest names for one that OpenCV does not have.
    """
    if name.lower() not in COLOURS:
        raise BadRequest(f"no colour map named {name!r}{nearest(name, COLOURS)}")
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], COLOURS[name.lower()])
    return np.ascontiguousarray(table[:, 0, ::-1])


def overlay(photo: np.ndarray, heat: np.ndarray, colour: str = "turbo", alpha: float = 0.7) -> np.ndarray:
    """Lay heat (H, W) in [0, 1] over a photo (H, W, 3); both may carry a leading batch axis.

    Heat h has opacity `alpha` * h, so what the model did not look at keeps its own colours; NaN heat
    is transparent. Raises BadRequest for an unknown colour map or an `alpha` outside [0, 1].
    """
    if not 0 <= alpha <= 1:
        raise BadRequest(f"alpha is an opacity from 0 to 1, not {alpha}")
    return kernel.overlay(photo, heat, colour_map(colour), alpha)


def grid(
    pictures: Sequence[np.ndarray],
    columns: int,
    gap: int = 8,
    background: int = 255,
    captions: Sequence[str] | None = None,
) -> np.ndarray:
    """Pictures side by side in rows of `columns`, as one picture.

    Every cell is as large as the largest picture, and each picture sits in the middle of its cell.
    `gap` is in pixels, `background` a grey level. `captions`, one for each picture, stand below
    them and are cut where the cell ends; letters outside ASCII become question marks, which is all that
    OpenCV's font has. Raises ValueError for no pictures or a different number of captions.
    """
    if not pictures or columns < 1 or (captions is not None and len(captions) != len(pictures)):
        raise ValueError(f"cannot make a grid of {len(pictures)} pictures in {columns} columns")
    height, width = (max(p.shape[axis] for p in pictures) for axis in (0, 1))
    strip = 0 if captions is None else _LINE
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    size = rows * (height + strip + gap) + gap, columns * (width + gap) + gap, 3
    page = np.full(size, background, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = gap + i // columns * (height + strip + gap), gap + i % columns * (width + gap)
        h, w = picture.shape[:2]
        y, x = top + (height - h) // 2, left + (width - w) // 2
        page[y : y + h, x : x + w] = picture
        if captions is not None:
            _write(page[top + height : top + height + strip, left : left + width], captions[i], background)
    return page


def encode_png(picture: np.ndarray) -> bytes:
    """The bytes of a PNG file that holds a picture, (H, W, 3) RGB or (H, W) grey, uint8."""
    if picture.ndim == 3:
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", picture)[1].tobytes()


def _write(strip: np.ndarray, text: str, background: int) -> None:
    """Write text into the middle of a strip of the page, in place; the strip is what bounds it."""
    text = "".join(c if " " <= c <= "~" else "?" for c in text[:200])
    while text and _width(text) > strip.shape[1]:
        text = text.removesuffix("...")[:-1].rstrip() + "..." if text != "..." else ""
    # putText wants memory of its own: a view of the page is not contiguous.
    ink = np.zeros(strip.shape[:2], np.uint8)
    at = (strip.shape[1] - _width(text)) // 2, _LINE - 7
    cv2.putText(ink, text, at, _FONT, _SCALE, 255, 1, cv2.LINE_AA)
    colour = 0 if background > 127 else 255
    strip[:] = background + (colour - background) * (ink[..., None] / 255.0)


def _width(text: str) -> int:
    return cv2.getTextSize(text, _FONT, _SCALE, 1)[0][0]
