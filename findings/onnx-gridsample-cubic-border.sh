#!/usr/bin/env bash
# GridSample, cubic with border padding: the reference and the runtime read "border" in two ways
#
# Versions: onnx 1.23.2 (its reference implementation), onnxruntime 1.31.1 (CPU), numpy 2.4.6
#
# Behaviour: for places outside the picture the onnx package's reference moves the place to the border and then
# interpolates, so that it gives a border pixel exactly; ONNX Runtime interpolates at the place itself and takes
# border pixels for the neighbours that do not exist, so that pixels inside have a share. Both are within reach of
# the wording. They agree inside, for linear (where the two readings are the same thing), and for zeros.
#
# Output seen (row 0, 1, 4, 9 repeated; align_corners=1; places given in pixels):
#   pixel             -0.4      0.5      1.5      3.4
#   cubic reference:   0.       0.2188   2.125    9.
#   cubic runtime:    -0.108    0.2188   2.125    9.54
#   linear, both:      0.       0.5      2.5      9.
#
# What the specification says: "border: use border values for out-of-bound grid locations", without saying whether
# a location is a point of the grid or one of its sixteen neighbours.
#
# Why it matters: PyTorch 2.13.0 (not run here) does as ONNX Runtime does, and its exports carry this mode. A check
# against the reference finds differences along the edge, here 6 % of the brightest pixel, and the gradient by the
# picture differs in kind: in one reading pixels inside get nothing from such a place, in the other they do.
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
from onnx.reference import ReferenceEvaluator

print("onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
x = np.tile(np.array([0, 1, 4, 9], np.float32), (1, 1, 4, 1))
pixels = np.array([-0.4, 0.5, 1.5, 3.4], np.float32)
grid = np.stack([pixels / 1.5 - 1, np.zeros(4, np.float32)], axis=-1)[None, None].astype(np.float32)


def both(mode, padding):
    graph = helper.make_graph(
        [helper.make_node("GridSample", ["x", "grid"], ["y"], mode=mode, padding_mode=padding, align_corners=1)],
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape),
            helper.make_tensor_value_info("grid", TensorProto.FLOAT, grid.shape),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 1, 1, 4))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    feeds = {"x": x, "grid": grid}
    return [runner.run(None, feeds)[0].ravel() for runner in (ReferenceEvaluator(model), session)]


print("pixel           ", pixels)
reference, runtime = both("cubic", "border")
print("cubic reference:", reference.round(4))
print("cubic runtime:  ", runtime.round(4))
print("linear, both:   ", both("linear", "border")[0].round(4))
held = (
    np.allclose(reference[[0, 3]], [0, 9], atol=1e-5)  # a border pixel exactly
    and np.abs(runtime - reference)[[0, 3]].min() > 0.05
    and np.allclose(runtime[[1, 2]], reference[[1, 2]], atol=1e-4)
    and np.allclose(*both("linear", "border"), atol=1e-4)
    and np.allclose(*both("cubic", "zeros"), atol=1e-4)
)
sys.exit(0 if held else "not what is recorded")
PY
