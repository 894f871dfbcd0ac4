"""Max pooling's way back as a kernel between two sessions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, helper

from ..graph import Tensor, op
from ..nodes import attributes, key_of
from ..rewritten import KERNELS, Rewritten

POOL = f"{KERNELS}:MaxPoolGradient"


def max_pool(graph: Rewritten, node: NodeProto) -> list[Tensor] | None:
    """The gradient that was scattered to the indices of the maxima, by a kernel that finds these as it goes.

    For the indices ONNX Runtime leaves its fast pooling, and ScatterElements runs on one core.
    """
    scatter = graph.producer(node.input[0])
    if scatter is None or scatter.op_type != "ScatterElements":
        return None
    where, g = (graph.producer(i) for i in scatter.input[1:])
    if where is None or g is None or {where.op_type, g.op_type} != {"Reshape"}:
        return None
    pool = graph.producer(where.input[0])
    if pool is None or pool.op_type != "MaxPool" or pool.output[1] != where.input[0]:
        return None
    x = Tensor(graph, pool.input[0])
    if x.dtype != np.float32 or len(x.shape or ()) != 4:
        return None
    wanted = ("kernel_shape", "strides", "pads", "dilations")
    attrs = {k: v for k, v in attributes(pool).items() if k in wanted}
    return [_gradient(graph, [x.name, g.input[0]], attrs | {"rectified": 0})]


def rectified(graph: Rewritten, g: Tensor, y: Tensor) -> Tensor | None:
    """Where(y > 0, g, 0), where g is the gradient of pooling y, or of pooling what y was joined to."""
    node = graph.producer(g.name)
    split = node if node is not None and node.op_type == "Split" else None
    pool = node if split is None else graph.producer(split.input[0])
    if pool is None or key_of(pool) != POOL:
        return None
    attrs = attributes(pool) | {"rectified": 1}
    if split is None:
        return _gradient(graph, pool.input, attrs) if pool.input[0] == y.name else None
    joined, i = graph.producer(pool.input[0]), list(split.output).index(g.name)
    if joined is None or joined.op_type != "Concat" or joined.input[i] != y.name:
        return None
    sizes = Tensor(graph, split.input[1])
    return op.Split(_gradient(graph, pool.input, attrs), sizes, outputs=len(split.output), axis=1)[i]


def _gradient(graph: Rewritten, inputs: Sequence[str], attrs: dict[str, Any]) -> Tensor:
    """The node for the kernel; the same one where there is one already.

    It reads nothing but computed values, of which a session has checked the types.
    """
    inputs = [i if graph.producer(i) is not None else op.Identity(Tensor(graph, i)).name for i in inputs]
    node = helper.make_node(
        "MaxPoolGradient", inputs, [graph.fresh("MaxPoolGradient")], domain=KERNELS, **attrs
    )
    for other in graph.nodes:
        if key_of(other) == POOL and other.input == node.input and other.attribute == node.attribute:
            return Tensor(graph, other.output[0])
    graph.add(node, {node.output[0]: graph.types[inputs[0]]})
    return Tensor(graph, node.output[0])
