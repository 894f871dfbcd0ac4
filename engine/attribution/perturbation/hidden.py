"""What hiding one place after another does to some classes of an image: recorded by place, and as maps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ..method import Pair
from .asked import Asked, Maps
from .coarse import coarse_to_fine
from .occlusion import Ask, Hiding, asking, how, plainly
from .places import Places, places

PATCHES = 7  # of the default size, side by side along the input's shorter side
TOLERANCE = 0.1  # of the score's range: by how much the corners of a cell differ that is refined
CHECKED = 16  # places at which an approximation is compared with the exact answers


class Approximation(NamedTuple):
    """How far an approximation is off: at how many places the answers were `computed`, at how many they were
    `checked` against exact ones, and the largest `deviation` of the score there, as a share of its range.
    """

    computed: int
    checked: int
    deviation: float


def places_on(size: tuple[int, int], patch: Pair | None, stride: Pair | None) -> Places:
    """Where a patch goes on an input of this size (height, width); `patch` and `stride` in pixels of it.

    By default a seventh of the shorter side, in steps of half a patch. Raises BadRequest as `places` does.
    """
    height, width = _pair(max(1, round(min(size) / PATCHES)) if patch is None else patch)
    steps = (max(1, height // 2), max(1, width // 2)) if stride is None else _pair(stride)
    return places(size, (height, width), steps)


@dataclass(frozen=True)
class Hidden:
    """What was recorded of a class while a patch hid one place after another.

    By place, (rows, columns): `scores` before a softmax, `probabilities` (0 to 1; of a model that gives
    none the values that it gives), `activations`, the total of feature map `channel`, all float32, and
    `classes` (int64), the most probable one. `channel` is the map of the largest total on the image as it is,
    None where there are no feature maps. `under` is the input that lies under the patch; `how` says how the
    answers were computed.
    """

    places: Places
    under: np.ndarray
    channel: int | None
    scores: np.ndarray
    probabilities: np.ndarray
    activations: np.ndarray
    classes: np.ndarray
    how: str
    approximation: Approximation | None

    @property
    def worst(self) -> tuple[int, int]:
        """Where hiding costs the score most: the patch's upper left pixel (y, x) on the input."""
        row, column = np.unravel_index(self.scores.argmin(), self.scores.shape)
        return int(self.places.tops[row]), int(self.places.lefts[column])

    def said(self) -> dict[str, Any]:
        """The extras of an explanation: all of this, and in plain words where the patch was."""
        near = self.approximation
        return {
            "hidden": self,
            "patch": self.places.patch,
            "tops": self.places.tops.tolist(),
            "lefts": self.places.lefts.tolist(),
            "channel": self.channel,
            "how": self.how,
            "worst": {"corner": self.worst, "score": float(self.scores.min())},
            **({"approximation": near._asdict()} if near else {}),
        }


def hidden(
    asked: Asked, patch: Pair | None, stride: Pair | None, fill: str, coarse: bool, narrow: float, exact: bool
) -> Maps:
    """The drop of the score of each class in question by place, on the pixels of the input."""
    spots = places_on(asked.size, patch, stride)
    under, layer, network = asked.under(fill), asked.layer, asked.network
    hiding = Hiding(asked.image, under, spots, last=asked.intake.last)
    unhidden, ask = asking(network, layer, hiding, narrow)
    asked.clean = clean = unhidden()
    channel = int(clean.totals[0].argmax()) if clean.totals.size else None
    record = _recorder(asked, channel, len(spots))
    compute = partial(record, ask)
    if coarse:
        grids, computed = coarse_to_fine(spots.shape, compute, TOLERANCE, labels=1)
    else:
        grids, computed = compute(np.arange(len(spots))).reshape(*spots.shape, -1), np.ones(spots.shape, bool)
    near = None
    if coarse or narrow < 1:
        doubtful = ~computed if narrow == 1 else np.ones(spots.shape, bool)
        exactly = partial(record, plainly(network, layer, hiding))
        near = _checked(grids[..., 0], computed, doubtful, lambda some: exactly(some)[:, 0])
    *grids, classes = np.moveaxis(grids, 2, 0)
    *by_class, activations = (grid.astype(np.float32) for grid in grids)
    classes, why = classes.astype(np.int64), how(network, layer, spots, narrow)
    count, labels = len(asked.classes), asked.intake.labels
    found = [
        Hidden(spots, under, channel, scores, probabilities, activations, classes, why, near)
        for scores, probabilities in zip(by_class[:count], by_class[count:], strict=True)
    ]
    drops = [
        drop(spots, float(clean.scores[0, c]), h.scores, exact)
        for c, h in zip(asked.classes, found, strict=True)
    ]
    problems = [
        no_drop(spots, labels[c], h.scores, d) for c, h, d in zip(asked.classes, found, drops, strict=True)
    ]
    return Maps(np.stack(drops), problems, [h.said() for h in found])


