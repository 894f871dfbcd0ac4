#!/usr/bin/env bash
# What a Loop collects, the onnx package's evaluator joins along the first axis it has, and the runtime stacks
#
# Versions: onnx 1.23.2 (its reference evaluator), onnxruntime 1.31.1 (CPU), numpy 2.4.6
#
# Behaviour: the body of a Loop of three rounds gives a value of shape (2, 3) to be collected. The file declares the
# output as (3, 2, 3), and passes the checker with strict inference, which infers that rank. ONNX Runtime gives it.
# The evaluator gives (6, 3), and says nothing of the declared shape. A Scan with the same body is stacked by both.
#
# Output seen:
#   Loop:  evaluator (6, 3),     runtime (3, 2, 3)
#   Scan:  evaluator (3, 2, 3),  runtime (3, 2, 3)
#
# What the specification says: "Scan_output variables are used to implicitly concatenate values computed across all the
# iterations", which can be read both ways; its shape inference gives them one axis more, as those of a Scan.
#
# Why it matters: recurrent layers come as Loops, from Keras through tf2onnx and from scripted PyTorch, and so do
# their backward passes, which read what each step began with by its number. Where the elements are scalars or have a
# first axis of 1 nothing is seen, and elsewhere the evaluator is taken for what the specification means.
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
from onnx.numpy_helper import from_array
from onnx.reference import ReferenceEvaluator

print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
x = np.arange(18, dtype=np.float32).reshape(3, 2, 3)


def value(name, kind, *shape):
    return helper.make_tensor_value_info(name, kind, shape)


def model(kind):
    if kind == "Loop":
        nodes = [helper.make_node("Gather", ["x", "number"], ["e"]), helper.make_node("Neg", ["e"], ["made"])]
        nodes.append(helper.make_node("Identity", ["on"], ["again"]))
        inputs, outputs = [value("number", INT64), value("on", BOOL)], [value("again", BOOL)]
        body = helper.make_graph(nodes, "body", inputs, [*outputs, value("made", FLOAT, 2, 3)])
        node = helper.make_node("Loop", ["three", "yes"], ["y"], body=body)
    else:
        nodes = [helper.make_node("Neg", ["e"], ["made"])]
        body = helper.make_graph(nodes, "body", [value("e", FLOAT, 2, 3)], [value("made", FLOAT, 2, 3)])
        node = helper.make_node("Scan", ["x"], ["y"], num_scan_inputs=1, body=body)
    weights = [from_array(np.array(3), "three"), from_array(np.array(True), "yes")]
    graph = helper.make_graph(
        [node], "g", [value("x", FLOAT, 3, 2, 3)], [value("y", FLOAT, 3, 2, 3)], weights if kind == "Loop" else []
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(made, full_check=True)
    return made


seen = {}
for kind in ("Loop", "Scan"):
    made = model(kind)
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    found = [runner.run(None, {"x": x})[0] for runner in (ReferenceEvaluator(made), session)]
    assert all(np.array_equal(y.ravel(), -x.ravel()) for y in found)
    seen[kind] = [y.shape for y in found]
    print(f"{kind}: evaluator {seen[kind][0]}, runtime {seen[kind][1]}")
sys.exit(0 if seen == {"Loop": [(6, 3), (3, 2, 3)], "Scan": [(3, 2, 3)] * 2} else "not what is recorded")
PY
