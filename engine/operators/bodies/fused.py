"""Operators that ONNX Runtime fuses others into, as what they were before (ContribOperators.md)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ...errors import NoRule
from ...graph.graph import Tensor, op


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
}
