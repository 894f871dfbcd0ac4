"""`onnxlens weights`: the files that it writes, its table, and bad requests."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from oracles.networks import parsed
from oracles.toys import UNIT, colours

from onnxlens.models.features.weights import pattern_tiles, weights
from onnxlens.models.network.opened import open_network
from onnxlens.models.photos.photo import read_photo

RNG = np.random.default_rng(2)


def written(folder="onnxlens-out"):
    return sorted(p.name for p in Path(folder).iterdir())


def test_each_layer_gives_its_kernels_patterns_and_values(place, run):
    done = run("weights", "model.onnx")
    assert done.code == 0, done.err
    assert written() == [
        "manifest.json",
        *("model-conv.npy", "model-conv.png"),
        *("model-scores-patterns.png", "model-scores.npy", "model-scores.png"),
    ]
    assert [line.split()[0] for line in done.out.splitlines()] == [
        "layer",
        "conv",
        "scores",
        "conv:",
        "scores:",
        "scores:",
    ]
    assert "rgb" in done.err
    assert np.load("onnxlens-out/model-conv.npy", allow_pickle=False).shape == (3, 3, 3, 3)


def test_the_files_are_what_python_gives(place, run):
    run("weights", "model.onnx", "--sort", "index", "--top", 2)
    opened = open_network("model.onnx")
    conv, scores = weights(opened.network, None, opened.preprocess)
    pictures = {
        "model-conv.png": conv.picture([0, 1]),
        "model-scores.png": scores.picture([0, 1]),
        "model-scores-patterns.png": pattern_tiles(opened.network, scores, [0, 1]),
    }
    for name, picture in pictures.items():
        np.testing.assert_array_equal(read_photo(f"onnxlens-out/{name}"), picture)


def test_no_preset_is_needed(place, run):
    done = run("weights", "bare.onnx")
    assert done.code == 0
    assert "taken as rgb" in done.err
    assert run("weights", "bare.onnx", "--preset", "imagenet-bgr", "-o", "other").code == 0
    one, other = (
        read_photo(f"{folder}/bare-conv.png")[60:150, 8:100] for folder in ("onnxlens-out", "other")
    )
    assert (one != other).any()


def test_what_is_odd_is_listed(place, run):
    w = RNG.standard_normal((6, 3, 3, 3))
    w[4], w[5], w[2] = 2 * w[0], -w[1], 0
    onnx.save(parsed("(float[1,3,8,8] x) => (float[1,6,6,6] y) { y = Conv(x, w) }", w=w), "odd.onnx")
    (record,) = run("weights", "odd.onnx", "--json", "-q").records
    assert record["shape"] == [6, 3, 3, 3]
    assert record["weight"] == "w"
    assert record["dead"] == [2]
    assert record["near_duplicates"] == 2
    nearest = [(n["outputs"], n["cosine"]) for n in record["nearest"]]
    assert sorted(nearest) == [([0, 4], 1.0), ([1, 5], -1.0)]
    np.testing.assert_allclose(record["norms"], np.sqrt((w**2).sum((1, 2, 3))), atol=1e-5)
    stored = json.loads(Path("onnxlens-out/manifest.json").read_text())
    assert stored["results"] == [{k: v for k, v in record.items() if k != "schema"}]
    assert stored["preprocess"] is None
    line = run("weights", "odd.onnx", "--overwrite").out.splitlines()[1]
    assert "1: 2" in line
    assert "0~4" in line
    assert "1~-5" in line


def test_without_a_way_back_the_patterns_are_left_out(place, run):
    body = "(int64[1,7] x) => (float[1,7,4] y) { g = Gather(w, x) y = MatMul(g, v) }"
    onnx.save(parsed(body, w=RNG.random((99, 5)), v=RNG.random((5, 4))), "text.onnx")
    done = run("weights", "text.onnx", "--json")
    assert done.code == 0
    assert "no image" in done.err
    assert "no image" in done.records[0]["no_patterns"]
    assert written() == ["manifest.json", "text-y.npy", "text-y.png"]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["model.onnx", "--layer", "conf"], 2, "conv"),
        (["model.onnx", "--layer", "relu"], 2, "no layer matches"),
        (["model.onnx", "--top", "0"], 2, "--top"),
        (["model.onnx", "--sort", "size"], 2, "--sort"),
        (["model.onnx", "--preset", "imagenot"], 2, "imagenet"),
        (["nowhere.onnx"], 2, "no model"),
        (["red.png"], 1, "not an ONNX file"),
        (["plain.onnx"], 2, "no layer with weights"),
    ],
)
def test_bad_requests_are_one_line_and_write_nothing(words, code, said, place, run):
    onnx.save(parsed("(float[1,3,4,4] x) => (float[1,3,4,4] y) { y = Relu(x) }"), "plain.onnx")
    done = run("weights", *words, "-q")
    assert done.code == code, done.err
    assert said in done.err
    assert len(done.err.splitlines()) == 1
    assert not Path("onnxlens-out").exists()


def test_an_earlier_run_is_left_alone(place, run):
    assert run("weights", "model.onnx").code == 0
    before = {p: p.read_bytes() for p in Path("onnxlens-out").iterdir()}
    assert run("weights", "model.onnx").code == 2
    assert before == {p: p.read_bytes() for p in Path("onnxlens-out").iterdir()}


def test_hostile_names_stay_in_the_folder(place, run):
    name = "../../up\x1b[2J\u202e"
    model = colours(preprocess=UNIT)
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [name if n == "conv" else n for n in names]
    onnx.save(model, "hostile.onnx")
    done = run("weights", "hostile.onnx", "--layer", name)
    assert done.code == 0
    assert "\x1b" not in done.out + done.err
    assert len(written()) == 3
    assert not any("\x1b" in n or "\u202e" in n for n in written())


def test_weights_that_are_no_numbers(place, run):
    w = np.full((3, 3, 3, 3), np.nan)
    w[1] = np.inf
    onnx.save(parsed("(float[1,3,8,8] x) => (float[1,3,6,6] y) { y = Conv(x, w) }", w=w), "nan.onnx")
    done = run("weights", "nan.onnx", "--json", "-q")
    assert done.code == 0, done.err
    assert done.records[0]["norms"] == [None] * 3
