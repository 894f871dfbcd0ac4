"""If with a condition that is known: the branch that is taken, in place of the node; loops that never end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper

from ..errors import BadModel
from ..graph.graph import Graph, Tensor
from ..graph.nodes import attributes, bodies, describe, ours, renamed
from ..graph.types import array_of


def straightened(
    nodes: Iterable[NodeProto], graph: Graph, known: set[str], taken: set[str]
) -> Iterator[NodeProto]:
    """The nodes in order, with the branch that is taken in place of each If on one of the `known` constants.

    Lazy: a condition is looked at when the nodes before it are in the graph. Values of a branch keep
    their names unless these are `taken`, which grows with them: two branches may use the same names.
    """
    for node in nodes:
        branch = _taken_branch(node, graph, known)
        if branch is None:
            yield node
        else:
            yield from straightened(_spliced(node, branch, graph, taken), graph, known, taken)


def _taken_branch(node: NodeProto, graph: Graph, known: set[str]) -> GraphProto | None:
    if node.op_type != "If" or node.domain not in ("", "ai.onnx") or not known.intersection(node.input):
        return None
    condition = Tensor(graph, node.input[0]).array
    if condition is None or condition.size != 1:
        return None
    wanted = "then_branch" if condition.item() else "else_branch"
    return next((a.g for a in node.attribute if a.name == wanted), None)


def _spliced(node: NodeProto, branch: GraphProto, graph: Graph, taken: set[str]) -> Iterator[NodeProto]:
    """The nodes of a branch under names that nothing else has, and its outputs under those of the If."""
    new = {}
    for name in (*(t.name for t in branch.initializer), *(o for n in branch.node for o in n.output if o)):
        new[name] = ours(name, taken) if name in taken or name in graph else name
        taken.add(new[name])
    for tensor in branch.initializer:
        yield helper.make_node("Constant", [], [new[tensor.name]], value=tensor)
    for inner in branch.node:
        yield renamed(inner, new)
    for inside, outside in zip(branch.output, node.output, strict=False):
        if outside:
            source = new.get(inside.name, inside.name)
            yield helper.make_node("Identity", [source], [outside], f"{node.name or outside}/{inside.name}")


def check_ends(node: NodeProto, graph: Graph) -> None:
    """Raises BadModel for a Loop that would run for ever: no number of rounds, and nothing that ends it."""
    if node.op_type != "Loop" or node.domain or not node.input[:2]:
        return
    trips, start = (Tensor(graph, i).array if i else None for i in (*node.input, "")[:2])
    bounded = node.input[0] and (trips is None or trips.item() < np.iinfo(np.int64).max)
    begins = not (node.input[1:2] and node.input[1]) or (start is not None and start.item())
    (body,) = bodies(node)
    if not bounded and begins and _stays_true(body, graph):
        raise BadModel(
            f"{describe(node)} never ends: it has no number of rounds, and nothing changes its condition"
        )


def _stays_true(body: GraphProto, graph: Graph) -> bool:
    """Whether what a round says of the next one is what it was told, or a constant that is true."""
    made = {o: n for n in body.node for o in n.output}
    name = body.output[0].name
    while name in made and made[name].op_type == "Identity":
        name = made[name].input[0]
    constants = {t.name: t for t in body.initializer} | graph.constants
    if name in made:
        value = attributes(made[name]).get("value")
        return isinstance(value, TensorProto) and bool(array_of(value).all())
    return name == body.input[1].name or (name in constants and bool(array_of(constants[name]).all()))
