"""The layers that an answer is made of: all levels of a detector's pyramid, of others the last features.

P3 -> conv -> classes -.          A level is the last feature map that all branches of one grid begin at:
  `-> conv -> boxes   -|          not the inside of a branch, and not what decodes boxes from its numbers.
P4 -> conv -> classes -+-> concat -> answer
  `-> conv -> boxes   -'
"""

from __future__ import annotations

from collections.abc import Sequence

from onnx import NodeProto

from ..graph.graph import Graph
from ..operators.traits import traits_of
from .anatomy import bottlenecks, seeing
from .layers import asks, last_features
from .maps import is_map, view_of

MAX_ENDS = 64  # branches that are looked at; no detector has as many
Grid = tuple[object, ...]


def levels(graph: Graph, parts: Sequence[str], beside: Sequence[str] = ()) -> list[str]:
    """The layers that a map of some parts of an answer is by default made of, the finest first.

    What is `beside` them in the answer, boxes beside their scores, tells where branches begin. Raises
    BadRequest where there is none.
    """
    of_parts = _ends(graph, parts)
    ends = list(dict.fromkeys([*of_parts, *_ends(graph, [*parts, *beside])]))
    if len(ends) < 2 or not of_parts:
        return _in_one_row(graph, parts[0]) or [last_features(graph, parts[0])]
    ways = {end: [name for name in bottlenecks(graph, end) if is_map(graph, name)] for end in ends}
    grids = {end: _grid(graph, end) for end in ends}
    found: dict[str, Grid] = {}
    for end in of_parts:
        alike = [other for other in ends if other != end and grids[other] == grids[end]]
        own = [n for n in ways[end] if n != end]
        shared = [
            n for n in own if all(n in ways[other] for other in alike) and _grid(graph, n) == grids[end]
        ]
        for name in (shared if alike and shared else own)[-1:]:
            found[name] = _grid(graph, name)
    return sorted(found, key=lambda name: -_size(found[name])) or [last_features(graph, parts[0])]


def _in_one_row(graph: Graph, score: str) -> list[str]:
    """The maps of several grids whose tokens stand in one row that all passes through, the finest first."""
    for name in reversed(bottlenecks(graph, score)):
        node = graph.producer(name)
        if node is None or traits_of(node).moves != "joins" or is_map(graph, name):
            continue
        grids = {_laid_out(graph, i): _grid(graph, i) for i in graph.reads(node) if is_map(graph, i)}
        if len(set(grids.values())) == len(node.input) > 1:
            return sorted(grids, key=lambda level: -_size(grids[level]))
    return []


def _laid_out(graph: Graph, name: str) -> str:
    """The map whose cells a value has in another order of its axes."""
    node = graph.producer(name)
    while node is not None and (traits_of(node).reshapes or traits_of(node).moves == "axes"):
        if not is_map(graph, node.input[0]):
            break
        name = node.input[0]
        node = graph.producer(name)
    return name


def has_cells(graph: Graph, parts: Sequence[str]) -> bool:
    """Whether values have numbers for each cell of some maps, side by side: what they say of a cell is about
    its place, whatever the middle of what the cell sees is.
    """
    return bool(_ends(graph, parts))


def ranked(graph: Graph, parts: Sequence[str]) -> bool:
    """Whether values hold what was found, or ranked: another picture has others in their places."""
    depending = seeing(graph)
    nodes = graph.ancestors(list(parts))
    return any(traits_of(n).finds and not depending.isdisjoint(graph.reads(n)) for n in nodes)


def _ends(graph: Graph, parts: Sequence[str]) -> list[str]:
    """What the last layers with weights before some values give, as far as these lie in the picture.

    None where attention or a recurrent layer stands behind them, or one behind another, as in residual
    blocks: what comes of these has no levels.
    """
    wanted, found, depending = set(parts), list[str](), seeing(graph)
    for node in reversed(graph.ancestors(list(parts))):
        if wanted.isdisjoint(node.output) or depending.isdisjoint(node.output):
            continue
        traits = traits_of(node)
        if asks(node, depending) or traits.recurs:
            return []
        if traits.weights and _lies(graph, node):
            found.append(node.output[0])
        else:
            wanted.update(graph.reads(node))
        if len(found) > MAX_ENDS:
            return []
    behind = {o for end in found for n in graph.ancestors([end]) for o in n.output if o != end}
    return found if behind.isdisjoint(found) else []


def _lies(graph: Graph, node: NodeProto) -> bool:
    """Whether a layer makes a map of a map: what decodes boxes of all levels side by side does not."""
    return is_map(graph, node.output[0]) and is_map(graph, node.input[0])


def _grid(graph: Graph, name: str) -> Grid:
    view, shape = view_of(graph, name), graph[name].shape or ()
    return tuple(view.grid or (shape[axis] for axis in view.perm[2:]))


def _size(grid: Grid) -> int:
    size = 1
    for side in grid:
        size *= side if isinstance(side, int) else 1
    return size
