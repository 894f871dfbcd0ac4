#!/usr/bin/env bash
# OpenCV 5 takes HardSigmoid(x) times another value for HardSwish(x), and forgets the other value
#
# Versions: opencv-python-headless 5.0.0.93 (ENGINE_NEW), onnxruntime 1.31.1 (CPU), onnx 1.23.2, numpy 2.4.6
#
# Behaviour: y = HardSigmoid(x) * z, with alpha 1/6 and beta 1/2, is computed as HardSwish(x) = HardSigmoid(x) * x in
# OpenCV's new engine, whatever z is, and nothing is said. With alpha 0.2 the same graph is right.
#
# Output seen (distance over norm):
#   alpha 1/6, gate first or second:  1.2 off, 8e-09 off HardSwish(x)
#   alpha 0.2:                        4e-08 off
#
# What the specification says: Mul multiplies its two inputs.
#
# Why it matters: squeeze-and-excitation multiplies a map by such a gate of another, and the gradient of HardSwish is
# full of such products: of a mobile network it was hundreds of times too large, and looked like a map.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q opencv-python-headless==5.0.0.93 onnxruntime==1.31.1 onnx==1.23.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import sys

import cv2
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

print("opencv", cv2.__version__, "onnxruntime", onnxruntime.__version__)
rng = np.random.default_rng(0)
feeds = {name: rng.standard_normal((1, 3, 4, 4)).astype(np.float32) for name in ("x", "z")}
swish = feeds["x"] * np.clip(feeds["x"] / 6 + 0.5, 0, 1)


def distances(alpha, first):
    """How far the answer is from the right one, and from HardSwish(x), over the norms of these."""
    factors = ["gate", "z"] if first else ["z", "gate"]
    graph = helper.make_graph(
        [
            helper.make_node("HardSigmoid", ["x"], ["gate"], alpha=alpha, beta=0.5),
            helper.make_node("Mul", factors, ["y"]),
        ],
        "gated",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape) for name, array in feeds.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 3, 4, 4))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, "gated.onnx")
    (right,) = onnxruntime.InferenceSession("gated.onnx", providers=["CPUExecutionProvider"]).run(None, feeds)
    net = cv2.dnn.readNetFromONNX("gated.onnx", engine=cv2.dnn.ENGINE_NEW)
    for name, array in feeds.items():
        net.setInput(array, name)
    found = net.forward(["y"])[0]
    off = [float(np.linalg.norm(found - other) / np.linalg.norm(other)) for other in (right, swish)]
    print(f"alpha {alpha:.6f}, gate {'first' if first else 'second'}: {off[0]:.1e} off, {off[1]:.1e} off HardSwish(x)")
    return [o < 1e-5 for o in off]


seen = [distances(1 / 6, True), distances(1 / 6, False), distances(0.2, True)]
sys.exit(0 if seen == [[False, True], [False, True], [True, False]] else "not what is recorded")
PY
