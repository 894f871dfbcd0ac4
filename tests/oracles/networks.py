"""Small models for the tests."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnxruntime
from onnx import ModelProto, TensorProto, helper, numpy_helper, parser
from onnxruntime.capi import onnxruntime_pybind11_state as binding


def single(
    op_type: str,
    *inputs: object,
    opset: int = 18,
    outputs: int = 1,
    dtype: int = TensorProto.DOUBLE,
    **attributes: object,
) -> ModelProto:
    """A model of one node, by default in float64.

    Each input is a shape (a tuple: a graph input x0, x1, ... of that shape), an array or list (a
    constant), or None (left out).
    """
    names, values, constants = [], [], []
    for i, given in enumerate(inputs):
        if given is None:
            names.append("")
            continue
        names.append(f"x{i}")
        if isinstance(given, tuple):
            values.append(helper.make_tensor_value_info(names[-1], dtype, given))
        else:
            constants.append(numpy_helper.from_array(np.asarray(given), names[-1]))
    ys = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(op_type, names, ys, name="node", **attributes)
    types = [helper.make_tensor_value_info(y, dtype, None) for y in ys]
    graph = helper.make_graph([node], op_type, values, types, constants)
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", opset)])


def parsed(body: str, opset: int = 18, **weights: object) -> ModelProto:
    """A model from ONNX's text form, `(float[2,3] x) => (float[2,4] y) { ... }`, and its weights."""
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> net {body}')
    for name, value in weights.items():
        array = np.asarray(value)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


# What the runtime raises where it has no kernel for a node, or none for its types or attributes.
NO_KERNEL = (binding.Fail, binding.InvalidGraph, binding.NotImplemented, RuntimeError)


def run(model: ModelProto, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """All outputs by name, on ONNX Runtime with its default options (one thread)."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [o.name for o in model.graph.output]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def randomised(model: ModelProto, seed: int = 0) -> ModelProto:
    """The model with random weights in place of its ConstantOfShape nodes, scaled so that signals stay sane.

    He et al. 2015 (sqrt(2 / fan-in)) for convolutions and matrix products; factors and variances near 1;
    biases and means near 0.
    """
    rng = np.random.default_rng(seed)
    graph = model.graph
    shapes = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    readers = {name: (node, k) for node in reversed(graph.node) for k, name in enumerate(node.input)}
    made = [node for node in graph.node if node.op_type == "ConstantOfShape"]
    for node in made:
        shape, name = tuple(shapes[node.input[0]]), node.output[0]
        reader, slot = readers[name]
        if reader.op_type in ("Unsqueeze", "Reshape") and reader.output[0] in readers:
            reader, slot = readers[reader.output[0]]
        if reader.op_type in ("Conv", "Gemm") and slot == 1:
            weight = rng.standard_normal(shape, np.float32) * np.sqrt(2 / np.prod(shape[1:])).astype(
                np.float32
            )
        elif reader.op_type == "Mul" or (reader.op_type == "BatchNormalization" and slot in (1, 4)):
            weight = rng.uniform(0.5, 1.5, shape)
        else:
            weight = 0.1 * rng.standard_normal(shape)
        graph.initializer.append(numpy_helper.from_array(weight.astype(np.float32), name))
        graph.node.remove(node)
    return model


def opened(model: ModelProto, batch: str = "N") -> ModelProto:
    """The model with its batch left open, as far as what is written inside it allows."""
    graph = model.graph
    weights = {t.name for t in graph.initializer}
    for value in graph.input:
        if value.name not in weights:
            value.type.tensor_type.shape.dim[0].dim_param = batch
    del graph.value_info[:]
    for value in graph.output:
        value.type.tensor_type.ClearField("shape")
    return model
