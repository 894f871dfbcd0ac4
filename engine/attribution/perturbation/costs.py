"""What a network costs to run, and where to cut it so that a change of a part of the image costs least."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from onnx import NodeProto

from ...anatomy.anatomy import bottlenecks
from ...graph.graph import Graph
from ...graph.nodes import attributes
from ...operators.traits import traits_of
from .spans import Range, changed, is_position_by_position, spans

# In multiplications, as they were measured: writing an element, and carrying one across a cut.
WRITING, CARRYING = 8, 40


def multiplications(graph: Graph, node: NodeProto) -> float:
    """How many multiplications, or comparisons, a node takes for one image; 0 where sizes are open."""
    shape = _sizes(graph, node.output[0])
    name, given = node.op_type, [_sizes(graph, i) if i else () for i in node.input]
    if name == "Conv":
        return float(np.prod(given[1]) * np.prod(shape[2:]))
    if name == "ConvTranspose":
        return float(np.prod(given[1]) * np.prod(given[0][2:]))
    if traits_of(node).mixes == "last" and given[0]:
        inner = given[0][0 if attributes(node).get("transA") else -1]
        return float(np.prod(shape) * inner)
    window = attributes(node).get("kernel_shape") or (1,)
    return float(np.prod(shape) * np.prod(window))


def _sizes(graph: Graph, name: str) -> tuple[int, ...]:
    """A value's shape for one image; nothing where it is not known."""
    return tuple(d if isinstance(d, int) else 1 for d in graph[name].shape or (0,))


def cost(graph: Graph, node: NodeProto) -> float:
    """The time a node takes for one image, in multiplications."""
    return multiplications(graph, node) + WRITING * float(np.prod(_sizes(graph, node.output[0])))


def total_cost(graph: Graph, score: str) -> float:
    """The time that a score takes for one image, in multiplications."""
    return sum(cost(graph, n) for n in graph.ancestors([score]) if n.output)


def cut_points(graph: Graph, start: str, score: str) -> list[str]:
    """The float32 maps behind `start` that everything passes through and that have spans, in order.

    Not what the next operator takes position by position: behind that is as good a place, and the runtime
    computes both in one.
    """
    way = graph.ancestors([score])
    seen = spans(graph, start, way)
    found: list[str] = []
    for name in bottlenecks(graph, score):
        if name not in seen or name == start or graph[name].dtype != np.float32:
            continue
        node = graph.producer(name)
        if found and node is not None and is_position_by_position(node) and found[-1] == node.input[0]:
            found.pop()
        found.append(name)
    return found


def chains(
    graph: Graph, start: str, score: str, changes: Sequence[Range], most: int, share: float = 1
) -> list[tuple[float, list[str]]]:
    """Where to cut a network between the map `start` and the score, for a change of a part of that map.

    `changes` are, down and across, the first positions that change and those where that ends, each for
    some places; every pairing of one down and one across counts the same. Gives for each number of cuts up
    to `most`, where one more pays, the values to cut at, `start` first, and the estimated cost of one place
    beside that of the whole network.
    """
    way = [n for n in graph.ancestors([score]) if n.output]
    at = {start: -1} | {o: i for i, n in enumerate(way) for o in n.output if o}
    seen, cuts = spans(graph, start, way), [start, *cut_points(graph, start, score)]
    costs = [cost(graph, n) for n in way]
    whole = sum(costs)
    ranges = {c: changed(seen[c], changes, 1 if c == start else share) for c in cuts}
    steps = {(i, j): c for i in range(len(cuts)) for j, c in _steps(graph, way, at, costs, cuts, ranges, i)}
    tails = [sum(costs[at[c] + 1 :]) + CARRYING * float(np.prod(_sizes(graph, c))) for c in cuts]
    best: list[dict[int, tuple[float, list[int]]]] = [{0: (0.0, [0])}]
    found: list[tuple[float, list[str]]] = []
    for _ in range(most):
        longer: dict[int, tuple[float, list[int]]] = {}
        for (i, j), step in steps.items():
            if i in best[-1] and (j not in longer or best[-1][i][0] + step < longer[j][0]):
                longer[j] = best[-1][i][0] + step, [*best[-1][i][1], j]
        best.append(longer)
        ends = [(total + tails[j], chain) for j, (total, chain) in longer.items()]
        if not ends or (found and min(ends)[0] > 0.98 * found[-1][0] * whole):
            break
        total, chain = min(ends)
        found.append((total / whole, [cuts[i] for i in chain]))
    return found


def _steps(
    graph: Graph,
    way: Sequence[NodeProto],
    at: Mapping[str, int],
    costs: Sequence[float],
    cuts: Sequence[str],
    ranges: Mapping[str, Sequence[Range]],
    i: int,
) -> Iterator[tuple[int, float]]:
    """From one cut to each later one: its number, and what the way there costs on crops."""
    start = cuts[i]
    seen = spans(graph, start, way[at[start] + 1 :])
    channels = _sizes(graph, start)[1]
    for j in range(i + 1, len(cuts)):
        end = cuts[j]
        if end not in seen:
            return
        crops = [s.crop(*r) for s, r in zip(seen[end], ranges[end], strict=True)]
        left_out = [s.size - (high - low).mean() for s, (low, high) in zip(seen[end], crops, strict=True)]

        def share(name: str, left_out: Sequence[float] = left_out) -> float:
            return float(
                np.prod([1 - n / s.step / len(s) for s, n in zip(seen[name], left_out, strict=True)])
            )

        nodes = range(at[start] + 1, at[end] + 1)
        total = sum(costs[k] * share(o) for k in nodes if (o := way[k].output[0]) in seen)
        carried = channels * float(np.prod([s.size - n for s, n in zip(seen[end], left_out, strict=True)]))
        yield j, total + CARRYING * carried
