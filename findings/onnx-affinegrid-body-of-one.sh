#!/usr/bin/env bash
# AffineGrid, written out by its own definition, runs for a batch of two pictures and not for one
#
# Versions: onnx 1.23.2, onnxruntime 1.31.1 (CPU), numpy 2.4.6
#
# Behaviour: the onnx package defines AffineGrid by a function body, and its inliner writes that body into a graph.
# The 2-D graph made so passes the checker and strict shape inference. With a batch of 2 it computes what the
# operator computes. With a batch of 1 both the onnx package's own evaluator and ONNX Runtime stop with an error:
# the body calls Squeeze without axes on a value of shape (N, 1, 3), which for N = 1 takes the batch axis away too,
# and then splits along axis 1. If the size is a constant, as exporters write it, ONNX Runtime refuses the graph for
# any batch when it is loaded: the body feeds Range with vectors of one element where Range asks for scalars.
#
# Output seen:
#   batch 2, size an input:     checked, evaluator agrees,     runtime agrees
#   batch 2, size a constant:   checked, evaluator agrees,     runtime: Fail
#   batch 1, size an input:     checked, evaluator IndexError, runtime: Fail
#   batch 1, size a constant:   checked, evaluator IndexError, runtime: Fail
#
# What the specification says: AffineGrid takes theta of shape (N, 2, 3) for every N, and the body is its definition.
# Range: "start", "limit" and "delta" are scalars; Squeeze without axes removes every axis of size 1.
#
# Why it matters: tools that have no rule for an operator (for its gradient, or its cost) fall back on its body. For
# spatial transformers, looked at one photo at a time, that fallback is the case that fails, and no check says so.
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
from onnx.inliner import inline_selected_functions
from onnx.numpy_helper import from_array
from onnx.reference import ReferenceEvaluator

print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
onnxruntime.set_default_logger_severity(4)


def session(model):
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def verdict(run, right):
    try:
        return "agrees" if np.allclose(run(), right, atol=1e-6) else "differs"
    except Exception as error:
        return type(error).__name__


def tried(batch, constant):
    size = np.array([batch, 1, 4, 5])
    theta = np.tile(np.array([[1, 0.2, 0.1], [-0.3, 0.9, 0]], np.float32), (batch, 1, 1))
    inputs = [helper.make_tensor_value_info("theta", TensorProto.FLOAT, theta.shape)]
    if not constant:
        inputs.append(helper.make_tensor_value_info("size", TensorProto.INT64, size.shape))
    graph = helper.make_graph(
        [helper.make_node("AffineGrid", ["theta", "size"], ["grid"], align_corners=1)],
        "g",
        inputs,
        [helper.make_tensor_value_info("grid", TensorProto.FLOAT, (batch, 4, 5, 2))],
        [from_array(size, "size")] if constant else [],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    feeds = {"theta": theta} | ({} if constant else {"size": size})
    right = session(model).run(None, feeds)[0]
    written_out = inline_selected_functions(model, [("", "AffineGrid")], inline_schema_functions=True)
    assert all(node.op_type != "AffineGrid" for node in written_out.graph.node)
    onnx.checker.check_model(written_out, full_check=True)
    return (
        verdict(lambda: ReferenceEvaluator(written_out).run(None, feeds)[0], right),
        verdict(lambda: session(written_out).run(None, feeds)[0], right),
    )


recorded = {
    (2, False): ("agrees", "agrees"),
    (2, True): ("agrees", "Fail"),
    (1, False): ("IndexError", "Fail"),
    (1, True): ("IndexError", "Fail"),
}
seen = {case: tried(*case) for case in recorded}
for (batch, constant), (evaluator, runtime) in seen.items():
    where = "a constant" if constant else "an input"
    print(f"batch {batch}, size {where}: checked, evaluator: {evaluator}, runtime: {runtime}")
sys.exit(0 if seen == recorded else "not what is recorded")
PY
