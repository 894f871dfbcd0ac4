"""Plugins: their devices are used and said, they get graphs in words they are right with, or are refused."""

import os
import subprocess
import sys

import cv2
import numpy as np
import onnx
import pytest
from oracles.networks import parsed

from onnxlens.engine.attribution.explainer import Explainer
from onnxlens.engine.attribution.projector import Projector
from onnxlens.engine.autodiff.gradient import training_graph
from onnxlens.engine.errors import BadRequest, Unavailable
from onnxlens.engine.runtime import cache, provider
from onnxlens.engine.runtime.exports.checked import distance
from onnxlens.engine.runtime.network import Network
from onnxlens.engine.runtime.plugins import PLUGINS, is_installed
from onnxlens.engine.runtime.proven import RIGHT, compare
from onnxlens.engine.runtime.session import Session

RNG = np.random.default_rng(0)
X = RNG.standard_normal((1, 3, 12, 12)).astype(np.float32)
# The second convolution has as many output as input channels: OpenVINO is wrong with its weight, if shared.
RESIDUAL = """(float[N,3,12,12] x) => (float[N,4] y) {
    a = Conv<pads = [1,1,1,1]>(x, w)
    b = Relu(a)
    p = MaxPool<kernel_shape = [2,2], strides = [2,2]>(b)
    c = Conv<pads = [1,1,1,1]>(p, v)
    d = Add(c, p)
    f = Relu(d)
    g = GlobalAveragePool(f)
    h = Flatten(g)
    y = MatMul(h, head)
}"""
TIED = """(float[N,3,12,12] x) => (float[N,8,10,10] y) {
    a = Conv(x, w)
    b = Conv<pads = [1,1,1,1]>(a, v)
    y = ConvTranspose<pads = [1,1,1,1]>(b, v)
}"""


def drawn(*shape):
    return RNG.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))


WEIGHTS = {"w": drawn(8, 3, 3, 3), "v": drawn(8, 8, 3, 3), "head": drawn(8, 4)}


def residual():
    return parsed(RESIDUAL, **WEIGHTS)


def tied():
    return parsed(TIED, w=WEIGHTS["w"], v=WEIGHTS["v"])


