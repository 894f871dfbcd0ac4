#!/usr/bin/env bash
# Antialiased Resize of int8 cuts everything below 0
#
# Versions: onnxruntime 1.31.1 (CPU), onnx 1.23.2, numpy 2.4.6
#
# Behaviour: Resize with antialias=1 gives 0 wherever an int8 result should be negative, for linear and for cubic,
# without a message. int32 and float are right, and so is int8 without antialias (linear).
#
# Output seen (a row of -24 -20 -16 -12 -2 2 6 8, halved):
#   linear float32  antialias=1: [-21.5  -13.25  -0.75   6.5 ]
#   linear int32    antialias=1: [-22 -13  -1   7]
#   linear int8     antialias=1: [0 0 0 7]
#   linear int8     antialias=0: [-22 -14   0   7]
#   cubic  int8     antialias=1: [0 0 0 7]
#
# What the specification says: Resize takes every tensor type, int8 among them; nothing in it depends on the sign.
# The reference implementation of the onnx package gives -22 -13 -1 6 (linear) and -22 -14 0 7 (cubic).
#
# Why it matters: int8 with zero point 0 is what quantisers write for feature maps and for centred pixels. Half of
# such a map silently turns to 0, which looks like a network that sees nothing there.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q onnxruntime==1.31.1 onnx==1.23.2 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import helper
from onnx.numpy_helper import from_array
from onnx.reference import ReferenceEvaluator

print("onnxruntime", onnxruntime.__version__, "onnx", onnx.__version__)
ROW = np.tile(np.array([-24, -20, -16, -12, -2, 2, 6, 8]), (1, 1, 4, 1))


def halved(dtype, mode, antialias, reference=False):
    x = ROW.astype(dtype)
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    graph = helper.make_graph(
        [helper.make_node("Resize", ["x", "", "scales"], ["y"], mode=mode, antialias=antialias)],
        "g",
        [helper.make_tensor_value_info("x", kind, x.shape)],
        [helper.make_tensor_value_info("y", kind, (1, 1, 2, 4))],
        [from_array(np.array([1, 1, 0.5, 0.5], np.float32), "scales")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    runner = (
        ReferenceEvaluator(model)
        if reference
        else onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    )
    return runner.run(None, {"x": x})[0][0, 0, 0]


seen = []
for mode, dtype, antialias in [
    ("linear", np.float32, 1),
    ("linear", np.int32, 1),
    ("linear", np.int8, 1),
    ("linear", np.int8, 0),
    ("cubic", np.int8, 1),
]:
    seen.append(halved(dtype, mode, antialias).tolist())
    print(f"{mode:6} {np.dtype(dtype).name:8} antialias={antialias}: {np.array(seen[-1])}")
for mode in ("linear", "cubic"):
    print(f"{mode:6} int8     antialias=1, reference implementation: {halved(np.int8, mode, 1, reference=True)}")
    assert halved(np.int8, mode, 1, reference=True).min() == -22
recorded = [[-21.5, -13.25, -0.75, 6.5], [-22, -13, -1, 7], [0, 0, 0, 7], [-22, -14, 0, 7], [0, 0, 0, 7]]
sys.exit(0 if np.array_equal(np.array(seen), np.array(recorded)) else "not what is recorded")
PY
