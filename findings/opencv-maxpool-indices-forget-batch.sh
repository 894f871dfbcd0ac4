#!/usr/bin/env bash
# OpenCV 5 counts the indices of max pooling anew for each picture of a batch
#
# Versions: opencv-python-headless 5.0.0.93 (ENGINE_NEW), onnxruntime 1.31.1 (CPU), onnx 1.23.2, numpy 2.4.6
#
# Behaviour: MaxPool has a second output, the places of the maxima. OpenCV's new engine gives the values of all pictures
# rightly, and the places of the first picture; those of each later picture begin at 0 again, so that what scatters by
# them puts everything into the first one. No warning, no error.
#
# Output seen, a batch of 2 with 2 channels of 4 x 4 pixels:
#   values right, places of picture 0 right, places of picture 1 too small by 32
#
# What the specification says: "The values are indices into the flattened input tensor", with the batch among its axes:
# the reference's and ONNX Runtime's places of the second picture begin at 2 * 4 * 4.
#
# Why it matters: unpooling, and the way back through max pooling, scatter to these places: with one picture maps are
# right, with two those of both lie on top of each other in the first one, and the second stays empty.
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
x = np.random.default_rng(0).standard_normal((2, 2, 4, 4)).astype(np.float32)
node = helper.make_node("MaxPool", ["x"], ["y", "places"], kernel_shape=[2, 2], strides=[2, 2])
graph = helper.make_graph(
    [node],
    "pooled",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
    [
        helper.make_tensor_value_info("y", TensorProto.FLOAT, (2, 2, 2, 2)),
        helper.make_tensor_value_info("places", TensorProto.INT64, (2, 2, 2, 2)),
    ],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
onnx.checker.check_model(model, full_check=True)
onnx.save(model, "pooled.onnx")
right = onnxruntime.InferenceSession("pooled.onnx", providers=["CPUExecutionProvider"]).run(None, {"x": x})
net = cv2.dnn.readNetFromONNX("pooled.onnx", engine=cv2.dnn.ENGINE_NEW)
net.setInput(x, "x")
y, places = net.forward(["y", "places"])
off = (right[1] - places.astype(np.int64)).reshape(2, -1)
print("values right:", np.array_equal(y, right[0]), " places off, picture 0:", off[0], " picture 1:", off[1])
sys.exit(0 if np.array_equal(y, right[0]) and (off[0] == 0).all() and (off[1] == 32).all() else "not what is recorded")
PY
