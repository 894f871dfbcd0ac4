"""Normalisations with statistics that are stored or taken from neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np

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
) -> Any:
    """y = scale (x - mean) / √(var + ε) + bias, with stored statistics, per channel; its body in training."""
    if training_mode:
        return NotImplemented
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
    """y = x s⁻ᵝ with s = bias + α/size · W x², where W adds up a window of channels.

    dx = g s⁻ᵝ - 2 α β / size · x · Wᵀ(g x s⁻ᵝ⁻¹)
    """
    before, behind = (size - 1) // 2, size // 2
    s = bias + (alpha / size) * _summed(x * x, before, behind)
    slope = (2 * alpha * beta / size) * x * _summed(g * x * s ** (-beta - 1), behind, before)
    return g * s ** (-beta) - slope


def _summed(x: Tensor, before: int, behind: int) -> Tensor:
    """To each channel the channels before and behind it added: a convolution along them, one to a map."""
    ones = x.graph.constant(np.ones((1, 1, before + 1 + behind, *[1] * (x.rank - 2))), x.dtype)
    maps, rest = op.Unsqueeze(x, [1]), [0] * (x.rank - 2)
    return op.Squeeze(op.Conv(maps, ones, pads=[before, *rest, behind, *rest]), [1])


RULES = {"BatchNormalization": batch_normalization, "LRN": lrn}
