"""What gradient() promises: inputs, outputs, names, refusals; and that the numbers are right."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser
from oracles.differences import assert_slopes, in_double
from oracles.networks import parsed, run

from onnxlens.engine.autodiff.gradient import backpropagate, gradient
from onnxlens.engine.canonical.canonical import canonical
from onnxlens.engine.errors import BadModel, BadRequest, NoRule
from onnxlens.engine.graph.graph import op
from onnxlens.engine.operators.rules import VJP

RNG = np.random.default_rng(5)
W1 = RNG.standard_normal((6, 3, 3, 3)) * 0.3
W2 = RNG.standard_normal((4, 6)) * 0.5
X = RNG.standard_normal((2, 3, 8, 8)).astype(np.float32)


def convnet(head="y = Softmax (s)", batch="2", opset=18):
    return parsed(
        f"""(float[{batch},3,8,8] x) => (float[{batch},4] y) {{
            c = Conv <pads = [1,1,1,1]> (x, w1)
            r = Relu (c)
            m = MaxPool <kernel_shape = [2,2], strides = [2,2]> (r)
            g = GlobalAveragePool (m)
            v = Flatten (g)
            s = Gemm <transB = 1> (v, w2, b2)
            {head}
        }}""",
        opset,
        w1=W1,
        w2=W2,
        b2=np.arange(4.0),
    )


def mlp():
    """Smooth: y = W2 tanh(W1 x)."""
    return parsed(
        "(double[1,5] x) => (double[1,1] y) { a = MatMul (x, w1) h = Tanh (a) y = MatMul (h, w2) }",
    )


def doubles(model, **weights):
    for name, value in weights.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.float64), name))
    return model


def names(values):
    return [v.name for v in values]


def grads(model, feeds, **wanted):
    """Outputs of the gradient graph, with seeds of ones."""
    result = gradient(model, **wanted)
    seeds = {}
    for value in result.graph.input[len(feeds) :]:
        dims = value.type.tensor_type.shape.dim
        shape = [d.dim_value or len(next(iter(feeds.values()))) for d in dims]
        seeds[value.name] = np.ones(shape, helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
    return run(result, {**feeds, **seeds})


# -- inputs and outputs ----------------------------------------------------------------------------


def test_inputs_and_outputs_come_in_the_order_promised():
    result = gradient(convnet(), of=["s", "g"], wrt=["w2", "x", "r"])
    assert names(result.graph.input) == ["x", "seed/s", "seed/g"]
    assert names(result.graph.output) == ["y", "grad/w2", "grad/x", "grad/r"]
    shapes = {o.name: [d.dim_value for d in o.type.tensor_type.shape.dim] for o in result.graph.output}
    assert shapes == {"y": [2, 4], "grad/w2": [4, 6], "grad/x": [2, 3, 8, 8], "grad/r": [2, 6, 8, 8]}


def test_the_result_is_a_plain_model():
    result = gradient(convnet(), wrt=["x", "w1", "w2"])
    onnx.checker.check_model(result, full_check=True)
    assert {n.domain for n in result.graph.node} == {""}
    assert [(o.domain, o.version >= 18) for o in result.opset_import] == [("", True)]


def test_own_outputs_are_unchanged_to_the_bit():
    found = grads(convnet(), {"x": X}, wrt=["x", "w1"])
    np.testing.assert_array_equal(found["y"], run(convnet(), {"x": X})["y"])


def test_strings_and_lists_mean_the_same():
    a, b = gradient(convnet(), of="g", wrt="x"), gradient(convnet(), of=["g"], wrt=["x"])
    assert a.SerializeToString(deterministic=True) == b.SerializeToString(deterministic=True)


@pytest.mark.parametrize(
    ("head", "score"),
    [
        ("y = Softmax (s)", "s"),
        ("y = LogSoftmax (s)", "s"),
        ("y = Identity (s)", "y"),
        ("y = Sigmoid (s)", "s"),
        ("p = Softmax (s) y = Identity (p)", "s"),
        ("p = Softmax (s) y = Flatten (p)", "s"),
        ("p = Softmax (s) q = Reshape (p, shape) y = Flatten (q)", "s"),
        ("p = Softmax (s) q = Softmax (p) y = Relu (q)", "y"),
    ],
)
@pytest.mark.parametrize("opset", [9, 13, 18])
def test_the_default_score_stands_before_a_final_softmax(head, score, opset):
    model = convnet(head, opset=opset)
    model.graph.initializer.append(numpy_helper.from_array(np.array([2, 1, 4]), "shape"))
    result = gradient(model)
    assert names(result.graph.input) == ["x", f"seed/{score}"]
    assert names(result.graph.output) == ["y", "grad/x"]


def test_the_default_is_the_first_output_and_the_first_input():
    model = parsed("(float[2] a, float[2] b) => (float[2] y, float[2] z) { y = Mul (a, b) z = Add (a, b) }")
    result = gradient(model)
    assert names(result.graph.input) == ["a", "b", "seed/y"]
    assert names(result.graph.output) == ["y", "z", "grad/a"]


def test_weights_listed_among_the_inputs_are_no_inputs():
    model = convnet()
    for tensor in model.graph.initializer:
        model.graph.input.insert(0, helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    result = gradient(model)
    assert names(result.graph.output) == ["y", "grad/x"]
    assert names(result.graph.input) == ["x", "seed/s"]


def test_metadata_stays():
    model = convnet()
    model.metadata_props.add(key="author", value="someone")
    assert {p.key: p.value for p in gradient(model).metadata_props} == {"author": "someone"}


# -- numbers ---------------------------------------------------------------------------------------


def test_a_network_has_the_slopes_that_differences_say():
    model = in_double(convnet())
    assert_slopes(model, {"x": X.astype(np.float64)}, ["y"], ["x"])


@pytest.mark.parametrize("opset", [7, 8, 9, 10, 11, 12, 13, 15, 17, 18, 19, 21, 22])
def test_every_opset_gives_the_same_gradient(opset):
    expected = grads(convnet(), {"x": X}, of="s", wrt=["x", "w1"])
    found = grads(convnet(opset=opset), {"x": X}, of="s", wrt=["x", "w1"])
    for name in ("grad/x", "grad/w1"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(found["y"], run(convnet(opset=opset), {"x": X})["y"])


def test_gradient_of_inner_values_and_weights():
    found = grads(convnet(), {"x": X}, of="s", wrt=["s", "v", "w2", "x"])
    np.testing.assert_array_equal(found["grad/s"], np.ones((2, 4), np.float32))
    np.testing.assert_allclose(found["grad/v"], np.ones((2, 4)) @ W2, rtol=1e-5)
    assert found["grad/w2"].shape == (4, 6)
    assert abs(found["grad/x"]).max() > 0


def test_a_value_that_is_not_reached_has_gradient_zero():
    model = parsed(
        "(float[2,3] a, float[3] b) => (float[2,3] y, float[3] z) { y = Relu (a) z = Exp (b) }",
    )
    found = grads(
        model, {"a": np.ones((2, 3), np.float32), "b": np.ones(3, np.float32)}, of="y", wrt=["b", "z"]
    )
    np.testing.assert_array_equal(found["grad/b"], np.zeros(3))
    np.testing.assert_array_equal(found["grad/z"], np.zeros(3))


def test_what_comes_after_has_gradient_zero():
    found = grads(convnet(), {"x": X}, of="r", wrt="s")
    np.testing.assert_array_equal(found["grad/s"], np.zeros((2, 4)))


def test_integers_and_comparisons_on_the_way_carry_nothing():
    model = parsed(
        "(float[3] x) => (float[3] y) { i = Cast <to = 7> (x) j = Cast <to = 1> (i) y = Add (x, j) }"
    )
    found = grads(model, {"x": np.array([0.5, 1.5, -2.5], np.float32)})
    np.testing.assert_array_equal(found["grad/x"], np.ones(3))


def test_a_value_used_twice_by_one_node():
    model = parsed("(float[3] x) => (float[3] y) { y = Mul (x, x) }")
    x = np.array([1, -2, 3], np.float32)
    np.testing.assert_array_equal(grads(model, {"x": x})["grad/x"], 2 * x)


def test_fan_out_adds_up():
    model = parsed(
        """(float[3] x) => (float[3] y) {
            a = Exp (x) b = Sin (a) c = Mul (a, x) d = Sub (c, b) y = Sum (a, d, a)
        }"""
    )
    x = np.array([0.1, -0.2, 0.3], np.float32)
    a = np.exp(x)
    expected = 2 * a + a * x + a - np.cos(a) * a
    np.testing.assert_allclose(grads(model, {"x": x})["grad/x"], expected, rtol=1e-5)


def test_several_of_add_up_also_where_one_feeds_the_other():
    model = parsed("(float[3] x) => (float[3] y) { a = Exp (x) y = Mul (a, a) }")
    x = np.array([0.1, -0.2, 0.3], np.float32)
    found = grads(model, {"x": x}, of=["a", "y"], wrt=["x", "a"])
    np.testing.assert_allclose(found["grad/a"], 1 + 2 * np.exp(x), rtol=1e-6)
    np.testing.assert_allclose(found["grad/x"], np.exp(x) + 2 * np.exp(2 * x), rtol=1e-5)


def test_one_value_before_another_both_asked_for():
    model = parsed("(float[3] x) => (float[3] y) { a = Exp (x) b = Sin (a) y = Mul (b, b) }")
    x = np.array([0.1, -0.2, 0.3], np.float32)
    found = grads(model, {"x": x}, wrt=["b", "a", "x"])
    b = np.sin(np.exp(x))
    np.testing.assert_allclose(found["grad/b"], 2 * b, rtol=1e-5)
    np.testing.assert_allclose(found["grad/a"], 2 * b * np.cos(np.exp(x)), rtol=1e-5)
    np.testing.assert_allclose(found["grad/x"], found["grad/a"] * np.exp(x), rtol=1e-5)


@pytest.mark.parametrize("batch", [1, 3])
def test_the_batch_may_stay_symbolic(batch):
    x = RNG.standard_normal((batch, 3, 8, 8)).astype(np.float32)
    found = grads(convnet(batch="N"), {"x": x}, wrt=["x", "w1", "w2"])
    for i in range(batch):
        alone = grads(convnet(batch="1"), {"x": x[i : i + 1]})
        np.testing.assert_allclose(found["grad/x"][i], alone["grad/x"][0], rtol=1e-5, atol=1e-7)
    assert found["grad/w1"].shape == W1.shape


def test_a_symbolic_size_that_is_broadcast_is_summed():
    model = parsed("(float[N,3] a, float[M,3] b) => (float[K,3] y) { y = Mul (a, b) }")
    a, b = np.full((4, 3), 2, np.float32), np.full((1, 3), 5, np.float32)
    found = run(gradient(model, wrt=["a", "b"]), {"a": a, "b": b, "seed/y": np.ones((4, 3), np.float32)})
    np.testing.assert_array_equal(found["grad/a"], np.full((4, 3), 5))
    np.testing.assert_array_equal(found["grad/b"], np.full((1, 3), 8))


def test_a_value_of_unknown_rank_is_summed():
    """As in the bodies of operators that compute the axes they reduce over."""
    model = parsed(
        "(float[2,3] x, int64[K] axes) => (float[2,3] y) { m = ReduceMean (x, axes) y = Mul (x, m) }"
    )
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    found = run(gradient(model), {"x": x, "axes": np.array([1]), "seed/y": np.ones((2, 3), np.float32)})
    mean = x.mean(1, keepdims=True)
    np.testing.assert_allclose(found["grad/x"], np.broadcast_to(2 * mean, (2, 3)), rtol=1e-6)


@pytest.mark.parametrize("batch", [0, 1, 3])
def test_what_is_summed_over_sizes_told_when_it_runs_is_of_its_values_shape(batch):
    """A residual whose branch was reshaped to "as many as there are": methods lay maps by such a gradient."""
    model = parsed(
        "(float[N,4,3] x) => (float[K,4,3] y) "
        "{ e = Exp (x) r = Reshape <allowzero = 1> (e, size) s = Add (x, r) y = Mul (s, s) }",
        size=np.int64([-1, 4, 3]),
    )
    graph = canonical(model)
    found = backpropagate(graph, {"y": graph["y"]}, ["x", "r", "s"])
    assert [grad.shape for grad in found] == [graph[name].shape for name in ("x", "r", "s")]
    x = np.random.default_rng(5).standard_normal((batch, 4, 3)).astype(np.float32)
    total = x + np.exp(x)
    found = grads(model, {"x": x}, wrt=["x", "r"])
    np.testing.assert_allclose(found["grad/r"], 2 * total, rtol=1e-5)
    np.testing.assert_allclose(found["grad/x"], 2 * total * (1 + np.exp(x)), rtol=1e-5)


def test_an_empty_batch_of_unknown_rank():
    """To Reshape a size of 0 means "as before" unless it is told otherwise."""
    model = parsed(
        "(float[N,3] x, int64[K] axes) => (float[N,3] y) "
        "{ m = ReduceMean (x, axes) a = Mul (x, m) y = Exp (a) }"
    )
    feeds = {"x": np.zeros((0, 3), np.float32), "axes": np.array([1]), "seed/y": np.zeros((0, 3), np.float32)}
    assert run(gradient(model), feeds)["grad/x"].shape == (0, 3)
    assert run(gradient(model, wrt="m"), feeds)["grad/m"].shape == (0, 1)


def test_an_empty_batch():
    found = grads(convnet(batch="N"), {"x": X[:0]})
    assert found["grad/x"].shape == (0, 3, 8, 8)


def test_the_gradient_of_a_gradient_is_a_hessian_vector_product():
    w1, w2 = RNG.standard_normal((5, 7)), RNG.standard_normal((7, 1))
    model = doubles(mlp(), w1=w1, w2=w2)
    twice = gradient(gradient(model), of="grad/x", wrt="x")
    onnx.checker.check_model(twice, full_check=True)
    x, v = RNG.standard_normal((1, 5)), RNG.standard_normal((1, 5))
    feeds = {"x": x, "seed/y": np.ones((1, 1)), "seed/grad/x": v}
    h = np.tanh(x @ w1)[0]
    hessian = w1 @ np.diag(w2[:, 0] * -2 * h * (1 - h * h)) @ w1.T
    found = run(twice, feeds)
    (product,) = [value for name, value in found.items() if name not in ("y", "grad/x")]
    np.testing.assert_allclose(product[0], hessian @ v[0], rtol=1e-9)


def test_weights_behind_rearrangements():
    model = parsed(
        """(float[2,3] x) => (float[2,4] y) {
            t = Transpose <perm = [1,0]> (w) s = MatMul (x, t) u = Unsqueeze (b, zero) y = Add (s, u)
        }""",
        w=RNG.standard_normal((4, 3)),
        b=np.arange(4.0),
        zero=np.array([0]),
    )
    x = RNG.standard_normal((2, 3)).astype(np.float32)
    found = grads(model, {"x": x}, wrt=["w", "b"])
    np.testing.assert_allclose(found["grad/w"], np.broadcast_to(x.sum(0), (4, 3)), rtol=1e-5)
    np.testing.assert_array_equal(found["grad/b"], np.full(4, 2))


def test_weights_in_constant_nodes():
    model = parsed(
        "(float[2,3] x) => (float[2,3] y) { w = Constant <value_floats = [1.0, 2.0, 3.0]> () y = Mul (x, w) }"
    )
    found = grads(model, {"x": np.ones((2, 3), np.float32)}, wrt=["x", "w"])
    np.testing.assert_array_equal(found["grad/x"], [[1, 2, 3], [1, 2, 3]])
    np.testing.assert_array_equal(found["grad/w"], [2, 2, 2])


def test_model_local_functions_are_differentiated():
    model = parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 18, "local" : 1]>
        net (float[3] x) => (float[3] y) { a = local.twice (x) y = Exp (a) }
        <domain: "local", opset_import: ["" : 18]> twice (v) => (w) { w = Add (v, v) }"""
    )
    x = np.array([0.1, -0.2, 0.3], np.float32)
    found = grads(model, {"x": x})
    np.testing.assert_allclose(found["grad/x"], 2 * np.exp(2 * x), rtol=1e-6)
    np.testing.assert_array_equal(found["y"], run(model, {"x": x})["y"])


