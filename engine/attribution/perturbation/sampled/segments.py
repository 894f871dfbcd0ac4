"""An image in segments, cells of a grid or what looks alike, and what a network says of some of them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ....errors import NoMap, Unavailable
from ..asked import Asked
from .means import BATCH

GRID, SLIC = "grid", "slic"
Answers = Callable[[np.ndarray], np.ndarray]  # from shares (n, K) that are seen to what is said, (n, T)


def segments_of(asked: Asked, kind: str, cells: int) -> np.ndarray:
    """The number of the segment that each pixel belongs to, (h, w) int64, from 0 on without gaps.

    GRID: so many cells down and across. SLIC: about as many superpixels (Achanta et al. 2012, as scikit-image
    computes them with its defaults) of the input. Raises NoMap where there is one alone, and Unavailable
    without scikit-image.
    """
    found = _grid(asked.size, cells) if kind == GRID else _superpixels(asked, cells**2)
    names, numbers = np.unique(found, return_inverse=True)
    if len(names) < 2:
        raise NoMap("the photo is one segment as a whole: take more cells, or a grid of them")
    return numbers.reshape(found.shape)


def _grid(size: tuple[int, int], cells: int) -> np.ndarray:
    rows, columns = (np.arange(length) * cells // length for length in size)
    return rows[:, None] * cells + columns


def slic() -> Callable[..., np.ndarray]:
    """The function of scikit-image. Raises Unavailable without it."""
    try:
        from skimage.segmentation import slic  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise Unavailable("slic needs scikit-image: pip install 'onnxlens[segments]'") from None
    return slic


def _superpixels(asked: Asked, count: int) -> np.ndarray:
    image = asked.image if asked.intake.last else np.moveaxis(asked.image, 0, -1)
    low, high = float(image.min()), float(image.max())
    unit = (image.astype(float) - low) / (high - low or 1)
    return slic()(unit, n_segments=count, start_label=0, channel_axis=-1)


def answering(asked: Asked, segments: np.ndarray, fill: str, count: int) -> Answers:
    """The function that says what the network says with a share of each segment seen, and counts what it has
    answered, of `count`, for the progress. Images are made and answered BATCH at a time.
    """
    done = 0

    def answers(shares: np.ndarray) -> np.ndarray:
        nonlocal done
        found = []
        for start in range(0, len(shares), BATCH):
            some = shares[start : start + BATCH].astype(np.float32)
            found.append(asked.through(some[:, segments], fill))
            done += len(some)
            asked.progress(min(done, count), count)
        return np.concatenate(found)

    return answers


def spread(values: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """What is known of each segment and class, (K, T), at the pixels of the segments, (T, h, w) float32."""
    return np.moveaxis(values[segments], -1, 0).astype(np.float32)
