"""Whole models quantised by ONNX Runtime's own tool: what they look at is what the float model looks at."""

import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnxlens.cli import main
from onnxlens.engine.anatomy.layers import last_features
from onnxlens.engine.anatomy.readouts.classes import score_name
from onnxlens.engine.attribution.explainer import Explainer
from onnxlens.engine.attribution.projector import Projector
from onnxlens.engine.autodiff.gradient import gradient
from onnxlens.engine.canonical.canonical import canonical
from onnxlens.engine.errors import BadModel
from onnxlens.engine.runtime.network import Network
from onnxlens.models import embedded
from onnxlens.models.embedded.scenes import TEST_SEEDS, scene
from onnxlens.models.lens import Lens
from onnxlens.models.photos.photo import read_photo

tool = pytest.importorskip("onnxruntime.quantization")
KINDS = ["QDQ", "QDQ by channel", "QOperator", "QOperator by channel", "dynamic"]


def quantise(kind: str, source: Path, target: Path, name: str, pictures: list[np.ndarray]) -> Path:
    """The model at `source`, quantised in 8 bits and calibrated on pictures."""
    shutil.copy(source, target / "float.onnx")
    made = target / f"{kind.replace(' ', '-')}.onnx"
    if kind == "dynamic":
        tool.quantize_dynamic(target / "float.onnx", made, weight_type=tool.QuantType.QUInt8)
        return made

    class Pictures(tool.CalibrationDataReader):
        def __init__(self):
            self.rest = iter(pictures)

        def get_next(self):
            picture = next(self.rest, None)
            return None if picture is None else {name: picture}

    tool.quantize_static(
        target / "float.onnx",
        made,
        Pictures(),
        quant_format=tool.QuantFormat[kind.split()[0]],
        per_channel="channel" in kind,
        activation_type=tool.QuantType.QUInt8,
        weight_type=tool.QuantType.QInt8,
    )
    return made


