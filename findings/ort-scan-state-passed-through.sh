#!/usr/bin/env bash
# A Scan whose body hands a state on by its own name reads zeros in its place from the second step on
#
# Versions: onnxruntime 1.31.1 (CPU), onnx 1.23.2, numpy 2.4.6
#
# Behaviour: the body of a Scan takes (state, element) and gives (state, sum): its first output is its first input, by
# name, as a constant that every step reads is passed along. The model passes the checker with strict inference. ONNX
# Runtime reads the state right in the first step and as zero in all later ones, and gives zero for its last value, at
# every level of optimisation. With an Identity between the two names, and in the evaluator of the onnx package, it is
# right.
#
# Output seen, of a state of 5 and four elements of 0:
#   by its own name:  last state 0, sums 5 0 0 0
#   by an Identity:   last state 5, sums 5 5 5 5
#
# What the specification says: a graph's outputs are names of values, of its inputs too; "the values of the state
# variables at the end of an iteration are those of the next".
#
# Why it matters: what walks a recurrent network backwards passes weights through a Scan just so, and the first step
# alone is right: a gradient of one step is checked, that of forty is shown.
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
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

print("onnxruntime", onnxruntime.__version__, "onnx", onnx.__version__)


def model(handed_on):
    value = lambda name, *shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    nodes = [helper.make_node("Add", ["state", "element"], ["sum"])]
    nodes += [helper.make_node("Identity", ["state"], ["same"])] if handed_on == "same" else []
    body = helper.make_graph(
        nodes, "body", [value("state", 1), value("element", 1)], [value(handed_on, 1), value("sum", 1)]
    )
    scan = helper.make_node("Scan", ["first", "elements"], ["last", "sums"], num_scan_inputs=1, body=body)
    graph = helper.make_graph(
        [scan], "g", [value("first", 1), value("elements", 4, 1)], [value("last", 1), value("sums", 4, 1)]
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(made, full_check=True)
    return made


def ran(made, level):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    session = onnxruntime.InferenceSession(made.SerializeToString(), options, ["CPUExecutionProvider"])
    return [answer.ravel().tolist() for answer in session.run(None, feeds)]


feeds = {"first": np.array([5], np.float32), "elements": np.zeros((4, 1), np.float32)}
levels = (onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL, onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL)
seen = {}
for name in ("state", "same"):
    answers = [ran(model(name), level) for level in levels]
    evaluated = [np.ravel(answer).tolist() for answer in ReferenceEvaluator(model(name)).run(None, feeds)]
    print("handed on as", name, "- runtime:", *answers, "- evaluator:", evaluated)
    seen[name] = (*answers, evaluated)
right, wrong = [[5.0], [5.0] * 4], [[0.0], [5.0, 0.0, 0.0, 0.0]]
sys.exit(0 if seen == {"state": (wrong, wrong, right), "same": (right, right, right)} else "not what is recorded")
PY
