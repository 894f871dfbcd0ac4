#!/usr/bin/env bash
# A LinearRegressor with one target leaves out its post_transform
#
# Versions: onnxruntime 1.31.1 (CPU), onnx 1.23.2, numpy 2.4.6
#
# Behaviour: ai.onnx.ml:LinearRegressor with post_transform LOGISTIC answers 1 / (1 + exp(-score)) for two targets and the
# score itself for one, which is the default. The file passes the full check; there is no error and no warning.
#
# Output seen (both have coefficients 1 and 2 and the intercept 0.5; the input is 0.3, -0.2):
#   1 target    NONE 0.4   LOGISTIC 0.4
#   2 targets   NONE 0.4   LOGISTIC 0.5987
#
# What the specification says: post_transform is "the transform to apply to the regression output vector", one of NONE,
# SOFTMAX, LOGISTIC, SOFTMAX_ZERO and PROBIT. Nothing is said of how many targets there must be. ONNX's reference
# evaluator refuses the attribute.
#
# Why it matters: a head for one yes or no behind a network's features is written so. What it answers is read as a
# probability and is a score, so a threshold of 0.5 asks another question than the one that was trained, and who
# differentiates the file by the specification gets a factor p (1 - p) that is not in what runs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q onnxruntime==1.31.1 onnx==1.23.2 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PY'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

print("onnxruntime", onnxruntime.__version__)
seen = []
for targets in (1, 2):
    for transform in ("NONE", "LOGISTIC"):
        node = helper.make_node(
            "LinearRegressor",
            ["x"],
            ["y"],
            domain="ai.onnx.ml",
            coefficients=[1.0, 2.0] * targets,
            intercepts=[0.5] * targets,
            targets=targets,
            post_transform=transform,
        )
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])
        y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, targets])
        model = helper.make_model(
            helper.make_graph([node], "g", [x], [y]),
            opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 1)],
            ir_version=8,
        )
        onnx.checker.check_model(model, full_check=True)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {"x": np.array([[0.3, -0.2]], np.float32)})
        seen.append(round(float(found[0, 0]), 4))
        print(f"{targets} target{'s' * (targets > 1):1}   {transform} {seen[-1]}")
sys.exit(0 if seen == [0.4, 0.4, 0.4, 0.5987] else "not what is recorded")
PY
