"""What a model's output says of each class, and how that becomes a probability: decided from the graph.

    ... -> scores -> Softmax -> Reshape -> output        one of the classes: its numbers are the probabilities
    ... -> scores -> Sigmoid -> output                   each class by itself, a single one too
    ... -> scores = output                               raw: softmax for several classes, sigmoid for one
    ... -> pooled features, a unit vector -> output      an embedding: values, and no probabilities

Nothing is read off the numbers of a photo: that they sum to 1 may be chance, and need not be so where a
Softmax is quantised. What is differentiated are the scores before the last squashing: a Softmax couples the
classes, and behind either a sure answer has almost no gradient.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from onnx import NodeProto

from .anatomy import QUANTISING, RESHAPING, WEIGHTED, seeing
from .errors import BadRequest, nearest
from .graph import Graph
from .intervals import interval
from .nodes import OURS, attributes, reads
from .sizes import Dim
from .types import is_float

KINDS = ("classes", "labels", "values")
_PASSING = RESHAPING | QUANTISING | {"Transpose", "Clip"}
_SQUASHING = {
    **dict.fromkeys(("Softmax", "LogSoftmax", "QLinearSoftmax"), "classes"),
    **dict.fromkeys(("Sigmoid", "QLinearSigmoid", "HardSigmoid"), "labels"),
}
_NORMALISING = {
    "LpNormalization", "LayerNormalization", "BatchNormalization", "InstanceNormalization",
    "GroupNormalization", "RMSNormalization", "SimplifiedLayerNormalization", "SkipLayerNormalization",
}  # fmt: skip
_POOLING = {
    "GlobalAveragePool", "GlobalMaxPool", "QLinearGlobalAveragePool", "AveragePool", "MaxPool", "ReduceMean",
    "ReduceMax", "ReduceSum",
}  # fmt: skip
# What has an entry for each thing that was found, and not for each class.
_FINDING = {"NonMaxSuppression", "NonZero", "RoiAlign", "MultiClassNMS", "EfficientNMS_TRT", "BatchedNMS_TRT"}
# Producers call outputs by what they hold; parts of such names of outputs that hold no class scores.
_OTHERWISE = re.compile(
    r"box|bbox|landmark|keypoint|kpt|coord|offset|anchor|delta|embed|feature|hidden|pooler|vector|depth|mask|"
    r"gaze|angle|pose|latent",
    re.IGNORECASE,
)

_CLASSES = re.compile(r"logit|prob|score|class|cls|softmax|sigmoid|pred", re.IGNORECASE)

_SQUASHED = ("given", "logarithms")  # the forms of what is squashed in the model
FORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "given": lambda y: y,
    "logarithms": np.exp,
    "softmax": lambda y: (e := np.exp(y - y.max(-1, keepdims=True))) / e.sum(-1, keepdims=True),
    "sigmoid": lambda y: np.where(y < 0, (e := np.exp(-abs(y))), 1) / (1 + e),
}


@dataclass(frozen=True)
class Readout:
    """An output that has one number for each class.

    `kind`: "classes", of which one is right; "labels", each right or not by itself; "values", which are no
    probabilities (an embedding, a regression). `value` is where the answer is read: the `output` itself, or
    of an integer one the real numbers that it stands for. `scores` is the value before its last squashing,
    `count` how many classes there are, `form` which of FORMS makes probabilities of the answer, and `why`
    says in words how that is known. `names` are those that the graph itself gives them, if it does.
    """

    output: str
    value: str
    scores: str
    kind: str
    form: str
    count: int
    why: str
    names: tuple[str, ...] = ()

    @property
    def sure(self) -> bool:
        """Whether the answer is in probabilities; values are none."""
        return self.kind != "values"

    def answers(self, output: np.ndarray) -> np.ndarray:
        """What the model says of each class, (..., C) float64: probabilities (0 to 1), or values as they are.

        `output` (..., C) is what the model gave.
        """
        return FORMS[self.form](np.asarray(output, np.float64))

    def read_as(self, kind: str) -> Readout:
        """The same numbers as another of KINDS: raw scores are squashed as that needs."""
        if kind == self.kind:
            return self
        if kind == "values":
            return replace(self, kind=kind, form="given", why="values, as said")
        if self.sure and self.form in _SQUASHED:
            return replace(self, kind=kind)
        form = {"classes": "softmax", "labels": "sigmoid"}[kind]
        return replace(self, kind=kind, form=form, why=f"raw scores, a {form} laid over them")


def readout(
    graph: Graph, output: str | None = None, labels: int | None = None, kind: str | None = None
) -> Readout:
    """The readout of an output, by default of the one that holds the classes.

    That is `graph.head` where somebody said it; else the one with as many entries as there are `labels`, the
    one behind a Softmax or Sigmoid, the one whose scores look like those of classes. `kind`, one of KINDS,
    says what the graph cannot tell.

    Raises BadRequest where no output has scores of classes, and where several may be meant, with what there
    is; and for an output or a kind that is not there.
    """
    if kind is not None and kind not in KINDS:
        raise BadRequest(f"there is no readout {kind!r:.40}{nearest(kind, KINDS)}")
    if output is None and kind is None and graph.head is not None:
        return graph.head
    found, others = _likely(graph, output, labels)
    if not found:
        raise BadRequest(_none(others))
    if len({r.scores for r in found}) > 1:
        shown = ", ".join(f"{r.output} ({r.count}: {r.why})" for r in found)
        raise BadRequest(f"several outputs may hold the classes: {shown}; say which with --output NAME")
    return found[0].read_as(kind or found[0].kind)


def known(graph: Graph, output: str | None = None) -> Readout | None:
    """The readout of the output that holds the classes; None where there is none, or it must be said."""
    try:
        return readout(graph, output)
    except BadRequest:
        return None


def score_name(graph: Graph, output: str | None = None) -> str:
    """The value that holds the scores of an output, before a final squashing; by default of the likeliest.

    Of an output that holds no classes it is the output itself: the named one, or else the first one of real
    numbers that the picture reaches.
    """
    if output is None and graph.head is not None:
        return graph.head.scores
    found, others = _likely(graph, output)
    if found:
        return found[0].scores
    depending = seeing(graph)
    reached = (o for o in others if o in depending and _is_real(graph, graph.twins.get(o, o)))
    return next(reached, next(iter(others)))


def _likely(
    graph: Graph, output: str | None = None, labels: int | None = None
) -> tuple[list[Readout], dict[str, str]]:
    """The readouts that are most likely that of the classes, and why the other outputs have none."""
    if output is not None and output not in graph.outputs:
        raise BadRequest(f"the model has no output {output!r}{nearest(output, graph.outputs)}")
    depending = seeing(graph)
    read = {name: _read(graph, name, depending) for name in ([output] if output else graph.outputs)}
    found = [r for r in read.values() if isinstance(r, Readout)]
    others = {name: r for name, r in read.items() if isinstance(r, str)}
    if fits := [r for r in found if r.count == labels]:  # names of classes say that these are classes
        found = [r if r.sure else r.read_as("classes" if r.count > 1 else "labels") for r in fits]
    best = max(map(_evidence, found), default=0)
    return [r for r in found if _evidence(r) == best], others


def _evidence(readout: Readout) -> int:
    """How sure it is that an output holds the classes: it is squashed, called so, at least no embedding."""
    if not readout.sure:
        return 0
    return 3 if readout.form in _SQUASHED else 2 if _CLASSES.search(readout.output) else 1


def _read(graph: Graph, output: str, depending: set[str]) -> Readout | str:
    """The readout of an output, or why it is none."""
    value = output if _is_real(graph, output) else graph.twins.get(output, output)
    last = graph.producer(output)
    zipped = last if last is not None and last.op_type == "ZipMap" else None
    if zipped is not None:
        value = zipped.input[0]
    tensor = graph[value]
    shape = tensor.shape
    shown = "of unknown shape" if shape is None else f"of shape {list(shape)}"
    if not _is_real(graph, value):
        return f"{shown}, of {'unknown type' if tensor.dtype is None else tensor.dtype}"
    if output not in depending:
        return f"{shown}, which does not depend on the picture"
    if shape is None or not _is_of_classes(shape) or not _of_batch(graph, shape[0]):
        return shown
    if any(n.op_type in _FINDING and not depending.isdisjoint(reads(n)) for n in graph.ancestors([value])):
        return f"{shown}, of things that were found"
    read = _judged(graph, output, value, prod(d for d in shape[1:] if isinstance(d, int)), depending)
    return replace(read, names=_names(zipped)) if zipped is not None else read


def _names(node: NodeProto) -> tuple[str, ...]:
    """What a ZipMap, which makes a table for each image of its numbers, calls the classes."""
    named = attributes(node)
    names = named.get("classlabels_strings") or named.get("classlabels_int64s") or ()
    return tuple(n.decode("utf-8", "replace") if isinstance(n, bytes) else str(n) for n in names)


def _judged(graph: Graph, output: str, value: str, count: int, depending: set[str]) -> Readout:
    """The readout of one number for each of `count` classes."""
    if squashing := _squashing(graph, value, count):
        kind, form, scores, why = squashing
        return Readout(output, value, scores, kind, form, count, why)
    raw = Readout(output, value, value, "values", "given", count, "values, by the name of the output")
    if _OTHERWISE.search(re.split(r"[/.:]", output)[-1]):
        return raw
    if interval(graph, value).within(0, 1):
        return replace(raw, kind="labels", why="always between 0 and 1")
    if _is_embedding(graph, value, depending):
        return replace(raw, why="values: features, and no layer of classes behind them")
    return raw.read_as("classes" if count > 1 else "labels")


def _squashing(graph: Graph, name: str, count: int) -> tuple[str, str, str, str] | None:
    """What the last Softmax or Sigmoid before a value makes of it: kind, form, the scores before it, and why.

    None where there is none whose numbers are passed on as they are, or as their logarithms.
    """
    logarithms = 0
    while (node := graph.producer(name)) is not None and node.op_type in (*_PASSING, "Log", "Exp"):
        logarithms += {"Log": 1, "Exp": -1}.get(node.op_type, 0)
        name = node.input[0]
    if node is None:
        return None
    logarithms += node.op_type == "LogSoftmax"
    scores = _spelled_out(graph, node) if node.op_type == "Div" else node.input[0]
    kind = "classes" if node.op_type == "Div" else _SQUASHING.get(node.op_type)
    if scores is None or kind is None or logarithms not in (0, 1):
        return None
    if node.op_type != "Div" and kind == "classes":
        shape, axis = graph[scores].shape, attributes(node).get("axis", -1)
        if shape is not None and shape[axis : axis + 1 or None] != (count,):
            return None
    why = "behind a Softmax" if kind == "classes" else "behind a Sigmoid"
    return kind, _SQUASHED[logarithms], _before(graph, scores), why


def _spelled_out(graph: Graph, node: NodeProto) -> str | None:
    """The scores of a Softmax in operators, exp(z) / Σ exp(z), of z less its maximum or as it is."""
    power, total = map(graph.producer, node.input)
    if power is None or total is None or (power.op_type, total.op_type) != ("Exp", "ReduceSum"):
        return None
    if total.input[0] != node.input[0]:
        return None
    z = power.input[0]
    less = graph.producer(z)
    most = graph.producer(less.input[1]) if less is not None and less.op_type == "Sub" else None
    return most.input[0] if most is not None and most.op_type == "ReduceMax" else z


def _before(graph: Graph, name: str) -> str:
    """The model's own value that is passed on to a squashing by what the converter put before it."""
    passing = RESHAPING | QUANTISING
    while name.startswith(OURS) and (node := graph.producer(name)) is not None and node.op_type in passing:
        name = node.input[0]
    return name


