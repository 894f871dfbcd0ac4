"""`onnxlens gradcam`: the files that it writes, and what it leaves alone."""

import hashlib
import json
import struct
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from oracles.toys import SIDE, UNIT, blob, colours

from onnxlens.models.lens import Lens
from onnxlens.models.photos.photo import read_photo
from onnxlens.models.photos.preprocess import Preprocess


def written(folder="onnxlens-out"):
    return {p.name: p.read_bytes() for p in Path(folder).iterdir()}


def manifest(folder="onnxlens-out"):
    return json.loads(Path(folder, "manifest.json").read_text())


def test_each_image_and_class_gives_three_files(place, run):
    done = run("gradcam", "model.onnx", "red.png", "blue.jpg", "--target", 0, "--target", "sky")
    assert done.code == 0  # though nothing in red.png speaks for the sky, nor in blue.jpg for red
    assert [line.split(":")[0] for line in done.out.splitlines()] == ["red.png"] * 2 + ["blue.jpg"] * 2
    assert sum("no map: " in line for line in done.out.splitlines()) == 2
    assert set(written()) == {
        "manifest.json",
        *(f"red-0-gradcam{end}" for end in (".png", ".npy", "-map.npy")),
        *(f"blue-4-gradcam{end}" for end in (".png", ".npy", "-map.npy")),
    }
    assert read_photo("onnxlens-out/red-0-gradcam.png").shape == (60, 90, 3)
    assert np.load("onnxlens-out/red-0-gradcam.npy").shape == (60, 90)
    assert np.load("onnxlens-out/red-0-gradcam-map.npy").shape == (SIDE, SIDE)
    for end in (".npy", "-map.npy"):
        assert np.load(f"onnxlens-out/red-0-gradcam{end}", allow_pickle=False).dtype == np.float32


def test_the_files_are_what_python_gives(place, run):
    assert run("gradcam", "model.onnx", "blue.jpg", "--colour", "jet", "--alpha", 0.5).code == 0
    heat = Lens("model.onnx").gradcam(read_photo("blue.jpg"))
    np.testing.assert_array_equal(np.load("onnxlens-out/blue-2-gradcam-map.npy"), heat.map)
    np.testing.assert_array_equal(np.load("onnxlens-out/blue-2-gradcam.npy"), heat.at_photo())
    np.testing.assert_array_equal(read_photo("onnxlens-out/blue-2-gradcam.png"), heat.overlay("jet", 0.5))
    y, x = np.unravel_index(np.argmax(heat.at_photo()), (60, 90))
    assert abs(y - 40) <= 2
    assert abs(x - 70) <= 3


def test_the_manifest_holds_what_is_needed_to_do_it_again(place, run):
    words = ["gradcam", "model.onnx", "blue.jpg", "--target", "blue", "--layer", "conv"]
    words += ["--provider", "cpu", "--json"]
    done = run(*words)
    record = manifest()
    assert record["schema"] == 2
    assert record["command"] == "gradcam"
    assert record["model"]["sha256"] == hashlib.sha256(Path("model.onnx").read_bytes()).hexdigest()
    assert record["model"]["opset"] == 18
    assert record["model"]["input"] == "image"
    assert {"onnxlens", "onnx", "numpy", "python", "system"} <= record["versions"].keys()
    assert record["provider"]["used"] == "cpu"
    assert Preprocess.from_dict(record["preprocess"]) == UNIT
    assert record["arguments"] == {
        "method": "gradcam",
        "targets": ["blue"],
        "layer": "conv",
        "layers": [],
        "fuse": None,
        "guided": False,
        "convention": "fields",
        "style": "overlay",
        "colour": "turbo",
        "alpha": 0.7,
    }
    (result,) = record["results"]
    assert (result["target"]["index"], result["target"]["label"], result["layer"]) == (2, "blue", "conv")
    assert result["image"] == "blue.jpg"
    assert result["photo_size"] == [60, 90]
    assert result["map_size"] == [SIDE, SIDE]
    assert set(result["files"].values()) == set(written()) - {"manifest.json"}
    assert done.records == [{"schema": 2, **result}]


