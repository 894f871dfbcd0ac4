"""Classical models of rows of numbers (ai.onnx.ml), as converters of scikit-learn write them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import TensorProto

from ...errors import NoRule
from ...graph.graph import Tensor, op
from .normalisation import lp_normalization

NEAR_ZERO = 1e-7  # below which SOFTMAX_ZERO leaves a score out


def linear_regressor(
    x: Tensor, coefficients: Sequence[float], intercepts: Sequence[float] | None = None, targets: int = 1,
    post_transform: str = "NONE",
) -> Tensor:  # fmt: skip
    """x Wᵀ + b, (N, targets). ONNX Runtime does not squash a single one, whatever is said."""
    y = _linear(x, coefficients, intercepts, targets)
    return _squashed(y, post_transform) if targets > 1 or post_transform == "PROBIT" else y


def linear_classifier(
    x: Tensor, coefficients: Sequence[float], intercepts: Sequence[float] | None = None,
    classlabels_ints: Sequence[int] | None = None, classlabels_strings: Sequence[str] | None = None,
    post_transform: str = "NONE",
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The labels, for which x stands as they have no gradient, and the scores of the classes.

    Of two classes that share one row of weights, the first gets what the second lacks to 1.
    """
    labels = classlabels_ints or classlabels_strings or ()
    rows = len(intercepts) if intercepts else len(labels)
    scores = _linear(x, coefficients, intercepts, rows)
    if rows > 1 or len(labels) != 2:
        return x, _squashed(scores, post_transform)
    second = _squashed(scores, "LOGISTIC" if post_transform == "LOGISTIC" else "NONE")
    if post_transform == "PROBIT":
        raise NoRule("takes the quantiles of a normal distribution, which ONNX does not have")
    return x, op.Concat(1 - second, second, axis=1)


def _linear(x: Tensor, weights: Sequence[float], bias: Sequence[float] | None, rows: int) -> Tensor:
    x = op.Cast(x, to=TensorProto.FLOAT)
    x = op.Unsqueeze(x, [0]) if x.rank == 1 else x
    y = x @ np.asarray(weights, np.float32).reshape(rows, -1).T
    return y + np.asarray(bias, np.float32) if bias else y


def _squashed(scores: Tensor, how: str) -> Tensor:
    if how == "LOGISTIC":
        return op.Sigmoid(scores)
    if how == "SOFTMAX":
        return op.Softmax(scores, axis=1)
    if how == "SOFTMAX_ZERO":
        absent = op.Abs(scores) < NEAR_ZERO
        return op.Where(absent, 0, op.Softmax(op.Where(absent, -1e30, scores), axis=1))
    if how == "PROBIT":
        raise NoRule("takes the quantiles of a normal distribution, which ONNX does not have")
    return scores


def svm_regressor(
    x: Tensor, coefficients: Sequence[float], rho: Sequence[float],
    support_vectors: Sequence[float] | None = None, kernel_params: Sequence[float] | None = None,
    kernel_type: str = "LINEAR", n_supports: int = 0, one_class: int = 0,
) -> Tensor:  # fmt: skip
    """Σ coefficient · K(x, support vector) + ρ, (N, 1)."""
    if one_class:
        raise NoRule("says on which side a row lies, which does not change by a little")
    if not n_supports or not support_vectors:
        return _linear(x, coefficients, rho, 1)
    x = op.Cast(x, to=TensorProto.FLOAT)
    x = op.Unsqueeze(x, [0]) if x.rank == 1 else x
    vectors = np.asarray(support_vectors, np.float32).reshape(n_supports, -1)
    gamma, constant, degree = (*(kernel_params or ()), 0.0, 0.0, 0.0)[:3]
    if kernel_type == "RBF":
        apart = op.Unsqueeze(x, [1]) - vectors[None]
        kernel = op.Exp((apart * apart).sum([2], keepdims=False) * -gamma)
    else:
        kernel = x @ np.ascontiguousarray(vectors.T)
        if kernel_type == "POLY":
            kernel = (kernel * gamma + constant) ** degree
        elif kernel_type == "SIGMOID":
            kernel = op.Tanh(kernel * gamma + constant)
    return kernel @ np.asarray(coefficients, np.float32)[:, None] + np.asarray(rho, np.float32)


def scaler(x: Tensor, offset: Sequence[float], scale: Sequence[float]) -> Tensor:
    """(x - offset) scale, by one number or one a column."""
    real = op.Cast(x, to=TensorProto.FLOAT)
    return (real - np.asarray(offset, np.float32)) * np.asarray(scale, np.float32)


def normalizer(x: Tensor, norm: str = "MAX") -> Tensor:
    """Each row by its largest number, by the sum of its magnitudes or by its length; a row of zeros stays."""
    real = op.Cast(x, to=TensorProto.FLOAT)
    if norm != "MAX":
        return lp_normalization(real, -1, 1 if norm == "L1" else 2)
    largest = op.ReduceMax(real, [-1])
    return real / op.Where(op.Equal(largest, 0), 1, largest)


def imputer(
    x: Tensor, imputed_value_floats: Sequence[float] | None = None, replaced_value_float: float = 0.0
) -> Tensor:
    """What is missing replaced, by one number or one a column."""
    if not imputed_value_floats:
        raise NoRule("replaces whole numbers")
    missing = op.IsNaN(x) if math.isnan(replaced_value_float) else op.Equal(x, replaced_value_float)
    return op.Where(missing, op.CastLike(np.asarray(imputed_value_floats, np.float32), x), x)


def feature_vectorizer(*xs: Tensor, inputdimensions: Sequence[int]) -> Tensor:
    """Columns side by side."""
    real = (op.Cast(x, to=TensorProto.FLOAT) for x in xs)
    parts = (op.Slice(x, [0], [n], [1]) for x, n in zip(real, inputdimensions, strict=False))
    return op.Concat(*parts, axis=1)


ML = "ai.onnx.ml:"
BODIES: dict[str, Callable[..., Any]] = {
    ML + "FeatureVectorizer": feature_vectorizer,
    ML + "Imputer": imputer,
    ML + "LinearClassifier": linear_classifier,
    ML + "LinearRegressor": linear_regressor,
    ML + "Normalizer": normalizer,
    ML + "SVMRegressor": svm_regressor,
    ML + "Scaler": scaler,
}
