"""What a lens finds: predictions, and maps that lie on the photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...engine import picture
from ...engine.anatomy.readouts import Readout
from ...engine.errors import NoMap
from ...kernels.photos.upsample import upsample
from ..photos.preprocess import Box
from .shown import Shown

TILE = 256  # pixels of the longer side of a photo in a picture of several
ACROSS = 6  # of them in a row, at most


@dataclass(frozen=True)
class Prediction:
    """What a model says of one class of a photo: its index, its name and its probability (0 to 1).

    Where the model gives no probabilities (an embedding, a regression) that is None, and `value` is the
    number that it gives.
    """

    index: int
    label: str
    probability: float | None
    value: float | None = None

    @property
    def answer(self) -> float:
        """The probability, or else the value."""
        return self.value if self.probability is None else self.probability  # pyright: ignore[reportReturnType]

    @property
    def said(self) -> str:
        """The answer as a person reads it: 0.979, or 12.34 of what is no probability."""
        return f"{self.answer:.4g}" if self.probability is None else f"{self.probability:.3f}"


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


def prediction(readout: Readout, labels: Sequence[str], answers: np.ndarray, index: int) -> Prediction:
    """What the answers (C,) of a readout say of one class; `labels` holds C names."""
    answer = float(answers[index])
    return Prediction(index, labels[index], *((answer,) if readout.sure else (None, answer)))


def ranked(
    readout: Readout, output: np.ndarray, labels: Sequence[str], top: int | None = None
) -> list[Prediction]:
    """The classes of one image's output, of any shape with C numbers; the `top` ones or all.

    The most probable (of values: the greatest) first, equal ones by index; `labels` holds C names.
    """
    answers = readout.answers(np.ravel(output))
    order = np.argsort(-answers, kind="stable")[:top].tolist()
    return [prediction(readout, labels, answers, int(i)) for i in order]
