"""Pooling over windows and over the whole map."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ...errors import BadModel
from ...graph.graph import Tensor, op
from .layout import scatter
from .linear import windows_adjoint


def max_pool(
    g: Tensor,
    y: Tensor,
    x: Tensor,
    kernel_shape: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    ceil_mode: int,
    pads: Sequence[int] | None = None,
    auto_pad: str = "NOTSET",
) -> Tensor:
    """Each window hands its gradient to its maximum, the first where several tie.

    The pool is run once more for the positions of its maxima: the forward pass keeps the fast kernel. How
    it pads what is of open size it finds out by itself.
    """
    _, where = op.MaxPool(
        x,
        kernel_shape=kernel_shape,
        strides=strides,
        dilations=dilations,
        ceil_mode=ceil_mode,
        **({"auto_pad": auto_pad} if pads is None else {"pads": pads}),
        outputs=2,
    )
    return scatter(g, where, x)


def average_pool(
    g: Tensor,
    y: Tensor,
    x: Tensor,
    kernel_shape: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    count_include_pad: int = 0,
    auto_pad: str = "NOTSET",
) -> Tensor:
    """Each window spreads its gradient evenly over the pixels that it averaged."""
    size, out = x.spatial, y.spatial
    if pads is None or size is None or out is None:
        raise BadModel(_open(y))
    dilations = dilations or [1] * len(kernel_shape)
    count = _counts(size, out, kernel_shape, strides, pads, dilations, bool(count_include_pad))
    share = g / x.graph.constant(count[None, None], x.dtype)
    return spread_windows(share, x, kernel_shape, strides, dilations, pads)


def _open(y: Tensor) -> str:
    return f"the windows of the pool that makes {y.name!r} depend on a size that is not known; give it"


def spread_windows(
    share: Tensor,
    x: Tensor,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[int],
) -> Tensor:
    """Add what each window has to give to every pixel under it, one channel at a time."""
    plane = op.Reshape(x, op.Concat([-1, 1], op.Shape(x, start=2), axis=0))
    ones = x.graph.constant(np.ones((1, 1, *kernel)), x.dtype)
    shares = op.Reshape(share, op.Concat([-1, 1], op.Shape(share, start=2), axis=0))
    return windows_adjoint(shares, ones, plane, strides, dilations, pads).like(x)


def lp_pool(
    g: Tensor,
    y: Tensor,
    x: Tensor,
    p: int,
    kernel_shape: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[int] | None = None,
) -> Tensor:
    """y = (Σ |x|ᵖ)^(1/p) over each window."""
    if pads is None:
        raise BadModel(_open(y))
    return lp_slope(x, p) * spread_windows(lp_share(g, y, p), x, kernel_shape, strides, dilations, pads)


def lp_share(g: Tensor, y: Tensor, p: int) -> Tensor:
    """g y¹⁻ᵖ, and 0 where y is 0."""
    return g if p == 1 else op.Where(y > 0, g / op.Where(y > 0, y, 1) ** (p - 1), 0)


def lp_slope(x: Tensor, p: int) -> Tensor:
    """|x|ᵖ⁻¹ sign x."""
    return op.Sign(x) * (op.Abs(x) ** (p - 1))


def _counts(
    size: Sequence[int],
    out: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    padded: bool,
) -> np.ndarray:
    """How many pixels each window averages, with those of the padding or without; shape `out`."""
    counts = np.ones(())
    for axis, (n, o, k, s, d) in enumerate(zip(size, out, kernel, strides, dilations, strict=True)):
        taps = np.arange(o)[:, None] * s - pads[axis] + np.arange(k) * d
        low, high = (-pads[axis], n + pads[len(size) + axis]) if padded else (0, n)
        counts = counts[..., None] * ((taps >= low) & (taps < high)).sum(1)
    return counts


def spread(g: Tensor, x: Tensor) -> Tensor:
    """The gradient of a mean: an even share for each element that was averaged into it."""
    pairs = list(zip(x.shape or (), g.shape or (), strict=False))
    if pairs and len(pairs) == x.rank and all(d == s or isinstance(d, int) for d, s in pairs):
        size = math.prod(d for d, s in pairs if d != s and isinstance(d, int))
        return op.Expand(g / size, x.dims)
    return op.Expand(g * (op.CastLike(op.Size(g), g) / op.CastLike(op.Size(x), g)), x.dims)


def global_max_pool(g: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """To the maximum of each map, shared where several tie."""
    hit = op.CastLike(op.Equal(x, y), g)
    return g * hit / hit.sum(range(2, x.rank))


RULES = {
    "MaxPool": max_pool,
    "AveragePool": average_pool,
    "GlobalAveragePool": lambda g, y, x: spread(g, x),
    "GlobalMaxPool": global_max_pool,
    "GlobalLpPool": lambda g, y, x, p: lp_slope(x, p) * lp_share(g, y, p),
    "LpPool": lp_pool,
}