@pytest.fixture
def openvino():
    pytest.importorskip("onnxruntime_ep_openvino", reason="needs the extra openvino")


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A cache that is on, and empty."""
    monkeypatch.setenv("ONNXLENS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("ONNXLENS_CACHE_SIZE", "100")
    return tmp_path / "cache" / "providers"


# -- without any plugin ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wish", "near"), [("openvno", "openvino"), ("web-gpu", "webgpu"), ("cpu:0", "cpu"), ("../x:gpu", "")]
)
def test_an_unknown_name_is_answered_with_the_nearest(wish, near):
    with pytest.raises(BadRequest, match=f"no provider '{wish}'.*{near}"):
        provider.choose(wish)


@pytest.mark.parametrize("wish", ["mlx", "webgpu", "nv-tensorrt-rtx:gpu"])
def test_a_plugin_that_is_missing_is_said_to_be_installed(wish):
    name = wish.partition(":")[0]
    if is_installed(name):
        pytest.skip(f"onnxruntime-ep-{name} is installed")
    with pytest.raises(Unavailable, match=f"not installed: pip install onnxruntime-ep-{name};"):
        provider.choose(wish)


BROKEN = {
    "cannot be imported": "raise OSError('libcuda.so: no such file\\nat all')",
    "says nothing": "",
    "has no library": "def get_ep_name(): return 'E'\ndef get_library_path(): return '/nowhere/lib.so'",
    "has another library": "def ep_name(): return 'E'\ndef library_path(): return __file__",
}


@pytest.mark.parametrize("code", BROKEN.values(), ids=BROKEN)
def test_a_package_that_does_not_load_is_refused_in_a_line(code, tmp_path):
    package = tmp_path / "onnxruntime_ep_of_mine"
    package.mkdir()
    (package / "__init__.py").write_text(code)
    onnx.save(residual(), tmp_path / "m.onnx")
    cv2.imwrite(str(tmp_path / "red.png"), np.zeros((12, 12, 3), np.uint8))
    command = (
        "predict",
        str(tmp_path / "m.onnx"),
        str(tmp_path / "red.png"),
        "--preset",
        "unit",
        "--provider",
        "of-mine",
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-m", "onnxlens", *command],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert "provider of-mine cannot be used: " in done.stderr
    assert "onnxruntime-ep-of-mine" in done.stderr


# -- the check ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "far"),
    [
        (lambda a: a, 0),
        (lambda a: a * np.float32(1.01), 0.01),
        (lambda a: a * np.float32(1.5), 0.5),
        (lambda a: -a, 2),
        (lambda a: np.zeros_like(a), 1),
        (lambda a: np.where(a == a.max(), np.nan, a), np.inf),
        (lambda a: a[:, :2], np.inf),
    ],
)
def test_an_answer_is_right_that_is_near_the_norm_of_the_cpus(change, far):
    right = {"grad/x": X}
    assert distance(change(X), X) == pytest.approx(far, rel=1e-4)
    if far <= RIGHT:
        compare({"grad/x": change(X)}, right, lambda: 1e-6, "openvino:cpu")
    else:
        with pytest.raises(Unavailable, match=r"openvino:cpu is wrong .*'grad/x' is .* off .*--provider cpu"):
            compare({"grad/x": change(X)}, right, lambda: 1e-6, "openvino:cpu")


@pytest.mark.parametrize(
    ("by", "far", "said"),
    [
        (0.05, 0.09, ""),
        (0.05, 0.2, "is wrong with this model: a gradient is 0.2 of"),
        (0.001, 0.03, "is wrong with this model: a gradient is 0.03 of"),
        (3, 3, "cannot be checked .*: rounding alone carries .* 3 of"),
    ],
)
def test_what_rounding_carries_on_the_cpu_too_is_told_from_what_is_wrong(by, far, said):
    right, found = ({"onnxlens/a": X * np.float32(1 + a)} for a in (0, far))
    if not said:
        compare(found, right, lambda: by, "openvino:cpu")
        return
    with pytest.raises(Unavailable, match=rf"openvino:cpu {said}.*--provider cpu"):
        compare(found, right, lambda: by, "openvino:cpu")


def test_a_model_without_outputs_is_not_wrong():
    compare({}, {}, lambda: 0, "openvino:cpu")


def test_what_was_right_is_kept_by_its_name_and_no_more_than_so_many(kept):
    assert not cache.is_right("a")
    cache.set_right("a")
    assert cache.is_right("a")
    assert (kept / "a").read_bytes() == b""
    for i in range(cache.RIGHT_ONES + 5):
        cache.set_right(f"k{i}")
    assert len(list(kept.iterdir())) == cache.RIGHT_ONES
    assert cache.is_right(f"k{cache.RIGHT_ONES + 4}")
    cache.set_right("")
    assert len(list(kept.iterdir())) == cache.RIGHT_ONES


# -- OpenVINO on its CPU -----------------------------------------------------------------------------------


@pytest.mark.reference
def test_the_device_is_said(openvino):
    used, why = provider.choose("openvino:cpu")
    assert used == "openvino:cpu"
    assert why.startswith("openvino:cpu, by ")
    assert "onnxruntime-ep-openvino" in why
    (found,) = [p for p in provider.installed() if p["provider"] == "openvino"]
    assert "openvino:cpu" in [d["device"] for d in found["devices"]]
    assert set(PLUGINS) <= set(provider.names())


@pytest.mark.reference
def test_a_device_that_is_not_there_is_answered_with_those_that_are(openvino):
    with pytest.raises(BadRequest, match=r"openvino has no device 'tpu' here; there are: .*openvino:cpu"):
        provider.choose("openvino:tpu")


@pytest.mark.reference
@pytest.mark.parametrize("threads", [None, 1])
def test_maps_are_those_of_the_cpu_in_single_precision(openvino, threads):
    networks = [Network(residual(), wish, threads) for wish in ("openvino:cpu", "cpu")]
    for make in (Explainer, lambda n: Projector(n, "saliency"), lambda n: Projector(n, "guided")):
        found, right = (make(network)({"x": X})[0].values for network in networks)
        assert np.linalg.norm(right) > 0
        assert distance(found, right) < 1e-5


@pytest.mark.reference
def test_the_plugin_computes_the_graph_and_not_the_cpu_in_its_name(openvino):
    graph = Network(residual(), "cpu").graph
    session = Session(graph, provider="openvino:cpu")._session
    assert {part.ep_name for part in session.get_provider_graph_assignment_info()} == {
        "OpenVINOExecutionProvider"
    }


@pytest.mark.reference
def test_weights_in_files_are_read(openvino, tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(residual(), path, save_as_external_data=True, location="w.bin", size_threshold=0)
    found, right = (Network(path, wish).run({"x": X})["y"] for wish in ("openvino:cpu", "cpu"))
    assert distance(found, right) < 1e-5


@pytest.mark.reference
def test_a_model_that_it_is_wrong_with_is_refused(openvino, kept):
    network = Network(tied(), "openvino:cpu")
    for _ in range(2):
        with pytest.raises(Unavailable, match=r"openvino:cpu is wrong with this model: 'y' is .*cpu"):
            network.run({"x": X})
    assert not kept.exists()
    assert distance(Session(network.graph, provider="openvino:cpu")({"x": X})["y"], X[:, :1]) == np.inf


@pytest.mark.reference
def test_a_gradient_as_it_is_would_be_refused(openvino):
    """The words for OpenVINO are what makes it right."""
    graph = training_graph(residual())
    feeds = {"x": X, "seed/y": np.ones((1, 4), np.float32)}
    right = Session(graph)(feeds)
    with pytest.raises(Unavailable, match="'grad/x' is "):
        compare(Session(graph, provider="openvino:cpu")(feeds), right, lambda: 1e-6, "openvino:cpu")
    compare(Network(residual(), "openvino:cpu").compile(graph)(feeds), right, lambda: 1e-6, "openvino:cpu")


@pytest.mark.reference
def test_what_was_right_once_is_not_asked_again(openvino, kept):
    network = Network(residual(), "openvino:cpu")
    network.run({"x": np.zeros_like(X)})
    assert not kept.exists()  # zeros throughout say nothing
    network.run({"x": X})
    (first,) = kept.iterdir()
    Network(residual(), "openvino:cpu").run({"x": X})
    assert list(kept.iterdir()) == [first]
    other = residual()
    other.graph.initializer[0].CopyFrom(
        onnx.numpy_helper.from_array(WEIGHTS["w"].astype(np.float32) * 2, other.graph.initializer[0].name)
    )
    Network(other, "openvino:cpu").run({"x": X})
    assert len(list(kept.iterdir())) == 2
