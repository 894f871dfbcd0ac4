"""Operators that ONNX Runtime fuses others into, as what they were before (ContribOperators.md)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...errors import NoRule
from ...graph.graph import Tensor, op
from .quantised import channels_last_again, channels_second
from .sampling import grid_sample as sampled


def activated(y: Tensor, name: str, numbers: Sequence[float] | None) -> Tensor:
    """An activation by its name, with its parameters in the order of its attributes."""
    numbers = list(numbers or ())
    if not name:
        return y
    if name == "Clip":
        return op.Clip(y, *numbers)
    attributes = {"LeakyRelu": ("alpha",), "HardSigmoid": ("alpha", "beta"), "Elu": ("alpha",)}.get(name, ())
    if name not in ("Relu", "Sigmoid", "Tanh", "LeakyRelu", "HardSigmoid", "Elu", "Softplus"):
        raise NoRule(f"has the fused activation {name!r}, which has no rule")
    return getattr(op, name)(y, **dict(zip(attributes, numbers, strict=False)))


def fused_conv(
    x: Tensor, w: Tensor, b: Tensor | None = None, z: Tensor | None = None, activation: str = "",
    activation_params: Sequence[float] | None = None, **attrs: Any,
) -> Tensor:  # fmt: skip
    """activation(x ∗ w + b + z)."""
    y = op.Conv(x, w, b, **attrs)
    return activated(y if z is None else y + z, activation, activation_params)


def fused_gemm(
    a: Tensor, b: Tensor, c: Tensor | None = None, activation: str = "", alpha: float = 1.0,
    beta: float = 1.0, transA: int = 0, transB: int = 0, activation_alpha: float | None = None,
    activation_beta: float | None = None, **_: Any,
) -> Tensor:  # fmt: skip
    """activation(α A B + β C)."""
    y = op.Gemm(a, b, c, alpha=alpha, beta=beta, transA=transA, transB=transB)
    return activated(y, activation, [n for n in (activation_alpha, activation_beta) if n is not None])


def fused_matmul(
    a: Tensor, b: Tensor, alpha: float = 1.0, transA: int = 0, transB: int = 0, transBatchA: int = 0,
    transBatchB: int = 0,
) -> Tensor:  # fmt: skip
    """α A B, each with its last two axes swapped or its batch axes moved behind the first matrix axis."""
    return _turned(a, transA, transBatchA) @ _turned(b, transB, transBatchB) * alpha


def _turned(x: Tensor, last: int, batch: int) -> Tensor:
    perm = list(range(x.rank))
    if batch:
        perm = [*perm[1:-1], perm[0], perm[-1]]
    if last and x.rank > 1:
        perm[-2], perm[-1] = perm[-1], perm[-2]
    return x if perm == list(range(x.rank)) else op.Transpose(x, perm=perm)


def gelu(x: Tensor) -> Tensor:
    """x Φ(x)."""
    return x * 0.5 * (1 + op.Erf(x * math.sqrt(0.5)))


def fast_gelu(x: Tensor, bias: Tensor | None = None) -> Tensor:
    """The approximation of Φ by a hyperbolic tangent."""
    x = x if bias is None else x + bias
    return x * 0.5 * (1 + op.Tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)))


def layer_norm(
    x: Tensor, gamma: Tensor, beta: Tensor | None, epsilon: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Normalised over the last axis; its mean and the inverse of its deviation too."""
    mean = x.mean([-1])
    inverse = 1 / op.Sqrt(((x - mean) * (x - mean)).mean([-1]) + epsilon)
    y = (x - mean) * inverse * gamma
    return y if beta is None else y + beta, mean, inverse


