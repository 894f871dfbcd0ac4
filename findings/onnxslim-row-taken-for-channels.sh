#!/usr/bin/env bash
# A factor for each column of a feature map becomes a factor for each channel
#
# Versions: onnxslim 0.1.98, onnx 1.23.2, onnxruntime 1.31.1 (CPU), numpy 2.4.6
#
# Behaviour: onnxslim merges a Mul by a constant into the weights of the convolution before it. A constant of shape
# (W,) is one number for each column, by the rules of broadcasting. Where the map happens to be as wide as it has
# channels, onnxslim takes it for one number for each channel: the slimmed file loads, has the same shapes and gives
# other values. With a map of another width the Mul is left alone, and the answer is right; so is a constant of shape
# (C, 1, 1), which does stand for channels.
#
# Output seen (4 channels; largest difference from the file before, over its largest value):
#   columns, 4 wide: nodes Conv Mul -> Conv       difference 2.16
#   columns, 6 wide: nodes Conv Mul -> Conv Mul   difference 0.00
#   channels:        nodes Conv Mul -> Conv       difference 0.00
#
# What the specification says: multidirectional broadcasting aligns shapes at their last axis, so (4,) against
# (1, 4, 4, 4) runs along the width.
#
# Why it matters: exporters of detectors run this tool at their end. Deep feature maps are small and heads narrow, so
# that the two numbers do meet (weights for positions, attention over columns). The scores of the slimmed file are then
# those of a network that nobody trained, and so is every heat map that explains them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q onnxslim==0.1.98 onnx==1.23.2 onnxruntime==1.31.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import sys

import numpy as np
import onnx
import onnxruntime
import onnxslim
from onnx import TensorProto, helper
from onnx.numpy_helper import from_array

print("onnxslim", onnxslim.__version__, "onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
random = np.random.default_rng(0)
kernel = random.standard_normal((4, 4, 3, 3), dtype=np.float32)


def answer(model, x):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


def tried(name, width, factor):
    x = random.standard_normal((1, 4, 4, width), dtype=np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "kernel"], ["map"], pads=[1, 1, 1, 1]),
            helper.make_node("Mul", ["map", "factor"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, x.shape)],
        [from_array(kernel, "kernel"), from_array(factor, "factor")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    before = answer(model, x)
    slim = onnxslim.slim(onnx.ModelProto.FromString(model.SerializeToString()))
    off = np.abs(answer(slim, x) - before).max() / np.abs(before).max()
    nodes = [node.op_type for node in slim.graph.node]
    print(f"{name:16} nodes Conv Mul -> {' '.join(nodes):8}   difference {off:.2f}")
    return nodes, off


factor = np.array([-1, 0.5, 2, 3], np.float32)
same = tried("columns, 4 wide:", 4, factor)
other = tried("columns, 6 wide:", 6, np.array([-1, 0.5, 2, 3, 1, 1], np.float32))
channels = tried("channels:", 4, factor.reshape(4, 1, 1))
held = (
    same[0] == ["Conv"]
    and same[1] > 0.5
    and other[0] == ["Conv", "Mul"]
    and channels[0] == ["Conv"]
    and max(other[1], channels[1]) < 1e-5
)
sys.exit(0 if held else "not what is recorded")
PY
