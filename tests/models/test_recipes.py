"""Files as JAX, scikit-learn and MATLAB write them, opened as the recipes say; their answers restated."""

import cv2
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from onnxlens.models.lens import Lens

N = helper.make_node
rng = np.random.default_rng(0)
PIXELS = rng.integers(0, 256, (8, 8, 3), np.uint8)


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.fixture
def photo(tmp_path):
    cv2.imwrite(str(tmp_path / "photo.png"), PIXELS[..., ::-1])
    return tmp_path / "photo.png"


def written(path, nodes, given, outputs, constants, *, listed=False, opset=17):
    """A file of the nodes; `listed` names the weights among the inputs too, as exporters once did."""
    arrays = [numpy_helper.from_array(np.asarray(a), k) for k, a in constants.items()]
    inputs = [helper.make_tensor_value_info(given[0], TensorProto.FLOAT, given[1])]
    if listed:
        inputs += [helper.make_tensor_value_info(a.name, a.data_type, list(a.dims)) for a in arrays]
    graph = helper.make_graph(nodes, "made", inputs, outputs, arrays)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("ai.onnx.ml", 1)]
    save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def answered(lens, photo):
    return {t.index: t.probability for t in lens.predict(photo, 3)}


def weights(*shape):
    return rng.normal(size=shape).astype(np.float32) * 0.3


def explained(lens, photo):
    for method in ("gradcam", "saliency"):
        found = getattr(lens, method)(photo)
        assert not found.problem
        assert np.abs(found.map).max() > 0


def test_a_file_of_jax(tmp_path, photo):
    """jax2onnx leaves the picture NHWC, with a Transpose before the first layer and one behind the last."""
    w, d, b = weights(6, 3, 3, 3), weights(6, 3), weights(3)
    nodes = [
        N("Transpose", ["in_0"], ["t"], perm=[0, 3, 1, 2]),
        N("Conv", ["t", "w"], ["c"], pads=[0, 0, 1, 1], strides=[2, 2]),
        N("Relu", ["c"], ["r"]),
        N("Transpose", ["r"], ["out_0"], perm=[0, 2, 3, 1]),
        N("ReduceSum", ["out_0", "axes"], ["s"], keepdims=0),
        N("Div", ["s", "many"], ["p"]),
        N("Gemm", ["p", "d", "b"], ["out_1"]),
    ]
    answer = [helper.make_tensor_value_info("out_1", TensorProto.FLOAT, ["B", 3])]
    constants = {"w": w, "d": d, "b": b, "axes": np.array([1, 2]), "many": np.float32(16)}
    lens = Lens(
        written(tmp_path / "jax.onnx", nodes, ("in_0", ["B", 8, 8, 3]), answer, constants), preset="unit"
    )
    x = np.pad(PIXELS / np.float32(255), ((0, 1), (0, 1), (0, 0)))
    cut = np.array([[x[i : i + 3, j : j + 3] for j in range(0, 8, 2)] for i in range(0, 8, 2)])
    wanted = softmax(np.einsum("ijhwc,kchw->ijk", cut, w).clip(0).mean((0, 1)) @ d + b)
    found = answered(lens, photo)
    np.testing.assert_allclose([found[i] for i in range(3)], wanted, atol=1e-5)
    explained(lens, photo)


def test_a_file_of_matlab(tmp_path, photo):
    """A fixed batch of one, tones up to 255, a mean picture taken off, weights among the inputs."""
    w, b, d, e = weights(6, 3, 3, 3), weights(6), weights(3, 54) / 50, weights(3)
    mean = rng.uniform(90, 140, (1, 3, 8, 8)).astype(np.float32)
    nodes = [
        N("Sub", ["imageinput", "imageinput_AvgImg"], ["imageinput_Sub"]),
        N("Conv", ["imageinput_Sub", "conv_W", "conv_B"], ["conv"], pads=[0, 0, 0, 0]),
        N("Relu", ["conv"], ["relu"]),
        N("MaxPool", ["relu"], ["maxpool"], kernel_shape=[2, 2], strides=[2, 2]),
        N("Flatten", ["maxpool"], ["fc_Flatten"]),
        N("Gemm", ["fc_Flatten", "fc_W", "fc_B"], ["fc"], transB=1),
        N("Softmax", ["fc"], ["softmax"]),
    ]
    answer = [helper.make_tensor_value_info("softmax", TensorProto.FLOAT, [1, 3])]
    named = {"imageinput_AvgImg": mean, "conv_W": w, "conv_B": b, "fc_W": d, "fc_B": e}
    given = ("imageinput", [1, 3, 8, 8])
    path = written(tmp_path / "matlab.onnx", nodes, given, answer, named, listed=True, opset=8)
    lens = Lens(path, preset="raw")
    x = PIXELS.transpose(2, 0, 1) - mean[0]
    cut = np.array([[x[:, i : i + 3, j : j + 3] for j in range(6)] for i in range(6)])
    y = np.einsum("ijchw,kchw->kij", cut, w) + b[:, None, None]
    wanted = softmax(d @ y.clip(0).reshape(6, 3, 2, 3, 2).max((2, 4)).ravel() + e)
    found = answered(lens, photo)
    np.testing.assert_allclose([found[i] for i in range(3)], wanted, atol=1e-4)
    explained(lens, photo)


