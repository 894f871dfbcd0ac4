"""Scenes of several small objects, and lines of text, with the truth about each: what it is and where.

A seed is a scene, drawn with the pieces of the embedded model's scenes. No object covers more than 8 % of the
picture and none lies on another, so that a map is right for one of them alone, and hardly one that always
points at the middle.
"""

# pyright: reportArgumentType=false
# OpenCV's stubs do not know NumPy's name for float32.

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.random import Generator

from onnxlens.models.embedded.grounds import background, colours
from onnxlens.models.embedded.objects import BODY, DARK, INK, OBJECTS, TRIM, Part, piece
from onnxlens.models.embedded.scenes import covered, paint, place, stamp

CLASSES = ("star", "cat", "fish", "house", "key", "umbrella")
STRANGERS = tuple(name for name in OBJECTS if name not in CLASSES)
ALPHABET = "0123456789ACEFHKLMNPRTUWXY"  # without letters that look like digits
SIZE, SMALL, LINE = 128, 96, (32, 160)

# No seed is in two of the ranges.
TRAIN_SEEDS, VALIDATION_SEEDS, TEST_SEEDS = (
    range(1_000_000),
    range(1_000_000, 1_100_000),
    range(2_000_000, 2_100_000),
)

_SUPER = 3  # the map of tones is three times as fine as the picture
_PIECES = 5
_FIRST = DARK + 2 + _PIECES  # the tone of the first object's body: behind those of the pieces and their ink
_SIDE = (0.15, 0.26)  # an object's longer side, in units of the picture's: at most 8 % of its area
_MARGIN = 0.015  # around each object
_FONTS = (
    cv2.FONT_HERSHEY_SIMPLEX,
    cv2.FONT_HERSHEY_DUPLEX,
    cv2.FONT_HERSHEY_COMPLEX,
    cv2.FONT_HERSHEY_TRIPLEX,
)


class Drawn(NamedTuple):
    """What there is to see, and where.

    `image` (h, w, 3) uint8 RGB; `labels` (n,) indices of CLASSES or ALPHABET; `boxes` (n, 4) float32 y0, x0,
    y1, x1 in pixels; `owner` (h, w) uint8: 1 + the index of the thing at a pixel, 0 where there is none.
    """

    image: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    owner: np.ndarray

    @property
    def text(self) -> str:
        """The characters of a line."""
        return "".join(ALPHABET[label] for label in self.labels)


def several(seed: int, labels: Sequence[int] | None = None, size: int = SIZE) -> Drawn:
    """A scene of 3 to 5 objects, of at least three classes: (size, size), the same bytes for the same seed.

    `labels`, indices of CLASSES and behind them of STRANGERS, says which objects there are.
    """
    rng = np.random.default_rng(seed)
    if labels is None:
        labels = [*rng.permutation(len(CLASSES))[:3], *rng.integers(len(CLASSES), size=rng.integers(3))]
    ground, tones = colours(rng, _PIECES + 1 + 2 * len(labels))
    image = background(rng, size, ground)
    canvas = np.zeros((size * _SUPER,) * 2, np.uint8)
    for i in range(_PIECES):
        part = place(
            rng, piece(rng, DARK + 2 + i), rng.uniform(0.06, 0.2), rng.uniform(0, 360), rng.random(2), 0
        )
        stamp(canvas, part, 0, INK, False)
    owner = _objects(rng, canvas, labels)
    image = paint(rng, image, canvas, tones)
    image += rng.standard_normal((size, size, 1)).astype(np.float32) * rng.uniform(0, 0.03)
    visible = np.stack([covered(owner == i + 1, size) >= 0.5 for i in range(len(labels))])
    return _drawn(image, labels, visible)


def _objects(rng: Generator, canvas: np.ndarray, labels: Sequence[int]) -> np.ndarray:
    """Draw each object where none lies yet; whose each fine pixel is: 1 + the index of the object, or 0."""
    line, inner = float(rng.choice((0, 0.006, 0.01))), bool(rng.random() < 0.6)
    owner, own, taken = np.zeros_like(canvas), np.zeros_like(canvas), []
    for i, label in enumerate(labels):
        parts, box = _free(rng, label, taken)
        taken.append(box)
        tones = {BODY: _FIRST + 2 * i, TRIM: _FIRST + 2 * i + 1}
        own[:] = 0
        stamp(own, [p._replace(tone=tones.get(p.tone, p.tone)) for p in parts], line, INK, inner)
        np.copyto(canvas, own, where=own > 0)
        owner[own > 0] = i + 1
    return owner


