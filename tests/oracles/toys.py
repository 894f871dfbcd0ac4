"""Small classifiers whose answers are known by hand, and pictures for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnxlens.models.photos.preprocess import Preprocess

COLOURS = ["red", "green", "blue", "grass, turf", "sky"]
# What a class says to the three feature maps; grass is a little green, sky a little blue.
HEAD = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0.5, 0], [0, 0, 0.5]], np.float32)
SIDE = 32


def colours(
    size: tuple[int | str, int | str] = (SIDE, SIDE),
    batch: int | str = "N",
    layout: str = "nchw",
    softmax: bool = True,
    half: bool = False,
    preprocess: Preprocess | None = None,
    labels: Sequence[str] | None = COLOURS,
) -> ModelProto:
    """A classifier of the colour of what is not grey.

        feature k = Relu(colour k less the mean of the other two, over 3x3) -> MaxPool -> mean -> HEAD

    Each class has one feature map, whose Grad-CAM is that map times a positive number: its peak is where
    the colour is purest. Takes pixels of 0 to 1. `preprocess`, if given, and `labels` stand in its metadata.
    """
    kind = np.float16 if half else np.float32
    mix = 1.5 * np.eye(3) - 0.5
    weights = {
        "conv.weight": np.tile(mix[:, :, None, None] / 9, (1, 1, 3, 3)),
        "conv.bias": np.full(3, -0.02),
        "head.weight": 200 * HEAD.T,
    }
    extent = (3, *size) if layout == "nchw" else (*size, 3)
    entry = "image" if layout == "nchw" else "turned"
    nodes = [
        helper.make_node("Conv", [entry, "conv.weight", "conv.bias"], ["conv"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv"], ["relu"], "relu"),
        helper.make_node("MaxPool", ["relu"], ["pool"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["pool"], ["mean"], "mean"),
        helper.make_node("Flatten", ["mean"], ["flat"], "flat"),
        helper.make_node("MatMul", ["flat", "head.weight"], ["scores"], "scores"),
    ]
    if layout == "nhwc":
        nodes.insert(0, helper.make_node("Transpose", ["image"], ["turned"], "turned", perm=[0, 3, 1, 2]))
    if softmax:
        nodes.append(helper.make_node("Softmax", ["scores"], ["probabilities"], "probabilities", axis=1))
    model = build(
        nodes,
        {"image": (batch, *extent)},
        {nodes[-1].output[0]: (batch, len(COLOURS))},
        {name: array.astype(kind) for name, array in weights.items()},
        dtype=TensorProto.FLOAT16 if half else TensorProto.FLOAT,
    )
    helper.set_model_props(model, metadata_of(preprocess, labels))
    return model


def metadata_of(preprocess: Preprocess | None, labels: Sequence[str] | None) -> dict[str, str]:
    """How a model says of itself how photos go in and what its classes are called."""
    preprocessed = {"onnxlens.preprocess": json.dumps(preprocess.to_dict())} if preprocess else {}
    return preprocessed | ({"onnxlens.labels": json.dumps(list(labels))} if labels else {})


UNIT = Preprocess(size=(SIDE, SIDE), fit="stretch", scale=1 / 255)


def build(
    nodes: Sequence[Any],
    inputs: dict[str, Sequence[int | str | None]],
    outputs: dict[str, Sequence[int | str | None] | None],
    weights: dict[str, np.ndarray] | None = None,
    dtype: int = TensorProto.FLOAT,
    domains: Sequence[str] = (),
) -> ModelProto:
    """A model of these nodes; inputs and outputs by name and shape, all of one type."""
    graph = helper.make_graph(
        nodes,
        "toy",
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    opsets = [helper.make_opsetid("", 18), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, ir_version=10, opset_imports=opsets)


def blob(
    height: int = 60, width: int = 90, at: tuple[float, float] = (20, 30), colour: int = 0, radius: float = 6
) -> np.ndarray:
    """A grey photo (H, W, 3) uint8 with a soft spot of one pure colour, whose centre is at (y, x)."""
    y, x = np.ogrid[:height, :width]
    strength = np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * radius**2))[..., None]
    pure = 255 * np.eye(3)[colour]
    return np.rint(110 * (1 - strength) + pure * strength).astype(np.uint8)


MS, CONTRIB = "com.microsoft.extensions", "ai.onnx.contrib"


def decoding(
    domain: str = MS,
    op: str = "DecodeImage",
    attributes: dict[str, Any] | None = None,
    order: str = "bgr",
    opset: int = 20,
    steps: Sequence[Any] = (),
) -> ModelProto:
    """The classifier of colours, of any size, for the bytes of a picture, which it decodes.

    `order`: of the colours that the decoder gives. `steps` are nodes between "pixels" (H, W, 3) and "used",
    which is the same without any.
    """
    model = colours(("h", "w"), batch=1, labels=None)
    old = [helper.make_node("Unsqueeze", ["turned"], ["image"], axes=[0])]
    nodes = [
        helper.make_node(op, ["bytes"], ["pixels"], "decode", domain=domain, **(attributes or {})),
        *steps,
        helper.make_node("Gather", ["used" if steps else "pixels", "order"], ["rgb"], axis=2),
        helper.make_node("Cast", ["rgb"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["floats", "step"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], ["turned"], perm=[2, 0, 1]),
        *(old if opset < 13 else [helper.make_node("Unsqueeze", ["turned", "zero"], ["image"])]),
        *model.graph.node,
    ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("bytes", TensorProto.UINT8, ["n"]))
    model.graph.value_info.append(model.graph.input[0])  # as those tools do
    for name, array in {"order": [2, 1, 0] if order == "bgr" else [0, 1, 2], "zero": [0]}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array(array), name))
    model.graph.initializer.append(numpy_helper.from_array(np.array(1 / 255, np.float32), "step"))
    del model.opset_import[:]
    opsets = {"": opset, MS: 1, CONTRIB: 1}
    model.opset_import.extend(helper.make_opsetid(d, v) for d, v in opsets.items())
    return model
