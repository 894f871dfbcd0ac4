"""What trips runtimes that are seldom met, in the words for them: computed alike, and free of that."""

import numpy as np
import onnx
import onnxruntime
import pytest
from oracles.networks import parsed

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
