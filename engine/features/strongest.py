"""The strongest responses of many channels over any number of images, as a value that can be merged."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field

import numpy as np

from ...kernels.topk import NOBODY, merge

Box = tuple[float, float, float, float]


@dataclass
class Strongest:
    """For each of R channels the k images with the strongest response.

    `scores` (R, k) float32, best first, -inf where there were fewer images; `places` (R, k) int64, where
    in the map the response was; `owners` (R, k) int64, indices into `paths`, NOBODY where there is
    none. `paths` are the images that may be named, sorted, and `boxes` which part of each was seen.
    `count` images were seen; `total` and `squares` (R,) float64 are the sums of their finite scores.

    Equal scores are ordered by path, so the table does not depend on the order of the images nor on how
    they are cut into batches and shards: `merged` is associative and commutative (the two sums: but for
    their last bits). An image that is seen twice stands in a row once.
    """

    scores: np.ndarray
    owners: np.ndarray
    places: np.ndarray
    total: np.ndarray
    squares: np.ndarray
    paths: list[str] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    count: int = 0

    @classmethod
    def empty(cls, rows: int, k: int) -> Strongest:
        """Of no images yet."""
        return cls(
            scores=np.full((rows, k), -np.inf, np.float32),
            owners=np.full((rows, k), NOBODY),
            places=np.zeros((rows, k), np.int64),
            total=np.zeros(rows),
            squares=np.zeros(rows),
        )

    def add(self, paths: Sequence[str], boxes: Sequence[Box], scores: np.ndarray, places: np.ndarray) -> None:
        """Take in a batch: N paths, N boxes, scores (N, R) and places (N, R)."""
        scores = np.ascontiguousarray(scores, np.float32)
        finite = np.where(np.isfinite(scores), scores, 0).astype(np.float64)
        self.count += len(paths)
        self.total += finite.sum(0)
        self.squares += (finite * finite).sum(0)
        enters = np.flatnonzero((scores >= self.scores[:, -1]).any(1)).tolist()
        if enters:
            owners = self._owners([paths[i] for i in enters], [boxes[i] for i in enters])
            owners = np.repeat(owners[:, None], scores.shape[1], 1)
            places = np.ascontiguousarray(places[enters], np.int64)
            merge(self.scores, self.owners, self.places, scores[enters], owners, places)
        if len(self.paths) > 2 * self.scores.size + 1000:
            self._forget()

    def _owners(self, paths: Sequence[str], boxes: Sequence[Box]) -> np.ndarray:
        """Indices for these paths, those that are new put among the others."""
        new = {p: b for p, b in zip(paths, boxes, strict=True) if not self._has(p)}
        at = np.array([bisect_left(self.paths, p) for p in sorted(new)], np.int64)
        held = self.owners != NOBODY
        self.owners[held] += np.searchsorted(at, self.owners[held], "right")
        for i, p in enumerate(sorted(new)):
            self.paths.insert(int(at[i]) + i, p)
            self.boxes.insert(int(at[i]) + i, new[p])
        return np.array([bisect_left(self.paths, p) for p in paths], np.int64)

    def _has(self, path: str) -> bool:
        i = bisect_left(self.paths, path)
        return i < len(self.paths) and self.paths[i] == path

    def _forget(self) -> None:
        """Drop the paths that no row names any more."""
        held = self.owners != NOBODY
        kept, self.owners[held] = np.unique(self.owners[held], return_inverse=True)
        self.paths, self.boxes = [self.paths[i] for i in kept], [self.boxes[i] for i in kept]

    def contrast(self) -> np.ndarray:
        """How far the least of each row's k stands above the row's mean, in standard deviations, (R,).

        Zero for a channel that always says the same, and where fewer than k images were seen.
        """
        mean = self.total / max(self.count, 1)
        spread = np.sqrt(np.maximum(self.squares / max(self.count, 1) - mean**2, 0))
        least = self.scores[:, -1]
        sound = np.isfinite(least) & (spread > 1e-6 * np.abs(mean)) & (spread > 0)
        return np.where(sound, (np.where(sound, least, 0) - mean) / np.where(sound, spread, 1), 0)


def merged(a: Strongest, b: Strongest) -> Strongest:
    """The table of the images of both. Raises ValueError for tables of other rows or another k."""
    result = deepcopy(a)
    held = b.owners != NOBODY
    owners = np.full(b.owners.shape, NOBODY)
    owners[held] = result._owners(b.paths, b.boxes)[b.owners[held]]
    candidates = (np.ascontiguousarray(x.T) for x in (b.scores, owners, b.places))
    merge(result.scores, result.owners, result.places, *candidates)
    result.count += b.count
    result.total += b.total
    result.squares += b.squares
    result._forget()
    return result
