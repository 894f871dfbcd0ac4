"""Small models that take more than one picture, whose answers are those of the classifier of colours."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from .toys import COLOURS, HEAD, SIDE, UNIT, build, colours, metadata_of

WORDS = np.vstack([np.zeros(3), HEAD]).astype(np.float32)  # what word 1, 2, ... says to red, green, blue


def typed(model: ModelProto, **types: int) -> ModelProto:
    """The model with inputs of other types than its image's."""
    for value in model.graph.input:
        if value.name in types:
            value.type.tensor_type.elem_type = types[value.name]
    return model


def texts(sizes: tuple[Any, ...] = ("texts", "words"), batch: int | str = "N") -> ModelProto:
    """How much pictures are like texts: the classifier of colours, whose classes are given as ids of words.

    A mask says which words count. With the ids of one word each it is that classifier.
    """
    model = colours(batch=batch, softmax=False)
    nodes = [n for n in model.graph.node if n.name != "scores"] + [
        helper.make_node("Gather", ["words", "input_ids"], ["each"]),
        helper.make_node("Cast", ["attention_mask"], ["counts"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["counts", "last"], ["column"]),
        helper.make_node("Mul", ["each", "column"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "middle"], ["said"], keepdims=0),
        helper.make_node("Transpose", ["said"], ["turned"], perm=[1, 0]),
        helper.make_node("MatMul", ["flat", "turned"], ["scores"], "scores"),
        helper.make_node("Softmax", ["scores"], ["probabilities"], "probabilities", axis=1),
    ]
    weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if t.name != "head.weight"}
    weights |= {"words": 200 * WORDS, "last": np.array([2]), "middle": np.array([1])}
    inputs = {"input_ids": sizes, "image": (batch, 3, SIDE, SIDE), "attention_mask": sizes}
    made = build(nodes, inputs, {"probabilities": (batch, sizes[0])}, weights)
    helper.set_model_props(made, metadata_of(UNIT, None))
    return typed(made, input_ids=TensorProto.INT64, attention_mask=TensorProto.BOOL)


def pairs(batch: int | str = "N", channels: int = 3) -> ModelProto:
    """What is of one colour in one picture and not in the other, of which it is told how much to see."""
    model = colours(batch=batch)
    nodes = [helper.make_node("Mul", ["left", "share"], ["seen"]),
             helper.make_node("Sub", ["image", "seen"], ["change"]), *model.graph.node]  # fmt: skip
    for node in nodes[2:]:
        node.input[:] = ["change" if name == "image" else name for name in node.input]
    weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    inputs = {"image": (batch, 3, SIDE, SIDE), "left": (batch, channels, SIDE, SIDE), "share": ()}
    made = build(nodes, inputs, {"probabilities": (batch, len(COLOURS))}, weights)
    helper.set_model_props(made, metadata_of(UNIT, COLOURS))
    return made
