#!/usr/bin/env bash
# Resize with tf_crop_and_resize does not crop along an axis whose size stays the same
#
# Versions: onnxruntime 1.31.1 (CPU), onnx 1.23.2
#
# Behaviour: a Resize that takes the lower half of a line of four and makes it four long again answers with the line as
# it was. Made five long, or three, the same region is cut out as the specification says.
#
# Output seen:
#   4 of 4  reference  [1.5, 2.0, 2.5, 3.0]
#   4 of 4  runtime    [0.0, 1.0, 2.0, 3.0]
#   5 of 4  reference  [1.5, 1.875, 2.25, 2.625, 3.0]
#   5 of 4  runtime    [1.5, 1.875, 2.25, 2.625, 3.0]
#
# What the specification says: with tf_crop_and_resize the place of an output in the input is start * (length - 1) +
# output * (end - start) * (length - 1) / (length_resized - 1), whatever the two lengths are. The runtime skips an axis
# whose scale is 1, before it looks at the region.
#
# Why it matters: a zoom inside a model keeps the size and takes a part of the picture: exactly this case. Nothing is said,
# and all that is drawn on the photo lies elsewhere than the file tells.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q onnxruntime==1.31.1 onnx==1.23.2
"$folder/venv/bin/python" - <<'PY'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

print("onnxruntime", onnxruntime.__version__, "onnx", onnx.__version__)


def model(length):
    """The lower half of a line of four, made `length` long."""
    resize = helper.make_node(
        "Resize",
        ["x", "roi", "", "sizes"],
        ["y"],
        mode="linear",
        coordinate_transformation_mode="tf_crop_and_resize",
    )
    graph = helper.make_graph(
        [resize],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 4, 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, length, 1])],
        [
            numpy_helper.from_array(np.array([0, 0, 0.5, 0, 1, 1, 1, 1], np.float32), "roi"),
            numpy_helper.from_array(np.array([1, 1, length, 1], np.int64), "sizes"),
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(made, full_check=True)
    return made


line = np.arange(4, dtype=np.float32).reshape(1, 1, 4, 1)
seen = []
for length in (4, 5):
    made = model(length)
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    for name, run in (("reference", ReferenceEvaluator(made).run), ("runtime", session.run)):
        seen.append(np.ravel(run(None, {"x": line})[0]).tolist())
        print(f"{length} of 4  {name:9}  {seen[-1]}")
zoomed = [1.5, 1.875, 2.25, 2.625, 3.0]
sys.exit(seen != [[1.5, 2.0, 2.5, 3.0], [0.0, 1.0, 2.0, 3.0], zoomed, zoomed])
PY
