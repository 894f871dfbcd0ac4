"""ONNX Runtime's fused operators: bodies against its kernels, gradients against differences."""

import numpy as np
import onnx
import onnxruntime
import pytest
from oracles.differences import assert_slopes, float_names
from oracles.fused import (
    CASES,
    CONV,
    IN,
    KERNEL,
    MS,
    OUT,
    PAST,
    PICTURE,
    SOFTLY,
    K,
    Q,
    V,
    X,
    alone,
    chosen,
    drawn,
    drawn8,
    ones,
)  # fmt: skip
from oracles.networks import parsed, run

from onnxlens.engine.anatomy.layers import last_features
from onnxlens.engine.autodiff.doctor import examine
from onnxlens.engine.autodiff.gradient import gradient
from onnxlens.engine.canonical.canonical import canonical
from onnxlens.engine.errors import NoRule
from onnxlens.engine.graph.graph import Graph
from onnxlens.engine.graph.nodes import key_of, named
from onnxlens.engine.operators.bodies import BODIES

# Their kernels are for other devices: here they are held against ONNX's operators that they stand for.
ELSEWHERE = {
    f"{MS}:{name}" for name in (
        "GroupNorm", "SkipGroupNorm", "NhwcConv", "NhwcFusedConv", "BiasAdd", "BiasSplitGelu", "GemmFastGelu",
    )
}  # fmt: skip


@pytest.fixture(params=CASES)
def case(request):
    return alone(*CASES[request.param])


def test_every_fused_operator_is_tried():
    from onnxlens.engine.operators.bodies.attention import BODIES as ATTENTION
    from onnxlens.engine.operators.bodies.fused import BODIES as ALL
    from onnxlens.engine.operators.bodies.grouped import BODIES as GROUPED

    packed = {f"{MS}:MatMulNBits", f"{MS}:MatMulBnb4"}
    assert {key for key, *_ in CASES.values()} == {*ALL, *ATTENTION, *GROUPED, *packed} - set(ELSEWHERE)


def test_a_body_is_what_the_kernel_computes(case):
    model, feeds = case
    (node,) = model.graph.node
    graph = Graph({"": 18})
    inputs = {name: graph.input(name, x.dtype, x.shape) for name, x in feeds.items()}
    body = BODIES[key_of(node)]
    value = body(*(inputs.get(name) for name in node.input), **named(graph.attributes(node), body))
    for y, name in zip(value if isinstance(value, tuple) else (value,), node.output, strict=False):
        graph.output(y, name)
    found = run(graph.to_model(), feeds)
    for name, expected in run(model, feeds).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=2e-5, err_msg=name)


def test_a_gradient_is_that_of_the_kernel(case):
    model, feeds = case
    of = float_names(model.graph.output)
    # The scales of integers are smaller than the step of the differences.
    wrt = [name for name in float_names(model.graph.input) if np.abs(feeds[name]).max() > 0.1]
    assert_slopes(model, feeds, of, wrt)


def test_the_type_behind_a_fused_operator_is_known(case):
    model, feeds = case
    value = canonical(model)["y0"]
    expected = run(model, feeds)["y0"]
    assert value.dtype == expected.dtype
    assert value.shape == expected.shape or model.graph.node[0].op_type in SIZED


SIZED = ("ExpandDims", "Pad")  # what they are given at run time tells the sizes


LONG = np.array([3], np.int32)
BITS = {"K": 32, "N": 5, "bits": 4, "block_size": 16}
WEIGHTS = [np.zeros((5, 2, 8), np.uint8), ones(5, 2)]


