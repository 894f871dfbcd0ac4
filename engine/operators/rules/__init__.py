"""The vector-Jacobian product of each operator: a table from its name to a plain function.

A rule is called with the gradient of the output, the output, the node's inputs in the order of the
specification (None where an optional one is left out) and, by name, the attributes that it asks for. It
returns one gradient per input, None where there is none; one alone for a single input. An entry may be
a function of no arguments, called only if that gradient is wanted; NotImplemented in its place, or in place
of all, sends the walker to the operator's body for it. Un-broadcasting, adding up and leaving out what nobody
asked for is the walker's business (autodiff/gradient.py).

To add an operator, add a line to the table of its family.
"""

from collections.abc import Callable
from typing import Any

from . import (
    activation,
    arithmetic,
    layout,
    linear,
    normalisation,
    pooling,
    quantisation,
    reduction,
    resampling,
    selection,
    sequences,
    spectral,
)

VJP: dict[str, Callable[..., Any]] = {
    **activation.RULES,
    **arithmetic.RULES,
    **layout.RULES,
    **linear.RULES,
    **normalisation.RULES,
    **pooling.RULES,
    **quantisation.RULES,
    **reduction.RULES,
    **resampling.RULES,
    **selection.RULES,
    **sequences.RULES,
    **spectral.RULES,
}
