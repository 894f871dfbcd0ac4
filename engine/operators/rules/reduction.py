"""Reductions over axes, whose gradient is brought back to the shape of the input, and what runs along one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...graph.graph import Tensor, op
from .pooling import spread


def kept(g: Tensor, x: Tensor, axes: Tensor | None, keepdims: int) -> Tensor:
    """A reduced value with its reduced axes back, of size 1."""
    if keepdims or (axes is None and x.shape is None):  # a scalar goes with any rank
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


def norm(
    g: Tensor, y: Tensor, x: Tensor, axes: Tensor | None, keepdims: int, noop_with_empty_axes: int
) -> tuple[Tensor, None]:
    """y = √Σ x²: dx = g x / y. At 0, where it has no slope, and for an empty sum it is 0."""
    keepdims = keepdims or int(axes is None and bool(noop_with_empty_axes))
    g, y = kept(g, x, axes, keepdims), kept(y, x, axes, keepdims)
    zero = op.Equal(y, 0)
    return x * (op.Where(zero, 0, g) / op.Where(zero, 1, y)), None


def cum_sum(
    g: Tensor, y: Tensor, x: Tensor, axis: Tensor, exclusive: int, reverse: int
) -> tuple[Tensor, None]:
    """Each element is in all sums from its own on: the same sum, run the other way."""
    return op.CumSum(g, axis, exclusive=exclusive, reverse=1 - reverse), None


def cum_prod(
    g: Tensor, y: Tensor, x: Tensor, axis: Tensor, exclusive: int, reverse: int
) -> tuple[Tensor, None]:
    """The sum of g y / x over all products that an element is in, with zeros taken out and counted.

    A zero has a gradient from the products in which it is the only one, all others from those without.
    """
    zero = op.Equal(x, 0)
    filled = op.Where(zero, 1, x)
    products = g * op.CumProd(filled, axis, exclusive=exclusive, reverse=reverse)
    zeros = op.CumSum(op.CastLike(zero, x), axis, exclusive=exclusive, reverse=reverse)

    def total(count: int) -> Tensor:
        part = op.Where(op.Equal(zeros, count), products, 0)
        return op.CumSum(part, axis, exclusive=exclusive, reverse=1 - reverse)

    return op.Where(zero, total(1), total(0) / filled), None


def reduce_prod(
    g: Tensor, y: Tensor, x: Tensor, axes: Tensor | None, keepdims: int, noop_with_empty_axes: int
) -> tuple[Tensor, None]:
    """The product of the others: y / x, and for the only zero of a product the product of the rest."""
    if axes is None and noop_with_empty_axes:
        return g, None
    zero = op.Equal(x, 0)
    filled = op.Where(zero, 1, x)
    rest = op.ReduceProd(filled, axes, keepdims=1)
    zeros = op.ReduceSum(op.CastLike(zero, x), axes, keepdims=1)
    others = zeros - op.CastLike(zero, x)  # how many of the other elements are zero
    return kept(g, x, axes, keepdims) * op.Where(others > 0, 0, rest / filled), None


RULES = {
    "ReduceSum": reducing(lambda g, x: op.Expand(g, x.dims)),
    "ReduceMean": reducing(spread),
    "ReduceL2": norm,
    "ReduceMax": extremum,
    "ReduceMin": extremum,
    "ReduceProd": reduce_prod,
    "CumProd": cum_prod,
    "CumSum": cum_sum,
}
