"""An operator as what it is made of: its body appended to the graph, as nodes with rules of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import FunctionProto, NodeProto, TensorProto, TypeProto, helper, inliner

from ..canonical.canonical import append
from ..canonical.windows import write_window
from ..errors import BadModel, NoRule
from ..graph.graph import Graph, Tensor, op
from ..graph.nodes import defaults, describe, is_variadic, key_of, named, renamed, schema_of
from ..graph.types import is_float
from ..operators.bodies import BODIES
from .blocks import why


def node_inputs(graph: Graph, node: NodeProto) -> list[Tensor | None]:
    """A node's inputs in the order of the specification, None where one is left out."""
    schema = schema_of(node.op_type, graph.opsets.get(node.domain, 1), node.domain)
    inputs: list[Tensor | None] = [Tensor(graph, i) if i else None for i in node.input]
    if schema is not None and schema.inputs and not is_variadic(schema.inputs[-1]):
        inputs += [None] * (len(schema.inputs) - len(inputs))
    return inputs


def own_body(graph: Graph, node: NodeProto) -> list[str]:
    """Append one of BODIES to the graph for a node; its outputs' names."""
    start = len(graph.nodes)
    body = BODIES[key_of(node)]
    result = body(*node_inputs(graph, node), **named(graph.attributes(node), body))
    for inner in graph.nodes[start:]:
        write_window(inner, graph)
    return [t.name for t in (result if isinstance(result, tuple) else (result,))]


def shared_type(graph: Graph, node: NodeProto) -> list[int]:
    """Which inputs of an operator are of the type of its first output, by the specification."""
    schema = schema_of(node.op_type, graph.opsets.get(node.domain, 1), node.domain)
    if schema is None or not schema.inputs:
        return []
    slots = [schema.inputs[min(k, len(schema.inputs) - 1)] for k in range(len(node.input))]
    return [k for k, slot in enumerate(slots) if slot.type_str == schema.outputs[0].type_str]


def in_reals(graph: Graph, node: NodeProto) -> list[str]:
    """Append an operator that moves or mixes integers once more, on real numbers; its outputs' names.

    Resize, MaxPool, Concat and others keep the steps of what they are given: so do their reals.
    """
    copy = NodeProto()
    copy.CopyFrom(node)
    for k in shared_type(graph, node):
        if node.input[k]:
            copy.input[k] = op.Cast(Tensor(graph, node.input[k]), to=TensorProto.FLOAT).name
    copy.output[:] = [graph.fresh(node.op_type) if o else "" for o in node.output]
    copy.name = ""
    graph.add(copy)
    return list(copy.output)


def specified_body(graph: Graph, node: NodeProto) -> list[str]:
    """Append an operator's function body in the specification to the graph; its outputs' names."""
    function = specified_function(graph, node)
    if function is None:
        raise NoRule(why(graph, node))
    if not all(i in graph.types for i in node.input if i):
        raise BadModel(
            f"{describe(node)} reads values of unknown type; run the model through onnx-simplifier"
        )
    outputs = [graph.fresh(node.op_type) if o else "" for o in node.output]
    call = _complete(graph, node)
    _say_masked(graph, call)
    inputs = list(dict.fromkeys(i for i in call.input if i))
    call.domain, call.op_type = function.domain, function.name
    del call.output[:]
    call.output.extend(outputs)
    model = helper.make_model(
        helper.make_graph(
            [call],
            "body",
            [helper.make_value_info(i, graph.types[i]) for i in inputs],
            [helper.make_empty_tensor_value_info(o) for o in outputs if o],
        ),
        functions=[function],
        opset_imports=[*function.opset_import, helper.make_opsetid(function.domain, 1)],
    )
    own = {name: name for name in (*inputs, *outputs)}
    known: set[str] = set()
    for inner in inliner.inline_local_functions(model).graph.node:
        own.update((o, graph.fresh(inner.op_type)) for o in inner.output if o and o not in own)
        inner.name = ""
        append(graph, renamed(inner, own), known)
    if node.op_type == "Attention":
        _hold_unseen(graph, outputs)
    return outputs


def _say_masked(graph: Graph, call: NodeProto) -> None:
    """Say -inf in the mask of an Attention for the lowest number, as ONNX Runtime takes it.

    A query whose keys are all masked so is answered with 0, where the specification has the mean of all.
    """
    if call.op_type != "Attention" or len(call.input) < 4 or not call.input[3]:
        return
    mask = Tensor(graph, call.input[3])
    if mask.dtype is not None and is_float(mask.dtype):
        lowest = op.Equal(mask, float(np.finfo(mask.dtype).min))
        call.input[3] = op.Where(lowest, -np.inf, mask).name


def _hold_unseen(graph: Graph, outputs: list[str]) -> None:
    """The scores of an Attention with the lowest number where a key is unseen, whatever its own score is."""
    for i, name in enumerate(outputs[3:], 3):
        scores = Tensor(graph, name)
        if name and scores.dtype is not None:
            lowest = float(np.finfo(scores.dtype).min)
            outputs[i] = op.Where(op.LessOrEqual(scores, lowest), lowest, scores).name


def _complete(graph: Graph, node: NodeProto) -> NodeProto:
    """A copy with the attributes that the node leaves out: bodies in the specification are made of them."""
    copy = NodeProto()
    copy.CopyFrom(node)
    present = {a.name for a in node.attribute}
    left_out = defaults(node.op_type, graph.opsets.get(node.domain, 1), node.domain)
    copy.attribute.extend(a for a in left_out if a.name not in present)
    return copy


def specified_function(graph: Graph, node: NodeProto) -> FunctionProto | None:
    """An operator's function body in the specification, for the graph's opset; None where it has none."""
    opset = graph.opsets.get(node.domain, 1)
    schema: Any = schema_of(node.op_type, opset, node.domain)
    if schema is None:
        return None
    plain = [v for v in schema.function_opset_versions if v <= opset]
    built = [v for v in schema.context_dependent_function_opset_versions if v <= opset]
    if plain:
        data = schema.get_function_with_opset_version(max(plain))
    elif built:
        types = [graph.types.get(i, TypeProto()).SerializeToString() for i in node.input]
        data = schema.get_context_dependent_function_with_opset_version(
            max(built), _complete(graph, node).SerializeToString(), types
        )
    else:
        return None
    function = FunctionProto.FromString(data)
    function.domain, function.name = "onnxlens.body", node.op_type
    del function.opset_import[:]
    function.opset_import.extend(helper.make_opsetid(d, v) for d, v in graph.opsets.items())
    return function
