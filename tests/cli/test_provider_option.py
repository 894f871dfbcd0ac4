"""`--provider` with a plugin, through the real command: what is used is said, what is wrong is refused."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from oracles.networks import parsed

pytestmark = pytest.mark.reference


@pytest.fixture(autouse=True)
def openvino():
    pytest.importorskip("onnxruntime_ep_openvino", reason="needs the extra openvino")


@pytest.mark.parametrize("command", ["gradcam", "saliency", "smoothgrad"])
def test_maps_of_a_plugin_are_those_of_the_cpu(place, run, command):
    maps = []
    for wish in ("openvino", "cpu"):
        done = run(command, "model.onnx", "red.png", "--provider", wish, "-o", wish, "--json")
        assert done.code == 0, done.err
        used = json.loads(Path(wish, "manifest.json").read_text())["provider"]
        maps.append(np.load(Path(wish, f"red-0-{command}.npy")))
        assert used["used"] == {"openvino": "openvino:cpu", "cpu": "cpu"}[wish]
    assert "openvino:cpu, by " in json.loads(Path("openvino/manifest.json").read_text())["provider"]["why"]
    assert np.linalg.norm(maps[0] - maps[1]) <= 1e-4 * np.linalg.norm(maps[1])


def test_the_device_stands_in_the_first_line(place, run):
    done = run("predict", "model.onnx", "red.png", "--provider", "openvino:cpu")
    assert done.code == 0
    assert "openvino:cpu, by " in done.out + done.err


def test_a_model_that_the_plugin_is_wrong_with_is_refused(place, run):
    rng = np.random.default_rng(0)
    body = """(float[1,3,32,32] image) => (float[1,8] y) {
        a = Conv(image, w)
        b = Conv<pads = [1,1,1,1]>(a, v)
        c = ConvTranspose<pads = [1,1,1,1]>(b, v)
        d = GlobalAveragePool(c)
        y = Flatten(d)
    }"""
    onnx.save(
        parsed(body, w=rng.standard_normal((8, 3, 3, 3)), v=rng.standard_normal((8, 8, 3, 3))), "t.onnx"
    )
    for command in ("predict", "gradcam"):
        done = run(command, "t.onnx", "red.png", "--preset", "unit", "--provider", "openvino")
        assert (done.code, done.out) == (1, "")
        assert "provider openvino:cpu is wrong with this model" in done.err.splitlines()[-1]
        assert "--provider cpu" in done.err.splitlines()[-1]
    assert not list(Path().rglob("*.npy"))


def test_versions_lists_the_package_and_its_devices(run):
    (record,) = run("versions", "--json").records
    assert record["providers"]["openvino"] == "can be used"
    (plugin,) = [p for p in record["plugins"] if p["provider"] == "openvino"]
    assert plugin["package"] == "onnxruntime-ep-openvino"
    assert plugin["version"]
    assert "openvino:cpu" in [d["device"] for d in plugin["devices"]]
    assert "openvino:cpu by " in run("versions").out
