"""One network, from Keras, TensorFlow and both exporters of PyTorch: all ways work, the maps are the same."""

import cv2
import numpy as np
import onnx
import pytest
from oracles import frameworks

from onnxlens.engine.canonical.canonical import canonical
from onnxlens.engine.runtime.network import Network
from onnxlens.models.lens import Lens
from onnxlens.models.photos.photo import read_photo

pytestmark = pytest.mark.reference


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The files that can be made here, by name."""
    folder = tmp_path_factory.mktemp("frameworks")
    there = [name for name in frameworks.FILES if frameworks.is_installed(name)]
    if "keras" in there:
        frameworks.write_tensorflow(folder)
    if "torchscript" in there:
        frameworks.write_torch(folder, [n for n in there if n in ("torchscript", "dynamo")])
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 256, (6, 7, 3)).astype(np.uint8)
    cv2.imwrite(str(folder / "photo.png"), cv2.resize(coarse, (70, 60), interpolation=cv2.INTER_CUBIC))
    return {name: folder / f"{name}.onnx" for name in there} | {"photo": folder / "photo.png"}


def file(files, name):
    if name not in files:
        pytest.skip(f"needs {', '.join(frameworks.NEEDS[name])}")
    return files[name]


@pytest.mark.parametrize("name", frameworks.FILES)
def test_all_ways_work(files, name, run, tmp_path):
    done = run("look", file(files, name), files["photo"], "--preset", "unit", "-o", tmp_path, "--json")
    assert done.code == 0, done.err
    assert done.records[0]["missing"] == {}


@pytest.mark.parametrize("name", frameworks.FILES)
def test_the_maps_and_the_answers_agree(files, name):
    photo, reference = read_photo(files["photo"]), Lens(file(files, "torchscript"), preset="unit")
    lens = Lens(file(files, name), preset="unit")
    for target in range(5):
        expected, found = (each.gradcam(photo, target) for each in (reference, lens))
        assert bool(expected.problem) == bool(found.problem)
        scale = max(np.abs(expected.map).max(), 1e-12)
        assert np.abs(found.map - expected.map).max() <= 1e-4 * scale
        assert found.score == pytest.approx(expected.score, rel=1e-4, abs=1e-5)
        assert found.target.probability == pytest.approx(expected.target.probability, abs=1e-5)


def test_the_files_are_as_different_as_they_are_meant_to_be(files):
    tensorflow = onnx.load(file(files, "tensorflow"))
    assert any("StatefulPartitionedCall" in o for n in tensorflow.graph.node for o in n.output)
    assert canonical(tensorflow)[tensorflow.graph.input[0].name].shape[1:] == (32, 32, 3)
    assert any(n.op_type == "Transpose" for n in tensorflow.graph.node)
    dynamo = file(files, "dynamo")
    assert dynamo.with_suffix(".onnx.data").exists()
    assert onnx.load(dynamo, load_external_data=False).functions
    assert Network(dynamo).run({"image": np.zeros((1, 3, 32, 32), np.float32)})["answer"].shape == (1, 5)
