"""Models of 16-bit floats, computed in float32.

ONNX Runtime's CPU kernels compute in float32 whatever the file says and round where a value is shown, so
looking inside a float16 model changes what it answers; and gradients of 1e-6 are zero in float16. So the
inside of such a model is made float32 and only its inputs and outputs stay what they were:

    x (float16) -> Cast -> [ the model in float32 ] -> Cast -> y (float16)

The answers are those of the original to the bit (tests/engine/test_widen.py). Explicit casts to 16 bits
keep their rounding.
"""

from __future__ import annotations

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from .graph import OURS

NARROW = {TensorProto.FLOAT16, TensorProto.BFLOAT16}


def is_narrow(model: ModelProto, weights: dict[str, TensorProto]) -> bool:
    """True for a model that has 16-bit floats among its inputs, outputs or weights."""
    values = (*model.graph.input, *model.graph.output)
    tensors = (*model.graph.initializer, *weights.values())
    return any(v.type.tensor_type.elem_type in NARROW for v in values) or any(
        t.data_type in NARROW for t in tensors
    )


def widen(model: ModelProto, weights: dict[str, TensorProto]) -> dict[str, str]:
    """Make the inside of a model float32, in place; `weights` are replaced, not changed.

    Returns, for each 16-bit input and output by name, the name of its float32 twin inside.
    """
    graph = model.graph
    del graph.value_info[:]
    for name, tensor in weights.items():
        weights[name] = _wide(tensor)
    for i, tensor in enumerate(graph.initializer):
        graph.initializer[i].CopyFrom(_wide(tensor))
    before, after, twins = [], [], {}
    for value in graph.input:
        if value.name in weights:
            value.type.tensor_type.elem_type = weights[value.name].data_type
        elif value.type.tensor_type.elem_type in NARROW:
            twins[value.name] = OURS + value.name
            before.append(_cast(value.name, twins[value.name], TensorProto.FLOAT))
    for value in graph.output:
        if value.type.tensor_type.elem_type in NARROW:
            twins[value.name] = OURS + value.name
            after.append(_cast(twins[value.name], value.name, value.type.tensor_type.elem_type))
    nodes = [wide for node in graph.node for wide in _wide_nodes(node)]
    for node in nodes:
        _rename(node, twins)
    del graph.node[:]
    graph.node.extend([*before, *nodes, *after])
    return twins


def _wide(tensor: TensorProto) -> TensorProto:
    if tensor.data_type not in NARROW:
        return tensor
    return numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)


def _wide_nodes(node: NodeProto) -> list[NodeProto]:
    """The node with its 16-bit attributes made float32; a cast to 16 bits is followed by one back."""
    for a in node.attribute:
        if a.type == AttributeProto.TENSOR:
            a.t.CopyFrom(_wide(a.t))
        elif a.type == AttributeProto.GRAPH:
            _widen_body(a.g)
        elif a.name == "dtype" and a.i in NARROW:
            a.i = TensorProto.FLOAT
        elif a.name == "to" and a.i in NARROW:
            rounded = OURS + "rounded/" + node.output[0]
            back = _cast(rounded, node.output[0], TensorProto.FLOAT)
            node.output[0] = rounded
            return [node, back]
    return [node]


def _widen_body(body: GraphProto) -> None:
    """The graph inside an If, Loop or Scan."""
    for tensor in body.initializer:
        tensor.CopyFrom(_wide(tensor))
    for value in (*body.input, *body.output, *body.value_info):
        if value.type.tensor_type.elem_type in NARROW:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    nodes = [wide for node in body.node for wide in _wide_nodes(node)]
    del body.node[:]
    body.node.extend(nodes)


def _rename(node: NodeProto, names: dict[str, str]) -> None:
    for values in (node.input, node.output):
        for i, name in enumerate(values):
            values[i] = names.get(name, name)
    for a in node.attribute:
        for inner in a.g.node:
            _rename(inner, names)


def _cast(source: str, target: str, to: int) -> NodeProto:
    return helper.make_node("Cast", [source], [target], to=to)
