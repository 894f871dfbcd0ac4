"""Small vision transformers with random weights, whose attention is spelt in one of several ways.

pixels (N, 3, 16, 16) -> patches of 4 x 4, a class token -> blocks of attention and a layer each -> classes
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import ModelProto, numpy_helper

WIDTH, HEADS, PATCH, SIDE, CLASSES = 8, 2, 4, 16, 5
COUNT = (SIDE // PATCH) ** 2
EACH = WIDTH // HEADS
SPELLINGS = ("written", "bmm", "einsum", "Attention", "MultiHeadAttention", "onnx")

_WRITTEN = """
    b{i}_kt = Transpose <perm = [0, 2, 3, 1]> (b{i}_k4)
    b{i}_qt = Transpose <perm = [0, 2, 1, 3]> (b{i}_q4)
    b{i}_vt = Transpose <perm = [0, 2, 1, 3]> (b{i}_v4)
    b{i}_product = MatMul (b{i}_qt, b{i}_kt)
    b{i}_scores = Mul (b{i}_product, scale)
    b{i}_weights = Softmax <axis = -1> (b{i}_scores)
    b{i}_mixed = MatMul (b{i}_weights, b{i}_vt)
    b{i}_back = Transpose <perm = [0, 2, 1, 3]> (b{i}_mixed)
    b{i}_told = Reshape (b{i}_back, whole)
"""
_BMM = """
    b{i}_qt = Transpose <perm = [0, 2, 1, 3]> (b{i}_q4)
    b{i}_kt = Transpose <perm = [0, 2, 1, 3]> (b{i}_k4)
    b{i}_vt = Transpose <perm = [0, 2, 1, 3]> (b{i}_v4)
    b{i}_q3 = Reshape (b{i}_qt, flat)
    b{i}_k3 = Reshape (b{i}_kt, flat)
    b{i}_v3 = Reshape (b{i}_vt, flat)
    b{i}_k3t = Transpose <perm = [0, 2, 1]> (b{i}_k3)
    b{i}_qs = Mul (b{i}_q3, scale)
    b{i}_scores = MatMul (b{i}_qs, b{i}_k3t)
    b{i}_weights = Softmax <axis = -1> (b{i}_scores)
    b{i}_mixed3 = MatMul (b{i}_weights, b{i}_v3)
    b{i}_mixed = Reshape (b{i}_mixed3, apart)
    b{i}_back = Transpose <perm = [0, 2, 1, 3]> (b{i}_mixed)
    b{i}_told = Reshape (b{i}_back, whole)
"""
_EINSUM = """
    b{i}_product = Einsum <equation = "aecd,abcd->acbe"> (b{i}_k4, b{i}_q4)
    b{i}_scores = Mul (b{i}_product, scale)
    b{i}_weights = Softmax <axis = -1> (b{i}_scores)
    b{i}_back = Einsum <equation = "acbe,aecd->abcd"> (b{i}_weights, b{i}_v4)
    b{i}_told = Reshape (b{i}_back, whole)
"""
_APART = """
    b{i}_q2 = MatMul (b{i}_norm, b{i}_wq)
    b{i}_k2 = MatMul (b{i}_norm, b{i}_wk)
    b{i}_v2 = MatMul (b{i}_norm, b{i}_wv)
    b{i}_q = Add (b{i}_q2, b{i}_bq)
    b{i}_k = Add (b{i}_k2, b{i}_bk)
    b{i}_v = Add (b{i}_v2, b{i}_bv)
"""
_BY_HEAD = """
    b{i}_q4 = Reshape (b{i}_q, by_head)
    b{i}_k4 = Reshape (b{i}_k, by_head)
    b{i}_v4 = Reshape (b{i}_v, by_head)
