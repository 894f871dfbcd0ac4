"""Arithmetic on constants, done once: a kernel can only take up a factor that is known.

The canonical form leaves weights alone, because a gradient may be wanted for any of them. Here nobody asks.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import NodeProto

from ...graph.graph import Tensor
from ...graph.nodes import attributes
from ..rewritten import Rewritten

LITERAL = 2**16  # elements; more are computed as they are needed
ARITHMETIC: dict[str, Callable[..., np.ndarray]] = {
    "Add": np.add,
    "Div": np.divide,
    "Mul": np.multiply,
    "Sqrt": np.sqrt,
}


def arithmetic(graph: Rewritten, node: NodeProto) -> list[Tensor] | None:
    """The result of an operator on small constants of floats."""
    arrays = [a for a in map(graph.known, node.input) if a is not None and _is_small(a)]
    if len(arrays) < len(node.input):
        return None
    with np.errstate(all="ignore"):
        return [graph.constant(ARITHMETIC[node.op_type](*arrays))]


def constant(graph: Rewritten, node: NodeProto) -> list[Tensor] | None:
    """A small constant in its new shape."""
    x, shape = map(graph.known, node.input)
    if x is None or shape is None or not _is_small(x) or not shape.all() or attributes(node).get("allowzero"):
        return None
    return [graph.constant(x.reshape(shape))]


def _is_small(array: np.ndarray) -> bool:
    return array.size <= LITERAL and array.dtype.kind == "f"
