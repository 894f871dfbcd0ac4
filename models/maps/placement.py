"""Where what is found lies in its photo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...engine.errors import BadRequest
from ...kernels.photos.upsample import upsample
from ..photos.preprocess import Box
from .convention import FIELDS

Size = tuple[int, int]  # height, width
MAX_EDGE = 1e6  # pixels, of a box that is read


@dataclass(frozen=True)
class Placement:
    """Where values (h, w) lie in a photo, in photo pixels: pixel Y spans Y to Y + 1.

    They are of its part `box` (y0, x0, y1, x1), and each lies in the middle of one of h x w even cells over
    `cells`, None for the box. Both may reach beyond the photo, and the cells beyond the box. Points of the
    values are in cells, where cell i spans i to i + 1. `convention` is which of CONVENTIONS was asked for.
    """

    box: Box
    cells: Box | None = None
    convention: str = FIELDS

    @property
    def grid(self) -> Box:
        """What the cells are spread over."""
        return self.box if self.cells is None else self.cells

    def moved(self, source: Box, target: Box) -> Placement:
        """The same after what lay over `source` came to lie over `target`; exact at the edges of these."""
        box, cells = _moved(self.box, source, target), self.cells and _moved(self.cells, source, target)
        return replace(self, box=box, cells=cells)

    def scaled(self, size: Size, other: Size) -> Placement:
        """The same in the photo of `size` (height, width) that was given an `other` one."""
        return self.moved(whole(size), whole(other))

    def on_photo(self, point: tuple[float, float], size: Size) -> tuple[float, float]:
        """A point (y, x) of values of `size` (h, w) as a point of the photo."""
        y0, x0, y1, x1 = self.grid
        return y0 + point[0] * (y1 - y0) / size[0], x0 + point[1] * (x1 - x0) / size[1]

    def of_pixels(self, photo: Size, size: Size) -> tuple[np.ndarray, np.ndarray]:
        """Where the centres of a photo's pixels lie in values of `size`: rows (H,) and columns (W,)."""
        (height, width), (y0, x0, y1, x1) = size, self.grid
        ys = (np.arange(photo[0]) + 0.5 - y0) / (y1 - y0) * height
        xs = (np.arange(photo[1]) + 0.5 - x0) / (x1 - x0) * width
        return ys, xs

    def spread(self, planes: np.ndarray, photo: Size, outside: float = np.nan) -> np.ndarray:
        """Planes (N, h, w) on the pixels of a photo (height, width), (N, height, width) float32, bilinearly.

        `outside` is what pixels have that they are not of.
        """
        return upsample(planes, *photo, box=self.box, outside=outside, cells=self.cells)

    def record(self) -> dict[str, Any]:
        """It as JSON: --json and manifests say it like this."""
        box, cells = ([round(edge, 4) for edge in edges] for edges in (self.box, self.grid))
        return {"box": box, "cells": cells, "convention": self.convention}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Placement:
        """Read what `record` gave, perhaps to a stranger. Raises BadRequest for boxes that are none."""
        return cls(_box(record.get("box")), _box(record.get("cells")), str(record.get("convention"))[:20])


def whole(size: Size) -> Box:
    """All of what has a size (height, width)."""
    return 0.0, 0.0, float(size[0]), float(size[1])


def _box(value: Any) -> Box:
    if not (isinstance(value, list) and len(value) == 4 and all(map(_edge, value))):
        raise BadRequest("no box")
    y0, x0, y1, x1 = map(float, value)
    if min(y1 - y0, x1 - x0) < 1 / MAX_EDGE:
        raise BadRequest("an empty box")
    return y0, x0, y1, x1


def _edge(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) <= MAX_EDGE


def _moved(box: Box, source: Box, target: Box) -> Box:
    shares = [(box[i] - source[i % 2]) / (source[i % 2 + 2] - source[i % 2]) for i in range(4)]
    y0, x0, y1, x1 = (
        (1 - share) * target[i % 2] + share * target[i % 2 + 2] for i, share in enumerate(shares)
    )
    return y0, x0, y1, x1
