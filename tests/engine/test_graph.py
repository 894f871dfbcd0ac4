"""Expressions: what they emit, what they know of types and shapes, and how they fail."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from oracles.networks import run

from onnxlens.engine.errors import BadModel, BadRequest
from onnxlens.engine.graph.graph import Graph, op


@pytest.fixture
def graph():
    return Graph({"": 18})


def computed(graph, y, **feeds):
    other = graph.copy()
    other.output(other[y.name], "result")
    return run(other.to_model(["result"]), feeds)["result"]


def test_arithmetic_is_what_it_looks_like(graph):
    a, b = graph.input("a", np.float32, [2, 3]), graph.input("b", np.float32, [3])
    x = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
    v = np.array([1, 2, 4], np.float32)
    cases = [
        (a + b, x + v), (a - b, x - v), (a * b, x * v), (a / b, x / v), (-a, -x), (a**2, x**2),
        (a @ b, x @ v),
        (1 + a, 1 + x), (1 - a, 1 - x), (2 * a, 2 * x), (1 / a, 1 / x), (a > 3, x > 3), (a < b, x < v),
        (a >= 3, x >= 3), (a <= 3, x <= 3), (a.sum([1]), x.sum(1, keepdims=True)), (a.sum([]), x),
        (a.sum(keepdims=False), x.sum()), (a.mean([0], keepdims=False), x.mean(0)),
    ]  # fmt: skip
    for y, expected in cases:
        assert y.shape == expected.shape
        assert y.dtype == expected.dtype
        found = computed(graph, y, a=x, b=v)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int64])
def test_literals_take_the_type_of_their_neighbours(graph, dtype):
    x = graph.input("x", dtype, [2])
    for y in (x + 1, 1 + x, x * 2, op.Max(x, 0), op.Where(x > 0, x, 0), op.Where([True, False], 0, x)):
        assert y.dtype == dtype
        assert y.shape == (2,)


def test_literals_take_the_type_that_the_operator_asks_for(graph):
    x = graph.input("x", np.float32, [2, 3])
    y = op.Reshape(x, [3, -1])
    assert y.shape == (3, 2)
    assert graph[graph.nodes[-1].input[1]].dtype == np.int64
    assert op.Slice(x, [0], [1], [1]).shape == (2, 1)
    assert op.Where([[True], [False]], x, 0).shape == (2, 3)


def test_equal_literals_are_shared_and_unequal_types_are_not(graph):
    x, z = graph.input("x", np.float32, [2]), graph.input("z", np.float64, [2])
    _ = x + 1, x * 1, z + 1
    assert sorted(str(graph[c].dtype) for c in graph.constants) == ["float32", "float64"]
    assert graph.constant(0.0).name != graph.constant(-0.0).name


def test_missing_inputs_and_attributes(graph):
    x = graph.input("x", np.float32, [4])
    y = op.Clip(x, None, 1.0)
    assert list(graph.nodes[-1].input)[:2] == ["x", ""]
    assert op.Clip(x, 0.0, None).shape == (4,)
    assert len(graph.nodes[-1].input) == 2
    op.LeakyRelu(x, alpha=None)
    assert not graph.nodes[-1].attribute
    np.testing.assert_array_equal(computed(graph, y, x=np.array([0, 1, 2, -3], np.float32)), [0, 1, 1, -3])


def test_several_outputs(graph):
    x = graph.input("x", np.float32, [5, 2])
    a, b = op.Split(x, [2, 3], axis=0, outputs=2)
    assert (a.shape, b.shape) == ((2, 2), (3, 2))


def test_sizes_that_are_known_are_constants(graph):
    x = graph.input("x", np.float32, [2, 3])
    np.testing.assert_array_equal(x.dims.array, [2, 3])
    np.testing.assert_array_equal(x.dim(1).array, [3])
    assert graph.nodes == []


def test_sizes_that_are_symbols_are_computed(graph):
    x = graph.input("x", np.float32, ["N", 3])
    assert x.shape == ("N", 3)
    feeds = {"x": np.zeros((5, 3), np.float32)}
    np.testing.assert_array_equal(computed(graph, x.dims, **feeds), [5, 3])
    np.testing.assert_array_equal(computed(graph, x.dim(0), **feeds), [5])
    np.testing.assert_array_equal(x.dim(1).array, [3])


def test_like_gives_the_shape_of_another(graph):
    x, flat = graph.input("x", np.float32, [2, 3]), graph.input("flat", np.float32, [6])
    assert flat.like(x).shape == (2, 3)
    count = len(graph.nodes)
    assert x.like(x).name == "x"
    assert len(graph.nodes) == count


@pytest.mark.parametrize("n", [0, 1, 4])
def test_like_works_at_run_time(graph, n):
    x, flat = graph.input("x", np.float32, ["N", 3]), graph.input("flat", np.float32, ["M"])
    found = computed(
        graph, flat.like(x), x=np.zeros((n, 3), np.float32), flat=np.arange(3 * n, dtype=np.float32)
    )
    np.testing.assert_array_equal(found, np.arange(3 * n).reshape(n, 3))


def test_like_of_an_empty_shape(graph):
    x, other = graph.input("x", np.float32, [0, 3, 4]), graph.input("other", np.float32, [3, 4, 0])
    found = computed(
        graph, other.like(x), x=np.zeros((0, 3, 4), np.float32), other=np.zeros((3, 4, 0), np.float32)
    )
    assert found.shape == (0, 3, 4)


def test_a_wrong_expression_fails_on_its_own_line_and_names_the_operator(graph):
    x, y = graph.input("x", np.float32, [2, 3]), graph.input("y", np.float32, [2, 3])
    with pytest.raises(BadModel, match="MatMul") as error:
        _ = x @ y
    assert "\n" not in str(error.value)
    with pytest.raises(BadModel, match="Add"):
        _ = x + graph.input("z", np.int64, [3])
    with pytest.raises(BadModel, match="NoSuchThing"):
        op.NoSuchThing(x)


def test_an_unknown_rank_is_an_error_and_not_a_guess(graph):
    x = graph.input("x", np.float32, None)
    assert x.shape is None
    with pytest.raises(BadModel, match="'x'"):
        _ = x.rank


def test_an_unknown_name_answers_with_the_nearest(graph):
    graph.input("image", np.float32, [1])
    with pytest.raises(BadRequest, match="image"):
        graph["imgae"]


def test_a_copy_is_independent(graph):
    x = graph.input("x", np.float32, [2])
    y = op.Relu(x)
    other = graph.copy()
    z = op.Exp(other[y.name]) + 7
    other.output(z, "z")
    other.metadata["k"] = "v"
    assert z.name not in graph
    assert len(graph.nodes) == 1
    assert not graph.constants
    assert graph.outputs == []
    assert graph.metadata == {}
    op.Neg(y)
    assert len(other.nodes) == 4
    assert set(graph.value_names()) >= {"x", y.name}


def test_names_given_out_are_never_taken(graph):
    graph.input("onnxlens/Relu_1", np.float32, [2])
    names = [graph.fresh("Relu") for _ in range(5)]
    assert len({*names, "onnxlens/Relu_1"}) == 6
    assert graph.unused("free") == "free"
    assert graph.unused("onnxlens/Relu_1") == "onnxlens/Relu_1/2"


def test_a_model_holds_what_its_outputs_need_and_no_more(graph):
    x = graph.input("x", np.float32, [2])
    used, unused = op.Relu(x) + 3, op.Exp(x) * 5
    graph.output(used, "y")
    graph.output(unused, "z")
    model = graph.to_model(["y"])
    onnx.checker.check_model(model, full_check=True)
    assert [n.op_type for n in model.graph.node] == ["Relu", "Add", "Identity"]
    assert len(model.graph.initializer) == 1
    assert [o.name for o in graph.to_model().graph.output] == ["y", "z"]


def test_weights_may_stay_outside(graph):
    x = graph.input("x", np.float32, [2, 2000])
    weight = np.ones((2000, 3), np.float32)
    graph.output(x @ weight + 1, "y")
    model = graph.to_model(weights=False)
    outside = [t for t in model.graph.initializer if t.data_location == TensorProto.EXTERNAL]
    assert [tuple(t.dims) for t in outside] == [(2000, 3)]
    assert not outside[0].raw_data
    assert model.ByteSize() < 2000
    assert run(graph.to_model(), {"x": np.ones((2, 2000), np.float32)})["y"].tolist() == [[2001] * 3] * 2


def test_what_a_graph_inside_a_node_reads_is_kept(graph):
    x = graph.input("x", np.float32, [2])
    y = op.Exp(x)
    body = helper.make_graph(
        [helper.make_node("Neg", [y.name], ["inner"])],
        "body",
        [],
        [helper.make_tensor_value_info("inner", TensorProto.FLOAT, [2])],
    )
    condition = graph.constant(np.array(True))
    graph.add(helper.make_node("If", [condition.name], ["z"], then_branch=body, else_branch=body))
    found = run(graph.to_model(["z"]), {"x": np.zeros(2, np.float32)})
    np.testing.assert_array_equal(found["z"], [-1, -1])
