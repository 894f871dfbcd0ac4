"""How good a map is, where the truth is known."""

from __future__ import annotations

import numpy as np


def pointing(heat: np.ndarray, mask: np.ndarray) -> bool:
    """True where the peak of a map lies on the object: the pointing game, without a margin.

    `heat` (H, W) and `mask` (H, W) bool; of several peaks the first in reading order counts. NaN is no
    peak. Zhang et al. 2018, "Top-Down Neural Attention by Excitation Backprop", section 4.2.
    """
    return bool(mask.flat[int(np.nanargmax(heat))])
