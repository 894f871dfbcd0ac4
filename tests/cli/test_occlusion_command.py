import json
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from oracles.toys import SIDE, build

from onnxlens.models.attribution.occlusion import occlusion
from onnxlens.models.attribution.panels import PANELS, panel, sheet
from onnxlens.models.embedded.scenes import TEST_SEEDS, scene
from onnxlens.models.lens import Lens
from onnxlens.models.photos.photo import read_photo


def written(folder="onnxlens-out"):
    return sorted(p.name for p in Path(folder).iterdir())


def manifest(folder="onnxlens-out"):
    return json.loads(Path(folder, "manifest.json").read_text())


def test_the_files_are_what_python_gives(place, run):
    done = run(
        "occlusion", "model.onnx", "blue.jpg", "--patch", "8x6", "--stride", 3, "--fill", "#202020", "-q"
    )
    assert (done.code, done.err) == (0, "")
    stem = "blue-2-occlusion"
    assert written() == sorted(
        ["manifest.json", f"{stem}-sheet.png", f"{stem}-8x6.png", f"{stem}-8x6.npy"]
        + [f"{stem}-8x6-{name}{end}" for name in PANELS for end in (".png", ".npy")]
    )
    found = occlusion(Lens("model.onnx"), read_photo("blue.jpg"), None, (8, 6), 3, "#202020")
    grids = found.activations, found.scores, found.probabilities, found.classes
    for name, grid in zip(PANELS, grids, strict=True):
        np.testing.assert_array_equal(np.load(f"onnxlens-out/{stem}-8x6-{name}.npy"), grid)
        np.testing.assert_array_equal(read_photo(f"onnxlens-out/{stem}-8x6-{name}.png"), panel(found, name))
    np.testing.assert_array_equal(np.load(f"onnxlens-out/{stem}-8x6.npy"), found.heat().at_photo())
    np.testing.assert_array_equal(read_photo(f"onnxlens-out/{stem}-8x6.png"), found.heat().overlay())
    np.testing.assert_array_equal(read_photo(f"onnxlens-out/{stem}-sheet.png"), sheet([found]))
    assert read_photo(f"onnxlens-out/{stem}-8x6-class.png").shape == (60, 90, 3)


def test_several_sizes_and_images(place, run):
    words = ["occlusion", "model.onnx", "red.png", "blue.jpg", "--patch", 4, "--patch", 8, "--layer", "pool"]
    done = run(*words, "--target", "red", "--exact", "--json")
    assert [(r["image"], r["patch"]) for r in done.records] == [
        ("red.png", [4, 4]),
        ("red.png", [8, 8]),
        ("blue.jpg", [4, 4]),
        ("blue.jpg", [8, 8]),
    ]
    record = manifest()
    assert record["command"] == "occlusion"
    assert record["arguments"] == {
        "method": "occlusion",
        "patch": [[4, 4], [8, 8]],
        "stride": None,
        "fill": "mean",
        "targets": ["red"],
        "layer": "pool",
        "convention": "fields",
        "style": "overlay",
        "colour": "turbo",
        "alpha": 0.7,
        "coarse": False,
        "narrow": 1.0,
        "exact": True,
    }
    assert [{"schema": 2, **r} for r in record["results"]] == done.records
    first = record["results"][0]
    assert (first["method"], first["layer"], first["target"]["label"]) == ("occlusion", "pool", "red")
    assert (first["tops"][-1], first["lefts"][:3]) == (SIDE - 4, [0, 2, 4])
    files = {name for r in record["results"] for name in r.get("files", {}).values()}
    assert files == set(written()) - {"manifest.json"}


def test_nothing_is_drawn_of_a_map_that_shows_nothing(place, run):
    cv2.imwrite("grey.png", np.full((50, 50, 3), 128, np.uint8))
    done = run("occlusion", "model.onnx", "grey.png")
    assert done.code == 1
    assert "no map: the score of 'red' is the same wherever a patch of 5x5 lies" in done.out
    assert not Path("onnxlens-out").exists()
    assert run("occlusion", "model.onnx", "grey.png", "red.png").code == 1
    assert ["files" in r for r in manifest()["results"]] == [False, True]


