"""Gradients in the words of runtimes: equal to the gradient as it is, and right where it is for."""

from collections import Counter, defaultdict

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator
from oracles.networks import parsed

from onnxlens.engine.autodiff.forward import curvature_graph, tangent_graph
from onnxlens.engine.autodiff.gradient import training_graph
from onnxlens.engine.errors import BadRequest
from onnxlens.engine.runtime.exports.exported import RUNTIMES, exported
from onnxlens.engine.runtime.exports.pools import first_maximum
from onnxlens.engine.runtime.exports.windows import looked_up_maximum
from onnxlens.engine.runtime.exports.words import narrow
from onnxlens.engine.runtime.optimise import rewritten

RESIDUAL = """(float[N,3,18,18] x) => (float[N,10] y) {
    a = Conv<pads = [1,1,1,1]>(x, w)
    b = Relu(a)
    p = MaxPool<kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1]>(b)
    c = Conv<pads = [1,1,1,1]>(p, v)
    d = HardSwish(c)
    e = Conv<pads = [1,1,1,1]>(d, u)
    f = Add(e, p)
    g = Relu(f)
    h = AveragePool<kernel_shape = [2,2], strides = [2,2]>(g)
    i = GlobalAveragePool(h)
    j = Flatten(i)
    y = MatMul(j, head)
}"""
ATTENTION = """(float[N,3,18,18] x) => (float[N,10] y) {
    cut = Conv<kernel_shape = [6,6], strides = [6,6]>(x, w)
    shape = Constant<value_ints = [0, 8, 9]>()
    flat = Reshape(cut, shape)
    t = Transpose<perm = [0,2,1]>(flat)
    a = MatMul(t, q)
    b = MatMul(t, k)
    c = Transpose<perm = [0,2,1]>(b)
    d = MatMul(a, c)
    e = Softmax(d)
    f = MatMul(e, t)
    r = Add(f, t)
    token = Constant<value_int = 1>()
    g = Gather<axis = 1>(r, token)
    y = MatMul(g, head)
}"""


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape) / np.sqrt(np.prod(shape[1:]) or 1)


def network(body):
    square = {"q": drawn(8, 8), "k": drawn(8, 8, seed=1)}
    kernels = {"v": drawn(8, 8, 3, 3), "u": drawn(8, 8, 3, 3, seed=1)}
    first = {"w": drawn(8, 3, *((3, 3) if body is RESIDUAL else (6, 6)))}
    weights = first | (kernels if body is RESIDUAL else square) | {"head": drawn(8, 10)}
    return parsed(body, **weights)


LARGE = np.random.default_rng(3).standard_normal((128, 128, 5, 5))


def feeds_for(model, batch=2):
    rng = np.random.default_rng(0)
    shapes = {v.name: [d.dim_value or batch for d in v.type.tensor_type.shape.dim] for v in model.graph.input}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def ran(model, feeds):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def compare(graph, new, feeds=None):
    """The new graph as a model, after its answers were those of the old one."""
    plain, model = graph.to_model(), new.to_model()
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    feeds = feeds or feeds_for(plain)
    for found, expected in zip(ran(model, feeds), ran(plain, feeds), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max(initial=0))
    return model


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(
    "window",
    [
        "kernel_shape=[2,2], strides=[2,2]",
        "kernel_shape=[3,3], strides=[2,2]",
        "kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]",
        "kernel_shape=[3,2], strides=[2,2], pads=[0,1,1,0], ceil_mode=1",
        "kernel_shape=[5,5], pads=[2,2,2,2]",
        "kernel_shape=[2,2], dilations=[2,2]",
        "kernel_shape=[3,3], strides=[3,3], dilations=[1,2]",
        'kernel_shape=[3,3], strides=[2,2], auto_pad="SAME_UPPER"',
        "kernel_shape=[3,2], strides=[2,1]",
        "kernel_shape=[1,3], strides=[1,2]",
        "kernel_shape=[4,4], strides=[3,2], pads=[2,1,1,2]",
        "kernel_shape=[1,1], strides=[2,2]",  # pixels that no window holds
        "kernel_shape=[3,3], strides=[2,2], dilations=[2,1]",
    ],
)
def test_the_first_of_the_greatest_takes_all_without_indices(window, ties):
    text = f"(float[2,3,9,8] x) => (float[a,b,h,w] y) {{ y = MaxPool<{window}>(x) }}"
    graph = training_graph(parsed(text))
    feeds = feeds_for(graph.to_model())
    feeds["x"] = np.round(feeds["x"]) if ties else feeds["x"]
    spelled = [rewritten(graph, graph.outputs, word) for word in (first_maximum, looked_up_maximum)]
    for new in (*spelled, exported(graph, "onnxruntime")):
        count = Counter(node.op_type for node in compare(graph, new, feeds).graph.node)
        assert not count["ScatterElements"]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(
    "conv", ["strides=[2,2]", "strides=[2,1], dilations=[1,2], pads=[1,0,1,2]", "strides=[3,3]"]
)
def test_windows_before_a_convolution_to_few_channels_are_laid_by_its_kernel(conv, ties):
    """As a network begins: nothing is written at the size of what was pooled."""
    text = f"""(float[2,3,23,21] x) => (float[a,b,h,w] y) {{ a = Conv<{conv}>(x, w) c = Relu(a)
    y = MaxPool<kernel_shape=[3,3], strides=[2,2]>(c) }}"""
    graph = training_graph(parsed(text, w=drawn(8, 3, 3, 3)), shapes={"x": (2, 3, 23, 21)})
    feeds = feeds_for(graph.to_model())
    feeds["x"] = np.round(feeds["x"]) if ties else feeds["x"]
    model = compare(graph, exported(graph, "onnxruntime"), feeds)
    assert sum(n.op_type == "ConvTranspose" for n in model.graph.node) == 2  # one down the columns


