"""`onnxlens grad`: the training graph in one file or in two, whole or not at all."""

import numpy as np
import onnx
import onnxruntime
import pytest
from oracles.networks import parsed

from onnxlens.engine.runtime.exports.exported import RUNTIMES
from onnxlens.engine.runtime.exports.installed import INSTALLED
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


SMOOTH = "(float[1,6] x) => (float[1,3] y) { h = MatMul (x, w)  t = Tanh (h)  y = MatMul (t, v) }"
MODES = {
    "reverse": ({"seed/y": (1, 3)}, {"grad/x": (1, 6), "grad/t": (1, 4)}),
    "forward": ({"tangent/x": (1, 6), "tangent/t": (1, 4)}, {"jvp/y": (1, 3)}),
    "jacobian": ({}, {"jacobian/y/x": (1, 3, 1, 6), "jacobian/y/t": (1, 3, 1, 4)}),
    "hvp": (
        {"seed/y": (1, 3), "tangent/x": (1, 6), "tangent/t": (1, 4)},
        {"grad/x": (1, 6), "grad/t": (1, 4), "hvp/x": (1, 6), "hvp/t": (1, 4)},
    ),
}


@pytest.fixture
def small(place):
    rng = np.random.default_rng(3)
    onnx.save(parsed(SMOOTH, w=rng.standard_normal((6, 4)), v=rng.standard_normal((4, 3))), "small.onnx")
    return place


@pytest.mark.parametrize("seeds", [None, 5])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_is_a_file_that_runs(small, run, mode, seeds):
    taken, given = MODES[mode]
    if mode == "jacobian" and seeds:
        pytest.skip("it has all of them")
    options = ["--mode", mode, "--wrt", "x", "--wrt", "t", *(["--seeds", str(seeds)] if seeds else [])]
    (said,) = run("grad", "small.onnx", "-o", "out.onnx", *options, "--json").records
    assert (said["inputs"], said["outputs"]) == (["x", *taken], ["y", *given])
    single = ("seed/y", "grad/x", "grad/t") if mode == "hvp" else ()

    def shape(name, own):
        return own if not seeds or name in single else (seeds, *own)

    feeds = {name: np.ones(shape(name, own), "f") for name, own in taken.items()}
    session = onnxruntime.InferenceSession("out.onnx", providers=["CPUExecutionProvider"])
    found = session.run(list(given), feeds | {"x": np.linspace(-1, 1, 6, dtype="f")[None]})
    assert [y.shape for y in found] == [shape(name, own) for name, own in given.items()]
    assert all(np.isfinite(y).all() for y in found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--mode", "backward"), "'backward' is not one of 'reverse', 'forward', 'jacobian', 'hvp'"),
        (("--seeds", "0"), "0 seeds: say how many vectors there are in one pass, 1 to 2,147,483,647"),
        (("--seeds", "-3", "--mode", "hvp"), "-3 seeds"),
        (("--seeds", str(10**30)), "seeds: say how many"),
        (("--seeds", "many"), "'many' is not a valid integer"),
        (("--mode", "jacobian", "--seeds", "2"), "--mode jacobian takes no --seeds: it has all of them"),
        (("--mode", "forward", "--rules", "guided"), "--rules guided are those of --mode reverse"),
        (("--mode", "jacobian", "--of", "nope"), "the model has no value 'nope'"),
        (("--mode", "forward", "--wrt", "nope"), "the model has no value 'nope'"),
    ],
)
def test_a_derivative_that_there_is_not_is_one_line_and_no_file(small, run, options, message):
    done = run("grad", "small.onnx", "-o", "out.onnx", *options)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (small / "out.onnx").exists()


def test_a_jacobian_larger_than_memory_says_what_to_ask_for(place, run):
    onnx.save(parsed("(float[1,64,4096,4096] x) => (float[1,64,4096,4096] y) { y = Tanh (x) }"), "large.onnx")
    done = run("grad", "large.onnx", "-o", "out.onnx", "--mode", "jacobian")
    assert done.code == 2
    assert "has 1,152,921,504,606,846,976 numbers" in done.err
    assert "grad --mode forward or reverse" in done.err
    assert not (place / "out.onnx").exists()


@pytest.fixture
def free(place):
    """A model whose batch is open."""
    body = "(float[N,4] x) => (float[N,3] y) { h = MatMul (x, w) y = Relu (h) }"
    onnx.save(parsed(body, w=np.ones((4, 3))), "free.onnx")
    return place


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_for_a_runtime_with_a_batch(free, run, runtime):
    done = run("grad", "free.onnx", "-o", "g.onnx", "--for", runtime, "--batch", 3)
    assert done.code == 0, done.err
    model = onnx.load("g.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert {v.type.tensor_type.shape.dim[0].dim_value for v in model.graph.input} == {3}
    assert runtime in run("grad", "--help").out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--for", "openvin"], "no runtime is called 'openvin'"),
        (["--batch", "0"], "0 is not in the range"),
        (["--for", "openvino", "--seeds", "20000"], "not right with a Scan of gradients"),
        (["--for", "openvino", "--mode", "jacobian"], "bind sizes (--batch, --size)"),
    ],
)
def test_a_runtime_or_a_batch_that_cannot_be(free, run, words, said):
    done = run("grad", "free.onnx", "-o", "g.onnx", *words)
    assert done.code == 2
    assert said in done.err
    assert not (free / "g.onnx").exists()


