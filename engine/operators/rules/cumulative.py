"""Running and whole products and sums along an axis."""

from __future__ import annotations

from ...graph.graph import Tensor, op
from .reduction import kept


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


RULES = {"CumProd": cum_prod, "CumSum": cum_sum, "ReduceProd": reduce_prod}
