"""Loops whose steps are known, written out for runtimes without loops: they compute the same."""

from collections import Counter

import numpy as np
import onnxruntime
import pytest
from onnx import helper
from oracles.networks import parsed

from onnxlens.engine.autodiff.gradient import training_graph
from onnxlens.engine.autodiff.jacobian import jacobian_graph
from onnxlens.engine.canonical.canonical import canonical
from onnxlens.engine.errors import BadRequest
from onnxlens.engine.graph.nodes import every_node
from onnxlens.engine.runtime.exports.exported import RUNTIMES, exported
from onnxlens.engine.runtime.exports.loops import written_out
from onnxlens.engine.runtime.rewritten import Rewritten

SCAN = """(float[2,6,3] x, float[4,2] z) => (float[2] a, float[2,6] y, float[q,2,3] w) {
    a, y, w = Scan<num_scan_inputs = 2, scan_input_axes = [FIRST, 1], scan_input_directions = [1, 0],
                   scan_output_axes = [-1, 0], scan_output_directions = [0, 1],
        body = step (float[2] s, float[2,3] one, float[4] other) => (float[2] t, float[2] u, float[2,3] v) {
            m = ReduceSum<keepdims = 0>(one, last)
            n = ReduceSum<keepdims = 0>(other)
            t = Add(s, m)
            u = Mul(t, n)
            v = Mul(one, half)
        }>(start, x, z)
}"""
LOOP = """(float[3] x) => (float[3] y, float[q,3] r) {
    y, r = Loop<body = step (int64 i, bool on, float[3] s) => (bool go, float[3] t, float[3] u) {
        go = Identity(on)
        f = Cast<to = 1>(i)
        g = Mul(s, half)
        inner = Loop<body = deeper (int64 j, bool too, float[3] p) => (bool too, float[3] q) {
            q = Add(p, g)
        }>(two, true, s)
        t = Add(inner, f)
        u = Sub(t, x)
    }>(COUNT, true, x)
}"""
COMPUTED = """(float[3] x) => (float[3] y) {
    y = Loop<body = step (int64 i, bool on, float[3] s) => (bool go, float[3] t) {
        t = Add(s, s)
        most = ReduceMax<keepdims = 0>(t)
        go = Less(most, four)
    }>(COUNT, true, x)
}"""
CONSTANTS = {
    "start": np.ones(2, np.float32), "last": np.array([1]), "half": np.float32(0.5), "two": np.array(2),
    "three": np.array(3), "none": np.array(0), "many": np.array(10**9), "true": np.array(True),
    "four": np.float32(4),
}  # fmt: skip


def network(text):
    """Of the constants those that are read."""
    return parsed(text, **{name: value for name, value in CONSTANTS.items() if name in text})


def flattened(model):
    """The model with each Loop and Scan written out that can be."""
    graph = canonical(model)
    new = Rewritten(graph)
    for node in graph.nodes:
        results = written_out(new, node)
        if results is None:
            new.add(node)
            continue
        for name, result in zip(node.output, results, strict=True):
            new.add(helper.make_node("Identity", [result.name], [name]))
    return new.to_model()


def ran(model, feeds):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def feeds_for(model):
    rng = np.random.default_rng(0)
    shapes = {v.name: [d.dim_value or 2 for d in v.type.tensor_type.shape.dim] for v in model.graph.input}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def assert_same(model, new):
    feeds = feeds_for(model)
    for found, expected in zip(ran(new, feeds), ran(model, feeds), strict=True):
        assert found.shape == expected.shape
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max(initial=0))


def repeats(model):
    return sum(node.op_type in ("Loop", "Scan") for node in model.graph.node)


@pytest.mark.parametrize("axis", ["1", "-2"])
def test_the_axes_and_directions_of_a_scan_are_kept(axis):
    model = network(SCAN.replace("float[4,2] z", "float[4,6] z").replace("FIRST", axis))
    new = flattened(model)
    assert repeats(new) == 0
    assert_same(model, new)


def test_a_loop_in_a_loop_reads_what_is_around_both():
    model = network(LOOP.replace("COUNT", "three"))
    new = flattened(model)
    assert repeats(new) == 0
    assert_same(model, new)


