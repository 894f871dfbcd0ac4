"""What trips runtimes that are seldom met, in the words for them: computed alike, and free of that."""

import numpy as np
import onnx
import onnxruntime
import pytest
from oracles.networks import parsed

from onnxlens.engine.autodiff.forward import tangent_graph
from onnxlens.engine.autodiff.gradient import training_graph
from onnxlens.engine.errors import BadRequest
from onnxlens.engine.runtime.exports.exported import exported

POOLED = """(float[N,3,H,9] x) => (float[N,4,h,w] y) {
    a = Conv(x, kernel)
    y = MaxPool<kernel_shape = [2,3], strides = [2,1]>(a)
}"""
GATED = """(float[2,4,5,5] x, float[2,4,1,1] g) => (float[2,4,5,5] y) {
    a = HardSwish(x)
    b = HardSigmoid<alpha = ALPHA, beta = 0.5>(g)
    y = Mul(a, b)
}"""


def ran(model, feeds):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def feeds_for(model, size=2):
    rng = np.random.default_rng(0)
    shapes = {v.name: [d.dim_value or size for d in v.type.tensor_type.shape.dim] for v in model.graph.input}
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


def written(graph, runtime):
    """The export, after it was found to compute the same; and the operators that onnxlens put there."""
    plain, model = graph.to_model(), exported(graph, runtime).to_model()
    onnx.checker.check_model(model, full_check=True)
    feeds = feeds_for(plain)
    for found, right in zip(ran(model, feeds), ran(plain, feeds), strict=True):
        np.testing.assert_allclose(found, right, rtol=0, atol=1e-5 * np.abs(right).max(initial=0))
    return model, [node for node in model.graph.node if node.output[0].startswith("onnxlens/")]


def weights():
    return {"kernel": np.random.default_rng(1).standard_normal((4, 3, 3, 3))}


@pytest.mark.parametrize("runtime", ["opencv", "openvino", "litert"])
@pytest.mark.parametrize("batch", [None, 2])
def test_pooling_without_indices(runtime, batch):
    graph = training_graph(parsed(POOLED, **weights()), wrt=["x", "kernel"], shapes={"x": (batch, 3, 8, 9)})
    model, ours = written(graph, runtime)
    assert all(len(node.output) == 1 for node in model.graph.node if node.op_type == "MaxPool")
    assert not {"ScatterElements", "Size", "Range"} & {node.op_type for node in ours}


def test_pooling_of_open_sizes_is_refused_where_indices_are_wrong():
    graph = training_graph(parsed(POOLED, **weights()), shapes={"x": (2, 3, "H", 9)})
    with pytest.raises(BadRequest, match="indices of max pooling"):
        exported(graph, "opencv")


@pytest.mark.parametrize("alpha", ["0.16666667", "0.2"])
def test_no_gate_that_opencv_takes_for_hard_swish(alpha):
    graph = training_graph(parsed(GATED.replace("ALPHA", alpha)), wrt=["x", "g"])
    _, ours = written(graph, "opencv")
    assert "HardSigmoid" not in {node.op_type for node in ours}


def networks():
    yield training_graph(parsed(POOLED, **weights()), wrt=["x", "kernel"], shapes={"x": (2, 3, 8, 9)})
    yield training_graph(parsed(GATED.replace("ALPHA", "0.2")), wrt=["x", "g"])
    layer = 'LSTM<hidden_size=3, direction="bidirectional">'
    text = f"(float[5,2,4] x) => (float[5,2,2,3] y) {{ y = {layer}(x, w, u) }}"
    rng = np.random.default_rng(0)
    lstm = parsed(text, w=rng.standard_normal((2, 12, 4)), u=rng.standard_normal((2, 12, 3)))
    yield training_graph(lstm, wrt=["x", "u"])


@pytest.mark.reference
@pytest.mark.parametrize("number", range(3), ids=["pooling", "gates", "lstm"])
def test_opencv_is_right_with_its_own_export(number, tmp_path):
    cv2 = pytest.importorskip("cv2", minversion="5")
    graph = [*networks()][number]
    model, _ = written(graph, "opencv")
    path = tmp_path / "gradient.onnx"
    onnx.save(model, path)
    net = cv2.dnn.readNetFromONNX(str(path), engine=cv2.dnn.ENGINE_NEW)
    feeds = feeds_for(model)
    for name, array in feeds.items():
        net.setInput(array, name)
    names = [value.name for value in model.graph.output]
    for found, right in zip(net.forward(names), ran(graph.to_model(), feeds), strict=True):
        assert np.linalg.norm(found - right) <= 1e-4 * np.linalg.norm(right)


