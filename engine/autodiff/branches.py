"""The gradient through an If: an If on the same condition, of the gradients of its branches."""

from __future__ import annotations

from onnx import AttributeProto, NodeProto

from ..graph.graph import Graph, Tensor
from ..graph.nodes import around
from .dependence import Rules
from .scope import Found, Grads, Walk, adjoint, appended, closed, opened, sum_of
from .steps import steps


def chosen(
    graph: Graph, node: NodeProto, arrived: list[Tensor | None], reached: set[str], table: Rules, walk: Walk
) -> Found:
    """Of what the branches read the gradients, zeros where the branch that is taken does not read it.

    `arrived` are the gradients of the node's outputs. Raises NoRule where an operator inside has none.
    """
    found = []
    for step in steps(node):
        branch, grads = graph.inner(), Grads()
        for made, grad in zip(opened(branch, step.body, {}), arrived, strict=False):
            if grad is not None:
                if made in branch.types:  # of its shape one branch may know more than both
                    branch.refine(grad.name, adjoint(branch.types[made]))
                grads.setdefault(made, []).append(Tensor(branch, grad.name))
        walk(branch, list(branch.nodes), grads, reached.intersection(around(step.body)), table)
        found.append((branch, grads))
    names = [n for n in sorted(reached) if any(grads.get(n) for _, grads in found)]
    if not names:
        return []
    sides = [a.name for a in node.attribute if a.type == AttributeProto.GRAPH]
    bodies = {
        side: closed(branch, graph, [sum_of(branch, grads.get(n), n) for n in names])
        for side, (branch, grads) in zip(sides, found, strict=True)
    }
    return list(zip(names, appended(graph, "If", node.input[:1], names, **bodies), strict=True))
