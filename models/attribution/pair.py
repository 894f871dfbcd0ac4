"""Two photos that are compared: what in each is like the other, side by side."""

from __future__ import annotations

from copy import copy

import numpy as np

from ...engine import picture
from ...engine.sums import quoted
from ..maps.attribution import Attribution
from ..maps.found import Found
from ..storage.store import photo_at
from .attribute import Attributor

SIDE = 448  # pixels of the longer side of each photo


def counterpart(made: Attributor, found: Attribution, name: str) -> Attribution | None:
    """Of a likeness to another photo, what in that photo is like the one of the path `name`; else None."""
    if not isinstance(found.target, Found) or not found.target.thing.other:
        return None
    back = copy(made)
    back.targets = [f"similar({quoted(name)})"]
    return back.of_photo(photo_at(found.target.thing.other))[0]


def pair(found: Attribution, other: Attribution, colour: str = "turbo", alpha: float = 0.7) -> np.ndarray:
    """Both photos with their maps as one picture, (H, W, 3) uint8. Raises NoMap for a map with a problem."""
    tiles = [picture.fitted(f.overlay(colour, alpha), SIDE) for f in (found, other)]
    return picture.grid(tiles, 2, captions=[f.title for f in (found, other)])
