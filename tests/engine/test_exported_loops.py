"""The control flow of real exports, against the autograd of their frameworks and central differences."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
from oracles import frameworks, keras_loops
from oracles.differences import assert_curvature, assert_slopes, assert_transposed
from oracles.networks import run

from onnxlens.engine.autodiff.forward import hvp, jvp
from onnxlens.engine.autodiff.gradient import gradient
from onnxlens.engine.errors import NoRule
from onnxlens.models.lens import Lens

pytestmark = pytest.mark.reference


@pytest.fixture(scope="module")
def keras_files(tmp_path_factory):
    if not frameworks.is_installed("keras"):
        pytest.skip(f"needs {', '.join(frameworks.NEEDS['keras'])}")
    folder = tmp_path_factory.mktemp("keras")
    command = [sys.executable, keras_loops.__file__, folder]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return folder


def assert_as_told(model, told):
    """Holds the answer and the gradient against a framework's; the names of the output and the input."""
    of, wrt = model.graph.output[0].name, model.graph.input[0].name
    found = run(gradient(model, of=of, wrt=wrt), {wrt: told["x"], f"seed/{of}": told["u"]})
    np.testing.assert_allclose(found[of], told["y"], rtol=1e-4, atol=1e-5)
    bound = 1e-5 * np.linalg.norm(told["g"])
    np.testing.assert_allclose(found[f"grad/{wrt}"], told["g"], rtol=0, atol=bound)
    return of, wrt


@pytest.mark.parametrize("name", keras_loops.NAMES)
def test_what_keras_writes(keras_files, name):
    model, told = onnx.load(keras_files / f"{name}.onnx"), np.load(keras_files / f"{name}.npz")
    of, wrt = assert_as_told(model, told)
    pushed = run(jvp(model, of=of, wrt=wrt), {wrt: told["x"], f"tangent/{wrt}": told["v"]})[f"jvp/{of}"]
    np.testing.assert_allclose(
        (pushed * told["u"]).sum(), (told["g"] * told["v"]).sum(), rtol=1e-4, atol=1e-5
    )
    feeds = {wrt: told["x"], f"seed/{of}": told["u"], f"tangent/{wrt}": told["v"]}
    curved = run(hvp(model, of=of, wrt=wrt), feeds)[f"hvp/{wrt}"]
    np.testing.assert_allclose(curved, told["h"], rtol=0, atol=1e-5 * np.linalg.norm(told["h"]))
    assert_slopes(model, {wrt: told["x"]}, [of], [wrt])


@pytest.mark.parametrize("method", ["gradcam", "saliency", "smoothgrad"])
@pytest.mark.parametrize("name", ["gru", "gru_text", "bidirectional_gru", "bidirectional_lstm"])
def test_maps_of_them(keras_files, name, method):
    photo = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    (found,) = Lens(keras_files / f"{name}.onnx", preset="unit").attribute(photo, method)
    assert not found.problem
    assert np.isfinite(found.map).all()
    assert np.abs(found.map).max() > 0


@pytest.mark.parametrize(
    "name",
    ["cond", "while_loop", "scan", "if", "for", "list", "nested", "squeeze", "while", "decoder", "written"],
)
def test_what_pytorch_writes(tmp_path, name):
    """Scripted ones with all sizes of the image open: one file is right at two sizes."""
    pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    from oracles import torch_loops

    told = torch_loops.written(name, tmp_path / "model.onnx", (2, 6, 9))
    model = onnx.load(tmp_path / "model.onnx")
    of, wrt = assert_as_told(model, told)
    if name in torch_loops.SCRIPTED:
        assert_as_told(model, torch_loops.written(name, tmp_path / "again.onnx", (1, 5, 13)))
    assert_slopes(model, {wrt: told["x"]}, [of], [wrt])
    assert_transposed(model, {wrt: told["x"]}, [of], [wrt])
    if name == "decoder":  # whose states grow: they are noted in a list, which a step would have to look into
        with pytest.raises(NoRule, match="hands on a sequence from step to step"):
            hvp(model, of=of, wrt=wrt)
    else:
        assert_curvature(model, {wrt: told["x"]}, [of], [wrt])
