"""The drawings behind the classes of the embedded model, and the plain pieces that surround them.

A drawing is a list of parts in painter's order, in coordinates from about -1 to 1 with y pointing down. A
part names a tone, not a colour: the scene chooses colours without knowing the class.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

NONE, INK, BODY, TRIM, LIGHT, DARK = range(6)  # tone 0 cuts a hole

_STEPS = np.linspace(0, 1, 25)


class Part(NamedTuple):
    """One polygon: `points` (N, 2); filled where `width` is 0, else an open line of that width."""

    points: np.ndarray
    tone: int
    width: float = 0.0


def oval(x: float, y: float, rx: float, ry: float, start: float = 0, stop: float = 360) -> np.ndarray:
    """Points on an ellipse from `start` to `stop` degrees, clockwise on screen from the right: (25, 2)."""
    t = _STEPS * np.radians(stop - start) + np.radians(start)
    xy = np.empty((len(t), 2))
    xy[:, 0] = x + rx * np.cos(t)
    xy[:, 1] = y + ry * np.sin(t)
    return xy


def points(*xy: float) -> np.ndarray:
    """x1, y1, x2, y2, ... as an (N, 2) array."""
    return np.array(xy, float).reshape(-1, 2)


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    """The four corners of a rectangle, (4, 2)."""
    return points(left, top, right, top, right, bottom, left, bottom)


def turn(xy: np.ndarray, degrees: float) -> np.ndarray:
    """Rotate points (n, 2) about the origin, clockwise on the screen."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return xy @ np.array([[c, s], [-s, c]])


def _star(rng: Generator) -> list[Part]:
    t = np.radians(np.arange(10) * 36 - 90)
    r = np.where(np.arange(10) % 2, rng.uniform(0.42, 0.52), 1.0)
    outer = np.stack([r * np.cos(t), r * np.sin(t)], axis=1)
    inner = [Part(outer * rng.uniform(0.5, 0.62), TRIM)] if rng.random() < 0.5 else []
    return [Part(outer, BODY), *inner]


def _heart(rng: Generator) -> list[Part]:
    t = np.linspace(0, 2 * np.pi, 40)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    outer = np.stack([np.sin(t) ** 3 * rng.uniform(0.95, 1.1), -y / 16], axis=1)
    inner = [Part(outer * 0.6, TRIM)] if rng.random() < 0.35 else []
    return [Part(outer, BODY), *inner, Part(oval(-0.42, -0.2, 0.3, 0.34, 190, 260), LIGHT, 0.11)]


def _moon(rng: Generator) -> list[Part]:
    horn = rng.uniform(40, 55)
    tip = oval(0, 0, 1, 1, horn, horn)[0]
    depth = rng.uniform(0.25, 0.38)  # how far the inner edge stays from the centre
    bow = oval(tip[0], 0, tip[0] + depth, tip[1], 270, 90)
    craters = [
        Part(oval(x, y, r, r), TRIM)
        for x, y, r in ((-0.66, 0.15, 0.13), (-0.5, -0.38, 0.09), (-0.32, 0.62, 0.1))
    ]
    return [
        Part(np.concatenate([oval(0, 0, 1, 1, horn, 360 - horn), bow]), BODY),
        *craters[: rng.integers(0, 4)],
    ]


def _cat(rng: Generator) -> list[Part]:
    ear = points(-0.86, -0.95, -0.82, -0.1, -0.2, -0.6)
    eye = rng.uniform(0.13, 0.19)
    parts = []
    for side in (points(1, 1), points(-1, 1)):
        parts += [Part(ear * side, BODY), Part((ear * 0.58 + points(-0.28, -0.27)) * side, TRIM)]
    parts.append(Part(oval(0, 0.08, 0.92, 0.78), BODY))
    for s in (-1, 1):
        parts += [
            Part(oval(0.36 * s, -0.05, eye * 1.15, eye * 1.25), LIGHT),
            Part(oval(0.36 * s, -0.05, eye * 0.55, eye * 1.15), DARK),
            Part(points(0.3 * s, 0.42, 1.08 * s, 0.3), DARK, 0.05),
            Part(points(0.3 * s, 0.5, 1.08 * s, 0.6), DARK, 0.05),
            Part(oval(0.13 * s, 0.4, 0.13, 0.15, 0, 180), DARK, 0.06),
        ]
    return [*parts, Part(points(-0.13, 0.26, 0.13, 0.26, 0, 0.42), TRIM)]


