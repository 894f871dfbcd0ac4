"""Normalisations by statistics of the input itself."""

from __future__ import annotations

from ...graph.graph import Tensor, op


def batch_normalization(
    x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor, epsilon: float, momentum: float = 0.9
) -> tuple[Tensor, Tensor, Tensor]:
    """In training: each channel by its mean and variance over the batch, which the running ones go after."""
    axes = [0, *range(2, x.rank)]
    per_channel = [-1] + [1] * (x.rank - 2)
    now = x.mean(axes)
    centred = x - now
    spread = (centred * centred).mean(axes)
    normal = centred / op.Sqrt(spread + epsilon)
    running = (
        old * momentum + op.CastLike(op.Reshape(new, [-1]), old) * (1 - momentum)
        for old, new in ((mean, now), (var, spread))
    )
    return normal * op.Reshape(scale, per_channel) + op.Reshape(bias, per_channel), *running


def instance_normalization(x: Tensor, scale: Tensor, bias: Tensor, epsilon: float) -> Tensor:
    """Each map to mean 0 and variance 1, then scaled and shifted by its channel."""
    axes = list(range(2, x.rank))
    per_channel = [-1] + [1] * len(axes)
    centred = x - x.mean(axes)
    normal = centred / op.Sqrt((centred * centred).mean(axes) + epsilon)
    return normal * op.Reshape(scale, per_channel) + op.Reshape(bias, per_channel)


def layer_normalization(
    x: Tensor, scale: Tensor, bias: Tensor | None, axis: int, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """From `axis` on to mean 0 and variance 1; the mean and the inverse of the deviation too.

    The specification's own body has as many reshapes as sums, and none for float64.
    """
    axes = list(range(axis % x.rank, x.rank))
    mean = x.mean(axes)
    centred = x - mean
    inverse = 1 / op.Sqrt((centred * centred).mean(axes) + epsilon)
    y = centred * inverse * scale
    return y if bias is None else y + bias, mean, inverse


def lp_normalization(x: Tensor, axis: int, p: int) -> Tensor:
    """x / ‖x‖ₚ along an axis; 0 where all are, as ONNX Runtime has it, and so is the gradient."""
    size = op.Abs(x).sum([axis]) if p == 1 else (x * x).sum([axis])
    empty = op.Equal(size, 0)
    safe = op.Where(empty, 1, size)
    return op.Where(empty, 0, x / (safe if p == 1 else op.Sqrt(safe)))


BODIES = {
    "BatchNormalization": batch_normalization,
    "InstanceNormalization": instance_normalization,
    "LayerNormalization": layer_normalization,
    "LpNormalization": lp_normalization,
}
