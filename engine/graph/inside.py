"""The types of what nodes with graphs inside them give, of which ONNX infers little."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from onnx import GraphProto, NodeProto, TensorProto, TypeProto, helper

from ..errors import BadModel
from .nodes import attributes, bodies
from .types import common, dtype_of, of_rank, shape_of, stacked, without

Graph = Any  # the Dataflow that asks


def followed_inside(graph: Graph, node: NodeProto) -> dict[str, TypeProto]:
    """The types of what an If or a Loop gives, as far as they are the same in both branches or in all rounds.

    Values that have another rank in each branch are noted in `graph.of_any_rank`.
    """
    found = _of_branches(graph, node) if node.op_type == "If" else _of_rounds(graph, node)
    return {name: type_ for name, type_ in found.items() if dtype_of(type_) is not None}


def _of_branches(graph: Graph, node: NodeProto) -> dict[str, TypeProto]:
    sides = [_made(graph, body, {}) for body in bodies(node)]
    both = list(zip(node.output, *sides, strict=False))
    found = {name: common(*types) for name, *types in both}
    ranked = {name for name, *types in both if all(map(of_rank, types))}
    graph.of_any_rank.update(name for name in ranked if shape_of(found[name]) is None)
    return found


def _of_rounds(graph: Graph, node: NodeProto) -> dict[str, TypeProto]:
    (body,) = bodies(node)
    begun = zip(node.input[2:], body.input[2:], strict=False)
    states = [graph.types.get(start, v.type) for start, v in begun]
    told = {v.name: of_rank(v.type) or v.type for v in body.input[:2]}
    while True:  # what a round changes of a state is not known, nor what follows from it
        given = {v.name: t for v, t in zip(body.input[2:], states, strict=False)}
        made = _made(graph, body, told | given)[1:]
        kept = [common(*both) for both in zip(states, made, strict=False)]
        if kept == states:
            return dict(zip(node.output, (*states, *map(stacked, made[len(states) :])), strict=False))
        states = kept


def _made(graph: Graph, body: GraphProto, given: Mapping[str, TypeProto]) -> list[TypeProto]:
    """The types of what a graph inside a node makes: as follows from what it reads, or else as it says.

    A size that only has a name inside has none here.
    """
    inside = graph.copy()
    inside.types.update(given)
    for tensor in body.initializer:
        inside.types[tensor.name] = helper.make_tensor_type_proto(tensor.data_type, list(tensor.dims))
        inside.constants[tensor.name] = tensor
    with suppress(BadModel):  # a state may be of another rank in the first round than afterwards
        for node in body.node:
            inside.add(node)
            if isinstance(value := attributes(node).get("value"), TensorProto):
                inside.constants[node.output[0]] = value
    found = [inside.types.get(o.name, TypeProto()) for o in body.output]
    return [
        without(made, inside.made_up - graph.made_up)
        if shape_of(made) is not None
        else of_rank(o.type) or o.type
        for made, o in zip(found, body.output, strict=True)
    ]
