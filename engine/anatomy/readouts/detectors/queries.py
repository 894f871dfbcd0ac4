"""Answers to a fixed number of queries: scores of each class beside boxes in parts of the picture, the DETR
family (Carion et al. 2020).

    logits (N, Q, C + 1), boxes (N, Q, 4)   softmax, the last class is "no object"   DETR, YOLOS
    logits (N, Q, C), boxes (N, Q, 4)       a sigmoid of each                        RT-DETR, D-FINE, ...
    (N, Q, 4 + C)                           both side by side, after the sigmoid     Ultralytics' RT-DETR

A graph does not show which of the first two its logits are meant for: that is known from the architecture
that the producer names, or from the number of classes. Sources: the `post_process_object_detection` of each
in transformers' documentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial

import numpy as np

from ....graph.graph import Graph
from ....operators.traits import traits_of
from ...squashing import passes
from ..thing import Hints, Seed
from .candidates import Candidates, coordinates, corners
from .columns import columns, natures
from .layout import Found, Values, real_outputs, sizes

# By the name of the architecture in a config.json of transformers ("model_type").
SOFTMAX = {"detr", "yolos", "table-transformer"}
SIGMOID = {
    "conditional_detr",
    "d_fine",
    "dab-detr",
    "deformable_detr",
    "deta",
    "deim",
    "lw_detr",
    "owlv2",
    "owlvit",
    "pp_doclayout_v2",
    "pp_doclayout_v3",
    "rf_detr",
    "rt_detr",
    "rt_detr_v2",
}
_BOXES = re.compile(r"(^|[_/.])(pred_boxes|dets)$")
_LOGITS = re.compile(r"(^|[_/.])((pred_)?logits|labels)$")


def softmax(graph: Graph, hints: Hints, said: bool) -> Found | None:
    """Logits whose last class means that there is nothing, and boxes of as many queries."""
    return _asked(graph, hints, said, "softmax")


def sigmoid(graph: Graph, hints: Hints, said: bool) -> Found | None:
    """Logits of which each is a class by itself, and boxes of as many queries."""
    return _asked(graph, hints, said, "sigmoid")


def joined(graph: Graph, hints: Hints, said: bool) -> Found | None:
    """Boxes in parts of the picture and probabilities side by side."""
    for name in real_outputs(graph, hints, 3):
        found = columns(graph, name, 2)
        classes = len(found) - 4
        if classes < 1 or (classes != len(hints.labels) and not said):
            continue
        apart = set(natures(graph, found)) == {"u"} and len({c.value for c in found[:4]}) == 1
        if said or (apart and found[3].value != found[4].value):
            why = f"{classes} classes behind boxes in parts of the picture"
            return Found((name,), why, partial(_joined, output=name), (name,))
    return None


def _asked(graph: Graph, hints: Hints, said: bool, form: str) -> Found | None:
    for logits, boxes in _pairs(graph, hints, said):
        count = sizes(graph, logits)[2] or 0
        why = f"as --readout boxes:{form} says" if said else _known(hints, count, logits).get(form)
        if why is None:
            continue
        masks = next((o for o in real_outputs(graph, hints, 4) if _is_of(graph, o, boxes)), None)
        decode = partial(_decoded, logits=logits, boxes=boxes, form=form, masks=masks)
        why = f"boxes of {_shown(graph, boxes)} queries and a {form} over their scores: {why}"
        return Found((logits, boxes, *([masks] if masks else [])), why, decode, (logits, boxes))
    return None


def _known(hints: Hints, count: int, logits: str) -> dict[str, str]:
    """For each form that the scores of `count` classes may have, how that is known."""
    kind = hints.facts.get("model_type", "")
    if kind in SOFTMAX | SIGMOID:
        focal = kind in SIGMOID and hints.facts.get("use_focal_loss", "True") != "False"
        return {"sigmoid" if focal else "softmax": f"the model is of type {kind}"}
    if re.search(r"(^|[_/.])labels$", logits):  # RF-DETR's names
        return {"sigmoid": "by the names of the outputs"}
    known = len(hints.labels)
    forms = {known: "sigmoid", known + 1: "softmax"} if known else {}
    return {forms[count]: f"{known} classes have names"} if count in forms else {}


def _pairs(graph: Graph, hints: Hints, said: bool) -> Iterator[tuple[str, str]]:
    """Outputs with logits and with boxes of the same queries."""
    said = said or hints.facts.get("model_type", "") in SOFTMAX | SIGMOID
    for boxes in real_outputs(graph, hints, 3):
        if sizes(graph, boxes)[2] != 4 or not (said or _BOXES.search(boxes) or _is_sigmoid(graph, boxes)):
            continue
        for logits in real_outputs(graph, hints, 3):
            raw = sizes(graph, logits)[2] and (_LOGITS.search(logits) or not _is_sigmoid(graph, logits))
            if logits != boxes and raw and _is_of(graph, logits, boxes):
                yield logits, boxes


def _is_of(graph: Graph, name: str, boxes: str) -> bool:
    """Whether two outputs have an entry for each of the same queries."""
    one, other = (graph[n].shape or (None, None) for n in (name, boxes))
    return one[1] == other[1] or not (isinstance(one[1], int) and isinstance(other[1], int))


def _is_sigmoid(graph: Graph, name: str) -> bool:
    """Whether an output comes right out of a Sigmoid or Softmax."""
    while (node := graph.producer(name)) is not None and passes(node):
        name = node.input[0]
    return node is not None and bool(traits_of(node).squashes)


def _shown(graph: Graph, boxes: str) -> str:
    count = sizes(graph, boxes)[1]
    return "some" if count is None else str(count)


def _decoded(
    values: Values, size: tuple[int, int], logits: str, boxes: str, form: str, masks: str | None
) -> Candidates:
    scores, box = values[logits][0].astype(np.float64), values[boxes][0].astype(np.float64)
    width = scores.shape[1]
    return Candidates(
        boxes=corners(box) * np.tile(size, 2),
        scores=_probabilities(scores, form),
        seed=lambda row, column: Seed.on(logits, row * width + column),
        seeds=lambda row: coordinates(boxes, row * 4),
        several=form == "sigmoid",
        masks=(lambda rows: _probabilities(values[masks][0][rows], "sigmoid")) if masks else None,
    )


def _probabilities(scores: np.ndarray, form: str) -> np.ndarray:
    if form == "sigmoid":
        return 0.5 + 0.5 * np.tanh(scores / 2)
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return (powers / powers.sum(1, keepdims=True))[:, :-1]


def _joined(values: Values, size: tuple[int, int], output: str) -> Candidates:
    array = values[output][0]
    width = array.shape[1]
    return Candidates(
        boxes=corners(array[:, :4]) * np.tile(size, 2),
        scores=array[:, 4:],
        seed=lambda row, column: Seed.on(output, row * width + 4 + column),
        seeds=lambda row: coordinates(output, row * width),
    )
