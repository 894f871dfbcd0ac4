"""`onnxlens predict` says what a model answers in its own terms, and draws it."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from oracles import answers
from oracles.answers import spots

from onnxlens.models.lens import Lens
from onnxlens.models.photos.photo import read_photo

RED, BLUE = ((20, 30), 0), ((44, 70), 2)
KINDS = {
    "detector": "boxes",
    "segmenter": "regions",
    "matting": "regions",
    "reader": "sequence",
    "embedder": "embedding",
}


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder with a model of each kind, a photo of a red and a blue spot, and one of each alone."""
    monkeypatch.chdir(tmp_path)
    answers.save()
    for name, found in {"two": (RED, BLUE), "red": (RED,), "blue": (BLUE,), "none": ()}.items():
        cv2.imwrite(f"{name}.png", spots(*found)[..., ::-1])
    cv2.imwrite("line.png", spots(((7, 20), 0), ((7, 60), 2), size=(14, 90))[..., ::-1])
    return tmp_path


def photo_of(model):
    return "line.png" if model == "reader" else "two.png"


def test_boxes_are_said_with_names_scores_and_places_in_the_photo(desk, run):
    done = run("predict", "detector.onnx", "two.png")
    lines = [line.split() for line in done.out.splitlines()]
    assert lines[0] == ["two.png:", "boxes"]
    assert [line[2] for line in lines[1:]] == ["red", "blue", "blue", "red"]
    assert " ".join(lines[1]) == "box 0: red 1.000 rows 8:30, columns 11:45"
    assert "output0: boxes, yolov8" in done.err
    # those that reach beyond the photo end with it; JSON has them as the model gives them
    assert lines[3][-1] == "56:90"


@pytest.mark.parametrize("model", KINDS)
def test_json_is_what_python_finds(model, desk, run):
    done = run("predict", f"{model}.onnx", photo_of(model), "--json")
    found = Lens(f"{model}.onnx").things(photo_of(model))
    (record,) = done.records
    assert (done.code, record["image"], record["readout"]) == (0, photo_of(model), KINDS[model])
    things = [{k: v for k, v in thing.items() if k != "share"} for thing in record["things"]]
    assert things == json.loads(json.dumps([thing.record() for thing in found]))


def test_regions_say_how_much_of_the_photo_they_are(desk, run):
    things = run("predict", "segmenter.onnx", "two.png", "--json").records[0]["things"]
    assert {t["label"] for t in things} == {"red", "blue"}
    for thing, found in zip(things, Lens("segmenter.onnx").things("two.png"), strict=True):
        assert thing["share"] == pytest.approx(float((found.mask((60, 90)) >= 0.5).mean()))
        assert 0.03 < thing["share"] < 0.1
    assert "of the photo" in run("predict", "segmenter.onnx", "two.png", "-q").out


def test_a_text_is_said_before_its_characters(desk, run):
    lines = [line.split() for line in run("predict", "reader.onnx", "line.png", "-q").out.splitlines()]
    assert [line[:-5] for line in lines[1:]] == [["rb"], ["char", "0:", "r"], ["char", "1:", "b"]]


def test_vectors_have_a_gallery_of_the_nearest_photos(desk, run):
    done = run("predict", "embedder.onnx", "red.png", "--gallery", "[rbt]*.png", "--json")
    (record,) = done.records
    lens = Lens("embedder.onnx")
    assert record["vector"] == pytest.approx(lens.vector("red.png").tolist(), abs=1e-6)
    assert [near["image"] for near in record["gallery"]][:2] == ["red.png", "two.png"]
    for near in record["gallery"]:
        cosine = float(lens.vector("red.png") @ lens.vector(near["image"]))
        assert near["cosine"] == pytest.approx(cosine, abs=1e-5)
    said = run("predict", "embedder.onnx", "red.png", "--gallery", ".", "--top", 2, "-q").out.splitlines()
    assert said[0] == "red.png: 3 numbers, length 1: 1 0 0"
    assert len(said) == 3


