"""Rewrites: each against the graph before it, and the model's own answers to the bit."""

import os
import re
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import numpy_helper
from oracles.compositions import models
from oracles.networks import parsed, randomised

from onnxlens.engine.attribution.explainer import Explainer
from onnxlens.engine.attribution.methods import METHODS
from onnxlens.engine.attribution.units import chosen, projected, units
from onnxlens.engine.autodiff.gradient import training_graph
from onnxlens.engine.canonical.canonical import canonical
from onnxlens.engine.errors import BadRequest
from onnxlens.engine.graph.graph import Graph, op
from onnxlens.engine.runtime.chain import Chain
from onnxlens.engine.runtime.network import Network
from onnxlens.engine.runtime.optimise import optimised
from onnxlens.engine.runtime.rewrites import REWRITES
from onnxlens.engine.runtime.session import Session
from onnxlens.models import embedded

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
QUIET = {"derandomize": True, "deadline": None, "database": None, "suppress_health_check": list(HealthCheck)}


def operators(graph):
    """How many nodes of each operator the outputs need."""
    return Counter(n.op_type for n in graph.ancestors(graph.outputs))


def feeds_for(graph, seed=0, batch=2):
    rng = np.random.default_rng(seed)
    found = {}
    for name in graph.inputs:
        value = graph[name]
        shape = [d if isinstance(d, int) else batch for d in value.shape]
        found[name] = rng.standard_normal(shape).astype(value.dtype)
    return found


def compare(graph, feeds=None, exact=()):
    """Both ways of computing the graph's outputs; the rewritten graph."""
    feeds = feeds_for(graph) if feeds is None else feeds
    new = optimised(graph, graph.outputs)
    assert max(Counter(new.value_names()).values()) == 1
    plain, fast = (kind(g, graph.outputs, threads=1)(feeds) for kind, g in ((Session, graph), (Chain, new)))
    for name in graph.outputs:
        assert fast[name].shape == plain[name].shape
        assert fast[name].dtype == plain[name].dtype
        if name in exact:
            np.testing.assert_array_equal(fast[name], plain[name])
        else:
            largest = np.abs(plain[name]).max(initial=0)
            np.testing.assert_allclose(fast[name], plain[name], rtol=0, atol=1e-5 * largest)
    return new


def model(body, **weights):
    return parsed(body, **{k: np.asarray(w, np.float32) for k, w in weights.items()})


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# -- transposed convolutions -----------------------------------------------------------------------------


@settings(max_examples=150, **QUIET)
@given(
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    pads=st.tuples(*[st.integers(0, 2)] * 4),
    more=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    group=st.sampled_from([1, 2, 4]),
)
def test_transposed_convolutions(size, kernel, stride, dilation, pads, more, group):
    more = [min(m, stride - 1) for m in more]
    line = [(n - 1) * stride + (k - 1) * dilation + 1 for n, k in zip(size, kernel, strict=True)]
    if min(line[i] - pads[i] - pads[2 + i] + more[i] for i in (0, 1)) < 1:
        return
    graph = Graph({"": 18})
    g = graph.input("g", np.float32, (2, 4, *size))
    attrs = {"strides": [stride] * 2, "dilations": [dilation] * 2, "pads": pads, "group": group}
    y = op.ConvTranspose(g, graph.constant(drawn(4, 3, *kernel)), output_padding=more, **attrs)
    graph.output(y, "y")
    compare(graph)


def test_the_gradients_of_convolutions_are_convolutions():
    body = """(float[N,4,11,10] x) => (float[N,8,a,b] y) {
        a = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(x, w, b)
        y = Conv<kernel_shape=[3,3], pads=[1,1,0,0], group=4>(a, v)
    }"""
    graph = training_graph(model(body, w=drawn(4, 4, 3, 3), b=drawn(4), v=drawn(8, 1, 3, 3)))
    assert operators(compare(graph, exact="y"))["ConvTranspose"] == 0