def drop(spots: Places, score: float, scores: np.ndarray, exact: bool = False) -> np.ndarray:
    """What hiding costs: by how much the score drops with a patch centred at a pixel, and at least 0.

    `scores` by place; (h, w) float32 in the resolution of the input. `exact` as in Places.at.
    """
    ys, xs = (np.arange(length) + 0.5 for length in spots.size)
    return spots.at(np.maximum(np.float32(score) - scores, 0), ys, xs, exact)


def no_drop(spots: Places, name: str, scores: np.ndarray, map_: np.ndarray) -> str:
    """Why such a map of the class of this name shows nothing; empty where it does."""
    patch = "{}x{}".format(*spots.patch)
    if not moves(scores):
        return (
            f"the score of {name!r} is the same wherever a patch of {patch} lies; "
            "try another size of patch, another fill or another class"
        )
    if not map_.any():
        return f"wherever a patch of {patch} lies the score of {name!r} rises: nothing speaks for it"
    return ""


def moves(values: np.ndarray) -> bool:
    """Whether values differ by more than the rounding of float32."""
    return bool(np.ptp(values) > 1e-6 * np.abs(values).max())


def _recorder(asked: Asked, channel: int | None, count: int) -> Callable[[Ask, np.ndarray], np.ndarray]:
    """The function of an Ask and the numbers (n,) of places that gives what is recorded of the answers.

    That is (n, 2 K + 2) float64: the scores of K classes, what the model says of them (their probabilities),
    the total of the channel (0 where there is none) and the most probable class. It counts its places, of
    `count`, for the progress.
    """
    done, classes = 0, asked.classes

    def record(ask: Ask, numbers: np.ndarray) -> np.ndarray:
        nonlocal done
        found = [np.empty((0, 2 * len(classes) + 2))]
        for batch in ask(numbers):
            p = asked.answers(batch)
            totals = np.zeros(len(p)) if channel is None else batch.totals[:, channel]
            found.append(np.column_stack([batch.scores[:, classes], p[:, classes], totals, p.argmax(1)]))
            done += len(p)
            asked.progress(min(done, count), count)
        return np.concatenate(found)

    return record


def _checked(
    scores: np.ndarray,
    computed: np.ndarray,
    doubtful: np.ndarray,
    exactly: Callable[[np.ndarray], np.ndarray],
) -> Approximation:
    """How far scores by place, (rows, columns), are off, measured at some of the `doubtful` places.

    Which were `computed` and which are in doubt is bool (rows, columns); `exactly` gives the scores (n,) at
    places by their numbers (n,).
    """
    some = np.random.default_rng(0).permutation(np.flatnonzero(doubtful))[:CHECKED]
    exact = exactly(some)
    off = np.abs(exact - scores.reshape(-1)[some]).max(initial=0)
    spread = np.ptp(np.append(scores, exact))
    return Approximation(int(computed.sum()), len(some), float(off / spread) if off else 0.0)


def _pair(value: Pair) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value
