"""How much there is of a map, and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .metric import metric

if TYPE_CHECKING:
    from .judged import Judged


@metric(
    "entropy",
    "Entropy",
    "Bhatt, Weller & Moura 2020, definition 3",
    says="how far a map is spread: 0 for one point, 1 for all pixels alike",
    best="low",
)
def entropy(judged: Judged) -> float | None:
    """-Σ p log p / log n, with p the share of a pixel in what is above zero; None where nothing is."""
    import numpy as np

    positive = np.maximum(judged.heat.astype(float), 0)
    p = positive[positive > 0] / positive.sum() if positive.any() else positive[:0, 0]
    return float(-(p * np.log(p)).sum() / np.log(positive.size)) if p.size else None


@metric(
    "passes",
    "Cost",
    "seconds of a map over seconds of the model's answer, here and now",
    says="how long a map takes, in forward passes of the model",
    best="low",
    needs="maps",
)
def passes(judged: Judged) -> float:
    """As it is timed by whoever can make the map."""
    return judged.passes()


@metric(
    "completeness",
    "Completeness",
    "Sundararajan, Taly & Yan 2017, proposition 1",
    says="how far a map is from summing to the rise of the score, as a share of that",
    best="low",
)
def completeness(judged: Judged) -> float | None:
    """|Σ - rise| / |rise|, of methods that compare with a baseline."""
    if judged.sum is None or not judged.rise:
        return None
    return abs(judged.sum - judged.rise) / abs(judged.rise)
