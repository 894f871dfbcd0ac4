"""A network from which tokens can be removed: a copy of its graph with one more input that says which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from onnx import helper

from ...anatomy.anatomy import bottlenecks
from ...anatomy.attention import Attention
from ...anatomy.layers import asks_patches
from ...anatomy.maps import View, views
from ...errors import BadRequest
from ...graph.graph import Graph, Tensor, op
from ...graph.nodes import OURS, renamed
from .chain import placed
from .written import written_out


class Removal(NamedTuple):
    """A `graph` whose input `removed` (N, h * w), 1 for a token that is not there, takes tokens out of it: of
    the `layer` before the first attention, whose `grid` of h x w cells they are. They are `masked` where
    attention is all that reads them, and else the mean of the tokens stands in their place.
    """

    graph: Graph
    removed: str
    layer: str
    grid: tuple[int, int]
    masked: bool


def removal(graph: Graph, score: str, images: str, method: str) -> Removal:
    """The network of a graph, from which tokens can be removed. Raises BadRequest where none can be."""
    names, graph = set(graph.value_names()), written_out(graph)
    found, last = placed(graph, score, method)
    first = next(a for a in found if a.seen)
    assert first.keys is not None
    assert first.keys.cells is not None
    layer, view = _stream(graph, score, found[0], first.keys.cells[:2], names, method)
    assert view.grid is not None
    rows, columns = view.grid
    alike = all(a.own and a.keys == first.keys for a in found if a is not last)
    is_asked = (asks_patches(graph, score) or not last.own) and found[-1] is last
    masked = alike and is_asked and last.keys == first.keys and first.keys.windows == 1
    shape = graph[images].shape or (None,)
    name = graph.unused("removed")
    removed = graph.input(name, np.float32, [shape[0], rows * columns])
    if masked:
        for attention in found:
            _instead(graph, attention.weights, lambda a, of=attention: _unasked(a, of, removed))
    else:
        _instead(graph, layer, lambda x: _averaged(x, view, removed))
    return Removal(graph, name, layer, (rows, columns), masked)


def _stream(
    graph: Graph, score: str, first: Attention, grid: tuple[int, int], names: set[str], method: str
) -> tuple[str, View]:
    """The last value that everything passes through before the first attention, with tokens on a grid."""
    seen, before = views(graph), {o for n in graph.ancestors([first.asked]) for o in n.output}
    for name in reversed(bottlenecks(graph, score)):
        view = seen.get(name)
        if view is None or name not in before or name not in names or name.startswith(OURS):
            continue
        if view.grid == grid and view.shape is None and view.perm[0] == 0:
            return name, view
    raise BadRequest(
        f"{method} finds no tokens to remove: before {first.weights!r} none pass in one value that all "
        "the rest is made of; take occlusion"
    )


def _instead(graph: Graph, name: str, make: Callable[[Tensor], Tensor]) -> None:
    """Put what is made of a value in its place, for all that reads it."""
    node = graph.producer(name)
    assert node is not None
    before = graph.know(graph.fresh("before"), graph.types[name])
    count = len(graph.nodes)
    made = make(before)
    body = graph.nodes[count:]
    del graph.nodes[count:]
    end = helper.make_node("Identity", [made.name], [name])
    graph.extend(node, [renamed(node, {name: before.name}), *body, end], {})


def _unasked(weights: Tensor, attention: Attention, removed: Tensor) -> Tensor:
    """Weights with none for the keys that are removed, the others growing to 1: the softmax without them."""
    assert attention.queries is not None
    assert attention.keys is not None
    assert attention.keys.cells is not None
    count = attention.keys.count
    there = _at(op.Sub(1, removed), attention.keys.cells[2].tolist(), count, 1)
    by_head = op.Reshape(weights, [-1, attention.heads, attention.queries.count, count])
    left = by_head * op.Unsqueeze(there, [1, 2])
    return op.Div(left, op.Max(left.sum([3]), np.float32(1e-30))).like(weights)


def _averaged(x: Tensor, view: View, removed: Tensor) -> Tensor:
    """A value with the mean of its cells in the place of those that are removed."""
    assert view.grid is not None
    rows, columns = view.grid
    back = np.argsort(view.perm).tolist()
    cells = view(x)
    mean = op.Reshape(cells.mean([2, 3]), [0, 0, *[1] * (len(view.perm) - 2)])
    if len(view.perm) == 4:
        gone = op.Reshape(removed, [-1, 1, rows, columns])
    else:
        count = (x.shape or ())[view.perm[2]]
        index = range(rows * columns) if view.index is None else view.index
        assert isinstance(count, int)
        gone = op.Unsqueeze(_at(removed, list(index), count, 0), [1])
    gone, mean = (op.Transpose(t, perm=back) for t in (gone, mean))
    return op.Where(gone > 0.5, mean, x)


def _at(values: Tensor, tokens: Sequence[int], count: int, other: float) -> Tensor:
    """Of cells (N, h * w) what their tokens have, (N, count), and `other` for tokens in none of them."""
    cell = {token: i for i, token in enumerate(tokens)}
    padded = op.Pad(values, [0, 0, 0, 1], np.float32(other))
    return op.Gather(padded, [cell.get(t, len(tokens)) for t in range(count)], axis=1)
