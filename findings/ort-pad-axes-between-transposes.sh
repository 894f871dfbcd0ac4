#!/usr/bin/env bash
# A Pad that names its axes, between two Transposes, loads and fails when it is run with optimisation
#
# Versions: onnxruntime 1.31.1 (CPU), onnx 1.23.2
#
# Behaviour: Transpose, Pad with the input `axes`, and the Transpose back: without graph optimisation the picture is
# padded; with it, which is the default, the session is made and the run ends with an error in a Gather that the model
# does not have. The same Pad with pads for all four axes, and no `axes`, runs at both levels.
#
# Output seen:
#   pads for all axes  not optimised  (1, 6, 4, 5)
#   pads for all axes  optimised      (1, 6, 4, 5)
#   axes named         not optimised  (1, 6, 4, 5)
#   axes named         optimised      Gather: indices element out of data bounds
#
# What the specification says: from opset 18 Pad takes `axes`, and `pads` has two entries for each of these alone. The
# optimiser moves the Transpose behind the Pad and reorders `pads` as if it had an entry for each axis of the data.
#
# Why it matters: exporters write the padding of one side of a picture so, and converters put it between the Transposes
# of a change of layout. Such a file passes the checker and fails at the first photo; pads for all axes avoid it.
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

print("onnxruntime", onnxruntime.__version__, "onnx", onnx.__version__)
TURN = [0, 2, 1, 3]


def model(pads, axes):
    """Two rows above and one below, padded between two Transposes."""
    constants = {"pads": pads} | ({"axes": axes} if axes else {})
    nodes = [
        helper.make_node("Transpose", ["x"], ["turned"], perm=TURN),
        helper.make_node("Pad", ["turned", "pads", *(["", "axes"] if axes else [])], ["padded"], mode="edge"),
        helper.make_node("Transpose", ["padded"], ["y"], perm=TURN),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 4, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 6, 4, 5])],
        [numpy_helper.from_array(np.array(v, np.int64), k) for k, v in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(made, full_check=True)
    return made.SerializeToString()


def answer(made, level):
    """The shape that comes out, or the end of the error."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level, options.log_severity_level = level, 4
    session = onnxruntime.InferenceSession(made, options, providers=["CPUExecutionProvider"])
    try:
        return str(session.run(None, {"x": np.arange(60, dtype=np.float32).reshape(1, 3, 4, 5)})[0].shape)
    except Exception as error:
        return f"Gather: {str(error).split('Status Message: ')[-1].split(',')[0]}"


LEVELS = onnxruntime.GraphOptimizationLevel
seen = []
for said, made in (
    ("pads for all axes", model([0, 0, 2, 0, 0, 0, 1, 0], None)),
    ("axes named", model([2, 1], [2])),
):
    for name, level in (("not optimised", LEVELS.ORT_DISABLE_ALL), ("optimised", LEVELS.ORT_ENABLE_ALL)):
        seen.append(answer(made, level))
        print(f"{said:17}  {name:13}  {seen[-1]}")
whole = "(1, 6, 4, 5)"
sys.exit(seen != [whole, whole, whole, "Gather: indices element out of data bounds"])
PY