def test_a_model_without_feature_maps(place, run):
    weight = np.random.default_rng(0).standard_normal((3 * SIDE * SIDE, 5)).astype(np.float32)
    nodes = [
        onnx.helper.make_node("Flatten", ["x"], ["flat"]),
        onnx.helper.make_node("MatMul", ["flat", "w"], ["y"]),
    ]
    onnx.save(build(nodes, {"x": (1, 3, SIDE, SIDE)}, {"y": (1, 5)}, {"w": weight}), "linear.onnx")
    (record,) = run("occlusion", "linear.onnx", "red.png", "--preset", "unit", "--json").records
    assert (record["layer"], record["channel"]) == (None, None)
    assert not any("activation" in key for key in record["files"])
    assert "not_drawn" not in record
    assert read_photo(f"onnxlens-out/{record['files']['sheet']}").ndim == 3


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--patch", SIDE + 1], "larger than the model's input of 32x32"),
        (["--patch", 0], "'0' is not a size"),
        (["--patch", "4x"], "is not a size"),
        (["--stride", 0], "'0' is not a size"),
        (["--stride", -1], "'-1' is not a size"),
        (["--patch", 4, "--stride", 5], "leaves gaps between patches of 4x4"),
        (["--patch", 4, "--patch", 33], "a patch of 33x33 is larger"),
        (["--fill", "gren"], "there is no fill 'gren'"),
        (["--target", "ret"], "nearest: red"),
        (["--layer", "rely"], "nearest: relu"),
    ],
)
def test_bad_arguments_are_one_line_before_any_photo_is_read(words, text, place, run):
    done = run("occlusion", "model.onnx", "none.png", *words, "-q")
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert text in done.err
    assert not Path("onnxlens-out").exists()


def test_a_bad_image_among_good_ones(place, run):
    done = run("occlusion", "model.onnx", "none.png", "red.png", "-q")
    assert (done.code, len(done.out.splitlines()), len(done.err.splitlines())) == (1, 1, 1)
    assert ["error" in r for r in manifest()["results"]] == [True, False]


def test_an_earlier_run_is_left_alone(place, run):
    run("occlusion", "model.onnx", "red.png")
    refused = run("occlusion", "model.onnx", "blue.jpg")
    assert (refused.code, refused.out) == (2, "")
    assert "--overwrite" in refused.err


def test_the_embedded_model(place, run):
    drawn = scene(TEST_SEEDS[3], size=192)
    cv2.imwrite("scene.png", drawn.image[..., ::-1])
    done = run("occlusion", "scenes", "scene.png")
    assert done.code == 0
    assert done.out.startswith("scene.png: 3 cat (0.9")
    heat = np.load("onnxlens-out/scene-3-occlusion-14x14.npy")
    assert drawn.mask.flat[heat.argmax()]


def test_an_approximation_says_how_far_it_is_off(place, run):
    words = ["occlusion", "model.onnx", "blue.jpg", "--patch", 4, "--stride", 1, "--coarse", "--narrow", 0.5]
    done = run(*words, "--json", "--verbose")
    (record,) = done.records
    assert record["approximation"].keys() == {"computed", "checked", "deviation"}
    assert record["approximation"]["checked"] == 16
    assert record["approximation"]["computed"] < len(record["tops"]) * len(record["lefts"])
    assert "patch 4x4: plain batches: there is little to compute" in done.err
    said = run(*words, "--overwrite").out
    assert (
        f"off by up to {record['approximation']['deviation']:.1%} of the range at 16 places checked" in said
    )
    assert run(*words[:-1], 0).code == 2
    assert run(*words[:-1], 1.5).code == 2
