"""The vectors that a Jacobian is multiplied by: inputs of the graph, one, or several for one forward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from onnx import NodeProto, TypeProto, helper

from ..errors import BadRequest
from ..graph.graph import Graph, Tensor
from ..graph.sizes import Dim
from ..graph.types import shape_of
from .broadcasting import zeros_like

Linear = Callable[
    [Mapping[str, Tensor]], Sequence[Tensor | None]
]  # vectors, by the name of what they belong to
MAX_COUNT = 2**31  # seeds; that many fit nowhere


class Ends(NamedTuple):
    """The values at one end of a linear map: how they are called, and what stands before that in names."""

    prefix: str
    names: Sequence[str]
    values: Sequence[Tensor]


def check_count(count: int | None) -> None:
    """Raises BadRequest for a number of seeds that is none."""
    if count is not None and not 0 < count < MAX_COUNT:
        most = f"1 to {MAX_COUNT - 1:,}"
        raise BadRequest(f"{count} seeds: say how many vectors there are in one pass, {most}")


def append_map(graph: Graph, start: Ends, end: Ends, linear: Linear, count: int | None = None) -> list[str]:
    """Append a linear map to the graph, with an input for each value at its start and an output at its end.

    With a `count` these have one axis more, in front, of that many vectors, and what does not depend on them
    is computed once for all. Where the map gives None there are zeros. Returns the names of the outputs.
    """
    check_count(count)
    names = [graph.unused(f"{start.prefix}/{name}") for name in start.names]
    types = [graph.types[value.name] for value in start.values]
    if count is None:
        vectors = [graph.declare_input(n, t) for n, t in zip(names, types, strict=True)]
    else:
        vectors = [inner(graph, start.prefix, t) for t in types]
    given = {value.name: vector for value, vector in zip(start.values, vectors, strict=True)}
    found = [
        zeros_like(value) if made is None else made
        for value, made in zip(end.values, linear(given), strict=True)
    ]
    if count is not None:
        stacks = [graph.declare_input(n, _stacked(t, count)) for n, t in zip(names, types, strict=True)]
        found = over(graph, vectors, stacks, found)
    return [
        graph.output(value, graph.unused(f"{end.prefix}/{name}")).name
        for name, value in zip(end.names, found, strict=True)
    ]


def over(
    graph: Graph, vectors: Sequence[Tensor], stacks: Sequence[Tensor], results: Sequence[Tensor]
) -> list[Tensor]:
    """What is made of vectors, made of each of the stacks (K, ...) of them: results of shape (K, ...).

    It is a Scan over the nodes that depend on the vectors; all others are computed once. The number of nodes
    does not grow with K.
    """
    ends = [graph.fresh("each") for _ in results]
    nodes = _depending(graph, vectors, results)
    nodes += [helper.make_node("Identity", [r.name], [e]) for r, e in zip(results, ends, strict=True)]
    body = helper.make_graph(
        nodes,
        "each",
        [helper.make_value_info(v.name, graph.types[v.name]) for v in vectors],
        [helper.make_value_info(e, graph.types[r.name]) for e, r in zip(ends, results, strict=True)],
    )
    outputs = [graph.fresh("Scan") for _ in results]
    count = (stacks[0].shape or (None,))[0]
    types = [_stacked(graph.types[r.name], count) for r in results]
    scan = helper.make_node("Scan", [s.name for s in stacks], outputs, body=body, num_scan_inputs=len(stacks))
    graph.add(scan, dict(zip(outputs, types, strict=True)))
    return [Tensor(graph, name) for name in outputs]


def inner(graph: Graph, prefix: str, type_: TypeProto) -> Tensor:
    """A vector that is an input of the graph inside a Scan, and none of this one."""
    vector = graph.declare_input(graph.fresh(prefix), type_)
    graph.inputs.remove(vector.name)
    return vector


def _stacked(type_: TypeProto, count: Dim) -> TypeProto:
    """The type of so many values of a type, along a first axis."""
    shape = shape_of(type_)
    return helper.make_tensor_type_proto(
        type_.tensor_type.elem_type, None if shape is None else [count, *shape]
    )


def _depending(graph: Graph, vectors: Sequence[Tensor], results: Sequence[Tensor]) -> list[NodeProto]:
    """The nodes between the vectors and the results, in order."""
    reached, nodes = {v.name for v in vectors}, []
    for node in graph.ancestors([r.name for r in results]):
        if not reached.isdisjoint(graph.reads(node)):
            reached.update(filter(None, node.output))
            nodes.append(node)
    return nodes
