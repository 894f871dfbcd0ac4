"""Backward variants: other rules for the backward pass, each a dictionary over the table.

The forward pass is the same; a key may be an operator, or the name of a node or of its first output. A
variant that depends on where a node stands is a function from the graph and the names of what is
differentiated to such a dictionary.
"""

from collections.abc import Callable, Mapping
from typing import Any

from ...operators.rules import VJP
from .gates import DECONVNET, GUIDED, REDIRECTED, STRAIGHT_THROUGH
from .lrp import (
    attnlrp,
    by_kind,
    composite,
    lrp_0,
    lrp_alpha_beta,
    lrp_epsilon,
    lrp_flat,
    lrp_gamma,
    lrp_general_gamma,
    lrp_w_square,
    lrp_z_box,
)
from .merged import merged
from .rescale import Beside, rescale

__all__ = [
    "AGAINST",
    "DECONVNET",
    "GUIDED",
    "REDIRECTED",
    "STRAIGHT_THROUGH",
    "TABLES",
    "attnlrp",
    "by_kind",
    "composite",
    "lrp_0",
    "lrp_alpha_beta",
    "lrp_epsilon",
    "lrp_flat",
    "lrp_gamma",
    "lrp_general_gamma",
    "lrp_w_square",
    "lrp_z_box",
    "merged",
    "rescale",
]

TABLES: dict[str, Mapping[str, Callable[..., Any]] | Callable[..., Mapping[str, Callable[..., Any]]]] = {
    "gradient": VJP,
    "guided": GUIDED,
    "deconvnet": DECONVNET,
    "redirected": REDIRECTED,
    "straight-through": STRAIGHT_THROUGH,
    "lrp-0": lrp_0(),
    "lrp-epsilon": lrp_epsilon(),
    "lrp-gamma": merged(lrp_gamma()),
    "lrp-alpha-beta": merged(lrp_alpha_beta()),
    "lrp-w-square": merged(lrp_w_square()),
    "lrp-flat": lrp_flat(),
    "lrp-composite": merged(composite(lrp_w_square(), lrp_gamma(), lrp_epsilon())),
    "lrp-epsilon-plus": merged(by_kind(lrp_epsilon(), lrp_alpha_beta(1, 0))),
    "lrp-epsilon-plus-flat": merged(by_kind(lrp_epsilon(), lrp_alpha_beta(1, 0), lrp_flat())),
    "lrp-epsilon-alpha2-beta1": merged(by_kind(lrp_epsilon(), lrp_alpha_beta(2, 1))),
    "lrp-epsilon-alpha2-beta1-flat": merged(by_kind(lrp_epsilon(), lrp_alpha_beta(2, 1), lrp_flat())),
    "attnlrp-epsilon": attnlrp(),
    "attnlrp-gamma": merged(by_kind(attnlrp(0.05), attnlrp(0.25))),
}

# Rules that read the values of a baseline too, which are given to them.
AGAINST: dict[str, Callable[[Beside], Mapping[str, Callable[..., Any]]]] = {"rescale": rescale}
