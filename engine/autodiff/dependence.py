"""Which values of a graph depend on which through what has a gradient."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto

from ..graph.graph import Graph, Tensor
from ..graph.nodes import around, bodies, captured, key_of, reads, schema_of
from ..graph.types import is_float
from ..operators.bodies import quantised
from ..operators.rules import VJP, quantisation
from ..operators.traits import has_gradient, traits_of
from .expansion import shared_type
from .steps import steps

QUANTISING = {*quantisation.RULES, *quantised.BODIES}
Rules = Mapping[str, Any]  # a rule each; or, for what a node is made of, a table of its own


def rule_for(table: Rules, node: NodeProto) -> Any:
    """The rule of a node: by its name, by what it computes, or by its operator; None where there is none.

    A node that is called like some operator is not meant by that operator's rule.
    """
    own = (table[n] for n in (node.name, *node.output[:1]) if n in table and n not in VJP)
    return next(own, None) or table.get(key_of(node))


def depending(graph: Graph, nodes: Iterable[NodeProto], sources: set[str], table: Rules = VJP) -> set[str]:
    """Every value that depends on the sources through differentiable inputs, the sources included."""
    reached = set(sources)
    for node in nodes:
        made = reached_outputs(graph, node, reached, table)
        reached.update(o for o in made if o and carries(graph, node, o, reached))
    return reached


def leading(
    graph: Graph, nodes: Sequence[NodeProto], ends: Iterable[str], stops: Collection[str] = ()
) -> set[str]:
    """Every value that leads to the ends through inputs that have a gradient, the ends included.

    Through nodes that compute one of the `stops` it is all inputs, but for what only decides which graph
    inside a node is run, or how often.
    """
    found = set(ends)
    for node in reversed(nodes):
        if not found.isdisjoint(node.output):
            inputs = node.input if node.output[0] in stops else open_inputs(graph, node, VJP)
            if bodies(node):
                inputs = [i for i in inputs if i and graph[i].dtype != np.bool_]
            found.update(filter(None, (*inputs, *captured(node))))
    return found


def reached_outputs(graph: Graph, node: NodeProto, reached: set[str], table: Rules = VJP) -> set[str]:
    """Those outputs of a node that depend on what is reached of what it reads and has a gradient."""
    if reached.isdisjoint(reads(node)):
        return set()
    if not traits_of(node).runs:
        found = not reached.isdisjoint(open_inputs(graph, node, table)) or reached_inside(
            graph, node, reached, table
        )
        return set(node.output) if found else set()
    found = set[str]()
    for step in steps(node):  # types in it are not known: what may be a real number is one
        sources = reached.intersection(around(step.body))
        pairs = zip((*step.starts, *step.sequences), (*step.before, *step.elements), strict=False)
        sources.update(inside for outside, inside in pairs if outside in reached)
        states = list(zip(step.before, step.after, strict=False))
        after = depending_in_turn(graph, step.body.node, sources, states, table)
        made = zip(node.output, (*step.after, *step.made), strict=False)
        found.update(outside for outside, inside in made if inside in after)
    return found


def depending_in_turn(
    graph: Graph,
    nodes: Sequence[NodeProto],
    sources: set[str],
    states: Sequence[tuple[str, str]],
    table: Rules = VJP,
) -> set[str]:
    """As `depending`, of a step that is repeated, with the name of each state before and after it."""
    while True:
        reached = depending(graph, nodes, sources, table)
        more = {before for before, after in states if after in reached} - reached
        if not more:
            return reached
        sources = reached | more


def reached_inside(graph: Graph, node: NodeProto, reached: set[str], table: Rules) -> list[str]:
    """Those of the reached values that lead to an output of a graph inside the node, which captures them."""
    names = [name for name in captured(node) if name in reached]
    return [n for n in names if any(_leads_through(graph, b, n, table) for b in bodies(node))]


def _leads_through(graph: Graph, body: GraphProto, name: str, table: Rules) -> bool:
    """True where a graph inside a node makes an output of a value around it. Types in it are not known."""
    after = depending(graph, body.node, {name}, table)
    return any(o.name in after for o in body.output)


def open_inputs(graph: Graph, node: NodeProto, table: Rules) -> list[str]:
    """A node's inputs, "" in place of those that have no gradient whatever they are."""
    schema = schema_of(node.op_type, graph.opsets.get(node.domain, 1), node.domain)
    # The specification calls integers non-differentiable; here they may stand for real numbers.
    # A variant may lead through what the specification calls flat, such as Round.
    told = key_of(node) in QUANTISING or table.get(key_of(node)) is not VJP.get(key_of(node))
    if schema is None or told or not schema.inputs:
        return list(node.input)
    return [i if has_gradient(schema, k) else "" for k, i in enumerate(node.input)]


def carries(graph: Graph, node: NodeProto, name: str, reached: set[str]) -> bool:
    """True for an output that a gradient goes through: floats, and integers that stand for reals.

    Those are what quantising operators make, and what is made of them without a cast.
    """
    dtype = Tensor(graph, name).dtype
    if dtype is None or is_float(dtype):
        return True
    moves_reached = any(i in reached and _is_whole(graph, i) for i in reads(node))
    return "int" in dtype.name and (key_of(node) in QUANTISING or (moves_reached and node.op_type != "Shape"))


def mixes_wholes(graph: Graph, node: NodeProto, reached: set[str]) -> bool:
    """True for an operator that makes integers of integers that stand for reals, and is not told of them."""
    if key_of(node) in QUANTISING or not _is_whole(graph, node.output[0]):
        return False
    return any(node.input[k] in reached for k in shared_type(graph, node))


def _is_whole(graph: Graph, name: str) -> bool:
    dtype = Tensor(graph, name).dtype
    return dtype is not None and not is_float(dtype)
