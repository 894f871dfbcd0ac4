"""A network fed by expressions: its input is computed from other inputs, in the same graph."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from onnx import TensorProto, helper

from ..canonical.windows import write_window
from ..graph.graph import Graph, Tensor
from ..graph.nodes import renamed


def fed(graph: Graph, name: str, entry: Callable[[Graph], Tensor], names: Collection[str] = ()) -> Graph:
    """A copy of the graph in which the input `name` is what `entry` makes of inputs and constants of its own.

    `entry(graph)` declares those and gives the value; `names` are free for it and for what comes behind: the
    model's own values of these names get others, which `twins` tells. The input of a model of 16-bit floats
    is fed in float32, without the rounding that its own type would do (widen.py).
    """
    new = {taken: graph.unused(taken, names) for taken in names if taken in graph}
    graph = _renamed(graph, new) if new else graph
    inner, source = graph.twins.get(name, name), new.get(name, name)
    draft = graph.copy()
    before = len(draft.nodes)
    value = entry(draft)
    last = helper.make_node("Cast", [value.name], [inner], to=draft.types[inner].tensor_type.elem_type)
    leading = [*draft.nodes[before:], last]
    following = [n for n in draft.nodes[:before] if inner not in n.output]
    other = Graph(dict(graph.opsets))
    other.metadata, other.head, other.given = dict(graph.metadata), graph.head, graph.given
    other.twins = {k: v for k, v in graph.twins.items() if k != name}
    for i in draft.inputs:
        if i != source:
            other.declare_input(i, draft.types[i])
    for tensor in draft.constants.values():
        other.add_constant(tensor)
    for node in leading:
        write_window(node, draft)
    for node in (*leading, *following):
        other.add(node, draft.types)
    other.outputs = list(graph.outputs)
    other.anatomy["image"] = inner
    return other


def _renamed(graph: Graph, new: Mapping[str, str]) -> Graph:
    """The graph with new names for some of its values; `twins` tells them."""
    other = Graph(dict(graph.opsets))
    other.metadata, other.head, other.given = dict(graph.metadata), graph.head, graph.given
    other.twins = dict(new) | {name: new.get(twin, twin) for name, twin in graph.twins.items()}
    types = {new.get(name, name): type_ for name, type_ in graph.types.items()}
    for name in graph.inputs:
        other.declare_input(new.get(name, name), graph.types[name])
    for name, tensor in graph.constants.items():
        if name in new:
            tensor = TensorProto.FromString(tensor.SerializeToString())
            tensor.name = new[name]
        other.add_constant(tensor)
    for node in graph.nodes:
        other.add(renamed(node, new), types)
    other.outputs = [new.get(name, name) for name in graph.outputs]
    return other
