"""Backward variants: other rules for the way back, each a dictionary over the table.

The forward pass is the same; a key may be an operator or a node's name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .graph import op
from .rules import VJP

# Operators that rectify: their variants differ in what they let through on the way back.
RECTIFIERS = ("Relu", "Clip", "ThresholdedRelu")


def _positive(rule: Callable[..., Any]) -> Callable[..., Any]:
    """The rule, for the positive part of the gradient only."""
    return lambda g, y, x, *bounds, **attrs: rule(op.Relu(g), y, x, *bounds, **attrs)


# Springenberg et al. 2015, "Striving for Simplicity", section 3.4: both gates, forward and backward.
GUIDED = VJP | {name: _positive(VJP[name]) for name in RECTIFIERS}

# Zeiler & Fergus 2014, section 2.1: the backward gate alone.
DECONVNET = VJP | {name: lambda g, y, x, *bounds: op.Relu(g) for name in RECTIFIERS}

TABLES: dict[str, dict[str, Callable[..., Any]]] = {
    "gradient": VJP,
    "guided": GUIDED,
    "deconvnet": DECONVNET,
}
