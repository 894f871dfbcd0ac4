"""The strongest of many, kept while they pass by."""

from __future__ import annotations

import numpy as np
from numba import float32, int64

from .jit import compiled, view

NOBODY = np.iinfo(np.int64).max  # the owner of an empty place, behind every other


def merge(
    scores: np.ndarray,
    owners: np.ndarray,
    places: np.ndarray,
    new_scores: np.ndarray,
    new_owners: np.ndarray,
    new_places: np.ndarray,
) -> None:
    """Merge candidates into the best k of each row, in place; all arrays C-contiguous.

    `scores` (R, k) float32, best first, empty places -inf; `owners` (R, k) int64, NOBODY where empty;
    `places` (R, k) int64, whatever goes with them. Candidates come as (N, R), (N, R) and (N, R) of the same
    types. Of two that score the same the one with the smaller owner is better; what is there already, with
    the same score and owner, is not taken again, and neither is NaN. So the result depends on the
    candidates, but not on their order. Raises ValueError for shapes that do not fit.
    """
    kept = (scores, owners, places)
    new = (new_scores, new_owners, new_places)
    if any(a.shape != scores.shape for a in kept) or scores.ndim != 2 or scores.shape[1] < 1:
        raise ValueError(f"the best have shapes {[a.shape for a in kept]}, not (R, k) with k of 1 or more")
    if any(a.shape != (len(new_scores), len(scores)) for a in new):
        raise ValueError(f"candidates have shapes {[a.shape for a in new]}, not (N, {len(scores)})")
    _merge(*kept, *new)


@compiled(float32[:, ::1], int64[:, ::1], int64[:, ::1], view(float32, 2), view(int64, 2), view(int64, 2))
def _merge(scores, owners, places, new_scores, new_owners, new_places):
    last = scores.shape[1] - 1
    for n in range(new_scores.shape[0]):
        for r in range(scores.shape[0]):
            score, owner = new_scores[n, r], new_owners[n, r]
            worst = scores[r, last]
            if not (score > worst or (score == worst and owner < owners[r, last])):
                continue  # NaN too: it compares as false
            i = last  # the first place whose holder is not better; equals lie in front of it
            while i > 0 and (
                scores[r, i - 1] < score or (scores[r, i - 1] == score and owners[r, i - 1] > owner)
            ):
                i -= 1
            if i > 0 and scores[r, i - 1] == score and owners[r, i - 1] == owner:
                continue
            for j in range(last, i, -1):
                scores[r, j], owners[r, j] = scores[r, j - 1], owners[r, j - 1]
                places[r, j] = places[r, j - 1]
            scores[r, i], owners[r, i], places[r, i] = score, owner, new_places[n, r]
