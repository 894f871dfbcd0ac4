"""A network fed by expressions: its input is computed from other inputs, in the same graph."""

from __future__ import annotations

from collections.abc import Callable

from onnx import helper

from .graph import Graph, Tensor
from .windows import write_window


def fed(graph: Graph, name: str, entry: Callable[[Graph], Tensor]) -> Graph:
    """A copy of the graph in which the input `name` is what `entry` makes of inputs and constants of its own.

    `entry(graph)` declares those and gives the value. The input of a model of 16-bit floats is fed in
    float32, without the rounding that its own type would do (widen.py).
    """
    draft = graph.copy()
    before = len(draft.nodes)
    value = entry(draft)
    inner = graph.twins.get(name, name)
    last = helper.make_node("Cast", [value.name], [inner], to=draft.types[inner].tensor_type.elem_type)
    leading = [*draft.nodes[before:], last]
    following = [n for n in draft.nodes[:before] if inner not in n.output]
    other = Graph(dict(graph.opsets))
    other.metadata = dict(graph.metadata)
    other.twins = {k: v for k, v in graph.twins.items() if k != name}
    for i in draft.inputs:
        if i != name:
            other.declare_input(i, draft.types[i])
    for tensor in draft.constants.values():
        other.add_constant(tensor)
    for node in leading:
        write_window(node, draft)
    for node in (*leading, *following):
        other.add(node, draft.types)
    other.outputs = list(graph.outputs)
    return other
