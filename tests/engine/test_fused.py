"""ONNX Runtime's fused operators: bodies against its kernels, gradients against differences."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from oracles.differences import assert_slopes
from oracles.networks import parsed, run

from onnxlens.engine.anatomy import last_features
from onnxlens.engine.bodies import BODIES
from onnxlens.engine.canonical import canonical
from onnxlens.engine.errors import NoRule
from onnxlens.engine.gradient import gradient
from onnxlens.engine.graph import Graph
from onnxlens.engine.nodes import key_of, named

MS = "com.microsoft"


def drawn(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def ones(*shape):
    return 1 + 0.2 * drawn(*shape, seed=1)


def alone(key, inputs, attrs, outputs=1):
    """A model of one node whose inputs (None: left out) are all inputs of the model, and their values."""
    domain, _, name = key.rpartition(":")
    feeds = {f"x{i}": x for i, x in enumerate(inputs) if x is not None}
    names = ["" if x is None else f"x{i}" for i, x in enumerate(inputs)]
    made = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(name, names, made, "node", domain=domain, **attrs)
    graph = helper.make_graph(
        [node],
        "fused",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, x.shape) for n, x in feeds.items()],
        [helper.make_tensor_value_info(y, TensorProto.FLOAT, None) for y in made],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(MS, 1)]
    return helper.make_model(graph, ir_version=8, opset_imports=opsets), feeds


PICTURE, KERNEL, ADDED = drawn(2, 4, 7, 6), drawn(6, 2, 3, 3) * 0.05, drawn(2, 6, 4, 3, seed=2) * 0.1
LEVELS = np.array([3, -3, 1, 1, -3, 3], np.float32)  # biases that keep the convolution off every kink
CONV = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2], "group": 2}
X = drawn(2, 5, 8)  # (N, S, H·D)
Q, K, V, MASK = X, drawn(2, 7, 8), drawn(2, 7, 12), drawn(2, 2, 5, 7)
IN, OUT = drawn(8, 24) * 0.4, drawn(24)

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
    "Attention": (MS + ":Attention", [X, IN, OUT], {"num_heads": 2}),
    "Attention, causal": (MS + ":Attention", [X * 0.5, IN, OUT], {"num_heads": 2, "unidirectional": 1}),
    "Attention, sizes and bias": (
        MS + ":Attention", [X, IN, OUT, None, None, drawn(2, 4, 5, 5)],
        {"num_heads": 4, "qkv_hidden_sizes": [8, 8, 8], "scale": 0.5},
    ),
}  # fmt: skip


@pytest.fixture(params=CASES)
def case(request):
    return alone(*CASES[request.param])


def test_every_fused_operator_is_tried():
    from onnxlens.engine.bodies.fused import BODIES as ALL

    assert {key for key, *_ in CASES.values()} == set(ALL)


def test_a_body_is_what_the_kernel_computes(case):
    model, feeds = case
    (node,) = model.graph.node
    graph = Graph({"": 18})
    inputs = {name: graph.input(name, x.dtype, x.shape) for name, x in feeds.items()}
    body = BODIES[key_of(node)]
    value = body(*(inputs.get(name) for name in node.input), **named(node, body))
    graph.output(value[0] if isinstance(value, tuple) else value, "y0")
    expected = run(model, feeds)["y0"]
    np.testing.assert_allclose(run(graph.to_model(), feeds)["y0"], expected, rtol=1e-4, atol=2e-5)


def test_a_gradient_is_that_of_the_kernel(case):
    model, feeds = case
    assert_slopes(model, feeds, ["y0"], list(feeds))


def test_the_type_behind_a_fused_operator_is_known(case):
    model, feeds = case
    value = canonical(model)["y0"]
    expected = run(model, feeds)["y0"]
    assert (value.dtype, value.shape) == (expected.dtype, expected.shape)


@pytest.mark.parametrize(
    ("key", "inputs"),
    [
        (":MultiHeadAttention", [Q, K, V, None, np.zeros((2, 7), np.float32)]),  # with a padding mask
        (":MultiHeadAttention", [X]),  # queries, keys and values packed in one
        (":Attention", [X, IN, OUT, np.zeros((2, 5), np.float32)]),  # with a mask
    ],
)
def test_attention_in_a_form_without_a_gradient_is_refused(key, inputs):
    model, _ = alone(MS + key, inputs, {"num_heads": 2})
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y0", TensorProto.FLOAT, [2, 5, 8]))
    with pytest.raises(NoRule, match="Attention"):
        gradient(model, of="y0", wrt="x0")


def optimised(model, tmp_path, level="EXTENDED"):
    """The model as ONNX Runtime saves it after its own optimisations."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return onnx.load(tmp_path / "optimised.onnx")


