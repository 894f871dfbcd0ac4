"""Rows that may be boxes, and which of them are: the best class of each, above a threshold, the best of
those that overlap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np

from ....errors import BadRequest
from ..thing import Seed, Thing

MAX_THINGS = 300  # boxes of one picture, at most
MAX_COMPARED = 30_000  # rows that are compared with each other, at most
_STRIDES = 4, 8, 16, 32, 64, 128
_AXES = "x", "y", "w", "h"


@dataclass(frozen=True)
class Candidates:
    """P rows of a detector's answer to one picture.

    `boxes` (P, 4) are y0, x0, y1, x1 in pixels of the input, `scores` (P, C) or (P,) probabilities, `labels`
    (P,) the class of each row where there is one score for each. `seed` gives the elements of a row's score
    for a column of `scores`, `seeds` those of its further numbers. `several`: a row may be a box for each of
    its classes. `angles` (P,), `points` (P, k, 3) and `masks`, which makes those (n, h, w) of n rows, where
    the model has them.
    """

    boxes: np.ndarray
    scores: np.ndarray
    seed: Callable[[int, int], Seed]
    labels: np.ndarray | None = None
    seeds: Callable[[int], Mapping[str, Seed]] = field(default=lambda row: {})
    several: bool = False
    angles: np.ndarray | None = None
    points: np.ndarray | None = None
    masks: Callable[[np.ndarray], Sequence[np.ndarray | None] | np.ndarray] | None = None

    def things(self, threshold: float, overlap: float | None, by_class: bool = True) -> list[Thing]:
        """The boxes, best first: scores above a threshold, and of those of one class (or `by_class` of all)
        that overlap by more than `overlap` the best; None where the model has chosen itself.
        """
        rows, columns, scores = self._above(threshold)
        if overlap is not None:
            labels = columns if self.labels is None else self.labels[rows]
            groups = labels if by_class else np.zeros_like(columns)
            angles = None if self.angles is None else self.angles[rows]
            kept = suppressed(self.boxes[rows], groups, overlap, angles)
            rows, columns, scores = rows[kept], columns[kept], scores[kept]
        rows, columns, scores = rows[:MAX_THINGS], columns[:MAX_THINGS], scores[:MAX_THINGS]
        masks = self.masks(rows) if self.masks is not None and len(rows) else [None] * len(rows)
        chosen = zip(rows, columns, scores, masks, strict=True)
        return [self._thing(int(r), int(c), s, m) for r, c, s, m in chosen]

    def again(self, thing: Thing) -> float:
        """How well a box is found again here, 0 to 1: of all rows the best product of the overlap, the cosine
        of the scores of the classes with that class, and the greatest of these scores.

        Petsiuk et al. 2021, equation 3, for a box of one class.
        """
        assert thing.box is not None
        scores = self._by_column()
        if self.labels is None:
            cosines = scores[:, thing.label] / np.maximum(np.linalg.norm(scores, axis=1), 1e-9)
        else:
            cosines = self.labels == thing.label
        near = overlaps(np.array(thing.box), self.boxes) * cosines * scores.max(1, initial=0)
        return float(np.nan_to_num(near).max(initial=0))

    def _by_column(self) -> np.ndarray:
        """The scores, (P, C)."""
        return self.scores if self.scores.ndim == 2 else self.scores[:, None]

    def _above(self, threshold: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row, column and score of what is above a threshold and finite, best first."""
        scores = self._by_column() * np.isfinite(self.boxes).all(1, keepdims=True)
        if self.several:
            rows, columns = np.nonzero(scores > threshold)
        else:
            best = scores.argmax(1) if scores.size else np.zeros(0, np.int64)
            rows = np.flatnonzero(scores[np.arange(len(best)), best] > threshold)
            columns = best[rows]
        order = np.argsort(-scores[rows, columns], kind="stable")[:MAX_COMPARED]
        return rows[order], columns[order], scores[rows, columns][order]

    def _thing(self, row: int, column: int, score: float, mask: np.ndarray | None) -> Thing:
        y0, x0, y1, x1 = map(float, self.boxes[row])
        return Thing(
            kind="box",
            label=column if self.labels is None else int(self.labels[row]),
            score=float(score),
            seed=self.seed(row, column),
            box=(y0, x0, y1, x1),
            angle=0.0 if self.angles is None else float(self.angles[row]),
            mask=mask,
            points=None if self.points is None else self.points[row],
            seeds=self.seeds(row),
        )


def coordinates(value: str, first: int, step: int = 1) -> dict[str, Seed]:
    """The seeds of a box's four numbers, which lie `step` elements apart from a first one on."""
    return {axis: Seed.on(value, first + i * step) for i, axis in enumerate(_AXES)}


