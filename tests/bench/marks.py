"""Marks planted into photos of noise, and where layers answer to them; for placement.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx

from onnxlens.engine.anatomy.grids import View
from onnxlens.engine.runtime.session import Session

PLACES = (0.4, 0.41), (0.37, 0.6), (0.63, 0.38), (0.6, 0.62)  # of height and width: off the cells
PHOTOS = 3
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

    From where it is most, a centre of mass is shifted to where it is that of all within twice the reach of
    the mark (Fukunaga and Hostetler 1975).
    """
    change = np.maximum(change / change.max() - SHARE, 0)
    cell, places = cell_of(view, change.shape), [np.arange(n) for n in change.shape]
    middle = np.array(np.unravel_index(change.argmax(), change.shape), float)
    for _ in range(SHIFTS):
        far = (np.abs(p - m) * c / r for p, m, c, r in zip(places, middle, cell, reach, strict=True))
        near = change * np.outer(*(f <= 2 for f in far))
        middle = np.array([near.sum(1 - a) @ places[a] for a in (0, 1)]) / near.sum()
    assert view.place is not None
    return view.place.cells[:2] + (middle + 0.5) * cell


def cell_of(view: View, shape: Sequence[int]) -> np.ndarray:
    """Height and width of a cell in pixels."""
    assert view.place is not None
    y0, x0, y1, x1 = view.place.cells
    return np.array([(y1 - y0) / shape[0], (x1 - x0) / shape[1]])


def changes(
    session: Session, photo: Photo, reach: Sequence[int], views: Mapping[str, View]
) -> list[dict[str, Any]]:
    """For each of PLACES, how much cells of the session's outputs change with a mark: squares, by name.

    Against the most alike of the photo with the same mark elsewhere: attention and gates bring to all cells
    what one sees, wherever that is.
    """
    rng = np.random.default_rng(0)
    sums: list[dict[str, Any]] = [dict.fromkeys(session.outputs, 0.0) for _ in PLACES]
    for _ in range(PHOTOS):
        plain, colour = noise(rng, photo.size), rng.choice([-1, 1], 3) * rng.uniform(1, 3, 3)
        marked = [plain + colour * spot(photo.size, at, reach) for at in photo.places]
        found = [session({photo.name: photo.fed(x)}) for x in marked]
        for name, view in views.items():
            seen = np.stack([view.of_array(f[name])[0] for f in found]).astype(np.float64)
            for i, total in enumerate(sums):
                apart = np.min([np.square(seen[i] - x).sum(0) for j, x in enumerate(seen) if j != i], 0)
                total[name] = total[name] + apart / max(apart.max(), np.finfo(float).tiny)
    return sums


@dataclass(frozen=True)
class Photo:
    """The input of a model that takes photos: its name, height and width, and whether channels are last."""

    name: str
    size: tuple[int, int]
    is_last: bool

    @property
    def places(self) -> list[tuple[float, float]]:
        """Where marks are planted, in pixels."""
        return [(y * self.size[0], x * self.size[1]) for y, x in PLACES]

    def fed(self, photo: np.ndarray) -> np.ndarray:
        """(H, W, 3) as the model takes it."""
        ordered = photo if self.is_last else photo.transpose(2, 0, 1)
        return np.ascontiguousarray(ordered[None], np.float32)


def reach_of(cell: np.ndarray, size: Sequence[int]) -> tuple[int, ...]:
    """Pixels to each side of a mark: a power of two, so that layers share runs, within a quarter."""
    near = (2 ** round(float(np.log2(max(c, NARROWEST)))) for c in cell)
    return tuple(min(n, side // 4) for n, side in zip(near, size, strict=True))
