#!/usr/bin/env bash
# The checker refuses MeanVarianceNormalization without the attribute that has a default
#
# Versions: onnx 1.23.2, onnxruntime 1.31.1 (CPU), numpy 2.4.6
#
# Behaviour: MeanVarianceNormalization's axes default to [0, 2, 3]. A node that leaves them out is refused from opset
# 13 on by check_model(full_check=True) and by strict shape inference, with a message about a Constant that the file
# does not have. The same file is accepted at opset 9, without full_check, and when the default is written down;
# ONNX Runtime runs all of them with the same answer. The function body behind the operator takes its constant from
# the attribute, and inference opens that body without filling in the default.
#
# Output seen:
#   opset  9, axes left out: full check passes,         runtime agrees
#   opset 13, axes left out: full check InferenceError, runtime agrees
#   opset 18, axes left out: full check InferenceError, runtime agrees
#   opset 18, axes written:  full check passes,         runtime agrees
#
# What the specification says: axes is optional; "The default is to calculate along axes [0,2,3]".
#
# Why it matters: it normalises feature maps channel by channel, and the default is the case for pictures. A tool that
# checks a file before it looks at it, or that infers shapes strictly to find the feature maps, refuses a sound model
# and blames an operator that is not there.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q onnx==1.23.2 onnxruntime==1.31.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
x = np.random.default_rng(0).standard_normal((2, 3, 5, 5), dtype=np.float32)
right = (x - x.mean((0, 2, 3), keepdims=True)) / x.std((0, 2, 3), keepdims=True)


def tried(opset, attributes):
    graph = helper.make_graph(
        [helper.make_node("MeanVarianceNormalization", ["x"], ["y"], **attributes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, x.shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert np.allclose(session.run(None, {"x": x})[0], right, atol=1e-4)
    try:
        onnx.checker.check_model(model, full_check=True)
        return "passes"
    except onnx.shape_inference.InferenceError as error:
        assert "Constant" in str(error)
        return "InferenceError"


seen = [tried(9, {}), tried(13, {}), tried(18, {}), tried(18, {"axes": [0, 2, 3]})]
for name, verdict in zip(("opset 9, left out", "opset 13, left out", "opset 18, left out", "opset 18, written"), seen):
    print(f"{name:19} full check: {verdict}, runtime agrees")
sys.exit(0 if seen == ["passes", "InferenceError", "InferenceError", "passes"] else "not what is recorded")
PY