def test_float16_models_are_differentiated_in_float32():
    wide, narrow = convnet(), convnet()
    for value in (*narrow.graph.input, *narrow.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    for tensor in (*narrow.graph.initializer, *wide.graph.initializer):
        rounded = numpy_helper.to_array(tensor).astype(np.float16)
        kind = np.float16 if tensor in list(narrow.graph.initializer) else np.float32
        tensor.CopyFrom(numpy_helper.from_array(rounded.astype(kind), tensor.name))
    x = X.astype(np.float16)
    found = grads(narrow, {"x": x}, wrt=["x", "w1"])
    expected = grads(wide, {"x": x.astype(np.float32)}, wrt=["x", "w1"])
    np.testing.assert_array_equal(found["y"], run(narrow, {"x": x})["y"])
    for name in ("grad/x", "grad/w1"):
        assert found[name].dtype == np.float32
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-7)


# -- names -----------------------------------------------------------------------------------------


def test_taken_names_are_evaded():
    model = parsed(
        '(float[2] x) => (float[2] y) { "grad/x" = Exp (x) "seed/y" = Neg ("grad/x") y = Sin ("seed/y") }'
    )
    result = gradient(model)
    assert names(result.graph.input) == ["x", "seed/y/2"]
    assert names(result.graph.output) == ["y", "grad/x/2"]
    x = np.array([0.5, -0.5], np.float32)
    found = run(result, {"x": x, "seed/y/2": np.ones(2, np.float32)})
    np.testing.assert_allclose(found["grad/x/2"], -np.cos(-np.exp(x)) * np.exp(x), rtol=1e-5)


