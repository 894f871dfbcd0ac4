"""Marks planted into photos of noise, and where layers answer to them; for placement.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx

from onnxlens.engine.anatomy.grids import View
from onnxlens.engine.features.probe import own_change
from onnxlens.engine.runtime.session import Session

PLACES = (0.4, 0.41), (0.37, 0.6), (0.63, 0.38), (0.6, 0.62)  # of height and width: off the cells
ELSEWHERE = (0.12, 0.12), (0.88, 0.88)  # far from these, and from one another
PHOTOS = 3, 6, 12, 24  # after so many it is looked whether more are needed
SETTLED = 0.2  # of a cell
NARROWEST = 8  # pixels to each side of a mark
SHARE = 0.25  # of the greatest change: what changes less does not count
SHIFTS = 10


def centred(path: Path) -> onnx.ModelProto:
    """The model of a file, of whose kernels each becomes a bell with the sum that it had.

    So means, and with them what normalisations had learned, stay as they are.
    """
    model = onnx.load(path)
    constants = {t.name: t for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type not in ("Conv", "ConvTranspose") or node.input[1] not in constants:
            continue
        kernel = onnx.numpy_helper.to_array(constants[node.input[1]])
        if kernel.ndim == 4 and kernel.shape[2:] != (1, 1):
            strides = next((list(a.ints) for a in node.attribute if a.name == "strides"), [1, 1])
            bell = np.outer(*(_bell(k, s) for k, s in zip(kernel.shape[2:], strides, strict=True)))
            even = (kernel.sum((2, 3), keepdims=True) * bell).astype(kernel.dtype)
            constants[node.input[1]].CopyFrom(onnx.numpy_helper.from_array(even, node.input[1]))
    return model


def _bell(length: int, stride: int) -> np.ndarray:
    """Weights that sum up to 1, with a standard deviation of half a stride."""
    weights = np.exp(-0.5 * np.square((np.arange(length) - (length - 1) / 2) / (stride / 2)))
    return weights / weights.sum()


def noise(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """A photo (H, W, 3) of noise of all scales, float32."""
    scales = [rng.standard_normal((max(1, size[0] // s), max(1, size[1] // s), 3)) for s in (1, 4, 16, 64)]
    sharp = (cv2.resize(x.astype(np.float32), size[::-1]) for x in scales)
    return np.asarray(np.mean(list(sharp), axis=0), np.float32)


def spot(size: tuple[int, int], at: tuple[float, float], reach: Sequence[int]) -> np.ndarray:
    """How strong a soft mark is in each pixel (H, W, 1), `reach` pixels (down, across) around a place."""

    def window(length: int, middle: float, reach: float) -> np.ndarray:
        far = np.abs(np.arange(length) + 0.5 - middle) / reach
        return np.where(far < 1, 0.5 + 0.5 * np.cos(np.pi * far), 0)

    return np.outer(*(window(*w) for w in zip(size, at, reach, strict=True)))[..., None]


def centre(change: np.ndarray, view: View, reach: Sequence[int]) -> np.ndarray:
    """The middle of what changes on a map (h, w), in pixels of the input.

    From where most of it is within twice the reach of the mark, a centre of mass is shifted to where it is
    that of all within there (Fukunaga and Hostetler 1975).
    """
    change = np.maximum(change / change.max() - SHARE, 0)
    cell, places = cell_of(view, change.shape), [np.arange(n) for n in change.shape]
    near = [np.abs(np.subtract.outer(p, p)) * c / r for p, c, r in zip(places, cell, reach, strict=True)]
    down, across = (0.5 + 0.5 * np.cos(np.pi * np.minimum(n / 2, 1)) for n in near)
    around = down @ change @ across
    middle = np.array(np.unravel_index(around.argmax(), change.shape), float)
    for _ in range(SHIFTS):
        far = (np.abs(p - m) * c / r for p, m, c, r in zip(places, middle, cell, reach, strict=True))
        within = change * np.outer(*(f <= 2 for f in far))
        middle = np.array([within.sum(1 - a) @ places[a] for a in (0, 1)]) / within.sum()
    assert view.place is not None
    return view.place.cells[:2] + (middle + 0.5) * cell


def off(found: np.ndarray, planted: np.ndarray, view: View, grid: Sequence[int]) -> list[float]:
    """How far answers (M, 2) are from the marks, in cells; along an axis of one cell nothing is."""
    far = np.abs(found - planted) / cell_of(view, grid)
    return far[:, np.array(grid) > 1].max(1).round(3).tolist()


def cell_of(view: View, shape: Sequence[int]) -> np.ndarray:
    """Height and width of a cell in pixels."""
    assert view.place is not None
    y0, x0, y1, x1 = view.place.cells
    return np.array([(y1 - y0) / shape[0], (x1 - x0) / shape[1]])


def found(
    session: Session, photo: Photo, reach: Sequence[int], views: Mapping[str, View]
) -> dict[str, np.ndarray]:
    """Where each output of a session answers to the marks, (M, 2) pixels of the input, by name.

    A cell sees a mark where it changes of itself (`own_change`, squared and summed over channels) whichever
    photo it is compared with: that without a mark, and those with the same mark at either end, where all is
    mixed alike. Nearer marks would not do: of two that a cell sees both the difference is least between them.
    What attention with random weights brings a cell is a matter of the photo, where it lies is not, so photos
    of other noise and colours are added, twice as many each time, until leaving out one of them moves no mark
    by more than SETTLED (the jackknife's standard error).
    """
    rng, changed = np.random.default_rng(0), {name: [] for name in views}
    settled: dict[str, np.ndarray] = {}
    for k in range(1, PHOTOS[-1] + 1):
        plain, colour = noise(rng, photo.size), rng.choice([-1, 1], 3) * rng.uniform(1, 3, 3)
        places = np.concatenate([photo.at(ELSEWHERE), photo.at(PLACES)])
        marked = [plain + colour * spot(photo.size, at, reach) for at in places]
        answers = [session({photo.name: photo.fed(x)}) for x in (plain, *marked)]
        for name in views.keys() - settled.keys():
            seen = [views[name].of_array(a[name])[0].astype(np.float64) for a in answers]
            changed[name].append([_own(x, seen[:3]) for x in seen[3:]])
            if k in PHOTOS:
                middles, error = _middles(np.array(changed[name]), views[name], reach)
                if k == PHOTOS[-1] or error.max() <= SETTLED:
                    settled[name] = middles
        if len(settled) == len(views):
            break
    return settled


def _own(after: np.ndarray, others: Sequence[np.ndarray]) -> np.ndarray:
    """How much cells (h, w) change of themselves against each of the others: 1 where most."""
    least = np.min([np.square(own_change(before, after)).sum(0) for before in others], 0)
    return least / max(least.max(), np.finfo(float).tiny)


def _middles(change: np.ndarray, view: View, reach: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """The middles (M, 2), in pixels, of changes (photos, M, h, w), and their standard errors, in cells."""
    every, count = change.sum(0), len(change)
    places = np.array([centre(c, view, reach) for c in every])
    without = np.array([[centre(c, view, reach) for c in every - one] for one in change])
    error = np.sqrt((count - 1) * without.var(0)) / cell_of(view, change.shape[2:])
    return places, np.where(np.array(change.shape[2:]) > 1, error, 0)


@dataclass(frozen=True)
class Photo:
    """The input of a model that takes photos: its name, height and width, and whether channels are last."""

    name: str
    size: tuple[int, int]
    is_last: bool

    def at(self, shares: Sequence[tuple[float, float]]) -> np.ndarray:
        """Shares of height and width, (M, 2), in pixels."""
        return np.array(shares) * self.size

    def fed(self, photo: np.ndarray) -> np.ndarray:
        """(H, W, 3) as the model takes it."""
        ordered = photo if self.is_last else photo.transpose(2, 0, 1)
        return np.ascontiguousarray(ordered[None], np.float32)


def reach_of(cell: np.ndarray, size: Sequence[int]) -> tuple[int, ...]:
    """Pixels to each side of a mark: a power of two, so that layers share runs, within a quarter."""
    near = (2 ** round(float(np.log2(max(c, NARROWEST)))) for c in cell)
    return tuple(min(n, side // 4) for n, side in zip(near, size, strict=True))
