"""Large files are read without their weights, which give the same answers from where they lie."""

import gc
import shutil
import tempfile

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from oracles.networks import parsed

from onnxlens.engine.autodiff.gradient import training_graph
from onnxlens.engine.canonical.canonical import canonical
from onnxlens.engine.errors import BadModel
from onnxlens.engine.graph import external, file
from onnxlens.engine.graph.light import light_model
from onnxlens.engine.runtime import aside, session
from onnxlens.engine.runtime.network import Network

RNG = np.random.default_rng(7)
IMAGE = RNG.standard_normal((2, 64, 8, 8)).astype("f")
FEEDS = {"x": IMAGE, "seed/y": RNG.standard_normal((2, 40)).astype("f")}


@pytest.fixture(autouse=True)
def large(monkeypatch):
    """Every file counts as large."""
    monkeypatch.setattr(file, "FILE", 0)


@pytest.fixture
def model():
    body = """(float[N,64,8,8] x) => (float[N,40] y) {
        c = Conv <pads = [1, 1, 1, 1]> (x, kernel)
        r = Relu (c)
        f = Flatten (r)
        y = Gemm <transB = 1> (f, dense, bias)
    }"""
    kernel = RNG.standard_normal((512, 64, 3, 3)) / 24
    return parsed(body, kernel=kernel, dense=RNG.standard_normal((40, 512 * 64)) / 180, bias=np.ones(40))


@pytest.fixture(params=range(4))
def path(request, tmp_path, model):
    """The model's file, its weights at a byte of each remainder by 4."""
    model.doc_string = "x" * request.param
    proto = onnx.ModelProto()
    proto.doc_string = model.doc_string
    model.ClearField("doc_string")
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString() + model.SerializeToString())
    return tmp_path / "m.onnx"


def test_the_model_is_the_one_in_the_file(path):
    whole, light = onnx.load(path), light_model(path)
    assert [external.is_external(t) for t in light.graph.initializer] == [True, True, False]
    for tensor in light.graph.initializer:
        if external.is_external(tensor):
            tensor.raw_data = external.stored(tensor).tobytes()
            tensor.ClearField("data_location")
            tensor.ClearField("external_data")
    assert light == whole


def test_answers_and_gradients_keep_their_bits(path, model):
    from_file, from_memory = Network(path, provider="cpu"), Network(model, provider="cpu")
    for name in ("c", "y", "dense"):
        found = from_file.run({"x": IMAGE}, [name])[name]
        np.testing.assert_array_equal(found, from_memory.run({"x": IMAGE}, [name])[name])
    found, expected = (
        n.compile(training_graph(m))(FEEDS) for n, m in ((from_file, path), (from_memory, model))
    )
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


def test_the_largest_weights_of_the_way_back_are_read_where_they_lie(path, model, monkeypatch):
    expected = Network(model, provider="cpu").compile(training_graph(model))(FEEDS)
    made = []
    monkeypatch.setattr(session, "UNPACKED", 2**22)
    real = session._leave_unpacked
    monkeypatch.setattr(session, "_leave_unpacked", lambda m: (real(m), made.append(m)))
    found = Network(path, provider="cpu").compile(training_graph(path))(FEEDS)
    names = [i.name for m in made for i in m.graph.input if "unpacked" in i.name]
    assert names == ["onnxlens/unpacked/dense"]
    np.testing.assert_array_equal(found["y"], expected["y"])
    np.testing.assert_allclose(
        found["grad/x"], expected["grad/x"], atol=1e-5 * np.abs(expected["grad/x"]).max()
    )


def test_a_file_that_is_written_anew_is_noticed(path):
    graph = canonical(path)
    path.write_bytes(path.read_bytes() + b"\x3a\x00")
    with pytest.raises(BadModel, match="written anew"):
        graph["dense"].array  # noqa: B018
    with pytest.raises(BadModel, match="written anew"):
        session.Session(graph)


@pytest.mark.parametrize("share", [0.0001, 0.1, 0.5, 0.999])
def test_a_file_that_is_cut_off_is_refused(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(BadModel, match=r"m\.onnx"):
        file.read_model(path)


def test_any_bytes_are_read_as_before_or_refused(tmp_path, monkeypatch):
    seed = parsed("(float[2] x) => (float[2] y) { y = Add (x, w) }", w=[1, 2]).SerializeToString()
    for _ in range(300):
        data = bytearray(seed)
        for at in RNG.integers(0, len(data), 3):
            data[at] = RNG.integers(0, 256)
        (tmp_path / "m.onnx").write_bytes(data)
        answers = []
        for size in (0, 2**30):
            monkeypatch.setattr(file, "FILE", size)
            try:
                answers.append(file.read_model(tmp_path / "m.onnx").SerializeToString(deterministic=True))
            except BadModel:
                answers.append(None)
        assert answers[0] == answers[1]


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.dims.append(2),
        lambda t: setattr(t, "data_type", TensorProto.STRING),
        lambda t: t.external_data.add(key="location", value="elsewhere"),
    ],
)
def test_weights_that_are_not_what_they_say_are_not_left_in_the_file(tmp_path, model, change):
    change(model.graph.initializer[1])
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert light_model(tmp_path / "m.onnx").graph.initializer[1] == model.graph.initializer[1]


def test_kernels_that_were_turned_leave_no_file(path, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    written = []
    real = aside.left_in
    monkeypatch.setattr(aside, "left_in", lambda p, *a, **k: (written.append(p), real(p, *a, **k)))
    compiled = Network(path, provider="cpu").compile(training_graph(path))
    gc.collect()
    assert written
    assert not list((tmp_path / "temporary").iterdir())
    assert np.isfinite(compiled(FEEDS)["grad/x"]).all()


def test_without_a_temporary_folder_they_stay_in_memory(path, monkeypatch):
    expected = Network(path, provider="cpu").compile(training_graph(path))(FEEDS)

    def none(*_, **__):
        raise OSError("no space left on device")

    monkeypatch.setattr(tempfile, "mkdtemp", none)
    found = Network(path, provider="cpu").compile(training_graph(path))(FEEDS)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


def test_a_model_in_a_folder_of_any_name(path, tmp_path):
    folder = tmp_path / "Modèle nº 1\n"
    folder.mkdir()
    shutil.copy(path, folder / "m.onnx")
    expected = Network(path, provider="cpu").run({"x": IMAGE})["y"]
    np.testing.assert_array_equal(Network(folder / "m.onnx", provider="cpu").run({"x": IMAGE})["y"], expected)
