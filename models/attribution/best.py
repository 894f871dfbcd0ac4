"""Which method to believe for a model, by photos of which nobody knows where the objects are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from ...engine.errors import BadRequest, NoMap, NoRule
from ...engine.metrics.metrics import METRICS
from ..network.vision_model import Target, VisionModel
from .attribute import Attributor
from .judge import Judge

CANDIDATES = (
    "gradcam",
    "layercam",
    "hirescam",
    "gradcam++",
    "saliency",
    "input-x-gradient",
    "guided",
    "lrp",
    "integrated",
)
BY = ("deletion", "insertion", "randomisation")
FILL = "noise"  # where pixels are hidden: no method hides under it, or starts from it, unless it is told to
LEAST, MOST = 8, 40  # photos
ALIKE = 0.7  # of randomised weights: a method above it looks at the photo more than at the model
SURE = 0.05  # the chance that a difference is none, of which it is taken for one
DRAWS = 9999
SEED = 0


class Best(NamedTuple):
    """The `method` that did best on one half of the photos, and what came of each on the other half.

    `numbers` are the means of BY there by method, `ranks` the mean ranks, 1 for the best. `even` are the
    methods from which it does not differ surely, `fails` those whose maps of random weights are alike, which
    are not chosen. `photos` were judged in all.
    """

    method: str
    numbers: dict[str, dict[str, float]]
    ranks: dict[str, float]
    even: tuple[str, ...]
    fails: tuple[str, ...]
    photos: int


def best(
    lens: VisionModel,
    photos: Iterable[np.ndarray],
    target: Target = None,
    methods: Sequence[str] = CANDIDATES,
    progress: Callable[[int], Any] = lambda done: None,
) -> Best:
    """The method that is best by deletion, insertion and randomised weights; photos (H, W, 3) uint8 RGB, of
    which the first MOST are looked at, one at a time.

    Of each photo the methods are ranked by each of the three; the least mean rank over every other photo is
    chosen, and held against the others on those between, which it was not chosen by: a permutation test of
    the ranks of each two (Fisher 1935, paired), at SURE.

    Raises BadRequest for fewer than LEAST photos with a map, and for a model without classes.
    """
    judges = _judges(lens, target, methods)
    found: list[np.ndarray] = []  # of each photo (methods, metrics)
    for i, photo in enumerate(islice(photos, MOST)):
        x, box = lens.preprocess(photo)
        rows = []
        for attributor, judge in judges.values():
            (maps,) = attributor([photo], x, [box])
            numbers = judge(x[0], maps[0])
            rows.append([np.nan if (v := numbers[name]) is None else v for name in BY])
        found += [np.array(rows)] if np.isfinite(rows).all() else []
        progress(i + 1)
    if len(found) < LEAST:
        raise BadRequest(
            f"{len(found)} photos of which all methods have a map are too few to tell which is best: "
            f"give at least {LEAST}, or name a method"
        )
    return _chosen(list(judges), np.stack(found))


def _judges(lens: VisionModel, target: Target, methods: Sequence[str]) -> dict[str, tuple[Attributor, Judge]]:
    """The methods that this model has, each with its judge."""
    made: dict[str, tuple[Attributor, Judge]] = {}
    for name in methods:
        try:
            attributor = Attributor(lens, name, (target,))
        except (NoRule, NoMap, BadRequest):
            continue
        made[name] = attributor, Judge(attributor, BY, FILL)
    if len(made) < 2:
        raise BadRequest("no two methods can explain this model: name one; `onnxlens doctor` says why")
    return made


def _chosen(methods: Sequence[str], numbers: np.ndarray) -> Best:
    """The best of some methods by their `numbers` (photos, methods, metrics)."""
    signs = np.array([1 if METRICS[name].best == "low" else -1 for name in BY])
    ranks = _ranks(numbers * signs).mean(2)  # (photos, methods)
    ours, theirs = ranks[::2], ranks[1::2]
    alike = numbers[::2, :, BY.index("randomisation")].mean(0) > ALIKE
    order: list[int] = np.argsort(ours.mean(0) + 1e6 * alike, kind="stable").tolist()
    first = order[0]
    rng = np.random.default_rng(SEED)
    even = [k for k in order[1:] if not _is_less(theirs[:, first], theirs[:, k], rng)]
    means = numbers[1::2].mean(0)
    return Best(
        methods[first],
        {methods[k]: dict(zip(BY, map(float, means[k]), strict=True)) for k in order},
        {methods[k]: float(theirs[:, k].mean()) for k in order},
        tuple(methods[k] for k in even),
        tuple(methods[k] for k in order if alike[k]),
        len(numbers),
    )


def _ranks(values: np.ndarray) -> np.ndarray:
    """The ranks of methods among each other (photos, methods, metrics), from 1 for the least; ties share."""
    below = (values[:, None] < values[:, :, None]).sum(2)
    equal = (values[:, None] == values[:, :, None]).sum(2)
    return below + (equal + 1) / 2


def _is_less(a: np.ndarray, b: np.ndarray, rng: np.random.Generator) -> bool:
    """Whether pairs of values differ more, with a below b, than when which is which is drawn by lot."""
    gaps = b - a
    signs = rng.choice([-1.0, 1.0], (DRAWS, len(gaps)))
    chance = (1 + ((signs * gaps).sum(1) >= gaps.sum() - 1e-12).sum()) / (DRAWS + 1)
    return bool(chance <= SURE)