def _fish(rng: Generator) -> list[Part]:
    fat = rng.uniform(0.46, 0.62)
    t = np.linspace(0, 2 * np.pi, 40)
    body = np.stack([-0.22 + 0.78 * np.cos(t), fat * np.sin(t) * (1 - 0.25 * np.cos(t))], axis=1)
    bars = [
        Part(oval(x - 0.25, 0, 0.25, fat * h, -70, 70), TRIM, 0.11) for x, h in ((-0.12, 0.9), (0.18, 0.75))
    ]
    return [
        Part(points(0.35, 0, 1, -0.6, 0.84, 0, 1, 0.6), TRIM),
        Part(points(-0.5, -fat * 0.8, 0.05, -fat - 0.35, 0.4, -fat * 0.5), TRIM),
        Part(points(-0.3, fat * 0.8, 0.1, fat + 0.25, 0.25, fat * 0.6), TRIM),
        Part(body, BODY),
        *bars[: rng.integers(0, 3)],
        Part(oval(-0.66, -0.12, 0.14, 0.14), LIGHT),
        Part(oval(-0.68, -0.12, 0.07, 0.07), DARK),
        Part(oval(-1.0, 0.12, 0.2, 0.12, 10, 80), DARK, 0.05),
    ]


def _house(rng: Generator) -> list[Part]:
    wide, eaves = rng.uniform(0.68, 0.85), rng.uniform(-0.2, 0)
    door = rng.choice([-0.3, 0.0, 0.3]) * wide / 0.75
    parts = [
        Part(box(0.3, -0.9, 0.55, eaves), DARK),
        Part(box(-wide, eaves - 0.05, wide, 0.9), BODY),
        Part(points(-wide - 0.22, eaves, 0, -1, wide + 0.22, eaves), TRIM),
        Part(box(door - 0.17, 0.32, door + 0.17, 0.9), DARK),
    ]
    for x in (-0.45, 0.0, 0.45):
        if abs(x * wide / 0.75 - door) > 0.3:
            parts.append(Part(box(x * wide / 0.75 - 0.17, 0.16, x * wide / 0.75 + 0.17, 0.5), LIGHT))
    return parts


def _tree(rng: Generator) -> list[Part]:
    if rng.random() < 0.4:  # a fir
        tiers = [points(-w, y, 0, y - 0.85, w, y) for w, y in ((0.8, 0.6), (0.66, 0.18), (0.48, -0.22))]
        return [Part(box(-0.15, 0.5, 0.15, 1), TRIM), *(Part(tier, BODY) for tier in tiers)]
    trunk = points(-0.14, 0, 0.14, 0, 0.2, 0.95, -0.2, 0.95)
    crown = [(0, -0.45, 0.55), (-0.45, -0.12, 0.42), (0.45, -0.12, 0.42), (0, 0.02, 0.45)]
    fruit = [
        Part(oval(x, y, 0.09, 0.09), LIGHT) for x, y in ((-0.4, -0.2), (0.1, -0.6), (0.42, -0.1), (0, -0.1))
    ]
    return [
        Part(trunk, TRIM),
        *(Part(oval(x, y, r, r * rng.uniform(0.9, 1.1)), BODY) for x, y, r in crown),
        *(fruit if rng.random() < 0.4 else []),
    ]


def _key(rng: Generator) -> list[Part]:
    bow = rng.uniform(0.4, 0.48)
    teeth = [
        Part(box(x, 0, x + 0.16, 0.42 - d), BODY) for x, d in ((0.78, 0.0), (0.48, rng.uniform(0, 0.12)))
    ]
    return [
        Part(box(-0.5, -0.13, 0.98, 0.13), BODY),
        *teeth,
        Part(oval(-0.6, 0, bow, bow), BODY),
        Part(oval(-0.6, 0, bow * 0.75, bow * 0.75), TRIM),
        Part(oval(-0.68, 0, 0.16, 0.16), NONE),
    ]


def _mug(rng: Generator) -> list[Part]:
    tall = rng.uniform(0.66, 0.8)
    body = np.concatenate([points(-0.8, -tall, 0.45, -tall), oval(-0.175, tall - 0.12, 0.6, 0.22, 0, 180)])
    rise = np.linspace(0, 1, 12)
    steam = np.stack([0.1 * np.sin(5 * rise), -0.26 - 0.36 * rise - tall], axis=1)
    parts = [Part(steam + points(x, 0), LIGHT, 0.08) for x in (-0.42, 0.05)] if rng.random() < 0.35 else []
    parts += [
        Part(oval(0.42, 0, 0.42, 0.42, -95, 95), BODY, 0.2),
        Part(body, BODY),
        Part(oval(-0.175, -tall, 0.625, 0.2), TRIM),
        Part(oval(-0.175, -tall, 0.5, 0.13), DARK),
    ]
    mark = rng.integers(3)
    if mark == 1:
        parts.append(Part(box(-0.79, -0.1, 0.44, 0.22), TRIM))
    elif mark == 2:
        parts.append(Part(oval(-0.17, 0.12, 0.22, 0.22), LIGHT))
    return parts


