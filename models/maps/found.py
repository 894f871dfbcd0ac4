"""What a model found in one photo, in the photo's pixels: boxes, regions, characters, vectors, numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ...engine.anatomy.readouts.thing import Thing
from ..photos.preprocess import Box
from .numbers import Number, finite
from .placement import Placement, whole


@dataclass(frozen=True, eq=False)
class Found:
    """One thing that a model found in a photo.

    `index` is its number there, best first, and `label` what it is, in words. `thing` is what the readout
    gave, in pixels of the model's input of `size` (height, width), which covers the part `covers` of the
    photo. `value` is the number that is explained when this thing is, and `name` what others like it are
    called too: its class, or what it says.

    Examples
    --------
    >>> best = onnxlens.Lens("scenes").things(onnxlens.read_photo("cat.jpg"))[0]
    >>> best.kind, best.label, best.said
    ('class', 'cat', '0.980')
    """

    index: int
    label: str
    thing: Thing
    value: float
    size: tuple[int, int]
    covers: Box
    name: str = ""

    @property
    def kind(self) -> str:
        """What sort of thing it is, as of a Thing."""
        return self.thing.kind

    @property
    def probability(self) -> float | None:
        """Its score, where that is a probability."""
        return self.thing.score

    @property
    def said(self) -> str:
        """Its score, or else its value, as a person reads it."""
        return f"{self.value:.4g}" if self.thing.score is None else f"{self.thing.score:.3f}"

    @cached_property
    def box(self) -> Box | None:
        """The part (y0, x0, y1, x1) of the photo that it is in, in photo pixels; before it is turned."""
        return self.thing.box and Placement(self.thing.box).moved(whole(self.size), self.covers).box

    @cached_property
    def corners(self) -> np.ndarray | None:
        """The four corners (4, 2) of its box, each y, x in photo pixels, turned by its angle."""
        if self.thing.box is None:
            return None
        y0, x0, y1, x1 = self.thing.box
        middle = np.array([(y0 + y1) / 2, (x0 + x1) / 2])
        corners = np.array([[y0, x0], [y0, x1], [y1, x1], [y1, x0]]) - middle
        cos, sin = np.cos(self.thing.angle), np.sin(self.thing.angle)
        return self._on_photo(corners @ np.array([[cos, -sin], [sin, cos]]) + middle)

    @cached_property
    def points(self) -> np.ndarray | None:
        """Its key points (k, 3): y and x in photo pixels, and a score."""
        points = self.thing.points
        return None if points is None else np.column_stack([self._on_photo(points[:, :2]), points[:, 2]])

    def mask(self, photo: tuple[int, int]) -> np.ndarray | None:
        """What it covers of the photo of a size (height, width): (height, width) float32, 0 to 1; 0 where the
        model did not look. None where it has no mask.
        """
        if self.thing.mask is None:
            return None
        plane = np.ascontiguousarray(self.thing.mask, np.float32)[None]
        return Placement(self.covers).spread(plane, photo, outside=0)[0]

    def record(self, number: Number = finite) -> dict[str, Any]:
        """It as JSON, without its mask: boxes are y0, x0, y1, x1 in pixels of the photo."""
        thing, box, points = self.thing, self.box, self.points
        turned = {"angle": number(thing.angle)} if thing.angle else {}
        return {
            "kind": self.kind,
            "index": self.index,
            "label": self.label,
            "class": thing.label,
            "probability": number(thing.score),
            "value": number(self.value),
            **({"box": [number(edge) for edge in box], **turned} if box else {}),
            **(
                {"points": [[number(v) for v in row] for row in points.tolist()]}
                if points is not None
                else {}
            ),
        }

    def _on_photo(self, points: np.ndarray) -> np.ndarray:
        """Points (n, 2) of the input, each y, x, as points of the photo."""
        y0, x0, y1, x1 = self.covers
        scale = np.array([(y1 - y0) / self.size[0], (x1 - x0) / self.size[1]])
        return points * scale + (y0, x0)
