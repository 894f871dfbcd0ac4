"""The inside of nodes: their graphs opened to be differentiated, and closed again as parts of other nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, TypeProto, helper

from ..canonical.branches import straightened
from ..canonical.canonical import WHOLE, append
from ..errors import NoRule
from ..graph.graph import Graph, Tensor, op
from ..graph.nodes import every_node, reads, renamed
from ..graph.types import dtype_of, is_float, shape_of
from ..operators.rules.sequences import is_sequence
from ..operators.traits import traits_of
from .broadcasting import total, zeros_like
from .dependence import Rules

Grads = dict[str, list[Tensor]]
# Carries the gradients of values of a graph backwards through nodes, to the sources: gradient.py.
Walk = Callable[[Graph, Sequence[NodeProto], Grads, set[str], Rules], None]
Found = list[tuple[str, Tensor]]  # gradients, each with the name of the value that it is of


def opened(graph: Graph, body: GraphProto, inputs: Mapping[str, str]) -> list[str]:
    """Append what a graph inside a node computes, under new names; those of its outputs.

    `inputs`: what its inputs are called here.
    """
    new = dict(inputs)
    for tensor in body.initializer:
        own = TensorProto()
        own.CopyFrom(tensor)
        own.name = new[tensor.name] = graph.fresh(tensor.name)
        graph.add_constant(own)
    new.update((o, graph.fresh(n.op_type)) for n in body.node for o in n.output if o)
    known = {name for name, tensor in graph.constants.items() if tensor.data_type in WHOLE}
    # A runtime takes no name twice, inside nodes either: what comes later in the graph has its name already.
    inside = lambda name: graph.fresh(name) if name in graph.taken else name
    for node in straightened((_renamed(n, new, inside) for n in body.node), graph, known, graph.taken):
        append(graph, node, known)
    return [new.get(o.name, o.name) for o in body.output]


def settled(graph: Graph, body: GraphProto) -> GraphProto:
    """What a loop repeats, without what it only moves about of values around it: that is appended before it.

    PyTorch writes an index as slices of the whole and a Gather of one step, all of them in the loop.
    """
    inside, first, rest = {v.name for v in body.input}, list[NodeProto](), list[NodeProto]()
    for node in body.node:
        stays = node.op_type == "Constant" or traits_of(node).moves in ("order", "axes", "selects")
        if stays and inside.isdisjoint(reads(node)):
            first.append(node)
        else:
            rest.append(node)
            inside.update(node.output)
    if all(node.op_type == "Constant" for node in first):
        return body
    names = [o for n in first for o in n.output if o]
    ends = [helper.make_empty_tensor_value_info(name) for name in names]
    before = helper.make_graph(first, body.name, [], ends, body.initializer)
    start = len(graph.nodes)
    new = dict(zip(names, opened(graph, before, {}), strict=True))
    for node in graph.nodes[start:]:
        node.name = ""  # the one in the loop is called so
    inner = GraphProto()
    inner.CopyFrom(body)
    del inner.node[:]
    inner.node.extend(renamed(node, new) for node in rest)
    for output in inner.output:
        output.name = new.get(output.name, output.name)
    return inner


def _renamed(node: NodeProto, new: Mapping[str, str], inside: Callable[[str], str]) -> NodeProto:
    """A node by the new names of its values, called as the first was: rules and errors ask for that."""
    copy = renamed(node, new, inside)
    copy.name = node.name or next(filter(None, node.output), "")
    return copy


def closed(inside: Graph, around: Graph, outputs: Sequence[Tensor]) -> GraphProto:
    """As Graph.closed. Raises NoRule where what is computed once more would draw other random numbers."""
    body = inside.closed(around, outputs)
    if any(traits_of(n).random or (n.op_type == "Dropout" and n.input[2:]) for n in every_node(body.node)):
        raise NoRule("draws random numbers in a graph inside it, which would be drawn anew for the gradient")
    return body


def appended(
    graph: Graph, op_type: str, inputs: Sequence[str], like: Sequence[str], **bodies: Any
) -> list[Tensor]:
    """Append a node with graphs inside; its outputs, of the first the types of the gradients of values."""
    body: GraphProto = next(iter(bodies.values()))
    names = [graph.fresh(op_type) for _ in body.output[op_type == "Loop" :]]
    types = {n: adjoint(graph.types[of]) for n, of in zip(names, like, strict=False)}
    graph.add(helper.make_node(op_type, inputs, names, **bodies), types)
    return [Tensor(graph, n) for n in names]


def adjoint(type_: TypeProto) -> TypeProto:
    """The type of a value's gradient: integers that stand for real numbers have one of floats."""
    dtype = dtype_of(type_)
    if dtype is None or is_float(dtype):
        return type_
    return helper.make_tensor_type_proto(TensorProto.FLOAT, shape_of(type_))


def sum_of(graph: Graph, grads: Sequence[Tensor] | None, name: str) -> Tensor:
    """The sum of gradients; where there are none, zeros of the shape of a value."""
    if grads:
        return total(grads)
    if is_sequence(Tensor(graph, name)):
        return zeros_like(Tensor(graph, name))
    dtype = dtype_of(adjoint(graph.types[name]))
    return op.Expand(graph.constant(np.zeros((), dtype)), Tensor(graph, name).dims)
