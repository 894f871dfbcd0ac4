"""Gradients of the shape of their values, whatever was broadcast in between; zeros and sums of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..graph.graph import Tensor, op
from ..operators.rules.sequences import is_sequence, is_tensor, mapped


def zeros_like(x: Tensor) -> Tensor:
    """Zeros of a tensor's type and shape; of a sequence one of zeros; of what may be missing, of that."""
    if is_sequence(x):
        return mapped(zeros_like, x)
    x = x if is_tensor(x) else op.OptionalGetElement(x)
    return op.Expand(x.graph.constant(np.zeros((), x.dtype)), x.dims)


def total(grads: Sequence[Tensor]) -> Tensor:
    """The sum of what arrives at a value from all that read it."""
    if len(grads) > 1 and is_sequence(grads[0]):
        return mapped(op.Sum, *grads)
    return grads[0] if len(grads) == 1 else op.Sum(*grads)


def unbroadcast(dx: Tensor, x: Tensor) -> Tensor:
    """Sum a gradient over the axes along which its value was broadcast: the adjoint of broadcasting.

    x (3, 1)  --broadcast-->  (2, 3, 4)        dx (2, 3, 4)  --sum-->  (3, 1)
    """
    known = dx.shape == x.shape and dx.shape is not None and None not in dx.shape
    if known or not is_tensor(x):
        return dx
    if dx.shape is None or x.shape is None:  # even the rank is known only at run time
        ones = op.Expand(1, op.Sub(op.Shape(op.Shape(dx)), op.Shape(op.Shape(x))))
        stretched = op.Concat(ones, op.Shape(x), axis=0)
        return op.Reshape(_summed_where_one(dx, stretched), op.Shape(x), allowzero=1)
    extra = len(dx.shape) - len(x.shape)
    if extra > 0:
        dx = dx.sum(range(extra), keepdims=False)
    assert dx.shape is not None
    stretched = [i for i, (d, s) in enumerate(zip(dx.shape, x.shape, strict=True)) if s == 1 and d != 1]
    if stretched:
        dx = dx.sum(stretched)
    pairs = zip(dx.shape or (), x.shape, strict=True)
    if any(not isinstance(s, int) and (s is None or s != d) for d, s in pairs):
        dx = op.Reshape(_summed_where_one(dx, x.dims), x.dims, allowzero=1)  # of a known rank again
    return dx


def _summed_where_one(dx: Tensor, dims: Tensor) -> Tensor:
    """The sum over the axes along which a shape turns out to be 1, which stay."""
    axes = op.Squeeze(op.NonZero(op.Equal(dims, 1)), [0])
    return op.ReduceSum(dx, axes, keepdims=1, noop_with_empty_axes=1)
