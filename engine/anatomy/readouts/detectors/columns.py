"""Where the columns of an output come from: what is joined to make one, followed back through the graph.

    boxes * strides (N, 4, P), Sigmoid(classes) (N, 80, P) -> Concat -> Transpose -> output (N, P, 84)

Column 0 of that output is channel 0 of the product, column 4 channel 0 of the Sigmoid.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from onnx import NodeProto

from ....graph.graph import Graph
from ....graph.sizes import Dim
from ....graph.types import is_float
from ....operators.traits import traits_of
from ...anatomy import seeing
from ...intervals import interval

MAX_COLUMNS = 4096


class Column(NamedTuple):
    """One place along an axis of a value."""

    value: str
    axis: int
    place: int


def columns(graph: Graph, name: str, axis: int) -> list[Column]:
    """Of each place along an axis the value that computes it, behind all that only moves or joins."""
    size = (graph[name].shape or ())[axis]
    if not isinstance(size, int) or size > MAX_COLUMNS:
        return []
    found: list[Column | None] = [None] * size
    todo = [(Column(name, axis, 0), np.arange(size), np.arange(size))]
    while todo:
        (value, axis, _), indices, places = todo.pop()
        before = list(_before(graph, value, axis, indices))
        for column, inside, chosen in before:
            todo.append((column, inside, places[chosen]))
        for i, place in zip(indices, places, strict=True) if not before else ():
            found[place] = Column(value, axis, int(i))
    return [c for c in found if c is not None]


Step = tuple[Column, np.ndarray, np.ndarray]  # a value and its axis, places in it, and which these were


def _before(graph: Graph, name: str, axis: int, indices: np.ndarray) -> Iterator[Step]:
    """What some places of a value are handed on from; nothing where they are computed."""
    node, every = graph.producer(name), np.arange(len(indices))
    if node is None:
        return
    if node.op_type == "Concat":
        yield from _joined(graph, node, axis, indices)
        return
    found = _moved(graph, node, name, axis, indices)
    if found is not None:
        yield Column(node.input[0], found[0], 0), found[1], every


def _joined(graph: Graph, node: NodeProto, axis: int, indices: np.ndarray) -> Iterator[Step]:
    along = graph.attributes(node)["axis"] % graph[node.output[0]].rank
    if along != axis:  # levels one after the other: all are made alike
        yield Column(node.input[0], axis, 0), indices, np.arange(len(indices))
        return
    start = 0
    sizes = [s for i in node.input if isinstance(s := (graph[i].shape or ())[axis], int)]
    if len(sizes) < len(node.input):
        return
    for name, size in zip(node.input, sizes, strict=True):
        inside = np.flatnonzero((start <= indices) & (indices < start + size))
        if len(inside):
            yield Column(name, axis, 0), indices[inside] - start, inside
        start += size


def _moved(
    graph: Graph, node: NodeProto, name: str, axis: int, indices: np.ndarray
) -> tuple[int, np.ndarray] | None:
    """The axis and places of a node's first input that places of its output are; None where it computes."""
    traits, attributes = traits_of(node), graph.attributes(node)
    shape, out = graph[node.input[0]].shape, graph[name].shape
    if shape is None or out is None:
        return None
    if node.op_type == "Transpose":
        return attributes.get("perm", range(len(shape))[::-1])[axis], indices
    if node.op_type == "Split":
        along = attributes["axis"] % len(shape)
        before = list(node.output[: list(node.output).index(name)])
        known = [s for o in before if isinstance(s := (graph[o].shape or ())[along], int)]
        return (axis, indices + sum(known) * (along == axis)) if len(known) == len(before) else None
    if node.op_type == "GatherElements" and attributes["axis"] % len(shape) != axis:
        return axis, indices
    if node.op_type == "Slice":
        return _sliced(graph, node, axis, indices, len(shape))
    if node.op_type == "Gather" and (chosen := graph[node.input[1]].array) is not None:
        return _gathered(chosen, attributes["axis"] % len(shape), axis, indices, shape)
    if traits.reshapes and traits.elementwise and is_float(graph[name].dtype or np.dtype(np.int64)):
        return axis, indices  # Identity, a cast
    if traits.reshapes:
        kept = _kept(shape, out, axis)
        return None if kept is None else (kept, indices)
    return (axis, indices) if traits.quantises else None


