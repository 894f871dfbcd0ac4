"""Means of what is drawn, with their standard errors: sampling that may end when a map is sure enough.

    mean = Σ v_i / N        standard error = sqrt(Σ (v_i - mean)² / (N - 1) / N)

Sums and sums of squares are all that is held, however many are drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any, NamedTuple

import numpy as np

from ..asked import Asked, Maps
from ..masks import smooth

MOST = 10**6  # that are drawn for a tolerance
BATCH = 64  # masks at a time


class Ending(NamedTuple):
    """When sampling ends: with at `least` so many draws, and a standard error of at most the `tolerance`, as
    a share of the range of a map, if there is one; in any case when the `seconds` are over.
    """

    least: int
    tolerance: float | None
    seconds: float | None


class Sums(NamedTuple):
    """What was drawn for some classes, added up, (T, ...) float64, and its squares where they are needed."""

    total: np.ndarray
    squares: np.ndarray | float = 0.0


class Drawn(NamedTuple):
    """The `total` (T, ...) of so many `draws`, and what is to be said of the sampling for each class."""

    total: np.ndarray
    draws: int
    said: list[dict[str, Any]]


def drawn(
    draw: Callable[[int, bool], Sums], batch: int, ending: Ending, progress: Callable[[int, int], object]
) -> Drawn:
    """What `draw` gives, a `batch` at a time until the ending, MOST draws at most for a tolerance.

    It takes how many, and whether their squares are needed. Where there is a tolerance or a limit of time,
    what is said is the number `drawn`, the `standard_error` and, with a tolerance, whether it was `reached`.
    """
    least, tolerance, seconds = ending
    timed, begun = tolerance is not None or seconds is not None, monotonic()
    total, squares, done, error = np.zeros(()), np.zeros(()), 0, np.full(1, np.inf)
    while done < least or (tolerance is not None and error.max() > tolerance and done < MOST):
        count = min(batch, least - done) if done < least else batch
        new = draw(count, timed)
        total, squares, done = total + new.total, squares + new.squares, done + count
        error = standard_error(total, squares, done) if timed else error
        progress(done, max(done, least, _expected(done, error.max(), tolerance)))
        if seconds is not None and monotonic() - begun > seconds:
            break
    return Drawn(total, done, [_said(done, float(e), tolerance) for e in error] if timed else [])


def standard_error(total: np.ndarray, squares: np.ndarray, count: int) -> np.ndarray:
    """The standard error of the mean of each class, its root mean square over all places, as a share of the
    range of that mean: (T,).

    `total` and `squares` are sums (T, ...) over `count` draws. Infinite of one draw; 0 where nothing varies.
    """
    if count < 2:
        return np.full(len(total), np.inf)
    axes = tuple(range(1, total.ndim))
    variance = np.maximum(squares - total**2 / count, 0) / (count - 1)
    error, spread = np.sqrt(variance.mean(axes) / count), np.ptp(total, axis=axes) / count
    return np.divide(error, spread, out=np.where(error > 0, np.inf, 0.0), where=spread > 0)


def _expected(done: int, error: float, tolerance: float | None) -> int:
    """How many draws a tolerance is likely to take: the error falls with the root of their number."""
    return int(min(MOST, done * (error / tolerance) ** 2)) if tolerance and np.isfinite(error) else 0


def _said(done: int, error: float, tolerance: float | None) -> dict[str, Any]:
    wanted = {} if tolerance is None else {"tolerance": tolerance, "reached": error <= tolerance}
    return {"sampled": {"drawn": done, "standard_error": error, **wanted}}


def averaged(
    asked: Asked,
    through: Callable[[np.ndarray, str], np.ndarray],
    masks: int,
    cells: int,
    shown: float,
    fill: str,
    random_seed: int,
    tolerance: float | None,
    seconds: float | None,
) -> Maps:
    """The mean of random masks, each times what the model answers `through` it."""
    rng = np.random.default_rng(random_seed)

    def draw(count: int, squared: bool) -> Sums:
        seen = smooth(rng, count, cells, shown, asked.size)
        answers = through(seen, fill)
        total = np.tensordot(answers, seen, (0, 0)).astype(float)
        return Sums(total, np.tensordot(answers**2, seen**2, (0, 0)) if squared else 0.0)

    found = drawn(draw, BATCH, Ending(masks, tolerance, seconds), asked.progress)
    return Maps((found.total / (found.draws * shown)).astype(np.float32), extras=found.said)
