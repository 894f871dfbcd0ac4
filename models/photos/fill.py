"""What an occluding patch shows instead of the photo."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable

import numpy as np

from ...engine.errors import BadRequest, nearest
from ...host import cv2
from .preprocess import Preprocess

COLOURS = {
    "black": (0, 0, 0), "white": (255, 255, 255), "grey": (128, 128, 128), "gray": (128, 128, 128),
    "red": (255, 0, 0), "green": (0, 128, 0), "blue": (0, 0, 255), "yellow": (255, 255, 0),
    "cyan": (0, 255, 255), "magenta": (255, 0, 255), "orange": (255, 165, 0), "purple": (128, 0, 128),
    "pink": (255, 192, 203), "brown": (165, 42, 42),
}  # fmt: skip
BLUR = 1 / 14  # standard deviation over the shorter side: half of the default patch
SEED = 0

Fill = Callable[[np.ndarray, Preprocess], np.ndarray]  # a model input (1, ...) to pictures (1, h, w, 3) uint8


def _even(colour: tuple[int, ...]) -> Fill:
    return lambda _, preprocess: np.full((1, *preprocess.size, 3), colour, np.uint8)


def _mean(image: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    none = not any(preprocess.mean)  # zero is black then, and no mean
    return _even(COLOURS["grey"])(image, preprocess) if none else preprocess.inverse(np.zeros_like(image))


def _blur(image: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    return cv2.GaussianBlur(preprocess.inverse(image)[0], (0, 0), BLUR * min(preprocess.size))[None]


def _noise(_: np.ndarray, preprocess: Preprocess) -> np.ndarray:
    return np.random.default_rng(SEED).integers(0, 256, (1, *preprocess.size, 3), np.uint8)


FILLS: dict[str, Fill] = {"mean": _mean, "zero": _even(COLOURS["black"]), "blur": _blur, "noise": _noise}


def fill_named(name: str) -> Fill:
    """What makes the fill of this name for a model input.

        mean    the colour that the preprocessing turns into zero, as near as 8 bits come: the grey of
                Zeiler & Fergus; middle grey where it subtracts nothing
        zero    black
        blur    the photo without its details
        noise   even in each pixel and channel, the same in every run
        colour  a name of COLOURS or #rrggbb

    Raises BadRequest for any other name.
    """
    if name in FILLS:
        return FILLS[name]
    if re.fullmatch(r"#[0-9a-fA-F]{6}", name):
        return _even(tuple(bytes.fromhex(name[1:])))
    if name.lower() not in COLOURS:
        raise BadRequest(
            f"there is no fill {name!r:.50}: it is mean, zero, blur, noise, #rrggbb or the name of a colour"
            f"{nearest(name[:50], (*FILLS, *COLOURS))}"
        )
    return _even(COLOURS[name.lower()])


def _of_numbers(image: np.ndarray, preprocess: Preprocess, fill: str) -> np.ndarray:
    """A fill of a model input that holds numbers, (1, C, h, w) or (1, h, w, C)."""
    last = preprocess.layout == "nhwc"
    x = image[0] if last else np.moveaxis(image[0], 0, -1)
    if fill == "mean":  # what the preprocessing takes off, or where that is nothing the picture's own
        x = np.zeros_like(x) if any(preprocess.mean) else np.broadcast_to(x.mean((0, 1)), x.shape)
    elif fill == "zero":
        x = np.broadcast_to(-np.asarray(preprocess.mean) / np.asarray(preprocess.std), x.shape)
    elif fill == "blur":
        spread = BLUR * min(preprocess.size)
        x = np.stack(
            [cv2.GaussianBlur(np.ascontiguousarray(c), (0, 0), spread) for c in np.moveaxis(x, -1, 0)], -1
        )
    elif fill == "noise":
        ends = x.min((0, 1)), x.max((0, 1))
        x = np.random.default_rng(SEED).uniform(*ends, x.shape)
    else:
        raise BadRequest(
            f"fill {fill!r:.50} is a colour, and the model takes numbers: mean, zero, blur or noise"
        )
    return np.ascontiguousarray(x if last else np.moveaxis(x, -1, 0), np.float32)[None]


def filler(image: np.ndarray, preprocess: Preprocess, fill: str) -> np.ndarray:
    """What lies under the patches: a model input of the shape of `image`, (1, C, h, w) or (1, h, w, C).

    It is made as a picture of what the model sees, and goes through the preprocessing pixel by pixel.
    Raises BadRequest as `fill_named` does.
    """
    made = fill_named(fill)
    if isinstance(preprocess.channels, int):
        return _of_numbers(image, preprocess, fill)
    picture = made(image, preprocess)[0]
    return dataclasses.replace(preprocess, fit="stretch", resize=None)(picture)[0]
