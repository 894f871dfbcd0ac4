"""Normalisations with statistics that are stored or taken from neighbours."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ...errors import NoRule
from ...graph.graph import Tensor, op


def batch_normalization(
    g: Tensor,
    y: Tensor,
    x: Tensor,
    scale: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    epsilon: float,
    training_mode: int = 0,
) -> tuple[Callable[[], Tensor], ...]:
    """y = scale (x - mean) / √(var + ε) + bias, with stored statistics, per channel."""
    if training_mode:
        raise NoRule("is in training mode; export it for inference")
    others = [0, *range(2, x.rank)]

    def per_channel(v: Tensor) -> Tensor:
        return op.Reshape(v, [-1] + [1] * (x.rank - 2))

    std = op.Sqrt(var + epsilon)

    def d_scale() -> Tensor:
        return (g * (x - per_channel(mean))).sum(others, keepdims=False) / std

    return (
        lambda: g * per_channel(scale / std),
        d_scale,
        lambda: g.sum(others, keepdims=False),
        lambda: -(g.sum(others, keepdims=False) * scale / std),
        lambda: -0.5 * d_scale() * scale / (var + epsilon),
    )


def lrn(g: Tensor, y: Tensor, x: Tensor, size: int, alpha: float, beta: float, bias: float) -> Tensor:
    """y = x s⁻ᵝ with s = bias + α/size · W x², where W adds up a window of channels (a banded matrix).

    dx = g s⁻ᵝ - 2 α β / size · x · Wᵀ(g x s⁻ᵝ⁻¹)
    """
    channels = x.shape[1] if x.shape is not None else None
    if not isinstance(channels, int):
        raise NoRule("works on a number of channels that is not known; bind the shape")
    offset = np.arange(channels)[None, :] - np.arange(channels)[:, None]
    band = (offset >= -((size - 1) // 2)) & (offset <= size // 2)
    ones = [1] * (x.rank - 2)
    w = x.graph.constant(band.reshape(channels, channels, *ones), x.dtype)
    wt = x.graph.constant(band.T.reshape(channels, channels, *ones), x.dtype)
    s = bias + (alpha / size) * op.Conv(x * x, w)
    return g * s ** (-beta) - (2 * alpha * beta / size) * x * op.Conv(g * x * s ** (-beta - 1), wt)


RULES = {"BatchNormalization": batch_normalization, "LRN": lrn}