def test_large_weights_that_were_made_on_the_way_last_as_long_as_the_graph():
    graph = training_graph(parsed("(float[1,128,5,5] x) => (float[1,128,h,w] y) { y = Conv(x, w) }", w=LARGE))
    compare(graph, exported(graph, "onnxruntime"))


@pytest.mark.parametrize(("seeds", "inside"), [(3, 0), (17, 1)])
def test_a_few_seeds_are_written_out_and_share_what_is_found_once(seeds, inside):
    text = """(float[1,3,9,9] x) => (float[1,2,h,w] y) { a = Conv(x, w) r = Relu(a)
    p = MaxPool<kernel_shape=[3,3], strides=[2,2]>(r) y = Conv(p, v) }"""
    graph = training_graph(parsed(text, w=drawn(4, 3, 1, 1), v=drawn(2, 4, 2, 2)), seeds=seeds)
    count = Counter(n.op_type for n in compare(graph, exported(graph, "onnxruntime")).graph.node)
    assert (count["Scan"], count["ScatterElements"]) == (inside, seeds * (not inside))


def test_seeds_that_are_written_out_share_what_is_made_of_weights():
    """BatchNormalization's factors stand in the kernels of the way back."""
    text = """(float[1,3,9,9] x) => (float[1,8,h,w] y) { a = Conv(x, w) n = BatchNormalization(a, s, s, s, s)
    r = Relu(n) y = Conv(r, v) }"""
    weights = {"w": drawn(8, 3, 3, 3), "v": drawn(8, 8, 3, 3), "s": np.abs(drawn(8)) + 0.5}
    sizes = []
    for seeds in (1, 8):
        graph = training_graph(parsed(text, **weights), seeds=seeds)
        model = compare(graph, exported(graph, "onnxruntime"))
        sizes.append(sum(np.prod(t.dims) for t in model.graph.initializer if len(t.dims) == 4))
    assert sizes[0] == sizes[1]


def test_what_is_open_keeps_its_indices():
    text = "(float[2,3,h,w] x) => (float[a,b,c,d] y) { r = Relu(x) y = MaxPool<kernel_shape=[2,2]>(r) }"
    graph = training_graph(parsed(text))
    feeds = {"x": drawn(2, 3, 5, 6), "seed/y": drawn(2, 3, 4, 5)}
    feeds = {name: array.astype(np.float32) for name, array in feeds.items()}
    model = compare(graph, exported(graph, "onnxruntime"), feeds)
    assert "ScatterElements" in {node.op_type for node in model.graph.node}


