#!/usr/bin/env bash
# OpenVINO computes a ConvTranspose wrongly, and says nothing, where a Conv of as many channels reads the same weight
#
# Versions: openvino 2026.4.1 (CPU), onnxruntime 1.31.1 (CPU), onnx 1.23.2, numpy 2.4.6
#
# Behaviour: a graph holds Conv(x, w) and ConvTranspose(g, w), each an output of its own; no value leads from one to
# the other. Where w has as many output as input channels, OpenVINO's answer of the ConvTranspose differs from ONNX
# Runtime's by more than its own norm. With the same numbers in a second initializer it agrees to 1e-7, and where w has
# another number of output than of input channels the shared one does no harm. In single precision throughout.
#
# Output seen (distance over norm):
#   8 to 8 channels, one initializer:    Conv right, ConvTranspose 1.3 off
#   8 to 8 channels, two initializers:   Conv right, ConvTranspose right
#   4 to 8 channels, one initializer:    Conv right, ConvTranspose right
#   16 to 16 channels, one initializer:  Conv right, ConvTranspose 1.3 off
#
# What the specification says: initializers are values like any other, which any number of nodes may read.
#
# Why it matters: the way back through a convolution is the ConvTranspose with the same weight. Every exported gradient
# of a residual network, and every autoencoder with tied weights, holds such pairs, and the maps look like maps.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q openvino==2026.4.1 onnxruntime==1.31.1 onnx==1.23.2 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import sys

import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper
from onnx.numpy_helper import from_array

print("openvino", openvino.__version__, "onnxruntime", onnxruntime.__version__)
rng = np.random.default_rng(0)


def verdicts(before, after, shared):
    w = rng.standard_normal((after, before, 3, 3)).astype(np.float32)
    back = "w" if shared else "copy"
    value = lambda name, channels: helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, channels, 6, 6))
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4),
            helper.make_node("ConvTranspose", ["g", back], ["z"], pads=[1] * 4),
        ],
        "there and back",
        [value("x", before), value("g", after)],
        [value("y", after), value("z", before)],
        [from_array(w, "w")] + ([] if shared else [from_array(w, "copy")]),
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString()
    feeds = {n: rng.standard_normal((1, c, 6, 6)).astype(np.float32) for n, c in (("x", before), ("g", after))}
    right = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"]).run(None, feeds)
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(data), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    answers = compiled(list(feeds.values()))
    off = [float(np.linalg.norm(answers[i] - right[i]) / np.linalg.norm(right[i])) for i in range(2)]
    print(f"{before} to {after} channels, {'one initializer' if shared else 'two initializers'}: "
          f"Conv {off[0]:.1e} off, ConvTranspose {off[1]:.1e} off")
    return [o < 1e-4 for o in off]


seen = [verdicts(8, 8, True), verdicts(8, 8, False), verdicts(4, 8, True), verdicts(16, 16, True)]
recorded = [[True, False], [True, True], [True, True], [True, False]]
sys.exit(0 if seen == recorded else "not what is recorded")
PY
