"""Photos through a graph as they come: every core reads, decodes and computes, and memory stays as it is."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from ...engine.errors import BadImage
from ...engine.features.peaks import Peaks
from ...engine.features.strongest import Strongest
from ...engine.runtime.ahead import ahead, cores
from ..network.vision_model import VisionModel
from ..photos.photo import read_photo
from ..photos.preprocess import Box

BATCH = 16  # photos at a time, on each core
MAX_NAMED = 1000  # unreadable files that are remembered by name
Tally = Callable[..., tuple[Strongest, list[str], int]]  # as `tallied`


def tallied(
    lens: VisionModel,
    peaks: Peaks,
    paths: Iterable[str | os.PathLike[str]],
    k: int,
    batch: int = BATCH,
    progress: Callable[[int], object] | None = None,
) -> tuple[Strongest, list[str], int]:
    """The `k` strongest photos of each row of `peaks`, and the errors and the count of those not read.

    `peaks` is to compute on one thread: each core has a caller of its own, which also reads and decodes,
    `batch` photos at a time. `progress` is called with the number of photos that are done.
    """
    workers = lens.network.threads or cores()
    fixed = -(-batch // lens.batch) * lens.batch  # as many as a model of a fixed batch takes them in
    buffers = deque(lens.preprocess.room(fixed) for _ in range(workers))
    table, errors, failed = Strongest.empty(len(peaks.rows), k), [], 0
    for group in ahead(lambda g: Seen.of(lens, peaks, g, buffers), groups(paths, batch), workers):
        if group.paths:
            table.add(group.paths, group.boxes, group.scores, group.places)
        failed += len(group.errors)
        errors += group.errors[: MAX_NAMED - len(errors)]
        if progress:
            progress(table.count + failed)
    return table, errors, failed


@dataclass
class Seen:
    """What became of a group of photos."""

    paths: list[str]
    boxes: list[Box]
    scores: np.ndarray
    places: np.ndarray
    errors: list[str]

    @classmethod
    def of(cls, lens: VisionModel, peaks: Peaks, group: Sequence[str], buffers: deque[np.ndarray]) -> Seen:
        """Read these photos and run them through the model; on the way they lie in one of the buffers."""
        paths, boxes, errors, batch = [], [], [], buffers.pop()
        try:
            for path in group:
                try:
                    boxes.append(lens.preprocess(read_photo(path), batch[len(paths) :][:1])[1])
                    paths.append(path)
                except BadImage as error:
                    errors.append(str(error))
            found = [peaks({lens.input: x}) for x in _batches(batch, len(paths), lens)]
        finally:
            buffers.append(batch)
        scores, places = (
            np.concatenate([f[i] for f in found])[: len(paths)] if found else np.empty((0, 0)) for i in (0, 1)
        )
        return cls(paths, boxes, scores, places, errors)


def _batches(buffer: np.ndarray, count: int, lens: VisionModel) -> Iterator[np.ndarray]:
    """The first inputs of a buffer as the model takes them; a fixed batch is filled with what lies behind."""
    size = max(1, lens.together(count))
    return (buffer[i : i + size] for i in range(0, count, size))


def groups(paths: Iterable[str | os.PathLike[str]], size: int) -> Iterator[list[str]]:
    """Paths in lists of `size`, the last one of what is left."""
    rest = (os.fspath(p) for p in paths)
    while group := list(islice(rest, size)):
        yield group