@pytest.mark.parametrize(
    ("targets", "classes"),
    [
        ((), [2]),
        (("2",), [2]),
        (("blue",), [2]),
        (("BLUE",), [2]),
        (("top2",), [2, 4]),
        (("Top2", "blue", "4"), [2, 4]),
        (("sky", "2", "sky"), [4, 2]),
    ],
)
def test_targets_by_index_label_and_rank(targets, classes, place, run):
    words = [word for target in targets for word in ("--target", target)]
    records = run("gradcam", "model.onnx", "blue.jpg", *words, "--json").records
    assert [r["target"]["index"] for r in records] == classes


def test_layers_are_fused(place, run):
    line = ["gradcam", "model.onnx", "red.png", "--layers", "conv", "--layers", "relu"]
    (record,) = run(*line, "--fuse", "mean", "--json").records
    assert record["fused"] == {"how": "mean", "layers": ["conv", "relu"]}
    assert set(record["files"]) == {"overlay", "layer_map", "photo_map"}
    refused = run("gradcam", "model.onnx", "red.png", "--fuse", "max", "-q")
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)
    assert "say which with --layers" in refused.err


def test_layers_by_name(place, run):
    (record,) = run("gradcam", "model.onnx", "red.png", "--layer", "pool", "--json").records
    assert (record["layer"], record["map_size"]) == ("pool", [16, 16])


def test_twice_the_same_bytes(place, run):
    words = ["gradcam", "model.onnx", "red.png", "blue.jpg", "--target", "top1"]
    run(*words, "-o", "first")
    run(*words, "-o", "second")
    first, second = written("first"), written("second")
    del first["manifest.json"], second["manifest.json"]
    assert len(first) == 6
    assert first == second


def test_an_earlier_run_is_left_alone(place, run):
    run("gradcam", "model.onnx", "red.png")
    before = written()
    refused = run("gradcam", "model.onnx", "blue.jpg")
    assert (refused.code, refused.out, len(refused.err.splitlines())) == (2, "", 1)
    assert "--overwrite" in refused.err
    assert written() == before
    assert run("gradcam", "model.onnx", "blue.jpg", "--overwrite").code == 0
    assert manifest()["results"][0]["image"] == "blue.jpg"


def test_names_do_not_collide(place, run):
    for folder in ("a", "b", "c"):
        Path(folder).mkdir()
    cv2.imwrite("a/cat.png", blob(at=(20, 30))[..., ::-1])
    cv2.imwrite("b/cat.png", blob(at=(40, 60))[..., ::-1])
    cv2.imwrite("c/CAT.png", blob(at=(10, 10))[..., ::-1])  # the same name on some systems
    long = f"{'é' * 100}.png"
    cv2.imwrite(long, blob()[..., ::-1])
    images = ["a/cat.png", "b/cat.png", "c/CAT.png", long, "a/../a/cat.png"]
    assert run("gradcam", "model.onnx", *images).code == 0
    files = [r["files"] for r in manifest()["results"]]
    names = [name for f in files for name in f.values()]
    assert len({name.casefold() for name in names}) == 15
    assert set(names) == set(written()) - {"manifest.json"}
    peaks = [np.argmax(np.load(Path("onnxlens-out", f["photo_map"]))) for f in files]
    assert len(set(peaks[:3])) == 3
    assert peaks[4] == peaks[0]


def test_an_image_elsewhere_writes_nothing_beside_itself(place, run):
    Path("photos").mkdir()
    Path("red.png").rename("photos/..red..png")
    assert run("gradcam", "model.onnx", "photos/..red..png", "-o", "deep/er/out").code == 0
    assert [p.name for p in Path("photos").iterdir()] == ["..red..png"]
    assert len(written("deep/er/out")) == 4
    assert not any(name.startswith(".") for name in written("deep/er/out"))


