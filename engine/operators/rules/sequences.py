"""Sequences of tensors, as PyTorch writes lists: the gradient of one is a sequence of as many gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...graph.graph import Tensor, op


def is_sequence(x: Tensor) -> bool:
    """True for a value that is a sequence of tensors."""
    type_ = x.graph.types.get(x.name)
    return type_ is not None and type_.HasField("sequence_type")


def is_tensor(x: Tensor) -> bool:
    """False for a sequence, and for what may be missing: its gradient is that of what it holds."""
    type_ = x.graph.types.get(x.name)
    return type_ is None or type_.HasField("tensor_type")


def mapped(function: Callable[..., Tensor], *sequences: Tensor) -> Tensor:
    """The sequence of what a function makes of the elements of sequences."""
    graph = sequences[0].graph
    inner = graph.inner()
    types = [graph.types[s.name].sequence_type.elem_type for s in sequences]
    elements = [inner.declare_input(inner.fresh("element"), type_) for type_ in types]
    return op.SequenceMap(*sequences, body=inner.closed(graph, [function(*elements)]))


def _from_front(position: Tensor, sequence: Tensor) -> Tensor:
    """A place in a sequence, those below 0 no longer counted from its end."""
    length = op.CastLike(op.SequenceLength(sequence), position)
    return op.Where(op.Less(position, 0), op.Add(position, length), position)


def at(g: Tensor, y: Tensor, sequence: Tensor, position: Tensor) -> tuple[Tensor, None]:
    """Zeros for all elements but the one that was read."""
    zeros = mapped(lambda x: op.Expand(x.graph.constant(np.zeros((), x.dtype)), x.dims), sequence)
    place = _from_front(position, sequence)
    return op.SequenceInsert(op.SequenceErase(zeros, place), g, place), None


def insert(
    g: Tensor, y: Tensor, sequence: Tensor, x: Tensor, position: Tensor | None
) -> tuple[Tensor, Tensor, None]:
    """The new element's gradient is taken out of the others'; without a position it is the last."""
    if position is None:
        return op.SequenceErase(g), op.SequenceAt(g, -1), None
    place = _from_front(position, sequence)  # places are counted without the new one
    return op.SequenceErase(g, place), op.SequenceAt(g, place), None


def erase(g: Tensor, y: Tensor, sequence: Tensor, position: Tensor | None) -> tuple[Tensor, None]:
    """Zeros where the element was."""
    lost = op.SequenceAt(sequence, -1 if position is None else position)
    zeros = op.Expand(g.graph.constant(np.zeros((), lost.dtype)), lost.dims)
    if position is None:
        return op.SequenceInsert(g, zeros), None
    return op.SequenceInsert(g, zeros, _from_front(position, sequence)), None


def concat(g: Tensor, y: Tensor, sequence: Tensor, axis: int, new_axis: int) -> Tensor:
    """Cut the gradient into the pieces that were joined."""
    if new_axis:
        return op.SplitToSequence(g, axis=axis, keepdims=0)
    sizes = mapped(lambda x: op.Gather(op.Shape(x), [axis], axis=0), sequence)
    return op.SplitToSequence(g, op.ConcatFromSequence(sizes, axis=0), axis=axis)


def split(g: Tensor, y: Tensor, x: Tensor, split: Tensor | None, axis: int, keepdims: int) -> Any:
    """Join the pieces again."""
    return op.ConcatFromSequence(g, axis=axis, new_axis=int(split is None and not keepdims)), None


RULES = {
    "SequenceAt": at,
    "SequenceInsert": insert,
    "SequenceErase": erase,
    "SequenceConstruct": lambda g, y, *xs: [op.SequenceAt(g, k) for k in range(len(xs))],
    "ConcatFromSequence": concat,
    "SplitToSequence": split,
}
