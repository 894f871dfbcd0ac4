"""Drawn scenes with a known truth: one object that decides the class, clutter that does not, and the mask.

A seed is a scene. Colours, textures, place and clutter are drawn without looking at the class: two labels on
one seed differ in the object, and only its form gives the class away.
"""

# pyright: reportArgumentType=false
# OpenCV's stubs do not know NumPy's name for float32.

from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from ...host import cv2
from .grounds import background, colours, pattern
from .objects import BODY, DARK, INK, OBJECTS, TRIM, Part, piece, turn

CLASSES: tuple[str, ...] = tuple(OBJECTS)

# Every run of twelve seeds holds each class once. No seed is in two of the ranges.
TRAIN_SEEDS = range(0, 1_200_000)
VALIDATION_SEEDS = range(1_200_000, 1_320_000)
TEST_SEEDS = range(2_400_000, 2_520_000)

_SUPER = 3  # the map of tones is three times as fine as the picture: averaging it is the antialiasing
_SHIFT = 4  # fractional bits of a coordinate
_CLUTTER = DARK + 1  # tones from here on are the clutter's: its outline, then one for each piece
_PIECES = 9
_LEAST_SHOWN = 0.92  # share of the object that pieces in front of it must leave


class Scene(NamedTuple):
    """`image` (size, size, 3) uint8 RGB; `mask` (size, size) bool, the object's visible pixels; `label`."""

    image: np.ndarray
    mask: np.ndarray
    label: int


def scene(seed: int, label: int | None = None, size: int = 96) -> Scene:
    """Draw the scene of a seed: the same bytes each time with the same NumPy and OpenCV.

    `label` indexes CLASSES; without it, seed % 12. `size` in pixels, 32 to 1024, sets the resolution and
    leaves what is shown alone. ValueError for a label or a size out of range, or a negative seed.
    """
    label = seed % len(CLASSES) if label is None else label
    if not 0 <= label < len(CLASSES):
        raise ValueError(f"label {label} is not one of 0 to {len(CLASSES) - 1}")
    if not 32 <= size <= 1024:
        raise ValueError(f"size {size} is not between 32 and 1024")
    rng = np.random.default_rng(seed)
    ground, tones = colours(rng, _PIECES)
    image = background(rng, size, ground)
    canvas = _draw(rng, size, label)
    image = paint(rng, image, canvas, tones)
    grain = (rng.standard_normal((96, 96)) * rng.uniform(0, 0.04)).astype(np.float32)
    image += cv2.resize(grain, (size, size))[..., None]
    visible = covered(_is_object(canvas), size) >= 0.5
    return Scene(np.rint(image.clip(0, 1) * 255).astype(np.uint8), visible, int(label))


def _draw(rng: Generator, size: int, label: int) -> np.ndarray:
    """The map of tones at three times the size, uint8: pieces, the object, some pieces in front of it."""
    canvas = np.zeros((size * _SUPER, size * _SUPER), np.uint8)
    line = float(rng.choice((0, 0.008, 0.013)))
    inner = bool(rng.random() < 0.6)
    drawing, most = OBJECTS[CLASSES[label]]
    parts = drawing(rng.spawn(1)[0])  # a generator of its own: the clutter is the same for every class
    turn_by, extent = rng.uniform(-most, most), rng.uniform(0.38, 0.56)
    # More often near the borders than uniform, so that a map which always points at the centre earns little.
    where = rng.random(2)
    where -= 0.12 * np.sin(2 * np.pi * where)
    parts = place(rng, parts, extent, turn_by, where, margin=0.03)
    behind = rng.integers(2, _PIECES - 1)
    area = 0
    for i in range(_PIECES):
        if i == behind:
            stamp(canvas, parts, line, INK, inner)
            area = _is_object(canvas).sum()
        clutter, extent, angle = piece(rng, _CLUTTER + 1 + i), rng.uniform(0.08, 0.24), rng.uniform(0, 360)
        clutter = place(rng, clutter, extent, angle, rng.random(2), margin=-0.04)
        before = canvas.copy()
        stamp(canvas, clutter, line, _CLUTTER, False)
        if _is_object(canvas).sum() < _LEAST_SHOWN * area:
            canvas = before
    return canvas


