"""Pictures of any numbers in any number of channels, from .npy files: of satellites, depth, one tone."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...engine.errors import BadImage
from ...kernels.photos.resample import FILTERS, filtered

MAX_CHANNELS = 512
ENDS = 1, 99  # percentiles of a channel that are shown black and white


class Bands(np.ndarray):
    """A photo (H, W, 3) uint8 to be looked at, with the `numbers` (H, W, C) float32 that it stands for."""

    numbers: np.ndarray
    exact: bool  # whether it is these numbers: tones of 0 to 255, of three channels or grey

    def __array_finalize__(self, other: Any) -> None:
        """Parts and copies know the numbers no more: where they lie has changed."""


def banded(array: np.ndarray, name: str = "the picture") -> Bands:
    """A picture (H, W, C) or (H, W) of whole or real numbers, as a photo that carries them.

    Shown are the first three channels, or the first as grey where there are fewer, each from its least to its
    greatest numbers; tones (uint8) as they are. Raises BadImage for what is no such array, or not finite.
    """
    array = np.asarray(array)
    if array.ndim not in (2, 3) or min(array.shape[:2]) < 2 or array.dtype.kind not in "fiub":
        shape = " x ".join(map(str, array.shape))
        raise BadImage(f"{name}: {shape or 'one'} {array.dtype} is no picture: height, width, channels")
    numbers = array if array.ndim == 3 else array[..., None]
    if not 1 <= numbers.shape[2] <= MAX_CHANNELS:
        raise BadImage(
            f"{name}: {numbers.shape[2]} channels; the axes of a picture are height, width, channels"
        )
    numbers = np.ascontiguousarray(numbers, np.float32)
    if not np.isfinite(numbers).all():
        raise BadImage(f"{name}: holds numbers that are not finite")
    exact = array.dtype == np.uint8 and numbers.shape[2] in (1, 3)
    found = (array.reshape(numbers.shape).repeat(3 // numbers.shape[2], 2) if exact else shown(numbers)).view(
        Bands
    )
    found.numbers, found.exact = numbers, exact
    return found


def shown(numbers: np.ndarray) -> np.ndarray:
    """Numbers (..., H, W, C) as a picture (..., H, W, 3) uint8 to be looked at."""
    seen = numbers[..., :3] if numbers.shape[-1] >= 3 else numbers[..., :1]
    low, high = np.percentile(seen, ENDS, axis=(-3, -2), keepdims=True)
    spread = np.where(high > low, high - low, 1)
    tones = np.rint(np.clip((seen - low) / spread, 0, 1) * 255).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(tones, (*tones.shape[:-1], 3)))


def mix_of(channels: int) -> np.ndarray:
    """How so many channels are made of three, (C, 3): of those shown, and all others of their mean."""
    if channels < 3:
        return np.full((channels, 3), 1 / 3)
    return np.concatenate([np.eye(3), np.full((channels - 3, 3), 1 / 3)])


def dreamt(picture: np.ndarray, channels: str | int) -> np.ndarray:
    """A picture (H, W, 3) uint8 that was made for a model of these `channels`, as that model takes photos."""
    return banded(picture @ mix_of(channels).T) if isinstance(channels, int) else picture


def numbers_of(photo: np.ndarray, channels: int) -> np.ndarray:
    """The numbers (H, W, C) float32 of a photo. Raises BadImage where it has not so many channels."""
    found = getattr(photo, "numbers", None)
    if found is None:
        found = np.asarray(photo, np.float32)
    if found.shape[2] != channels:
        raise BadImage(
            f"the picture has {found.shape[2]} channels, and the model takes {channels}: give it a .npy file "
            f"of (height, width, {channels})"
        )
    return found


def resized(numbers: np.ndarray, rows: int, columns: int, interpolation: str, antialias: bool) -> np.ndarray:
    """Numbers (H, W, C) at another size, with the filters of photos and without rounding."""
    height, width = numbers.shape[:2]
    if (height, width) == (rows, columns):
        return numbers
    if interpolation not in FILTERS:  # nearest
        ys, xs = ((np.arange(n) + 0.5) * (m / n) for n, m in ((rows, height), (columns, width)))
        return numbers[ys.astype(int)[:, None], xs.astype(int)]
    return filtered(numbers, rows, columns, interpolation, antialias)
