"""Regions of the picture: classes of each pixel, masks, mattes, maps of the probability of text.

    scores (N, C, h, w) -> Softmax, ArgMax or nothing        each pixel is of one class
    scores (N, C, h, w) -> Sigmoid                           each class by itself has its pixels
    scores (N, 1, h, w) -> Sigmoid                           a mask

That planes hold scores of classes is known from such an operator over their axis, from the producer's words,
from as many names as there are planes, or where there are several of the input's own size, more than colours.
A plane that may as well be a depth or a heat map is not taken for a mask.

What is explained is the mean score of a class over its region (Vinogradova et al. 2020, "Towards
interpretable semantic segmentation via gradient-weighted class activation mapping", eq. 3, over the pixels).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from ...errors import BadRequest, NoMap
from ...graph.graph import Graph
from ...graph.nodes import attributes
from ...graph.types import is_float
from ...operators.traits import traits_of
from ..anatomy import default_input
from ..axes import channel_axis
from ..intervals import interval
from ..maps import coordinates
from ..squashing import passes, squashing
from . import masks
from .classes import FORMS
from .planes import HALF, Planes, Range, box_around, meant, planes_of
from .thing import Hints, Seed, Thing

VARIANTS = ("classes", "labels", "mask")
_BACKGROUND = ("background", "_background_", "__background__")
_SURE, _SAID, _LIKELY = 3, 2, 1  # an operator says so; a person or a name does; the sizes do

_Made = tuple[str, str, Planes, str]  # of what kind planes are, their form, the scores, and why


@dataclass(frozen=True)
class Regions:
    """Planes of scores: "classes", of which each pixel has one; "labels", each by itself; or one "mask".

    `scores` are those planes before their last squashing, on which the seeds lie; `answer` is what the model
    gives: planes of the same, or one of the indices of classes (`chosen`). `form` is which of FORMS makes
    probabilities of the answer. `size` is the height and width of the input, and `background` the class that
    counts only where there is no other.
    """

    of: str
    answer: Planes
    scores: Planes
    form: str
    why: str
    size: tuple[int, int]
    chosen: bool = False
    background: int | None = None

    kind = "regions"

    @property
    def outputs(self) -> tuple[str, ...]:
        """The one output."""
        return (self.answer.value,)

    @property
    def parts(self) -> tuple[str, ...]:
        """The scores."""
        return (self.scores.value,)

    @property
    def count(self) -> int:
        """How many classes there are."""
        return self.scores.count

    def things(self, values: Mapping[str, np.ndarray], size: tuple[int, int]) -> list[Thing]:
        """A region for each class that the picture has, the largest first; the background only if alone."""
        masks = self._masks(values, size)
        large = sorted(masks, key=lambda c: -float(masks[c].sum()))
        return self._found(values, masks, [c for c in large if c != self.background] or large)

    def _found(
        self, values: Mapping[str, np.ndarray], masks: Mapping[int, np.ndarray], classes: Sequence[int]
    ) -> list[Thing]:
        """The regions of some classes that have pixels."""
        scores, probability = self._scores(values), self._probability(values)
        best = scores.argmax(0) if self.of == "classes" else None
        found = []
        for c in classes:
            inside = probability[c] >= HALF if best is None else best == c
            if not inside.any():  # it has pixels between the cells of others alone
                behind = scores[c] - scores.max(0)
                inside = behind == behind.max()
            found.append(self._thing(values, c, inside, float(probability[c][inside].mean()), masks[c]))
        return found

    def region(
        self,
        values: Mapping[str, np.ndarray],
        label: int,
        rows: Range | None = None,
        columns: Range | None = None,
    ) -> Thing:
        """The mean score of a class over a part of the picture, in pixels of the input; of all, its region.

        Raises BadRequest for a class that there is not; where no part is said, NoMap for one that no pixel
        has.
        """
        if not 0 <= label < self.count:
            raise BadRequest(f"there is no class {label}: the model has classes 0 to {self.count - 1}")
        if rows is None and columns is None:
            masks = self._masks(values, self.size)
            if label not in masks:
                there = ", ".join(map(str, sorted(masks))) or "none"
                raise NoMap(f"no pixel of the picture is of class {label}; there are: {there}")
            return self._found(values, masks, [label])[0]
        inside = self.scores.within(self.size, self._scores(values).shape[1:], rows, columns)
        mean = float(self._probability(values)[label][inside].mean())
        mask = self.scores.over(inside.astype(np.float32), self.size)
        return self._thing(values, label, inside, mean, mask)

    def pixel(
        self,
        values: Mapping[str, np.ndarray],
        row: float,
        column: float,
        label: int | None = None,
    ) -> Thing:
        """The score of a class, by default that of the likeliest, at a place of the input, in pixels."""
        at = (row, row), (column, column)
        scores = self._scores(values)
        inside = self.scores.within(self.size, scores.shape[1:], *at)
        best = int(scores[:, inside].mean(1).argmax()) if label is None else label
        return self.region(values, best, *at)

    def _thing(
        self, values: Mapping[str, np.ndarray], c: int, inside: np.ndarray, mean: float, mask: np.ndarray
    ) -> Thing:
        indices = self.scores.indices(values[self.scores.value])[c][inside]
        seed = Seed.on(self.scores.value, indices, 1 / len(indices))
        label, words = (None, "mask") if self.of == "mask" else (c, "")
        return Thing("region", label, mean, seed, words, box_around(mask), mask=mask)

    def _scores(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        return self.scores.of(values[self.scores.value])

    def _probability(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """The probability of each class at each cell, (C, h, w)."""
        read, form = (self.scores, "softmax") if self.chosen else (self.answer, self.form)
        planes = read.of(values[read.value])
        return np.moveaxis(FORMS[form](np.moveaxis(planes, 0, -1)), -1, 0)

    def _masks(self, values: Mapping[str, np.ndarray], size: tuple[int, int]) -> dict[int, np.ndarray]:
        """The pixels of the input (H, W) float32 that each class has; of a mask, how much of each.

        Planes are enlarged before the greatest is taken, as transformers does, one class at a time.
        """
        if self.of != "classes":
            planes = {c: plane for c, plane in enumerate(self._probability(values)) if plane.max() >= HALF}
            found = {c: self.answer.over(plane, size) for c, plane in planes.items()}
            return (
                found if self.of == "mask" else {c: (m >= HALF).astype(np.float32) for c, m in found.items()}
            )
        answer = self.answer.of(values[self.answer.value])
        index = self.answer.nearest(answer[0], size) if self.chosen else self._greatest(answer, size)
        there = self.answer.over(np.ones(answer.shape[1:], np.float32), size) > 0
        known = (c for c in np.unique(index[there]).tolist() if 0 <= c < self.count)
        return {c: ((index == c) & there).astype(np.float32) for c in known}

    def _greatest(self, planes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """Which of the planes is the greatest at each pixel of the input."""
        index, best = np.zeros(size, np.int64), np.full(size, -np.inf, np.float32)
        for c, plane in enumerate(planes):
            here = self.answer.over(plane, size)
            index[here > best] = c
            np.maximum(best, here, out=best)
        return index


def find(graph: Graph, hints: Hints) -> Regions | masks.Masks | None:
    """How the model says what is where in the picture; None where no output does.

    Of several outputs it is the surest, then the finest, then the first: networks give masks of all levels.
    """
    if (asked := masks.find(graph, hints)) is not None:
        return asked
    names = [hints.output] if hints.output else graph.outputs
    found = [r for name in names if (r := _read(graph, name, hints)) is not None]
    return max(found, key=lambda r: (r[0], np.prod(r[1].answer.grid)), default=(0, None))[1]


def _read(graph: Graph, output: str, hints: Hints) -> tuple[int, Regions] | None:
    """The regions that an output holds, and how sure that is."""
    answer, chosen = planes_of(graph, output), _chosen(graph, output)
    if answer is None:
        return None
    size = coordinates(graph).size
    background = next((i for i, name in enumerate(hints.labels) if name.lower() in _BACKGROUND), None)
    if chosen is not None:
        made = _squashed(graph, chosen)
        scores, why = made[2] if made else chosen, "the class of each pixel, behind an ArgMax"
        return _SURE, Regions("classes", answer, scores, "softmax", why, size, True, background)
    if not _is_real(graph, output):
        return None
    found = _of_planes(graph, answer, hints)
    if found is None:
        return None
    sure, (of, form, scores, why) = found
    of = "mask" if answer.count == 1 else of
    return sure, Regions(of, answer, scores, form, why, size, False, background if of == "classes" else None)


def _of_planes(graph: Graph, answer: Planes, hints: Hints) -> tuple[int, _Made] | None:
    """What real planes are, if they are of classes, and how sure that is."""
    kind, _, variant = (hints.kind or "").partition(":")
    what, count = meant(hints.facts, answer.value), answer.count
    is_named = count > 1 and len(hints.labels) == count
    is_said = kind == "regions" or what == "regions" or is_named
    if what not in ("", "regions") and kind != "regions":
        return None
    is_large, colours = answer.is_of_pixels(coordinates(graph).size), _colours(graph)
    made = _squashed(graph, answer) or _selected(graph, answer)
    if made is not None:
        may_be_a_picture = is_large and count == colours and made[0] == "labels"
        return None if may_be_a_picture and not is_said else (_SURE, made)
    if not is_said and not (is_large and count > 1 and count not in (3, colours)):
        return None
    sure = _SAID if is_said else _LIKELY
    if interval(graph, answer.value).within(0, 1):
        return (sure, ("labels", "given", answer, "always between 0 and 1")) if is_said else None
    of = variant if variant in VARIANTS else "classes" if count > 1 else "labels"
    form = "softmax" if of == "classes" else "sigmoid"
    return sure, (of, form, answer, f"raw scores, a {form} laid over them")


def _chosen(graph: Graph, output: str) -> Planes | None:
    """The scores whose greatest an output of indices gives at each pixel; None where it is no such output."""
    name = output
    while (node := graph.producer(name)) is not None and passes(node):
        name = node.input[0]
    if node is None or node.op_type != "ArgMax":
        return None
    return _if_along(graph, node, node.input[0])


def _if_along(graph: Graph, node: NodeProto, name: str) -> Planes | None:
    """The planes of a value, if a node works along the axis of their classes."""
    scores = planes_of(graph, name)
    if scores is None or scores.count < 2 or not _is_real(graph, name):
        return None
    axis = attributes(node).get("axis", 0 if node.op_type == "ArgMax" else -1)
    channels = scores.view.channels
    return scores if channels in (-1, axis % len(graph[name].shape or (0,))) else None


def _squashed(graph: Graph, planes: Planes) -> _Made | None:
    """What planes are behind their last Softmax over the classes, or Sigmoid, and the scores before it."""
    found = squashing(graph, planes.value, planes.count)
    if found is None:
        return None
    of, form, name, why = found
    scores = planes_of(graph, name)
    if of == "classes":
        nodes = reversed(graph.ancestors([planes.value]))
        node = next((n for n in nodes if traits_of(n).squashes == "classes"), None)
        scores = None if node is None or scores is None else _if_along(graph, node, name)
    if scores is None or (scores.count, scores.grid) != (planes.count, planes.grid):
        return None
    return of, form, scores, why


def _selected(graph: Graph, planes: Planes) -> _Made | None:
    """What one plane is that was taken from those behind a Softmax or Sigmoid: a probability."""
    name, is_part = planes.value, False
    while (node := graph.producer(name)) is not None and (passes(node) or traits_of(node).moves == "selects"):
        is_part = is_part or traits_of(node).moves == "selects"
        name = node.input[0]
    if node is None or not is_part or not traits_of(node).squashes or node.op_type == "LogSoftmax":
        return None
    if planes.count > 1:
        return None
    why = (
        "one of the classes behind a Softmax" if traits_of(node).squashes == "classes" else "behind a Sigmoid"
    )
    return "labels", "given", planes, why


def _colours(graph: Graph) -> int:
    """How many colours the picture has that goes in; 0 where that is not known."""
    image = next(iter(default_input(graph)), "")
    shape = graph[image].shape or () if image else ()
    count = shape[channel_axis(graph, image)] if len(shape) == 4 else 0
    return count if isinstance(count, int) else 0


def _is_real(graph: Graph, name: str) -> bool:
    dtype = graph[name].dtype
    return dtype is not None and is_float(dtype)
