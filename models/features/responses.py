"""What a network's layers say to one photo: their feature maps, as numbers and as pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...engine import picture
from ...engine.anatomy.layers import matching
from ...engine.anatomy.maps import views
from ...engine.anatomy.readouts.classes import score_name
from ...engine.errors import BadRequest
from ...engine.features import responses as engine
from ...engine.features.responses import Statistics
from ...kernels.photos.normalise import normalise
from ...kernels.photos.upsample import upsample
from ..maps.convention import FIELDS, check_convention
from ..maps.placement import Placement
from ..maps.prediction import Prediction
from ..maps.shown import Shown
from ..network.vision_model import VisionModel
from ..photos.preprocess import Box

TILE = 112  # pixels of a map in a grid
OVER = 320  # pixels of a photo in a grid
ACROSS = 8  # channels side by side
BRIGHT = 0.995  # the share of a map's pixels that is not as bright as can be


@dataclass(frozen=True, repr=False)
class Response(Shown):
    """The feature maps of one layer for one photo.

    `maps` (K, h, w) float32 are the layer's values; they lie in the photo (H, W, 3) where `place` says.
    `strength` (K,) is each channel's largest value.
    """

    photo: np.ndarray
    layer: str
    maps: np.ndarray
    place: Placement
    strength: np.ndarray
    statistics: Statistics

    @property
    def box(self) -> Box:
        """The part (y0, x0, y1, x1) of the photo that the values are of, in photo pixels."""
        return self.place.box

    def order(self, channels: Sequence[int] | None = None, sort: str = "strength") -> list[int]:
        """The channels, or some of them, by "strength" or by "index"."""
        return engine.order(self.strength, channels, sort).tolist()

    def tile(self, channel: int, side: int = TILE) -> np.ndarray:
        """One channel's map as a picture (h, w, 3) uint8 that fits a square of `side` pixels.

        Black is zero, and the hottest colour stands for the brightest half per cent of the channel's
        pixels; where the layer has values below zero they are cold colours. A channel that is the same
        everywhere is crossed out.
        """
        return _tile(self.maps[channel], self._colour(), side)

    def grid(self, channels: Sequence[int], across: int = ACROSS) -> np.ndarray:
        """The maps of these channels in one picture (H, W, 3) uint8, each over its index and its strength."""
        tiles = [self.tile(c) for c in channels]
        captions = [f"{c}: {_number(self.strength[c])}" for c in channels]
        return picture.titled(picture.grid(tiles, across, captions=captions), self._title(len(channels)))

    def at_photo(self, channel: int) -> np.ndarray:
        """A channel's map on the pixels of the photo, (H, W) float32; NaN where the model did not look."""
        return self.place.spread(self.maps[channel][None], self.photo.shape[:2])[0]

    def overlay(self, channel: int) -> np.ndarray:
        """The photo with what lies above zero of a channel's map over it, (H, W, 3) uint8."""
        heat = np.maximum(self.at_photo(channel), 0)
        return picture.overlay(self.photo, normalise(heat[None])[0])

    def overlays(self, channels: Sequence[int]) -> np.ndarray:
        """The photo under each of these channels, side by side and made smaller, (h, w, 3) uint8."""
        photo = picture.fitted(self.photo, OVER)
        place = self.place.scaled(self.photo.shape[:2], photo.shape[:2])
        small = replace(self, photo=photo, place=place)
        captions = [f"{c}: {_number(self.strength[c])}" for c in channels]
        over = [small.overlay(c) for c in channels]
        return picture.titled(picture.grid(over, 4, captions=captions), self._title(len(channels)))

    def row(self) -> np.ndarray:
        """The mean over channels and the strongest channels, in one row, (h, w, 3) uint8."""
        best = self.order()[:ACROSS]
        tiles = [_tile(self.maps.mean(0), self._colour(), TILE), *(self.tile(c) for c in best)]
        captions = ["mean", *(f"{c}: {_number(self.strength[c])}" for c in best)]
        return picture.titled(picture.grid(tiles, ACROSS + 1, captions=captions), [self._name()])

    def shown(self) -> np.ndarray:
        """The row of its strongest channels, for notebooks."""
        return self.row()

    def _colour(self) -> str:
        return picture.SIGNED if self.statistics.least < 0 else "inferno"

    def _name(self) -> str:
        s = self.statistics
        return f"{self.layer}   {s.channels} channels of {s.height} x {s.width}"

    def _title(self, shown: int) -> list[str]:
        s = self.statistics
        some = f"{shown} of {s.channels} channels shown" if shown < s.channels else "all channels shown"
        return [
            self._name(),
            f"{some}; index: strength (the largest value); {s.dead:.0%} dead, {s.sparsity:.0%} zeros",
        ]


