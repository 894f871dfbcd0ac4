"""The gradient through an If, of its branches' gradients, and through a SequenceMap, of its elements'."""

from __future__ import annotations

from onnx import AttributeProto, NodeProto

from ..errors import NoRule
from ..graph.graph import Graph, Tensor, op
from ..graph.nodes import around
from ..operators.rules.sequences import is_sequence
from .broadcasting import total
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


def mapped(
    graph: Graph, node: NodeProto, arrived: list[Tensor | None], reached: set[str], table: Rules, walk: Walk
) -> Found:
    """Of what a SequenceMap reads the gradients: a SequenceMap over its elements and their gradients.

    What is the same for all elements gets the sum. `arrived` and errors as of `chosen`.
    """
    (step,) = steps(node)
    inner, inputs, given = graph.inner(), dict[str, str](), list[str]()

    def element(name: str) -> str:
        given.append(name)
        return inner.declare_input(inner.fresh("element"), graph.types[name].sequence_type.elem_type).name

    for name, inside in zip(step.sequences, step.elements, strict=True):
        inputs[inside] = element(name) if is_sequence(Tensor(graph, name)) else name
    grads: Grads = {}
    for made, grad in zip(opened(inner, step.body, inputs), arrived, strict=False):
        if grad is not None:
            grads.setdefault(made, []).append(Tensor(inner, element(grad.name)))
    whole = {*around(step.body), *inputs.values()}.intersection(reached)
    parts = [(n, i) for n, i in zip(step.sequences, inputs.values(), strict=True) if n in reached and n != i]
    parts += [(name, name) for name in sorted(whole)]
    walk(inner, list(inner.nodes), grads, {inside for _, inside in parts}, table)
    parts = [(name, inside) for name, inside in parts if grads.get(inside)]
    if any(is_sequence(Tensor(graph, name)) for name in whole):
        raise NoRule("reads another sequence in each step, whose gradients would be sequences of sequences")
    if not parts:
        return []
    body = closed(inner, graph, [total(grads[inside]) for _, inside in parts])
    made = op.SequenceMap(*(Tensor(graph, n) for n in given), body=body, outputs=len(parts))
    found = made if len(parts) > 1 else [made]
    return [
        (name, _added(each) if name == inside else each)
        for (name, inside), each in zip(parts, found, strict=True)
    ]


def _added(sequence: Tensor) -> Tensor:
    """The sum of a sequence's elements."""
    return op.ConcatFromSequence(sequence, axis=0, new_axis=1).sum([0], keepdims=False)
