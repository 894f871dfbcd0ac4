"""What of a photo an answer goes back to, as one method sees it: numbers, a place, and pictures of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import isfinite
from typing import Any, NamedTuple

import numpy as np

from ...engine import picture, tones
from ...engine.errors import BadRequest, NoMap, nearest
from ...host import cv2
from ..photos.crop import cut
from ..photos.preprocess import Box
from .found import Found
from .numbers import Number, finite, plain
from .placement import Placement, whole
from .prediction import Prediction
from .shown import Shown

STYLES = {"signed": tones.signed, "absolute": tones.absolute, "diverging": tones.diverging}


class Unit(NamedTuple):
    """One value of a layer: its channel, and its position (row, column) there."""

    channel: int
    position: tuple[int, int]


@dataclass(frozen=True, repr=False)
class Attribution(Shown):
    """How much each place of one photo counts for a class or for a unit of a layer, as a `method` sees it.

    `values` are what the method gave, float32: a map (h, w), or a signal (h, w, C) in the model's units whose
    channels are red, green and blue, or one for a model of grey pictures. They lie on the value `at` of the
    network, a layer or its input, and in the photo (H, W, 3) where `place` says.

    `target` is the class; of a unit it is None, and `layer` and `unit` say which. `layer` is otherwise the
    one that the method looked at, if it did at one. `score` is the class's before a softmax, or the unit's
    value; `predictions` the most probable classes, best first. `problem` says why there is nothing to draw,
    `note` what is to be known of the method in this network, `extras` what only some methods give.

    Examples
    --------
    >>> heat = onnxlens.Lens("scenes").gradcam(onnxlens.read_photo("cat.jpg"))
    >>> heat.name, heat.at, heat.values.shape
    ('cat', 'relu5', (12, 12))
    >>> heat.at_photo().shape, heat.overlay().shape
    ((288, 288), (288, 288, 3))
    """

    photo: np.ndarray
    values: np.ndarray
    place: Placement
    at: str
    method: str
    target: Prediction | Found | None
    score: float
    predictions: list[Prediction | Found]
    layer: str | None = None
    unit: Unit | None = None
    problem: str = ""
    note: str = ""
    extras: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_signal(self) -> bool:
        """Whether the values have colours: they lie on the pixels of the input."""
        return self.values.ndim == 3

    @cached_property
    def map(self) -> np.ndarray:
        """How much there is at each place, (h, w) float32: the map, or of a signal its greatest channel."""
        return tones.strength(self.values) if self.is_signal else self.values

    @property
    def signal(self) -> np.ndarray:
        """The values with their colours, (h, w, C) float32; of a map there is one."""
        return self.values if self.is_signal else self.values[..., None]

    @property
    def box(self) -> Box:
        """The part (y0, x0, y1, x1) of the photo that the values are of, in photo pixels."""
        return self.place.box

    @property
    def value(self) -> float:
        """The score."""
        return self.score

    @property
    def channel(self) -> int | None:
        """The channel of the unit, or else the index of the class."""
        return self.unit.channel if self.unit else self.target and self.target.index

    @property
    def position(self) -> tuple[int, int]:
        """The row and column of the unit in its layer; a class is at 0, 0."""
        return self.unit.position if self.unit else (0, 0)

    @property
    def name(self) -> str:
        """What it is of, for people: the label of the class, or the layer, channel and position of a unit."""
        if self.unit is None:
            return self.target.label if self.target else ""
        return "{} {} at {},{}".format(self.layer, self.unit.channel, *self.unit.position)

    @property
    def title(self) -> str:
        """The same with what the model says of the class."""
        return f"{self.target.label} {self.target.said}" if self.target else self.name

    @property
    def rise(self) -> float | None:
        """By how much the score rises from a baseline to the photo, of methods that compare the two."""
        return self.extras.get("completeness", {}).get("rise")

    @property
    def gap(self) -> float | None:
        """By how much the values sum to more than that."""
        whole = self.extras.get("completeness")
        return whole and whole["sum"] - whole["rise"]

    def record(self, number: Number = finite) -> dict[str, Any]:
        """It as JSON, without the values themselves: --json, manifests and rows say it like this.

        Of a class `channel` and `position` are null, of a unit `target`. `number` writes the numbers.
        """
        low, high = (float(self.values.min()), float(self.values.max())) if self.values.size else (0, np.inf)
        return {
            **self.about(number),
            "photo_size": list(self.photo.shape[:2]),
            "map_size": list(self.values.shape[:2]),
            **self.place.record(),
            "map_range": [low, high] if isfinite(low) and isfinite(high) else None,
            "window": list(self.window()),
            **({"note": self.note} if self.note else {}),
            **plain(self.extras, number),
            **({"problem": self.problem} if self.problem else {}),
        }

    def about(self, number: Number = finite) -> dict[str, Any]:
        """The part of the record that says what was asked and what the model answered."""
        return {
            "method": self.method,
            "layer": self.layer,
            "at": self.at,
            "target": self.target and self.target.record(number),
            "channel": self.unit and self.unit.channel,
            "position": self.unit and list(self.unit.position),
            "score": number(self.score),
            "predictions": [p.record(number) for p in self.predictions],
        }

    def on(self, photo: np.ndarray) -> Attribution:
        """The same, laid on its photo in another size."""
        place = self.place.scaled(self.photo.shape[:2], photo.shape[:2])
        return replace(self, photo=photo, place=place)

    def at_photo(self) -> np.ndarray:
        """The values on the pixels of the upright photo, (H, W) or (H, W, C) float32; NaN where the model did
        not look.
        """
        size = self.photo.shape[:2]
        planes = np.ascontiguousarray(np.moveaxis(self.signal, -1, 0))
        wide = self.place.spread(planes, size)
        return np.moveaxis(wide, 0, -1) if self.is_signal else wide[0]

    def picture(self, style: str = "signed") -> np.ndarray:
        """The values alone in one of STYLES, on the photo's pixels, (H, W, 3) uint8; "overlay" is over it.

        Raises BadRequest for another style, and NoMap, with the reason, where there is nothing to draw.
        """
        if style == "overlay":
            return self.overlay()
        drawn = self._drawn(style, self.signal)
        none = STYLES[style](np.zeros((1, 1, 3), np.float32))[0, 0].tolist()
        size = self.photo.shape[:2]
        planes = [self.place.spread(drawn[None, ..., c], size, none[c])[0] for c in range(3)]
        return np.stack([np.rint(p).astype(np.uint8) for p in planes], axis=-1)

    def shown(self) -> np.ndarray:
        """A map over the photo, a signal alone, for notebooks."""
        return self.picture() if self.is_signal else self.overlay()

    def overlay(self, colour: str = "turbo", alpha: float = 0.7) -> np.ndarray:
        """The photo with the map over it as heat, (H, W, 3) uint8.

        A map is stretched from its least to its greatest value, the strength of a signal up to that of all
        but its strongest pixels. Raises NoMap, with the reason, where there is nothing to draw.
        """
        if self.problem:
            raise NoMap(self.problem)
        if not self.is_signal:
            return picture.laid(self.photo, self.values, self.box, colour, alpha, self.place.cells)
        at_photo = self.place.spread(tones.scaled(self.map)[None], self.photo.shape[:2])[0]
        return picture.overlay(self.photo, at_photo, colour, alpha)

    def crops(self, style: str = "signed", side: int = 128) -> tuple[np.ndarray, np.ndarray]:
        """What the unit sees of the photo and what comes back, each (side, side, 3) uint8.

        Both show the smallest square of the input that holds the signal, as in Zeiler & Fergus, figure 2.
        """
        top, left, bottom, right = self.window()
        drawn = self._drawn(style, self.signal[top:bottom, left:right])
        size = self.values.shape[0], self.values.shape[1]
        y0, x0 = self.place.on_photo((top, left), size)
        y1, x1 = self.place.on_photo((bottom, right), size)
        return cut(self.photo, (y0, x0, y1, x1), side), cv2.resize(drawn, (side, side))

    def window(self) -> tuple[int, int, int, int]:
        """The smallest square of the values that holds all but zeros: (top, left, bottom, right), in cells.

        It is no square where there is no room for one; where all are zero it is all of them.
        """
        reached = (self.signal != 0).any(axis=-1)
        ys, xs = (np.flatnonzero(reached.any(axis=axis)) for axis in (1, 0))
        if not ys.size:
            return 0, 0, *self.values.shape[:2]
        side = max(ys[-1] - ys[0], xs[-1] - xs[0]) + 1
        (top, bottom), (left, right) = (
            _around(int(axis[0]), int(axis[-1]) + 1, int(side), length)
            for axis, length in zip((ys, xs), self.values.shape[:2], strict=True)
        )
        return top, left, bottom, right

    def _drawn(self, style: str, signal: np.ndarray) -> np.ndarray:
        if style not in STYLES:
            raise BadRequest(f"there is no style {style!r}{nearest(style, [*STYLES, 'overlay'])}")
        if self.problem:
            raise NoMap(self.problem)
        return STYLES[style](signal)


# What it was called when maps and signals were two classes.
HeatMap = Projection = Attribution


def guided_gradcam(guided: Attribution, heat: Attribution) -> Attribution:
    """Guided backpropagation of a class, times where Grad-CAM sees the class: as fine as the one, as much of
    the class as the other.

    Both are of the same photo and class. Selvaraju et al. 2017, section 3.1: the map is upsampled bilinearly
    to the input's size and multiplied with every channel.
    """
    size = guided.values.shape[0], guided.values.shape[1]
    where = heat.place.moved(guided.box, whole(size)).spread(heat.map[None], size, outside=0)[0]
    return replace(
        guided,
        values=guided.values * where[..., None],
        method="guided-gradcam",
        problem=heat.problem or guided.problem,
    )


def _around(low: int, high: int, side: int, length: int) -> tuple[int, int]:
    """An interval of `side`, or all that there is, around [low, high) within [0, length)."""
    side = min(side, length)
    low = min(max(0, low - (side - (high - low)) // 2), length - side)
    return low, low + side
