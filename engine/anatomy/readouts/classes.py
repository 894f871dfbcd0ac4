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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from onnx import NodeProto

from ...errors import BadRequest, nearest
from ...graph.graph import Graph
from ...graph.nodes import attributes
from ...graph.sizes import Dim
from ...graph.types import is_float
from ...operators.traits import traits_of
from ..anatomy import default_input, seeing
from ..embeddings import is_embedding
from ..intervals import interval
from ..squashing import SQUASHED, squashing
from .thing import Seed, Thing

KINDS = ("classes", "labels", "values")
# Producers call outputs by what they hold; parts of such names of outputs that hold no class scores.
OTHERWISE = re.compile(
    r"box|bbox|landmark|keypoint|kpt|coord|offset|anchor|delta|embed|feature|hidden|pooler|vector|depth|mask|"
    r"gaze|angle|pose|latent",
    re.IGNORECASE,
)

_LOGITS = re.compile("logit", re.IGNORECASE)
_CLASSES = re.compile(r"logit|prob|score|class|cls|softmax|sigmoid|pred", re.IGNORECASE)

FORMS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "given": lambda y: y,
    "logarithms": np.exp,
    "softmax": lambda y: (e := np.exp(y - y.max(-1, keepdims=True))) / e.sum(-1, keepdims=True),
    "sigmoid": lambda y: np.where(y < 0, (e := np.exp(-abs(y))), 1) / (1 + e),
}