def _is_embedding(graph: Graph, name: str, depending: set[str]) -> bool:
    """Whether a value is features, pooled or normalised, with no layer of classes behind them.

    Such a layer is dense, or a convolution right before the pooling with a ReLU at most between (SqueezeNet).
    """
    pooled = False
    while (node := graph.producer(name)) is not None:
        sources = [i for i in node.input if i in depending]
        if node.op_type in _NORMALISING or (node.op_type == "Div" and _is_norm(graph, node)):
            return True
        if node.op_type in WEIGHTED or len(sources) != 1:
            return pooled and node.op_type not in WEIGHTED
        if node.op_type in _POOLING:
            pooled = True
        elif pooled and node.op_type not in _PASSING - {"Clip"} | {"Relu"}:
            return True
        name = sources[0]
    return False


def _is_norm(graph: Graph, node: NodeProto) -> bool:
    """Whether a Div divides a vector by its own length."""
    length = [n for n in graph.ancestors(node.input[1:2]) if node.input[0] in n.input]
    return bool(length) and all(
        n.op_type in ("ReduceL2", "Mul", "Pow", "ReduceSumSquare", "Abs") for n in length
    )


def _is_of_classes(shape: Sequence[Dim]) -> bool:
    """Whether a shape is (N, C), with further axes of 1 as in (N, C, 1, 1), (N, 1, 1, C) and (N, 1, C).

    What has something for each of many places, (N, P, 1), is a detector's.
    """
    if len(shape) < 2 or any(not isinstance(d, int) or d < 1 for d in shape[1:]):
        return False
    many = [axis for axis, size in enumerate(shape) if axis and size != 1]
    return not many or many == [len(shape) - 1] or (many == [1] and len(shape) != 3)


def _of_batch(graph: Graph, first: int | str | None) -> bool:
    """Whether a first axis can be that of the images."""
    batch = (graph[graph.inputs[0]].shape or (None,))[0] if graph.inputs else None
    return first == batch or not (isinstance(first, int) and isinstance(batch, int))


def _is_real(graph: Graph, name: str) -> bool:
    dtype = graph[name].dtype
    return dtype is not None and is_float(dtype)


def _none(others: dict[str, str]) -> str:
    """That a model has no scores of classes, what it has instead, and what can be done all the same."""
    shown = "; ".join(f"{name!r} {what}" for name, what in list(others.items())[:4])
    more = ", ..." if len(others) > 4 else ""
    return (
        f"no output has a score for each class (N, C): {shown}{more}; what needs no class works: "
        "activations, weights, top, dream, and deconvnet, guided or saliency with --layer"
    )
