"""What is known of pictures before any network sees them: neighbours are alike, steps need not be sharp."""

from __future__ import annotations

import numpy as np

from ..graph.graph import Tensor, op


def roughness(x: Tensor) -> Tensor:
    """The gradient of the total variation of images (N, 3, H, W), Σ (step to the next pixel)², by its pixels.

    Mahendran & Vedaldi 2015, "Understanding Deep Image Representations by Inverting Them", with β = 2:
    twice the difference to each neighbour, which is a convolution once the borders are repeated.
    """
    kernel = 2 * np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]], np.float32)
    wide = op.Pad(x, [0, 0, 1, 1, 0, 0, 1, 1], mode="edge")
    return op.Conv(wide, x.graph.constant(np.tile(kernel, (3, 1, 1, 1))), group=3)


def blurred(x: Tensor, sigma: float) -> Tensor:
    """Images (N, 3, H, W) under a Gaussian of `sigma` pixels, their borders repeated; 0 does nothing."""
    if not sigma:
        return x
    reach = max(1, round(3 * sigma))
    bell = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    bell = (bell / bell.sum()).astype(np.float32)
    x = op.Pad(x, [0, 0, reach, reach, 0, 0, reach, reach], mode="edge")
    for kernel in (bell[:, None], bell[None, :]):
        x = op.Conv(x, x.graph.constant(np.tile(kernel, (3, 1, 1, 1))), group=3)
    return x
