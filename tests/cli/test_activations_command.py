"""`onnxlens activations`: the files that it writes, its table, and bad requests."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from oracles.toys import HEAD, UNIT, build, colours

from onnxlens.models.features.responses import responses, strip
from onnxlens.models.lens import Lens
from onnxlens.models.photos.photo import read_photo


def written(folder="onnxlens-out"):
    return sorted(p.name for p in Path(folder).iterdir())


def test_each_photo_gives_the_network_and_each_layer_three_files(place, run):
    done = run("activations", "model.onnx", "red.png", "blue.jpg", "--layer", "relu", "--layer", "p*")
    assert done.code == 0, done.err
    layers = [f"{photo}-{layer}" for photo in ("red", "blue") for layer in ("relu", "pool")]
    files = [f"{name}{end}" for name in layers for end in (".png", "-photo.png", ".npy")]
    assert written() == sorted(["manifest.json", "red-network.png", "blue-network.png", *files])
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines] == [
        "red.png",
        "layer",
        "relu",
        "pool",
        "blue.jpg",
        "layer",
        "relu",
        "pool",
    ]
    assert lines[2].split()[1:3] == ["3", "32x32"]
    assert lines[2].split()[-3:] == ["0,", "1,", "2"]  # red, and nothing in the others


def test_the_files_are_what_python_gives(place, run):
    run(
        "activations",
        "model.onnx",
        "blue.jpg",
        "--layer",
        "relu",
        "--channels",
        "2,0-1",
        "--sort",
        "index",
        "--top",
        2,
    )
    lens, photo = Lens("model.onnx"), read_photo("blue.jpg")
    (found,) = responses(lens, photo, ["relu"])
    np.testing.assert_array_equal(np.load("onnxlens-out/blue-relu.npy", allow_pickle=False), found.maps)
    pictures = {
        "blue-relu.png": found.grid([0, 1]),
        "blue-relu-photo.png": found.overlays([2, 0, 1]),
        "blue-network.png": strip([found], lens.predict(photo)),
    }
    for name, picture in pictures.items():
        np.testing.assert_array_equal(read_photo(f"onnxlens-out/{name}"), picture)


def test_json_has_a_line_for_each_photo_and_the_manifest_all_of_it(place, run):
    done = run("activations", "model.onnx", "red.png", "--json", "-q", "--sort", "index")
    (record,) = done.records
    assert not done.err
    (layer,) = record["layers"]
    statistics = layer["statistics"]
    maps = np.load(f"onnxlens-out/{layer['files']['values']}")
    assert layer["layer"] == "relu"
    assert (statistics["channels"], statistics["height"]) == (3, 32)
    assert statistics["sparsity"] == pytest.approx((maps == 0).mean())
    assert statistics["dead"] == pytest.approx(2 / 3)
    assert layer["strongest"][0] == {"channel": 0, "strength": pytest.approx(maps.max(), abs=1e-5)}
    assert record["predictions"][0]["label"] == "red"
    stored = json.loads(Path("onnxlens-out/manifest.json").read_text())
    assert stored["results"] == [{k: v for k, v in record.items() if k != "schema"}]
    said = {"layers": [], "channels": None, "sort": "index", "top": 64}
    assert stored["arguments"] == {**said, "convention": "fields"}
    (found,) = responses(Lens("model.onnx"), read_photo("red.png"), ["relu"])
    assert {key: layer[key] for key in ("box", "cells", "convention")} == found.place.record()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--layer", "conf"], 2, "conv"),
        (["--layer", "x*"], 2, "no layer matches 'x*'"),
        (["--layer", "scores"], 2, "no feature map"),
        (["--layer", "relu", "--channels", "3"], 2, "channels 0 to 2, and no channel 3"),
        (["--channels", "0-99999999999"], 2, "no channel"),
        (["--channels", "2-1"], 2, "no channel"),
        (["--channels", ""], 2, "no channel"),
        (["--channels", "1,,2"], 2, "no channel"),
        (["--channels", "-1"], 2, "no channel"),
        (["--channels", "\u0661-x"], 2, "no channel"),
        (["--top", "0"], 2, "--top"),
        (["--sort", "size"], 2, "--sort"),
    ],
)
def test_bad_requests_are_one_line_and_write_nothing(words, code, said, place, run):
    done = run("activations", "model.onnx", "nothing-here.png", *words, "-q")
    assert done.code == code
    assert said in done.err
    assert len(done.err.splitlines()) == 1
    assert not Path("onnxlens-out").exists()


def test_an_earlier_run_is_left_alone(place, run):
    assert run("activations", "model.onnx", "red.png").code == 0
    before = {p: p.read_bytes() for p in Path("onnxlens-out").iterdir()}
    assert run("activations", "model.onnx", "blue.jpg").code == 2
    assert before == {p: p.read_bytes() for p in Path("onnxlens-out").iterdir()}
    assert run("activations", "model.onnx", "red.png", "--overwrite").code == 0
    assert before.keys() == {p: p.read_bytes() for p in Path("onnxlens-out").iterdir()}.keys()


def test_a_bad_photo_among_good_ones_is_said(place, run):
    Path("broken.png").write_bytes(b"no picture")
    done = run("activations", "model.onnx", "broken.png", "red.png", "--json", "-q")
    assert done.code == 1
    first, second = done.records
    assert "error" in first
    assert second["files"]["network"] == "red-network.png"
    assert run("activations", "model.onnx", "broken.png", "-o", "other").code == 1
    assert not Path("other").exists()


def test_hostile_names_stay_in_the_folder(place, run):
    name = "../../up\x1b[2J\u202e*[x"
    model = colours(preprocess=UNIT)
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [name if n == "relu" else n for n in names]
    onnx.save(model, "hostile.onnx")
    done = run("activations", "hostile.onnx", "red.png", "--layer", name)
    assert done.code == 0
    assert "\x1b" not in done.out + done.err
    assert len(written()) == 5
    assert all(n.startswith(("red-", "manifest")) and "*" not in n for n in written())


def test_answers_that_are_no_numbers_still_show_their_layers(place, run):
    model = colours(preprocess=UNIT)
    weight = next(t for t in model.graph.initializer if t.name == "head.weight")
    weight.raw_data = np.full_like(HEAD.T, np.nan).tobytes()
    onnx.save(model, "nan.onnx")
    done = run("activations", "nan.onnx", "red.png", "--json")
    assert done.code == 0
    assert "not a number" in done.err
    assert done.records[0]["predictions"] == []
    assert done.records[0]["layers"][0]["statistics"]["most"] > 0


def test_a_model_without_maps_is_said(place, run):
    from onnx import helper

    nodes = [helper.make_node("Flatten", ["image"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])]
    onnx.save(
        build(nodes, {"image": (1, 3, 4, 4)}, {"y": (1, 5)}, {"w": np.ones((48, 5), np.float32)}), "flat.onnx"
    )
    done = run("activations", "flat.onnx", "red.png", "--preset", "unit", "-q")
    assert done.code == 2
    assert "no feature map" in done.err


def test_the_batch_of_a_model_may_be_fixed_and_its_layout_last(place, run):
    onnx.save(colours(preprocess=UNIT, batch=3), "batch.onnx")
    from dataclasses import replace

    onnx.save(colours(preprocess=replace(UNIT, layout="nhwc"), layout="nhwc"), "last.onnx")
    run("activations", "model.onnx", "red.png", "-o", "one")
    for name in ("batch", "last"):
        assert run("activations", f"{name}.onnx", "red.png", "-o", name).code == 0
        np.testing.assert_allclose(np.load(f"{name}/red-relu.npy"), np.load("one/red-relu.npy"), atol=1e-5)
