"""What an operator is made of, where the specification gives it no function body.

A body is the forward pass of an operator in expressions: it gets the node's inputs in the order of the
specification (None where one is left out) and, by name, the attributes that it asks for, and returns the
output or a tuple of outputs. The walker differentiates it like any part of the graph. The node itself
stays: its value is what the runtime's kernel makes it, and the body is only computed for the gradient.

A body is the way for operators whose forward pass reads like a formula and whose gradient does not.
"""

from collections.abc import Callable
from typing import Any

from . import (
    attention,
    fused,
    grouped,
    linear_attention,
    normalisation,
    quantised,
    recurrent,
    regions,
    resizing,
    sampling,
    spectral,
    tabular,
)

BODIES: dict[str, Callable[..., Any]] = {  # by key, see nodes.key_of
    **attention.BODIES,
    **fused.BODIES,
    **grouped.BODIES,
    **linear_attention.BODIES,
    **normalisation.BODIES,
    **quantised.BODIES,
    **recurrent.BODIES,
    **regions.BODIES,
    **resizing.BODIES,
    **sampling.BODIES,
    **spectral.BODIES,
    **tabular.BODIES,
}
