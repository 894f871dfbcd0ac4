"""What a model answered while a patch hid one place of a photo after another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...engine.attribution.perturbation.places import Places
from ..photos.preprocess import Box
from .attribution import Attribution
from .placement import Placement
from .prediction import Prediction
from .shown import Shown


class Approximation(NamedTuple):
    """How far an approximation is off: at how many places the answers were `computed`, at how many they were
    `checked` against exact ones, and the largest `deviation` of the score there, as a share of its range.
    """

    computed: int
    checked: int
    deviation: float


@dataclass(frozen=True, repr=False)
class Occlusion(Shown):
    """The answers of a model while a patch hides one place of a photo after another.

    Per position, (rows, columns): `scores` of the target before a softmax, its `probabilities` (0 to 1; of a
    model that gives none the values that it gives),
    `activations`, the total of feature map `channel` of `layer`, all float32, and `classes` (int64), the most
    probable one. `channel` is the map of the largest total on the photo as it is, and None where the
    model has no feature maps. `hidden` (h, w, 3) uint8 is what lies under the patches, `input` the name of
    the model's input and `place` where it lies in the photo. `how` says how the answers were computed.
    """

    photo: np.ndarray
    input: str
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
        row, column = np.unravel_index(self.scores.argmin(), self.scores.shape)
        return int(self.places.tops[row]), int(self.places.lefts[column])

    def shown(self) -> np.ndarray:
        """What hiding costs, over the photo, for notebooks."""
        return self.heat().overlay()

    def heat(self, exact: bool = False) -> Attribution:
        """What hiding costs: by how much the score drops with a patch centred at a pixel, and at least 0.

        In the resolution of the model's input; `exact` as in Places.at. `problem` says why there is none.
        """
        ys, xs = (np.arange(length) + 0.5 for length in self.places.size)
        drop = np.maximum(np.float32(self.score) - self.scores, 0)
        map_ = self.places.at(drop, ys, xs, exact)
        patch, name = "{}x{}".format(*self.places.patch), self.target.label
        problem = ""
        if not moves(self.scores):
            problem = (
                f"the score of {name!r} is the same wherever a patch of {patch} lies; "
                "try another size of patch, another fill or another class"
            )
        elif not map_.any():
            problem = f"wherever a patch of {patch} lies the score of {name!r} rises: nothing speaks for it"
        return Attribution(
            photo=self.photo,
            values=map_,
            place=self.place,
            at=self.input,
            method="occlusion",
            target=self.target,
            score=self.score,
            predictions=self.predictions,
            layer=self.layer,
            problem=problem,
            extras=self._extras(),
        )

    def _extras(self) -> dict[str, Any]:
        """What an attribution is to know of this: all of it, and in plain words where the patch was."""
        near = self.approximation
        return {
            "occlusion": self,
            "patch": self.places.patch,
            "tops": self.places.tops.tolist(),
            "lefts": self.places.lefts.tolist(),
            "channel": self.channel,
            "worst": {"corner": self.worst, "score": float(self.scores.min())},
            **({"approximation": near._asdict()} if near else {}),
        }

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


def moves(values: np.ndarray) -> bool:
    """Whether values differ by more than the rounding of float32."""
    return bool(np.ptp(values) > 1e-6 * np.abs(values).max())
