"""Quantisation: straight through the rounding, and cut where it saturates (Bengio et al. 2013).

A gradient with respect to an integer value is one per step of it, as a float.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import NoRule
from ...graph.graph import Tensor, op

# The integers that each type of quantised value holds.
RANGES = {
    "int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767), "uint16": (0, 65535),
    "int4": (-8, 7), "uint4": (0, 15), "int2": (-2, 1), "uint2": (0, 3),
}  # fmt: skip


def along(v: Tensor, x: Tensor, axis: int, block_size: int) -> Tensor:
    """A scale or zero point as float, in a shape that broadcasts against x: whole, by channel or by block."""
    v = op.Cast(v, to=1)
    if block_size:
        return op.Gather(v, blocks(x, axis, block_size), axis=axis)
    if v.rank == 0 or v.shape == (1,):
        return v
    shape = [1] * x.rank
    shape[axis] = -1
    return op.Reshape(v, shape)


def blocks(x: Tensor, axis: int, block_size: int) -> np.ndarray:
    """The block of each index of an axis, (size,) int64. Raises NoRule where the size is not known."""
    size = x.shape[axis] if x.shape is not None else None
    if not isinstance(size, int):
        raise NoRule("is quantised in blocks along an axis of unknown size; bind the shape")
    return np.arange(size) // block_size


def quantize_linear(
    g: Tensor,
    y: Tensor,
    x: Tensor,
    scale: Tensor,
    zero: Tensor | None,
    axis: int = 1,
    block_size: int = 0,
) -> tuple[Tensor | None, ...]:
    """dx = g / s, where round(x / s) + z is in the range of the type."""
    low, high = RANGES.get(str(y.dtype), (-np.inf, np.inf))
    s = along(scale, x, axis, block_size)
    level = op.Cast(x, to=1) / s
    if zero is not None:
        level = level + along(zero, x, axis, block_size)
    inside = op.And(level >= low - 0.5, level <= high + 0.5)
    return op.Where(inside, g / s, 0), None, None


def dequantize_linear(
    g: Tensor,
    y: Tensor,
    x: Tensor,
    scale: Tensor,
    zero: Tensor | None,
    axis: int = 1,
    block_size: int = 0,
) -> tuple[Any, ...]:
    """y = (x - z) s."""
    steps = op.Cast(x, to=1)
    if zero is not None:
        steps = steps - along(zero, x, axis, block_size)

    def ds() -> Tensor:
        if block_size:
            shape = [1] * x.rank
            shape[axis] = -1
            numbers = x.graph.constant(blocks(x, axis, block_size).reshape(shape))
            zeros = op.Expand(scale.graph.constant(0, g.dtype), scale.dims)
            return op.ScatterElements(
                zeros, op.Expand(numbers, x.dims), g * steps, axis=axis, reduction="add"
            )
        per_channel = scale.rank == 1 and scale.shape != (1,)
        others = [a for a in range(x.rank) if a != axis % x.rank] if per_channel else None
        return (g * steps).sum(others, keepdims=False).like(scale)

    return g * along(scale, x, axis, block_size), ds, None


def dynamic_quantize_linear(gs: tuple[Tensor, ...], ys: tuple[Tensor, ...], x: Tensor) -> Tensor:
    """The range is that of x itself, so nothing saturates; it counts as a constant.

    But where the scale alone is asked for, its slope is that of the largest and the smallest number.
    """
    if not _is_nothing(gs[0]):
        return op.Cast(gs[0], to=1) / ys[1]
    hits = [
        op.Equal(x, op.Reshape(m, [])) for m in (op.ReduceMax(x, keepdims=0), op.ReduceMin(x, keepdims=0))
    ]
    high, low = (op.Cast(hit, to=1) for hit in (op.And(hits[0], x > 0), op.And(hits[1], x < 0)))
    shares = [hit / op.Max(hit.sum(keepdims=False), 1.0) for hit in (high, low)]
    return gs[1] / 255.0 * (shares[0] - shares[1])


def _is_nothing(g: Tensor) -> bool:
    """Whether a gradient is known to be zero: it stands for one that did not arrive."""
    made = g.graph.producer(g.name)
    value = None if made is None or made.op_type != "Expand" else g.graph[made.input[0]].array
    return value is not None and not value.any()


RULES = {
    "QuantizeLinear": quantize_linear,
    "DequantizeLinear": dequantize_linear,
    "DynamicQuantizeLinear": dynamic_quantize_linear,
}