def _sliced(
    graph: Graph, node: NodeProto, axis: int, indices: np.ndarray, rank: int
) -> tuple[int, np.ndarray] | None:
    told = [graph[i].array if i else None for i in node.input[1:]]
    if len(told) < 2 or told[0] is None or told[1] is None:
        return None
    starts = told[0].ravel()
    axes = np.arange(len(starts)) if len(told) < 3 or told[2] is None else told[2].ravel() % rank
    steps = np.ones(len(starts), int) if len(told) < 4 or told[3] is None else told[3].ravel()
    size = (graph[node.input[0]].shape or ())[axis]
    for along, start, step in zip(axes, starts, steps, strict=True):
        if along == axis:
            if not isinstance(size, int) or step < 1:
                return None
            return axis, min(start + size if start < 0 else start, size) + indices * step
    return axis, indices


def _gathered(
    chosen: np.ndarray, along: int, axis: int, indices: np.ndarray, shape: Sequence[Dim]
) -> tuple[int, np.ndarray] | None:
    size = shape[along]
    if chosen.ndim == 0:
        return axis + (along <= axis), indices
    if chosen.ndim > 1 or along != axis:
        return (axis, indices) if chosen.ndim == 1 else None
    return (axis, chosen[indices] % size) if isinstance(size, int) else None


def _kept(before: Sequence[Dim], after: Sequence[Dim], axis: int) -> int | None:
    """The axis that a Reshape keeps: the last one of the same size, or with all before it the same."""
    if axis == len(after) - 1 and before and before[-1] == after[-1]:
        return len(before) - 1
    same = list(before[: axis + 1]) == list(after[: axis + 1])
    batch = axis == 1 and len(before) > 1 and before[1] == after[1]
    return axis if same or batch else None


def natures(graph: Graph, found: Sequence[Column]) -> str:
    """A letter for each column: "u", always between 0 and 1; "i", whole numbers; "n", others."""
    letters = {value: _nature(graph, value) for value in {c.value for c in found}}
    return "".join(letters[c.value] for c in found)


def _nature(graph: Graph, name: str) -> str:
    found = sources(graph, name)
    if found and all(_is_whole(graph, n) for n in found):
        return "i"
    return "u" if found and all(interval(graph, n).within(0, 1) for n in found) else "n"


def _is_whole(graph: Graph, name: str) -> bool:
    dtype = graph[name].dtype
    return dtype is not None and not is_float(dtype)


def sources(graph: Graph, name: str) -> list[str]:
    """The values that some numbers are taken from: what is behind all that picks, moves, joins or casts."""
    depending, found, todo, seen = seeing(graph), [], [name], set()
    while todo:
        name = todo.pop()
        if name in seen or name not in depending:
            continue
        seen.add(name)
        node = graph.producer(name)
        inputs = [] if node is None else _cut(graph, node, name) or _handed(node, name)
        todo += inputs
        if not inputs:
            found.append(name)
    return sorted(found)


def _cut(graph: Graph, node: NodeProto, name: str) -> list[str]:
    """Of what is cut out of values that were joined, those that it is of; nothing for other nodes."""
    before, after = graph[node.input[0]].shape if node.input else None, graph[name].shape
    if traits_of(node).moves != "selects" or before is None or after is None or len(before) != len(after):
        return []
    axes = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b and isinstance(b, int)]
    found = {c.value for c in columns(graph, name, axes[0])} if len(axes) == 1 else set()
    return sorted(found - {name})


def _handed(node: NodeProto, name: str) -> list[str]:
    """The inputs whose elements are those of an output: some of them, or in another order."""
    traits = traits_of(node)
    if traits.moves == "chooses":
        return list(node.input[1:])
    if traits.moves == "joins":
        return list(node.input)
    if node.op_type == "ScatterND":
        return [node.input[0], node.input[2]]
    ranked = traits.finds == "ranks" and name == node.output[0]
    return list(node.input[:1]) if ranked or traits.moves or traits.reshapes or traits.quantises else []


def maker(graph: Graph, column: Column) -> NodeProto | None:
    """The node that computes a column, behind products with what is the same for all pictures."""
    depending = seeing(graph)
    while (node := graph.producer(column.value)) is not None:
        reads = [i for i in node.input if i in depending]
        if not _is_product(node) or len(reads) != 1 or halved(graph, node):
            return node
        found = columns(graph, reads[0], column.axis)
        if column.place >= len(found):
            return node
        column = found[column.place]
    return None


def _is_product(node: NodeProto) -> bool:
    return traits_of(node).elementwise == "together" and traits_of(node).linear == "product"


def halved(graph: Graph, node: NodeProto) -> bool:
    """Whether a node takes the half of a value: times 0.5, or divided by 2."""
    factors = [graph[i].array for i in node.input if i in graph.constants]
    return _is_product(node) and any(f is not None and f.size == 1 and f.item() in (0.5, 2) for f in factors)