def test_a_model_that_uses_our_own_prefix():
    model = parsed('(float[2] x) => (float[2] y) { "onnxlens/Exp_1" = Exp (x) y = Exp ("onnxlens/Exp_1") }')
    x = np.array([0.5, -0.5], np.float32)
    np.testing.assert_allclose(grads(model, {"x": x})["grad/x"], np.exp(np.exp(x)) * np.exp(x), rtol=1e-5)


@pytest.mark.parametrize("name", ["a b", "ä/ö:0", "../x", "x\n", "名"])
def test_odd_names(name):
    node = helper.make_node("Exp", [name], ["y"])
    value = helper.make_tensor_value_info
    model = helper.make_model(
        helper.make_graph([node], "g", [value(name, 1, [2])], [value("y", 1, [2])]),
        ir_version=8,
        opset_imports=[helper.make_opsetid("", 18)],
    )
    found = grads(model, {name: np.zeros(2, np.float32)})
    np.testing.assert_array_equal(found[f"grad/{name}"], np.ones(2))


def test_the_callers_object_and_file_are_unchanged(tmp_path):
    model = convnet(opset=11)
    before = model.SerializeToString(deterministic=True)
    gradient(model, wrt=["x", "w1"])
    assert model.SerializeToString(deterministic=True) == before
    path = tmp_path / "net.onnx"
    onnx.save(model, path)
    content = path.read_bytes()
    from_file = gradient(path)
    assert path.read_bytes() == content
    assert from_file.SerializeToString(deterministic=True) == gradient(str(path)).SerializeToString(
        deterministic=True
    )
    assert list(tmp_path.iterdir()) == [path]


