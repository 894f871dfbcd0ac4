"""Activation functions."""

from __future__ import annotations

import math
from typing import Any

from ...graph.graph import Tensor, op

CONVOLVING = {"Conv", "ConvTranspose", "BatchNormalization"}


def leaky_relu(g: Tensor, y: Tensor, x: Tensor, alpha: float) -> Tensor:
    """y = x where x >= 0, α x elsewhere; y says which, where α > 0."""
    return op.Where((y if alpha > 0 else x) < 0, g * alpha, g)


def clip(g: Tensor, y: Tensor, x: Tensor, low: Tensor | None, high: Tensor | None) -> tuple[Any, ...]:
    """Inside the bounds the gradient is the input's, outside it is the bound's.

    y = min(max(x, low), high): where the bounds have changed places, all of it is the upper one's. At a
    bound it is the input's; behind a convolution nobody's, as ReLU has it at 0: told from y, the two may stay
    one operator of the runtime, and so do the bits of what it answers.
    """
    below = None if low is None else x < low
    above = None if high is None else x > high
    inside = g
    if _fused(x, low, high):
        inside = inside if low is None else op.Where(y > low, inside, 0)
        inside = inside if high is None else op.Where(y < high, inside, 0)
    else:
        for outside in (below, above):
            inside = inside if outside is None else op.Where(outside, 0, inside)

    def d_low() -> Tensor:
        held = below if high is None else op.And(below, low <= high)
        return op.Where(held, g, 0)

    def d_high() -> Tensor:
        return op.Where((x if low is None else op.Max(x, low)) > high, g, 0)

    return inside, d_low if low is not None else None, d_high if high is not None else None


def _fused(x: Tensor, low: Tensor | None, high: Tensor | None) -> bool:
    """Whether ONNX Runtime makes a Clip a part of the convolution that computes x."""
    made = x.graph.producer(x.name)
    if made is not None and made.op_type == "Add":
        made = next((m for i in made.input if (m := x.graph.producer(i)) and m.op_type in CONVOLVING), made)
    bounds = [b.array for b in (low, high) if b is not None]
    if made is None or made.op_type not in CONVOLVING or any(b is None or b.size != 1 for b in bounds):
        return False
    return len(bounds) < 2 or bool(bounds[0].item() < bounds[1].item())  # type: ignore[union-attr]


def dropout(g: Tensor, y: Tensor, x: Tensor, ratio: Tensor | None, training_mode: Tensor | None) -> Tensor:
    """Nothing is dropped at inference; in training what was kept, which the mask says, was made larger."""
    if training_mode is None or (training_mode.array is not None and not training_mode.array.any()):
        return g
    node = y.graph.producer(y.name)
    assert node is not None
    kept = Tensor(y.graph, node.output[1])  # written by canonical/upgrades.py where the node does not
    larger = 2.0 if ratio is None else 1 / op.CastLike(1 - ratio, g)
    return op.Where(kept, op.Where(training_mode, g * larger, g), 0)


def prelu(g: Tensor, y: Tensor, x: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """y = x where x >= 0, slope x elsewhere."""
    return op.Where(x < 0, g * slope, g), op.Where(x < 0, g * x, 0)


def softmax(g: Tensor, y: Tensor, x: Tensor, axis: int) -> Tensor:
    """dx = y (g - Σ g y)."""
    y = _asked_for(g, y)
    return y * (g - (g * y).sum([axis]))


def log_softmax(g: Tensor, y: Tensor, x: Tensor, axis: int) -> Tensor:
    """dx = g - exp(y) Σ g."""
    total = g.sum([axis])
    return g - _asked_for(total, op.Exp(y)) * total


def _asked_for(g: Tensor, y: Tensor) -> Tensor:
    """A softmax, 0 where it is not a number and nothing behind it depends on it.

    So it is in the rows of a masked attention that have no key at all: a softmax of -inf alone, which a Where
    takes out behind it.
    """
    return op.Where(op.And(op.IsNaN(y), op.Equal(g, 0)), 0, y)


RULES = {
    "Relu": lambda g, y, x: op.Where(y > 0, g, 0),
    "LeakyRelu": leaky_relu,
    "PRelu": prelu,
    "Elu": lambda g, y, x, alpha: op.Where(x < 0, g * (y + alpha), g),
    "Selu": lambda g, y, x, alpha, gamma: g * op.Where(x < 0, y + alpha * gamma, gamma),
    "Celu": lambda g, y, x, alpha: op.Where(x < 0, g * (y / alpha + 1), g),
    "ThresholdedRelu": lambda g, y, x, alpha: op.Where(x > alpha, g, 0),
    "Clip": clip,
    "Sigmoid": lambda g, y, x: g * y * (1 - y),
    "HardSigmoid": lambda g, y, x, alpha: op.Where(op.And(y > 0, y < 1), g * alpha, 0),
    "Tanh": lambda g, y, x: g * (1 - y * y),
    "Softplus": lambda g, y, x: g * op.Sigmoid(x),
    "Softsign": lambda g, y, x: g / (1 + op.Abs(x)) ** 2,
    "Softmax": softmax,
    "LogSoftmax": log_softmax,
    "Hardmax": lambda g, y, x: None,
    "Erf": lambda g, y, x: g * (2 / math.sqrt(math.pi)) * op.Exp(-(x * x)),
    "Dropout": dropout,
    "ai.onnx.ml:Binarizer": lambda g, y, x: None,
    **dict.fromkeys(
        [f"ai.onnx.ml:TreeEnsemble{kind}" for kind in ("", "Classifier", "Regressor")],
        lambda g, y, x: None,
    ),
}
