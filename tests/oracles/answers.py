"""Small models that answer boxes, regions, texts, vectors and numbers, known by hand: they look for colours.

What has a colour in a grey photo is red, green or blue; each model says where, in its own way.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, helper

from onnxlens.models.photos.preprocess import Preprocess

from .networks import parsed
from .toys import blob, metadata_of

NAMES = ["red", "green", "blue"]
PURE = 1.5 * np.eye(3, dtype=np.float32) - 0.5  # how much more there is of a colour than of the others
COLOURS = np.repeat(np.repeat(PURE[:, :, None, None], 3, 2), 3, 3) / 9
# What all of them begin with: a feature map for each colour.
BEGIN = "k = Conv <pads = [1, 1, 1, 1]> (x, colours) features = Relu (k)"
SIDE, STRIDE = 64, 8
CELLS = SIDE // STRIDE


def _known(model: ModelProto, labels: list[str] | None, size: tuple[int, int] = (SIDE, SIDE)) -> ModelProto:
    """The model with how photos go in and the names of its classes."""
    preprocess = Preprocess(size=size, fit="stretch", scale=1 / 255)
    helper.set_model_props(model, metadata_of(preprocess, labels))
    return model


def detector() -> ModelProto:
    """Boxes as Ultralytics exports them, (N, 4 + 3, 64): around each cell of 8 x 8 pixels one of 24 x 24."""
    weights = np.zeros((7, 3, STRIDE, STRIDE), np.float32)
    weights[4:] = 40 * np.eye(3)[:, :, None, None] / STRIDE**2
    at = np.arange(CELLS) + 0.5
    grid = np.stack(np.meshgrid(at, at)).reshape(1, 2, CELLS**2).astype(np.float32)
    model = parsed(
        f"""(float[N, 3, {SIDE}, {SIDE}] x) => (float[N, 7, {CELLS**2}] output0) {{
            {BEGIN}
            c = Conv <strides = [{STRIDE}, {STRIDE}]> (features, w, b)
            f = Reshape (c, flat)
            d, z = Split <axis = 1> (f, parts)
            lt, rb = Split <axis = 1, num_outputs = 2> (d)
            a = Sub (grid, lt)
            e = Add (grid, rb)
            s = Add (a, e)
            m = Div (s, two)
            q = Sub (e, a)
            both = Concat <axis = 1> (m, q)
            box = Mul (both, stride)
            p = Sigmoid (z)
            output0 = Concat <axis = 1> (box, p)
        }}""",
        colours=COLOURS,
        w=weights,
        b=np.float32([1.5] * 4 + [-12.0] * 3),
        flat=np.int64([0, 7, CELLS**2]),
        parts=np.int64([4, 3]),
        grid=grid,
        two=np.float32(2),
        stride=np.float32(STRIDE),
    )
    return _known(model, NAMES)


def segmenter() -> ModelProto:
    """Scores of the background and three colours at each pixel, (N, 4, 64, 64)."""
    weights = np.concatenate([np.zeros((1, 3)), 20 * np.eye(3)])[:, :, None, None].astype(np.float32)
    model = parsed(
        f"""(float[N, 3, {SIDE}, {SIDE}] x) => (float[N, 4, {SIDE}, {SIDE}] logits) {{
            {BEGIN}
            logits = Conv (features, w, b)
        }}""",
        colours=COLOURS,
        w=weights,
        b=np.float32([1, -1, -1, -1]),
    )
    return _known(model, ["background", *NAMES])


def matting() -> ModelProto:
    """How much of each pixel is red, (N, 1, 64, 64)."""
    model = parsed(
        f"""(float[N, 3, {SIDE}, {SIDE}] x) => (float[N, 1, {SIDE}, {SIDE}] alpha) {{
            {BEGIN}
            s = Conv (features, w, b)
            alpha = Sigmoid (s)
        }}""",
        colours=COLOURS,
        w=20 * np.eye(3, dtype=np.float32)[:1, :, None, None],
        b=np.float32([-4]),
    )
    return _known(model, None)


def reader() -> ModelProto:
    """A line of text, 8 x 64, (N, 16, 4) behind a Softmax: a blank, "r", "g" and "b" for the colours."""
    weights = np.concatenate([np.zeros((1, 3)), 60 * np.eye(3)])[:, :, None, None].astype(np.float32)
    model = parsed(
        f"""(float[N, 3, 8, 64] x) => (float[N, 16, 4] probabilities) {{
            {BEGIN}
            c = Conv <strides = [4, 4]> (features, w, b)
            q = Squeeze (c, two)
            z = Transpose <perm = [0, 2, 1]> (q)
            probabilities = Softmax <axis = -1> (z)
        }}""",
        colours=COLOURS,
        w=np.repeat(np.repeat(weights, 8, 2), 4, 3) / 32,
        b=np.float32([2, -2, -2, -2]),
        two=np.int64([2]),
    )
    return _known(model, ["<blank>", "r", "g", "b"], (8, 64))


def embedder() -> ModelProto:
    """How much of each colour a photo has, as a vector of length 1, (N, 3)."""
    model = parsed(
        f"""(float[N, 3, {SIDE}, {SIDE}] x) => (float[N, 3] embedding) {{
            {BEGIN}
            g = GlobalAveragePool (features)
            f = Flatten (g)
            embedding = LpNormalization (f)
        }}""",
        colours=COLOURS,
    )
    return _known(model, None)


MODELS = {
    "detector": detector,
    "segmenter": segmenter,
    "matting": matting,
    "reader": reader,
    "embedder": embedder,
}


def save(folder: Path = Path()) -> None:
    """Write all models into a folder, by default the working one."""
    for name, made in MODELS.items():
        onnx.save(made(), folder / f"{name}.onnx")


def spots(*found: tuple[tuple[float, float], int], size: tuple[int, int] = (60, 90)) -> np.ndarray:
    """A grey photo (H, W, 3) uint8 with soft spots of pure colours: each its centre (y, x) and its colour."""
    photo = np.full((*size, 3), 110, np.float64)
    for at, colour in found:
        photo += blob(*size, at, colour, radius=5).astype(np.float64) - 110
    return np.rint(photo.clip(0, 255)).astype(np.uint8)
