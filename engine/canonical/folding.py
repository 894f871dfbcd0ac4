"""Constants in disguise: literals, sizes, and what is computed from these alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from ..graph.graph import Graph, Tensor
from ..graph.nodes import attributes, bodies, reads
from ..graph.types import shape_of
from ..operators.traits import traits_of

LITERAL = 64  # elements; a constant node up to this size is arithmetic, above it is a weight
MAX_ELEMENTS = 2**22  # elements; a constant larger than this is not made from a shape in the file


def elements(tensor: TensorProto) -> int:
    """How many numbers a tensor holds."""
    return int(np.prod(tensor.dims, dtype=np.int64))


def folded(node: NodeProto, graph: Graph, known: set[str]) -> dict[str, np.ndarray] | None:
    """The outputs of a node that is shape arithmetic or a constant in disguise; None for all others.

    Weights are not folded, however they are wrapped: a gradient may be wanted for any of them.
    """
    if node.domain:
        return None
    if traits_of(node).reads_sizes:
        size = size_read(node, graph)
        return None if size is None else {node.output[0]: size}
    if traits_of(node).moves == "selects" and node.input[0] not in known:
        return _picked(node, graph, known)
    if not known.issuperset(reads(node)) or _is_never_folded(node):
        return None
    if node.op_type == "ConstantOfShape":
        size = Tensor(graph, node.input[0]).array
        if size is None or (size < 0).any() or np.prod(size.astype(float)) > MAX_ELEMENTS:
            return None
    elif any(elements(graph.constants[i]) > 16 * LITERAL for i in node.input if i):
        return None
    return evaluated(node, graph, {i: numpy_helper.to_array(graph.constants[i]) for i in node.input if i})


def size_read(node: NodeProto, graph: Graph) -> np.ndarray | None:
    """What Shape or Size says of a value whose shape is known, int64."""
    shape = shape_of(graph.types.get(node.input[0]))
    if shape is None or not all(isinstance(d, int) for d in shape):
        return None
    whole, attrs = np.array(shape, np.int64), attributes(node)
    part = whole[attrs.get("start", 0) : attrs.get("end")] if node.op_type == "Shape" else whole.prod()
    return np.asarray(part, np.int64)


def _picked(node: NodeProto, graph: Graph, known: set[str]) -> dict[str, np.ndarray] | None:
    """What Gather and Slice take from a shape, where it is known though other sizes are not."""
    source, *where = node.input
    sizes, vector = graph.sizes_of(source), Tensor(graph, source)
    if not sizes or vector.shape != (len(sizes),) or not all(i in known for i in where if i):
        return None
    feeds = {i: numpy_helper.to_array(graph.constants[i]) for i in where if i}
    # What depends on an open size differs between these two.
    both = [
        evaluated(
            node,
            graph,
            {source: np.array([d if isinstance(d, int) else open_ for d in sizes], vector.dtype), **feeds},
        )
        for open_ in (-1, -2)
    ]
    if both[0] is None or both[1] is None:
        return None
    same = all(np.array_equal(both[0][name], both[1][name]) for name in both[0])
    return both[0] if same else None


def _is_never_folded(node: NodeProto) -> bool:
    """True for what comes out otherwise each time, may go on for ever, or makes much of little."""
    makes_much = traits_of(node).moves == "copies" or node.op_type == "Range"
    return makes_much or traits_of(node).random or bool(bodies(node))


def evaluated(node: NodeProto, graph: Graph, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray] | None:
    """A node's outputs as ONNX's reference computes them; None where it cannot, or they are too large."""
    model = helper.make_model(
        helper.make_graph(
            [node],
            "fold",
            [helper.make_value_info(i, graph.types[i]) for i in dict.fromkeys(node.input) if i],
            [helper.make_empty_tensor_value_info(o) for o in node.output if o],
        ),
        opset_imports=[helper.make_opsetid("", graph.opsets[""])],
    )
    try:
        values: list[Any] = ReferenceEvaluator(model).run(None, feeds)  # type: ignore[assignment]
    except Exception:  # not computable here: left to the runtime, which says more about it
        return None
    if any(not isinstance(v, np.ndarray | np.generic) or np.size(v) > MAX_ELEMENTS for v in values):
        return None
    return dict(zip([o for o in node.output if o], map(np.asarray, values), strict=True))
