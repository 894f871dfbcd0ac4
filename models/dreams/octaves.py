"""Pictures as arrays to climb, and the sizes at which they are climbed, from small to large."""

from __future__ import annotations

import numpy as np

from ...host import cv2

LEAST = 8  # pixels; no octave has a shorter side


def octave_sizes(height: int, width: int, count: int, scale: float) -> list[tuple[int, int]]:
    """`count` sizes, smallest first, each `scale` times the one before; fewer where they would be tiny."""
    sizes = [(round(height / scale**i), round(width / scale**i)) for i in range(count)]
    return [s for i, s in enumerate(sizes) if i == 0 or min(s) >= LEAST][::-1]


def within(photo: np.ndarray, side: int | None) -> np.ndarray:
    """A photo (H, W, 3) uint8 with its longer side of `side` pixels; as it is where that is None."""
    if side is None or max(photo.shape[:2]) == side:
        return photo
    factor = side / max(photo.shape[:2])
    height, width = (max(2, round(n * factor)) for n in photo.shape[:2])
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(photo, (width, height), interpolation=how)


def resize(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Images (N, C, H, W) float32 at another size (h, w): areas where they shrink, linear where they grow."""
    if pixels.shape[2:] == size:
        return pixels
    smaller = size[0] * size[1] < pixels.shape[2] * pixels.shape[3]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    planes = [cv2.resize(x.transpose(1, 2, 0), (size[1], size[0]), interpolation=how) for x in pixels]
    return np.ascontiguousarray(np.stack(planes).transpose(0, 3, 1, 2))


def closer(pixels: np.ndarray, share: float) -> np.ndarray:
    """Images (N, C, H, W) seen from nearer, by a `share` of their sides: the middle fills the picture."""
    height, width = pixels.shape[2:]
    matrix = np.array([[1 - share, 0, width * share / 2], [0, 1 - share, height * share / 2]])
    planes = [
        cv2.warpAffine(
            np.ascontiguousarray(x.transpose(1, 2, 0)),
            matrix,
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        )
        for x in pixels
    ]
    return np.ascontiguousarray(np.stack(planes).transpose(0, 3, 1, 2))


def to_pixels(photo: np.ndarray, count: int) -> np.ndarray:
    """A photo (H, W, 3) uint8 as `count` images (count, 3, H, W) float32."""
    return np.repeat(photo.transpose(2, 0, 1)[None].astype(np.float32), count, 0)


def to_pictures(pixels: np.ndarray) -> np.ndarray:
    """Images (N, 3, H, W), 0 to 255, as pictures (N, H, W, 3) uint8."""
    return np.ascontiguousarray(np.rint(pixels).clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1))
