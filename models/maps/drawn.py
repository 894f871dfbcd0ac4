"""What was found in a photo, drawn on it: boxes with names and scores, masks with a legend, key points.

Lines and letters grow with the photo; a small one is enlarged by a whole factor first, so that letters can be
read. A class has one colour in all pictures.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...engine import picture
from ...host import cv2
from .found import Found

LEAST = 480  # pixels of the longer side
MAX_DRAWN = 300  # things in a picture; the best ones
MAX_LEGEND = 60  # lines of a legend
BELOW = ("region", "text")  # what stands in the legend, and has no box of its own
_CHARACTERS = 48  # of a name
_OPACITY = 0.5  # of a mask
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_GOLDEN = 0.618034  # hues that follow each other by this share of the circle are all far apart

Colour = tuple[int, int, int]


def drawn(photo: np.ndarray, things: Sequence[Found]) -> np.ndarray:
    """The photo (H, W, 3) uint8 RGB with what was found in it, (h, w, 3) uint8.

    Boxes have their names and scores beside them, turned ones their four corners; regions lie over the photo
    in the colours of a legend below it, where texts stand too. What has no place in the photo is left out.
    """
    things = things[:MAX_DRAWN]
    page = np.ascontiguousarray(_masked(photo, things))
    times = max(1, -(-LEAST // max(page.shape[:2])))
    page = page.repeat(times, 0).repeat(times, 1)
    pen = Pen(page, times)
    for thing in reversed(things):  # the best lies on top
        pen.outline(thing)
    for thing in reversed(things):
        if thing.kind not in BELOW:
            pen.name(thing)
    below = [thing for thing in things if thing.kind in BELOW]
    return picture.stacked([page, pen.legend(below)]) if below else page


def matte(photo: np.ndarray, thing: Found) -> np.ndarray | None:
    """How much of each pixel of the photo a thing covers, (H, W) uint8; None for one that has no mask."""
    if thing.thing.mask is None:
        return None
    return np.rint(_mask(thing, (photo.shape[0], photo.shape[1])) * 255).astype(np.uint8)


def colour_of(thing: Found) -> Colour:
    """The colour of its class, or where it has none of its number: light and full, as far from the next as
    can be.
    """
    number = thing.index if thing.thing.label is None else thing.thing.label
    hue = (0.02 + number * _GOLDEN) % 1
    value = 255 - 70 * (number % 3 == 2)
    pixel = np.array([[[int(hue * 180), 215 - 60 * (number % 2), value]]], np.uint8)
    return tuple(cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0].tolist())


def _masked(photo: np.ndarray, things: Sequence[Found]) -> np.ndarray:
    """The photo under the masks, of which the smallest lies on top; numbers of all places are heat."""
    size = photo.shape[0], photo.shape[1]
    masks = [(float(thing.thing.mask.sum()), thing) for thing in things if thing.thing.mask is not None]
    heat = next((thing for _, thing in masks if thing.kind == "value"), None)
    if heat is not None:
        return picture.overlay(photo, _mask(heat, size))
    page = photo.astype(np.float32) if masks else photo
    for _, thing in sorted(masks, key=lambda pair: -pair[0]):  # one at a time: each is as large as the photo
        share = (_mask(thing, size) * _OPACITY)[..., None]
        page += share * (np.array(colour_of(thing), np.float32) - page)
    return np.rint(page).astype(np.uint8) if masks else page


def _mask(thing: Found, size: tuple[int, int]) -> np.ndarray:
    mask = thing.mask(size)
    assert mask is not None
    return mask.clip(0, 1)


class Pen:
    """Draws on a page (H, W, 3) uint8, in place, on which each pixel of the photo is `times` wide."""

    def __init__(self, page: np.ndarray, times: int):
        self.page, self._times = page, times
        longer = max(page.shape[:2])
        self._line = max(2, round(longer / 400))
        self._scale = max(0.45, longer / 1600)
        self._stroke = max(1, round(self._scale * 1.1))

    def outline(self, thing: Found) -> None:
        """The four sides of its box, and its key points."""
        colour = colour_of(thing)
        if thing.corners is not None and thing.kind not in BELOW:
            corners = self._at(thing.corners).reshape(-1, 1, 2)
            cv2.polylines(self.page, [corners], True, (0, 0, 0), self._line + 2, cv2.LINE_AA)
            cv2.polylines(self.page, [corners], True, colour, self._line, cv2.LINE_AA)
        if thing.points is not None:
            for point in self._at(thing.points[:, :2]).tolist():
                cv2.circle(self.page, point, 2 * self._line + 1, (0, 0, 0), -1, cv2.LINE_AA)
                cv2.circle(self.page, point, 2 * self._line, colour, -1, cv2.LINE_AA)

    def name(self, thing: Found) -> None:
        """What it is, over the top left of its box, or of its points; inside the page."""
        places = thing.corners if thing.corners is not None else thing.points
        if places is None or not len(places):
            return
        left, top = self._at(places[:, :2]).min(0).tolist()
        self._label(f"{named(thing)} {thing.said}", left, top, colour_of(thing))

    def legend(self, things: Sequence[Found]) -> np.ndarray:
        """A field of each colour with the name of the thing, (h, W, 3) uint8, in as many columns as fit."""
        shown = [f"{named(thing)} {thing.said}" for thing in things[:MAX_LEGEND]]
        high, gap = self._height(), self._line * 4
        wide = max(self._width(text) for text in shown) + 3 * high
        columns = max(1, self.page.shape[1] // wide)
        rows = -(-len(shown) // columns)
        size = rows * (high + gap) + gap, max(self.page.shape[1], wide), 3
        strip = np.full(size, picture.PAPER, np.uint8)
        for i, (thing, text) in enumerate(zip(things, shown, strict=False)):
            left, top = i % columns * wide + gap, gap + i // columns * (high + gap)
            strip[top : top + high, left : left + high] = colour_of(thing)
            self._write(strip, text, left + high + gap, top + high, (0, 0, 0))
        return strip

    def _label(self, text: str, left: int, top: int, colour: Colour) -> None:
        """Text on a field of a colour whose lower left corner is at a place, moved onto the page."""
        height, width = self.page.shape[:2]
        while len(text) > 4 and self._width(text) > width:
            text = text[:-4] + "..."
        high, wide = self._height(), self._width(text)
        left, bottom = max(0, min(left, width - wide)), min(max(top, high), height)
        self.page[bottom - high : bottom, left : left + wide] = colour
        light = np.dot(colour, (0.299, 0.587, 0.114)) > 130
        self._write(self.page, text, left, bottom, (0, 0, 0) if light else (255, 255, 255))

    def _write(self, page: np.ndarray, text: str, left: int, bottom: int, colour: Colour) -> None:
        at = left + self._line * 2, bottom - round(self._height() * 0.3)
        cv2.putText(page, text, at, _FONT, self._scale, colour, self._stroke, cv2.LINE_AA)

    def _width(self, text: str) -> int:
        return cv2.getTextSize(text, _FONT, self._scale, self._stroke)[0][0] + self._line * 4

    def _height(self) -> int:
        return round(32 * self._scale)

    def _at(self, places: np.ndarray) -> np.ndarray:
        """Points (n, 2) of the photo, each y, x, as pixels x, y of the page, and not far beside it."""
        height, width = self.page.shape[:2]
        points = np.nan_to_num(places[:, ::-1] * self._times)
        return np.rint(points.clip((-width, -height), (2 * width, 2 * height))).astype(np.int32)


def named(thing: Found) -> str:
    """What a thing is called in a picture: letters that OpenCV's font has, and not too many."""
    text = thing.label.removeprefix("box ").removeprefix("char ")
    text = "".join(c if " " <= c <= "~" else "?" for c in text[: _CHARACTERS + 1])
    return text if len(text) <= _CHARACTERS else f"{text[: _CHARACTERS - 3]}..."