# -- rules -----------------------------------------------------------------------------------------


def test_rules_by_name_by_table_and_by_node():
    model = convnet()
    model.graph.node[1].name = "the one"
    silent = {"the one": lambda g, y, x: g * 0}
    assert abs(grads(model, {"x": X}, rules="gradient")["grad/x"]).max() > 0
    assert abs(grads(model, {"x": X}, rules=VJP | silent)["grad/x"]).max() == 0
    double = VJP | {"Relu": lambda g, y, x: 2 * VJP["Relu"](g, y, x)}
    np.testing.assert_allclose(
        grads(model, {"x": X}, rules=double)["grad/x"], 2 * grads(model, {"x": X})["grad/x"], rtol=1e-6
    )


def test_a_rule_may_be_given_for_an_operator_of_another_domain():
    model = parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 18, "com.microsoft" : 1]>
        net (float[3] x) => (float[3] y) { y = com.microsoft.QuickGelu <alpha: float = 1.0> (x) }"""
    )
    x = np.array([0.5, -1, 2], np.float32)

    def quick(g, y, x, alpha):
        s = op.Sigmoid(x * alpha)
        return g * (s + x * alpha * s * (1 - s))

    found = grads(model, {"x": x}, of="y", rules=VJP | {"com.microsoft:QuickGelu": quick})
    s = 1 / (1 + np.exp(-x))
    np.testing.assert_allclose(found["grad/x"], s + x * s * (1 - s), rtol=1e-5)


INVERTED = """<ir_version: 8, opset_import: ["" : 18, "com.microsoft" : 1]>
net (float[2,3,3] x) => (float[2,3] y) {
    d = com.microsoft.Inverse (x)  m = MatMul (d, d)  y = ReduceMean <keepdims = 0>(m, a)
}"""


def inverse(g, y, x):
    """d(X⁻¹) = -X⁻¹ dX X⁻¹."""
    turned = op.Transpose(y, perm=[0, 2, 1])
    return -(turned @ g @ turned)


def inverting():
    model = parser.parse_model(INVERTED)
    model.graph.initializer.append(numpy_helper.from_array(np.array([2]), "a"))
    return model


@pytest.mark.parametrize("key", ["com.microsoft:Inverse", "d", "inverter"])
def test_a_rule_says_the_type_of_what_onnx_does_not_know(key):
    """ONNX infers nothing behind such an operator; what the rule says makes the rest of the graph known."""
    model, x = inverting(), np.eye(3) * 2 + 0.3 * np.random.default_rng(0).random((2, 3, 3))
    model.graph.node[0].name = "inverter"

    def rule(g, y, x):
        return inverse(g, y, x)

    rule.like = lambda x: x
    graph = gradient(model, of="y", rules={key: rule})
    assert [d.dim_value for d in graph.graph.output[-1].type.tensor_type.shape.dim] == [2, 3, 3]
    x, seed = x.astype(np.float32), np.random.default_rng(1).standard_normal((2, 3)).astype(np.float32)
    found = run(graph, {"x": x, "seed/y": seed})["grad/x"]

    def answer(x):
        d = np.linalg.inv(x.astype(float))
        return ((d @ d).mean(2) * seed).sum()

    expected = np.zeros(x.shape)
    for where in np.ndindex(*x.shape):
        step = np.zeros(x.shape)
        step[where] = 1e-4
        expected[where] = (answer(x + step) - answer(x - step)) / 2e-4
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_a_value_info_says_it_as_well():
    model = inverting()
    model.graph.value_info.append(helper.make_tensor_value_info("d", TensorProto.FLOAT, [2, 3, 3]))
    graph = gradient(model, of="y", rules={"com.microsoft:Inverse": inverse})
    assert graph.graph.output[-1].name == "grad/x"


def test_a_rule_without_a_type_is_told_what_to_add():
    with pytest.raises(
        BadRequest, match=r"com\.microsoft:Inverse.*'d'.*rule\.like = lambda x: x.*value_info"
    ) as error:
        gradient(inverting(), of="y", rules={"com.microsoft:Inverse": inverse})
    assert "\n" not in str(error.value)
    with pytest.raises(NoRule, match="give a rule for it in `rules`, whose `like` tells the type"):
        gradient(inverting(), of="d")


def test_unknown_rules_are_refused_with_the_nearest():
    with pytest.raises(BadRequest, match="guided"):
        gradient(convnet(), rules="giuded")


# -- refusals --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wanted", "near"), [({"of": "score"}, "score"), ({"wrt": "imput"}, "input")])
def test_unknown_names_are_refused_with_the_nearest(wanted, near):
    model = parsed("(float[2] input) => (float[2] scores) { h = Exp (input) scores = Sin (h) }")
    with pytest.raises(BadRequest, match=f"nearest: .*{near}") as error:
        gradient(model, **wanted)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("wanted", [{"of": "i"}, {"wrt": "i"}, {"wrt": "k"}])
def test_integers_have_no_gradient(wanted):
    model = parsed("(float[4] x, int64[2] k) => (float[2] y) { i = Identity (k) y = Gather (x, i) }")
    with pytest.raises(BadRequest, match="int64"):
        gradient(model, **wanted)


def test_an_operator_without_a_rule_is_named():
    model = parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 18, "acme" : 1]>
        net (float[3] x) => (float[3] y) { a = Exp (x) b = acme.Warp (a) y = Neg (b) }"""
    )
    model.graph.node[1].name = "warp core"
    with pytest.raises(NoRule, match="Warp") as error:
        gradient(model, of="y")
    assert "warp core" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_rule_is_missed_only_on_the_way():
    model = parsed(
        """(float[3,3] x) => (float[3,3] y, float[3,3] z) {
            y = com.microsoft.Inverse (x) z = Exp (x)
        }"""
    )
    found = grads(model, {"x": np.zeros((3, 3), np.float32)}, of="z")
    np.testing.assert_array_equal(found["grad/x"], np.ones((3, 3)))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(BadModel, match="no such file"):
        gradient(tmp_path / "nothing.onnx")


