"""Max pooling's backward pass as a kernel between two sessions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper

from ...graph.graph import Tensor, op
from ...graph.nodes import attributes, key_of
from ..rewritten import KERNELS, Rewritten

POOL = f"{KERNELS}:MaxPoolGradient"


def max_pool(graph: Rewritten, node: NodeProto) -> list[Tensor] | None:
    """The gradient that was scattered to the indices of the maxima, by a kernel that finds these as it goes.

    For the indices ONNX Runtime leaves its fast pooling, and ScatterElements runs on one core.
    """
    found = scattered(graph, node)
    if found is None:
        return None
    x, g, attrs = found
    attrs |= {"rectified": 0, "channels": [0, (x.shape or (0, 0))[1]]}
    return [_gradient(graph, [x.name, g.name], attrs)]


def scattered(graph: Rewritten, node: NodeProto) -> tuple[Tensor, Tensor, dict[str, Any]] | None:
    """What was pooled, the gradient of the maxima and the windows, of a node that reshapes what of a max
    pooling of pictures was scattered to the indices of the maxima; None of any other node.
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
    _, channels, *size = x.shape or (None, None)
    if x.dtype != np.float32 or len(size) != 2 or not isinstance(channels, int):
        return None
    wanted = ("kernel_shape", "strides", "pads", "dilations")
    attrs = {k: v for k, v in attributes(pool).items() if k in wanted}
    if "pads" not in attrs:  # which depend on a size that is open
        return None
    return x, Tensor(graph, g.input[0]), attrs


def pieces(graph: Rewritten, node: NodeProto) -> list[Tensor] | None:
    """The gradients of what was joined before a pooling, each by itself: nothing needs to be taken apart."""
    pool = graph.producer(node.input[0])
    sizes = graph.known(node.input[1]) if len(node.input) > 1 else None
    if pool is None or key_of(pool) != POOL or sizes is None or attributes(node).get("axis") != 1:
        return None
    ends = np.cumsum(sizes).tolist()
    each = [[e - s, e] for e, s in zip(ends, sizes.tolist(), strict=True)]
    return [_gradient(graph, pool.input, attributes(pool) | {"channels": c}) for c in each]


def rectified(graph: Rewritten, g: Tensor, y: Tensor) -> Tensor | None:
    """Where(y > 0, g, 0), where g is the gradient of pooling y, or of pooling what y was joined to."""
    pool = graph.producer(g.name)
    if pool is None or key_of(pool) != POOL or part_of(graph, pool) != y.name:
        return None
    return _gradient(graph, pool.input, attributes(pool) | {"rectified": 1})


def part_of(graph: Rewritten, pool: NodeProto) -> str | None:
    """The value that a POOL gives the gradient of: what was pooled, or the part of it with these channels."""
    x, (start, end) = Tensor(graph, pool.input[0]), attributes(pool)["channels"]
    joined = graph.producer(x.name)
    if (x.shape or ())[1:2] == (end - start,):
        return x.name
    if joined is None or joined.op_type != "Concat" or attributes(joined)["axis"] != 1:
        return None
    at = 0
    for name in joined.input:
        count = (Tensor(graph, name).shape or (0, None))[1]
        if not isinstance(count, int):
            return None
        if (at, at + count) == (start, end):
            return name
        at += count
    return None


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
    x, (start, end) = Tensor(graph, inputs[0]), attrs["channels"]
    shape = [end - start if axis == 1 else d for axis, d in enumerate(x.shape or ())]
    graph.add(node, {node.output[0]: helper.make_tensor_type_proto(TensorProto.FLOAT, shape)})
    return Tensor(graph, node.output[0])