@pytest.mark.parametrize("ties", [False, True])
def test_rectifiers_behind_pools_look_at_the_maxima(ties):
    """As squeeze networks have it: two rectified branches, joined and pooled."""
    text = """(float[2,3,9,8] x) => (float[a,b,h,w] y) { a = Conv(x, w) b = Conv(x, w2)
    c = Relu(a) d = Relu(b) e = Concat<axis=1>(c, d) y = MaxPool<kernel_shape=[3,3], strides=[2,2]>(e) }"""
    graph = training_graph(
        parsed(text, w=drawn(4, 3, 1, 1).round(), w2=drawn(2, 3, 3, 3)[:, :, :1, :1].round())
    )
    feeds = feeds_for(graph.to_model())
    feeds["x"] = np.round(feeds["x"]) if ties else feeds["x"]
    count = Counter(n.op_type for n in compare(graph, exported(graph, "onnxruntime"), feeds).graph.node)
    assert not {"ScatterElements", "Split"} & {*count}
    assert count["HardSigmoid"] == 2  # one for the maxima of each branch


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("body", [RESIDUAL, ATTENTION], ids=["residual", "attention"])
@pytest.mark.parametrize("batch", [None, 2])
@pytest.mark.parametrize("wrt", [None, ["x", "w"]])
def test_of_each_runtime_the_gradient_is_the_same(runtime, body, batch, wrt):
    shapes = {"x": (batch, 3, 18, 18)} if batch else None
    graph = training_graph(network(body), wrt=wrt, shapes=shapes)
    model = compare(graph, exported(graph, runtime))
    if batch:
        assert not {"Size", "Range", "Shape", "CastLike"} & {node.op_type for node in model.graph.node}
    if runtime in ("onnxruntime", "web") and body is RESIDUAL:
        return  # the reference has no transposed convolution of groups with several channels each
    feeds = feeds_for(model)
    again = ReferenceEvaluator(model).run(None, feeds)
    for found, expected in zip(again, ran(model, feeds), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


MAKERS = {"gradient": training_graph, "tangent": tangent_graph, "curvature": curvature_graph}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_no_weight_is_shared_by_the_way_there_and_the_way_back(make):
    for body in (RESIDUAL, ATTENTION):
        graph = make(network(body))
        for runtime, is_shared in (("any", True), ("openvino", False)):
            model = exported(graph, runtime).to_model()
            large = {t.name for t in model.graph.initializer if len(t.dims) > 1}
            readers = defaultdict(set)
            for node in model.graph.node:
                for name in {*node.input} & large:
                    readers[name].add((node.op_type, node.output[0].startswith("onnxlens/")))
            assert any(len(kinds) > 1 for kinds in readers.values()) == is_shared, (runtime, readers)


@pytest.mark.reference
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_openvino_is_right_with_its_own_export(make):
    openvino = pytest.importorskip("openvino")
    for body in (RESIDUAL, ATTENTION):
        graph = make(network(body), shapes={"x": (1, 3, 18, 18)})
        model = exported(graph, "openvino").to_model()
        feeds = feeds_for(model)
        core = openvino.Core()
        settings = {"INFERENCE_PRECISION_HINT": "f32"}
        compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", settings)
        found = compiled(list(feeds.values()))
        for i, expected in enumerate(ran(graph.to_model(), feeds)):
            assert np.linalg.norm(found[i] - expected) <= 1e-4 * np.linalg.norm(expected)


def test_a_runtime_that_nobody_knows_is_refused_with_the_nearest():
    graph = training_graph(network(RESIDUAL))
    with pytest.raises(BadRequest, match=r"no runtime is called 'openvin'.*openvino"):
        exported(graph, "openvin")


@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("count", [10, 11, 25])
def test_a_wide_split_is_slices(axis, count):
    ends = " ".join(f"float[1,{i % 3 + 1}] x{i}," for i in range(count)).rstrip(",")
    names = ", ".join(f"x{i}" for i in range(count))
    text = f"({ends}) => (float[1,n] y) {{ a = Concat<axis = {axis}>({names})  y = Mul(a, a) }}"
    graph = training_graph(parsed(text), wrt=[f"x{i}" for i in range(count)])
    model = compare(graph, rewritten(graph, graph.outputs, narrow))
    kinds = Counter(node.op_type for node in model.graph.node)
    assert (kinds["Split"], kinds["Slice"]) == ((1, 0) if count <= 10 else (0, count))