def test_a_first_state_of_open_shape_costs_a_recurrent_layer_nothing():
    """Paddle repeats a state as often as there are photos; no step has to look that up."""
    model = parsed(
        """(float[3,N,6] x) => (float[3,1,N,4] y) {
            count = Shape <start = 1, end = 2> (x)
            ones = Constant <value_ints = [1, 1]> ()
            one = Constant <value = float[1,1,4] {0.5, -1.0, 0.25, 2.0}> ()
            times = Concat <axis = 0> (count, ones)
            repeated = Tile (one, times)
            h = Transpose <perm = [1, 0, 2]> (repeated)
            y, last = LSTM <hidden_size = 4> (x, w, r, , , h, h)
        }""",
        w=RNG.standard_normal((1, 16, 6)),
        r=RNG.standard_normal((1, 16, 4)),
    )
    training = gradient(model, of="y", wrt="x")
    assert "NonZero" not in {node.op_type for node in training.graph.node}
    x, g, step = (RNG.standard_normal(s).astype(np.float32) for s in ((3, 2, 6), (3, 1, 2, 4), (3, 2, 6)))
    slope = run(training, {"x": x, "seed/y": g})["grad/x"]
    up, down = (run(model, {"x": x + by * step})["y"] for by in (0.01, -0.01))
    np.testing.assert_allclose((slope * step).sum(), ((up - down) * g).sum() / 0.02, rtol=1e-2)
