#!/usr/bin/env bash
# Zero points of 4-bit weights that are taken for 8 as soon as there is a g_idx
#
# Versions: onnxruntime 1.31.1 (CPU), onnx 1.23.2, numpy 2.4.6
#
# Behaviour: com.microsoft:MatMulNBits with packed zero points (uint8, two to a byte) subtracts them from the weights.
# With a g_idx, as GPTQ with act-order writes it, it subtracts 8 from every weight and ignores the zero points; so it
# does with a g_idx that says what would be so without it (the first block's rows 0, the second block's 1). Zero points
# of type float are heeded with a g_idx. There is no error and no warning.
#
# Output seen (the largest deviation from (weight - zero point) * scale, and from (weight - 8) * scale):
#   packed                        right 0.0   as if 8 5.0
#   packed, g_idx of the blocks   right 5.0   as if 8 0.0
#   packed, g_idx mixed           right 5.0   as if 8 0.0
#   float, g_idx mixed            right 0.0   as if 8 5.0
#
# What the documentation says: in the operator's schema, zero points may be packed or unpacked, and a
# default of 8 is used where they are not provided. Of g_idx there is "group_idx", and that it is deprecated.
#
# Why it matters: 4-bit weights of GPTQ usually have both. Whoever works out what such a layer computes from the
# operator's description, as one must for its gradient, describes another layer than the one that runs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q onnxruntime==1.31.1 onnx==1.23.2 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PY'
import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

print("onnxruntime", onnxruntime.__version__)
rows, columns, block = 32, 4, 16
rng = np.random.default_rng(0)
weights = rng.integers(0, 16, (columns, rows)).astype(np.uint8)
zeros = rng.integers(0, 16, (columns, rows // block)).astype(np.uint8)
scales = rng.uniform(0.5, 1, (columns, rows // block)).astype(np.float32)
blocks = (np.arange(rows) // block).astype(np.int32)


def packed(halves):
    """Two to a byte, the first one below."""
    return halves[:, 0::2] | halves[:, 1::2] << 4


def computed(zeros, groups):
    """The weights (columns, rows) that the layer multiplies by."""
    parts = {
        "w": packed(weights).reshape(columns, rows // block, block // 2),
        "s": scales,
        "z": packed(zeros) if zeros.dtype == np.uint8 else zeros,
        "g": groups,
    }
    parts = {name: array for name, array in parts.items() if array is not None}
    tensors = [
        helper.make_tensor(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape, a.tobytes(), raw=True)
        for name, a in parts.items()
    ]
    node = helper.make_node(
        "MatMulNBits", ["x", *parts], ["y"], domain="com.microsoft", K=rows, N=columns, bits=4, block_size=block
    )
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [rows, rows])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [rows, columns])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(
        helper.make_graph([node], "g", [x], [y], tensors), opset_imports=opsets, ir_version=10
    )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.eye(rows, dtype=np.float32)})[0].T


def away(found, zeros, groups):
    expected = (weights.astype(np.float32) - zeros[:, groups]) * scales[:, groups]
    return round(float(np.abs(found - expected).max()), 1)


mixed = rng.permutation(blocks)
seen = []
for name, given, groups in (
    ("packed", zeros, None),
    ("packed, g_idx of the blocks", zeros, blocks),
    ("packed, g_idx mixed", zeros, mixed),
    ("float, g_idx mixed", zeros.astype(np.float32), mixed),
):
    found, by = computed(given, groups), blocks if groups is None else groups
    seen.append((away(found, zeros.astype(np.float32), by), away(found, np.full(zeros.shape, 8.0), by)))
    print(f"{name:29} right {seen[-1][0]}   as if 8 {seen[-1][1]}")
(d,) = {right + eight for right, eight in seen}
sys.exit(0 if seen == [(0.0, d), (d, 0.0), (d, 0.0), (0.0, d)] and d > 1 else "not what is recorded")
PY
