"""What rectifiers let through on the backward pass."""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from ...graph.graph import Tensor, op
from ...operators.traits import traits_of
from ..rewritten import Rewritten
from .pools import rectified

STEEP = float(np.finfo(np.float32).max)


def gate(graph: Rewritten, node: NodeProto) -> list[Tensor] | None:
    """A gate as a product with 0 or 1: two operators that know the blocks, and no bools.

        Where(y > 0, g, 0) = g · clip(∞ y)
        Where(x < 0, 0, g) = g · clip(∞ x + 1)
        Where(x > c, 0, g) = g · clip(α (c - x) + 1)        1/α is the distance from c to the next float
        Where(y < c, g, 0) = g · clip(α (c - y))            or to the one before

    clip keeps between 0 and 1, and is HardSigmoid. Exact for all x but denormal ones. Behind a max pooling
    that runs as a kernel, the kernel looks itself whether y > 0.
    """
    test = graph.producer(node.input[0])
    shut = [(value := graph.known(i)) is not None and not value.any() for i in node.input[1:]]
    if test is None or not traits_of(test).truth or len(test.input) != 2 or sum(shut) != 1:
        return None
    x, bound = Tensor(graph, test.input[0]), graph.known(test.input[1])
    g = Tensor(graph, node.input[1 + shut.index(False)])
    if bound is None or bound.size != 1 or g.shape != x.shape or x.dtype != np.float32:
        return None
    slope = _slope(test.op_type, shut[1], bound.item())
    within = rectified(graph, g, x) if slope == (STEEP, 0.0) else None
    if within is not None:
        return [within]
    if slope is None or g.name in graph.unbounded:  # 0 · ∞ is no 0
        return None
    step = op.HardSigmoid(x, alpha=slope[0], beta=slope[1])
    return [(graph.in_blocks(g) if x.name in graph.blocked else g) * step]


def _slope(test: str, passes: bool, bound: float) -> tuple[float, float] | None:
    """α and β of the HardSigmoid for what passes a test, or fails it; None where there is no exact one."""
    match test, passes:
        case "Greater", True if bound == 0:
            return STEEP, 0.0
        case "Less", False if bound == 0:
            return STEEP, 1.0
        case "Greater", False if 1e-30 < bound < 1e30:
            alpha = 1 / float(np.spacing(np.float32(bound)))
            return -alpha, alpha * bound + 1
        case "Less", True if 1e-30 < bound < 1e30:
            before = np.nextafter(np.float32(bound), np.float32(0))
            alpha = 1 / (bound - float(before))
            return -alpha, alpha * bound
    return None