@pytest.mark.parametrize("stride", [1, 2])
def test_the_factors_of_a_normalisation_go_into_the_kernel(stride):
    body = f"""(float[1,4,6,6] x) => (float[1,8,h,w] y) {{
        a = Conv<kernel_shape=[1,1], strides=[{stride},{stride}]>(x, w)
        y = BatchNormalization(a, scale, bias, mean, var)
    }}"""
    parameters = {k: np.abs(drawn(8, seed=i)) for i, k in enumerate(("scale", "bias", "mean", "var"))}
    graph = training_graph(model(body, w=drawn(8, 4, 1, 1), **parameters))
    assert operators(compare(graph, exact="y"))["Mul"] == 0


def test_gradients_of_the_parameters_are_still_there():
    body = """(float[1,4,6,6] x) => (float[1,8,6,6] y) {
        a = Conv<kernel_shape=[1,1]>(x, w)
        y = BatchNormalization(a, scale, bias, mean, var)
    }"""
    parameters = {k: np.abs(drawn(8, seed=i)) for i, k in enumerate(("scale", "bias", "mean", "var"))}
    source = model(body, w=drawn(8, 4, 1, 1), **parameters)
    compare(training_graph(source, wrt=["x", "w", *parameters]))


def test_products_of_weights_are_made_once():
    body = "(float[1,4,6,6] x) => (float[1,8,6,6] y) { y = Conv<kernel_shape=[1,1]>(x, w) }"
    graph = training_graph(model(body, w=drawn(8, 4, 1, 1)), rules="lrp-w-square")
    assert operators(graph)["Mul"] > operators(compare(graph, exact="y"))["Mul"]


# -- gates and pools ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("rules", ["gradient", "guided", "deconvnet"])
@pytest.mark.parametrize("rectifier", ["Relu(a)", "Clip(a, low, high)", "Clip(a, , high)"])
def test_gates_are_exact(rectifier, rules):
    body = f"(float[2,16,5,5] x) => (float[2,16,5,5] y) {{ a = Conv(x, w)  y = {rectifier} }}"
    graph = training_graph(model(body, w=np.eye(16)[:, :, None, None], low=0.0, high=6.0), rules=rules)
    feeds = feeds_for(graph)
    tiny, six = np.finfo(np.float32).tiny, np.float32(6)  # what is not normalised may fall on either side
    near = np.array([-tiny, 0, tiny, np.nextafter(six, 0), six, np.nextafter(six, 9 * six)], np.float32)
    feeds["x"].flat[: near.size] = near
    feeds["x"].flat[near.size :] *= 4
    new = compare(graph, feeds, exact=graph.outputs)
    assert operators(new)["Where"] == 0


@pytest.mark.parametrize("bound", [1.0, 3.0, 0.1, 1e-3, 12345.678])
def test_an_upper_bound_is_met_to_the_last_bit(bound):
    body = "(float[N,16,1,1] x) => (float[N,16,1,1] y) { y = Clip(x, , high) }"
    graph = training_graph(model(body, high=bound))
    bound = np.float32(bound)
    near = [
        bound,
        np.nextafter(bound, np.float32(0)),
        np.nextafter(bound, np.float32(np.inf)),
        -bound,
        2 * bound,
    ]
    feeds = {"x": np.resize(np.array(near, np.float32), (5, 16, 1, 1)), "seed/y": drawn(5, 16, 1, 1)}
    assert operators(compare(graph, feeds, exact=graph.outputs))["HardSigmoid"] == 1


