"""Operators that ONNX Runtime fuses others into, as what they were before (ContribOperators.md)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import NoRule
from ..graph import Tensor, op


def activated(y: Tensor, name: str, numbers: Sequence[float] | None) -> Tensor:
    """An activation by its name, with its parameters in the order of its attributes."""
    numbers = list(numbers or ())
    if not name:
        return y
    if name == "Clip":
        return op.Clip(y, *numbers)
    attributes = {"LeakyRelu": ("alpha",), "HardSigmoid": ("alpha", "beta"), "Elu": ("alpha",)}.get(name, ())
    if name not in ("Relu", "Sigmoid", "Tanh", "LeakyRelu", "HardSigmoid", "Elu", "Softplus"):
        raise NoRule(f"no gradient for the fused activation {name!r}")
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


def heads(x: Tensor, number: int) -> Tensor:
    """(N, S, H·D) to (N, H, S, D)."""
    split = op.Reshape(x, [0, 0, number, -1])
    return op.Transpose(split, perm=[0, 2, 1, 3])


def multi_head_attention(
    query: Tensor, key: Tensor | None = None, value: Tensor | None = None, bias: Tensor | None = None,
    padding_mask: Tensor | None = None, attention_bias: Tensor | None = None, *past: Tensor | None,
    num_heads: int, scale: float | None = None, unidirectional: int = 0, mask_filter_value: float = -10000.0,
) -> Tensor:  # fmt: skip
    """softmax(Q Kᵀ scale + bias) V for each head, of separate (N, S, H·D) queries, keys and values."""
    if key is None or value is None or key.rank != 3 or any(past) or padding_mask is not None:
        raise NoRule("MultiHeadAttention has a gradient for separate queries, keys and values, no cache")
    if bias is not None:
        one, two = query.dim(2), query.dim(2) * 2
        bq, bk, bv = op.Slice(bias, [0], one), op.Slice(bias, one, two), op.Slice(bias, two, op.Shape(bias))
        return attended(query + bq, key + bk, value + bv, num_heads, scale, attention_bias, unidirectional)
    return attended(query, key, value, num_heads, scale, attention_bias, unidirectional)


def attended(
    query: Tensor, key: Tensor, value: Tensor, number: int, scale: float | None, bias: Tensor | None,
    causal: int,
) -> Tensor:  # fmt: skip
    """The heads' attention, joined again: (N, S, H·D)."""
    q, k, v = (heads(t, number) for t in (query, key, value))
    size = q.shape[3] if q.shape is not None else None
    if scale:
        factor: Any = scale
    elif isinstance(size, int):
        factor = 1 / math.sqrt(size)
    else:
        factor = 1 / op.Sqrt(op.CastLike(op.Squeeze(q.dim(3), [0]), q))
    scores = q @ op.Transpose(k, perm=[0, 1, 3, 2]) * factor
    if bias is not None:
        scores = scores + bias
    if causal:
        below = op.Trilu(op.Expand(q.graph.constant(1, q.dtype), op.Shape(scores)), 0, upper=0)
        scores = op.Where(op.Equal(below, 1), scores, -10000)
    mixed = op.Softmax(scores, axis=-1) @ v
    return op.Reshape(op.Transpose(mixed, perm=[0, 2, 1, 3]), op.Concat(op.Shape(query, end=2), [-1], axis=0))


def attention(
    x: Tensor, weights: Tensor, bias: Tensor | None = None, mask: Tensor | None = None,
    past: Tensor | None = None, attention_bias: Tensor | None = None, *_: Tensor | None, num_heads: int,
    scale: float | None = None, unidirectional: int = 0, qkv_hidden_sizes: Sequence[int] | None = None,
) -> Tensor:  # fmt: skip
    """Self-attention with the projection of queries, keys and values in one matrix."""
    if mask is not None or past is not None:
        raise NoRule("the fused Attention has a gradient without mask index and cache")
    joint = x @ weights
    joint = joint if bias is None else joint + bias
    if qkv_hidden_sizes:
        query, key, value = op.Split(joint, list(qkv_hidden_sizes), axis=2, outputs=3)
    else:
        query, key, value = op.Split(joint, axis=2, num_outputs=3, outputs=3)
    return attended(query, key, value, num_heads, scale, attention_bias, unidirectional)


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
    "SimplifiedLayerNormalization": rms_norm,
    MS + "MultiHeadAttention": multi_head_attention,
    MS + "Attention": attention,
}
