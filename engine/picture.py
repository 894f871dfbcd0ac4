"""Floats to pixels: colour maps, overlays, grids, PNG bytes. Pictures are RGB, uint8, (H, W, 3)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ..host import cv2
from ..kernels.photos import overlay as kernel
from ..kernels.photos.lay import lay
from .errors import BadRequest, nearest

COLOURS: dict[str, Any] = {
    name.removeprefix("COLORMAP_").lower(): getattr(cv2, name)
    for name in dir(cv2)
    if name.startswith("COLORMAP_")
}
SIGNED = "signed"  # besides OpenCV's colour maps: cold below zero, black at zero, hot above it
_FONT, _SCALE, _LINE = cv2.FONT_HERSHEY_SIMPLEX, 0.5, 22
_MAX_CHARACTERS = 200  # characters of a caption
PAPER = 255  # the grey of a page
_DEAD = 225  # the grey of a tile that shows nothing


@lru_cache
def colour_map(name: str) -> np.ndarray:
    """The 256 colours of a colour map, cold to hot: (256, 3) uint8, RGB; nobody may change them.

    They are OpenCV's own tables, and "signed", which is black in its middle.
    Raises BadRequest with the nearest names for one that is not there.
    """
    if name == SIGNED:
        hot = colour_map("inferno")[::2]
        return _frozen(np.concatenate([hot[::-1, ::-1], hot]))
    if name.lower() not in COLOURS:
        raise BadRequest(f"no colour map named {name!r}{nearest(name, COLOURS)}")
    table = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[:, None], COLOURS[name.lower()])
    return _frozen(np.ascontiguousarray(table[:, 0, ::-1]))


def _frozen(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array


def overlay(photo: np.ndarray, heat: np.ndarray, colour: str = "turbo", alpha: float = 0.7) -> np.ndarray:
    """Lay heat (H, W) in [0, 1] over a photo (H, W, 3); both may carry a leading batch axis.

    Heat h has opacity `alpha` * h, so what the model did not look at keeps its own colours; NaN heat
    is transparent. Raises BadRequest for an unknown colour map or an `alpha` outside [0, 1].
    """
    if not 0 <= alpha <= 1:
        raise BadRequest(f"alpha is an opacity from 0 to 1, not {alpha}")
    return kernel.overlay(photo, heat, colour_map(colour), alpha)


def laid(
    photo: np.ndarray,
    map_: np.ndarray,
    box: Any,
    colour: str = "turbo",
    alpha: float = 0.7,
    cells: Any = None,
) -> np.ndarray:
    """Lay a map (h, w) of any range over the `box` (y0, x0, y1, x1) of a photo (H, W, 3) that it is of.

    Its values lie in the middles of even cells over `cells`, by default over the box; both are in pixels of
    the photo. It is stretched from the least to the greatest value on the photo; all else, the errors too, is
    as of `overlay`.
    """
    if not 0 <= alpha <= 1:
        raise BadRequest(f"alpha is an opacity from 0 to 1, not {alpha}")
    return lay(photo, map_, box, colour_map(colour), alpha, cells)


def grid(
    pictures: Sequence[np.ndarray],
    columns: int,
    gap: int = 8,
    captions: Sequence[str] | None = None,
) -> np.ndarray:
    """Pictures (h, w, 3) uint8 side by side in rows of `columns`, as one picture, (H, W, 3) uint8.

    Every cell is as large as the largest picture, and each picture sits in the middle of its cell.
    `gap` is in pixels. `captions`, one for each picture, stand below them and are cut where the cell ends;
    letters outside ASCII become question marks, which is all that OpenCV's font has. Raises ValueError for
    no pictures or a different number of captions.
    """
    if not pictures or columns < 1 or (captions is not None and len(captions) != len(pictures)):
        raise ValueError(f"cannot make a grid of {len(pictures)} pictures in {columns} columns")
    height, width = (max(p.shape[axis] for p in pictures) for axis in (0, 1))
    strip = 0 if captions is None else _LINE
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    size = rows * (height + strip + gap) + gap, columns * (width + gap) + gap, 3
    page = np.full(size, PAPER, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = gap + i // columns * (height + strip + gap), gap + i % columns * (width + gap)
        h, w = picture.shape[:2]
        y, x = top + (height - h) // 2, left + (width - w) // 2
        page[y : y + h, x : x + w] = picture
        if captions is not None:
            _write(page[top + height : top + height + strip, left : left + width], captions[i])
    return page


def coloured(values: np.ndarray, limit: float, colour: str) -> np.ndarray:
    """Values (H, W) as colours (H, W, 3) uint8: 0 to `limit` over the colour map, clipped beyond.

    For the colour maps that mean something on both sides of zero, "signed" and "grey", it is -`limit` to
    `limit`. What is not a number becomes as zero.
    """
    table = np.arange(256, dtype=np.uint8)[:, None].repeat(3, 1) if colour == "grey" else colour_map(colour)
    share = np.nan_to_num(values / limit if limit > 0 else np.zeros_like(values), posinf=1, neginf=-1)
    if colour in ("grey", SIGNED):
        share = (share + 1) / 2
    return table[np.rint(np.clip(share, 0, 1) * 255).astype(np.uint8)]


def fitted(picture: np.ndarray, side: int) -> np.ndarray:
    """A picture (H, W, 3) made to fit a square of `side` pixels, with its proportions.

    A small one is enlarged by a whole factor and keeps its pixels as squares; a large one is averaged down.
    """
    height, width = picture.shape[:2]
    longer = max(height, width)
    if longer <= side:
        return picture.repeat(side // longer, 0).repeat(side // longer, 1)
    size = max(1, round(width * side / longer)), max(1, round(height * side / longer))
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA)


def blank(height: int, width: int) -> np.ndarray:
    """A tile that shows nothing: a grey field, crossed out, (height, width, 3) uint8."""
    tile = np.full((height, width, 3), _DEAD, np.uint8)
    for start, end in (((0, 0), (width - 1, height - 1)), ((width - 1, 0), (0, height - 1))):
        cv2.line(tile, start, end, (160, 160, 160), 1, cv2.LINE_AA)
    return tile


def bars(values: Sequence[float], captions: Sequence[str], width: int = 480) -> np.ndarray:
    """Numbers from 0 to 1 as bars, (22 each, `width`, 3) uint8, each with its caption to the right of it."""
    page = np.full((_LINE * len(values), width, 3), 255, np.uint8)
    field = width // 3
    for i, (value, caption) in enumerate(zip(values, captions, strict=True)):
        top = i * _LINE
        page[top + 3 : top + _LINE - 3, :field] = 235
        length = round(field * np.clip(np.nan_to_num(value), 0, 1))
        page[top + 3 : top + _LINE - 3, :length] = colour_map("inferno")[150]
        _write(page[top : top + _LINE, field + 8 :], caption, middle=False)
    return page


def titled(picture: np.ndarray, lines: Sequence[str]) -> np.ndarray:
    """A picture (h, w, 3) uint8 under lines of text; made wider, up to 1,200 pixels, where they need that."""
    width = max(picture.shape[1], min(1200, 16 + max(_width(line[:_MAX_CHARACTERS]) for line in lines)))
    page = np.full((_LINE * len(lines) + 6, width, 3), PAPER, np.uint8)
    for i, line in enumerate(lines):
        _write(page[i * _LINE + 6 : (i + 1) * _LINE + 6, 8:], line, middle=False)
    return stacked([page, picture])


def text(line: str, width: int) -> np.ndarray:
    """One line of text, (22, `width`, 3) uint8; it is cut where it ends."""
    strip = np.full((_LINE, width, 3), PAPER, np.uint8)
    _write(strip, line, middle=False)
    return strip


def rows(pictures: Sequence[np.ndarray], captions: Sequence[str], columns: int = 1) -> np.ndarray:
    """Pictures (h, w, 3) uint8 of one height below one another, in so many columns, captions to the left."""
    left = 16 + max(_width(c[:_MAX_CHARACTERS]) for c in captions)
    lines = []
    for picture, caption in zip(pictures, captions, strict=True):
        height = max(picture.shape[0], _LINE)
        line = np.full((height, left + picture.shape[1], 3), PAPER, np.uint8)
        _write(line[:_LINE, 8:left], caption, middle=False)
        line[: picture.shape[0], left:] = picture
        lines.append(line)
    deep = -(-len(lines) // columns)
    parts = [stacked(lines[i : i + deep]) for i in range(0, len(lines), deep)]
    height = parts[0].shape[0]
    return np.concatenate(
        [np.pad(p, ((0, height - p.shape[0]), (0, 0), (0, 0)), constant_values=PAPER) for p in parts], 1
    )


def stacked(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures (h, w, 3) uint8 below one another, at the left, as wide as the widest."""
    width = max(p.shape[1] for p in pictures)
    return np.concatenate(
        [np.pad(p, ((0, 0), (0, width - p.shape[1]), (0, 0)), constant_values=PAPER) for p in pictures]
    )