def _free(rng: Generator, label: int, taken: list[np.ndarray]) -> tuple[list[Part], np.ndarray]:
    """An object at a place that is free, or else the last of many tries, and its box: x0, y0, x1, y1."""
    drawing, most = OBJECTS[(*CLASSES, *STRANGERS)[label]]
    parts, angle, side = drawing(rng), rng.uniform(-most, most), rng.uniform(*_SIDE)
    placed, box = parts, np.zeros(4)
    for _ in range(200):
        placed = place(rng, parts, side, angle, rng.random(2), 0.02)
        corners = [(p.points.min(0) - p.width / 2, p.points.max(0) + p.width / 2) for p in placed]
        low, high = np.min(corners, axis=(0, 1)), np.max(corners, axis=(0, 1))
        box = np.concatenate([low, high]) + _MARGIN * np.array([-1, -1, 1, 1])
        if not any((box[:2] < other[2:]).all() and (other[:2] < box[2:]).all() for other in taken):
            break
    return placed, box


def pair(seed: int) -> tuple[Drawn, Drawn]:
    """Two scenes of three objects that have the first one's class in common, and nothing else."""
    shared, a, b, c, d = np.random.default_rng((seed, 1)).permutation(len(CLASSES))[:5]
    return several(2 * seed, [shared, a, b]), several(2 * seed + 1, [shared, c, d])


def among(seed: int) -> Drawn:
    """One object of CLASSES among two or three of STRANGERS, of which there is no word: (96, 96)."""
    rng = np.random.default_rng((seed, 2))
    others = len(CLASSES) + rng.permutation(len(STRANGERS))[: rng.integers(2, 4)]
    image, labels, boxes, owner = several(seed, [seed % len(CLASSES), *others], SMALL)
    return Drawn(image, labels[:1], boxes[:1], (owner == 1).astype(np.uint8))


def line(seed: int) -> Drawn:
    """Seven or eight characters in a row, on a textured ground: (32, 160)."""
    rng = np.random.default_rng(seed)
    height, width = LINE
    ground, tones = colours(rng, 0)
    image = background(rng, width, ground)[:height]
    labels = rng.integers(len(ALPHABET), size=rng.integers(7, 9))
    font, thick = int(rng.choice(_FONTS)), int(rng.integers(1, 4))
    tall, tilt = rng.uniform(0.55, 0.75), rng.uniform(-0.04, 0.04)
    x, base = rng.uniform(2, 24), rng.uniform(22, 26)
    masks = []
    for label in labels:
        own = np.zeros((height * _SUPER, width * _SUPER), np.uint8)
        at = round(x * _SUPER), round((base + tilt * (x - width / 2) + rng.uniform(-1, 1)) * _SUPER)
        cv2.putText(own, ALPHABET[label], at, font, tall * _SUPER, 255, thick + 1, cv2.LINE_AA)
        masks.append(cv2.resize(own, (width, height), interpolation=cv2.INTER_AREA))
        x += cv2.getTextSize(ALPHABET[label], font, tall, 1)[0][0] + rng.uniform(0, 2)
    ink = np.max(masks, axis=0)[..., None] / np.float32(255)
    image = image * (1 - ink) + tones[BODY] * ink
    image += rng.standard_normal((height, width, 1)).astype(np.float32) * rng.uniform(0, 0.04)
    return _drawn(image, labels, np.stack(masks) >= 64)


def _drawn(image: np.ndarray, labels: Sequence[int] | np.ndarray, visible: np.ndarray) -> Drawn:
    """Pixels as bytes, and the boxes of what is visible (n, h, w) of each thing."""
    sides = [np.flatnonzero(seen.any(axis)) for seen in visible for axis in (1, 0)]
    boxes = [(y[0], x[0], y[-1] + 1, x[-1] + 1) for y, x in zip(sides[::2], sides[1::2], strict=True)]
    numbers = np.arange(1, len(visible) + 1, dtype=np.uint8)[:, None, None]
    pixels = np.rint(image.clip(0, 1) * 255).astype(np.uint8)
    return Drawn(pixels, np.array(labels), np.array(boxes, np.float32), (visible * numbers).max(axis=0))
