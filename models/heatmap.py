"""What a lens finds: predictions, and maps that lie on the photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..engine import picture
from ..engine.errors import NoMap
from ..kernels.upsample import upsample
from .preprocess import Box
from .shown import Shown

TILE = 256  # pixels of the longer side of a photo in a picture of several
ACROSS = 6  # of them in a row, at most


@dataclass(frozen=True)
class Prediction:
    """One class of a photo: its index, its name and its probability (0 to 1)."""

    index: int
    label: str
    probability: float


@dataclass(frozen=True, repr=False)
class HeatMap(Shown):
    """Where one photo speaks for one class, as one method sees it at one layer.

    `map` (h, w) float32 is what the method gave, in the layer's resolution; `box` (y0, x0, y1, x1) is
    the part of the photo that it covers, in photo pixels. `problem` says why there is nothing to draw.
    """

    photo: np.ndarray
    map: np.ndarray
    box: Box
    target: Prediction
    score: float
    predictions: list[Prediction]
    method: str
    layer: str
    problem: str = ""

    def at_photo(self) -> np.ndarray:
        """The map on the pixels of the upright photo, (H, W) float32; NaN where the model did not look."""
        return upsample(self.map[None], *self.photo.shape[:2], box=self.box, outside=np.nan)[0]

    def overlay(self, colour: str = "turbo", alpha: float = 0.7) -> np.ndarray:
        """The photo with the map over it, (H, W, 3) uint8. Raises NoMap, with the reason, if it is none."""
        if self.problem:
            raise NoMap(self.problem)
        return picture.laid(self.photo, self.map, self.box, colour, alpha)

    def shown(self) -> np.ndarray:
        """The overlay, for notebooks."""
        return self.overlay()


def side_by_side(heats: Sequence[HeatMap], colour: str = "turbo", alpha: float = 0.7) -> np.ndarray:
    """Maps of one photo as one picture, (H, W, 3) uint8: each over the photo, with the name of its layer.

    The longer side of each is TILE pixels. Raises NoMap for a map with a problem.
    """
    tiles = [picture.fitted(heat.overlay(colour, alpha), TILE) for heat in heats]
    rows = -(-len(tiles) // ACROSS)
    return picture.grid(tiles, -(-len(tiles) // rows), captions=[heat.layer for heat in heats])


def ranked(output: np.ndarray, labels: Sequence[str], top: int | None = None) -> list[Prediction]:
    """The classes of one image's output, of any shape with C numbers, by probability; the `top` ones or all.

    Best first, equal ones by index; `labels` holds C names.
    """
    p = probabilities(np.ravel(output))
    order = np.argsort(-p, kind="stable")[:top].tolist()
    return [Prediction(i, labels[i], float(p[i])) for i in map(int, order)]


def probabilities(output: np.ndarray) -> np.ndarray:
    """Outputs (..., C) as probabilities: those that are distributions already, of the others the softmax."""
    p = output.astype(np.float64)
    given = (p >= 0).all(-1) & (abs(p.sum(-1) - 1) < 1e-2)
    soft = np.exp(p - p.max(-1, keepdims=True))
    return np.where(given[..., None], p, soft / soft.sum(-1, keepdims=True))
