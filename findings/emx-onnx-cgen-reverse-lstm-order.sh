#!/usr/bin/env bash
# An LSTM that reads backwards and hands its steps over in the order in which it made them
#
# Versions: emx-onnx-cgen 1.4.0, onnxruntime 1.31.1, onnx 1.23.2, numpy 2.4.6, any gcc
#
# Behaviour: emx-onnx-cgen makes C of an ONNX file. The output Y of an LSTM whose direction is "reverse", and of the second
# half of a bidirectional one, has its steps in the opposite order: the last step of the sequence, which is read first,
# stands first. Turned round, the numbers are right. There is no error and no warning, in making the C or in running it.
#
# Output seen (the largest deviation from ONNX Runtime's Y, and of Y turned round):
#   forward                 0.0   turned round 1.0
#   reverse                 0.9   turned round 0.0
#   bidirectional, first    0.0   turned round 0.9
#   bidirectional, second   0.9   turned round 0.0
#
# What the specification says: Y holds the outputs of each step, "[seq_length, num_directions, batch_size, hidden_size]":
# step t stands at t. ONNX's reference evaluator and ONNX Runtime agree.
#
# Why it matters: readers of text are convolutions with a bidirectional LSTM behind them. Each column of the picture is
# joined with what was read of the column opposite to it, the text is wrong where there is one, and a map of a letter lies
# on the mirrored place of the photo.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q emx-onnx-cgen==1.4.0 onnxruntime==1.31.1 onnx==1.23.2 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PY'
import ctypes
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

print("emx-onnx-cgen 1.4.0, onnxruntime", onnxruntime.__version__)
rng = np.random.default_rng(0)
steps, batch, size, hidden = 8, 2, 8, 6
x = rng.standard_normal((steps, batch, size)).astype(np.float32)


def lstm(direction, count):
    """A file with one layer, and the shape of what it gives."""
    shape = [steps, count, batch, hidden]
    node = helper.make_node("LSTM", ["x", "w", "r", "b"], ["y"], hidden_size=hidden, direction=direction)
    sizes = {"w": (count, 4 * hidden, size), "r": (count, 4 * hidden, hidden), "b": (count, 8 * hidden)}
    weights = [numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), n) for n, s in sizes.items()]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", x.shape), ("y", shape))]
    graph = helper.make_graph([node], direction, ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, f"{direction}.onnx")
    return shape


def in_c(direction, shape):
    """What the C made of a file answers."""
    making = ["compile", "--model-name", "model", "--large-weight-threshold", "0"]
    subprocess.run(["venv/bin/emx-onnx-cgen", *making, f"{direction}.onnx", f"{direction}.c"], check=True, capture_output=True)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", f"./{direction}.so", f"{direction}.c", "-lm"], check=True)
    y = np.zeros(shape, np.float32)
    ctypes.CDLL(f"./{direction}.so").model(*(a.ctypes.data_as(ctypes.c_void_p) for a in (x, y)))
    return y


seen = []
for direction, names in (
    ("forward", ["forward"]),
    ("reverse", ["reverse"]),
    ("bidirectional", ["bidirectional, first", "bidirectional, second"]),
):
    y = in_c(direction, lstm(direction, len(names)))
    (right,) = onnxruntime.InferenceSession(f"{direction}.onnx").run(None, {"x": x})
    for k, name in enumerate(names):
        off, turned = (float(np.abs(found[:, k] - right[:, k]).max()) for found in (y, y[::-1]))
        seen.append((off < 1e-4, turned < 1e-4))
        print(f"{name:23} {off:.1f}   turned round {turned:.1f}")
recorded = [(True, False), (False, True), (True, False), (False, True)]
sys.exit(0 if seen == recorded else "not what is recorded")
PY