LAYER = """(float[2,8,9,8] x) => (float[2,6,h,w] y) {
    y = Conv<strides = STRIDES, dilations = DILATIONS, group = GROUPS, pads = PADS>(x, kernel, bias)
}"""
LAYERS = [
    {"STRIDES": "[1,1]", "DILATIONS": "[1,1]", "GROUPS": "1", "PADS": "[1,1,1,1]"},
    {"STRIDES": "[2,3]", "DILATIONS": "[1,1]", "GROUPS": "1", "PADS": "[0,1,2,0]"},
    {"STRIDES": "[2,1]", "DILATIONS": "[1,2]", "GROUPS": "2", "PADS": "[1,0,0,1]"},
    {"STRIDES": "[1,1]", "DILATIONS": "[1,1]", "GROUPS": "1", "PADS": "[2,2,2,2]", "size": "1"},
]


def layer(words):
    rng, text = np.random.default_rng(2), LAYER
    shape = (6, 8 // int(words["GROUPS"]), *[int(words.get("size", 3))] * 2)
    for word, value in words.items():
        text = text.replace(word, value)
    return parsed(text, kernel=rng.standard_normal(shape), bias=rng.standard_normal(6))


def weighted():
    """Gradients by weights of convolutions, and the tangents of these."""
    for words in LAYERS:
        yield training_graph(layer(words), wrt=["kernel", "bias", "x"])
        yield tangent_graph(layer(words), wrt=["kernel", "bias", "x"])


@pytest.mark.parametrize("number", range(2 * len(LAYERS)))
def test_no_convolution_by_what_is_computed(number):
    model, ours = written([*weighted()][number], "litert")
    constants = {tensor.name for tensor in model.graph.initializer}
    assert all(node.input[1] in constants for node in ours if node.op_type == "Conv")


JOINED = """(float[2,6,H,W] x) => (float[2,3,h,w] y) {
    a = Relu(x)  b = Sigmoid(x)  both = Concat<axis = AXIS>(a, b)
    c = MaxPool<kernel_shape = [2,2]>(both)  p, q = Split<axis = 1, num_outputs = 2>(c)
    r = Mul(p, q)  y = Conv(r, kernel)
}"""


def joined(height, width, axis=1):
    text = JOINED.replace("H", str(height)).replace("W", str(width)).replace("AXIS", str(axis))
    return training_graph(parsed(text, kernel=np.random.default_rng(3).standard_normal((3, 6, 2, 2))))


@pytest.mark.parametrize(("height", "width", "axis"), [(7, 8, 1), (9, 7, -3), (8, 9, 1), (6, 4, 1)])
def test_channels_that_seem_columns_are_joined_on_rows(height, width, axis):
    """Converters take pictures of few columns and many rows and channels for pictures with channels last."""
    model, _ = written(joined(height, width, axis), "litert")
    model = onnx.shape_inference.infer_shapes(model)
    values = [*model.graph.value_info, *model.graph.input, *model.graph.output]
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in values}
    for node in model.graph.node:
        if node.op_type in ("Concat", "Split"):
            for _, *sizes in (shapes[name] for name in node.input if name in shapes):
                assert not (len(sizes) == 3 and min(sizes[:2]) > 4 and sizes[2] <= 8)


def reused():
    """A gradient that is an output and read for another, and two that are the same."""
    text = "(float[2,3] x, float[2,3] z) => (float[2,3] y) { a = Exp(x)  s = Add(a, z)  y = Sin(s) }"
    return training_graph(parsed(text), wrt=["x", "z", "a"])


def test_no_output_is_a_copy_of_what_is_read():
    model, _ = written(reused(), "litert")
    read = [name for node in model.graph.node for name in node.input]
    copies = [node for node in model.graph.node if node.op_type == "Identity"]
    assert all(read.count(node.input[0]) == 1 for node in copies)
    assert not {node.input[0] for node in copies} & {value.name for value in model.graph.output}


def tripping():
    """What onnx2tf 2.6.9 took for something else, or refused."""
    yield from weighted()
    yield from (joined(7, 8), joined(9, 7), joined(8, 9), reused())


@pytest.mark.reference
@pytest.mark.parametrize("number", range(2 * len(LAYERS) + 4))
def test_litert_is_right_with_its_own_export(number, tmp_path):
    for package in ("onnx2tf", "ai_edge_litert"):
        pytest.importorskip(package)
    from bench.elsewhere.by_litert import run

    graph = [*tripping()][number]
    model, _ = written(graph, "litert")
    path = tmp_path / "gradient.onnx"
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    feeds = feeds_for(graph.to_model())
    found = run(str(path), feeds, tmp_path)
    names = [value.name for value in model.graph.output]
    for name, right in zip(names, ran(graph.to_model(), feeds), strict=True):
        assert np.linalg.norm(found[name] - right) <= 1e-4 * np.linalg.norm(right)
