"""What the metrics of a run say of its methods: a mean for each, and how sure it is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...engine.metrics.metrics import METRICS, Metric
from ..storage.shards import METRIC, Row

CONFIDENCE = 1.959963984540054  # of 95 %, in standard errors


class Mean(NamedTuple):
    """The mean of a metric over so many `maps`, and the ends of its 95 % interval."""

    value: float
    low: float
    high: float
    maps: int


def evaluation(rows: Iterable[Row]) -> dict[str, dict[str, Mean | None]]:
    """For each method, in the order of the rows, the mean of each metric; None where none could be told."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        for column in row if row["method"] else ():
            if column.startswith(METRIC):
                values = found[row["method"]][column.removeprefix(METRIC)]
                values += [] if row[column] is None else [row[column]]
    return {
        method: {name: mean_of(np.array(values)) for name, values in metrics.items() if name in METRICS}
        for method, metrics in found.items()
    }


def mean_of(values: np.ndarray) -> Mean | None:
    """The mean with its interval: Wilson's (1927) of what is true or not, else Student's."""
    count = len(values)
    if not count:
        return None
    mean = float(values.mean())
    if np.isin(values, (0, 1)).all():
        z = CONFIDENCE**2 / count
        middle = (mean + z / 2) / (1 + z)
        reach = float(np.sqrt(mean * (1 - mean) * z + z**2 / 4)) / (1 + z)
        return Mean(
            mean, max(0.0, min(mean, middle - reach)), max(mean, middle + reach), count
        )  # of 0 and 1 rounded
    reach = _student(count - 1) * float(values.std(ddof=1)) / count**0.5 if count > 1 else np.inf
    return Mean(mean, mean - reach, mean + reach, count)


def _student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t: of 1 and 2 exact, else the expansion of Cornish & Fisher, to 1 %.

    Abramowitz & Stegun 1964, 26.7.5.
    """
    if freedom < 3:
        return {1: 12.706204736, 2: 4.3026527297}[freedom]
    z = CONFIDENCE
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom ** (k + 1) for k, term in enumerate(terms))


def as_json(found: dict[str, dict[str, Mean | None]]) -> dict[str, Any]:
    """It as JSON; an end of an interval that is not known is null."""
    finite = lambda value: value if np.isfinite(value) else None
    return {
        method: {
            name: mean
            and {"mean": mean.value, "low": finite(mean.low), "high": finite(mean.high), "maps": mean.maps}
            for name, mean in metrics.items()
        }
        for method, metrics in found.items()
    }


def shown(rows: Iterable[Row]) -> dict[str, Any] | None:
    """What a page shows of it: the `metrics`, and for each method the `cells` of its row; None without any.

    A cell has the numbers as text, and in per cent of what the metric reaches with any method where the mean
    ends (`at`), and the interval (`from`, `to`). It is `good` where no other method is surely better.
    """
    found = evaluation(rows)
    names = list(dict.fromkeys(name for metrics in found.values() for name in metrics))
    if not names:
        return None
    columns = [_column(METRICS[name], [metrics.get(name) for metrics in found.values()]) for name in names]
    metrics = [{"name": name, "says": METRICS[name].says, "best": METRICS[name].best} for name in names]
    each = zip(found, zip(*columns, strict=True), strict=True)
    return {"metrics": metrics, "rows": [{"method": method, "cells": cells} for method, cells in each]}


def _column(metric: Metric, means: Sequence[Mean | None]) -> list[dict[str, Any] | None]:
    """The cells of one metric."""
    known = [mean for mean in means if mean is not None]
    if not known:
        return [None] * len(means)
    ends = [0.0, *(v for mean in known for v in (mean.value, mean.low, mean.high) if np.isfinite(v))]
    low, high = min(ends), max(ends)
    share = lambda value: float(np.round(100 * np.clip((value - low) / ((high - low) or 1), 0, 1), 1))
    sign = 1 if metric.best == "high" else -1
    best = max(known, key=lambda mean: sign * mean.value).value
    return [
        mean
        and {
            "mean": f"{mean.value:.3g}",
            "low": f"{mean.low:.3g}",
            "high": f"{mean.high:.3g}",
            "maps": mean.maps,
            "at": share(mean.value),
            "from": share(mean.low),
            "to": share(mean.high),
            "good": sign * (mean.high if sign > 0 else mean.low) >= sign * best,
        }
        for mean in means
    ]
