"""How good a map is where the truth is known: where the object lies that decides the class."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, TypeVar

from .metric import metric

if TYPE_CHECKING:
    import numpy as np

    from .judged import Judged

Measure = TypeVar("Measure", bound="Callable[[np.ndarray, np.ndarray], bool | float | None]")


def against(name: str, title: str, paper: str, *, says: str) -> Callable[[Measure], Measure]:
    """The decorator of a metric that needs nothing but a map and a mask; None where there is no mask."""

    def enter(measure: Measure) -> Measure:
        @wraps(measure)
        def compute(judged: Judged) -> float | None:
            found = None if judged.mask is None else measure(judged.heat, judged.mask)
            return None if found is None else float(found)

        metric(name, title, paper, says=says, needs="mask")(compute)
        return measure

    return enter


@against(
    "pointing",
    "Pointing game",
    "Zhang et al. 2018, section 4.2",
    says="whether the peak lies on the object",
)
def pointing(heat: np.ndarray, mask: np.ndarray) -> bool:
    """True where the peak of a map lies on the object: the pointing game, without a margin.

    `heat` (H, W) and `mask` (H, W) bool; of several peaks the first in reading order counts. NaN is no
    peak. Zhang et al. 2018, "Top-Down Neural Attention by Excitation Backprop", section 4.2.
    """
    import numpy as np

    return bool(mask.flat[int(np.nanargmax(heat))])


@against(
    "mass",
    "Relevance mass accuracy",
    "Arras, Osman & Samek 2022, section 3.3",
    says="which share of what is above zero lies on the object",
)
def mass(heat: np.ndarray, mask: np.ndarray) -> float | None:
    """Which share of what a map has above zero lies on the object; None where it has nothing there.

    Arras, Osman & Samek 2022, "CLEVR-XAI", section 3.3: relevance mass accuracy.
    """
    import numpy as np

    positive = np.maximum(heat.astype(float), 0)
    return float(positive[mask].sum() / positive.sum()) if positive.any() else None


@against(
    "iou",
    "Intersection over union at the best threshold",
    "Zhou et al. 2016, section 3.2, of segments instead of boxes",
    says="how well the object is cut out where the threshold is the best there is",
)
def iou(heat: np.ndarray, mask: np.ndarray) -> float:
    """The intersection of the object and of where a map is at least t over their union, for the best t.

    Over all thresholds that make a difference. Of a constant map it is the share of the object in the image.
    """
    import numpy as np

    order = np.argsort(-heat, axis=None, kind="stable")
    values, hits = heat.flat[order], np.cumsum(mask.flat[order])
    ends = np.append(np.flatnonzero(values[1:] != values[:-1]), values.size - 1)  # equal values go together
    return float((hits[ends] / (ends + 1 + mask.sum() - hits[ends])).max())
