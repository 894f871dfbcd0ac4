"""The methods of a run: what each finds in photos that come in batches, or one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...engine.attribution.explainer import Explainer, Explanation
from ...engine.attribution.explainers import EXPLAINERS
from ...engine.attribution.projection import METHODS
from ...engine.attribution.projector import Projector
from ...engine.errors import BadRequest, nearest
from ..maps.attribution import Attribution
from ..maps.placement import Placement
from ..maps.prediction import Prediction, prediction
from ..network.vision_model import Target, VisionModel
from ..photos.preprocess import Box
from .occlusion import check_places, occlusions
from .projection import project

NAMES = (*EXPLAINERS, "occlusion", *METHODS)
# A photo, what it is for the model, and where that lies on it, to what is found: one by one, or many at once.
Single = Callable[[np.ndarray], list[Attribution]]
Batched = Callable[[Sequence[np.ndarray], np.ndarray, Sequence[Box]], list[list[Attribution]]]


def batched(lens: VisionModel, method: str, targets: Sequence[Target], layer: str | None) -> Batched:
    """One of EXPLAINERS for photos, inputs (N, ...) and boxes: for each photo, a map of each target.

    Raises BadRequest for a target or layer that is not there, before there is a photo.
    """
    explainer = lens.explainer(method, layer)
    wishes = [lens.wish(t) for t in targets]
    most = max(1, -min(wishes))

    def find(photos: Sequence[np.ndarray], x: np.ndarray, boxes: Sequence[Box]) -> list[list[Attribution]]:
        first = _explained(lens, explainer, x, None)
        chances = [lens.readout.answers(np.ravel(e.output)) for e in first]
        orders = [_order(p, most) for p in chances]
        wanted = [_classes(wishes, order) for order in orders]
        found: list[list[Attribution]] = [[] for _ in photos]
        for rank in range(max(map(len, wanted))):
            classes = [own[min(rank, len(own) - 1)] for own in wanted]
            is_first = classes == [e.target for e in first]
            explained = first if is_first else _explained(lens, explainer, x, classes)
            for i, e in enumerate(explained):
                if rank < len(wanted[i]):
                    target, best = (
                        prediction(lens.readout, lens.labels, chances[i], c) for c in (e.target, orders[i][0])
                    )
                    found[i].append(_heat(photos[i], boxes[i], e, target, [best], method))
        return found

    return find


def single(
    lens: VisionModel, method: str, targets: Sequence[Target], layer: str | None, **patch: Any
) -> Single:
    """`occlusion` or one of the projections for one photo: what it finds for each target.

    `patch`: patch, stride and fill of an occlusion. Raises BadRequest as `batched` does, for a layer in a
    projection, which here is that of a class, and for a name that is no method.
    """
    for target in targets:
        lens.wish(target)
    if method == "occlusion":
        check_places(lens, layer=layer, **patch)
        return lambda photo: [o.heat() for o in occlusions(lens, photo, targets, layer=layer, **patch)]
    if method not in METHODS:
        raise BadRequest(f"there is no method {method!r}{nearest(method, NAMES)}")
    if layer is not None:
        raise BadRequest(f"a run of {method} looks back from classes: leave --layer out")
    projector = Projector(lens.network, method)
    return lambda photo: list(project(lens, photo, projector, targets))


def scaled(box: Box, photo: np.ndarray, other: np.ndarray) -> Box:
    """A box on a photo, as it is on the same photo in another size."""
    down, across = (other.shape[axis] / photo.shape[axis] for axis in (0, 1))
    return box[0] * down, box[1] * across, box[2] * down, box[3] * across


def _explained(
    lens: VisionModel, explainer: Explainer, x: np.ndarray, classes: Sequence[int] | None
) -> list[Explanation]:
    """One explanation for each input, of the predicted class or of `classes`; a fixed batch is filled up."""
    size, found = lens.together(len(x)), list[Explanation]()
    for start in range(0, len(x), size):
        part, wish = x[start : start + size], None if classes is None else [*classes[start : start + size]]
        if (missing := lens.batch - len(part)) > 0:
            part = np.concatenate([part, part[-1:].repeat(missing, 0)])
            wish = wish and wish + wish[-1:] * missing
        found += explainer({lens.input: part}, wish)[: len(x) - start]
    return found


def _order(chances: np.ndarray, most: int) -> list[int]:
    """The `most` most probable classes, best first; of equal ones the first."""
    return [int(chances.argmax())] if most == 1 else np.argsort(-chances, kind="stable")[:most].tolist()


def _classes(wishes: Sequence[int], order: list[int]) -> list[int]:
    """The classes of one image that wishes mean, each once; -n are the first n of its `order`."""
    return list(dict.fromkeys(c for w in wishes for c in (order[:-w] if w < 0 else [w])))


def _heat(
    photo: np.ndarray, box: Box, e: Explanation, target: Prediction, best: list[Prediction], method: str
) -> Attribution:
    return Attribution(
        photo, e.map, Placement(box), e.layer, method, target, e.score, best, e.layer, problem=e.problem
    )
