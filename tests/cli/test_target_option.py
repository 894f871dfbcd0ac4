"""`--target` through the real command line: what is explained, what is written of it, and what is refused."""

import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper
from oracles import answers
from oracles.answers import spots
from oracles.toys import UNIT, colours

RED, BLUE = ((20, 30), 0), ((44, 70), 2)


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    answers.save()
    for name, found in {"two": (RED, BLUE), "red": (RED,), "none": ()}.items():
        cv2.imwrite(f"{name}.png", spots(*found)[..., ::-1])
    cv2.imwrite("line.png", spots(((7, 20), 0), ((7, 60), 2), size=(14, 90))[..., ::-1])
    return tmp_path


def explain(run, model, photo, *words, out="out"):
    return run("explain", f"{model}.onnx", photo, *words, "-q", "-o", out)


@pytest.mark.parametrize(
    ("model", "photo", "labels"),
    [
        ("detector", "two.png", ["box 0: red", "box 1: blue", "box 2: blue", "box 3: red"]),
        ("segmenter", "two.png", ["red", "blue"]),
        ("reader", "line.png", ["rb", "char 0: r", "char 1: b"]),
    ],
)
def test_every_thing_has_its_line_and_its_map(model, photo, labels, desk, run):
    done = explain(run, model, photo, "--target", "every")
    assert done.code == 0
    lines = done.out.splitlines()
    assert sorted(line.split(": ", 1)[1].split(" (")[0] for line in lines) == sorted(labels)
    results = json.loads(Path("out/manifest.json").read_text())["results"]
    assert sorted(r["target"]["label"] for r in results) == sorted(labels)
    for line, record in zip(lines, results, strict=True):
        assert line.endswith(str(Path("out", record["files"]["overlay"])))
        assert f"-{record['target']['index']}-" in record["files"]["overlay"]
        assert Path("out", record["files"]["overlay"]).is_file()


@pytest.mark.parametrize("method", ["gradcam", "layercam", "saliency", "occlusion"])
@pytest.mark.parametrize(("target", "at"), [("box(red)", RED[0]), ("box(blue)", BLUE[0])])
def test_the_heat_is_where_the_thing_is(target, at, method, desk, run):
    options = ["--patch", "8"] if method == "occlusion" else []
    explain(run, "detector", "two.png", "--target", target, "--method", method, *options)
    (record,) = json.loads(Path("out/manifest.json").read_text())["results"]
    files = record["files"]
    values = np.load(Path("out", files.get("photo_map") or files["signal"]))
    strength = np.abs(values).max(-1) if values.ndim == 3 else np.nan_to_num(values)
    scale = np.array([60, 90]) / strength.shape[:2]
    peak = np.unravel_index(strength.argmax(), strength.shape[:2]) * scale
    assert np.abs(peak - at).max() < 12


def test_a_record_says_what_it_is_of(desk, run):
    done = explain(run, "detector", "two.png", "--target", "box(blue, 0.5)", "--json")
    target = done.records[0]["target"]
    assert (target["kind"], target["class"], target["label"]) == ("box", 2, "box 1: blue")
    assert 0.9 < target["probability"] <= 1
    y0, x0, y1, x1 = target["box"]
    assert y0 < 44 < y1
    assert x0 < 70 < x1
    assert json.loads(Path("out/manifest.json").read_text())["arguments"]["targets"] == ["box(blue, 0.5)"]


