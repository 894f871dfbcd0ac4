"""What a model answered while a patch hid one place of a photo after another."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...engine.attribution.perturbation.hidden import Approximation, drop
from ...engine.attribution.perturbation.places import Places
from ..photos.preprocess import Box
from .attribution import Attribution
from .placement import Placement
from .prediction import Prediction
from .shown import Shown


@dataclass(frozen=True, repr=False)
class Occlusion(Shown):
    """The answers of a model while a patch hides one place of a photo after another.

    Per position, (rows, columns): `scores` of the target before a softmax, its `probabilities` (0 to 1; of a
    model that gives none the values that it gives),
    `activations`, the total of feature map `channel` of `layer`, all float32, and `classes` (int64), the most
    probable one. `channel` is the map of the largest total on the photo as it is, and None where the
    model has no feature maps. `hidden` (h, w, 3) uint8 is what lies under the patches, `place` where the
    model's input lies in the photo. `how` says how the answers were computed. `found` is what all of this
    was made of.
    """

    found: Attribution
    photo: np.ndarray
    place: Placement
    places: Places
    hidden: np.ndarray
    target: Prediction
    score: float
    predictions: list[Prediction]
    labels: list[str]
    layer: str | None
    channel: int | None
    scores: np.ndarray
    probabilities: np.ndarray
    activations: np.ndarray
    classes: np.ndarray
    how: str = ""
    approximation: Approximation | None = None

    @property
    def box(self) -> Box:
        """The part (y0, x0, y1, x1) of the photo that the input covers, in photo pixels."""
        return self.place.box

    @property
    def worst(self) -> tuple[int, int]:
        """Where hiding costs the score most: the patch's upper left pixel (y, x) on the model's input."""
        return self.found.extras["hidden"].worst

    def shown(self) -> np.ndarray:
        """What hiding costs, over the photo, for notebooks."""
        return self.heat().overlay()

    def heat(self, exact: bool = False) -> Attribution:
        """What hiding costs: by how much the score drops with a patch centred at a pixel, and at least 0.

        In the resolution of the model's input; `exact` as in Places.at. `problem` says why there is none.
        """
        values = drop(self.places, self.score, self.scores, exact)
        return replace(self.found, photo=self.photo, place=self.place, values=values)

    def at_photo(self, values: np.ndarray, exact: bool = False) -> np.ndarray:
        """Values (rows, columns) on the pixels of the photo, (H, W) float32, as Places.at gives them.

        The value at a pixel is that of the patch centred there. NaN where the model did not look.
        """
        height, width = self.places.size
        ys, xs = self.place.of_pixels(self.photo.shape[:2], self.places.size)
        out = self.places.at(values, ys, xs, exact)
        out[(ys < 0) | (ys > height)] = np.nan
        out[:, (xs < 0) | (xs > width)] = np.nan
        return out
