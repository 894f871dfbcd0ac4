"""Where what a model has chosen stood before it chose: behind NonMaxSuppression or TopK, the row of a thing
depends on all others. Its score is passed on unchanged, and is found again by that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ....graph.graph import Graph
from ...intervals import interval
from ..thing import Seed
from .columns import Column, sources
from .layout import Values


def unchosen(graph: Graph, score: Column, output: str) -> tuple[str, ...]:
    """The values of which a column of chosen scores is taken, if their sizes are known; else the output."""
    found = sources(graph, score.value)
    known = [all(isinstance(d, int) for d in (graph[v].shape or (None,))[1:]) for v in found]
    scores = [interval(graph, v).within(0, 1) for v in found]
    return tuple(found) if found and all(known) and all(scores) else (output,)


def seeds_of(
    values: Values, parts: tuple[str, ...], output: str, scores: np.ndarray, indices: np.ndarray
) -> Callable[[int, int], Seed]:
    """The element of each chosen score: in the values that it was taken of, else in the output itself."""
    if output in parts:
        return lambda row, column: Seed.on(output, indices[row])
    places = _found(values, parts, scores)
    return lambda row, column: Seed.on(*places[row])


def _found(values: Values, parts: Sequence[str], scores: np.ndarray) -> list[tuple[str, int]]:
    """Where each score stands among the values before the choice: the nearest that is not yet another's."""
    arrays = [np.asarray(values[p])[:1] if len(np.shape(values[p])) > 2 else values[p] for p in parts]
    flat = np.concatenate([np.ravel(a) for a in arrays]).astype(np.float64)
    starts = np.cumsum([0] + [np.size(a) for a in arrays])
    order = np.argsort(flat, kind="stable")
    taken: dict[int, int] = {}
    found = []
    for score in scores.astype(np.float64):
        first = int(np.searchsorted(flat[order], score))
        near = min(first, len(order) - 1)
        if first and abs(flat[order[first - 1]] - score) < abs(flat[order[near]] - score):
            near = first - 1
        again = taken.get(near, 0)
        taken[near] = again + 1
        next_ = near + again
        same = next_ < len(order) and flat[order[next_]] == flat[order[near]]
        index = int(order[next_ if same else near])
        part = int(np.searchsorted(starts, index, side="right")) - 1
        found.append((parts[part], index - int(starts[part])))
    return found
