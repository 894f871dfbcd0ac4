"""The same network for other sizes of image than the file says."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from onnx import ModelProto, NodeProto, helper

from ..graph.graph import Graph
from ..graph.nodes import reads
from ..graph.sizes import Dim


def freed(model: ModelProto, wanted: Collection[str] = ()) -> ModelProto:
    """A copy of a model that says no sizes but those of its inputs, for `canonical` to bind to others.

    `wanted` are the values that it is needed for, by default its outputs. What does not lead to them is
    left out where they are found in the file, so that a head which takes one size only is no obstacle to a
    layer before it. Whether the operators on the way fit another size, `canonical` finds out, or the runtime.
    """
    other = ModelProto()
    other.CopyFrom(model)
    graph = other.graph
    del graph.value_info[:]
    if wanted and {o for n in graph.node for o in n.output}.issuperset(wanted):
        nodes = _leading_to(graph.node, set(wanted))
        del graph.node[:], graph.output[:]
        graph.node.extend(nodes)
        graph.output.extend(helper.make_empty_tensor_value_info(w) for w in wanted)
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    return other


def _leading_to(nodes: Collection[NodeProto], wanted: set[str]) -> list[NodeProto]:
    kept = []
    for node in reversed(list(nodes)):
        if wanted.intersection(node.output):
            wanted.update(reads(node))
            kept.append(node)
    return kept[::-1]


def rebound(graph: Graph, name: str, shape: Sequence[Dim], wanted: str) -> Graph:
    """What leads to the value `wanted`, with another shape for the input `name`.

    Sizes that the canonical form has made constants stay what they were: see that none is on the way. Raises
    BadModel where an operator does not fit the other size.
    """
    other = Graph(dict(graph.opsets))
    other.twins, other.given = dict(graph.twins), graph.given
    for i in graph.inputs:
        elem = graph.types[i].tensor_type.elem_type
        other.declare_input(
            i, helper.make_tensor_type_proto(elem, list(shape)) if i == name else graph.types[i]
        )
    nodes = graph.ancestors([wanted])
    for i in dict.fromkeys(i for n in nodes for i in reads(n)):
        if i in graph.constants:
            other.add_constant(graph.constants[i])
    for node in nodes:
        other.add(node)
    return other
