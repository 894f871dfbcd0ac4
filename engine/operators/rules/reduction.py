"""Reductions over axes: the gradient is brought back to the shape of the input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...graph.graph import Tensor, op
from .pooling import spread


def kept(g: Tensor, x: Tensor, axes: Tensor | None, keepdims: int) -> Tensor:
    """A reduced value with its reduced axes back, of size 1."""
    if keepdims:
        return g
    return op.Reshape(g, [1] * x.rank) if axes is None else op.Unsqueeze(g, axes)


def reducing(rule: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Any]:
    """A rule of (g, x) with g broadcastable to x, as the rule of a reduction operator."""

    def full(
        g: Tensor, y: Tensor, x: Tensor, axes: Tensor | None, keepdims: int, noop_with_empty_axes: int
    ) -> tuple[Tensor, None]:
        if axes is None and noop_with_empty_axes:
            return g, None
        return rule(kept(g, x, axes, keepdims), x), None

    return full


def extremum(
    g: Tensor, y: Tensor, x: Tensor, axes: Tensor | None, keepdims: int, noop_with_empty_axes: int
) -> tuple[Tensor, None]:
    """To the elements that are the extremum, shared where several tie."""
    if axes is None and noop_with_empty_axes:
        return g, None
    hit = op.CastLike(op.Equal(x, kept(y, x, axes, keepdims)), g)
    hits = op.ReduceSum(hit, axes, keepdims=1, noop_with_empty_axes=noop_with_empty_axes)
    return kept(g, x, axes, keepdims) * hit / hits, None


RULES = {
    "ReduceSum": reducing(lambda g, x: op.Expand(g, x.dims)),
    "ReduceMean": reducing(spread),
    "ReduceMax": extremum,
    "ReduceMin": extremum,
}