def convolutional():
    return parsed(
        """(float[N,3,16,16] x) => (float[N,5] p) {
            a = Conv <pads = [1,1,1,1]> (x, w1, b1)
            b = Relu (a)
            c = Conv <pads = [1,1,1,1]> (b, w2, b2)
            d = Add (c, b)
            e = Relu (d)
            f = Conv <strides = [2,2]> (e, w3, b3)
            g = LeakyRelu <alpha = 0.1> (f)
            h = GlobalAveragePool (g)
            i = Flatten (h)
            j = Gemm <transB = 1> (i, w4, b4)
            k = Relu (j)
            l = Gemm <transB = 1> (k, w5, b5)
            p = Softmax (l)
        }""",
        w1=drawn(6, 3, 3, 3) * 0.3, b1=drawn(6), w2=drawn(6, 6, 3, 3) * 0.2, b2=drawn(6, seed=1),
        w3=drawn(8, 6, 3, 3) * 0.2, b3=drawn(8), w4=drawn(7, 8), b4=drawn(7), w5=drawn(5, 7), b5=drawn(5),
    )  # fmt: skip


def transformer():
    """A patch embedding, one block of self-attention and perceptron, each with its skip, and a head."""
    return parsed(
        """(float[N,3,16,16] x) => (float[N,5] s) {
            a = Conv <strides = [4,4]> (x, patch, bias)
            b = Reshape (a, tokens)
            t = Transpose <perm = [0,2,1]> (b)
            n1 = LayerNormalization <epsilon = 1e-3> (t, g1, h1)
            q0 = MatMul (n1, wq)
            q1 = Add (q0, bq)
            q2 = Reshape (q1, heads)
            q = Transpose <perm = [0,2,1,3]> (q2)
            k0 = MatMul (n1, wk)
            k2 = Reshape (k0, heads)
            k = Transpose <perm = [0,2,3,1]> (k2)
            v0 = MatMul (n1, wv)
            v2 = Reshape (v0, heads)
            v = Transpose <perm = [0,2,1,3]> (v2)
            z0 = MatMul (q, k)
            z = Mul (z0, scale)
            w = Softmax <axis = -1> (z)
            m0 = MatMul (w, v)
            m1 = Transpose <perm = [0,2,1,3]> (m0)
            m2 = Reshape (m1, joined)
            m3 = MatMul (m2, wo)
            m4 = Add (m3, bo)
            r1 = Add (m4, t)
            n2 = LayerNormalization <epsilon = 1e-3> (r1, g2, h2)
            f0 = MatMul (n2, w1)
            f1 = Add (f0, b1)
            f2 = Div (f1, root)
            f3 = Erf (f2)
            f4 = Add (f3, one)
            f5 = Mul (f1, f4)
            f6 = Mul (f5, half)
            f7 = MatMul (f6, w2)
            f8 = Add (f7, b2)
            r2 = Add (f8, r1)
            n3 = LayerNormalization <epsilon = 1e-3> (r2, g3, h3)
            c = ReduceMean <keepdims = 0> (n3, first)
            s = Gemm (c, w3, b3)
        }""",
        patch=drawn(8, 3, 4, 4) * 0.2, bias=drawn(8), tokens=np.array([0, 8, 16]),
        heads=np.array([0, 16, 2, 4]), joined=np.array([0, 16, 8]), first=np.array([1]), scale=0.5,
        root=np.sqrt(2), one=1.0, half=0.5, bq=drawn(8), bo=drawn(8, seed=5), b1=drawn(12),
        b2=drawn(8, seed=6),
        w3=drawn(8, 5), b3=drawn(5), w1=drawn(8, 12) * 0.4, w2=drawn(12, 8) * 0.4,
        **{f"w{i}": drawn(8, 8, seed=j) * 0.4 for j, i in enumerate("qkvo")},
        **{f"g{i}": ones(8) for i in (1, 2, 3)}, **{f"h{i}": drawn(8, seed=i) for i in (1, 2, 3)},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("build", "fused", "features"),
    [
        (convolutional, {"FusedConv", "FusedGemm"}, "g"),
        (transformer, {"FusedMatMul", "BiasGelu", "SkipLayerNormalization"}, None),
    ],
)
def test_a_model_that_onnx_runtime_has_optimised_has_the_gradient_of_the_plain_one(
    build, fused, features, tmp_path
):
    plain = build()
    quick = optimised(plain, tmp_path)
    assert fused <= {n.op_type for n in quick.graph.node if n.domain == MS}
    graph = canonical(quick)
    assert all(graph[name].shape is not None for name in graph.value_names())
    assert all(d is not None for name in graph.value_names() for d in graph[name].shape)
    if features is not None:
        assert last_features(graph, graph.outputs[0]) == features
    score = "l" if features else "s"
    wrt = ["x", "b"] if features else ["x", "a"]
    feeds = {"x": drawn(2, 3, 16, 16), f"seed/{score}": drawn(2, 5)}
    expected, found = (run(gradient(m, of=score, wrt=wrt), feeds) for m in (plain, quick))
    for name, value in expected.items():
        bound = 1e-4 * np.abs(value).max()
        np.testing.assert_allclose(found[name], value, rtol=1e-3, atol=bound, err_msg=name)


def test_the_blocked_layout_of_a_machine_is_refused_by_name(tmp_path):
    model = optimised(convolutional(), tmp_path, "ALL")
    if not any(n.domain == MS + ".nchwc" for n in model.graph.node):
        pytest.skip("this machine has no blocked layout")
    with pytest.raises(NoRule, match=r"com\.microsoft\.nchwc:"):
        gradient(model, wrt="x")
