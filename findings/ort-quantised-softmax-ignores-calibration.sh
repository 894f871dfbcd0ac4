#!/usr/bin/env bash
# quantize_static rounds a classifier's probabilities to steps of 1/255, whatever was calibrated
#
# Versions: onnxruntime 1.31.1 (its quantization tools, CPU), onnx 1.23.2, numpy 2.4.6
#
# Behaviour: with default arguments quantize_static puts QuantizeLinear and DequantizeLinear behind the last Softmax
# too, so that they produce the network's output. Their scale does not come from the calibration data, as all others
# do, but is always 1/255. A classifier of 1000 classes that is never surer than 0.04 then uses 10 of 256 codes: most
# of its classes answer 0 exactly, and its "probabilities" do not sum to 1. op_types_to_quantize or nodes_to_exclude
# are the ways out.
#
# Output seen (four pictures out of the calibration set):
#   scale of the output 0.003922 (1/255 = 0.003922); largest probability in the calibration set 0.034
#   sum 1.000 -> 0.580   classes that answer 0: 0 -> 873 of 1000
#   sum 1.000 -> 0.588   classes that answer 0: 0 -> 877 of 1000
#   sum 1.000 -> 0.616   classes that answer 0: 0 -> 873 of 1000
#   sum 1.000 -> 0.620   classes that answer 0: 0 -> 871 of 1000
#
# What the specification says: the scale is the writer's choice. Softmax itself sums to 1, and a reader of the file
# who finds it at the end expects that of the output.
#
# Why it matters: code that asks "do the outputs sum to 1?" to know probabilities from logits takes these for logits
# and lays a second softmax over them. Occlusion and ablation of any class below 0.2 % show nothing at all, and the
# gradient of a rounded output is 0 unless it is passed through on purpose.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q onnxruntime==1.31.1 onnx==1.23.2 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PY'
import logging
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.numpy_helper import from_array, to_array
from onnxruntime.quantization import CalibrationDataReader, quantize_static

logging.disable(logging.WARNING)
print("onnxruntime", onnxruntime.__version__, "onnx", onnx.__version__)
CLASSES = 1000
random = np.random.default_rng(0)
head = random.standard_normal((64, CLASSES)).astype(np.float32) * 0.15
kernel = random.standard_normal((64, 3, 3, 3)).astype(np.float32) * 0.5
graph = helper.make_graph(
    [
        helper.make_node("Conv", ["x", "kernel"], ["conv"], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["conv"], ["maps"]),
        helper.make_node("GlobalAveragePool", ["maps"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("MatMul", ["features", "head"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["y"], axis=1),
    ],
    "g",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 16, 16))],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, CLASSES))],
    [from_array(head, "head"), from_array(kernel, "kernel")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
onnx.checker.check_model(model, full_check=True)
onnx.save(model, "float.onnx")
pictures = [random.standard_normal((1, 3, 16, 16)).astype(np.float32) for _ in range(8)]


class Reader(CalibrationDataReader):
    def __init__(self):
        self.pictures = iter(pictures)

    def get_next(self):
        picture = next(self.pictures, None)
        return None if picture is None else {"x": picture}


quantize_static("float.onnx", "quantised.onnx", Reader())
quantised = onnx.load("quantised.onnx")
last = [node.op_type for node in quantised.graph.node][-3:]
scale = next(float(to_array(i)) for i in quantised.graph.initializer if i.name == "y_scale")
before, after = (
    [s.run(None, {"x": picture})[0][0] for picture in pictures]
    for s in (
        onnxruntime.InferenceSession(name, providers=["CPUExecutionProvider"])
        for name in ("float.onnx", "quantised.onnx")
    )
)
surest = max(p.max() for p in before)
print("ends in", *last)
print(f"scale of the output {scale:.6f} (1/255 = {1 / 255:.6f}); largest probability in the calibration set {surest:.3f}")
for p, q in zip(before[:4], after[:4]):
    print(f"sum {p.sum():.3f} -> {q.sum():.3f}   classes that answer 0: {(p == 0).sum()} -> {(q == 0).sum()} of {CLASSES}")
held = (
    last == ["Softmax", "QuantizeLinear", "DequantizeLinear"]
    and abs(scale - 1 / 255) < 1e-7
    and surest < 0.05
    and all(abs(p.sum() - 1) < 1e-5 for p in before)
    and all(q.sum() < 0.75 and (q == 0).sum() > 700 for q in after)
)
sys.exit(0 if held else "not what is recorded")
PY
