"""What a dreamed image is to withstand: shifts, turns and scales, as expressions and as draws."""

from __future__ import annotations

import numpy as np

from ..graph.graph import Tensor, op


def rolled(x: Tensor, offset: Tensor, sign: int = 1) -> Tensor:
    """Images (N, C, H, W) moved round by `sign` times the offset (2,) int64, down and to the right."""
    for axis in (2, 3):
        size = op.Squeeze(x.dim(axis), [0])
        moved = op.Range(0, size, 1) - sign * op.Gather(offset, [axis - 2], axis=0)
        x = op.Gather(x, op.Mod(moved, size), axis=axis)
    return x


def jitter(rng: np.random.Generator, most: int) -> np.ndarray:
    """A random offset (2,) int64 of at most `most` pixels either way."""
    return rng.integers(-most, most + 1, 2)


def placed(x: Tensor, affine: Tensor, height: int, width: int) -> Tensor:
    """Images (N, C, H, W) seen through a window of (height, width) pixels, mirrored at their borders.

    `affine` (N, 2, 3): where a point (x, y, 1) of the window, -1 to 1 from edge to edge, lies in the image.
    """
    y, x_ = np.meshgrid(_centres(height), _centres(width), indexing="ij")
    points = np.stack([x_.ravel(), y.ravel(), np.ones(height * width)]).astype(np.float32)
    grid = op.Transpose(affine @ x.graph.constant(points), perm=[0, 2, 1])
    grid = op.Reshape(grid, [0, height, width, 2])
    mode = "linear" if x.graph.opsets[""] >= 20 else "bilinear"  # renamed
    return op.GridSample(x, grid, mode=mode, padding_mode="reflection", align_corners=0)


def _centres(size: int) -> np.ndarray:
    """The centres of pixels, on a line from -1 to 1."""
    return (2 * np.arange(size) + 1) / size - 1


def wobble(
    rng: np.random.Generator,
    count: int,
    shift: float = 0.15,
    scale: float = 0.25,
    turn: float = 15.0,
) -> np.ndarray:
    """Random affine maps (count, 2, 3) float32 for `placed`.

    Shifts of up to `shift` of the picture's side, scales of up to 1 ± `scale`, turns of up to `turn`
    degrees: larger than Lucid's standard_transforms, for networks whose features sit less firmly.
    """
    angle = np.deg2rad(rng.uniform(-turn, turn, count))
    size = rng.uniform(1 - scale, 1 + scale, count)
    cos, sin = size * np.cos(angle), size * np.sin(angle)
    dx, dy = 2 * rng.uniform(-shift, shift, (2, count))
    return np.stack([cos, -sin, dx, sin, cos, dy], 1).reshape(count, 2, 3).astype(np.float32)


def still(count: int) -> np.ndarray:
    """The affine maps (count, 2, 3) that change nothing."""
    return np.tile(np.eye(2, 3, dtype=np.float32), (count, 1, 1))
