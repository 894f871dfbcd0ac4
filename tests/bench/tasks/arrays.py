"""Drawn scenes as arrays, kept in the folder of temporary files: to train networks on, and to judge them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scenes import CLASSES, Drawn, among, line, pair, several

from onnxlens.models.embedded import scenes as embedded

FOLDER = Path(tempfile.gettempdir(), "onnxlens-tasks")
_MOST = 8  # things in one scene


class Scenes(NamedTuple):
    """Many Drawn: `labels` (n, 8) with -1 behind the last, `boxes` (n, 8, 4), `owners` (n, h, w)."""

    images: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    owners: np.ndarray


def single(seed: int) -> Drawn:
    """A scene of the embedded model, with the one large object that decides the class: (96, 96)."""
    label = seed % len(CLASSES)
    drawn = embedded.scene(seed, embedded.CLASSES.index(CLASSES[label]))
    rows, columns = (np.flatnonzero(drawn.mask.any(axis)) for axis in (1, 0))
    box = rows[0], columns[0], rows[-1] + 1, columns[-1] + 1
    return Drawn(drawn.image, np.array([label]), np.array([box], np.float32), drawn.mask.astype(np.uint8))


# What each kind of scene is drawn by; the pictures of a pair follow one another.
KINDS: dict[str, Callable[[int], list[Drawn]]] = {
    "several": lambda seed: [several(seed)],
    "line": lambda seed: [line(seed)],
    "pair": lambda seed: list(pair(seed)),
    "among": lambda seed: [among(seed)],
    "single": lambda seed: [single(seed)],
}


def scenes(kind: str, seeds: range, workers: int = 2) -> Scenes:
    """The scenes of a run of seeds; drawn once and kept."""
    file = FOLDER / f"{kind}-{seeds.start}-{seeds.stop}.npz"
    if not file.exists():
        FOLDER.mkdir(exist_ok=True)
        pieces = [seeds[i : i + 200] for i in range(0, len(seeds), 200)]
        with ProcessPoolExecutor(workers) as pool:
            parts = list(pool.map(drawn, [kind] * len(pieces), pieces))
        with file.with_suffix(".part").open("wb") as unfinished:
            np.savez(unfinished, *(np.concatenate(part) for part in zip(*parts, strict=True)))
        file.with_suffix(".part").replace(file)
    with np.load(file) as kept:
        return Scenes(*kept.values())


def drawn(kind: str, seeds: range) -> Scenes:
    """The scenes of a run of seeds, drawn anew."""
    made = [one for seed in seeds for one in KINDS[kind](seed)]
    labels = np.full((len(made), _MOST), -1, np.int64)
    boxes = np.zeros((len(made), _MOST, 4), np.float32)
    for i, one in enumerate(made):
        labels[i, : len(one.labels)] = one.labels
        boxes[i, : len(one.boxes)] = one.boxes
    return Scenes(np.stack([d.image for d in made]), labels, boxes, np.stack([d.owner for d in made]))
