"""Boxes that the model has chosen itself, behind NonMaxSuppression or TopK: a row for each.

(N, K, 6 + ...)                        x0, y0, x1, y1, score, class   Ultralytics, end to end or nms=True
(K, 6)                                 class, score, x0, y0, x1, y1   PaddleDetection
(K, 7)                                 image, x0, y0, x1, y1, class, score   YOLOv7 with --end2end
boxes (K, 4), scores (K), labels (K)   in pixels                      torchvision; RT-DETR as published
dets (N, K, 5), labels (N, K)          x0, y0, x1, y1, score          MMDetection, MMDeploy
detection_boxes (N, K, 4), ...         y0, x0, y1, x1 of 0 to 1       TensorFlow's object detection
det_boxes (N, K, 4), det_scores, ...   in pixels                      EfficientNMS

"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np

from ....graph.graph import Graph
from ....graph.nodes import every_node
from ..thing import Hints, Seed
from .candidates import Candidates, coordinates, corners, turned
from .choice import seeds_of, unchosen
from .columns import Column, columns, natures
from .layout import Found, Values, real_outputs, sizes
from .yolo import chooses, laid, mixed, points_of, prototypes, told

Form = Callable[[np.ndarray, tuple[int, int]], np.ndarray]  # four numbers of each row as corners in pixels

FORMS: dict[str, Form] = {
    "pixels": lambda box, size: turned(box),
    "parts": lambda box, size: turned(box) * np.tile(size, 2),
    "rows first": lambda box, size: np.asarray(box, np.float64) * np.tile(size, 2),
    "centre": lambda box, size: corners(box),
    "centre in parts": lambda box, size: corners(box) * np.tile(size, 2),
}


# -- one table ---------------------------------------------------------------------------------------


def joined(graph: Graph, hints: Hints, said: bool) -> Found | None:
    """(N, K, 6 + ...): two corners in pixels, the score and the class of each row, and what the task adds."""
    for name in real_outputs(graph, hints, 3):
        found = columns(graph, name, 2)
        letters, extra = natures(graph, found), len(found) - 6
        seen = re.match(r"(nnnn|uuuu)ui", letters) is not None
        words = told(hints) and chooses(hints)
        if extra < 0 or not (seen or words or said):
            continue
        task = hints.facts.get("task", "detect") if told(hints) else "detect"
        protos = prototypes(graph, extra)
        if extra and not (said or task in ("pose", "obb") or protos):
            continue
        form = "centre in parts" if letters[:4] == "uuuu" else "centre" if task == "obb" else "pixels"
        parts = unchosen(graph, found[4], name)
        points = points_of(hints, extra) if task == "pose" else None
        read = _Rows(name, form, parts, task, protos, points)
        outputs = (name, protos) if protos else (name,)
        why = "boxes with score and class that the model has chosen"
        return Found(outputs, why, partial(_joined, of=read), parts)
    return None


def listed(graph: Graph, hints: Hints, said: bool) -> Found | None:
    """(K, 6): the class, the score and two corners of each row."""
    scaled = not {"scale_factor", "im_shape"}.isdisjoint(graph.inputs)
    for name in real_outputs(graph, hints, 2):
        found = columns(graph, name, 1)
        seen = len(found) == 6 and (scaled or re.match("iunnnn", natures(graph, found)))
        if len(found) == 6 and (seen or said):
            why = "class, score and corners of the boxes that the model has chosen"
            return Found((name,), why, partial(_table, output=name, at=(0, 1, 2)), (name,))
    return None


def batched(graph: Graph, hints: Hints, said: bool) -> Found | None:
    """(K, 7): the number of the image, two corners, the class and the score of each row."""
    for name in real_outputs(graph, hints, 2):
        found = columns(graph, name, 1)
        if len(found) == 7 and (said or re.match("innnni[un]", natures(graph, found))):
            why = "image, corners, class and score of the boxes that the model has chosen"
            return Found((name,), why, partial(_table, output=name, at=(5, 6, 1)), (name,))
    return None


class _Rows(NamedTuple):
    """An output (N, K, 6 + ...): the form of its boxes, where seeds lie, and what the task adds."""

    output: str
    form: str
    parts: tuple[str, ...]
    task: str
    protos: str | None
    points: tuple[int, int] | None


def _joined(values: Values, size: tuple[int, int], of: _Rows) -> Candidates:
    output, form, parts, task, protos, points = of
    array = values[output][0]
    width, more = array.shape[1], array[:, 6:]
    seed = seeds_of(values, parts, output, array[:, 4], np.arange(len(array)) * width + 4)
    boxes = FORMS[form](array[:, :4], size)
    return Candidates(
        boxes=boxes,
        scores=array[:, 4],
        labels=_whole(array[:, 5]),
        seed=seed,
        seeds=(lambda row: coordinates(output, row * width)) if output in parts else (lambda row: {}),
        angles=more[:, 0] if task == "obb" and more.shape[1] else None,
        points=laid(more, *points) if points else None,
        masks=mixed(values[protos][0], more, boxes, size) if protos else None,
    )


def _table(values: Values, size: tuple[int, int], output: str, at: tuple[int, int, int]) -> Candidates:
    array = values[output]
    label, score, box = at
    width = array.shape[1]
    return Candidates(
        boxes=turned(array[:, box : box + 4]),
        scores=array[:, score],
        labels=_whole(array[:, label]),
        seed=lambda row, column: Seed.on(output, row * width + score),
        seeds=lambda row: coordinates(output, row * width + box),
    )


# -- several outputs ---------------------------------------------------------------------------------


def separate(graph: Graph, hints: Hints, said: bool) -> Found | None:
    """boxes (K, 4) in pixels, scores (K) and labels (K), of the only picture or of each."""
    if not said and (tensorflow(graph, hints, False) or efficient(graph, hints, False)):
        return None
    for rank in (1, 2):
        roles = _roles(graph, hints, rank)
        if roles is None:
            continue
        named = all(re.search(rf"(^|[/.])({r})$", n) for r, n in zip(_ROLES, roles, strict=True))
        behind = every_node(graph.ancestors([roles[0]]))
        chosen = rank == 1 and any(n.op_type == "NonMaxSuppression" for n in behind)
        if said or named or chosen:
            return _apart(graph, roles, "pixels", "boxes, scores and classes of what the model has chosen")
    return None


_ROLES = "boxes", "scores", "labels|classes|class_ids"


def tensorflow(graph: Graph, hints: Hints, said: bool) -> Found | None:
    """detection_boxes, detection_scores and detection_classes: rows first, in parts of the picture."""
    roles = _named(graph, "detection_boxes", "detection_scores", "detection_classes")
    roles = roles or (_roles(graph, hints, 2) if said else None)
    why = "the outputs are called detection_boxes, ..."
    return None if roles is None else _apart(graph, roles, "rows first", why)


def efficient(graph: Graph, hints: Hints, said: bool) -> Found | None:
    """det_boxes, det_scores and det_classes, as EfficientNMS gives them."""
    roles = _named(graph, "det_boxes", "det_scores", "det_classes")
    return None if roles is None else _apart(graph, roles, "pixels", "the outputs are called det_boxes, ...")


def paired(graph: Graph, hints: Hints, said: bool) -> Found | None:
    """dets (N, K, 5), corners and score, and labels (N, K)."""
    for name in real_outputs(graph, hints, 3):
        labels = [o for o in graph.outputs if _is_whole(graph, o) and len(graph[o].shape or ()) == 2]
        if sizes(graph, name)[2] == 5 and len(labels) == 1:
            decode = partial(_paired, output=name, labels=labels[0], masks=_masks(graph, name))
            why = "corners and score of what the model has chosen, and its classes"
            return Found((name, labels[0]), why, decode, (name,))
    return None


def _named(graph: Graph, *wanted: str) -> tuple[str, str, str] | None:
    """The outputs whose names begin or end so, one for each."""
    found = [next((o for o in graph.outputs if re.search(rf"(^|[/.]){w}(:\d+)?$", o)), None) for w in wanted]
    return None if None in found else (found[0], found[1], found[2])  # type: ignore[return-value]


def _roles(graph: Graph, hints: Hints, rank: int) -> tuple[str, str, str] | None:
    """Boxes of one axis more than scores and labels, which are of `rank`; None unless each is one output."""
    boxes = [o for o in real_outputs(graph, hints, rank + 1) if sizes(graph, o)[-1] == 4]
    scores = list(real_outputs(graph, hints, rank))
    labels = [o for o in graph.outputs if _is_whole(graph, o) and len(graph[o].shape or ()) == rank]
    if len(labels) > 1:
        labels = [o for o in labels if re.search("label|class", o, re.IGNORECASE)]
    if len(boxes) != 1 or len(scores) != 1 or len(labels) != 1:
        return None
    return boxes[0], scores[0], labels[0]


def _is_whole(graph: Graph, name: str) -> bool:
    dtype = graph[name].dtype
    return dtype is not None and dtype.kind in "iu"


def _masks(graph: Graph, boxes: str) -> str | None:
    """The output with a mask (K, 1, h, w) or (N, K, h, w) for each box."""
    return next((o for o in graph.outputs if len(graph[o].shape or ()) == 4 and o != boxes), None)


def _apart(graph: Graph, roles: tuple[str, str, str], form: str, why: str) -> Found:
    boxes, scores, _ = roles
    keypoints = next((o for o in graph.outputs if sizes(graph, o)[2:] == (3,) and o != boxes), None)
    masks = _masks(graph, boxes)
    parts = unchosen(graph, Column(scores, len(sizes(graph, scores)) - 1, 0), scores)
    decode = partial(_separate, roles=roles, form=form, parts=parts, masks=masks, keypoints=keypoints)
    more = [o for o in (masks, keypoints) if o]
    return Found((*roles, *more), why, decode, parts)


def _separate(
    values: Values,
    size: tuple[int, int],
    roles: tuple[str, str, str],
    form: str,
    parts: tuple[str, ...],
    masks: str | None,
    keypoints: str | None,
) -> Candidates:
    box, scores, labels = (_of_first(values[r], n) for r, n in zip(roles, (2, 1, 1), strict=True))
    shown = values[masks] if masks else None
    points = _of_first(values[keypoints], 3) if keypoints else None
    return Candidates(
        boxes=FORMS[form](box, size),
        scores=scores,
        labels=_whole(labels),
        seed=seeds_of(values, parts, roles[1], scores, np.arange(len(scores))),
        points=None if points is None else points[..., [1, 0, 2]].astype(np.float32),
        masks=None if shown is None else partial(_shown, shown, len(scores), size),
    )


def _paired(values: Values, size: tuple[int, int], output: str, labels: str, masks: str | None) -> Candidates:
    array = values[output][0]
    return Candidates(
        boxes=turned(array[:, :4]),
        scores=array[:, 4],
        labels=_whole(values[labels][0]),
        seed=lambda row, column: Seed.on(output, row * 5 + 4),
        seeds=lambda row: coordinates(output, row * 5),
        masks=partial(_shown, values[masks], len(array), size) if masks else None,
    )


def _of_first(array: np.ndarray, rank: int) -> np.ndarray:
    """What belongs to the first picture, of `rank` axes."""
    return array[0] if array.ndim > rank else array


def _whole(labels: np.ndarray) -> np.ndarray:
    return np.nan_to_num(labels.astype(np.float64), nan=-1, posinf=-1, neginf=-1).round().astype(np.int64)


def _shown(
    masks: np.ndarray, count: int, size: tuple[int, int], rows: np.ndarray
) -> Sequence[np.ndarray | None]:
    """The masks of some rows, where each lies over the whole input and not over its box."""
    array = masks[:, 0] if masks.shape[:2] == (count, 1) else masks[0]
    if len(array) != count or array.shape[1:] != tuple(size):
        return [None] * len(rows)
    return [array[r].astype(np.float32) for r in rows]
