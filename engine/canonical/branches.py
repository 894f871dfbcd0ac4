"""If with a condition that is known: the branch that is taken, in place of the node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from onnx import GraphProto, NodeProto, helper

from ..graph.graph import Graph, Tensor
from ..graph.nodes import ours, renamed


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
