"""Colours, textures and backgrounds of the scenes: all of a picture but what is drawn on it."""

# pyright: reportArgumentType=false
# OpenCV's stubs do not know NumPy's name for float32.

import numpy as np
from numpy.random import Generator

from ...host import cv2

_TO_LMS = np.array(
    [
        [1, 0.3963377774, 0.2158037573],
        [1, -0.1055613458, -0.0638541728],
        [1, -0.0894841775, -1.291485548],
    ]
)
_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.707614701],
    ]
)


def _oklab(lch: np.ndarray) -> np.ndarray:
    """OKLCH (..., 3), hue in radians, to OKLab, where distance is what the eye sees."""
    light, chroma, hue = np.moveaxis(lch, -1, 0)
    return np.stack([light, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1)


def _srgb(lch: np.ndarray) -> np.ndarray:
    """OKLCH (..., 3) to sRGB in 0..1 (B. Ottosson, "A perceptual color space for image processing", 2020)."""
    linear = ((_oklab(lch) @ _TO_LMS.T) ** 3 @ _TO_RGB.T).clip(0, 1)
    curved = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return curved.astype(np.float32)


def _far_from(rng: Generator, others: np.ndarray, distance: float) -> np.ndarray:
    """A colour, OKLCH, at least `distance` in OKLab from the others, or the farthest of some tries."""
    tries = rng.uniform((0.35, 0.05, 0), (0.9, 0.2, 2 * np.pi), (24, 3))
    gap = np.linalg.norm(_oklab(tries)[:, None] - _oklab(others), axis=-1).min(axis=1)
    return tries[np.argmax(np.minimum(gap, distance))]


def colours(rng: Generator, pieces: int) -> tuple[np.ndarray, np.ndarray]:
    """Three colours for the ground and one for each tone, both (n, 3) float32 sRGB in 0..1.

    Tones: nothing, ink, body, trim, light, dark, the clutter's ink, then `pieces` colours for its pieces.
    """
    light, chroma, hue = rng.uniform((0.35, 0.01, 0), (0.92, 0.11, 2 * np.pi))
    step = rng.uniform(0.06, 0.16) * (1 if light < 0.62 else -1)
    ground = np.array(
        [
            (light, chroma, hue),
            (light + step, chroma, hue + rng.uniform(-0.6, 0.6)),
            (light + step / 2, rng.uniform(0.02, 0.11), hue + rng.uniform(-1.6, 1.6)),
        ]
    )
    body = _far_from(rng, ground, 0.24)
    trim = _far_from(rng, np.array([*ground[:2], body]), 0.2)
    chalk = light < 0.45 and rng.random() < 0.5
    ink = (0.97, 0.02, hue) if chalk else (0.2, 0.03, body[2])
    tones = [(0, 0, 0), ink, body, trim, (0.95, 0.03, body[2]), (0.26, 0.05, trim[2]), ink]
    tones += [_far_from(rng, ground[:2], 0.16) for _ in range(pieces)]
    return _srgb(ground), _srgb(np.array(tones))


def pattern(rng: Generator, size: int) -> np.ndarray:
    """A texture: gradient, stripes, checks, dots, waves, rings or clouds, (size, size) float32 in 0..1."""
    angle, phase, cycles, edge = rng.uniform((0, 0, 3, 0.7), (2 * np.pi, 2 * np.pi, 9, 4)).tolist()
    kind = rng.integers(8)
    if kind >= 6:
        return _clouds(rng, size)
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size - 0.5
    x, y = axis[None, :], axis[:, None]
    cos, sin, turns = float(np.cos(angle)), float(np.sin(angle)), 2 * np.pi * cycles
    u, v = x * cos + y * sin, y * cos - x * sin
    if kind == 0:
        return (u + 0.5).clip(0, 1)
    if kind == 1:
        wave = np.sin(u * turns + phase)
    elif kind == 2:
        wave = np.sin(u * turns + phase) * np.sin(v * turns) * 2
    elif kind == 3:
        wave = np.sin(u * turns + phase) + np.sin(v * turns) - 0.6
    elif kind == 4:
        wave = np.sin(u * turns + 1.2 * np.sin(v * turns * 0.7) + phase)
    else:
        wave = np.sin(np.hypot(u - 0.3 * cos, v - 0.3) * turns * 1.2)
    return (0.5 + wave * (edge / 2)).clip(0, 1)


def _clouds(rng: Generator, size: int) -> np.ndarray:
    """Smooth noise of three octaves, (size, size) in 0..1."""
    total = np.full((size, size), -0.15, np.float32)
    for cells, strength in ((4, 0.6), (9, 0.4), (24, 0.3)):
        noise = rng.random((cells, cells)).astype(np.float32)
        total += strength * cv2.resize(noise, (size, size), interpolation=cv2.INTER_CUBIC)
    return total.clip(0, 1)


def _mix(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    return a + (b - a) * share[..., None]


def background(rng: Generator, size: int, ground: np.ndarray) -> np.ndarray:
    """Two textures that meet along a soft border, with blurred lights: (size, size, 3) float32 in 0..1."""
    image = _mix(ground[0], ground[1], pattern(rng, size))
    other = _mix(ground[1], ground[2], pattern(rng, size))
    image = _mix(image, other, ((_clouds(rng, size) - rng.uniform(0.3, 0.8)) * 6 + 0.5).clip(0, 1))
    glow = np.zeros((size, size), np.float32)
    for x, y, radius, strength in rng.uniform((0, 0, 0.05, 0.2), (1, 1, 0.2, 0.8), (rng.integers(0, 6), 4)):
        cv2.circle(glow, (round(x * size), round(y * size)), round(radius * size), strength, cv2.FILLED)
    glow = cv2.GaussianBlur(glow, (0, 0), size * rng.uniform(0.01, 0.05))
    bright = 0.5 * float(rng.random() < 0.7)
    return _mix(image, ground[rng.integers(3)] * 0.5 + bright, glow * 0.6)
