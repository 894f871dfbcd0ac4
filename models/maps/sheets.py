"""Several attributions of one photo as one picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...engine import picture
from .attribution import Attribution

TILE = 256  # pixels of the longer side of a photo in a picture of several
ACROSS = 6  # of them in a row, at most


def side_by_side(heats: Sequence[Attribution], colour: str = "turbo", alpha: float = 0.7) -> np.ndarray:
    """Maps of one photo as one picture, (H, W, 3) uint8: each over the photo, with the name of its layer.

    The longer side of each is TILE pixels. Raises NoMap for a map with a problem.
    """
    tiles = [picture.fitted(heat.overlay(colour, alpha), TILE) for heat in heats]
    rows = -(-len(tiles) // ACROSS)
    return picture.grid(tiles, -(-len(tiles) // rows), captions=[heat.layer or heat.at for heat in heats])


def sheet(shown: Sequence[Attribution], style: str = "signed") -> np.ndarray:
    """What channels see of a photo beside what comes back from each, as one picture, (H, W, 3) uint8.

    Raises NoMap for one with a problem.
    """
    cells = [np.hstack(p.crops(style)) for p in shown]
    return picture.grid(cells, 3, captions=[f"channel {p.channel}: {p.score:.3g}" for p in shown])
