"""What rectifiers and roundings let through on the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...graph.graph import Tensor, op
from ...operators.rules import VJP, quantisation
from ...operators.traits import having

# Operators that rectify: their variants differ in what they let through on the backward pass.
RECTIFIERS = having(lambda t: t.rectifies)


def _positive(rule: Callable[..., Any]) -> Callable[..., Any]:
    """The rule, for the positive part of the gradient only."""
    return lambda g, y, x, *bounds, **attrs: rule(op.Relu(g), y, x, *bounds, **attrs)


def _where_it_rectifies(rule: Callable[..., Any]) -> Callable[..., Any]:
    """The rule for a quantisation whose integers begin at zero: it is the ReLU of a quantised network."""

    def chosen(
        g: Tensor,
        y: Tensor,
        x: Tensor,
        scale: Tensor,
        zero: Tensor | None,
        axis: int = 1,
        block_size: int = 0,
    ) -> Any:
        lowest = quantisation.RANGES.get(str(y.dtype), (None,))[0]
        first = np.zeros(1) if zero is None else zero.array
        rectifies = first is not None and bool((first == lowest).all())
        return (rule if rectifies else VJP["QuantizeLinear"])(g, y, x, scale, zero, axis, block_size)

    return chosen


def _steps(
    g: Tensor, y: Tensor, x: Tensor, scale: Tensor, zero: Tensor | None, axis: int = 1, block_size: int = 0
) -> Tensor:
    """A gradient per step of an integer, whether or not it saturates."""
    return g / quantisation.along(scale, x, axis, block_size)


# Springenberg et al. 2015, "Striving for Simplicity", section 3.4: both gates, forward and backward.
GUIDED = (
    VJP
    | {name: _positive(VJP[name]) for name in RECTIFIERS}
    | {"QuantizeLinear": _where_it_rectifies(_positive(VJP["QuantizeLinear"]))}
)

# Zeiler & Fergus 2014, section 2.1: the backward gate alone, and no contrast normalisation.
DECONVNET = (
    VJP
    | {name: lambda g, y, x, *bounds: op.Relu(g) for name in RECTIFIERS}
    | {"LRN": lambda g, y, x: g}
    | {"QuantizeLinear": _where_it_rectifies(_positive(_steps))}
)


def redirected(
    g: Tensor,
    y: Tensor,
    x: Tensor,
    low: Tensor | None = None,
    high: Tensor | None = None,
    alpha: float = 0,
) -> Tensor:
    """Where a rectifier lets nothing of an image through, that which would raise the objective gets through.

    Below the ramp a gradient may push up (g > 0), above it down (g < 0). For gradient ascent.
    """
    floor = alpha if low is None else low  # of a ThresholdedRelu
    below, above = x <= floor, None if high is None else x > high
    passed = op.Where(below if above is None else op.Or(below, above), 0, g)
    pushes = op.Where(below, op.Relu(g), g)
    if above is not None:
        pushes = op.Where(above, -op.Relu(-g), pushes)
    reached = op.Abs(passed).sum(list(range(1, x.rank)) or None)
    return op.Where(reached > 0, passed, pushes)


# Olah, Mordvintsev & Schubert 2017, "Feature Visualization": as their library Lucid starts from dead units.
REDIRECTED = VJP | dict.fromkeys(RECTIFIERS, redirected)


def _straight(g: Tensor, *_: Tensor | None) -> Tensor:
    return g


# Bengio, Léonard & Courville 2013, "Estimating or Propagating Gradients Through Stochastic Neurons", the
# straight-through estimator: steps are taken for the identity, and quantising never saturates.
STEPS = having(lambda t: t.step and t.elementwise)
STRAIGHT_THROUGH = VJP | dict.fromkeys(STEPS, _straight) | {"QuantizeLinear": _steps}
