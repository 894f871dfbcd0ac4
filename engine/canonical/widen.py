"""Models of 16-bit floats, computed in float32.

ONNX Runtime's CPU kernels compute in float32 whatever the file says and round where a value is shown, so
looking inside a float16 model changes what it answers; and gradients of 1e-6 are zero in float16. So the
inside of such a model is made float32 and only its inputs and outputs stay what they were:

    x (float16) -> Cast -> [ the model in float32 ] -> Cast -> y (float16)

The answers are those of the original to the bit (tests/engine/test_widen.py). A cast to 16 bits inside does
not round either: the runtime takes it away together with the cast back that it puts before its kernel -
except where the next operator only moves elements, and then the last bit can differ. So it can behind an
Attention, which has a kernel for float16 of its own.
"""

from __future__ import annotations

import numpy as np
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ..graph.graph import Graph, op
from ..graph.nodes import bodies, ours, renamed
from ..graph.types import array_of

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
    taken = {v.name for v in graph.input} | {o for n in graph.node for o in n.output}
    before, after, twins = [], [], {}
    for value in graph.input:
        if value.name in weights:
            value.type.tensor_type.elem_type = weights[value.name].data_type
        elif value.type.tensor_type.elem_type in NARROW:
            twins[value.name] = ours(value.name, taken)
            before.append(_cast(value.name, twins[value.name], TensorProto.FLOAT))
    for value in graph.output:
        if value.type.tensor_type.elem_type in NARROW:
            twins[value.name] = ours(value.name, taken)
            after.append(_cast(twins[value.name], value.name, value.type.tensor_type.elem_type))
    nodes = list(graph.node)
    for node in nodes:
        _widen_node(node)
    del graph.node[:]
    graph.node.extend([*before, *(renamed(n, twins) for n in nodes), *after])
    return twins


def keep_unseen(graph: Graph, node: NodeProto) -> None:
    """Have a widened Attention take for unseen what it took for unseen before: the lowest number of its type.

    ONNX Runtime answers a query that sees no key with 0, and tells that by the lowest number in the mask.
    """
    if node.op_type != "Attention" or node.domain or len(node.input) < 4 or node.input[3] not in graph:
        return
    mask = graph[node.input[3]]
    if mask.dtype == np.float32:
        unseen = op.LessOrEqual(mask, float(np.finfo(np.float16).min))
        node.input[3] = op.Where(unseen, float(np.finfo(np.float32).min), mask).name


def _wide(tensor: TensorProto) -> TensorProto:
    if tensor.data_type not in NARROW:
        return tensor
    return numpy_helper.from_array(array_of(tensor).astype(np.float32), tensor.name)


def _widen_node(node: NodeProto) -> None:
    """Make a node's 16-bit attributes float32, in place; a cast to 16 bits becomes one to float32."""
    for a in node.attribute:
        if a.type == AttributeProto.TENSOR:
            a.t.CopyFrom(_wide(a.t))
        elif a.name in ("dtype", "to") and a.i in NARROW:
            a.i = TensorProto.FLOAT
    for body in bodies(node):
        _widen_body(body)


def _widen_body(body: GraphProto) -> None:
    """The graph inside an If, Loop or Scan."""
    for tensor in body.initializer:
        tensor.CopyFrom(_wide(tensor))
    for value in (*body.input, *body.output, *body.value_info):
        if value.type.tensor_type.elem_type in NARROW:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for node in body.node:
        _widen_node(node)


def _cast(source: str, target: str, to: int) -> NodeProto:
    return helper.make_node("Cast", [source], [target], to=to)