ROUNDS = """(float[1,3,4,4] x, bool flag) => (float[1,3,4,4] y) {{ t = Loop ({trips}, {begin}, x) <
    body = round (int64 i, bool go, float[1,3,4,4] s) => (bool again, float[1,3,4,4] n) {{
    n = Sin (s) {again}
}}> y = Identity (t) }}"""
KEPT, TRUE = "k = Identity (go) again = Identity (k)", "again = Constant <value = bool {1}> ()"


@pytest.mark.parametrize(
    ("trips", "begin", "again"),
    [('""', '""', KEPT), ('""', "yes", KEPT), ('""', "yes", TRUE), ("most", "yes", KEPT)],
)
def test_a_loop_that_never_ends_is_refused(place, run, trips, begin, again):
    body = ROUNDS.format(trips=trips, begin=begin, again=again)
    onnx.save(parsed(body, yes=np.array(True), most=np.int64(2**63 - 1)), "endless.onnx")
    done = run("grad", "endless.onnx", "-o", "g.onnx")
    assert (done.code, done.out) == (1, "")
    assert done.err == (
        "onnxlens: Loop node 't' never ends: it has no number of rounds, and nothing changes its condition\n"
    )
    assert not (place / "g.onnx").exists()


@pytest.mark.parametrize(
    ("trips", "begin", "again"),
    [('""', '""', "again = Less (i, two)"), ("two", '""', KEPT), ('""', "flag", "again = Not (go)")],
)
def test_a_loop_that_something_ends_is_none(place, run, trips, begin, again):
    onnx.save(parsed(ROUNDS.format(trips=trips, begin=begin, again=again), two=np.int64(2)), "rounds.onnx")
    done = run("grad", "rounds.onnx", "-o", "g.onnx", "--of", "y", "--wrt", "x")
    assert done.code == 0, done.err


def test_a_batch_that_is_fixed_is_refused(wide, run):
    done = run("grad", "wide.onnx", "-o", "g.onnx", "--batch", 4)
    assert done.code == 2
    assert done.err.startswith("onnxlens: the batch of this model is 1")


def test_a_check_says_of_each_runtime_how_far_it_is_off(free, run):
    done = run("grad", "free.onnx", "-o", "g.onnx", "--check")
    assert done.code == 0, done.err
    lines = [line.split() for line in done.out.splitlines()]
    verdicts = {words[0]: words[2] for words in lines if words[0] in INSTALLED}
    assert verdicts["onnxruntime"] == verdicts["reference"] == "right"
    (record,) = run("grad", "free.onnx", "-o", "j.onnx", "--check", "--json").records
    found = {c["runtime"]: c for c in record["checks"]}
    assert {name: c["verdict"] for name, c in found.items()} == verdicts
    assert found["onnxruntime"]["off"] <= found["onnxruntime"]["bound"]
    assert "checks" not in run("grad", "free.onnx", "-o", "k.onnx", "--json").records[0]


@pytest.mark.reference
def test_a_runtime_that_is_silently_wrong_is_said(place, run):
    pytest.importorskip("openvino")
    body = "(float[1,4,6,6] x) => (float[1,4,6,6] y) { a = Conv<pads = [1,1,1,1]>(x, w)  y = Add(a, x) }"
    onnx.save(parsed(body, w=np.random.default_rng(0).standard_normal((4, 4, 3, 3))), "skip.onnx")
    done = run("grad", "skip.onnx", "-o", "g.onnx", "--check")
    assert done.code == 1
    assert "is silently wrong with this file: export it with --for openvino" in done.err
    assert (place / "g.onnx").exists()
    done = run("grad", "skip.onnx", "-o", "o.onnx", "--check", "--for", "openvino", "--json")
    assert done.code == 0
    verdicts = {c["runtime"]: c["verdict"] for c in done.records[0]["checks"]}
    assert {v for name, v in verdicts.items() if name.startswith("openvino")} == {"right"}


def test_a_check_of_open_sizes_writes_no_file(place, run):
    onnx.save(parsed("(float[1,3,H,W] x) => (float[1,3,H,W] y) { y = Tanh(x) }"), "open.onnx")
    done = run("grad", "open.onnx", "-o", "g.onnx", "--check")
    assert done.code == 2
    assert "say --size or --batch" in done.err
    assert not (place / "g.onnx").exists()
