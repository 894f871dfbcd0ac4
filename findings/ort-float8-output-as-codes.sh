#!/usr/bin/env bash
# A float8 value comes out as uint8 codes, without a word; the other float8 types are refused
#
# Versions: onnxruntime 1.31.1 (CPU), onnx 1.23.2, ml_dtypes 0.6.0, numpy 2.4.6
#
# Behaviour: a graph that quantises 1, 2, 3, 4 to float8e4m3fn with scale 1 and has the result as its output gives, in
# Python, an array of dtype uint8 holding 56, 64, 68, 72: the bit patterns. Nothing says that they are codes; the
# session itself calls the output tensor(float8e4m3fn). The same graph in float8e5m2, in int4 or in bfloat16 raises
# "No corresponding Numpy type". On the way in, OrtValue.ortvalue_from_numpy refuses arrays of ml_dtypes ("only
# supported from non-string numpy arrays"), while ortvalue_from_numpy_with_onnx_type takes the same array.
#
# Output seen:
#   FLOAT8E4M3FN  tensor(float8e4m3fn)  uint8 [56 64 68 72]  read as float8: [1 2 3 4]
#   FLOAT8E5M2    tensor(float8e5m2)    RuntimeError
#   INT4          tensor(int4)          RuntimeError
#   BFLOAT16      tensor(bfloat16)      RuntimeError
#
# What the specification says: the code 56 of float8e4m3fn is the number 1. The onnx package itself reads such tensors
# with ml_dtypes (numpy_helper.to_array).
#
# Why it matters: an activation map taken from a float8 network is drawn from logarithms of a sort: positive values
# keep their order, negative ones come out as the largest of all, and nothing about the array looks wrong.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q onnxruntime==1.31.1 onnx==1.23.2 ml_dtypes==0.6.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import sys

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.numpy_helper import from_array
from onnxruntime import OrtValue

print("onnxruntime", onnxruntime.__version__, "onnx", onnx.__version__, "ml_dtypes", ml_dtypes.__version__)
X = np.array([1, 2, 3, 4], np.float32)


def session(name, kind):
    if name == "BFLOAT16":
        node, weights = helper.make_node("Cast", ["x"], ["y"], to=kind), []
    else:
        node = helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["y"])
        weights = [from_array(np.float32(1), "scale"), helper.make_tensor("zero", kind, (), [0])]
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (4,))],
        [helper.make_tensor_value_info("y", kind, (4,))],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


seen = {}
for name in ("FLOAT8E4M3FN", "FLOAT8E5M2", "INT4", "BFLOAT16"):
    runner = session(name, getattr(TensorProto, name))
    try:
        y = runner.run(None, {"x": X})[0]
        numbers = y.view(ml_dtypes.float8_e4m3fn).astype(int)
        seen[name] = [y.dtype.name, y.tolist(), numbers.tolist()]
        said = f"{y.dtype} {y}  read as float8: {numbers}"
    except RuntimeError as error:
        assert "No corresponding Numpy type" in str(error)
        seen[name] = said = "RuntimeError"
    print(f"{name:13} {runner.get_outputs()[0].type:20}  {said}")

array = X.astype(ml_dtypes.float8_e4m3fn)
try:
    OrtValue.ortvalue_from_numpy(array)
    seen["in"] = "taken"
except RuntimeError:
    seen["in"] = "RuntimeError"
seen["in with a type"] = OrtValue.ortvalue_from_numpy_with_onnx_type(array, TensorProto.FLOAT8E4M3FN).data_type()
print("ortvalue_from_numpy:", seen["in"], " ortvalue_from_numpy_with_onnx_type:", seen["in with a type"])
recorded = {
    "FLOAT8E4M3FN": ["uint8", [56, 64, 68, 72], [1, 2, 3, 4]],
    "FLOAT8E5M2": "RuntimeError",
    "INT4": "RuntimeError",
    "BFLOAT16": "RuntimeError",
    "in": "RuntimeError",
    "in with a type": "tensor(float8e4m3fn)",
}
sys.exit(0 if seen == recorded else "not what is recorded")
PY
