"""Arithmetic on constants, done once: a kernel can only take up a factor that is known.

The canonical form leaves weights alone, because a gradient may be wanted for any of them. Here nobody asks.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from onnx import NodeProto

from ...graph.graph import Tensor
from ...graph.nodes import attributes
from ..rewritten import Rewrite, Rewritten

LITERAL = 2**16  # elements; more are computed as they are needed


def arithmetic(function: Callable[..., np.ndarray]) -> Rewrite:
    """The result of an operator on small constants of floats: a function of NumPy."""

    def rewrite(graph: Rewritten, node: NodeProto) -> list[Tensor] | None:
        arrays = [a for a in map(graph.known, node.input) if a is not None and _is_small(a)]
        if len(arrays) < len(node.input):
            return None
        with np.errstate(all="ignore"):
            return [graph.constant(function(*arrays))]

    return rewrite


def constant(graph: Rewritten, node: NodeProto) -> list[Tensor] | None:
    """A small constant in its new shape."""
    x, shape = map(graph.known, node.input)
    if x is None or shape is None or not _is_small(x) or not shape.all() or attributes(node).get("allowzero"):
        return None
    return [graph.constant(x.reshape(shape))]


def _is_small(array: np.ndarray) -> bool:
    return array.size <= LITERAL and array.dtype.kind == "f"
