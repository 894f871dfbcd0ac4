"""The discrete Fourier transform: linear, and its adjoint is the transform the other way."""

from __future__ import annotations

import numpy as np

from ...graph.graph import Tensor, op

AXIS_IS_INPUT = 20  # the opset from which on DFT takes its axis as an input


def dft(
    g: Tensor, y: Tensor, x: Tensor, length: Tensor | None, axis: Tensor | int | None = None,
    inverse: int = 0, onesided: int = 0,
) -> tuple[Tensor, ...]:  # fmt: skip
    """y = F x over the first N elements, or with zeros behind them; ȳ = F̄ x / N for the inverse.

    The adjoint of F is N times the inverse, that of the inverse F / N. One half of a spectrum stands for the
    other too: as an output, the other is not asked for; as an input, all but its ends count twice.
    """
    axis = _known(axis)
    count = _size(x, axis) if onesided and not inverse and length is None else length
    count = _size(y, axis) if not onesided or inverse or count is None else op.Reshape(count, [1])
    points = op.CastLike(count, g)
    if onesided and inverse:
        back = transformed(g, axis, inverse=0, onesided=1) * _twice(g, axis, count) / points
    elif inverse:
        back = transformed(g, axis, inverse=0, onesided=0) / points
    else:
        back = transformed(_sized(g, axis, count), axis, inverse=1, onesided=0) * points
    back = _sized(back, axis, _size(x, axis))
    is_real = x.shape is not None and x.shape[-1] == 1
    return (op.Slice(back, [0], [1], [-1]) if is_real else back,)


def _known(axis: Tensor | int | None) -> Tensor | int:
    """The axis of the transform, an input or an attribute, as a number where it is known."""
    if axis is None:
        return -2
    return int(axis.array.item()) if isinstance(axis, Tensor) and axis.array is not None else axis


def _size(x: Tensor, axis: Tensor | int) -> Tensor:
    return x.dim(axis) if isinstance(axis, int) else op.Gather(op.Shape(x), op.Reshape(axis, [1]))


def transformed(x: Tensor, axis: Tensor | int, inverse: int, onesided: int) -> Tensor:
    """The transform of x along an axis, in the spelling of the graph's opset."""
    how = {"inverse": inverse, "onesided": onesided}
    if x.graph.opsets[""] < AXIS_IS_INPUT:
        return op.DFT(x, axis=axis, **how)
    return op.DFT(x, None, x.graph.constant(np.int64(axis)) if isinstance(axis, int) else axis, **how)


def _sized(x: Tensor, axis: Tensor | int, size: Tensor) -> Tensor:
    """Cut, or with zeros behind it, to this size."""
    now = _size(x, axis)
    if size.array is not None and now.array is not None and size.array.item() == now.array.item():
        return x
    axes = [axis] if isinstance(axis, int) else op.Reshape(axis, [1])
    return op.Pad(x, op.Concat([0], op.Sub(size, now), axis=0), None, axes)


def _twice(g: Tensor, axis: Tensor | int, count: Tensor) -> Tensor:
    """How often each bin of one half of the spectrum of `count` real values counts, to be broadcast to g."""
    bins = op.Range(0, op.Squeeze(op.Add(op.Div(count, [2]), 1), [0]), 1)
    once = op.Or(op.Equal(bins, 0), op.Equal(op.Mul(bins, 2), count))
    ones, place = np.ones(g.rank, np.int64), [axis] if isinstance(axis, int) else op.Reshape(axis, [1])
    shape = op.ScatterElements(g.graph.constant(ones), place, [-1])
    return op.Reshape(op.Where(once, g.graph.constant(1, g.dtype), 2), shape)


RULES = {"DFT": dft}