@pytest.mark.parametrize(
    ("key", "inputs", "attrs", "why"),
    [
        (":MultiHeadAttention", [Q, X, X, None, None, None, PAST, PAST, LONG], {}, "shared buffer"),
        (":MultiHeadAttention", [Q, K, V], {"unidirectional": 1}, "causal between"),
        (":Attention", [X, IN, OUT], {"past_present_share_buffer": 1}, "shared buffer"),
        (":Attention", [X, IN, OUT], {"do_rotary": 1}, "rotates"),
        (":Attention", [X, IN, OUT, np.ones((2, 1, 1, 8, 8), np.int32)], {}, "mask of a form"),
        (":FusedConv", [PICTURE, KERNEL], {**CONV, "activation": "Odd"}, "activation 'Odd'"),
        (":MatMulNBits", [X, *WEIGHTS], {**BITS, "weight_prepacked": 1}, "kind of hardware"),
        (":MatMulNBits", [X, *WEIGHTS, drawn8(5, 1), np.zeros(32, np.int32)], BITS, "packed zero points"),
    ],
)
def test_a_form_without_a_gradient_is_refused_and_foreseen(key, inputs, attrs, why):
    attrs = attrs if "Attention" not in key else {"num_heads": 2, **attrs}
    model, feeds = alone(MS + key, inputs, attrs)
    first = next(iter(feeds))
    with pytest.raises(NoRule, match=f"{key[1:]} node 'node': .*{why}") as error:
        gradient(model, of="y0", wrt=first)
    found = examine(model, of=["y0"], wrt=[first])
    assert (found.verdict, [b.text for b in found.blocks]) == ("blocked", [str(error.value)])


def test_a_mask_of_all_places_is_the_mask_of_its_last_queries():
    """It has a kernel on other devices only; here it is held against one of queries and keys."""
    square = chosen(2, 1, 9, 9)
    more = [X * 0.5, IN, OUT]
    wide, feeds = alone(MS + ":Attention", [*more, square, drawn(2, 2, 2, 3, 4)], SOFTLY, 2)
    part = np.ascontiguousarray(square[:, 0, 3:8, :8])
    plain, others = alone(MS + ":Attention", [*more, part, drawn(2, 2, 2, 3, 4)], SOFTLY, 2)
    seed = {"seed/y0": drawn(2, 5, 8, seed=9)}
    expected = run(gradient(plain, of="y0", wrt=["x0", "x1"]), others | seed)
    made = canonical(gradient(wide, of="y0", wrt=["x0", "x1"]))
    found = run(made.to_model(["grad/x0", "grad/x1"]), feeds | seed)
    for name, value in found.items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-4, atol=1e-5)


LAST = "Transpose <perm = [0,2,3,1]>"
FIRST = "Transpose <perm = [0,3,1,2]>"
SILU = "g = Sigmoid (n)  y = Mul (n, g)"
NORMAL = f"""m = {FIRST} (s)  r = Reshape (m, rows)  i = InstanceNormalization <epsilon = 1e-5> (r, one, zero)
    q = Shape (m)  b = Reshape (i, q)  l = {LAST} (b)  t = Mul (l, x1)  n = Add (t, x2)"""
STAND_FOR = {  # attributes, shapes of the inputs, and what the operator stands for
    "GroupNorm": ({"groups": 2}, [(2, 5, 6, 4), (4,), (4,)], f"s = Identity (x0) {NORMAL} y = Identity (n)"),
    "SkipGroupNorm": (
        {"groups": 2, "activation": 1}, [(2, 5, 6, 4), (4,), (4,), (2, 4), (4,)],
        f"k = Unsqueeze (x3, axes)  a = Add (x0, k)  s = Add (a, x4) {NORMAL} {SILU}",
    ),
    "NhwcConv": (
        {"pads": [1, 0, 1, 0], "strides": [2, 1]}, [(2, 5, 6, 4), (3, 4, 3, 2), (3,)],
        f"f = {FIRST} (x0)  c = Conv <pads = [1,0,1,0], strides = [2,1]> (f, x1, x2)  y = {LAST} (c)",
    ),
    "NhwcFusedConv": (
        {"activation": "Sigmoid"}, [(2, 5, 6, 4), (3, 4, 3, 2), (3,), (2, 3, 5, 3)],
        f"f = {FIRST} (x0)  c = Conv (f, x1, x2)  l = {LAST} (c)  a = Add (l, x3)  y = Sigmoid (a)",
    ),
    "BiasAdd": ({}, [(2, 5, 4), (4,), (2, 5, 4)], "a = Add (x0, x1)  y = Add (a, x2)"),
    "BiasSplitGelu": (
        {}, [(2, 5, 8), (8,)],
        "s = Add (x0, x1)  a, b = Split <axis = -1, num_outputs = 2> (s)  r = Div (b, root)  e = Erf (r)"
        "  o = Add (e, one1)  h = Mul (b, half)  g = Mul (h, o)  y = Mul (a, g)",
    ),
    "GemmFastGelu": (
        {}, [(2, 5, 4), (4, 3), (3,)],
        "m = MatMul (x0, x1)  z = Add (m, x2)  z2 = Mul (z, z)  z3 = Mul (z2, z)  c = Mul (z3, cube)"
        "  s = Add (z, c)  u = Mul (s, slope)  t = Tanh (u)  o = Add (t, one1)  h = Mul (z, half)"
        "  y = Mul (h, o)",
    ),
}  # fmt: skip


