"""`onnxlens grad`: the training graph in one file or in two, whole or not at all."""

import numpy as np
import onnx
import onnxruntime
import pytest
from oracles.networks import parsed

from onnxlens.models.storage.folder import write_together


@pytest.fixture
def wide(place):
    """A model with weights enough to lie in a file of their own."""
    rng = np.random.default_rng(2)
    body = "(float[1,40] x) => (float[1,3] y) { h = MatMul (x, w) r = Relu (h) y = MatMul (r, v) }"
    onnx.save(parsed(body, w=rng.standard_normal((40, 60)), v=rng.standard_normal((60, 3))), "wide.onnx")
    return place


def answers(path):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    feeds = {"x": np.linspace(-1, 1, 40, dtype="f")[None], "seed/y": np.array([[1, 2, 3]], "f")}
    return session.run(["y", "grad/x"], feeds)


def test_weights_in_a_file_of_their_own(wide, run):
    (one,) = run("grad", "wide.onnx", "-o", "one.onnx", "--json").records
    (two,) = run("grad", "wide.onnx", "-o", "out/two.onnx", "--external-data", "--json").records
    assert "data" not in one
    assert two["data"] == "out/two.onnx.data"
    assert (two["inputs"], two["outputs"]) == (one["inputs"], one["outputs"])
    assert sorted(p.name for p in (wide / "out").iterdir()) == ["two.onnx", "two.onnx.data"]
    assert (wide / "out/two.onnx.data").stat().st_size >= 4 * 40 * 60
    for found, expected in zip(answers("out/two.onnx"), answers("one.onnx"), strict=True):
        np.testing.assert_array_equal(found, expected)
    (wide / "out").rename(wide / "elsewhere")  # the two refer to each other, not to where they were made
    answers("elsewhere/two.onnx")
    (again,) = run("grad", "elsewhere/two.onnx", "-o", "again.onnx", "--of", "y", "--json").records
    assert again["outputs"][-1].startswith("grad/x")


def test_a_file_of_weights_is_not_overwritten_unasked(wide, run):
    (wide / "g.onnx.data").write_bytes(b"mine")
    done = run("grad", "wide.onnx", "-o", "g.onnx", "--external-data")
    assert (done.code, done.out) == (2, "")
    assert "g.onnx.data exists" in done.err
    assert not (wide / "g.onnx").exists()
    assert run("grad", "wide.onnx", "-o", "g.onnx").code == 0  # it writes no such file
    assert (wide / "g.onnx.data").read_bytes() == b"mine"
    assert run("grad", "wide.onnx", "-o", "g.onnx", "--external-data", "--overwrite").code == 0
    answers("g.onnx")


def test_a_model_may_be_replaced_by_its_own_training_graph(wide, run):
    run("grad", "wide.onnx", "-o", "g.onnx", "--external-data")
    before = answers("g.onnx")
    options = ("--of", "r", "--wrt", "w", "--external-data", "--overwrite")
    assert run("grad", "g.onnx", "-o", "g.onnx", *options).code == 0
    session = onnxruntime.InferenceSession("g.onnx", providers=["CPUExecutionProvider"])
    assert [o.name for o in session.get_outputs()] == ["y", "grad/x", "grad/w"]
    feeds = {"x": np.linspace(-1, 1, 40, dtype="f")[None], "seed/y": np.array([[1, 2, 3]], "f")}
    found = session.run(["y", "grad/x"], feeds | {"seed/r": np.ones((1, 60), "f")})
    for array, expected in zip(found, before, strict=True):
        np.testing.assert_array_equal(array, expected)


def test_two_files_or_none(tmp_path):
    def broken():
        yield b"some"
        raise OSError("the disk is full")

    (tmp_path / "model").write_bytes(b"old")
    with pytest.raises(OSError, match="full"):
        write_together({tmp_path / "data": [b"new"], tmp_path / "model": broken()})
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("model", b"old")]
