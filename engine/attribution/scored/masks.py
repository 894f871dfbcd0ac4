"""Masks made of feature maps: enlarged to the size of an image, and stretched to go from 0 to 1."""

from __future__ import annotations

import numpy as np


def enlarged(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Maps (n, h, w) at another size (n, *size) float32: linear between the middles of cells, beyond the
    outermost the same as there.
    """
    down, across = (_between(n, m) for n, m in zip(maps.shape[1:], size, strict=True))
    return np.einsum("yi,nij,xj->nyx", down, maps, across, optimize=True)


def _between(cells: int, length: int) -> np.ndarray:
    """What each cell adds to each pixel along an axis, (length, cells) float32."""
    at = np.clip((np.arange(length) + 0.5) * cells / length - 0.5, 0, cells - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(cells))).astype(np.float32)


def stretched(masks: np.ndarray) -> np.ndarray:
    """Each mask (n, h, w) from 0 to 1; zeros where one is the same everywhere."""
    low, high = (end(masks, (1, 2), keepdims=True) for end in (np.min, np.max))
    return (masks - low) / np.where(high > low, high - low, 1)