def encode_png(picture: np.ndarray) -> bytes:
    """The bytes of a PNG file that holds a picture, (H, W, 3) RGB or (H, W) grey, uint8."""
    if picture.ndim == 3:
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".png", picture)[1].tobytes()


def encode_jpeg(picture: np.ndarray, quality: int = 90) -> bytes:
    """The bytes of a JPEG file that holds a picture, (H, W, 3) RGB or (H, W) grey, uint8."""
    if picture.ndim == 3:
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, quality))[1].tobytes()


def shrunk(picture: np.ndarray, longest: int) -> np.ndarray:
    """A picture (H, W, 3) uint8, made smaller where its longer side has more than `longest` pixels."""
    return picture if max(picture.shape[:2]) <= longest else fitted(picture, longest)


def _write(strip: np.ndarray, text: str, middle: bool = True) -> None:
    """Write text into the middle or at the left of a strip of the page, in place; the strip bounds it."""
    text = "".join(c if " " <= c <= "~" else "?" for c in text[:_MAX_CHARACTERS])
    while text and _width(text) > strip.shape[1]:
        text = text.removesuffix("...")[:-1].rstrip() + "..." if text != "..." else ""
    # putText wants memory of its own: a view of the page is not contiguous.
    ink = np.zeros(strip.shape[:2], np.uint8)
    at = (strip.shape[1] - _width(text)) // 2 if middle else 0, _LINE - 7
    cv2.putText(ink, text, at, _FONT, _SCALE, 255, 1, cv2.LINE_AA)
    strip[:] = PAPER - PAPER * (ink[..., None] / 255.0)


def _width(text: str) -> int:
    return cv2.getTextSize(text, _FONT, _SCALE, 1)[0][0]
