"""A network that answers with numbers of one's choice: sums of what it answers, weighted by seeds.

    answer (N, M) = the elements of all parts, side by side        scores (N, T) = answer @ seeds (1, M, T)

The sums take the place of the scores of classes. So whatever explains a class explains a box, a region, a
character or a difference of two, and knows nothing of it: gradients begin with the seed as they do with the 1
at a class, and what is hidden of a photo changes the sum as it does a score.
"""

from __future__ import annotations

from collections import UserDict
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from ..anatomy.anatomy import default_input, seeing
from ..anatomy.readouts.classes import Readout
from ..anatomy.readouts.thing import Seed
from ..autodiff.gradient import inside
from ..errors import BadRequest
from ..graph.graph import Graph, Tensor, op
from ..graph.nodes import renamed
from ..graph.types import is_float
from ..operators.traits import traits_of
from ..runtime.network import Network

HANDED_ON = ("order", "axes", "selects", "joins")  # how elements move that stay what they are
MAX_NUMBERS = 2**26  # of the seeds of one photo, which are held densely


class Aim:
    """A network to be asked for sums of its values.

    `parts` are the values that seeds lie on. With `unit` the answer is taken as a vector of length 1, so that
    its product with another such vector is their cosine. `network` is what methods are compiled for: its
    classes are the sums, as many as there are seeds, or where it is for `one`, a single one, as gradients
    want to know it before. These begin before a last Sigmoid or Softmax, as those of classes do, but for
    parts that are meant `as_they_are`: behind it a sure answer has almost none.

    Raises BadRequest for a part that holds no real numbers.
    """

    def __init__(
        self,
        network: Network,
        parts: Sequence[str],
        unit: bool = False,
        one: bool = True,
        as_they_are: Collection[str] = (),
    ):
        self.parts, self._one = tuple(parts), one
        graph = network.graph.copy()
        graph.given = UserDict(graph.given)  # its own: the seeds are nobody else's
        depending = seeing(graph)
        squashed = [part for part in self.parts if one and part not in as_they_are]
        before = {p: _unsquashed(graph, inside(graph, p).name, depending) for p in squashed}
        named = [before.get(part, part) for part in self.parts]
        flat = [_flat(graph, part) for part in named]
        answer = op.Concat(*flat, axis=1) if len(flat) > 1 else flat[0]
        if unit:
            answer = answer / op.Max(op.ReduceL2(answer, [1]), np.float32(1e-12))
        self._name = graph.unused("seeds")
        seeds = graph.input(self._name, np.float32, [1, None, 1 if one else None])
        if len(flat) == 1 and not isinstance((answer.shape or (None, None))[1], int):
            answer, seeds = _shared(answer, seeds)
        sums = op.Squeeze(op.MatMul(op.Unsqueeze(answer, [1]), seeds), [1])
        if any(batch_axis(graph, part) is None for part in named):  # one picture at a time, as the shape says
            sums = op.Reshape(sums, [1, 1 if one else -1])
        name = graph.output(sums, graph.unused("targets")).name
        graph.given[self._name] = np.zeros((1, 0, 1), np.float32)
        why = "sums that somebody asked for"
        graph.head = Readout(name, name, name, "values", "given", 1 if one else MAX_NUMBERS, why)
        self._given, self.network = graph.given, network.over(graph)

    def most(self, values: Mapping[str, np.ndarray]) -> int:
        """How many sums of a photo with these values it can be aimed at, at once."""
        numbers = sum(values[part].size for part in self.parts)
        return 1 if self._one else max(1, MAX_NUMBERS // max(1, numbers))

    def at(self, seeds: Sequence[Seed], values: Mapping[str, np.ndarray]) -> None:
        """Aim at some sums of the photo that has these `values` of the parts, of one image each.

        Raises BadRequest where the seeds would not fit into memory.
        """
        assert len(seeds) == 1 or not self._one
        sizes = [values[part].size for part in self.parts]
        if sum(sizes) * len(seeds) > MAX_NUMBERS:
            raise BadRequest(f"{len(seeds)} targets of {sum(sizes)} numbers each are too many: ask for fewer")
        rows = [
            np.concatenate([s.dense(p, n) for p, n in zip(self.parts, sizes, strict=True)]) for s in seeds
        ]
        self._given[self._name] = np.ascontiguousarray(np.stack(rows, axis=1)[None])


def _unsquashed(graph: Graph, name: str, depending: set[str]) -> str:
    """A value with scores in the place of probabilities, wherever it only hands these on; else as it is.

    Concat(boxes, Sigmoid(scores)) becomes Concat(boxes, scores).
    """
    node = graph.producer(name)
    if node is None or name not in depending:
        return name
    traits = traits_of(node)
    if traits.squashes:
        return node.input[0]
    if not (traits.reshapes or traits.moves in HANDED_ON):
        return name
    handed = node.input if traits.moves == "joins" else node.input[:1]
    scores = {i: _unsquashed(graph, i, depending) for i in handed}
    if all(before == after for before, after in scores.items()):
        return name
    new = {o: graph.fresh("scores") for o in node.output if o}
    graph.add(
        renamed(node, {**scores, **new}), {n: graph.types[o] for o, n in new.items() if o in graph.types}
    )
    return new[name]


def _shared(answer: Tensor, seeds: Tensor) -> tuple[Tensor, Tensor]:
    """What an answer (N, M) and seeds (1, L, T) both have numbers for.

    A text may be shorter where half of it is hidden; what it does not say any more counts as nothing.
    """
    count = op.Min(answer.dim(1), seeds.dim(1))
    return op.Slice(answer, [0], count, [1]), op.Slice(seeds, [0], count, [1])


def _flat(graph: Graph, name: str) -> Tensor:
    """A value as (N, M) float32, whatever axis its batch is; as (1, M) where none is known to be."""
    value = inside(graph, name)
    if value.dtype is None or not is_float(value.dtype):
        raise BadRequest(f"{name!r} holds {value.dtype or 'values of unknown type'}, no real numbers")
    axis, rank = batch_axis(graph, name), len(value.shape or ())
    if axis:
        value = op.Transpose(value, perm=[axis, *(a for a in range(rank) if a != axis)])
    flat = op.Reshape(value, [1, -1] if axis is None else [0, -1])
    return flat if flat.dtype == np.float32 else op.Cast(flat, to=1)


def batch_axis(graph: Graph, name: str) -> int | None:
    """Which axis of a value counts the images; None where none does, or nobody can say which."""
    shape = inside(graph, name).shape
    images = next((graph[i].shape or () for i in default_input(graph)), ())
    if not shape or not images:
        return None
    axes = [axis for axis, size in enumerate(shape) if size is not None and size == images[0]]
    if isinstance(images[0], int) and images[0] == 1:  # any axis of 1 does as well, as does none
        return 0 if axes[:1] == [0] else None
    return axes[0] if len(axes) == 1 or axes[:1] == [0] else None