def skip_layer_normalization(
    x: Tensor, skip: Tensor, gamma: Tensor, beta: Tensor | None = None, bias: Tensor | None = None,
    epsilon: float = 1e-12,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Layer normalisation of x + skip (+ bias)."""
    total = x + skip if bias is None else x + skip + bias
    return *layer_norm(total, gamma, beta, epsilon), total


def rms_norm(x: Tensor, gamma: Tensor, epsilon: float = 1e-5, **_: Any) -> tuple[Tensor, Tensor]:
    """x / √(mean x² + ε) · γ."""
    inverse = 1 / op.Sqrt((x * x).mean([-1]) + epsilon)
    return x * inverse * gamma, inverse


def skip_rms_norm(
    x: Tensor, skip: Tensor, gamma: Tensor, bias: Tensor | None = None, epsilon: float = 1e-12
) -> tuple[Tensor, ...]:
    """RMS normalisation of x + skip (+ bias)."""
    total = x + skip if bias is None else x + skip + bias
    y, inverse = rms_norm(total, gamma, epsilon)
    return y, inverse, inverse, total


def embed_layer_normalization(
    ids: Tensor, segments: Tensor | None, words: Tensor, places: Tensor, kinds: Tensor | None, gamma: Tensor,
    beta: Tensor, mask: Tensor | None = None, place_ids: Tensor | None = None, epsilon: float = 1e-12,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Layer normalisation of the sum of what tables hold for tokens, places and segments; that sum too.

    Between them, how many tokens of each sequence count.
    """
    place = op.Slice(places, [0], ids.dim(1), [0]) if place_ids is None else op.Gather(places, place_ids)
    total = op.Gather(words, ids) + place
    if segments is not None and kinds is not None:
        total = total + op.Gather(kinds, segments)
    given = ids * 0 if mask is None else mask
    return layer_norm(total, gamma, beta, epsilon)[0], op.ReduceSum(given, [1], keepdims=0), total


def group_norm(
    x: Tensor, gamma: Tensor, beta: Tensor, groups: int, activation: int = 0, channels_last: int = 1,
    epsilon: float = 1e-5,
) -> Tensor:  # fmt: skip
    """Groups of channels to mean 0 and variance 1, scaled and shifted by channel (and SiLU behind)."""
    maps = channels_second(x, channels_last)
    rows = op.Reshape(maps, [0, groups, -1])
    centred = rows - rows.mean([2])
    normal = (centred / op.Sqrt((centred * centred).mean([2]) + epsilon)).like(maps)
    per_channel = [-1] + [1] * (x.rank - 2)
    factor, shift = (op.Reshape(op.CastLike(t, x), per_channel) for t in (gamma, beta))
    y = channels_last_again(normal * factor + shift, channels_last)
    return y * op.Sigmoid(y) if activation else y


def skip_group_norm(
    x: Tensor, gamma: Tensor, beta: Tensor, skip: Tensor, bias: Tensor | None = None, channels_last: int = 1,
    **attrs: Any,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Group normalisation of x + skip (+ bias), and that sum."""
    axes = list(range(1, x.rank - 1)) if channels_last else list(range(2, x.rank))
    total = x + (op.Unsqueeze(skip, axes) if skip.rank == 2 else skip)
    if bias is not None:
        total = total + (bias if channels_last else op.Unsqueeze(bias, [a - 1 for a in axes]))
    return group_norm(total, gamma, beta, channels_last=channels_last, **attrs), total


def nhwc_conv(
    x: Tensor, w: Tensor, b: Tensor | None = None, z: Tensor | None = None, activation: str = "",
    activation_params: Sequence[float] | None = None, **attrs: Any,
) -> Tensor:  # fmt: skip
    """`fused_conv` of maps whose channels are last; the kernel is spelled as ever."""
    y = channels_last_again(op.Conv(channels_second(x, 1), w, b, **attrs), 1)
    return activated(y if z is None else y + z, activation, activation_params)


def bias_split_gelu(x: Tensor, bias: Tensor) -> Tensor:
    """The first half of the channels of x + bias times the GELU of the second."""
    a, b = op.Split(x + bias, axis=-1, num_outputs=2, outputs=2)
    return a * gelu(b)


def cdist(a: Tensor, b: Tensor, metric: str = "sqeuclidean") -> Tensor:
    """The distance, or its square, of each row of a from each row of b."""
    if metric not in ("euclidean", "sqeuclidean"):
        raise NoRule(f"measures by {metric!r}, which ONNX Runtime does not compute either")
    apart = op.Unsqueeze(a, [1]) - op.Unsqueeze(b, [0])
    squares = (apart * apart).sum([2], keepdims=False)
    return op.Sqrt(squares) if metric == "euclidean" else squares


def padded(x: Tensor, pads: Tensor, value: Tensor | None = None, mode: str = "constant") -> Tensor:
    """Pad, whose value and pads may have an axis more than ONNX's."""
    number = None if value is None else op.Reshape(value, np.zeros(0, np.int64))
    return op.Pad(x, op.Reshape(pads, [-1]), number, mode=mode)


MS = "com.microsoft:"
BODIES: dict[str, Callable[..., Any]] = {
    MS + "FusedConv": fused_conv,
    MS + "FusedGemm": fused_gemm,
    MS + "FusedMatMul": fused_matmul,
    MS + "TransposeMatMul": fused_matmul,
    MS + "Gelu": gelu,
    MS + "FastGelu": fast_gelu,
    MS + "BiasGelu": lambda x, bias: gelu(x + bias),
    MS + "QuickGelu": lambda x, alpha=1.702: x * op.Sigmoid(x * alpha),
    MS + "SkipLayerNormalization": skip_layer_normalization,
    MS + "SkipSimplifiedLayerNormalization": skip_rms_norm,
    MS + "EmbedLayerNormalization": embed_layer_normalization,
    MS + "GroupNorm": group_norm,
    MS + "SkipGroupNorm": skip_group_norm,
    MS + "NhwcConv": nhwc_conv,
    MS + "NhwcFusedConv": nhwc_conv,
    MS + "BiasAdd": lambda x, bias, skip: x + bias + skip,
    MS + "BiasSplitGelu": bias_split_gelu,
    MS + "GemmFastGelu": lambda x, w, bias=None: fast_gelu(x @ w, bias),
    MS + "CDist": cdist,
    MS + "ExpandDims": lambda x, axis: op.Unsqueeze(x, op.Reshape(op.Cast(axis, to=7), [1])),
    MS + "GatherND": lambda x, at: op.GatherND(x, op.Cast(at, to=7)),
    MS + "GridSample": lambda x, grid, mode="bilinear", padding_mode="zeros", align_corners=0: sampled(
        x, grid, mode, padding_mode, align_corners
    ),
    MS + "Pad": padded,
    MS + "Trilu": lambda x, k=None, upper=1: op.Trilu(x, k, upper=upper),
    "SimplifiedLayerNormalization": rms_norm,
}
