"""Signals at the pixels to tones: grey where there is none, colour for its sign, brightness for its strength.

A signal is (H, W, C) float32, of any range and sign; NaN is where the model did not look, and has no tone.
"""

from __future__ import annotations

import numpy as np

PERCENTILE = 99.5  # of what is not zero: one hot pixel must not darken all others
HOT, COLD = (178, 24, 43), (33, 102, 172)


def strength(signal: np.ndarray) -> np.ndarray:
    """The greatest absolute value over the channels, (H, W): Simonyan et al. 2014, section 3.1."""
    return np.abs(signal).max(axis=-1)


def scaled(values: np.ndarray, percentile: float = PERCENTILE) -> np.ndarray:
    """Values of any shape, float32, over a percentile of the absolute ones but zero, clipped to [-1, 1]."""
    size = np.abs(values[np.isfinite(values) & (values != 0)])
    top = np.percentile(size, percentile) if size.size else 1
    return np.clip(values / np.float32(top), -1, 1)


def signed(signal: np.ndarray) -> np.ndarray:
    """Every channel around middle grey, (H, W, 3) uint8: the way Zeiler & Fergus show what comes back.

    Of channels that are no colours it is the strongest at each pixel.
    """
    if signal.shape[-1] not in (1, 3):
        strongest = np.abs(np.nan_to_num(signal)).argmax(-1)[..., None]
        signal = np.take_along_axis(signal, strongest, -1)
    tones = np.rint(127.5 + 127.5 * np.nan_to_num(scaled(signal))).astype(np.uint8)
    return np.broadcast_to(tones, (*signal.shape[:2], 3)).copy()


def absolute(signal: np.ndarray) -> np.ndarray:
    """The strength as light on black, (H, W, 3) uint8: the way Simonyan et al. show saliency."""
    light = np.rint(255 * np.nan_to_num(scaled(strength(signal)))).astype(np.uint8)
    return np.repeat(light[..., None], 3, axis=-1)


def diverging(signal: np.ndarray) -> np.ndarray:
    """The sum over the channels: red where positive, blue where negative, white at 0, (H, W, 3) uint8."""
    level = np.nan_to_num(scaled(signal.sum(axis=-1)))[..., None]
    end = np.where(level > 0, np.array(HOT, np.float32), np.array(COLD, np.float32))
    return np.rint(255 + np.abs(level) * (end - 255)).astype(np.uint8)