def test_a_gate_behind_an_infinite_slope_still_shuts_it_off():
    body = "(float[1,3] x) => (float[1,3] y) { a = Relu(x)  y = Sqrt(a) }"
    graph = training_graph(model(body))
    feeds = {"x": np.array([[-1, 0, 4]], np.float32), "seed/y": np.ones((1, 3), np.float32)}
    new = compare(graph, feeds, exact=graph.outputs)
    assert operators(new)["Where"] == 1
    np.testing.assert_array_equal(Chain(new, threads=1)(feeds)["grad/x"], [[0, 0, 0.25]])


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(
    "window",
    [
        "kernel_shape=[2,2], strides=[2,2]",
        "kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]",
        "kernel_shape=[3,2], strides=[2,1], pads=[0,1,1,0], ceil_mode=1",
        "kernel_shape=[2,2], dilations=[2,2]",
        'kernel_shape=[3,3], strides=[2,2], auto_pad="SAME_UPPER"',
    ],
)
@pytest.mark.parametrize("relu", [False, True])
def test_pools_run_as_kernels(window, ties, relu):
    first = "Relu" if relu else "Identity"
    body = f"(float[N,3,9,8] x) => (float[N,3,h,w] y) {{ a = {first}(x)  y = MaxPool<{window}>(a) }}"
    graph = training_graph(model(body))
    feeds = feeds_for(graph)
    if ties:
        feeds["x"] = np.round(feeds["x"])
    count = operators(compare(graph, feeds, exact="y"))
    assert count["MaxPoolGradient"] == 1
    assert count["ScatterElements"] == count["Where"] == count["HardSigmoid"] == 0


def test_gates_of_what_was_joined_before_a_pool_go_into_the_kernel():
    body = """(float[N,4,8,8] x) => (float[N,h,i,j] y) {
        a = Conv(x, w)  b = Relu(a)
        c = Conv(x, v)  d = Relu(c)
        e = Concat<axis=1>(b, d)
        y = MaxPool<kernel_shape=[3,3], strides=[2,2]>(e)
    }"""
    graph = training_graph(model(body, w=drawn(3, 4, 1, 1), v=drawn(5, 4, 1, 1)))
    count = operators(compare(graph, exact="y"))
    assert count["MaxPoolGradient"] == 2  # one for each part, and nothing to take apart
    assert count["Split"] == count["Where"] == count["HardSigmoid"] == 0


def test_a_part_without_a_gate_keeps_its_gradient():
    body = """(float[N,4,8,8] x) => (float[N,h,i,j] y) {
        a = Conv(x, w)  b = Relu(a)  c = Conv(x, v)
        e = Concat<axis=1>(b, c)
        y = MaxPool<kernel_shape=[3,3], strides=[2,2]>(e)
    }"""
    compare(training_graph(model(body, w=drawn(3, 4, 1, 1), v=drawn(5, 4, 1, 1))), exact="y")


def test_a_joined_gradient_is_made_in_parts():
    body = """(float[N,4,6,6] x) => (float[N,h,i,j] y) {
        a = Conv(x, w)  b = Relu(a)  c = Conv(x, v)  d = Relu(c)
        e = Concat<axis=1>(b, d)
        y = Conv<kernel_shape=[3,3], pads=[1,1,1,1]>(e, u)
    }"""
    graph = training_graph(model(body, w=drawn(16, 4, 1, 1), v=drawn(16, 4, 1, 1), u=drawn(8, 32, 3, 3)))
    count = operators(compare(graph, exact="y"))
    assert count["Split"] == count["ConvTranspose"] == 0


def test_a_sum_has_all_its_parts_in_blocks():
    body = """(float[N,4,6,6] x) => (float[N,16,1,1] y) {
        a = Conv(x, w)  b = Relu(a)  c = Conv(b, u)  d = Relu(c)
        e = Add(b, d)  y = GlobalAveragePool(e)
    }"""
    graph = training_graph(model(body, w=drawn(16, 4, 1, 1), u=drawn(16, 16, 1, 1)))
    count = operators(compare(graph, exact="y"))
    assert (
        operators(graph)["AveragePool"] == 0 < count["AveragePool"]
    )  # of one pixel, which does nothing else


# -- one class ---------------------------------------------------------------------------------------------


