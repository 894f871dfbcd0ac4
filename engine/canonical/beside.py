"""An operator's body in a graph of its own: what it tells of types, and of the reals behind integers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from onnx import NodeProto, helper

from ..errors import NoRule
from ..graph.graph import Graph, Tensor
from ..graph.nodes import key_of, named, ours, understood
from ..operators.bodies import quantised

Body = Callable[..., Any]


def type_by_body(graph: Graph, node: NodeProto, body: Body) -> None:
    """Give the outputs of an operator that ONNX does not know the types that a body of it has."""
    for name, value in zip(node.output, _body_beside(graph, node, body), strict=False):
        if name and value.name in value.graph.types:
            graph.refine(name, value.graph.types[value.name])


def _body_beside(graph: Graph, node: NodeProto, body: Body) -> tuple[Tensor, ...]:
    """The outputs of a node's body in a graph of its own; none where it has no body for such inputs."""
    scratch = graph.part(i for i in node.input if i)
    try:
        with understood(node):
            inputs = (Tensor(scratch, i) if i else None for i in node.input)
            result = body(*inputs, **named(graph.attributes(node), body))
    except NoRule:
        return ()
    return result if isinstance(result, tuple) else (result,)


def show_real(graph: Graph, node: NodeProto, taken: set[str]) -> str | None:
    """Behind an integer operator, the real numbers that its result stands for, and the integers again.

        QLinearConv -> q  -> DequantizeLinear -> "q/real" -> QuantizeLinear -> what reads q

    The integers are the same to the bit; but layers, scores and gradients are of real numbers. Returns
    the name of the integers for the readers of q, or None where the node is no such operator. `taken`:
    the names that the file uses.
    """
    if key_of(node) not in quantised.BODIES:
        return None
    made = [t.graph.producer(t.name) for t in _body_beside(graph, node, quantised.BODIES[key_of(node)])]
    if not made or made[0] is None or made[0].op_type != "QuantizeLinear":
        return None
    q, step = node.output[0], made[0].input[1:]
    real, again = graph.unused(f"{q}/real", taken), ours(q, taken)
    for name, source, target in (("DequantizeLinear", q, real), ("QuantizeLinear", real, again)):
        graph.add(helper.make_node(name, [source, *step], [target]))
    graph.twins[q] = real
    return again
