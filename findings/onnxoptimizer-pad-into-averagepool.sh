#!/usr/bin/env bash
# Merging Pad into AveragePool changes what the average is divided by
#
# Versions: onnxoptimizer 0.4.2, onnx 1.23.2, onnxruntime 1.31.1 (CPU), numpy 2.4.6
#
# Behaviour: a Pad writes a border of zeros, which are then values of the map, and an AveragePool with padding of its
# own follows, which by default it does not count. The default passes of onnxoptimizer add the Pad to the pool's pads
# and set count_include_pad=1 for the sum. The pool's own padding, which was left out, is now counted, and the averages
# along the border fall. A pool without padding of its own stays right.
#
# Output seen (a map of ones, 4 x 4, Pad by 1, window 3, first row of the answer):
#   pool without pads: before 0.444 0.667 0.667 0.444               after 0.444 0.667 0.667 0.444
#   pool with pads:    before 0.25 0.333 0.5 0.5 0.333 0.25         after 0.111 0.222 0.333 0.333 0.222 0.111
#
# What the specification says: AveragePool leaves its own pads out of the average where count_include_pad is 0, the
# default; what an earlier Pad wrote is input like any other.
#
# Why it matters: the border is where maps are hardest to trust already. Here the corner falls from 0.25 to 0.11 in a
# file that is meant to be the same network, and nothing changes in the middle, where one would look for it first.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q onnxoptimizer==0.4.2 onnx==1.23.2 onnxruntime==1.31.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import sys
from importlib.metadata import version

import numpy as np
import onnx
import onnxoptimizer
import onnxruntime
from onnx import TensorProto, helper
from onnx.numpy_helper import from_array

print("onnxoptimizer", version("onnxoptimizer"), "onnx", onnx.__version__, "onnxruntime", onnxruntime.__version__)
x = np.ones((1, 1, 4, 4), np.float32)


def answer(model):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0][0, 0]


def tried(name, pads, size):
    graph = helper.make_graph(
        [
            helper.make_node("Pad", ["x", "border"], ["padded"]),
            helper.make_node("AveragePool", ["padded"], ["y"], kernel_shape=[3, 3], pads=pads),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 1, size, size))],
        [from_array(np.array([0, 0, 1, 1, 0, 0, 1, 1]), "border")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    optimised = onnxoptimizer.optimize(model)
    nodes = [node.op_type for node in optimised.graph.node]
    rows = answer(model)[0], answer(optimised)[0]
    print(f"{name:18} nodes Pad AveragePool -> {' '.join(nodes)}")
    print("   first row before:", rows[0].round(3), " after:", rows[1].round(3))
    return nodes, rows


plain = tried("pool without pads:", [0] * 4, 4)
padded = tried("pool with pads:", [1] * 4, 6)
held = (
    plain[0] == padded[0] == ["AveragePool"]
    and np.allclose(*plain[1])
    and np.allclose(padded[1][0], [1 / 4, 1 / 3, 1 / 2, 1 / 2, 1 / 3, 1 / 4])
    and np.allclose(padded[1][1], [1 / 9, 2 / 9, 1 / 3, 1 / 3, 2 / 9, 1 / 9])
)
sys.exit(0 if held else "not what is recorded")
PY