def ranks(x: np.ndarray) -> np.ndarray:
    """Of each number its rank; equal ones share theirs."""
    _, inverse, counts = np.unique(x.ravel(), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def looked_at(source: Path | ModelProto, x: np.ndarray, target: int) -> np.ndarray:
    """The gradient of a class at the layer of Grad-CAM."""
    graph = canonical(source)
    score = score_name(graph)
    layer = last_features(graph, score)
    network = Network(gradient(source, of=score, wrt=layer), provider="cpu", threads=1)
    (seed,) = (i for i in network.inputs if i.startswith("seed/"))
    shape = [1, *(graph[score].shape or ())[1:]]
    wish = np.zeros(shape, np.float32)
    wish[:, target] = 1
    (name,) = (o for o in network.outputs if o.startswith("grad/"))
    return network.run({graph.inputs[0]: x, seed: wish}, [name])[name]


@pytest.fixture(scope="module")
def scenes():
    lens = Lens("scenes", provider="cpu", threads=1)
    return [lens.preprocess(scene(seed).image)[0] for seed in TEST_SEEDS[:36]]


@pytest.fixture(scope="module", params=KINDS)
def small(request, scenes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    return quantise(request.param, embedded.path(), folder, "image", scenes[:24])


def test_the_embedded_model_looks_at_the_same(small, scenes):
    found, maps = [], []
    plain, quick = (Explainer(Network(m, "cpu", 1)) for m in (embedded.path(), small))
    for x in scenes[24:]:
        expected = plain({"image": x})[0]
        found.append(
            spearman(looked_at(embedded.path(), x, expected.target), looked_at(small, x, expected.target))
        )
        quantised = quick({"image": x}, expected.target)[0]
        assert quantised.problem == ""
        maps.append(spearman(expected.map, quantised.map))
    print(f"{small.stem}: gradient {min(found):.3f} {np.mean(found):.3f}, map {min(maps):.3f}")
    assert np.mean(found) >= 0.9
    assert np.mean(maps) >= 0.9


@pytest.mark.parametrize("method", ["saliency", "guided", "deconvnet"])
def test_what_comes_back_to_the_pixels_is_alike(method, small, scenes):
    plain, quick = (Projector(Network(m, "cpu", 1), method) for m in (embedded.path(), small))
    found = []
    for x in scenes[24:]:
        expected = plain({"image": x})[0]
        quantised = quick({"image": x}, expected.target)[0]
        assert quantised.problem == ""
        found.append(spearman(expected.values, quantised.values))
    print(f"{small.stem}: {method} {min(found):.3f} {np.mean(found):.3f}")
    assert np.mean(found) >= 0.8


def test_relevance_is_alike_whichever_way_integers_are_written(small, scenes):
    if small.stem == "dynamic":
        pytest.skip("zero points and biases are sums of their own there, and near zero a sum has no shares")
    plain, quick = (Projector(Network(m, "cpu", 1), "lrp") for m in (embedded.path(), small))
    found = []
    for x in scenes[24:30]:
        expected = plain({"image": x})[0]
        found.append(spearman(expected.values, quick({"image": x}, expected.target)[0].values))
    assert np.mean(found) >= 0.85


def enlarged(path: Path) -> Path:
    """The embedded model with what carries integers on in its middle: enlarged, padded, cut and joined."""
    model = onnx.load(embedded.path())
    at = next(i for i, n in enumerate(model.graph.node) if n.op_type == "MaxPool") + 1
    pooled = model.graph.node[at - 1].output[0]
    model.graph.node[at].input[0] = "joined"
    constants = {"twice": np.float32([1, 1, 2, 2]), "half": np.float32([1, 1, 0.5, 0.5])}
    constants |= {"pads": np.int64([0, 0, 1, 1, 0, 0, 1, 1]), "eight": np.int64([8]), "one": np.int64([1])}
    constants |= {"zero": np.int64([0])}
    model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in constants.items())
    nodes = [
        helper.make_node("Resize", [pooled, "", "twice"], ["large"], "large", mode="linear"),
        helper.make_node("Resize", ["large", "", "half"], ["back"], "back", mode="linear"),
        helper.make_node("Pad", ["back", "pads"], ["padded"], "padded", mode="edge"),
        helper.make_node("MaxPool", ["padded"], ["again"], "again", kernel_shape=[3, 3]),
        helper.make_node("Slice", ["again", "zero", "eight", "one"], ["first"], "first"),
        helper.make_node("Slice", [pooled, "eight", "end", "one"], ["second"], "second"),
        helper.make_node("Concat", ["first", "second"], ["joined"], "joined", axis=1),
    ]
    model.graph.initializer.append(numpy_helper.from_array(np.int64([2**31]), "end"))
    for i, node in enumerate(nodes):
        model.graph.node.insert(at + i, node)
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def carried(scenes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("carried")
    plain = enlarged(folder / "plain.onnx")
    made = quantise("QOperator", plain, folder, "image", scenes[:24])
    between = {n.op_type for n in onnx.load(made).graph.node} - {"QLinearConv", "QuantizeLinear"}
    assert {"Resize", "Pad", "MaxPool", "Slice"} <= between
    return plain, made


@pytest.mark.parametrize("method", ["saliency", "guided", "deconvnet", "input-x-gradient"])
def test_what_carries_integers_on_hides_nothing(method, carried, scenes):
    plain, quick = (Projector(Network(m, "cpu", 1), method) for m in carried)
    found = []
    for x in scenes[24:]:
        expected = plain({"image": x})[0]
        quantised = quick({"image": x}, expected.target)[0]
        assert quantised.problem == ""
        found.append(spearman(expected.values, quantised.values))
    print(f"{method} {min(found):.3f} {np.mean(found):.3f}")
    assert np.mean(found) >= 0.7


def test_every_command_goes_through_what_carries_integers_on(carried, tmp_path):
    picture = str(tmp_path / "scene.png")
    cv2.imwrite(picture, scene(TEST_SEEDS[3]).image[..., ::-1])
    model = str(carried[1])
    for words in (
        ["doctor", model],
        ["grad", model],
        ["gradcam", model, picture],
        ["saliency", model, picture],
        ["occlusion", model, picture, "--patch", "32", "--stride", "32"],
        ["dream", model, "--target", "cat", "--iterations", "2"],
        ["top", model, str(tmp_path)],
        ["activations", model, picture],
        ["weights", model],
    ):
        out = [] if words[0] == "doctor" else ["--out", str(tmp_path / f"{words[0]}.onnx")]
        with pytest.raises(SystemExit) as end:
            main([*words, *out])
        assert not end.value.code, words


def test_answers_are_those_of_onnx_runtime_to_the_bit(small, scenes):
    x = np.concatenate(scenes[:12])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    bare = onnxruntime.InferenceSession(small, options, providers=["CPUExecutionProvider"])
    (expected,) = bare.run(None, {"image": x})
    explainer = Explainer(Network(small, "cpu", 1))
    np.testing.assert_array_equal(Network(small, "cpu", 1).run({"image": x})["probabilities"], expected)
    np.testing.assert_array_equal([e.output for e in explainer({"image": x})], expected)


def assert_printed_as_it_says(model: Path, photo: Path, capsys, *more: str) -> str:
    """What `predict` prints of every class is what plain ONNX Runtime gives, to all digits that are printed.

    Returns the greatest probability and the sum of all, for people.
    """
    with pytest.raises(SystemExit) as end:
        main(["predict", str(model), str(photo), "--provider", "cpu", "--top", "1000", "--json", *more])
    assert not end.value.code
    (record,) = map(json.loads, capsys.readouterr().out.splitlines())
    lens = Lens(model, provider="cpu", preset=more[1] if more else None)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    says = session.run(None, {lens.input: lens.preprocess(read_photo(photo))[0]})[0].ravel()
    assert len(record["predictions"]) == len(says)
    for p in record["predictions"]:
        assert p["probability"] == pytest.approx(says[p["index"]], abs=1e-6)
    return f"{photo.stem} {says.max():.3f} of {says.sum():.3f}"


def test_what_is_printed_is_what_the_model_says(small, tmp_path, capsys):
    for seed in TEST_SEEDS[:6]:
        cv2.imwrite(str(tmp_path / "scene.png"), scene(seed).image[..., ::-1])
        assert_printed_as_it_says(small, tmp_path / "scene.png", capsys)


@pytest.mark.parametrize("level", ["EXTENDED", "ALL"])
def test_a_model_that_onnx_runtime_has_optimised_shows_the_same(level, small, scenes, tmp_path):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, f"ORT_ENABLE_{level}")
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(small, options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(tmp_path / "optimised.onnx").graph.node
    if any(n.domain == "com.microsoft.nchwc" for n in nodes):
        with pytest.raises(BadModel, match="optimised this file for one kind of machine"):
            Network(tmp_path / "optimised.onnx", "cpu", 1)
        return
    channels_last = {"QLinearConv", "NhwcMaxPool"}.intersection(n.op_type for n in nodes if n.domain)
    assert bool(channels_last) == (level == "ALL")
    feeds = {"image": scenes[5]}
    networks = [Network(m, "cpu", 1) for m in (small, tmp_path / "optimised.onnx")]
    (expected,), (found,) = (Explainer(network)(feeds, 3) for network in networks)
    assert found.map.shape == expected.map.shape
    np.testing.assert_allclose(found.map, expected.map, rtol=0.02, atol=0.02 * expected.map.max())
    (expected,), (found,) = (Projector(network, "saliency")(feeds) for network in networks)
    np.testing.assert_allclose(found.values, expected.values, rtol=0.02, atol=0.02 * expected.values.max())


def test_the_command_line_takes_quantised_models(small, tmp_path):
    cv2.imwrite(str(tmp_path / "scene.png"), scene(TEST_SEEDS[3]).image[..., ::-1])
    with pytest.raises(SystemExit) as end:
        main(["gradcam", str(small), str(tmp_path / "scene.png"), "--out", str(tmp_path / "out")])
    assert not end.value.code
    (heat,) = (tmp_path / "out").glob("scene-*-gradcam-map.npy")
    assert np.load(heat).max() > 0


@pytest.fixture(scope="module")
def photos():
    data = os.environ.get("ONNXLENS_TEST_DATA")
    if not data:
        pytest.skip("ONNXLENS_TEST_DATA says where real models lie")
    return sorted(Path(data, "photos").iterdir())


def in_float32(source: Path) -> ModelProto:
    """The model with the float16 values of its file in float32."""
    graph = canonical(source)
    model = graph.to_model([graph.twins[name] for name in graph.outputs])
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    return model


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_squeezenet_looks_at_the_same(kind, photos, tmp_path):
    onnx.save(
        in_float32(photos[0].parents[1] / "models" / "squeezenet1.1-caffe2-fp16.onnx"), tmp_path / "real"
    )
    plain = Lens(tmp_path / "real", preset="caffe", provider="cpu", threads=2)
    pictures = [plain.preprocess(read_photo(p))[0] for p in photos]
    source = quantise(kind, tmp_path / "real", tmp_path, plain.input, pictures)
    quick = Explainer(Network(source, "cpu", 2))
    found, maps = [], []
    for x in pictures:
        expected = plain.explainer("gradcam", None)({plain.input: x})[0]
        grads = [looked_at(path, x, expected.target) for path in (tmp_path / "real", source)]
        found.append(spearman(*grads))
        quantised = quick({plain.input: x}, expected.target)[0]
        assert quantised.problem == ""
        maps.append(spearman(expected.map, quantised.map))
    print(f"{kind}: gradient {min(found):.3f} {np.mean(found):.3f}, map {min(maps):.3f} {np.mean(maps):.3f}")
    assert np.mean(found) >= 0.9
    assert np.mean(maps) >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_printed_of_squeezenet_is_what_it_says(kind, photos, tmp_path, capsys):
    real = in_float32(photos[0].parents[1] / "models" / "squeezenet1.1-caffe2-fp16.onnx")
    onnx.save(real, tmp_path / "real")
    plain = Lens(tmp_path / "real", preset="caffe", provider="cpu", threads=2)
    pictures = [plain.preprocess(read_photo(p))[0] for p in photos]
    source = quantise(kind, tmp_path / "real", tmp_path, plain.input, pictures)
    said = [assert_printed_as_it_says(source, photo, capsys, "--preset", "caffe") for photo in photos]
    print(f"{kind}: {', '.join(said)}")