def test_a_gallery_goes_on_over_photos_that_cannot_be_read(desk, run):
    Path("bad.png").write_bytes(b"nothing")
    done = run("predict", "embedder.onnx", "red.png", "--gallery", "*.png", "--json", "-q")
    assert done.code == 0
    assert "bad.png" in done.err
    assert "bad.png" not in {near["image"] for near in done.records[0]["gallery"]}


def test_classes_are_said_as_ever(place, run):
    (record,) = run("predict", "model.onnx", "red.png", "--json").records
    assert list(record) == ["schema", "image", "predictions"]
    assert len(record["predictions"]) == 5
    assert run("predict", "model.onnx", "red.png", "-q").out.splitlines()[0] == "red.png"


@pytest.mark.parametrize(
    ("model", "files"),
    [
        ("detector", {"boxes": "two-boxes.png"}),
        ("segmenter", {"masks": "two-masks.png"}),
        ("matting", {"masks": "two-masks.png", "matte": "two-matte.png"}),
        ("reader", {"boxes": "line-boxes.png"}),
        ("embedder", {}),
    ],
)
def test_what_is_found_is_drawn(model, files, desk, run):
    done = run("predict", f"{model}.onnx", photo_of(model), "-o", "out", "--json")
    record = done.records[0]
    assert record.get("files", {}) == files
    assert {p.name for p in Path("out").iterdir()} == {"manifest.json", *files.values()}
    manifest = json.loads(Path("out/manifest.json").read_text())
    assert (manifest["command"], manifest["results"][0]["things"]) == ("predict", record["things"])
    for name in ("boxes", "masks"):
        if name in files:
            drawn = read_photo(Path("out", files[name]))
            np.testing.assert_array_equal(drawn, Lens(f"{model}.onnx").draw(photo_of(model)))
    again = run("predict", f"{model}.onnx", photo_of(model), "-o", "out")
    assert (again.code, "--overwrite" in again.err) == (2, True)


def test_a_matte_is_the_mask_itself(desk, run):
    run("predict", "matting.onnx", "red.png", "-o", "out")
    drawn = cv2.imread("out/red-matte.png", cv2.IMREAD_UNCHANGED)
    assert drawn.shape == (60, 90)
    assert drawn[20, 30] > 250
    assert drawn[50, 10] < 10


def test_two_photos_of_one_name_have_their_own_pictures(desk, run):
    Path("sub").mkdir()
    Path("sub/two.png").write_bytes(Path("two.png").read_bytes())
    done = run("predict", "detector.onnx", "two.png", "sub/two.png", "-o", "out", "--json")
    assert len({r["files"]["boxes"] for r in done.records}) == 2


def test_where_nothing_is_found_that_is_said(desk, run):
    done = run("predict", "detector.onnx", "none.png", "two.png", "-q", "-o", "out")
    assert done.code == 0
    assert done.out.splitlines()[0] == "none.png: nothing found"
    assert run("predict", "detector.onnx", "none.png", "--json").records[0]["things"] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("detector.onnx", "two.png", "--gallery", "."), "answers boxes"),
        (("model.onnx", "two.png", "--readout", "boxs"), "nearest: boxes"),
        (("segmenter.onnx", "two.png", "--readout", "sequence"), "no output can be read as sequence"),
        (("segmenter.onnx", "two.png", "--output", "logit"), "nearest: logits"),
        (("detector.onnx", "two.png", "--readout", "boxes:yolo"), "no layout of boxes 'yolo'; nearest"),
        (("embedder.onnx", "two.png", "--gallery", "nowhere"), "nowhere"),
    ],
)
def test_what_cannot_be_is_one_line(words, said, desk, run):
    done = run("predict", *words, "-q")
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert said in done.err


def test_the_readout_can_stand_in_settings(desk, run):
    Path("pyproject.toml").write_text('[tool.onnxlens]\nreadout = "picture"\n')
    assert run("predict", "segmenter.onnx", "two.png", "--json").records[0]["readout"] == "picture"
    Path("pyproject.toml").write_text('[tool.onnxlens]\nreadout = "pictures"\n')
    done = run("predict", "segmenter.onnx", "two.png")
    assert (done.code, "nearest: picture" in done.err) == (2, True)
