#!/usr/bin/env bash
# A query that may look at no key: 0, the mean of all values, or NaN
#
# Versions: onnxruntime 1.31.1 (CPU), onnx 1.23.2, numpy 2.4.6
#
# Behaviour: a float mask forbids every key to one query. What that query answers depends on how "forbidden" is
# spelt, and on which of three spellings of the same attention the file uses:
#   - ai.onnx Attention of the runtime: 0, for -inf and for the lowest float alike;
#   - the body that the onnx package defines for this Attention, written out, in the same runtime: 0 for -inf, but
#     the plain mean of all values for the lowest float;
#   - com.microsoft MultiHeadAttention: NaN for -inf, the mean for the lowest float.
# With -10000, the three agree (the constant falls out of the softmax, and the query attends as if unmasked).
#
# Output seen (the largest distance from 0, and from the mean of the values; "other" is neither):
#   -inf       Attention: 0     its body: 0     MultiHeadAttention: NaN
#   lowest     Attention: 0     its body: mean  MultiHeadAttention: mean
#   -10000     Attention: other its body: other MultiHeadAttention: other
#
# What the specification says: a float mask "is added to the attention score" before the softmax. All scores of the
# row then round to the same lowest float, and the softmax of equal numbers is uniform: the mean. The body in the
# onnx package sets rows to 0 where all scores are -inf, which the lowest float is not.
#
# Why it matters: exporters write the lowest float for padding, so rows of padded tokens are such rows. Attention
# maps, token norms and pooled features differ between a file before and after fusion or decomposition, and a single
# NaN row makes all of a gradient NaN.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q onnxruntime==1.31.1 onnx==1.23.2 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper
from onnx.inliner import inline_selected_functions

print("onnxruntime", onnxruntime.__version__, "onnx", onnx.__version__)
HEADS, TOKENS, WIDTH = 2, 3, 8
random = np.random.default_rng(0)
query, key, value = (random.standard_normal((1, TOKENS, WIDTH), dtype=np.float32) for _ in range(3))


def model(node):
    tokens = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, TOKENS, WIDTH)) for name in "qkv"]
    mask = helper.make_tensor_value_info("mask", TensorProto.FLOAT, (1, 1, TOKENS, TOKENS))
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, TOKENS, WIDTH))
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(
        helper.make_graph([node], "g", [*tokens, mask], [out]), opset_imports=opsets, ir_version=10
    )


attention = model(helper.make_node("Attention", ["q", "k", "v", "mask"], ["y"], q_num_heads=HEADS, kv_num_heads=HEADS))
onnx.checker.check_model(attention, full_check=True)
body = inline_selected_functions(attention, [("", "Attention")], inline_schema_functions=True)
fused = model(
    helper.make_node(
        "MultiHeadAttention", ["q", "k", "v", "", "", "mask"], ["y"], domain="com.microsoft", num_heads=HEADS
    )
)
options = onnxruntime.SessionOptions()
options.log_severity_level = 3
sessions = {
    name: onnxruntime.InferenceSession(m.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for name, m in {"Attention": attention, "its body": body, "MultiHeadAttention": fused}.items()
}


def kind(row):
    if np.isnan(row).all():
        return "NaN"
    if np.abs(row).max() == 0:
        return "0"
    return "mean" if np.abs(row - value[0].mean(0)).max() < 1e-5 else "other"


seen = {}
for name, fill in {"-inf": -np.inf, "lowest": np.finfo(np.float32).min, "-10000": -1e4}.items():
    mask = np.zeros((1, 1, TOKENS, TOKENS), np.float32)
    mask[..., 1, :] = fill
    feeds = {"q": query, "k": key, "v": value, "mask": mask}
    answers = {n: s.run(None, feeds)[0][0] for n, s in sessions.items()}
    seen[name] = [kind(answer[1]) for answer in answers.values()]
    print(f"{name:10}", *(f"{n}: {k:5}" for n, k in zip(answers, seen[name])))
    for answer in answers.values():  # the rows that see all keys agree everywhere
        assert np.allclose(answer[[0, 2]], answers["Attention"][[0, 2]], atol=1e-5)
recorded = {
    "-inf": ["0", "0", "NaN"],
    "lowest": ["0", "mean", "mean"],
    "-10000": ["other", "other", "other"],
}
sys.exit(0 if seen == recorded else "not what is recorded")
PY