def test_a_turned_photo_has_an_upright_overlay(place, run):
    upright = blob(60, 90, at=(15, 70))
    ok, data = cv2.imencode(".jpg", np.rot90(upright)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])
    assert ok
    # Orientation 6: what is stored has to be turned by 90 degrees clockwise.
    exif = b"Exif\0\0II*\0" + struct.pack("<IHHHIHHI", 8, 1, 274, 3, 1, 6, 0, 0)
    segment = b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    Path("turned.jpg").write_bytes(data.tobytes()[:2] + segment + data.tobytes()[2:])
    assert run("gradcam", "model.onnx", "turned.jpg").code == 0
    heat = np.load("onnxlens-out/turned-0-gradcam.npy")
    assert heat.shape == (60, 90)
    y, x = np.unravel_index(heat.argmax(), heat.shape)
    assert abs(y - 15) <= 2
    assert abs(x - 70) <= 3
    shown = read_photo("onnxlens-out/turned-0-gradcam.png").astype(int)
    assert shown.shape == (60, 90, 3)
    np.testing.assert_allclose(shown[50, 10], upright[50, 10], atol=8)  # far from the blob: the photo


@pytest.mark.parametrize(
    ("name", "picture"),
    [
        ("deep.png", lambda rgb: rgb.astype(np.uint16) * 257),
        ("clear.png", lambda rgb: np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)])),
        ("deep-clear.png", lambda rgb: np.dstack([rgb, np.full(rgb.shape[:2], 255)]).astype(np.uint16) * 257),
        ("lossless.webp", lambda rgb: rgb),
        ("plain.tiff", lambda rgb: rgb),
        ("plain.bmp", lambda rgb: rgb),
    ],
)
def test_pictures_of_all_kinds(name, picture, place, run):
    stored = picture(blob())
    order = [2, 1, 0, 3][: stored.shape[2]]
    cv2.imwrite(name, np.ascontiguousarray(stored[..., order]))
    assert run("gradcam", "model.onnx", name, "red.png").code == 0
    first, second = (np.load(Path("onnxlens-out", r["files"]["layer_map"])) for r in manifest()["results"])
    np.testing.assert_allclose(first, second, atol=1e-3)


def test_a_grey_picture_has_nothing_coloured_to_show(place, run):
    cv2.imwrite("grey.png", blob()[..., 0])
    done = run("gradcam", "model.onnx", "grey.png")
    assert done.code == 1
    assert "no map: all activations of layer 'relu' are zero" in done.out
    assert not Path("onnxlens-out").exists()


def test_a_bad_image_among_good_ones(place, run):
    Path("bad.png").write_bytes(Path("red.png").read_bytes()[:200])
    done = run("gradcam", "model.onnx", "red.png", "bad.png", "none.png", "blue.jpg", "-q")
    assert done.code == 1
    assert [line.split(":")[0] for line in done.out.splitlines()] == ["red.png", "blue.jpg"]
    assert [line.split(":")[1] for line in done.err.splitlines()] == [" bad.png", " none.png"]
    assert len(written()) == 7
    assert ["error" in r for r in manifest()["results"]] == [False, True, True, False]
    records = run("predict", "model.onnx", "bad.png", "red.png", "--json").records
    assert ["error" in r for r in records] == [True, False]


def test_answers_that_are_no_numbers(place, run):
    model = colours(preprocess=UNIT)
    model.graph.initializer[2].raw_data = np.full((3, 5), np.nan, np.float32).tobytes()
    onnx.save(model, "nan.onnx")
    done = run("gradcam", "nan.onnx", "red.png", "-q")
    assert (done.code, done.err, len(done.out.splitlines())) == (1, "", 1)
    assert "is not finite" in done.out
    (record,) = run("gradcam", "nan.onnx", "red.png", "--json").records
    assert record["target"]["probability"] is None
    assert "files" not in record
    assert not Path("onnxlens-out").exists()
    predicted = run("predict", "nan.onnx", "red.png", "-q")
    assert (predicted.code, predicted.out) == (1, "")
    assert "red.png: output 'probabilities' is not a number" in predicted.err