def corners(xywh: np.ndarray) -> np.ndarray:
    """Boxes (P, 4) of x and y of the centre, width and height, as y0, x0, y1, x1."""
    x, y, w, h = np.asarray(xywh, np.float64).T
    return np.stack([y - h / 2, x - w / 2, y + h / 2, x + w / 2], 1)


def turned(xyxy: np.ndarray) -> np.ndarray:
    """Boxes (P, 4) of x0, y0, x1, y1 as y0, x0, y1, x1."""
    return np.asarray(xyxy, np.float64)[:, [1, 0, 3, 2]]


def cells(size: tuple[int, int], stride: int) -> tuple[int, int]:
    """Rows and columns of the grid that a network of convolutions has at a stride."""
    return -(-size[0] // stride), -(-size[1] // stride)


def strides_of(count: int, size: tuple[int, int], each: int = 1) -> tuple[int, ...] | None:
    """The strides, one twice the other, whose grids have so many cells together, `each` rows for a cell."""
    for first in range(len(_STRIDES)):
        for last in range(len(_STRIDES), first, -1):
            strides = _STRIDES[first:last]
            if each * sum(prod(cells(size, s)) for s in strides) == count:
                return strides
    return None


def grid(size: tuple[int, int], strides: Sequence[int], each: int = 1) -> np.ndarray:
    """Row, column and stride of each cell of some grids, one after the other, (P, 3) float64."""
    levels = []
    for stride in strides:
        rows, columns = np.indices(cells(size, stride)).reshape(2, -1)
        levels.append(np.stack([rows, columns, np.full(len(rows), stride)], 1).repeat(each, 0))
    return np.concatenate(levels).astype(np.float64)


def fitting(count: int, size: tuple[int, int], each: int = 1) -> tuple[int, ...]:
    """As strides_of. Raises BadRequest where there are none."""
    strides = strides_of(count, size, each)
    if strides is None:
        raise BadRequest(
            f"{count} boxes of an input of {size[0]} x {size[1]} are those of no grids that this layout has; "
            "say another one with --readout boxes:NAME"
        )
    return strides


def suppressed(
    boxes: np.ndarray, groups: np.ndarray, overlap: float, angles: np.ndarray | None = None
) -> np.ndarray:
    """Which boxes (n, 4), best first, overlap no better one of their group by more than `overlap`.

    Greedy; of turned ones as Fast NMS (Bolya et al. 2019), where those that are gone still count.
    """
    if angles is not None:
        return _fast(boxes, groups, overlap, angles)
    alive, kept = np.arange(len(boxes)), []
    while len(alive) and len(kept) < MAX_THINGS:
        best, alive = alive[0], alive[1:]
        kept.append(best)
        near = (groups[alive] == groups[best]) & (overlaps(boxes[best], boxes[alive]) > overlap)
        alive = alive[~near]
    return np.array(kept, np.int64)


def overlaps(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of a box (4,) with others (n, 4)."""
    shared = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    inside = shared.clip(0).prod(1)
    union = (box[2:] - box[:2]).prod() + (others[:, 2:] - others[:, :2]).prod(1) - inside
    return inside / np.maximum(union, 1e-9)


def _fast(boxes: np.ndarray, groups: np.ndarray, overlap: float, angles: np.ndarray) -> np.ndarray:
    kept: list[int] = []
    shapes = _gaussians(boxes, angles)
    for i in range(len(boxes)):
        same = np.flatnonzero(groups[:i] == groups[i])
        if not len(same) or _likeness(shapes[i], shapes[same]).max() < overlap:
            kept.append(i)
        if len(kept) == MAX_THINGS:
            break
    return np.array(kept, np.int64)


def _gaussians(boxes: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Turned boxes as Gaussians: centre x, y, and the covariance's a, b and off-diagonal c, (n, 5)."""
    (y0, x0, y1, x1), cos, sin = boxes.T, np.cos(angles), np.sin(angles)
    w, h = (x1 - x0) ** 2 / 12, (y1 - y0) ** 2 / 12
    a, b, c = w * cos**2 + h * sin**2, w * sin**2 + h * cos**2, (w - h) * cos * sin
    return np.stack([(x0 + x1) / 2, (y0 + y1) / 2, a, b, c], 1)


def _likeness(one: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The probabilistic IoU of Gaussians: one less their Hellinger distance (Llerena et al. 2021)."""
    x, y, a, b, c = (one - others * [1, 1, -1, -1, -1]).T
    det = a * b - c**2 + 1e-7
    far = (a * y**2 + b * x**2 - 2 * c * x * y) / det / 4
    dets = [(s[..., 2] * s[..., 3] - s[..., 4] ** 2).clip(0) for s in (one, others)]
    wide = 0.5 * np.log(det / (4 * np.sqrt(dets[0] * dets[1]) + 1e-7) + 1e-7)
    return 1 - np.sqrt(1 - np.exp(-(far + wide).clip(1e-7, 100)) + 1e-7)
