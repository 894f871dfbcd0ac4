"""Texts: scores of characters at each step of a line, decoded as the producer does.

    (N, T, C), (T, N, C), ... whose steps go across the picture      CTC: a blank, and characters that repeat
    (N, T, C) out of a loop                                          one at each step, until the end
    several outputs (N, C) that are numbered                         one character each

Which axis goes across the picture is followed through the graph (coordinates.py). Scores of steps are told
from features by a Softmax over the characters, by an alphabet of as many, or by a layer of classes that comes
last. The blank of CTC is the class that is called so, else by the length of the alphabet, else the first, as
PyTorch's loss and PaddleOCR have it, and that is said (Graves et al. 2006, "Connectionist temporal
classification").
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...graph.graph import Graph
from ...graph.nodes import attributes, bodies
from ...graph.types import is_float
from ...operators.places.positions import CENTRE
from ...operators.traits import traits_of
from ..anatomy import seeing
from ..embeddings import is_embedding
from ..maps import coordinates
from ..squashing import SQUASHED, squashing
from .alphabet import ENDS, STARTS, spelt
from .classes import FORMS, OTHERWISE, Readout, known
from .thing import Hints, Seed, Thing

_MOST_HEADS = 64


@dataclass(frozen=True)
class Steps:
    """A value with scores of `count` characters at steps: which of its axes are those, and the batch."""

    value: str
    batch: int | None
    steps: int
    classes: int

    def of(self, array: np.ndarray) -> np.ndarray:
        """The scores (T, C) of the first picture."""
        one = array if self.batch is None else array.take([0], self.batch)
        return np.moveaxis(one, (self.steps, self.classes), (0, 1)).reshape(
            one.shape[self.steps], one.shape[self.classes]
        )

    def indices(self, array: np.ndarray) -> np.ndarray:
        """Where each of them stands in the value, flat and without the batch axis, (T, C)."""
        one = array if self.batch is None else array.take([0], self.batch)
        return self.of(np.arange(one.size).reshape(one.shape))


@dataclass(frozen=True)
class Line:
    """A line of text: what is read at each step.

    `answer` and `scores` are the steps of what the model gives and of the value before its last squashing.
    `form` is which of FORMS makes probabilities of the answer, `alphabet` the characters, empty where they
    are not known, and `blank` the class that is none of them (None: nothing is merged). `columns` are the
    middles of the steps in the input, where that is known.
    """

    output: str
    answer: Steps
    scores: Steps
    form: str
    why: str
    alphabet: tuple[str, ...] = ()
    blank: int | None = None
    columns: tuple[float, ...] = ()

    kind = "sequence"

    @property
    def outputs(self) -> tuple[str, ...]:
        """The one output."""
        return (self.output,)

    @property
    def parts(self) -> tuple[str, ...]:
        """The scores, and what is decoded where that is neither them nor the output."""
        return tuple(dict.fromkeys((self.scores.value, *{self.answer.value} - {self.output})))

    def things(self, values: Mapping[str, np.ndarray], size: tuple[int, int]) -> list[Thing]:
        """The text, then its characters in their order; nothing where no character was read.

        The score of a character is its probability at its first step, as PaddleOCR's, that of the text the
        mean of them. The seed of a character is the mean of its scores over its steps.
        """
        probability = FORMS[self.form](self.answer.of(values[self.answer.value]).astype(np.float64))
        indices = self.scores.indices(values[self.scores.value])
        read = [
            Thing(
                "character",
                None,
                float(probability[steps[0], c]),
                Seed.on(self.scores.value, indices[steps, c], 1 / len(steps)),
                self.word(c),
                self._box(steps, size),
            )
            for c, steps in self._runs(probability.argmax(1))
        ]
        return [_text(read, "" if self.alphabet else " "), *read] if read else []

    def word(self, c: int) -> str:
        """The character of a class, or its number where there is no alphabet."""
        return self.alphabet[c] if c < len(self.alphabet) else str(c)

    def _runs(self, best: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """The characters, each with its steps: greedy decoding."""
        names = [self.word(c).lower() for c in best.tolist()] if self.alphabet else []
        until = next((t for t, name in enumerate(names) if name in ENDS), len(best))
        edges = np.flatnonzero(np.diff(best[:until])) + 1 if self.blank is not None else np.arange(1, until)
        runs = [r for r in np.split(np.arange(until), edges) if r.size]
        silent = {t for t, name in enumerate(names) if name in STARTS}
        return [(int(best[r[0]]), r) for r in runs if best[r[0]] != self.blank and r[0] not in silent]

    def _box(self, steps: np.ndarray, size: tuple[int, int]) -> tuple[float, float, float, float] | None:
        """The columns that some steps stand for."""
        if not self.columns:
            return None
        half = abs(self.columns[-1] - self.columns[0]) / max(len(self.columns) - 1, 1) / 2
        x = [self.columns[t] for t in steps]
        return 0.0, max(min(x) - half, 0.0), float(size[0]), min(max(x) + half, float(size[1]))


def _text(read: Sequence[Thing], between: str) -> Thing:
    """All characters together."""
    seed = read[0].seed
    for thing in read[1:]:
        seed = seed + thing.seed
    boxes = np.array([thing.box for thing in read if thing.box])
    box = (*boxes.min(0)[:2].tolist(), *boxes.max(0)[2:].tolist()) if boxes.size else None
    score = sum(thing.score or 0 for thing in read) / len(read)
    return Thing("text", None, score, seed, between.join(thing.words for thing in read), box)


@dataclass(frozen=True)
class Heads:
    """Characters that have an output each."""

    heads: tuple[Readout, ...]
    alphabet: tuple[str, ...] = ()

    kind = "sequence"
    why = "outputs that are numbered, each behind a Softmax of as many classes"

    @property
    def outputs(self) -> tuple[str, ...]:
        """One output for each character."""
        return tuple(head.output for head in self.heads)

    @property
    def parts(self) -> tuple[str, ...]:
        """Their scores."""
        return tuple(head.scores for head in self.heads)

    def things(self, values: Mapping[str, np.ndarray], size: tuple[int, int]) -> list[Thing]:
        """The text, then its characters in their order."""
        read = []
        for head in self.heads:
            best = head.things(values, size)[0]
            name = self.alphabet[best.label or 0] if self.alphabet else str(best.label)
            read.append(replace(best, kind="character", label=None, words=name))
        return [_text(read, "" if self.alphabet else " "), *read]


def find(graph: Graph, hints: Hints) -> Line | Heads | None:
    """How the model says a text; None where no output does."""
    names = [hints.output] if hints.output else graph.outputs
    found = [r for name in names if (r := _read(graph, name, hints)) is not None]
    if found:
        return max(found, key=lambda r: r[0])[1]
    return None if hints.output else _heads(graph, hints)


def _read(graph: Graph, output: str, hints: Hints) -> tuple[int, Line] | None:
    """The line of text in an output, and how sure that is."""
    kind, _, variant = (hints.kind or "").partition(":")
    name = output
    node = graph.producer(output)
    is_chosen = node is not None and node.op_type == "ArgMax"
    if node is not None and is_chosen:
        name = node.input[0]
    dtype = graph[name].dtype
    if dtype is None or not is_float(dtype):
        return None
    placed = _across(graph, name)
    answer = placed[0] if placed else _looped(graph, name)
    count = _size(graph, name, answer.classes) if answer else 0
    if answer is None or count < 2:
        return None
    scores, form = _before(graph, answer, count)
    alphabet, blank, told = spelt(hints, count, variant if placed else "steps")
    is_known = form != "softmax" or kind == "sequence" or alphabet or _is_of_classes(graph, name)
    if not is_known or (is_chosen and not alphabet and kind != "sequence"):
        return None
    why = [] if placed is None else ["steps across the picture"]
    why += ["raw scores" if form == "softmax" else "behind a Softmax", *([told] if told else [])]
    columns = placed[1] if placed else ()
    line = Line(output, answer, scores, form, ", ".join(why), alphabet, blank, columns)
    return (2 if alphabet else 1 if form != "softmax" else 0), line


def _across(graph: Graph, name: str) -> tuple[Steps, tuple[float, ...]] | None:
    """The steps of a value that follow each other across the picture, and where the middle of each is."""
    followed = coordinates(graph)
    p = followed[name]
    if p is None or p.crossed:
        return None
    rank = len(p.shape)
    steps = [a for a in range(rank) if p.columns.shape[1 + a] > 1]
    along = [a for a, d in enumerate(p.images.shape[1:]) if d > 1]
    if len(steps) != 1 or any(d > 1 for d in p.rows.shape[1:]) or (followed.batch > 1 and not along):
        return None
    batch = [*along, *(a for a in range(rank) if p.shape[a] == 1)][:1]
    classes = [a for a in range(rank) if a not in (*batch, *steps) and p.shape[a] > 1]
    middles = p.columns[CENTRE].ravel()
    if len(classes) != 1 or np.isnan(middles).any():
        return None
    columns = () if followed.is_open else tuple(middles.tolist())
    return Steps(name, batch[0] if batch else None, steps[0], classes[0]), columns


def _looped(graph: Graph, name: str) -> Steps | None:
    """The steps of a value (N, T, C) that a loop makes one after the other, with a Softmax over each."""
    node = graph.producer(name)
    if node is None or traits_of(node).squashes != "classes" or name not in seeing(graph):
        return None
    shape = graph[name].shape or ()
    loops = any(bodies(n) and n.op_type != "If" for n in graph.ancestors([name]))
    if len(shape) != 3 or not loops or attributes(node).get("axis", -1) not in (-1, 2):
        return None
    return Steps(name, 0, 1, 2)


def _size(graph: Graph, name: str, axis: int) -> int:
    size = (graph[name].shape or ())[axis : axis + 1]
    return next((d for d in size if isinstance(d, int)), 0)


def _before(graph: Graph, answer: Steps, count: int) -> tuple[Steps, str]:
    """The scores before a Softmax over the characters, and which of FORMS the answer is; else itself, raw."""
    found = squashing(graph, answer.value, count)
    if found is None or found[0] != "classes":
        return answer, "softmax"
    _, form, name, _ = found
    squash = (n for n in reversed(graph.ancestors([answer.value])) if traits_of(n).squashes == "classes")
    node = next(squash, None)
    placed = _across(graph, name)
    scores = placed[0] if placed else Steps(name, answer.batch, answer.steps, answer.classes)
    rank = len(graph[name].shape or graph[answer.value].shape or ())
    along = node is not None and attributes(node).get("axis", -1) % max(rank, 1) == scores.classes
    return (scores, form) if along else (answer, "softmax")


def _is_of_classes(graph: Graph, name: str) -> bool:
    """Whether raw numbers come from a layer of classes and not of features, by the layer and the name."""
    return not OTHERWISE.search(re.split(r"[/.:]", name)[-1]) and not is_embedding(graph, name, seeing(graph))


def _heads(graph: Graph, hints: Hints) -> Heads | None:
    """The outputs that are a character each: of one name and numbered, of as many classes, at least three."""
    if len(graph.outputs) < 3 or len(graph.outputs) > _MOST_HEADS:
        return None
    named = [re.fullmatch(r"(.*?)(\d+)\D*", name) for name in graph.outputs]
    if any(n is None for n in named) or len({n[1] for n in named if n}) > 1:
        return None
    order = sorted(range(len(named)), key=lambda i: int(n[2]) if (n := named[i]) else 0)
    read = [known(graph, graph.outputs[i]) for i in order]
    heads = tuple(r for r in read if r is not None and r.kind == "classes" and r.form in SQUASHED)
    if len(heads) < len(read) or len({r.count for r in heads}) > 1:
        return None
    count = heads[0].count
    is_digits = count == 10 and "digit" in graph.outputs[0].lower()
    alphabet = hints.labels if len(hints.labels) == count else "0123456789" if is_digits else ()
    return Heads(heads, tuple(alphabet))
