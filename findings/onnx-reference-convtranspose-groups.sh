#!/usr/bin/env bash
# The onnx package's evaluator gives all groups of a ConvTranspose the bias of the first, and cuts weights by outputs
#
# Versions: onnx 1.23.2 (its reference evaluator), onnxruntime 1.31.1 (CPU), numpy 2.4.6
#
# Behaviour: a ConvTranspose of two groups, each of one channel, with the bias (1, 10), on ones: the evaluator adds 1 to
# both channels, the runtime 1 and 10. Of four channels to two (two groups of two channels each) the evaluator raises, as
# it takes as many rows of the weights for a group as that has results, not as it has inputs; the runtime computes it.
#
# Output seen:
#   channels 2 to 2, bias: evaluator [2.0, 2.0], runtime [2.0, 11.0]
#   channels 4 to 2: evaluator ValueError, runtime [2.0, 2.0]
#
# What the specification says: W has the shape (C x M/group x kH x kW), and B is "1D bias to be added to the
# convolution, has size of M".
#
# Why it matters: learned upsampling of each channel by itself, with a bias, is common in heads of segmentation and
# of key points; who compares a converter or a runtime with the evaluator finds them wrong, or follows it.
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


def answers(channels, bias):
    """The first pixel of each channel, from the evaluator and from the runtime."""
    weights = [from_array(np.ones((channels, 1, 1, 1), np.float32), "w")]
    weights += [from_array(np.array(bias, np.float32), "b")] if bias else []
    names = ["x", *(t.name for t in weights)]
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, count, 2, 2])
        for name, count in (("x", channels), ("y", 2))
    )
    graph = helper.make_graph([helper.make_node("ConvTranspose", names, ["y"], group=2)], "g", [x], [y], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for runner in (ReferenceEvaluator(model), session):
        try:
            yield runner.run(None, {"x": np.ones((1, channels, 2, 2), np.float32)})[0][0, :, 0, 0].tolist()
        except ValueError as error:
            yield type(error).__name__


seen = {"2 to 2, bias": [*answers(2, [1, 10])], "4 to 2": [*answers(4, None)]}
for name, (evaluator, runtime) in seen.items():
    print(f"channels {name}: evaluator {evaluator}, runtime {runtime}")
same = seen == {"2 to 2, bias": [[2.0, 2.0], [2.0, 11.0]], "4 to 2": ["ValueError", [2.0, 2.0]]}
sys.exit(0 if same else "not what is recorded")
PY
