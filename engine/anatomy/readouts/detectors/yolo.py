"""Heads of the YOLO family: one row of numbers for each place of some grids, box and classes side by side.

    4 + C columns              centre, size, classes               Ultralytics v8, v9, v10 raw, v11, v12
    4 + C + 32, 3 k, 1         and coefficients of masks, k points, an angle
    5 + C columns              centre, size, objectness, classes   v5, v6, v7, YOLOX decoded
    5 + C columns, undecoded   offsets in cells, logarithms of sizes: YOLOX as it is exported

The columns are told from what computes them: what lies between 0 and 1 whatever the picture is a score. That
the first four are a centre and a size, and not two corners, is seen from the sizes: they are powers, or the
difference of two corners.

Sources: the documentation of Ultralytics (docs.ultralytics.com, modes/export), YOLOv5's (Jocher 2020),
YOLOX (Ge et al. 2021).
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from ....graph.graph import Graph
from ....operators.traits import traits_of
from ...intervals import interval
from ..thing import Hints, Seed
from .candidates import Candidates, coordinates, corners, fitting, grid
from .columns import Column, columns, halved, maker, natures
from .layout import Found, Values, real_outputs, sizes

TASKS = {"segment", "pose", "obb", "detect"}


class Rows(NamedTuple):
    """How the numbers of an output (N, columns, P), or with `axis` 2 (N, P, columns), are shared out."""

    output: str
    axis: int
    classes: int
    first: int  # the column of the first class: 4, or 5 behind an objectness
    extra: int = 0

    def of(self, values: Values) -> np.ndarray:
        """The numbers of the first picture, (columns, P)."""
        array = values[self.output][0]
        return array if self.axis == 1 else array.T

    def place(self, array: np.ndarray, row: int, column: int) -> int:
        """The flat index of a number, `array` (columns, P)."""
        width, rows = array.shape
        return column * rows + row if self.axis == 1 else row * width + column

    def seed(self, array: np.ndarray, row: int, column: int) -> Seed:
        """The elements of a score: of the class, and of the objectness where there is one."""
        at = [self.first + column, *range(4, self.first)]
        return Seed.on(self.output, [self.place(array, row, c) for c in at])

    def seeds(self, array: np.ndarray, row: int) -> Mapping[str, Seed]:
        """The elements of the box itself."""
        step = array.shape[1] if self.axis == 1 else 1
        return coordinates(self.output, self.place(array, row, 0), step)


def plain(graph: Graph, hints: Hints, said: bool) -> Found | None:
    """4 + C columns: centre and size in pixels, a score for each class, and what the task adds."""
    for rows, found in _heads(graph, hints, said, 4):
        if rows.first != 4:
            continue
        if not said and not (told(hints) or _is_centre(graph, found)):
            continue
        protos = prototypes(graph, rows.extra)
        task = _task(graph, hints, rows, protos)
        if task is None:
            continue
        outputs = (rows.output, protos) if task == "segment" and protos else (rows.output,)
        shape = points_of(hints, rows.extra) if task == "pose" else None
        decode = partial(_plain, rows=rows, task=task, protos=protos, points=shape)
        words = ", by the producer's words" if told(hints) else ""
        why = f"{_counted(rows)} behind a centre and a size{_ADDED[task]}{words}"
        return Found(outputs, why, decode, (rows.output,))
    return None


_ADDED = {"detect": "", "segment": ", with masks", "pose": ", with points", "obb": ", with an angle"}


def objects(graph: Graph, hints: Hints, said: bool) -> Found | None:
    """5 + C columns: centre and size in pixels, an objectness, a score for each class."""
    for rows, found in _heads(graph, hints, said, 5):
        if rows.first != 5 or not (said or _is_centre(graph, found)):
            continue
        protos = prototypes(graph, rows.extra)
        if rows.extra and not protos:
            continue
        outputs = (rows.output, protos) if protos else (rows.output,)
        why = f"{_counted(rows)} behind a centre, a size and an objectness"
        return Found(outputs, why, partial(_objects, rows=rows, protos=protos), (rows.output,))
    return None


def cellwise(graph: Graph, hints: Hints, said: bool) -> Found | None:
    """5 + C columns, of which the first four are still in cells of the grids."""
    for rows, found in _heads(graph, hints, said, 5):
        if rows.first != 5 or rows.extra or not (said or _is_undecoded(graph, found)):
            continue
        why = f"{_counted(rows)} behind an objectness, and boxes in cells of the grids"
        return Found((rows.output,), why, partial(_cellwise, rows=rows), (rows.output,))
    return None


# -- what is known from the graph --------------------------------------------------------------------


def _heads(graph: Graph, hints: Hints, said: bool, first: int) -> list[tuple[Rows, list[Column]]]:
    """How the columns of each output may be shared out."""
    found = []
    for name in real_outputs(graph, hints, 3):
        for axis in (1, 2):
            width, count = (sizes(graph, name)[a] for a in (axis, 3 - axis))
            if width is None or width < 5 or (count is not None and count < width and said):
                continue
            lines = columns(graph, name, axis)
            rows = _shared(graph, hints, name, axis, lines)
            if rows is None and (said or (first == 4 and told(hints) and not chooses(hints))):
                rows = _by_number(hints, name, axis, width, first)
            if rows is not None:
                found.append((rows, lines))
    return found


def _shared(graph: Graph, hints: Hints, name: str, axis: int, found: list[Column]) -> Rows | None:
    """By what computes the columns: four numbers, scores, and what comes behind these."""
    letters = natures(graph, found)
    if len(letters) < 5 or letters[:5] != "nnnnu" or not set(letters) <= {"n", "u"}:
        return None
    scores = len(letters[4:]) - len(letters[4:].lstrip("u"))
    extra = len(letters) - 4 - scores
    apart = scores > 1 and (found[4].value != found[5].value or len(graph[found[4].value].shape or ()) == 5)
    known = len(hints.labels)
    if known and known in (scores, scores - 1):
        apart = known == scores - 1
    first = 5 if apart else 4
    return Rows(name, axis, scores - first + 4, first, extra)


def _by_number(hints: Hints, name: str, axis: int, width: int, first: int) -> Rows | None:
    """By the number of classes that is known, or else all columns behind the box."""
    classes = len(hints.labels) or width - first
    return Rows(name, axis, classes, first, width - first - classes) if classes <= width - first else None


def _counted(rows: Rows) -> str:
    return "1 class" if rows.classes == 1 else f"{rows.classes} classes"


def told(hints: Hints) -> bool:
    """Whether the producer says that boxes of this kind are what the model answers."""
    facts = hints.facts
    return facts.get("author") == "Ultralytics" and facts.get("task") in TASKS


def chooses(hints: Hints) -> bool:
    """Whether the producer says that the model chooses among the boxes itself."""
    return hints.facts.get("end2end") == "True" or "'nms': True" in hints.facts.get("args", "")


def _task(graph: Graph, hints: Hints, rows: Rows, protos: str | None) -> str | None:
    """What the extra columns hold; None where nothing says it."""
    said = hints.facts.get("task") if told(hints) else None
    if not rows.extra:
        return "detect"
    if protos and said in (None, "segment"):
        return "segment"
    turns = any(n.op_type == "Cos" for n in graph.ancestors([rows.output]))
    if rows.extra == 1 and (said == "obb" or (said is None and turns)):
        return "obb"
    return "pose" if said == "pose" or (said is None and rows.extra % 3 == 0) else None


def prototypes(graph: Graph, extra: int) -> str | None:
    """The output (N, extra, h, w) that masks are mixed of."""
    four = (o for o in graph.outputs if len(graph[o].shape or ()) == 4)
    return next((o for o in four if extra and sizes(graph, o)[1] == extra), None)


def points_of(hints: Hints, extra: int) -> tuple[int, int]:
    """How many points there are, and how many numbers each has: 3 with a score, else 2."""
    try:
        count, numbers = map(int, ast.literal_eval(hints.facts.get("kpt_shape", "")))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        count, numbers = 0, 0
    if count * numbers == extra and numbers in (2, 3):
        return count, numbers
    return (extra // 3, 3) if extra % 3 == 0 else (extra // 2, 2)


def _is_centre(graph: Graph, found: list[Column]) -> bool:
    """Whether columns 2 and 3 are sizes: never negative, as places are; or the difference of two corners,
    half the sum of which is in columns 0 and 1.
    """
    places, extents = (maker(graph, c) for c in (found[0], found[2])) if len(found) > 3 else (None, None)
    if places is None or extents is None:
        return False
    if interval(graph, extents.output[0]).low >= 0:
        return interval(graph, places.output[0]).low < 0
    sums = [graph.producer(i) for i in places.input] if halved(graph, places) else []
    return any(s is not None and {*s.input} == {*extents.input} for s in sums)


def _is_undecoded(graph: Graph, found: list[Column]) -> bool:
    """Whether the four numbers of a box are as a convolution gives them."""
    nodes = [graph.producer(c.value) for c in found[:4]]
    return len(nodes) == 4 and all(n is not None and traits_of(n).weights for n in nodes)


# -- how it is read ----------------------------------------------------------------------------------


def _plain(
    values: Values,
    size: tuple[int, int],
    rows: Rows,
    task: str,
    protos: str | None,
    points: tuple[int, int] | None,
) -> Candidates:
    array = rows.of(values)
    more, boxes = array[4 + rows.classes :].T, corners(array[:4].T)
    return Candidates(
        boxes=boxes,
        scores=array[4 : 4 + rows.classes].T,
        seed=partial(rows.seed, array),
        seeds=partial(rows.seeds, array),
        angles=more[:, 0] if task == "obb" else None,
        points=laid(more, *points) if points else None,
        masks=mixed(values[protos][0], more, boxes, size) if task == "segment" and protos else None,
    )


def _objects(values: Values, size: tuple[int, int], rows: Rows, protos: str | None) -> Candidates:
    array = rows.of(values)
    more, boxes = array[5 + rows.classes :].T, corners(array[:4].T)
    return Candidates(
        boxes=boxes,
        scores=(array[4] * array[5 : 5 + rows.classes]).T,
        seed=partial(rows.seed, array),
        seeds=partial(rows.seeds, array),
        masks=mixed(values[protos][0], more, boxes, size) if protos else None,
    )


def _cellwise(values: Values, size: tuple[int, int], rows: Rows) -> Candidates:
    array = rows.of(values)
    row, column, stride = grid(size, fitting(array.shape[1], size)).T
    x, y, w, h = array[:4].astype(np.float64)
    with np.errstate(over="ignore"):
        boxes = corners(np.stack([x + column, y + row, np.exp(w), np.exp(h)], 1)) * stride[:, None]
    return Candidates(
        boxes=boxes,
        scores=(array[4] * array[5 : 5 + rows.classes]).T,
        seed=partial(rows.seed, array),
        seeds=partial(rows.seeds, array),
    )


def laid(more: np.ndarray, count: int, numbers: int) -> np.ndarray:
    """Points (P, k, 3), each y, x and a score, of their numbers x, y and perhaps a score."""
    points = more[:, : count * numbers].reshape(len(more), count, numbers)
    scores = points[..., 2] if numbers == 3 else np.ones(points.shape[:2])
    return np.stack([points[..., 1], points[..., 0], scores], -1).astype(np.float32)


def mixed(
    protos: np.ndarray, coefficients: np.ndarray, boxes: np.ndarray, size: tuple[int, int]
) -> Callable[[np.ndarray], np.ndarray]:
    """What makes the masks (n, h, w) of some rows: prototypes (k, h, w) mixed, and cut to the box."""

    def masks(rows: np.ndarray) -> np.ndarray:
        height, width = protos.shape[1:]
        mixed = np.tensordot(coefficients[rows].astype(np.float32), protos.astype(np.float32), 1)
        inside = _inside(boxes[rows] * np.tile([height / size[0], width / size[1]], 2), height, width)
        return np.where(inside, 0.5 + 0.5 * np.tanh(mixed / 2), 0).astype(np.float32)

    return masks


def _inside(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Which pixels of a picture lie in each of some boxes, (n, height, width) bool."""
    y, x = np.arange(height)[:, None] + 0.5, np.arange(width) + 0.5
    y0, x0, y1, x1 = boxes.T[:, :, None, None]
    return (y0 <= y) & (y < y1) & (x0 <= x) & (x < x1)
