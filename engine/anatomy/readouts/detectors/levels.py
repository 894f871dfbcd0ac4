"""Outputs for each level of a pyramid, whose boxes are still to be laid on its grid.

    scores (N, P, C), distances (N, P, 4 bins)   distributions of the distances to the sides   PicoDet, GFL
    scores (P, 1), distances (P, 4), points      distances in cells, two anchors for each      SCRFD
    cls_8, obj_8, bbox_8, kps_8, ...             offsets in cells and logarithms of sizes      YuNet
    scores (N, P, 1), regressors (N, P, 16)      offsets in pixels from fixed anchors          BlazeFace

Sources: Li et al. 2020 (GFL), Yu et al. 2021 (PicoDet), Guo et al. 2021 (SCRFD), Wu et al. 2023 (YuNet),
Bazarevsky et al. 2019 (BlazeFace) and the anchors of MediaPipe's face detection.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from ....graph.graph import Graph
from ...intervals import interval
from ..thing import Hints, Seed
from .candidates import Candidates, coordinates, corners, grid, strides_of
from .layout import Found, Values, real_outputs, sizes


class Level(NamedTuple):
    """The outputs of one level by their widths or names, and what its grid is."""

    outputs: tuple[str, ...]
    stride: int
    each: int = 1


def distances(graph: Graph, hints: Hints, said: bool) -> Found | None:
    """Scores and distributions of distances for each level."""
    rows = _by_rows(graph, hints)
    levels = []
    for count, named in sorted(rows.items(), reverse=True):
        if len(named) != 2:
            return None
        wide = [o for o in named if _width(graph, o) % 4 == 0 and not _is_unit(graph, o)]
        strides = strides_of(count, hints.size) or ()
        if len(wide) != 1 or _width(graph, wide[0]) < 8 or len(strides) != 1:
            return None
        (scores,) = set(named) - set(wide)
        if not _is_unit(graph, scores):
            return None
        levels.append(Level((scores, wide[0]), strides[0]))
    return _of_levels(levels, _distances, "scores, and distributions of the distances to the sides")


def anchored(graph: Graph, hints: Hints, said: bool) -> Found | None:
    """A score, four distances and perhaps ten numbers of points for each anchor of each level."""
    levels = []
    for count, named in sorted(_by_rows(graph, hints).items(), reverse=True):
        by_width = {_width(graph, o): o for o in named}
        each, stride = _anchors(count, hints.size)
        if set(by_width) not in ({1, 4}, {1, 4, 10}) or len(by_width) != len(named) or not stride:
            return None
        if not _is_unit(graph, by_width[1]):
            return None
        levels.append(Level(tuple(by_width[w] for w in sorted(by_width)), stride, each))
    if len({level.each for level in levels}) > 1:
        return None
    return _of_levels(levels, _anchored, "a score and the distances to the sides of each anchor")


def faces(graph: Graph, hints: Hints, said: bool) -> Found | None:
    """cls, obj, bbox and kps of each stride, by their names."""
    strides = sorted(int(m[1]) for o in graph.outputs if (m := re.fullmatch(r"cls_(\d{1,3})", o)))
    levels = [Level(tuple(f"{n}_{s}" for n in ("cls", "obj", "bbox", "kps")), s) for s in strides]
    if not all(o in graph.outputs for level in levels for o in level.outputs):
        return None
    return _of_levels(levels, _faces, "the outputs are called cls_8, obj_8, bbox_8, kps_8, ...")


# Anchors in a cell at strides of a number of parts of the picture's side, by how many there are in all.
_BLAZE = {896: ((16, 2), (8, 6)), 2304: ((48, 1),)}


def blaze(graph: Graph, hints: Hints, said: bool) -> Found | None:
    """Logits and 16 numbers for each of MediaPipe's anchors: a box and six points."""
    by_width: dict[int, list[tuple[int, str]]] = {}
    for name in real_outputs(graph, hints, 3):
        by_width.setdefault(_width(graph, name), []).append((sizes(graph, name)[1] or 0, name))
    scores, boxes = (sorted(by_width.get(w, ()), reverse=True) for w in (1, 16))
    counts = [c for c, _ in scores]
    if set(by_width) != {1, 16} or counts != [c for c, _ in boxes] or sum(counts) not in _BLAZE:
        return None
    outputs = tuple(n for _, n in (*scores, *boxes))
    decode = partial(_blaze, scores=tuple(n for _, n in scores), boxes=tuple(n for _, n in boxes))
    return Found(outputs, f"scores and boxes of the {sum(counts)} anchors of BlazeFace", decode, outputs)


# -- what is known from the graph --------------------------------------------------------------------


def _by_rows(graph: Graph, hints: Hints) -> dict[int, list[str]]:
    """The outputs of real numbers (N, P, W) or (P, W) by P, in their order; none where a P is open."""
    found: dict[int, list[str]] = {}
    for name in real_outputs(graph, hints):
        shape = sizes(graph, name)
        count = shape[-2] if len(shape) in (2, 3) else None
        if count is None or shape[-1] is None:
            return {}
        found.setdefault(count, []).append(name)
    return found if len(found) > 1 else {}


def _width(graph: Graph, name: str) -> int:
    return sizes(graph, name)[-1] or 0


def _is_unit(graph: Graph, name: str) -> bool:
    return interval(graph, name).within(0, 1)


def _anchors(count: int, size: tuple[int, int]) -> tuple[int, int]:
    """How many anchors a cell has, and the stride; 0 and 0 where none fits."""
    for each in (2, 1):
        strides = strides_of(count, size, each)
        if strides and len(strides) == 1:
            return each, strides[0]
    return 0, 0