def place(
    rng: Generator, parts: list[Part], extent: float, angle: float, where: np.ndarray, margin: float
) -> list[Part]:
    """Parts stretched, mirrored, turned by `angle` degrees and moved, in units of the picture's side.

    Their longer side becomes `extent`; `where` in 0..1 goes from one border to the other, less the margin.
    """
    stretch = rng.uniform(0.88, 1.14, 2) * (rng.choice((-1, 1)), 1)
    turned = [turn(part.points * stretch, angle) for part in parts]
    low = np.min([p.min(axis=0) - part.width / 2 for p, part in zip(turned, parts, strict=True)], axis=0)
    high = np.max([p.max(axis=0) + part.width / 2 for p, part in zip(turned, parts, strict=True)], axis=0)
    scale = extent / (high - low).max()
    half = (high - low) / 2 * scale + margin
    move = half + where * (1 - 2 * half) - (low + high) / 2 * scale
    return [Part(p * scale + move, q.tone, q.width * scale) for p, q in zip(turned, parts, strict=True)]


def stamp(canvas: np.ndarray, parts: list[Part], line: float, ink: int, inner: bool) -> None:
    """Draw parts onto the map of tones; where `line` > 0 outlined as one, where `inner` each for itself."""
    for part in parts if line else ():
        if part.tone:
            _fill(canvas, part.points, ink, part.width + 2 * line, closed=not part.width)
    for part in parts:
        _fill(canvas, part.points, part.tone, part.width)
        if line and inner and not part.width and part.tone != DARK:
            _fill(canvas, part.points, ink, line, closed=True)


def _fill(canvas: np.ndarray, points: np.ndarray, tone: int, width: float, closed: bool = False) -> None:
    """Draw one polygon or, with a width, one line."""
    fixed = [np.rint(points * (len(canvas) * 2**_SHIFT)).astype(np.int32)]
    if width:
        thickness = max(1, round(width * len(canvas)))
        cv2.polylines(canvas, fixed, closed, [tone], thickness, cv2.LINE_8, _SHIFT)
    else:
        cv2.fillPoly(canvas, fixed, [tone], cv2.LINE_8, _SHIFT)


def _is_object(canvas: np.ndarray) -> np.ndarray:
    return (canvas >= INK) & (canvas < _CLUTTER)


def covered(part: np.ndarray, size: int) -> np.ndarray:
    """The share of each pixel that a fine boolean map covers, (size, size) in 0..1."""
    return cv2.resize(part.astype(np.float32), (size, size), interpolation=cv2.INTER_AREA)


def paint(rng: Generator, image: np.ndarray, canvas: np.ndarray, tones: np.ndarray) -> np.ndarray:
    """Colour, texture, relief and shadow for the map of tones, over a background: (size, size, 3)."""
    size = len(image)
    colour = cv2.resize(tones.take(canvas, axis=0), (size, size), interpolation=cv2.INTER_AREA)
    cover = covered(canvas > 0, size)
    light = rng.uniform(0, 2 * np.pi)
    dx, dy = float(np.cos(light)), float(np.sin(light))
    soft = cv2.GaussianBlur(cover, (0, 0), size * 0.018)
    shift = np.array([[1, 0, -dx * size * 0.025], [0, 1, -dy * size * 0.025]])
    shadow = cv2.warpAffine(soft, shift, (size, size)) * rng.uniform(0, 0.6)
    image = image * (1 - shadow * (1 - cover))[..., None]
    image = image * (1 - cover)[..., None] + colour
    for tone in (BODY, TRIM):
        weave = covered(canvas == tone, size) * (pattern(rng, size) - 0.5) * rng.uniform(0, 0.3)
        image += weave[..., None] * rng.uniform(0.6, 1, 3).astype(np.float32)
    relief = cv2.Sobel(soft, cv2.CV_32F, 1, 0) * -dx + cv2.Sobel(soft, cv2.CV_32F, 0, 1) * -dy
    return image + (relief * cover * (size / 96) * rng.uniform(0, 0.22))[..., None]
