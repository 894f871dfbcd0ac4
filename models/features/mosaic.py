"""The crops of a channel's strongest photos side by side, as in Zeiler & Fergus 2014, figure 2."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt

import numpy as np

from ...engine import tones
from ...engine.attribution.projector import Projector
from ...engine.errors import BadImage
from ...engine.picture import blank, grid
from ...host import cv2
from ..attribution.attribute import in_colours
from ..network.vision_model import VisionModel
from ..photos.crop import Window, cut
from ..photos.photo import read_photo
from ..photos.preprocess import Box
from .top import Hit, Top

SIDE = 72  # pixels of a crop
GREY = 127


def mosaics(
    lens: VisionModel,
    found: Top,
    layer: str,
    channels: Sequence[int],
    projector: Projector | None = None,
    side: int = SIDE,
) -> dict[int, np.ndarray]:
    """For each channel its crops, strongest first in reading order, as one square (H, W, 3) uint8.

    With a `projector` for the layer, such as the deconvnet's, what comes back from the unit at its position
    to the same part of the photo stands to the left of them, in the same order. Each photo is read
    once; of one that is gone by now the tiles are crossed out.
    """
    hits = [h for c in channels for h in found.hits(layer, c)]
    tiles: dict[tuple[int, int], tuple[np.ndarray, ...]] = {}
    for path in dict.fromkeys(h.path for h in hits):
        here = [h for h in hits if h.path == path]
        tiles.update(
            zip(((h.channel, h.rank) for h in here), _tiles(lens, projector, here, side), strict=True)
        )
    across = isqrt(max(found.k - 1, 0)) + 1
    pages = {}
    for channel in channels:
        ranked = [tiles[channel, h.rank] for h in found.hits(layer, channel)]
        sides = [grid(views, across, gap=2) for views in zip(*ranked, strict=True)]
        pages[channel] = grid(sides, len(sides), gap=2) if sides else blank(side, side)
    return pages


def _tiles(
    lens: VisionModel, projector: Projector | None, hits: Sequence[Hit], side: int
) -> list[tuple[np.ndarray, ...]]:
    """The tiles of some hits in one photo: its projection, if there is one, and its crop."""
    try:
        photo = read_photo(hits[0].path)
        feeds, box = lens.feeds(photo)
    except BadImage:
        return [(blank(side, side),) * (1 + bool(projector))] * len(hits)
    seen = _seen(photo, box)
    crops = [cut(seen, h.crop, side) for h in hits]
    if projector is None:
        return [(crop,) for crop in crops]
    return [(_projected(lens, projector, feeds, h, side), crop) for h, crop in zip(hits, crops, strict=True)]


def _seen(photo: np.ndarray, box: Box) -> np.ndarray:
    """The photo, grey where the model did not look: a crop may reach beyond what preprocessing left."""
    top, left = (max(int(np.floor(round(edge, 6))), 0) for edge in box[:2])
    bottom, right = (int(np.ceil(round(edge, 6))) for edge in box[2:])
    page = np.full_like(photo, GREY)
    page[top:bottom, left:right] = photo[top:bottom, left:right]
    return page


def _projected(
    lens: VisionModel, projector: Projector, feeds: dict[str, np.ndarray], hit: Hit, side: int
) -> np.ndarray:
    """What comes back from the unit of a hit to the part of the input that it sees."""
    signal = in_colours(projector(feeds, hit.channel, hit.position)[0].values, lens.preprocess)
    drawn = tones.signed(window_of(signal, hit.field))
    return cv2.resize(drawn, (side, side), interpolation=cv2.INTER_LINEAR)


def window_of(signal: np.ndarray, window: Window) -> np.ndarray:
    """A window of (H, W, C), zeros where it reaches beyond."""
    (y0, x0, y1, x1), (h, w) = window, signal.shape[:2]
    out = np.zeros((y1 - y0, x1 - x0, signal.shape[2]), signal.dtype)
    inside = signal[max(y0, 0) : min(y1, h), max(x0, 0) : min(x1, w)]
    out[max(-y0, 0) :, max(-x0, 0) :][: inside.shape[0], : inside.shape[1]] = inside
    return out