def test_what_has_its_kernel_elsewhere_is_tried():
    assert {f"{MS}:{name}" for name in STAND_FOR} == ELSEWHERE


@pytest.mark.parametrize("name", STAND_FOR)
def test_what_has_its_kernel_elsewhere_is_what_it_stands_for(name):
    attrs, shapes, text = STAND_FOR[name]
    fused, feeds = alone(f"{MS}:{name}", [drawn(*s, seed=i) for i, s in enumerate(shapes)], attrs)
    inputs = ", ".join(f"float[{','.join(map(str, s))}] x{i}" for i, s in enumerate(shapes))
    plain = parsed(
        f"({inputs}) => (float y) {{ {text} }}", rows=np.array([0, 2, -1]), one=np.ones(2), zero=np.zeros(2),
        axes=np.array([1, 2]), root=np.sqrt(2), one1=1.0, half=0.5, cube=0.044715, slope=np.sqrt(2 / np.pi),
    )  # fmt: skip
    plain.graph.output[0].type.tensor_type.ClearField("shape")
    names = [i.name for i in plain.graph.input]
    clean = run(plain, feeds)["y"]
    seed = drawn(*clean.shape, seed=9)
    expected = run(gradient(plain, of="y", wrt=names), {**feeds, "seed/y": seed})
    made = canonical(gradient(fused, of="y0", wrt=names))
    found = run(made.to_model([f"grad/{i}" for i in names]), {**feeds, "seed/y0": seed})
    for i, value in found.items():
        np.testing.assert_allclose(value, expected[i], rtol=1e-3, atol=1e-4, err_msg=i)


def packed(*parts):
    """Heads (B, N, S, H) in one tensor (B, S, N, parts, H)."""
    return np.ascontiguousarray(np.stack(parts, 3).transpose(0, 2, 1, 3, 4))


@pytest.mark.parametrize("together", [2, 3])
def test_packed_queries_keys_and_values(together):
    """They have kernels on other devices only; here they are held against the separate ones."""
    q, k, v = (drawn(2, 5, 8, seed=i) for i in range(3))
    by_head = [x.reshape(2, 5, 2, 4).transpose(0, 2, 1, 3) for x in (q, k, v)]
    first = [] if together == 3 else [q]
    model, feeds = alone(MS + ":MultiHeadAttention", [*first, packed(*by_head[-together:])], {"num_heads": 2})
    plain, separate = alone(MS + ":MultiHeadAttention", [q, k, v], {"num_heads": 2})
    seed = {"seed/y0": drawn(2, 5, 8, seed=9)}
    expected = run(gradient(plain, wrt=["x0", "x1", "x2"]), separate | seed)
    grads = [expected[f"grad/x{i}"].reshape(2, 5, 2, 4).transpose(0, 2, 1, 3) for i in range(3)]
    wanted = [expected["grad/x0"]] * (together == 2) + [packed(*grads[-together:])]

    made = canonical(gradient(model, wrt=list(feeds)))
    found = run(made.to_model([f"grad/{name}" for name in feeds]), feeds | seed)
    for name, value in zip(feeds, wanted, strict=True):
        np.testing.assert_allclose(found[f"grad/{name}"], value, rtol=1e-4, atol=1e-5)


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