HEADS = {
    "conv": "a = Conv(f, u)  r = Relu(a)  m = GlobalAveragePool(r)  y = Flatten(m)",
    "conv without a gate": "a = Conv(f, u)  m = GlobalAveragePool(a)  y = Flatten(m)",
    "gemm": "m = GlobalAveragePool(f)  n = Flatten(m)  y = Gemm<transB=1>(n, v, b)",
    "matmul": "m = GlobalAveragePool(f)  n = Flatten(m)  p = MatMul(n, t)  y = Add(p, b)",
    "gated": "m = GlobalAveragePool(f)  n = Flatten(m)  p = MatMul(n, t)  y = Clip(p, , top)",
}
BODIES = {
    "plain": "c = Conv(x, w)  f = Relu(c)",
    "joined": "c = Conv(x, w1)  d = Relu(c)  e = Conv(x, w2)  g = Relu(e)  f = Concat<axis=1>(d, g)",
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("body", BODIES)
def test_of_the_weights_of_the_classes_one_row_is_read(head, body):
    text = f"{BODIES[body]}  {HEADS[head]}"
    w = drawn(16, 4, 1, 1)
    weights = {
        "w": w,
        "w1": w[:6],
        "w2": w[6:],
        "u": drawn(5, 16, 1, 1),
        "v": drawn(5, 16),
        "t": drawn(16, 5),
    }
    weights |= {"b": drawn(5), "top": 0.1}
    used = {k: v for k, v in weights.items() if re.search(rf"\b{k}\b", text)}
    graph = canonical(model(f"(float[N,4,7,6] x) => (float[N,5] y) {{ {text} }}", **used))
    layer, maps = units(graph, None)
    channel, position = (graph.input(name, np.int64, ["N"]) for name in ("channel", "position"))
    _, *unit = chosen(maps, channel, position)
    signal = projected(layer, maps, graph["x"], (unit[0], unit[1], unit[2]), METHODS["saliency"].compute)
    graph.outputs = []
    graph.output(signal, "signal")
    feeds = {"x": drawn(3, 4, 7, 6, seed=3), "channel": np.array([1, 4, -1]), "position": np.full(3, -1)}
    count = operators(compare(graph, feeds))
    by_conv = "conv" in head
    assert count["Gemm"] + count["MatMul"] == (not by_conv)  # those of the way forward
    assert count["Conv"] == 2 * (1 + (body == "joined")) + by_conv


# -- means -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["conv", "gemm", "deep"])
def test_grad_cam_behind_a_linear_head_has_no_map_of_gradients(head):
    conv = "Conv<kernel_shape=[3,3], pads=[1,1,1,1]>"
    ends = {
        "conv": "b = Conv(f, u)  r = Relu(b)  m = GlobalAveragePool(r)  y = Flatten(m)",
        "gemm": "m = GlobalAveragePool(f)  n = Flatten(m)  y = MatMul(n, v)",
        "deep": f"b = {conv}(f, t)  r = Relu(b)  m = GlobalAveragePool(r)  y = Flatten(m)",
    }
    body = f"(float[N,4,7,6] x) => (float[N,5] y) {{ a = Conv(x, w)  f = Relu(a)  {ends[head]} }}"
    weights = {"u": drawn(5, 16, 1, 1), "v": drawn(16, 5), "t": drawn(5, 16, 3, 3)}
    used = {"conv": "u", "gemm": "v", "deep": "t"}[head]
    source = model(body, w=drawn(16, 4, 1, 1), **{used: weights[used]})
    explainer = Explainer(Network(source, provider="cpu", threads=1), layer="f")
    feeds = {"x": drawn(2, 4, 7, 6, seed=3), "target": np.array([1, 4])}
    new = compare(explainer.graph, feeds, exact=["class", "score", "y"])
    assert operators(new)["ReduceMean"] == (head == "deep")
    assert operators(new)["Expand"] == (head == "deep")


DENSE = {
    "gemm": "r = Gemm<transB=1>(n, d, b)",
    "not turned": "r = Gemm(n, t, b)",
    "matmul": "p = MatMul(n, t)  r = Add(p, b)",
}


@pytest.mark.parametrize("dense", DENSE)
@pytest.mark.parametrize(
    "pool", ["kernel_shape=[2,2], strides=[2,2]", "kernel_shape=[3,3], pads=[1,1,1,1]", ""]
)
def test_grad_cam_before_dense_layers_has_no_map_of_gradients(dense, pool):
    pooled = f"q = MaxPool<{pool}>(f)" if pool else "q = Identity(f)"
    body = f"""(float[N,4,8,6] x) => (float[N,5] y) {{
        a = Conv(x, w)  f = Relu(a)  {pooled}  n = Flatten(q)  {DENSE[dense]}  s = Relu(r)  y = MatMul(s, v)
    }}"""
    size = 16 * (4 * 3 if "strides" in pool else 8 * 6)
    weights = {"d" if dense == "gemm" else "t": drawn(*((9, size) if dense == "gemm" else (size, 9)))}
    source = model(body, w=drawn(16, 4, 1, 1), b=drawn(9), v=drawn(9, 5), **weights)
    explainer = Explainer(Network(source, provider="cpu", threads=1), layer="f")
    feeds = {"x": drawn(2, 4, 8, 6, seed=3), "target": np.array([1, 4])}
    new = compare(explainer.graph, feeds, exact=["class", "score", "y"])
    count = operators(new)
    assert count["ReduceMean"] == count["MaxPoolGradient"] == count["GlobalAveragePool"] == 0


# -- whole models ------------------------------------------------------------------------------------------


def test_every_rewrite_applies_in_one_of_these(monkeypatch):
    applied = set()

    def seen(name, rewrite):
        def run(graph, node):
            if (found := rewrite(graph, node)) is not None:
                applied.add(name)
            return found

        return run

    for name, rewrite in list(REWRITES.items()):
        monkeypatch.setitem(REWRITES, name, seen(name, rewrite))
    test_the_factors_of_a_normalisation_go_into_the_kernel(1)
    test_products_of_weights_are_made_once()
    test_gates_are_exact("Relu(a)", "gradient")
    test_pools_run_as_kernels("kernel_shape=[2,2], strides=[2,2]", False, True)
    test_a_joined_gradient_is_made_in_parts()
    for head in HEADS:
        test_of_the_weights_of_the_classes_one_row_is_read(head, "joined")
    test_grad_cam_behind_a_linear_head_has_no_map_of_gradients("gemm")
    test_a_sum_has_all_its_parts_in_blocks()
    assert REWRITES.keys() - applied == set()


def test_the_models_own_nodes_stay():
    body = """(float[1,4,6,6] x) => (float[1,4,h,i] y) {
        a = ConvTranspose<strides=[2,2]>(x, w)
        b = Greater(a, zero)
        y = Where(b, a, zero)
    }"""
    network = Network(model(body, w=drawn(4, 4, 3, 3), zero=0.0), provider="cpu")
    graph = network.graph
    assert [n.op_type for n in optimised(graph, ["y"]).nodes] == [n.op_type for n in graph.nodes]


@settings(max_examples=150, **QUIET)
@given(models())
def test_random_graphs(given_):
    source, feeds = in_float32(given_[0]), {k: v.astype(np.float32) for k, v in given_[1].items()}
    outputs = [o.name for o in source.graph.output]
    graph = training_graph(source, of=outputs, wrt=list(feeds))
    rng = np.random.default_rng(0)
    seeds = {s: rng.standard_normal(graph[s].shape, np.float32) for s in graph.inputs if s not in feeds}
    compare(graph, {**feeds, **seeds}, exact=outputs)


def in_float32(source):
    for value in (*source.graph.input, *source.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    weights = {t.name: numpy_helper.to_array(t) for t in source.graph.initializer}
    del source.graph.initializer[:]
    for name, array in weights.items():
        kind = np.float32 if array.dtype == np.float64 else array.dtype
        source.graph.initializer.append(numpy_helper.from_array(array.astype(kind), name))
    return source


@pytest.mark.parametrize(
    "name",
    ["bvlc_alexnet", "squeezenet", "shufflenet"]
    + [pytest.param(n, marks=pytest.mark.slow) for n in ("densenet121", "inception_v1", "inception_v2")]
    + [pytest.param(n, marks=pytest.mark.slow) for n in ("resnet50", "vgg19", "zfnet512")],
)
def test_architectures(name):
    graph = training_graph(randomised(onnx.load(LIGHT / f"light_{name}.onnx")))
    compare(graph, exact=graph.outputs[:1])


def test_the_embedded_model():
    graph = training_graph(embedded.path(), rules="guided")
    compare(graph, exact=graph.outputs[:1])


@pytest.mark.skipif("ONNXLENS_TEST_DATA" not in os.environ, reason="ONNXLENS_TEST_DATA is not set")
def test_a_real_network_in_float16():
    path = Path(os.environ["ONNXLENS_TEST_DATA"]) / "models/squeezenet1.1-caffe2-fp16.onnx"
    graph = training_graph(path, wrt="fire2/concat_1")
    compare(graph, exact=graph.outputs[:1])


@pytest.mark.reference
def test_the_families_of_vision_networks():
    torch = pytest.importorskip("torch")
    from oracles.architectures import ARCHITECTURES, made, picture
    from oracles.autograd import exported

    torch.set_num_threads(1)
    for name in ARCHITECTURES:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = training_graph(exported(made(name), picture(), "torchscript", "static"))
        feeds = {graph.inputs[0]: picture().numpy()}
        answer = Session(graph, graph.outputs[:1], threads=1)(feeds)[graph.outputs[0]]
        compare(graph, {**feeds, graph.inputs[1]: drawn(*answer.shape)}, exact=graph.outputs[:1])


# -- chains ------------------------------------------------------------------------------------------------


def pooled():
    body = """(float[N,3,8,8] x) => (float[N,3,h,w] y) {
        a = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x)
        b = Sigmoid(a)
        y = MaxPool<kernel_shape=[2,2]>(b)
    }"""
    return training_graph(model(body))


def test_a_chain_answers_like_a_session():
    network = Network(model("(float[N,3,8,8] x) => (float[N,3,8,8] y) { y = Relu(x) }"), provider="cpu")
    graph = pooled()
    chain = network.compile(graph, ["grad/x", "y"])
    assert isinstance(chain, Chain)
    assert list(chain(feeds_for(graph))) == ["grad/x", "y"]
    with pytest.raises(BadRequest, match="'seed/y' is missing"):
        chain({"x": drawn(1, 3, 8, 8)})
    with pytest.raises(BadRequest, match="x"):
        chain({"x": drawn(1, 3, 9, 8), "seed/y": drawn(1, 3, 3, 3)})
    with pytest.raises(BadRequest, match="do not fit together"):
        chain({"x": drawn(1, 3, 8, 8), "seed/y": drawn(2, 3, 3, 3)})


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_large_kernels_run_in_several_threads(threads):
    body = (
        "(float[N,37,300,200] x) => (float[N,37,h,w] y) { y = MaxPool<kernel_shape=[3,3], strides=[2,2]>(x) }"
    )
    graph = training_graph(model(body))
    feeds = feeds_for(graph)
    expected = Session(graph, graph.outputs, threads=1)(feeds)
    found = Chain(optimised(graph, graph.outputs), graph.outputs, threads=threads)(feeds)
    np.testing.assert_allclose(found["grad/x"], expected["grad/x"], rtol=0, atol=1e-5)


def test_a_chain_changes_nothing_that_it_is_given():
    graph = pooled()
    chain, feeds = Chain(optimised(graph, graph.outputs), graph.outputs), feeds_for(graph)
    before = {name: array.copy() for name, array in feeds.items()}
    found = chain(feeds)
    first = {name: array.copy() for name, array in found.items()}
    chain(feeds_for(graph, seed=1))
    for name, array in {**before, **first}.items():
        np.testing.assert_array_equal(array, {**feeds, **found}[name])


def test_other_providers_get_the_graph_as_it_is(monkeypatch):
    network = Network(model("(float[N,3,8,8] x) => (float[N,3,8,8] y) { y = Relu(x) }"), provider="cpu")
    seen = []
    monkeypatch.setattr(network, "provider", "cuda")
    monkeypatch.setattr("onnxlens.engine.runtime.network.Session", lambda graph, *rest: seen.append(graph))
    graph = pooled()
    network.compile(graph)
    assert seen == [graph]