"""
_ATTENTION = {
    "written": _APART + _BY_HEAD + _WRITTEN,
    "bmm": _APART + _BY_HEAD + _BMM,
    "einsum": _APART + _BY_HEAD + _EINSUM,
    "Attention": "b{i}_told = com.microsoft.Attention <num_heads = 2> (b{i}_norm, b{i}_wqkv, b{i}_bqkv)",
    "MultiHeadAttention": _APART
    + "b{i}_told = com.microsoft.MultiHeadAttention <num_heads = 2> (b{i}_q, b{i}_k, b{i}_v)",
    "onnx": _APART + "b{i}_told = Attention <q_num_heads = 2, kv_num_heads = 2> (b{i}_q, b{i}_k, b{i}_v)",
}
_BLOCK = """
    b{i}_norm = LayerNormalization <axis = -1> (b{i}_in, b{i}_g, b{i}_b)
    ATTENTION
    b{i}_out = MatMul (b{i}_told, b{i}_wo)
    b{i}_mid = Add (b{i}_in, b{i}_out)
    b{i}_up = MatMul (b{i}_mid, b{i}_w1)
    b{i}_act = Tanh (b{i}_up)
    b{i}_down = MatMul (b{i}_act, b{i}_w2)
    b{j}_in = Add (b{i}_mid, b{i}_down)
"""
_TOKENS = {
    "learned": """images = Shape <end = 1> (pixels)
        sizes = Concat <axis = 0> (images, one_token)
        some = Expand (token, sizes)""",
    "mean": "some = ReduceMean (tokens, first)",
}
_HEADS = {
    "token": "answer = Gather <axis = 1> (b{n}_in, nought)",
    "mean": "answer = ReduceMean <keepdims = 0> (b{n}_in, first)",
}


def weights(blocks: int = 3, seed: int = 0) -> dict[str, np.ndarray]:
    """The weights by name, the same whatever the spelling."""
    rng = np.random.default_rng(seed)
    draw = lambda *shape: rng.normal(size=shape).astype(np.float32)
    found = {"patches": draw(WIDTH, 3, PATCH, PATCH) * 0.3, "token": draw(1, 1, WIDTH)}
    found |= {"places": draw(1, 1 + COUNT, WIDTH), "head": draw(WIDTH, CLASSES)}
    for i in range(blocks):
        for name in ("wq", "wk", "wv", "wo"):
            found[f"b{i}_{name}"] = draw(WIDTH, WIDTH) * 0.6
        for name in ("bq", "bk", "bv", "b"):
            found[f"b{i}_{name}"] = draw(WIDTH) * 0.3
        found[f"b{i}_g"] = 1 + 0.3 * draw(WIDTH)
        found |= {f"b{i}_w1": draw(WIDTH, 2 * WIDTH) * 0.4, f"b{i}_w2": draw(2 * WIDTH, WIDTH) * 0.4}
        found[f"b{i}_wqkv"] = np.concatenate([found[f"b{i}_{n}"] for n in ("wq", "wk", "wv")], 1)
        found[f"b{i}_bqkv"] = np.concatenate([found[f"b{i}_{n}"] for n in ("bq", "bk", "bv")])
    return found


def vit(
    spelling: str = "written", head: str = "token", blocks: int = 3, seed: int = 0, token: str = "learned"
) -> ModelProto:
    """The transformer, with its attention spelt so, and a head that reads the class token or the mean; the
    class token is learned, or the mean of the patches.
    """
    body = ""
    for i in range(blocks):
        body += _BLOCK.replace("ATTENTION", _ATTENTION[spelling]).format(i=i, j=i + 1)
    opset = 23 if spelling == "onnx" else 18
    text = f"""<ir_version: 9, opset_import: ["" : {opset}, "com.microsoft" : 1]>
    vit (float[N,3,{SIDE},{SIDE}] pixels) => (float[N,{CLASSES}] logits) {{
        maps = Conv <strides = [{PATCH}, {PATCH}]> (pixels, patches)
        flat_maps = Reshape (maps, rows)
        tokens = Transpose <perm = [0, 2, 1]> (flat_maps)
        {_TOKENS[token]}
        all = Concat <axis = 1> (some, tokens)
        b0_in = Add (all, places)
        {body}
        {_HEADS[head].format(n=blocks)}
        logits = MatMul (answer, head)
    }}"""
    model = onnx.parser.parse_model(text)
    numbers = {
        **weights(blocks, seed),
        "scale": np.float32(EACH**-0.5),
        "rows": np.array([0, WIDTH, COUNT]),
        "by_head": np.array([0, 1 + COUNT, HEADS, EACH]),
        "whole": np.array([0, 1 + COUNT, WIDTH]),
        "flat": np.array([-1, 1 + COUNT, EACH]),
        "apart": np.array([-1, HEADS, 1 + COUNT, EACH]),
        "first": np.array([1]),
        "one_token": np.array([1, WIDTH]),
        "nought": np.array(0),
    }
    used = {i for node in model.graph.node for i in node.input}
    model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in numbers.items() if k in used)
    return model


def doubled(blocks: int = 3, seed: int = 0) -> dict[str, np.ndarray]:
    """The weights in float64."""
    return {k: v.astype(np.float64) for k, v in weights(blocks, seed).items()}


def begun(pixels: np.ndarray, w: dict[str, np.ndarray]) -> np.ndarray:
    """The tokens (N, 1 + COUNT, WIDTH) before the first block, in NumPy."""
    n, side = len(pixels), SIDE // PATCH
    cut = pixels.reshape(n, 3, side, PATCH, side, PATCH).transpose(0, 2, 4, 1, 3, 5).reshape(n, COUNT, -1)
    tokens = cut.astype(np.float64) @ w["patches"].reshape(WIDTH, -1).T
    return np.concatenate([np.broadcast_to(w["token"], (n, 1, WIDTH)), tokens], 1) + w["places"]


def forward(
    x: np.ndarray, w: dict[str, np.ndarray], head: str, blocks: int, nudges: dict[int, np.ndarray]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The logits of tokens, and the attention of each block, to which `nudges` are added as they are used."""
    n, found = len(x), []
    for i in range(blocks):
        centred = x - x.mean(-1, keepdims=True)
        norm = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * w[f"b{i}_g"] + w[f"b{i}_b"]
        q, k, v = (
            (norm @ w[f"b{i}_w{c}"] + w[f"b{i}_b{c}"]).reshape(n, -1, HEADS, EACH).swapaxes(1, 2)
            for c in "qkv"
        )
        scores = np.exp(q @ k.swapaxes(2, 3) * EACH**-0.5)
        found.append(scores / scores.sum(-1, keepdims=True))
        mixed = (found[-1] + nudges.get(i, 0)) @ v
        x = x + mixed.swapaxes(1, 2).reshape(n, -1, WIDTH) @ w[f"b{i}_wo"]
        x = x + np.tanh(x @ w[f"b{i}_w1"]) @ w[f"b{i}_w2"]
    return (x[:, 0] if head == "token" else x.mean(1)) @ w["head"], found