@pytest.mark.parametrize(
    "text",
    [LOOP.replace("COUNT", "none"), LOOP.replace("COUNT", "many"), COMPUTED.replace("COUNT", "three")],
    ids=["no step", "too many", "steps that end when they run"],
)
def test_what_is_not_known_or_too_long_stays_a_loop(text):
    model = network(text)
    assert repeats(flattened(model)) == repeats(model) == 1


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("kind", "rows"), [("LSTM", 12), ("GRU", 9), ("RNN", 3)])
def test_recurrent_layers_are_written_out(kind, rows, direction):
    n = 1 + (direction == "bidirectional")
    layer = f'{kind}<hidden_size=3, direction="{direction}">'
    text = f"(float[5,1,4] x) => (float[5,{n},1,3] y) {{ y = {layer}(x, w, u) }}"
    rng = np.random.default_rng(0)
    model = parsed(text, w=rng.standard_normal((n, rows, 4)), u=rng.standard_normal((n, rows, 3)))
    graph = training_graph(model, wrt=["x", "w"])
    plain = graph.to_model()
    assert repeats(plain)
    for runtime in ("any", "openvino"):
        new = exported(graph, runtime).to_model()
        assert not {"Loop", "Scan", "Slice"} & {node.op_type for node in new.graph.node}, "a step of -1 trips"
        assert_same(plain, new)
    assert_openvino_agrees(new)


DENSE = "(float[2,4] x) => (float[2,3] y) { a = MatMul(x, w)  b = Tanh(a)  y = MatMul(b, u) }"


@pytest.mark.parametrize(
    "make", [lambda m: training_graph(m, seeds=3), jacobian_graph], ids=["seeds", "jacobian"]
)
def test_several_seeds_are_written_out_for_openvino(make):
    rng = np.random.default_rng(0)
    graph = make(parsed(DENSE, w=rng.standard_normal((4, 5)), u=rng.standard_normal((5, 3))))
    plain, new = graph.to_model(), exported(graph, "openvino").to_model()
    assert repeats(plain)
    assert not repeats(new)
    assert_same(plain, new)
    assert_openvino_agrees(new)


def assert_openvino_agrees(model):
    """Where it is installed."""
    openvino = pytest.importorskip("openvino")
    feeds = feeds_for(model)
    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32"}
    found = core.compile_model(core.read_model(model.SerializeToString()), "CPU", settings)(feeds)
    for i, expected in enumerate(ran(model, feeds)):
        assert np.linalg.norm(found[i] - expected) <= 1e-4 * np.linalg.norm(expected)


def test_steps_share_their_weights():
    rng = np.random.default_rng(0)
    text = "(float[9,1,4] x) => (float[9,1,1,8] y) { y = LSTM<hidden_size=8>(x, w, u) }"
    model = parsed(text, w=rng.standard_normal((1, 32, 4)), u=rng.standard_normal((1, 32, 8)))
    made = exported(training_graph(model), "openvino").to_model()
    sizes = Counter(tuple(t.dims) for t in made.graph.initializer)
    assert sizes[(32, 8)] + sizes[(8, 32)] <= 3


@pytest.mark.parametrize("runtime", ["any", "onnxruntime"])
def test_a_long_loop_costs_no_more_nodes_than_a_short_one(runtime):
    text = """(float[3] x) => (float[3] y) {
        y = Loop<body = step (int64 i, bool o, float[3] s) => (bool o, float[3] t) { t = Sin(s) }>(n, yes, x)
    }"""
    short, long = (
        exported(training_graph(parsed(text, n=np.array(n), yes=np.array(True))), runtime)
        for n in (10, 10_000)
    )
    assert len(long.nodes) <= len(short.nodes)
    assert repeats(long.to_model())


def test_steps_that_are_counted_when_it_runs_are_refused_for_openvino():
    text = "(float[T,1,4] x) => (float[T,1,1,3] y) { y = GRU<hidden_size=3>(x, w, u) }"
    rng = np.random.default_rng(0)
    graph = training_graph(parsed(text, w=rng.standard_normal((1, 9, 4)), u=rng.standard_normal((1, 9, 3))))
    with pytest.raises(BadRequest, match=r"not right with a (Scan|Loop) of gradients"):
        exported(graph, "openvino")


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_what_is_made_is_called_otherwise_than_what_stands_in_loops(runtime):
    """A recurrent layer behind gates: both are made of Sigmoids, and these would be called alike."""
    text = """(float[N,5,4] x) => (float[N,5,3] y) {
        g = Sigmoid(x)  h = HardSwish(g)  t = Transpose<perm = [1,0,2]>(h)
        l = LSTM<hidden_size = 3, layout = 0>(t, w, u)
        o = Squeeze(l, one)  b = Transpose<perm = [1,0,2]>(o)  y = Relu(b)
    }"""
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((1, 12, 4)), "u": rng.standard_normal((1, 12, 3))}
    graph = training_graph(parsed(text, **weights, one=np.array([1])))
    made = exported(graph, runtime)
    names = [o for n in every_node(made.nodes) for o in n.output if o]
    assert len(names) == len({*names})
    assert_same(graph.to_model(), made.to_model())