def responses(
    lens: VisionModel,
    photo: np.ndarray,
    layers: Sequence[str] | None = None,
    convention: str = FIELDS,
) -> Iterator[Response]:
    """The feature maps of some layers for a photo, in the order of the network.

    They are computed as they are asked for, a few at a time, so that all layers of a large network fit.

    Parameters
    ----------
    lens
        The model.
    photo
        Pixels (H, W, 3) uint8, RGB.
    layers
        Names, or globs such as "fire?/concat*"; None for the stages of the network, at most 8.
    convention
        How their maps lie on the photo: "fields", each value in the middle of what it sees, or "cells",
        stretched over all that the model sees.

    Returns
    -------
    Iterator of Response
        Of each layer its maps (K, h, w) float32, their strengths, and pictures of them.

    Raises
    ------
    BadRequest
        For a layer that is not there or no feature map, or another convention, with the nearest names.

    Examples
    --------
    >>> lens = onnxlens.Lens("scenes")
    >>> photo = onnxlens.read_photo("cat.jpg")
    >>> [(r.layer, r.maps.shape) for r in onnxlens.responses(lens, photo, ["relu[12]"])]
    [('relu1', (16, 96, 96)), ('relu2', (32, 48, 48))]
    """
    check_convention(convention)
    names = chosen(lens, layers)
    feeds, box = lens.feeds(photo)
    return (
        Response(
            photo,
            name,
            maps,
            lens.placement(name, box, convention),
            engine.strengths(maps),
            engine.statistics(maps),
        )
        for name, (maps, *_) in engine.read(lens.network, feeds, names)
    )


def chosen(lens: VisionModel, layers: Sequence[str] | None) -> list[str]:
    """The names of the layers that are meant, in the order of the network. Raises as `responses` does."""
    graph = lens.network.graph
    if layers:
        return matching(graph, layers)
    names = engine.stages(graph, score_name(graph))
    if not names:
        raise BadRequest("this model has no feature map; `onnxlens layers MODEL` lists what it has")
    return names


def check_channels(lens: VisionModel, layers: Sequence[str], channels: Sequence[int] | None) -> None:
    """Raise BadRequest for a channel that one of the layers does not have."""
    known = views(lens.network.graph)
    for layer in layers:
        count = (lens.network.graph[layer].shape or ())[known[layer].channels]
        if channels and isinstance(count, int) and max(channels) >= count:
            raise BadRequest(f"layer {layer!r} has channels 0 to {count - 1}, and no channel {max(channels)}")


def strip(found: Iterable[Response], predictions: Sequence[Prediction] = ()) -> np.ndarray:
    """The whole network in one picture, (H, W, 3) uint8: the photo, a row for each response, the predictions.

    What none of the layers sees of the photo is pale. Raises ValueError for no responses.
    """
    pages, seen, photo = [], [], None
    for response in found:
        photo = response.photo
        seen.append(response.box)
        pages.append(response.row())
    if photo is None:
        raise ValueError("a strip needs at least one response")
    framed = picture.fitted(_framed(photo, _hull(seen)), 2 * TILE)
    pages.insert(0, picture.titled(picture.grid([framed], 1), ["photo"]))
    if predictions:
        captions = [f"{p.said}  {p.label}" for p in predictions]
        most = max(1, *(p.answer for p in predictions))
        answer = picture.bars([max(0, p.answer / most) for p in predictions], captions, 640)
        pages.append(picture.titled(picture.grid([answer], 1), ["scores"]))
    return picture.stacked(pages)


def _tile(map_: np.ndarray, colour: str, side: int) -> np.ndarray:
    if not np.ptp(map_) > 0:  # NaN has no range either
        height, width = (max(1, side * n // max(map_.shape)) for n in map_.shape)
        return picture.blank(height, width)
    size = np.abs(map_) if colour == picture.SIGNED else map_
    # A few bright pixels would leave all others black.
    limit = max(np.nanquantile(size, BRIGHT), np.nanmax(size) / 4)
    return picture.fitted(picture.coloured(map_, float(limit), colour), side)


def _framed(photo: np.ndarray, box: Box) -> np.ndarray:
    """The photo, pale where the model does not look."""
    inside = upsample(np.ones((1, 1, 1), np.float32), *photo.shape[:2], box=box)[0, :, :, None]
    return np.rint(photo * (0.35 + 0.65 * inside) + 255 * 0.65 * (1 - inside)).astype(np.uint8)


def _hull(boxes: Sequence[Box]) -> Box:
    """The box that holds all of these."""
    y0, x0, y1, x1 = zip(*boxes, strict=True)
    return min(y0), min(x0), max(y1), max(x1)


def _number(value: float) -> str:
    return f"{value:.4g}" if np.isfinite(value) else "no number"