def _umbrella(rng: Generator) -> list[Part]:
    height = rng.uniform(0.78, 0.95)
    handle = np.concatenate([points(0, -0.1), oval(0.16, 0.86, 0.16, 0.16, 180, 10)])

    def scallop(a: float, b: float) -> np.ndarray:  # along the rim, from x = a to x = b
        return oval((a + b) / 2, 0, (b - a) / 2, 0.14, 180, 360)

    def gore(a: float, b: float) -> Part:  # the cloth between two ribs that end at x = a and x = b
        ribs = [oval(0, 0, a, height, 0, -90), oval(0, 0, b, height, -90, 0)]
        return Part(np.concatenate([*ribs, scallop(b, a)]), TRIM)

    rim = [scallop(x, x - 0.5) for x in (1, 0.5, 0, -0.5)]
    return [
        Part(handle, DARK, 0.12),
        Part(points(0, -height - 0.14, 0, -height), DARK, 0.1),
        Part(np.concatenate([oval(0, 0, 1, height, 180, 360), *rim]), BODY),
        *([gore(-0.5, 0), gore(1, 0.5)] if rng.random() < 0.7 else [gore(0.5, 0)._replace(tone=LIGHT)]),
    ]


def _flower(rng: Generator) -> list[Part]:
    count = int(rng.integers(5, 9))
    petal = oval(0.58, 0, 0.4, 1.75 / count)
    stem, shift = [], points(0, 0)
    if rng.random() < 0.5:
        shift = points(0, -0.4)
        stem = [
            Part(points(0, -0.2, 0.04, 0.5, 0, 1.2), DARK, 0.13),
            Part(turn(oval(0.38, 0.03, 0.36, 0.16), -35) + points(0, 1), DARK),
        ]
    start = rng.uniform(0, 360)
    petals = [Part(turn(petal, start + 360 * i / count) * 0.95 + shift, BODY) for i in range(count)]
    return [*stem, *petals, Part(oval(0, 0, 0.3, 0.3) + shift, TRIM)]


def _sailboat(rng: Generator) -> list[Part]:
    top = rng.uniform(-1.05, -0.9)
    hull = points(-0.95, 0.42, 0.95, 0.42, 0.62, 0.9, -0.6, 0.9)
    parts = [
        Part(points(0, 0.5, 0, top - 0.1), DARK, 0.1),
        Part(points(0.1, top + 0.05, 0.85, 0.28, 0.1, 0.28), BODY),
        Part(points(-0.1, top + 0.3, -0.72, 0.28, -0.1, 0.28), LIGHT),
        Part(hull, TRIM),
    ]
    if rng.random() < 0.5:
        parts.append(Part(points(-0.78, 0.62, 0.78, 0.62), BODY, 0.1))
    return parts


# Class name: its drawing, and the largest angle in degrees by which a scene may turn it.
OBJECTS: dict[str, tuple[Callable[[Generator], list[Part]], float]] = {
    "star": (_star, 180),
    "heart": (_heart, 30),
    "moon": (_moon, 60),
    "cat": (_cat, 25),
    "fish": (_fish, 40),
    "house": (_house, 15),
    "tree": (_tree, 15),
    "key": (_key, 180),
    "mug": (_mug, 20),
    "umbrella": (_umbrella, 35),
    "flower": (_flower, 30),
    "sailboat": (_sailboat, 15),
}


_ZIGZAG = points(-1, 0.25, -0.6, -0.25, -0.2, 0.25, 0.2, -0.25, 0.6, 0.25, 1, -0.25)
_WAVE = np.stack([np.linspace(-1, 1, 24), 0.3 * np.sin(np.linspace(0, 9, 24))], axis=1)
# Polygons and a line width for all of them, 0 for filled.
_PIECES: list[tuple[list[np.ndarray], float]] = [
    ([oval(0, 0, 0.7, 0.7)], 0),
    ([oval(0, 0, 0.9, 0.5)], 0),
    ([oval(0, 0, 0.8, 0.8, 0, 180)], 0),
    ([np.concatenate([oval(0, 0, 1, 1, 0, 90), points(0, 0)])], 0),
    ([points(-0.8, 0.6, 0.8, 0.6, 0.3, -0.7)], 0),
    ([box(-0.65, -0.65, 0.65, 0.65)], 0),
    ([box(-1.3, -0.2, 1.3, 0.2)], 0),
    ([points(-0.9, 0.5, -0.4, -0.5, 0.9, -0.5, 0.4, 0.5)], 0),
    ([oval(0, 0, 0.7, 0.7)], 0.28),
    ([oval(0, 0, 0.9, 0.9, 0, 100)], 0.25),
    ([points(-0.8, 0, 0.8, 0), points(0, -0.8, 0, 0.8)], 0.32),
    ([points(-0.7, -0.7, -0.7, 0.6, 0.7, 0.6)], 0.3),
    ([oval(-0.7, 0.2, 0.2, 0.2), oval(0, -0.4, 0.2, 0.2), oval(0.6, 0.4, 0.2, 0.2)], 0),
    ([_ZIGZAG], 0.2),
    ([_WAVE], 0.2),
]


def piece(rng: Generator, tone: int) -> list[Part]:
    """A plain fragment that belongs to no class: a disc, a bar, a ring, a zigzag, a scribble and the like."""
    kind = rng.integers(len(_PIECES) + 1)
    if kind == len(_PIECES):
        return [Part(np.cumsum(rng.uniform(-0.7, 0.7, (6, 2)), axis=0), tone, 0.14)]
    shapes, width = _PIECES[kind]
    return [Part(shape, tone, width) for shape in shapes]
