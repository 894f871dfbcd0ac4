"""What commands make of models with several outputs, and of those that answer something else than classes."""

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from oracles.toys import COLOURS, UNIT, blob, colours


@pytest.fixture
def photo(place):
    cv2.imwrite("red.png", blob(colour=0)[..., ::-1])
    return "red.png"


def with_outputs(*outputs, drop=True):
    """The classifier of colours, with boxes (N, 4), warm (N, 2) and likely (N, 5) behind its features."""
    model = colours(preprocess=UNIT, labels=None)
    rng = np.random.default_rng(0)
    for name, count in (("B", 4), ("T", 2)):
        array = rng.normal(size=(3, count)).astype(np.float32) * 30
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    model.graph.node.extend(
        [
            helper.make_node("MatMul", ["flat", "B"], ["boxes"]),
            helper.make_node("MatMul", ["flat", "T"], ["t"]),
            helper.make_node("Softmax", ["t"], ["warm"]),
            helper.make_node("Sigmoid", ["scores"], ["likely"]),
        ]
    )
    del model.graph.output[:]
    sizes = {"boxes": ["N", 4], "warm": ["N", 2], "likely": ["N", 5], "probabilities": ["N", 5]}
    sizes |= {"relu": ["N", 3, 32, 32], "scores": ["N", 5]}
    for name in outputs:
        model.graph.output.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, sizes[name]))
    onnx.save(model, "model.onnx")


def truth(output):
    session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    return session.run([output], {"image": UNIT(blob(colour=0))[0]})[0][0]


def said(run, *more):
    (record,) = run("predict", "model.onnx", "red.png", "--json", *more).records
    return {p["index"]: p["probability"] for p in record["predictions"]}


def test_the_output_of_the_classes_is_found_or_said(photo, run):
    with_outputs("boxes", "probabilities")
    np.testing.assert_allclose([said(run)[i] for i in range(5)], truth("probabilities"), atol=1e-6)
    with_outputs("warm", "probabilities")
    done = run("predict", "model.onnx", photo)
    assert done.code == 2
    assert (
        "warm (2: behind a Softmax), probabilities (5: behind a Softmax); say which with --output" in done.err
    )
    np.testing.assert_allclose([said(run, "--output", "warm")[i] for i in range(2)], truth("warm"), atol=1e-6)
    labels = "\n".join(COLOURS)
    Path("labels.txt").write_text(labels)
    assert len(said(run)) == 5  # as many as there are names
    done = run("predict", "model.onnx", photo, "--output", "wram")
    assert (done.code, "nearest: warm" in done.err) == (2, True)


def test_a_readout_that_is_said(photo, run):
    with_outputs("scores")
    z = truth("scores").astype(np.float64)
    np.testing.assert_allclose(sorted(said(run).values()), sorted(np.exp(z) / np.exp(z).sum()), atol=1e-6)
    for kind, expected in (("labels", 1 / (1 + np.exp(-z))), ("values", None)):
        done = run("predict", "model.onnx", photo, "--json", "--readout", kind)
        found = {p["index"]: p for p in done.records[0]["predictions"]}
        if expected is None:
            assert all(p["probability"] is None for p in found.values())
            np.testing.assert_allclose([found[i]["value"] for i in range(5)], z, rtol=1e-5)
        else:
            np.testing.assert_allclose([found[i]["probability"] for i in range(5)], expected, atol=1e-6)
    done = run("predict", "model.onnx", photo, "--readout", "values")
    assert f"{z.max():.4g}" in done.out


def test_a_regression_says_a_value(photo, run):
    with_outputs("scores")
    Path("config.json").write_text(json.dumps({"problem_type": "regression"}))
    done = run("predict", "model.onnx", photo, "--json")
    best = done.records[0]["predictions"][0]
    assert best["probability"] is None
    assert best["value"] == pytest.approx(truth("scores").max(), rel=1e-5)
    for command in ("gradcam", "occlusion", "look", "run"):  # which draw and print it all the same
        done = run(command, "model.onnx", photo, "-o", f"out-{command}")
        assert done.code == 0, done.err
        assert "nan" not in done.out


@pytest.mark.parametrize("command", ["gradcam", "occlusion", "saliency", "guided", "deconvnet", "look"])
def test_every_command_takes_the_output(command, photo, run):
    with_outputs("warm", "likely")
    target = ["--target", "0"]
    done = run(command, "model.onnx", photo, *target, "--output", "likely", "-o", "out", "--json")
    assert done.code == 0, done.err
    manifest = json.loads(Path("out/manifest.json").read_text())
    p = manifest["results"][0]["predictions"]
    assert {q["index"] for q in p} <= set(range(5))
    np.testing.assert_allclose(
        [q["probability"] for q in p], truth("likely")[[q["index"] for q in p]], atol=1e-5
    )


def test_a_run_keeps_the_output_and_its_rows_have_what_it_says(photo, run):
    with_outputs("warm", "likely")
    assert run("run", "model.onnx", photo, "-o", "maps", "--output", "warm").code == 0
    row = json.loads(next(Path("maps/rows").iterdir()).read_text().splitlines()[0])
    assert row["probability"] == pytest.approx(truth("warm").max(), abs=1e-5)
    done = run("run", "model.onnx", photo, "-o", "maps", "--output", "likely", "--resume")
    assert (done.code, "readout" in done.err) == (2, True)  # another run's rows are not gone on with
    assert run("report", "maps").code == 0


@pytest.mark.parametrize(
    "words",
    [
        ["activations", "model.onnx", "red.png"],
        ["weights", "model.onnx"],
        ["top", "model.onnx", "red.png"],
        ["dream", "model.onnx", "red.png", "--iterations", "1", "--octaves", "1"],
        ["dream", "model.onnx", "--objective", "channel(relu, 1)", "--iterations", "2"],
        ["deconvnet", "model.onnx", "red.png"],
        ["saliency", "model.onnx", "red.png", "--layer", "relu"],
        ["guided", "model.onnx", "red.png", "--layer", "pool", "--channels", "0"],
        ["look", "model.onnx", "red.png"],
    ],
    ids=lambda words: words[0],
)
def test_what_needs_no_class_needs_none(words, photo, run):
    with_outputs("relu")
    done = run(*words, "-o", "out")
    assert done.code == 0, done.err
    assert any(Path("out").iterdir())


@pytest.mark.parametrize("command", ["predict", "gradcam", "occlusion", "saliency", "run"])
def test_what_has_no_classes_is_explained_all_the_same(command, photo, run):
    with_outputs("relu", "boxes")
    more = [] if command == "predict" else ["-o", "out"]
    named = run(command, "model.onnx", photo, *more, "--output", "relu")
    assert named.code == 0, named.err
    assert "nan" not in named.out.lower()


def test_a_class_of_what_has_none_is_refused_in_a_line(photo, run):
    with_outputs("relu", "boxes")
    named = run("gradcam", "model.onnx", photo, "-o", "out", "--output", "relu", "--target", "box(0)")
    assert named.code == 2
    assert "the model answers picture, which have no box" in named.err
    assert len(named.err.strip().splitlines()) <= 3
    assert not Path("out").exists()
