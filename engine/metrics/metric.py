"""What a metric of maps is: one record, of which commands, runs, pages and tests are made.

A metric is one function under the decorator `metric`, in `truth.py`, `faithfulness.py`, `sanity.py` or
`complexity.py`. These files load nothing that is heavy: `--help` reads the table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import BadRequest, nearest

if TYPE_CHECKING:
    from .judged import Judged

Compute = Callable[["Judged"], "float | None"]


@dataclass(frozen=True)
class Metric:
    """A way to say how good a map is, by one number.

    `says` says in a sentence what the number is, `paper` where it is from, `best` which end is the good one:
    "high" or "low". `needs` is "mask" where the truth has to be known, "answers" where the model is asked for
    the probability of a class, "maps" where the method has to explain again, else "". `compute` gives None
    where the number cannot be told.
    """

    name: str
    title: str
    paper: str
    says: str
    best: str
    needs: str
    compute: Compute

    def better(self, a: float, b: float) -> bool:
        """Whether a is better than b."""
        return a > b if self.best == "high" else a < b


METRICS: dict[str, Metric] = {}  # filled by the decorator; who reads it takes it from metrics.py


def metric(
    name: str, title: str, paper: str, *, says: str, best: str = "high", needs: str = ""
) -> Callable[[Compute], Compute]:
    """The decorator that enters the function under it into METRICS; the words as in Metric."""

    def enter(compute: Compute) -> Compute:
        METRICS[name] = Metric(name, title, paper, says, best, needs, compute)
        return compute

    return enter


def metric_named(name: str) -> Metric:
    """The metric of this name. Raises BadRequest with the nearest names."""
    if name not in METRICS:
        raise BadRequest(f"there is no metric {name!r}{nearest(name, METRICS)}")
    return METRICS[name]
