"""Concepts of a layer over photos: the patches that show each, and what it counts for a class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from ...engine.anatomy.layers import checked_layer
from ...engine.anatomy.maps import feature_map
from ...engine.attribution.compiled import Progress
from ...engine.attribution.perturbation.asked import Asked
from ...engine.attribution.perturbation.sampled.sensitivity import total_indices
from ...engine.attribution.scored.behind import Behind
from ...engine.errors import BadImage, BadRequest
from ...engine.features.concepts import amounts, factors
from ..attribution.attribute import intake
from ..network.vision_model import Target, VisionModel
from ..photos.preprocess import Box

GRID = 3  # patches of a photo, down and across, each half as long as what the model sees of it
LEAST, MOST = 8, 300  # photos; more are taken evenly
ASKED = 24  # photos by which importance is measured, at most
SHOWN = 10  # patches of a concept, at most one of each photo
AT_ONCE = 32  # layers that are held in memory
SEED = 0
SAMPLES = 32  # of the Sobol indices, for each photo
Read = Callable[[str], np.ndarray]  # the pixels of a photo's name; raises BadImage


class Patch(NamedTuple):
    """A part `box` (y0, x0, y1, x1) of a photo, in its pixels, and how much of a concept there is in it."""

    name: str
    box: tuple[int, int, int, int]
    amount: float


class Concept(NamedTuple):
    """What channels a concept is made of (K,), its share of the score's variance, and the patches with most
    of it.
    """

    weights: np.ndarray
    importance: float
    patches: Sequence[Patch]


class Concepts(NamedTuple):
    """The concepts of a `layer` for a class, the most important first; `photos` of it were looked at.

    `explained` is the share of what the layer answers to the patches that they make up, 1 for all of it.
    """

    layer: str
    target: int
    label: str
    photos: int
    explained: float
    concepts: Sequence[Concept]


def concepts(
    lens: VisionModel,
    photos: Sequence[str],
    read: Read,
    layer: str | None = None,
    target: Target = None,
    count: int = 10,
    progress: Progress = lambda done, count: None,
) -> Concepts:
    """The concepts by which a layer tells a class, in photos that the model takes for it.

    `target` is a class, by default the one that most photos are taken for; `layer` a feature map that is
    nowhere below zero, by default the last before the head; `count` how many concepts. Fel et al. 2023,
    CRAFT: the layer's answers to patches are factorised, and a concept's importance is its total Sobol index
    for the class's score, where each value of the layer keeps the share of the concepts that stay.

    Raises BadRequest for a layer or a class that is not there or cannot be taken apart, and for fewer than
    LEAST photos of the class; Unavailable without scikit-learn.
    """
    graph = lens.network.graph.copy()
    layer = checked_layer(graph, layer, lens.readout.scores)
    session = lens.network.compile(graph, [feature_map(graph, layer).name])
    places = np.linspace(0, len(photos) - 1, min(len(photos), MOST)).astype(int)
    some = [photos[int(i)] for i in places]
    seen, wanted = _of_class(lens, some, read, target, progress)
    if len(seen) < LEAST:
        raise BadRequest(
            f"{len(seen)} of {len(some)} photos are taken for {lens.labels[wanted]!r}, and concepts need "
            f"{LEAST}: give more photos, or another class with --target"
        )
    values, patches = [], []
    for done, name in enumerate(seen):
        photo = read(name)
        for box in _boxes(lens.preprocess.box(*photo.shape[:2]), photo.shape):
            x, _ = lens.preprocess(photo[box[0] : box[2], box[1] : box[3]])
            (maps,) = session({lens.input: np.repeat(x, lens.batch, 0)}).values()
            values.append(maps[0].mean((1, 2)))
            patches.append((name, box))
        progress(len(some) + done + 1, len(some) + 2 * len(seen))
    pooled = np.stack(values)
    found, made = factors(pooled, count)
    left = np.linalg.norm(pooled - found @ made) / (np.linalg.norm(pooled) or 1)
    counted = lambda done: progress(len(some) + len(seen) + done, len(some) + 2 * len(seen))
    inputs = (lens.preprocess(read(name))[0] for name in seen[:: -(-len(seen) // ASKED)])
    weights = _importance(lens, layer, wanted, inputs, made, counted)
    order = np.argsort(-weights, kind="stable")
    every = [Concept(made[k], float(weights[k]), _best(patches, found[:, k])) for k in order]
    return Concepts(layer, wanted, lens.labels[wanted], len(seen), float(1 - left**2), every)


def _of_class(
    lens: VisionModel, names: Sequence[str], read: Read, target: Target, progress: Progress
) -> tuple[list[str], int]:
    """The photos that are taken for a class, by their names, and the class."""
    wish, found = lens.wish(target), []
    for done, name in enumerate(names):
        progress(done, 3 * len(names))
        try:
            x, _ = lens.preprocess(read(name))
        except BadImage:
            continue
        output = lens.network.run({lens.input: np.repeat(x, lens.batch, 0)}, [lens.readout.value])
        answers = lens.readout.answers(output[lens.readout.value][0].ravel())
        found.append((name, int(answers.argmax())))
    classes = [best for _, best in found]
    wanted = wish if wish >= 0 else max(dict.fromkeys(classes), key=classes.count, default=0)
    return [name for name, best in found if best == wanted], wanted


def _boxes(seen: Box, shape: Sequence[int]) -> list[tuple[int, int, int, int]]:
    """The patches of a photo (H, W, 3): GRID x GRID of half of what the model sees of it, overlapping."""
    top, left = max(0, round(seen[0])), max(0, round(seen[1]))
    bottom, right = min(shape[0], round(seen[2])), min(shape[1], round(seen[3]))
    height, width = max(2, (bottom - top) // 2), max(2, (right - left) // 2)
    rows = np.linspace(top, max(top, bottom - height), GRID).astype(int).tolist()
    columns = np.linspace(left, max(left, right - width), GRID).astype(int).tolist()
    return [(y, x, min(y + height, shape[0]), min(x + width, shape[1])) for y in rows for x in columns]


def _importance(
    lens: VisionModel,
    layer: str,
    target: int,
    inputs: Iterable[np.ndarray],
    made: np.ndarray,
    progress: Callable[[int], Any],
) -> np.ndarray:
    """The mean over photos of the total Sobol index of each concept (r,) for the class's score.

    Of a value of the layer the share Σ m_i u_i w_i / Σ u_i w_i is left, m_i of a concept staying.
    """
    found = []
    for x in inputs:
        behind = Behind(Asked(lens.network, None, x[0], [target], intake(lens), at=layer))
        score = partial(_score, behind, _parts(behind.maps, made))
        found.append(total_indices(score, len(made), SAMPLES, np.random.default_rng(SEED))[:, 0])
        progress(len(found))
    return np.mean(found, 0)


def _parts(maps: np.ndarray, made: np.ndarray) -> np.ndarray:
    """The part of each concept (r, K) in maps (K, h, w), (r, K, h, w): they sum to what all make up."""
    channels, *size = maps.shape
    found = amounts(maps.reshape(channels, -1).T, made)
    return (found.T[:, None] * made[:, :, None]).reshape(len(made), channels, *size)


def _score(behind: Behind, parts: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The class's score (m, 1) where `kept` (m, r) of the concepts stays, AT_ONCE of them at a time."""
    whole, found = parts.sum(0), []
    for start in range(0, len(kept), AT_ONCE):
        left = np.tensordot(kept[start : start + AT_ONCE].astype(np.float32), parts, 1)
        shares = np.divide(left, whole, out=np.ones_like(left), where=whole > 0)
        found.append(behind(shares, raw=True))
    return np.concatenate(found)


def _best(patches: Sequence[tuple[str, tuple[int, int, int, int]]], found: np.ndarray) -> list[Patch]:
    """The patches with most of a concept, the strongest first, one of each photo."""
    best: dict[str, Patch] = {}
    for k in np.argsort(-found, kind="stable").tolist():
        name, box = patches[k]
        if found[k] > 0:
            best.setdefault(name, Patch(name, box, float(found[k])))
        if len(best) == SHOWN:
            break
    return list(best.values())
