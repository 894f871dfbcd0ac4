"""Exports held against the graph that they were written from, in the runtimes that are installed."""

import sys

import numpy as np
import onnx
import pytest
from oracles.networks import parsed

from onnxlens.engine.autodiff.gradient import training_graph
from onnxlens.engine.errors import BadRequest, Unavailable
from onnxlens.engine.runtime.exports.checked import checked, distance, steady
from onnxlens.engine.runtime.exports.exported import exported
from onnxlens.engine.runtime.exports.installed import INSTALLED, answers, ran, version

DENSE = "(float[N,4] x) => (float[N,3] y) { a = MatMul(x, w)  b = Relu(a)  y = MatMul(b, u) }"
SKIP = """(float[1,4,6,6] x) => (float[1,4,6,6] y) {
    a = Conv<pads = [1,1,1,1]>(x, w)
    y = Add(a, x)
}"""


def drawn(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def dense():
    return parsed(DENSE, w=drawn(4, 5), u=drawn(5, 3))


def test_a_right_file_is_right_where_it_runs(tmp_path):
    graph = training_graph(dense())
    onnx.save(exported(graph).to_model(), tmp_path / "a file.onnx")
    checks = checked(tmp_path / "a file.onnx", steady(graph))
    assert [c.runtime for c in checks] == [name for name in INSTALLED if version(name)]
    found = {c.runtime: c.verdict for c in checks}
    assert found["onnxruntime"] == found["reference"] == "right"
    assert "wrong" not in found.values()


def test_a_file_that_says_something_else_is_wrong(tmp_path):
    graph = training_graph(dense())
    other = training_graph(parsed(DENSE, w=drawn(4, 5), u=1.01 * drawn(5, 3)))
    onnx.save(other.to_model(), tmp_path / "other.onnx")
    (check,) = [c for c in checked(tmp_path / "other.onnx", steady(graph)) if c.runtime == "onnxruntime"]
    assert check.verdict == "wrong"
    assert check.off == pytest.approx(0.01, rel=0.01)


def test_a_file_that_does_not_run_is_refused_with_what_was_said(tmp_path):
    (tmp_path / "no.onnx").write_bytes(b"no")
    for check in checked(tmp_path / "no.onnx", steady(training_graph(dense()))):
        assert check.verdict == "refused"
        assert check.said
        assert "\n" not in check.said


@pytest.mark.reference
@pytest.mark.parametrize(
    ("name", "module"), [("openvino", "openvino"), ("openvino-plugin", "onnxruntime_ep_openvino")]
)
def test_openvino_is_found_wrong_without_and_right_with_its_words(tmp_path, name, module):
    pytest.importorskip(module)
    graph = training_graph(parsed(SKIP, w=drawn(4, 4, 3, 3)))
    for runtime, verdict in (("any", "wrong"), ("openvino", "right")):
        onnx.save(exported(graph, runtime).to_model(), tmp_path / f"{runtime}.onnx")
        found = {c.runtime: c.verdict for c in checked(tmp_path / f"{runtime}.onnx", steady(graph))}
        assert found[name] == verdict


@pytest.mark.reference
def test_a_file_of_which_a_plugin_takes_nothing_is_refused(tmp_path):
    """It would be the CPU that answers."""
    pytest.importorskip("onnxruntime_ep_openvino")
    onnx.save(parsed("(float[2,2] x) => (float y) { y = Det(x) }"), tmp_path / "m.onnx")
    with pytest.raises(Unavailable, match=r"^provider openvino:cpu takes nothing of this file$"):
        answers("openvino-plugin", tmp_path / "m.onnx", {"x": np.eye(2, dtype=np.float32)})


def test_answers_come_by_name_whatever_the_names(tmp_path):
    model = parsed("(float[2] file) => (float[2] names) { names = Neg(file) }")
    model.graph.node[0].output[0] = model.graph.output[0].name = "a/../b"
    onnx.save(model, tmp_path / "m.onnx")
    found = answers("onnxruntime", tmp_path / "m.onnx", {"file": np.array([1, 2], np.float32)})
    np.testing.assert_array_equal(found.pop("a/../b"), [-1, -2])
    assert not found


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import os; os.abort()", "the process ended with -6"),
        ("import sys; sys.exit('first\\nlast words\\n\\n')", "last words"),
        ("import sys; sys.exit(3)", "the process ended with 3"),
        ("import sys; sys.exit('long' * 10**5)", "^(long){75}$"),
    ],
)
def test_what_ends_a_process_is_said(program, said):
    with pytest.raises(Unavailable, match=said):
        ran([sys.executable, "-c", program])


@pytest.mark.parametrize(
    ("found", "right", "expected"),
    [
        ([3.0, 4.0], [3.0, 4.0], 0),
        ([3.0, 5.0], [3.0, 4.0], 0.2),
        ([0.5], [0.0], 0.5),
        ([np.nan, 5.0], [np.nan, 5.0], 0),
        ([np.nan, 5.0], [1.0, 5.0], np.inf),
        ([1.0, 5.0], [np.nan, 5.0], np.inf),
        ([[1.0]], [1.0], np.inf),
        ([], [], 0),
    ],
)
def test_a_distance_is_over_the_norm_of_what_is_right(found, right, expected):
    assert distance(np.array(found), np.array(right)) == pytest.approx(expected)


def test_inputs_are_drawn_where_nothing_is_at_a_kink():
    """Numbers of a few bits meet their thresholds often."""
    steps = "Relu(a)".join(["(float[4] x) => (float[4] y) { a = Sub(x, t)  y = ", " }"])
    probe = steady(training_graph(parsed(steps, t=np.zeros(4))))
    assert probe.moved < 1e-5
    assert {*probe.feeds} == {"x", "seed/y"}
    assert {*probe.right} == {"y", "grad/x"}


def test_text_is_handed_over_and_has_to_be_the_same(tmp_path):
    body = "(float[2] x, string[2] s) => (float[2] y, string[2] t) { y = Sin(x)  t = Identity(s) }"
    graph = training_graph(parsed(body), of=["y"], wrt=["x"])
    onnx.save(graph.to_model(), tmp_path / "text.onnx")
    (check,) = [c for c in checked(tmp_path / "text.onnx", steady(graph)) if c.runtime == "onnxruntime"]
    assert check.verdict == "right"
    assert distance(np.array(["a", "b"], object), np.array(["a", "c"], object)) == np.inf


def test_single_numbers_are_drawn_too():
    """A condition, and what is differentiated."""
    body = """(float x, bool b) => (float y) {
        y = If(b) <then_branch = t () => (p) { p = Exp(x) }, else_branch = e () => (q) { q = Sin(x) }>
    }"""
    feeds = steady(training_graph(parsed(body))).feeds
    assert {name: (array.shape, array.dtype.kind) for name, array in feeds.items()} == {
        "x": ((), "f"),
        "b": ((), "b"),
        "seed/y": ((), "f"),
    }


def test_an_open_batch_is_two_and_other_sizes_have_to_be_known():
    assert steady(training_graph(dense())).feeds["x"].shape == (2, 4)
    graph = training_graph(parsed("(float[N,3,H,W] x) => (float[N,3,H,W] y) { y = Tanh(x) }"))
    with pytest.raises(BadRequest, match=r"how large 'x' is \(N, 3, H, W\): say --size or --batch"):
        steady(graph)
    graph = training_graph(parsed("(float[9000000,90000] x) => (float[9000000,90000] y) { y = Tanh(x) }"))
    with pytest.raises(BadRequest, match="how large 'x' is"):
        steady(graph)
