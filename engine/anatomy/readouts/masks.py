"""Masks that queries ask for: MaskFormer, Mask2Former, OneFormer and their like.

    logits (N, Q, C + 1) -> Softmax, the last class is nothing        what each query found
    masks (N, Q, h, w) -> Sigmoid                                     and where

What counts as found is what transformers' post_process_instance_segmentation counts: the likeliest pairs of a
query and a class, as many as there are queries, whose class is as likely as its mask is sure, 0.5 together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...errors import BadRequest, NoMap
from ...graph.graph import Graph
from ...graph.types import is_float
from ..anatomy import seeing
from ..grids import View
from ..maps import coordinates
from .classes import FORMS
from .planes import Planes, Range, box_around, planes_of
from .thing import Hints, Seed, Thing

_LEAST = 0.5  # the probability of a class times that of its mask
_NAMES = ("class_queries_logits", "masks_queries_logits")


@dataclass(frozen=True)
class Masks:
    """Queries with a class each and a mask: `logits` (N, Q, C + 1), and the planes of as many.

    Those of MaskFormer are taken as they are (`coarse`), all others are enlarged before. `size` is the height
    and width of the input.
    """

    logits: str
    masks: Planes
    why: str
    size: tuple[int, int]
    coarse: bool = False

    kind = "regions"

    @property
    def outputs(self) -> tuple[str, ...]:
        """The classes and the masks."""
        return self.logits, self.masks.value

    @property
    def parts(self) -> tuple[str, ...]:
        """The same: what is explained is the score of a class and the mean of its mask's."""
        return self.outputs

    def things(self, values: Mapping[str, np.ndarray], size: tuple[int, int]) -> list[Thing]:
        """The masks that were found, best first."""
        logits = values[self.logits][0]
        scores = FORMS["softmax"](logits.astype(np.float64))[:, :-1]
        planes = self.masks.of(values[self.masks.value])
        indices = self.masks.indices(values[self.masks.value])
        found = []
        for flat in np.argsort(-scores, axis=None, kind="stable")[: len(scores)].tolist():
            query, label = divmod(flat, scores.shape[1])
            if scores[query, label] < _LEAST:
                break
            mask = planes[query] if self.coarse else self.masks.over(planes[query], size)
            if not (mask > 0).any():
                continue
            inside = self.masks.nearest(mask > 0, size) if self.coarse else mask > 0
            score = float(scores[query, label] * FORMS["sigmoid"](mask[mask > 0].astype(np.float64)).mean())
            if score < _LEAST:
                continue
            seed = Seed.on(self.logits, query * logits.shape[1] + label)
            cells = indices[query][planes[query] > 0]
            if cells.size:
                seed = seed + Seed.on(self.masks.value, cells, 1 / cells.size)
            shown = inside.astype(np.float32)
            found.append(Thing("region", label, score, seed, "", box_around(shown), mask=shown))
        return sorted(found, key=lambda thing: -(thing.score or 0))

    def region(
        self,
        values: Mapping[str, np.ndarray],
        label: int,
        rows: Range | None = None,
        columns: Range | None = None,
    ) -> Thing:
        """The surest mask of a class. Raises NoMap where there is none, and BadRequest for a part of it."""
        if rows or columns:
            raise BadRequest("each of these regions is a mask of its own: say region(LABEL), or element(...)")
        found = self.things(values, self.size)
        for thing in found:
            if thing.label == label:
                return thing
        there = ", ".join(str(n) for n in sorted({t.label for t in found if t.label is not None})) or "none"
        raise NoMap(f"no mask of class {label} was found; there are: {there}")


def find(graph: Graph, hints: Hints) -> Masks | None:
    """The queries of a model and their masks, known by their names or by as many masks as there are classes.

    None where there are none, and where each query has a box too: those are a detector's.
    """
    real = [o for o in graph.outputs if (d := graph[o].dtype) is not None and is_float(d)]
    shapes = {o: graph[o].shape or () for o in real if o in seeing(graph)}
    rows = [o for o, shape in shapes.items() if len(shape) == 3]
    if len(rows) != 1 or (hints.output and hints.output != rows[0]):
        return None
    _, queries, count = shapes[rows[0]] or (None,) * 3
    for name in (o for o, shape in shapes.items() if len(shape) == 4):
        named = (rows[0], name) == _NAMES
        planes = planes_of(graph, name) or (_upright(graph, name) if named else None)
        if planes is not None and planes.count == queries and isinstance(count, int) and count > 1:
            why = "a class and a mask for each query"
            coarse = hints.facts.get("model_type") == "maskformer"
            return Masks(
                rows[0], planes, f"{why}, by their names" if named else why, coordinates(graph).size, coarse
            )
    return None


def _upright(graph: Graph, name: str) -> Planes | None:
    """Planes (N, Q, h, w) whose places were lost on their way."""
    _, queries, h, w = graph[name].shape or (None,) * 4
    if not (isinstance(queries, int) and isinstance(h, int) and isinstance(w, int)):
        return None
    return Planes(name, View(1, (0, 1, 2, 3)), queries, (h, w))
