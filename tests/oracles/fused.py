"""ONNX Runtime's fused operators, each as a model of one node."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

MS = "com.microsoft"


def drawn(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def ones(*shape):
    return 1 + 0.2 * drawn(*shape, seed=1)


def chosen(*shape):
    """A mask of 0 and 1."""
    return (np.random.default_rng(shape).random(shape) > 0.4).astype(np.int32)


def drawn8(*shape):
    """Bytes."""
    return np.random.default_rng(shape).integers(0, 256, shape, np.uint8)


WHOLE = {("EmbedLayerNormalization", "y1"): TensorProto.INT32}  # outputs that hold no real numbers


def alone(key, inputs, attrs, outputs=1):
    """A model of one node whose inputs (None: left out) are all inputs of the model, and their values."""
    domain, _, name = key.rpartition(":")
    feeds = {f"x{i}": x for i, x in enumerate(inputs) if x is not None}
    names = ["" if x is None else f"x{i}" for i, x in enumerate(inputs)]
    made = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(name, names, made, "node", domain=domain, **attrs)
    types = {n: helper.np_dtype_to_tensor_dtype(x.dtype) for n, x in feeds.items()}
    graph = helper.make_graph(
        [node],
        "fused",
        [helper.make_tensor_value_info(n, types[n], x.shape) for n, x in feeds.items()],
        [helper.make_tensor_value_info(y, WHOLE.get((name, y), TensorProto.FLOAT), None) for y in made],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(domain or MS, 1)]
    return helper.make_model(graph, ir_version=8, opset_imports=opsets), feeds


PICTURE, KERNEL, ADDED = drawn(2, 4, 7, 6), drawn(6, 2, 3, 3) * 0.05, drawn(2, 6, 4, 3, seed=2) * 0.1
LEVELS = np.array([3, -3, 1, 1, -3, 3], np.float32)  # biases that keep the convolution off every kink
CONV = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2], "group": 2}
X = drawn(2, 5, 8)  # (N, S, H·D)
Q, K, V, MASK = X, drawn(2, 7, 8), drawn(2, 7, 12), drawn(2, 2, 5, 7)
IN, OUT = drawn(8, 24) * 0.4, drawn(24)
PAST = drawn(2, 2, 3, 4)
SOFTLY = {"num_heads": 2, "mask_filter_value": -2.0}  # so that what is masked still has a slope
MIDDLE = np.array(120, np.uint8)
X8, IN8 = drawn8(2, 5, 8), drawn8(8, 24)
STEP, STEPS = np.array(0.01, np.float32), np.linspace(0.005, 0.02, 24, dtype=np.float32)

TOKENS = np.random.default_rng(0).integers(0, 6, (2, 5)).astype(np.int32)
TABLES = [TOKENS, TOKENS % 2, drawn(6, 8), drawn(9, 8), drawn(2, 8), ones(8), drawn(8)]
COUNTED = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32)
GROUPED = {"num_heads": 4, "kv_num_heads": 2}
NEW = [drawn(2, 5, 64) * 0.4, drawn(2, 5, 32, seed=1) * 0.4, drawn(2, 5, 32, seed=2)]
ONE = [x[:, :1] for x in NEW]
CACHE = [drawn(2, 2, 4, 16) * 0.4, drawn(2, 2, 4, 16, seed=1)]
FIVE = np.array(5, np.int32)
LAST, RAGGED = np.array([4, 4], np.int32), np.array([2, 4], np.int32)
NEIGHBOURS = {"do_rotary": 1, "rotary_interleaved": 1}
TURNS = [np.cos(drawn(20, 8)), np.sin(drawn(20, 8))]
PLACES = np.array([[0, 1, 2, 3, 4], [4, 3, 2, 1, 7]])

ACTIVATIONS = {
    "Relu": [], "Sigmoid": [], "Tanh": [], "LeakyRelu": [0.1], "Clip": [-2.0, 2.0], "HardSigmoid": [0.3, 0.4],
}  # fmt: skip
CASES = {
    **{
        f"FusedConv {name}": (
            MS + ":FusedConv",
            [PICTURE, KERNEL, LEVELS],
            {"activation": name, **CONV} | ({"activation_params": numbers} if numbers else {}),
        )
        for name, numbers in ACTIVATIONS.items()
    },
    "FusedConv + Z": (MS + ":FusedConv", [PICTURE, KERNEL, LEVELS, ADDED], {"activation": "Relu", **CONV}),
    "FusedConv + Z, no bias": (MS + ":FusedConv", [PICTURE, KERNEL, None, ADDED], CONV),
    **{
        f"FusedGemm {name}": (
            MS + ":FusedGemm",
            [drawn(4, 3), drawn(5, 4), drawn(5)],
            {"activation": name, "transA": 1, "transB": 1, "alpha": 0.5, "beta": 2.0, **numbers},
        )
        for name, numbers in (
            ("Relu", {}),
            ("LeakyRelu", {"activation_alpha": 0.2}),
            ("Elu", {"activation_alpha": 0.7}),
            ("HardSigmoid", {"activation_alpha": 0.3, "activation_beta": 0.4}),
            ("Softplus", {}),
        )
    },
    "FusedMatMul": (MS + ":FusedMatMul", [drawn(2, 3, 4), drawn(2, 4, 5)], {"alpha": 0.3}),
    "FusedMatMul, left turned": (MS + ":FusedMatMul", [drawn(2, 4, 3), drawn(4, 5)], {"transA": 1}),
    "FusedMatMul, both turned": (
        MS + ":FusedMatMul", [drawn(2, 4, 3), drawn(2, 5, 4)], {"transA": 1, "transB": 1, "alpha": 2.0},
    ),
    "FusedMatMul, batch inside": (
        MS + ":FusedMatMul", [drawn(3, 2, 4), drawn(4, 2, 5)], {"transBatchA": 1, "transBatchB": 1},
    ),
    "FusedMatMul, batch inside and turned": (
        MS + ":FusedMatMul",
        [drawn(4, 2, 3), drawn(5, 2, 4)],
        {"transA": 1, "transB": 1, "transBatchA": 1, "transBatchB": 1},
    ),
    "TransposeMatMul": (MS + ":TransposeMatMul", [drawn(2, 4, 3), drawn(2, 4, 5)], {"transA": 1}),
    "Gelu": (MS + ":Gelu", [X], {}),
    "FastGelu": (MS + ":FastGelu", [X], {}),
    "FastGelu + bias": (MS + ":FastGelu", [X, drawn(8)], {}),
    "QuickGelu": (MS + ":QuickGelu", [X], {}),
    "QuickGelu, alpha": (MS + ":QuickGelu", [X], {"alpha": 0.6}),
    "BiasGelu": (MS + ":BiasGelu", [X, drawn(8)], {}),
    "SkipLayerNormalization": (
        MS + ":SkipLayerNormalization", [X, drawn(2, 5, 8, seed=3), ones(8), drawn(8), drawn(8, seed=4)],
        {"epsilon": 1e-3},
    ),
    "SkipLayerNormalization, no shift": (
        MS + ":SkipLayerNormalization", [X, drawn(2, 5, 8, seed=3), ones(8)], {"epsilon": 1e-3},
    ),
    "SkipSimplifiedLayerNormalization": (
        MS + ":SkipSimplifiedLayerNormalization", [X, drawn(2, 5, 8, seed=3), ones(8), drawn(8)],
        {"epsilon": 1e-3},
    ),
    "SimplifiedLayerNormalization": ("SimplifiedLayerNormalization", [X, ones(8)], {"epsilon": 1e-3}),
    "MultiHeadAttention": (MS + ":MultiHeadAttention", [Q, K, V], {"num_heads": 2}),
    "MultiHeadAttention + biases": (
        MS + ":MultiHeadAttention", [Q, K, V, drawn(28), None, MASK], {"num_heads": 2, "scale": 0.7},
    ),
    "MultiHeadAttention, causal": (
        MS + ":MultiHeadAttention", [Q, X[::-1], X * 0.5], {"num_heads": 4, "unidirectional": 1},
    ),
    "MultiHeadAttention, lengths of keys": (
        MS + ":MultiHeadAttention", [Q, K, V, None, np.array([3, 6], np.int32)], {"num_heads": 2},
    ),
    "MultiHeadAttention, lengths of keys and more": (
        MS + ":MultiHeadAttention", [Q, K, V, None, np.array([3, 6, 0, 3, 6, 0, 7, 14], np.int32)], SOFTLY,
    ),
    "MultiHeadAttention, mask of keys": (
        MS + ":MultiHeadAttention", [Q, K, V, drawn(28), chosen(2, 7), MASK], SOFTLY,
    ),
    "MultiHeadAttention, mask of pairs": (
        MS + ":MultiHeadAttention", [Q, K, V, None, chosen(2, 5, 7)], SOFTLY,
    ),
    "MultiHeadAttention, causal and masked": (
        MS + ":MultiHeadAttention", [Q, X[::-1], X * 0.5, None, chosen(2, 5)],
        {"unidirectional": 1, **SOFTLY},
    ),
    "MultiHeadAttention, cache": (
        MS + ":MultiHeadAttention", [Q, K, K[::-1], drawn(24), None, drawn(1, 1, 5, 10), PAST, PAST * 0.5],
        {"num_heads": 2, "scale": 0.7}, 3,
    ),
    "MultiHeadAttention, cache, causal and masked": (
        MS + ":MultiHeadAttention", [Q, X[::-1], X * 0.5, None, chosen(2, 8), None, PAST, PAST * 0.5],
        {"unidirectional": 1, **SOFTLY}, 3,
    ),
    "MultiHeadAttention, scores": (
        MS + ":MultiHeadAttention", [Q, K, V, None, chosen(2, 5, 7)], SOFTLY, 4,
    ),
    "MultiHeadAttention, keys by head": (
        MS + ":MultiHeadAttention", [Q, drawn(2, 2, 7, 4), drawn(2, 2, 7, 4, seed=2), drawn(24)],
        {"num_heads": 2},
    ),
    "Attention": (MS + ":Attention", [X, IN, OUT], {"num_heads": 2}),
    "Attention, causal": (MS + ":Attention", [X * 0.5, IN, OUT], {"num_heads": 2, "unidirectional": 1}),
    "Attention, lengths of keys": (MS + ":Attention", [X, IN, OUT, np.array([3, 5], np.int32)], SOFTLY),
    "Attention, ends and starts of keys": (
        MS + ":Attention", [X, IN, OUT, np.array([3, 5, 1, 2], np.int32)], SOFTLY,
    ),
    "Attention, mask of keys": (
        MS + ":Attention", [X * 0.5, IN, OUT, chosen(2, 5)], {"unidirectional": 1, **SOFTLY},
    ),
    "Attention, mask of pairs": (MS + ":Attention", [X, IN, OUT, chosen(2, 5, 5)], SOFTLY),
    "Attention, cache and mask": (
        MS + ":Attention", [X * 0.5, IN, OUT, chosen(2, 8), drawn(2, 2, 2, 3, 4)],
        {"unidirectional": 1, **SOFTLY}, 2,
    ),
    "Attention, values of another size": (
        MS + ":Attention", [X * 0.5, drawn(8, 20) * 0.4, drawn(20)],
        {"num_heads": 2, "qkv_hidden_sizes": [8, 8, 4]},
    ),
    "QAttention": (MS + ":QAttention", [X8, IN8, OUT, STEP, STEP, None, MIDDLE, MIDDLE], {"num_heads": 2}),
    "QAttention, by column, masked": (
        MS + ":QAttention",
        [X8, IN8, OUT, STEP, STEPS, np.array([3, 5], np.int32), MIDDLE, np.full(24, 120, np.uint8)], SOFTLY,
    ),
    "QAttention, cache": (
        MS + ":QAttention",
        [X8, IN8, OUT, STEP, STEP, None, MIDDLE, MIDDLE, drawn(2, 2, 2, 3, 4)],
        {"num_heads": 2, "unidirectional": 1}, 2,
    ),
    **{
        f"MatMulNBits, {name}": (
            MS + ":MatMulNBits", [drawn(2, 3, k), *more], {"K": k, "N": 5, "bits": bits, "block_size": 16},
        )
        for name, k, bits, more in (
            ("4 bits", 32, 4, [drawn8(5, 2, 8), ones(5, 2)]),
            ("8 bits", 32, 8, [drawn8(5, 2, 16), ones(5, 2)]),
            ("2 bits", 32, 2, [drawn8(5, 2, 4), ones(5, 2)]),
            ("a rest", 40, 4, [drawn8(5, 3, 8), ones(5, 3), None, None, drawn(5)]),
            ("zero points", 40, 4, [drawn8(5, 3, 8), ones(5, 3), drawn8(5, 2)]),
            ("zero points of 8 bits", 40, 8, [drawn8(5, 3, 16), ones(5, 3), drawn8(5, 3)]),
            ("real zero points", 40, 4, [drawn8(5, 3, 8), ones(5, 3), 8 + drawn(5, 3)]),
        )
    },
    **{
        f"MatMulBnb4, {name}": (
            MS + ":MatMulBnb4", [drawn(2, 3, 32), drawn8(80), ones(10)],
            {"K": 32, "N": 5, "block_size": 16, "quant_type": kind},
        )
        for kind, name in enumerate(["FP4", "NF4"])
    },
    "MatMulNBits, a group for each column": (
        MS + ":MatMulNBits",
        [drawn(2, 3, 32), drawn8(5, 2, 8), ones(5, 2), 8 + drawn(5, 2), np.arange(32, dtype=np.int32) % 2],
        {"K": 32, "N": 5, "bits": 4, "block_size": 16},
    ),
    "EmbedLayerNormalization": (MS + ":EmbedLayerNormalization", TABLES, {"epsilon": 1e-3}, 3),
    "EmbedLayerNormalization, places": (
        MS + ":EmbedLayerNormalization", [*TABLES, COUNTED, TOKENS], {"epsilon": 1e-3}, 3,
    ),
    "EmbedLayerNormalization, no segments": (
        MS + ":EmbedLayerNormalization", [TOKENS, None, *TABLES[2:4], None, *TABLES[5:]],
        {"epsilon": 1e-3}, 2,
    ),
    **{
        f"GroupQueryAttention, {name}": (MS + ":GroupQueryAttention", inputs, GROUPED | attrs, 3)
        for name, inputs, attrs in (
            ("prompt", [*NEW, None, None, LAST, FIVE], {}),
            ("packed", [np.concatenate(NEW, 2), None, None, None, None, LAST, FIVE], {"scale": 0.3}),
            ("prompts of two lengths", [*NEW, None, None, RAGGED, FIVE], {}),
            ("cache", [*ONE, *CACHE, LAST, FIVE], {}),
            ("caches of two lengths", [*ONE, *CACHE, RAGGED, FIVE], {}),
            ("turned", [*NEW, None, None, LAST, FIVE, *TURNS], {"do_rotary": 1}),
            ("cache, turned", [*ONE, *CACHE, RAGGED, FIVE, *TURNS], NEIGHBOURS),
            ("places", [*NEW, None, None, LAST, FIVE, *TURNS, PLACES + 3], {"do_rotary": 1}),
            ("window", [*NEW, None, None, LAST, FIVE], {"local_window_size": 2, "softcap": 1.5}),
            ("bias", [*NEW, None, None, LAST, FIVE, None, None, None, drawn(2, 4, 5, 5)], {"softcap": 1.5}),
            ("smooth", [*NEW, None, None, LAST, FIVE], {"smooth_softmax": 1}),
            ("sink", [*NEW, None, None, LAST, FIVE, None, None, None, None, drawn(4)], {}),
            ("both ways", [*NEW, None, None, RAGGED, FIVE], {"causal": 0}),
        )
    },
    "RotaryEmbedding": (MS + ":RotaryEmbedding", [drawn(2, 5, 32), np.array([3]), *TURNS], {}),
    "RotaryEmbedding, by head": (MS + ":RotaryEmbedding", [drawn(2, 2, 5, 16), PLACES, *TURNS], {}),
    "RotaryEmbedding, neighbours": (
        MS + ":RotaryEmbedding", [drawn(2, 5, 32), PLACES, *TURNS], {"interleaved": 1},
    ),
    "RotaryEmbedding, a part": (
        MS + ":RotaryEmbedding", [drawn(2, 5, 64), np.array([1]), *TURNS],
        {"num_heads": 2, "rotary_embedding_dim": 16},
    ),
    "CDist": (MS + ":CDist", [drawn(4, 5), drawn(3, 5)], {"metric": "euclidean"}),
    "CDist, squares": (MS + ":CDist", [drawn(4, 5), drawn(3, 5)], {"metric": "sqeuclidean"}),
    "ExpandDims": (MS + ":ExpandDims", [X, np.array(1, np.int32)], {}),
    "GatherND": (MS + ":GatherND", [X, np.array([[1, 2], [0, 0]])], {}),
    "GridSample": (MS + ":GridSample", [drawn(1, 2, 4, 5), drawn(1, 3, 3, 2) * 0.4], {}),
    "GridSample, cubic": (
        MS + ":GridSample", [drawn(1, 2, 4, 5), drawn(1, 3, 3, 2) * 0.4],
        {"mode": "bicubic", "padding_mode": "border", "align_corners": 1},
    ),
    "Pad": (MS + ":Pad", [drawn(4, 5), np.array([1, 0, 2, 1]), np.array([0.5], np.float32)], {}),
    "Pad, edge": (MS + ":Pad", [drawn(4, 5), np.array([1, 0, 2, 1])], {"mode": "edge"}),
    "Trilu": (MS + ":Trilu", [drawn(4, 5), np.array(1)], {"upper": 0}),
    "Attention, sizes and bias": (
        MS + ":Attention", [X, IN, OUT, None, None, drawn(2, 4, 5, 5)],
        {"num_heads": 4, "qkv_hidden_sizes": [8, 8, 8], "scale": 0.5},
    ),
}  # fmt: skip
