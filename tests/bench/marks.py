"""Marks planted into photos of noise, and where layers answer to them; for placement.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx

from onnxlens.engine.anatomy.grids import View
from onnxlens.engine.runtime.session import Session

PLACES = (0.4, 0.41), (0.37, 0.6), (0.63, 0.39)  # of height and width: off the cells
PHOTOS = 3
NARROWEST = 8  # pixels to each side of a mark
SHARE = 0.25  # of the greatest change: what changes less does not count
Fed = Callable[[np.ndarray], np.ndarray]
Changes = tuple[tuple[float, float], Mapping[str, Any]]


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


def spot(rng: np.random.Generator, size: tuple[int, int], at: tuple[float, float], cell: Any) -> np.ndarray:
    """A soft mark (H, W, 3) around a place in pixels, `cell` pixels (down, across) to each side."""

    def window(length: int, middle: float, reach: float) -> np.ndarray:
        far = np.abs(np.arange(length) + 0.5 - middle) / reach
        return np.where(far < 1, 0.5 + 0.5 * np.cos(np.pi * far), 0)

    soft = np.outer(*(window(*w) for w in zip(size, at, cell, strict=True)))
    return (soft[..., None] * rng.choice([-1, 1], 3) * rng.uniform(1, 3, 3)).astype(np.float32)


def centre(change: np.ndarray, view: View, reach: Sequence[int]) -> np.ndarray:
    """The centre of mass of what changes on a map (h, w), in pixels of the input.

    Only as far as twice the reach of the mark from where it changes most: windows of attention change too.
    """
    change = np.maximum(change - np.median(change), 0)
    places = [np.arange(n) for n in change.shape]
    peak = np.unravel_index(cv2.blur(change, (3, 3), borderType=cv2.BORDER_REFLECT).argmax(), change.shape)
    cell = cell_of(view, change.shape)
    far = (np.abs(p - at) * c / r for p, at, c, r in zip(places, peak, cell, reach, strict=True))
    near = (f <= 2 for f in far)
    change = change * np.outer(*near)
    weights = np.maximum(change / change.max() - SHARE, 0)
    middle = [weights.sum(1 - a) @ (places[a] + 0.5) / weights.sum() for a in (0, 1)]
    assert view.place is not None
    return view.place.cells[:2] + np.array(middle) * cell


def cell_of(view: View, shape: Sequence[int]) -> np.ndarray:
    """Height and width of a cell in pixels."""
    assert view.place is not None
    y0, x0, y1, x1 = view.place.cells
    return np.array([(y1 - y0) / shape[0], (x1 - x0) / shape[1]])


def changes(session: Session, image: str, size: tuple[int, int], reach: Any, fed: Fed) -> Iterator[Changes]:
    """For each place, how much the elements of the session's outputs change with a mark: squares, by name."""
    rng = np.random.default_rng(0)
    photos = [noise(rng, size) for _ in range(PHOTOS)]
    plain = [session({image: fed(photo)}) for photo in photos]
    for place in PLACES:
        at, sums = (place[0] * size[0], place[1] * size[1]), dict.fromkeys(session.outputs, 0.0)
        for photo, before in zip(photos, plain, strict=True):
            after = session({image: fed(photo + spot(rng, size, at, reach))})
            for name in sums:
                squares = np.square(after[name].astype(np.float64) - before[name])
                sums[name] = sums[name] + squares / max(squares.max(), np.finfo(float).tiny)
        yield at, sums


def channels_first(photo: np.ndarray) -> np.ndarray:
    """(H, W, 3) as (1, 3, H, W)."""
    return np.ascontiguousarray(photo.transpose(2, 0, 1)[None])


def channels_last(photo: np.ndarray) -> np.ndarray:
    """(H, W, 3) as (1, H, W, 3)."""
    return photo[None]


def reach_of(cell: np.ndarray, size: Sequence[int]) -> tuple[int, ...]:
    """Pixels to each side of a mark: a power of two, so that layers share runs, within a quarter."""
    near = (2 ** round(float(np.log2(max(c, NARROWEST)))) for c in cell)
    return tuple(min(n, side // 4) for n, side in zip(near, size, strict=True))