@pytest.mark.parametrize(("made", "by"), [("SOFTMAX", "softmax"), ("LOGISTIC", "shares")])
def test_a_logistic_regression_of_scikit_learn(tmp_path, photo, made, by):
    """Its probabilities are made inside of LinearClassifier, or are shares that its Normalizer makes."""
    d, b = weights(3, 64) / 300, weights(3)
    nodes = [
        N("Flatten", ["X"], ["pixels"]),
        N(
            "LinearClassifier",
            ["pixels"],
            ["label", "probability_tensor"],
            domain="ai.onnx.ml",
            coefficients=d.ravel().tolist(),
            intercepts=b.tolist(),
            classlabels_ints=[0, 1, 2],
            multi_class=1,
            post_transform=made,
        ),
        N("Normalizer", ["probability_tensor"], ["probabilities"], domain="ai.onnx.ml", norm="L1"),
    ]
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]),
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 3]),
    ]
    path = written(tmp_path / "sk.onnx", nodes, ("X", ["N", 1, 8, 8]), outputs, {})
    lens = Lens(path, preset="raw")
    assert lens.readout.form == "given"
    (x,) = lens.network.run({"X": PIXELS[None, None, ..., 0].astype(np.float32)}, ["probabilities"]).values()
    z = d @ PIXELS[..., 0].ravel() + b
    one = 1 / (1 + np.exp(-z))
    np.testing.assert_allclose(x[0], softmax(z) if by == "softmax" else one / one.sum(), atol=1e-5)
    np.testing.assert_allclose(lens.readout.answers(x), x)
    assert sum(answered(lens, photo).values()) == pytest.approx(1, abs=1e-5)


def test_a_random_forest_of_scikit_learn(tmp_path, photo):
    """Two trees of one question each; their leaves hold shares of the classes, halved, as there are two."""
    shares = np.array([[[0.9, 0.1, 0.0], [0.2, 0.2, 0.6]], [[0.5, 0.5, 0.0], [0.0, 0.3, 0.7]]]) / 2
    leaves = [(tree, 1 + leaf, k) for tree in range(2) for leaf in range(2) for k in range(3)]
    trees, numbers, classes = (list(part) for part in zip(*leaves, strict=True))
    forest = N(
        "TreeEnsembleClassifier",
        ["pixels"],
        ["label", "probabilities"],
        domain="ai.onnx.ml",
        nodes_treeids=[0, 0, 0, 1, 1, 1],
        nodes_nodeids=[0, 1, 2] * 2,
        nodes_featureids=[5, 0, 0, 40, 0, 0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"] * 2,
        nodes_values=[100.0, 0, 0] * 2,
        nodes_truenodeids=[1, 0, 0] * 2,
        nodes_falsenodeids=[2, 0, 0] * 2,
        class_treeids=trees,
        class_nodeids=numbers,
        class_ids=classes,
        class_weights=shares.ravel().tolist(),
        classlabels_int64s=[0, 1, 2],
        post_transform="NONE",
    )
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]),
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 3]),
    ]
    nodes = [N("Flatten", ["X"], ["pixels"]), forest]
    lens = Lens(written(tmp_path / "sk.onnx", nodes, ("X", ["N", 1, 8, 8]), outputs, {}), preset="raw")
    pixels = lens.preprocess(PIXELS)[0].ravel()
    wanted = sum(shares[tree, int(pixels[at] > 100)] for tree, at in ((0, 5), (1, 40)))
    found = answered(lens, photo)
    np.testing.assert_allclose([found[i] for i in range(3)], wanted, atol=1e-5)


def test_what_skl2onnx_writes(tmp_path, photo):
    pytest.importorskip("sklearn")
    skl2onnx = pytest.importorskip("skl2onnx")
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    rows = rng.integers(0, 256, (30, 64)).astype(np.float32)
    names = np.array(["cat", "dog", "owl"])[np.arange(30) % 3]
    pixels = cv2.cvtColor(PIXELS, cv2.COLOR_RGB2GRAY).reshape(1, 64).astype(np.float32)
    for classifier, zipped in ((MLPClassifier((8,), max_iter=9), True), (LogisticRegression(), False)):
        model = skl2onnx.to_onnx(classifier.fit(rows, names), rows[:1], options={"zipmap": zipped})
        image, graph = model.graph.input[0], model.graph
        for node in graph.node:
            node.input[:] = ["pixels" if name == image.name else name for name in node.input]
        graph.node.insert(0, N("Flatten", [image.name], ["pixels"]))
        image.CopyFrom(helper.make_tensor_value_info(image.name, TensorProto.FLOAT, ["N", 1, 8, 8]))
        save(model, tmp_path / "sk.onnx")
        lens = Lens(tmp_path / "sk.onnx", preset="raw")
        found = answered(lens, photo)
        np.testing.assert_allclose(
            [found[i] for i in range(3)], classifier.predict_proba(pixels)[0], atol=2e-3
        )


def test_what_jax2onnx_writes(tmp_path, photo):
    jax2onnx = pytest.importorskip("jax2onnx")
    nnx = pytest.importorskip("flax.nnx")

    class Small(nnx.Module):
        def __init__(self, rngs):
            self.conv = nnx.Conv(3, 6, (3, 3), rngs=rngs)
            self.dense = nnx.Linear(6, 3, rngs=rngs)

        def __call__(self, x):
            return self.dense(nnx.relu(self.conv(x)).mean((1, 2)))

    model, path = Small(nnx.Rngs(0)), tmp_path / "jax.onnx"
    jax2onnx.to_onnx(model, [("B", 8, 8, 3)], return_mode="file", output_path=str(path))
    lens = Lens(path, preset="unit")
    found = answered(lens, photo)
    wanted = softmax(np.asarray(model(PIXELS[None] / np.float32(255)))[0])
    np.testing.assert_allclose([found[i] for i in range(3)], wanted, atol=1e-5)
    explained(lens, photo)
