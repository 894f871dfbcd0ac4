"""What hiding one place of a photo after another does to a model's answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...engine.attribution.compiled import Progress
from ...engine.attribution.method import Pair
from ...engine.attribution.perturbation.hidden import Hidden
from ...engine.errors import BadRequest
from ..maps.attribution import Attribution
from ..maps.occluded import Occlusion
from ..maps.prediction import Prediction
from ..network.vision_model import Target, VisionModel
from .attribute import Attributor


def occlusion(
    lens: VisionModel,
    photo: np.ndarray,
    target: Target = None,
    patch: Pair | None = None,
    stride: Pair | None = None,
    fill: str = "mean",
    layer: str | None = None,
    progress: Progress | None = None,
    coarse: bool = False,
    narrow: float = 1,
) -> Occlusion:
    """Hide one place after another of a photo, and record what the model answers.

    Zeiler & Fergus 2014, section 4.2. Two approximations, `coarse` and `narrow`, may go together; how far
    they are off is measured at some places, as `approximation`.

    Parameters
    ----------
    lens
        The model.
    photo
        Pixels (H, W, 3) uint8, RGB.
    target
        A class index, a label, or None for the predicted class.
    patch
        Pixels of the model's input that are hidden at a time, one number or two; by default a seventh of its
        shorter side.
    stride
        Steps of the patch, by default half of it.
    fill
        What the patch shows: "mean", "zero", "blur", "noise" or a colour.
    layer
        Whose strongest feature map is followed, by default the last before the head.
    progress
        Called with the positions done and their number.
    coarse
        Compute every fourth place down and across, and those between where the score differs.
    narrow
        Below 1, a patch is taken to change no more than this share of a map's height and width, where the
        network is cut at all.

    Returns
    -------
    Occlusion
        The answers by place, and pictures of them.

    Raises
    ------
    BadRequest
        For what is not there, or a target that is several classes, before anything is computed.
    NoMap
        Where the model's answer is not a number.

    Examples
    --------
    >>> lens = onnxlens.Lens("scenes")
    >>> hidden = onnxlens.occlusion(lens, onnxlens.read_photo("cat.jpg"), patch=24)
    >>> hidden.scores.shape, hidden.heat().name
    ((7, 7), 'cat')
    """
    patches = {"patch": patch, "stride": stride, "fill": fill, "coarse": coarse, "narrow": narrow}
    (found,) = check(lens, target, layer, **patches).of_photo(photo, progress)
    return occluded(lens, found)


def check(lens: VisionModel, target: Target, layer: str | None = None, **options: Any) -> Attributor:
    """The method for one class; raises as `occlusion` does, before there is a photo."""
    if (wish := lens.wish(target)) < -1:
        raise BadRequest(f"occlusion follows one class, not the best {-wish}; name one")
    return Attributor(lens, "occlusion", [target], layer=layer, **options)


def occlusions(
    lens: VisionModel,
    photo: np.ndarray,
    targets: Sequence[Target] = (None,),
    layer: str | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> list[Occlusion]:
    """As `occlusion`, one for each target, where "top3" is three: the answers are computed once for all.

    Each class comes once, in the order of the targets. `options` are those of the method.
    """
    attributor = Attributor(lens, "occlusion", targets, layer=layer, **options)
    return [occluded(lens, found) for found in attributor.of_photo(photo, progress)]


def occluded(lens: VisionModel, found: Attribution) -> Occlusion:
    """What was recorded by place for an attribution of the method "occlusion"."""
    if not isinstance(found.target, Prediction):
        raise BadRequest(
            "answers by place are recorded for classes; for any other target take the map of "
            'attribute(photo, "occlusion", [target])'
        )
    hidden: Hidden = found.extras["hidden"]
    return Occlusion(
        found=found,
        photo=found.photo,
        place=found.place,
        places=hidden.places,
        hidden=lens.preprocess.inverse(hidden.under[None])[0],
        target=found.target,
        score=found.score,
        predictions=[p for p in found.predictions if isinstance(p, Prediction)],
        labels=lens.labels,
        layer=found.layer,
        channel=hidden.channel,
        scores=hidden.scores,
        probabilities=hidden.probabilities,
        activations=hidden.activations,
        classes=hidden.classes,
        how=hidden.how,
        approximation=hidden.approximation,
    )