@pytest.mark.parametrize(
    ("model", "target", "code", "said"),
    [
        ("detector", "region(red)", 2, "answers boxes, which have no region: say box(0), box(LABEL)"),
        ("detector", "boxx(1)", 2, "no target is called 'boxx'; nearest: box"),
        ("detector", "box(0) box(1)", 2, "position 7 ('box(1)'): expected + or -"),
        ("detector", "element(output1, 3)", 2, "no value 'output1'; nearest: output0"),
        ("detector", "element(output0, 4, 64)", 2, "of shape [7, 64] has no element [4, 64]"),
        ("detector", "box(green)", 1, "there is no box of 'green' here; found were: red, blue"),
        ("detector", "box(9)", 1, "no box 9 here: they go from 0 to 3"),
        ("segmenter", "region(green)", 1, "there is no region of 'green' here; found were: "),
        ("segmenter", "region(sky)", 2, "no class is called 'sky'; there are: background, red, green"),
        ("embedder", "similar(nowhere.png)", 1, "nowhere.png"),
    ],
)
def test_what_cannot_be_is_one_line(model, target, code, said, desk, run):
    done = explain(run, model, "two.png", "--target", target)
    assert (done.code, done.out, len(done.err.splitlines())) == (code, "", 1), done.err
    assert said in done.err
    assert not Path("out").exists()


def test_a_photo_without_it_does_not_stop_the_others(desk, run):
    done = run(
        "explain", "detector.onnx", "red.png", "two.png", "--target", "box(blue)", "--json", "-o", "out"
    )
    assert done.code == 1
    assert ["error" in r for r in done.records] == [True, False]


def heads():
    """A classifier with a second head that may as well hold the classes."""
    model = colours(preprocess=UNIT, labels=None)
    model.graph.node.append(helper.make_node("Softmax", ["scores"], ["others"], "others", axis=1))
    model.graph.node.insert(5, helper.make_node("Neg", ["flat"], ["less"]))
    model.graph.node[-1].input[0] = "less"
    model.graph.output.append(helper.make_tensor_value_info("others", onnx.TensorProto.FLOAT, ("N", 3)))
    return model


@pytest.mark.parametrize("command", ["predict", "explain"])
def test_heads_that_are_as_likely_are_a_question(command, desk, run):
    onnx.save(heads(), "heads.onnx")
    done = run(command, "heads.onnx", "red.png", "-q", "-o", "out")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert "several outputs may hold the classes: probabilities (5" in done.err
    assert "say which with --output NAME" in done.err
    words = ["--method", "saliency", "--target", "0"] if command == "explain" else []
    assert run(command, "heads.onnx", "red.png", "--output", "others", *words, "-q", "-o", "out").code == 0


def test_layers_and_doctor_say_how_each_output_is_read(desk, run):
    onnx.save(heads(), "heads.onnx")
    rows = {r["name"]: r for r in run("layers", "heads.onnx", "--json").records}
    assert (rows["others"]["readout"], rows["others"]["why"]) == ("classes", "behind a Softmax")
    assert "readout" not in rows["relu"]
    said = run("layers", "detector.onnx").err
    assert "output0 holds boxes: yolov8" in said
    assert "--readout classes, labels, values, boxes, regions, sequence, embedding, picture" in said
    (record,) = run("doctor", "detector.onnx", "--json").records
    assert record["answers"]["output0"]["readout"] == "boxes"
    assert "output0 holds boxes" in run("doctor", "detector.onnx").out
    assert "two.png: box 0: red 1.000, box 1: blue" in run("doctor", "detector.onnx", "two.png").out


def test_a_model_that_fits_nothing_still_opens(desk, run):
    onnx.save(colours(preprocess=UNIT), "whole.onnx")
    model = onnx.load("whole.onnx")
    model.graph.node.append(helper.make_node("Cast", ["pool"], ["whole"], "whole", to=onnx.TensorProto.INT64))
    del model.graph.node[5:7]
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("whole", onnx.TensorProto.INT64, None))
    onnx.save(model, "whole.onnx")
    done = run("layers", "whole.onnx")
    assert (done.code, "whole is not read: no output can be read" in done.err) == (0, True)
    assert run("activations", "whole.onnx", "red.png", "-q", "-o", "out").code == 0
    done = run("predict", "whole.onnx", "red.png", "-q")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert "'whole' of shape" in done.err


def test_an_index_is_a_number_of_a_vector(desk, run):
    done = explain(run, "embedder", "two.png", "--target", "0", "--method", "saliency", "--json")
    assert done.code == 0, done.err
    (record,) = json.loads(Path("out/manifest.json").read_text())["results"]
    assert record["target"]["label"].endswith("[0]")