class SeveralReadouts(BadRequest):
    """Several outputs may hold the classes; somebody has to say which."""


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
    step: tuple[float, float] = (1, 0)

    @property
    def sure(self) -> bool:
        """Whether the answer is in probabilities; values are none."""
        return self.kind != "values"

    def answers(self, output: np.ndarray) -> np.ndarray:
        """What the model says of each class, (..., C) float64: probabilities (0 to 1), or values as they are.

        `output` (..., C) is what the model gave.
        """
        scale, zero = self.step
        return FORMS[self.form]((np.asarray(output, np.float64) - zero) * scale)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The value that the answer is read from."""
        return (self.value,)

    @property
    def parts(self) -> tuple[str, ...]:
        """The value that holds the scores."""
        return (self.scores,)

    def things(self, values: Mapping[str, np.ndarray], size: tuple[int, int]) -> list[Thing]:
        """All classes by their answers, best first, each with its score before the last squashing."""
        answers = self.answers(np.ravel(values[self.value][:1]))
        order = np.argsort(-answers, kind="stable").tolist()
        return [
            Thing("class", i, float(answers[i]) if self.sure else None, Seed.on(self.scores, i))
            for i in order
        ]

    def read_as(self, kind: str) -> Readout:
        """The same numbers as another of KINDS: raw scores are squashed as that needs."""
        if kind == self.kind:
            return self
        if kind == "values":
            return replace(self, kind=kind, form="given", why="values, as said")
        if self.sure and self.form in SQUASHED:
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
    if len({_untwisted(graph, r.scores) for r in found}) > 1:
        shown = ", ".join(f"{r.output} ({r.count}: {r.why})" for r in found)
        raise SeveralReadouts(f"several outputs may hold the classes: {shown}; say which with --output NAME")
    return found[0].read_as(kind or found[0].kind)


def _untwisted(graph: Graph, name: str) -> str:
    """The value whose numbers another one has in other axes: pictures by texts and texts by pictures."""
    while (node := graph.producer(name)) is not None and (
        traits_of(node).moves == "axes" or traits_of(node).reshapes
    ):
        name = node.input[0]
    return name


def known(graph: Graph, output: str | None = None) -> Readout | None:
    """The readout of the output that holds the classes; None where there is none, or it must be said."""
    try:
        return readout(graph, output)
    except BadRequest:
        return None


def is_of_all(graph: Graph, output: str | None = None) -> bool:
    """Whether the answer to one picture depends on what else is in a batch of any size.

    Either there is one row of scores for all, as where crops are averaged, or a Loop reads the picture: it
    goes on until all pictures of the batch are done, if it takes more than one at all.
    """
    read, reached = known(graph, output), seeing(graph)
    if read is not None and (graph[read.value].shape or (None,))[0] == 1:
        return True
    nodes = graph.ancestors([output] if output in graph.outputs else graph.outputs)
    return any(node.op_type == "Loop" and not reached.isdisjoint(node.output) for node in nodes)


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
    reached = (o for o in others if o in depending and _is_real(graph, _reals(graph, o)))
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
    return 3 if readout.form in SQUASHED else 2 if _CLASSES.search(readout.output) else 1


def _read(graph: Graph, output: str, depending: set[str]) -> Readout | str:
    """The readout of an output, or why it is none."""
    step = None if _is_real(graph, output) else _step(graph, output)
    value = output if step else _reals(graph, output)
    last = graph.producer(output)
    zipped = last if last is not None and last.op_type == "ZipMap" else None
    if zipped is not None:
        value = zipped.input[0]
    dtype, shape = graph[value].dtype, graph[value].shape
    shown = "of unknown shape" if shape is None else f"of shape {list(shape)}"
    if not step and not _is_real(graph, value):
        return f"{shown}, of {'unknown type' if dtype is None else dtype}"
    if output not in depending:
        return f"{shown}, which does not depend on the picture"
    value = _of_image(graph, value)
    shape = graph[value].shape
    batch = next(((graph[i].shape or (None,))[0] for i in default_input(graph)), None)
    if shape is None or not _is_of_classes(shape, batch):
        whole = len(shape or ()) > 1 and isinstance(batch, int) and shape and shape[0] == 1 < batch
        return f"{shown}, one answer for all {batch} pictures of a batch" if whole else shown
    if _is_found(graph, value, depending, shape[0] == batch):
        return f"{shown}, of things that were found or ranked"
    count = prod(d for d in shape[1:] if isinstance(d, int))
    if count in _things(graph, depending.intersection(graph.outputs) - {output}, batch):
        return f"{shown}, of things that other outputs say more of"
    read = _judged(graph, output, value, count, depending)
    if step:
        read = replace(read, step=step, scores=_reals(graph, read.scores))
    return replace(read, names=_names(zipped)) if zipped is not None else read


def _step(graph: Graph, output: str) -> tuple[float, float] | None:
    """The scale and the zero point of integers that are quantised reals; None for others."""
    node = graph.producer(output)
    if node is None or node.op_type != "QuantizeLinear":
        return None
    scale, zero = (graph[i].array if i else np.zeros(()) for i in (*node.input[1:], "")[:2])
    if scale is None or zero is None or scale.size > 1 or zero.size > 1:
        return None
    return float(scale.item()), float(zero.item())


def _names(node: NodeProto) -> tuple[str, ...]:
    """What a ZipMap, which makes a table for each image of its numbers, calls the classes."""
    named = attributes(node)
    names = named.get("classlabels_strings") or named.get("classlabels_int64s") or ()
    return tuple(n.decode("utf-8", "replace") if isinstance(n, bytes) else str(n) for n in names)


def _judged(graph: Graph, output: str, value: str, count: int, depending: set[str]) -> Readout:
    """The readout of one number for each of `count` classes."""
    if found := squashing(graph, value, count):
        kind, form, scores, why = found
        return Readout(output, value, _reals(graph, scores), kind, form, count, why)
    raw = Readout(output, value, value, "values", "given", count, "values, by the name of the output")
    if OTHERWISE.search(re.split(r"[/.:]", output)[-1]):
        return raw
    if interval(graph, value).within(0, 1):
        return replace(raw, kind="labels", why="always between 0 and 1")
    if not _LOGITS.search(output) and is_embedding(graph, value, depending):
        return replace(raw, why="values: no layer of classes comes last")
    return raw.read_as("classes" if count > 1 else "labels")


def _of_image(graph: Graph, value: str) -> str:
    """A value, or where it lost the axis of a single image to a Squeeze or Reshape, the one that has it."""
    name = value
    while (node := graph.producer(name)) is not None and traits_of(node).reshapes:
        name = node.input[0]
        shape = graph[name].shape or ()
        if len(graph[value].shape or ()) < 2 and len(shape) > 1 and shape[0] == 1:
            return name
    return value


def _is_of_classes(shape: Sequence[Dim], batch: int | str | None) -> bool:
    """Whether a shape is (N, C) or (N,), with further axes of 1 as in (N, C, 1, 1), (N, 1, 1, C), (N, 1, C).

    What has something for each of many places, (N, P, 1), is a detector's. The first axis is the batch, or
    may be where nobody knows.
    """
    if any(not isinstance(d, int) or d < 1 for d in shape[1:]):
        return False
    if len(shape) < 2:
        return shape[:1] == (batch,)
    many = [axis for axis, size in enumerate(shape) if axis and size != 1]
    if many and many != [len(shape) - 1] and (many != [1] or len(shape) == 3):
        return False
    if len(shape) == 2 or shape[0] == batch:  # (T, 1, C) has steps of time first
        return (
            shape[0] == batch
            or not isinstance(shape[0], int)
            or (shape[0] == 1 and not isinstance(batch, int))
        )
    return shape[0] == 1 and not isinstance(batch, int)


def _is_found(graph: Graph, value: str, depending: set[str], is_whole: bool) -> bool:
    """Whether a value has an entry for each thing that was found in an image.

    Where it has a row for each image (`is_whole`), that is where no layer with weights comes in between.
    """
    wanted = {value}
    for node in reversed(graph.nodes):
        traits = traits_of(node)
        if wanted.isdisjoint(node.output) or (is_whole and traits.weights):
            continue
        found = traits.finds if is_whole else traits.finds == "things"
        if found and not depending.isdisjoint(graph.reads(node)):
            return True
        wanted.update(graph.reads(node))
    return False


def _things(graph: Graph, others: Iterable[str], batch: int | str | None) -> set[Dim]:
    """How many things there are of which other outputs say several numbers each: (N, P, 4), or (P, 4)."""
    shapes = [shape for o in others if (shape := graph[o].shape) and shape[-1] not in (1, batch)]
    rows = {s[0] for s in shapes if len(s) == 2} - {batch}
    return rows.union(s[1] for s in shapes if len(s) == 3) - {1}


def _reals(graph: Graph, name: str) -> str:
    """The value, or of integers that of the real numbers that they stand for."""
    return name if _is_real(graph, name) else graph.twins.get(name, name)


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