def _of_levels(levels: Sequence[Level], decode: Callable[..., Candidates], why: str) -> Found | None:
    if len(levels) < 2:
        return None
    outputs = tuple(o for level in levels for o in level.outputs)
    why += f", at the strides {', '.join(str(level.stride) for level in levels)}"
    return Found(outputs, why, partial(decode, levels=tuple(levels)), outputs)


# -- how it is read ----------------------------------------------------------------------------------


def _rows(values: Values, names: Iterable[str]) -> list[np.ndarray]:
    """The rows of some outputs for the first picture, (P, W) each."""
    return [a[0] if a.ndim == 3 else a for a in (values[n] for n in names)]


class _Places:
    """Which output and row of it a row of all levels is."""

    def __init__(self, names: Sequence[str], arrays: Sequence[np.ndarray]):
        self.names, self.widths = names, [a.shape[1] for a in arrays]
        self.starts = np.cumsum([0] + [len(a) for a in arrays])

    def seed(self, row: int, column: int) -> Seed:
        name, first = self.first(row)
        return Seed.on(name, first + column)

    def seeds(self, row: int) -> dict[str, Seed]:
        return coordinates(*self.first(row))

    def first(self, row: int) -> tuple[str, int]:
        """The output of a row, and the flat index of its first number there."""
        level = int(np.searchsorted(self.starts, row, side="right")) - 1
        return self.names[level], (row - int(self.starts[level])) * self.widths[level]


def _distances(values: Values, size: tuple[int, int], levels: Sequence[Level]) -> Candidates:
    names, wide = zip(*(level.outputs for level in levels), strict=True)
    scores, bins = _rows(values, names), np.concatenate(_rows(values, wide)).astype(np.float64)
    row, column, stride = grid(size, [level.stride for level in levels]).T
    bins = bins.reshape(len(bins), 4, -1)
    powers = np.exp(bins - bins.max(-1, keepdims=True))
    left, top, right, bottom = (powers @ np.arange(bins.shape[-1]) / powers.sum(-1)).T
    y, x = row + 0.5, column + 0.5
    return Candidates(
        boxes=np.stack([y - top, x - left, y + bottom, x + right], 1) * stride[:, None],
        scores=np.concatenate(scores),
        seed=_Places(names, scores).seed,
        several=True,
    )


def _anchored(values: Values, size: tuple[int, int], levels: Sequence[Level]) -> Candidates:
    names, sides, *points = zip(*(level.outputs for level in levels), strict=True)
    scores, boxes = _rows(values, names), _rows(values, sides)
    row, column, stride = grid(size, [level.stride for level in levels], levels[0].each).T
    left, top, right, bottom = np.concatenate(boxes).astype(np.float64).T
    placed = np.stack([row - top, column - left, row + bottom, column + right], 1) * stride[:, None]
    at = np.stack([row, column], 1)
    return Candidates(
        boxes=placed,
        scores=np.concatenate(scores),
        seed=_Places(names, scores).seed,
        seeds=_Places(sides, boxes).seeds,
        points=_marks(np.concatenate(_rows(values, points[0])), at, stride) if points else None,
    )


def _marks(offsets: np.ndarray, at: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Points (P, k, 3) of their x and y from a place, y and x of which are `at`, times a scale."""
    pairs = offsets.reshape(len(offsets), -1, 2)[..., ::-1]
    placed = (pairs + at[:, None]) * scale.reshape(-1, 1, 1)
    return np.concatenate([placed, np.ones((*placed.shape[:2], 1))], -1).astype(np.float32)


def _faces(values: Values, size: tuple[int, int], levels: Sequence[Level]) -> Candidates:
    names, objects, sides, points = zip(*(level.outputs for level in levels), strict=True)
    classes, sure, boxes = (_rows(values, n) for n in (names, objects, sides))
    row, column, stride = grid(size, [level.stride for level in levels]).T
    x, y, w, h = np.concatenate(boxes).astype(np.float64).T
    with np.errstate(over="ignore"):
        placed = corners(np.stack([column + x, row + y, np.exp(w), np.exp(h)], 1)) * stride[:, None]
    score, object_ = _Places(names, classes), _Places(objects, sure)
    return Candidates(
        boxes=placed,
        scores=np.sqrt(np.concatenate(classes).clip(0, 1) * np.concatenate(sure).clip(0, 1)),
        seed=lambda r, c: score.seed(r, c) + object_.seed(r, 0),
        seeds=_Places(sides, boxes).seeds,
        points=_marks(np.concatenate(_rows(values, points)), np.stack([row, column], 1), stride),
    )


def _blaze(
    values: Values, size: tuple[int, int], scores: tuple[str, ...], boxes: tuple[str, ...]
) -> Candidates:
    logits, numbers = _rows(values, scores), _rows(values, boxes)
    all_ = np.concatenate(numbers).astype(np.float64)
    at = []
    for side, each in _BLAZE[len(all_)]:
        places = np.indices((side, side)).reshape(2, -1).T + 0.5
        at.append((places * [size[0] / side, size[1] / side]).repeat(each, 0))
    y, x = np.concatenate(at).T
    box = np.stack([all_[:, 0] + x, all_[:, 1] + y, all_[:, 2], all_[:, 3]], 1)
    return Candidates(
        boxes=corners(box),
        scores=0.5 + 0.5 * np.tanh(np.concatenate(logits).clip(-100, 100) / 2),
        seed=_Places(scores, logits).seed,
        seeds=_Places(boxes, numbers).seeds,
        points=_marks(all_[:, 4:], np.stack([y, x], 1), np.ones(len(all_))),
    )