def without(pixels: np.ndarray, tokens: list[int], head: str = "token") -> np.ndarray:
    """The logits (N, 5) of the transformer that never saw some tokens of the picture, counted from 1; where
    the head reads the mean of all, of one in which they begin as the mean of the patches.
    """
    w = doubled()
    start = begun(pixels, w)
    if head == "mean":
        start[:, tokens] = start[:, 1:].mean(1, keepdims=True)
    else:
        start = np.delete(start, tokens, 1)
    return forward(start, w, head, 3, {})[0]


def attend(
    pixels: np.ndarray, head: str = "token", target: int | None = None
) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """The same in NumPy, float64, for images (N, 3, 16, 16): the logits (N, 5), the attention of each block
    (N, H, T, T), and the gradient of a class by it: of `target`, or of the class of the greatest logit.
    """
    w, n = doubled(), len(pixels)
    start = begun(pixels, w)
    logits, found = forward(start, w, head, 3, {})
    classes = logits.argmax(1) if target is None else np.full(n, target)
    slopes = []
    for i, of in enumerate(found):  # central differences, one entry after the other
        slope = np.zeros_like(of)
        for at in np.ndindex(of.shape[1:]):
            nudge = np.zeros_like(of)
            nudge[(slice(None), *at)] = 1e-4
            ends = [forward(start, w, head, 3, {i: sign * nudge})[0] for sign in (1, -1)]
            slope[(slice(None), *at)] = (ends[0] - ends[1])[np.arange(n), classes] / 2e-4
        slopes.append(slope)
    return logits, found, slopes
