"""Small models that answer boxes or regions, which are known by hand, and pictures for them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import ModelProto, helper

from .toys import SIDE, UNIT, build, metadata_of

NAMES = ["red", "green", "blue"]
CELL = 8  # pixels of the input from one box to the next
BOX = 12  # pixels of a box's sides
_CELLS = SIDE // CELL


def detector() -> ModelProto:
    """A box of BOX pixels in each cell in which a colour is pure enough; no two overlap by half.

    feature k = mean over a cell of Relu(colour k less the mean of the other two)
    score of k = Sigmoid(features),   box = what Ultralytics exports: distances to the sides, two corners,
    their centre and size, times the stride
    """
    head = np.zeros((7, 3, 1, 1))
    head[4:, :, 0, 0] = 20 * np.eye(3)
    bias = np.array([BOX / CELL / 2] * 4 + [-3] * 3)
    nodes = [
        *_features(),
        helper.make_node("AveragePool", ["relu"], ["mean"], kernel_shape=[CELL] * 2, strides=[CELL] * 2),
        helper.make_node("Conv", ["mean", "head.weight", "head.bias"], ["head"]),
        helper.make_node("Reshape", ["head", "flat"], ["rows"]),
        helper.make_node("Split", ["rows", "parts"], ["sides", "logits"], axis=1),
        helper.make_node("Split", ["sides"], ["before", "after"], axis=1, num_outputs=2),
        helper.make_node("Sub", ["grid", "before"], ["low"]),
        helper.make_node("Add", ["grid", "after"], ["high"]),
        helper.make_node("Add", ["low", "high"], ["twice"]),
        helper.make_node("Div", ["twice", "two"], ["middle"]),
        helper.make_node("Sub", ["high", "low"], ["size"]),
        helper.make_node("Concat", ["middle", "size"], ["cells"], axis=1),
        helper.make_node("Mul", ["cells", "stride"], ["boxes"]),
        helper.make_node("Sigmoid", ["logits"], ["probabilities"]),
        helper.make_node("Concat", ["boxes", "probabilities"], ["found"], axis=1),
    ]
    weights = {"head.weight": head, "head.bias": bias, "two": np.array(2), "stride": np.array(CELL)}
    grid = np.stack(np.meshgrid(*[np.arange(_CELLS) + 0.5] * 2)).reshape(1, 2, -1)  # x, y
    numbers = {"flat": np.array([1, 7, -1]), "parts": np.array([4, 3])}
    return _model(nodes, {"found": (1, 7, _CELLS**2)}, {**weights, "grid": grid}, numbers)


def segmenter() -> ModelProto:
    """Each pixel is of the colour that is purest there, or of the background where none is pure enough."""
    head = np.concatenate([np.zeros((1, 3)), 60 * np.eye(3)])[..., None, None]
    nodes = [
        *_features(),
        helper.make_node("Conv", ["relu", "head.weight", "head.bias"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["planes"], axis=1),
    ]
    weights = {"head.weight": head, "head.bias": np.array([6, 0, 0, 0])}
    return _model(nodes, {"planes": (1, 4, SIDE, SIDE)}, weights, {}, ["background", *NAMES])


def spots(
    *spots: tuple[float, float, int], height: int = 64, width: int = 96, reach: float = 5
) -> np.ndarray:
    """A grey photo (H, W, 3) uint8 with a soft spot at each (y, x) in a pure colour."""
    y, x = np.ogrid[:height, :width]
    photo = np.full((height, width, 3), 110.0)
    for top, left, colour in spots:
        strength = np.exp(-((y - top) ** 2 + (x - left) ** 2) / (2 * reach**2))[..., None]
        photo = photo * (1 - strength) + 255 * np.eye(3)[colour] * strength
    return np.rint(photo).astype(np.uint8)


def _features() -> list:
    return [
        helper.make_node("Conv", ["image", "conv.weight", "conv.bias"], ["conv"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv"], ["relu"]),
    ]


def _model(
    nodes: Sequence,
    outputs: dict,
    weights: dict[str, np.ndarray],
    numbers: dict[str, np.ndarray],
    names: Sequence[str] = NAMES,
) -> ModelProto:
    mix = np.tile((1.5 * np.eye(3) - 0.5)[:, :, None, None] / 9, (1, 1, 3, 3))
    weights = {"conv.weight": mix, "conv.bias": np.full(3, -0.02), **weights}
    floats = {name: array.astype(np.float32) for name, array in weights.items()}
    model = build(nodes, {"image": (1, 3, SIDE, SIDE)}, outputs, floats | numbers)
    helper.set_model_props(model, metadata_of(UNIT, names))
    return model
