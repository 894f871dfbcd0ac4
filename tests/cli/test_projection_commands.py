"""`deconvnet`, `guided`, `saliency`, and the layers and pixels of `gradcam`: what they write and refuse."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from oracles.toys import colours

from onnxlens.models.attribution.projection import project, project_layer, projector_for
from onnxlens.models.lens import Lens
from onnxlens.models.photos.photo import read_photo
from onnxlens.models.photos.preprocess import Preprocess

NAMES = ["deconvnet", "guided", "saliency"]


def files(folder="onnxlens-out"):
    return {p.name for p in Path(folder).iterdir()}


def manifest(folder="onnxlens-out"):
    return json.loads(Path(folder, "manifest.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_a_class_gives_a_picture_and_its_signal(name, place, run):
    target = ["--target", "top1"] if name == "deconvnet" else []
    done = run(name, "model.onnx", "red.png", "blue.jpg", *target)
    assert done.code == 0
    assert files() == {
        "manifest.json",
        *(f"{s}-{name}{e}" for s in ("red-0", "blue-2") for e in (".png", ".npy")),
    }
    expected = project(Lens("model.onnx"), read_photo("blue.jpg"), name)[0]
    np.testing.assert_array_equal(np.load(f"onnxlens-out/blue-2-{name}.npy"), expected.signal)
    style = "absolute" if name == "saliency" else "signed"
    np.testing.assert_array_equal(read_photo(f"onnxlens-out/blue-2-{name}.png"), expected.picture(style))
    first, second = manifest()["results"]
    assert (first["image"], first["target"]["label"], second["target"]["index"]) == ("red.png", "red", 2)
    assert first["map_size"] == [32, 32]
    assert done.out.splitlines()[0].startswith("red.png: 0 red (1.000) -> ")


@pytest.mark.parametrize("name", ["deconvnet", "guided"])
def test_a_network_without_a_gate_is_told_of(name, place, run):
    model = onnx.load("model.onnx")
    for node in model.graph.node:
        if node.op_type == "Relu":
            node.op_type = "Elu"
    onnx.save(model, "smooth.onnx")
    done = run(name, "smooth.onnx", "red.png", "--target", "red")
    assert done.code == 0
    assert done.out.count("no ReLU lies on the way") == 1
    (record,) = manifest()["results"]
    assert record["note"].startswith("no ReLU lies on the way")
    assert "note" not in run("guided", "model.onnx", "red.png", "--json", "-o", "other").records[0]


def test_channels_of_a_layer_give_a_sheet_too(place, run):
    done = run("deconvnet", "model.onnx", "red.png", "--layer", "conv", "--channels", "0-1", "--json")
    # conv has no ReLU: what speaks against the other colours is a channel's value too
    assert done.code == 0
    assert [(r["layer"], r["channel"]) for r in done.records] == [("conv", 0), ("conv", 1)]
    sheet = done.records[0]["files"]["sheet"]
    assert files() == {"manifest.json", sheet, *(f for r in done.records for f in r["files"].values())}
    assert read_photo(Path("onnxlens-out", sheet)).shape[1] > 2 * 256


def test_the_picture_of_several_channels_is_said_once(place, run):
    done = run("deconvnet", "model.onnx", "red.png", "--layer", "conv", "--channels", "0-1")
    assert done.out.splitlines()[2:] == ["red.png: side by side -> onnxlens-out/red-conv-deconvnet.png"]


def test_a_position(place, run):
    (record,) = run(
        "guided", "model.onnx", "red.png", "--layer", "relu", "--channel", 0, "--position", "10,12", "--json"
    ).records
    assert record["position"] == [10, 12]
    assert record["window"] == [9, 11, 12, 14]
    expected = project_layer(Lens("model.onnx"), read_photo("red.png"), "guided", "relu", [0], (10, 12))[0]
    np.testing.assert_array_equal(np.load(Path("onnxlens-out", record["files"]["signal"])), expected.signal)


def test_the_strongest_channels_without_any_named(place, run):
    records = run("guided", "model.onnx", "red.png", "--layer", "relu", "--top", 2, "--json").records
    assert [r["channel"] for r in records] == [0]  # only one is active


def test_the_deconvnet_begins_at_the_last_feature_map(place, run):
    (record,) = run("deconvnet", "model.onnx", "red.png", "--json").records
    assert (record["layer"], record["channel"]) == ("relu", 0)
    assert (
        run("saliency", "model.onnx", "red.png", "--json", "-o", "other").records[0]["target"]["index"] == 0
    )
    refused = run("saliency", "model.onnx", "red.png", "--channels", "0")
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)
    assert "say which with --layer" in refused.err


def test_a_channel_that_does_not_answer_is_said(place, run):
    done = run("deconvnet", "model.onnx", "red.png", "--layer", "relu", "--channels", "0,2")
    assert done.code == 0
    assert "relu 2 at 0,0: nothing to show: its value in this photo is 0" in done.out
    assert ["problem" in r for r in manifest()["results"]] == [False, True]
    alone = run("deconvnet", "model.onnx", "red.png", "--layer", "relu", "--channels", "2", "-o", "alone")
    assert alone.code == 1  # nothing at all is drawn of the photo
    assert not Path("alone").exists()


@pytest.mark.parametrize("style", ["signed", "absolute", "diverging", "overlay"])
def test_styles(style, place, run):
    assert run("guided", "model.onnx", "red.png", "--style", style).code == 0
    assert read_photo("onnxlens-out/red-0-guided.png").shape == (60, 90, 3)


@pytest.mark.parametrize("method", ["saliency", "input-x-gradient", "lrp"])
def test_methods_of_saliency(method, place, run):
    (record,) = run("saliency", "model.onnx", "red.png", "--method", method, "--json").records
    assert record["method"] == method
    assert record["files"]["picture"] == f"red-0-{method}.png"


REFUSED = [
    (("--layer", "relu", "--channels", "3"), "there is no channel 3: layer 'relu' has channels 0 to 2"),
    (("--layer", "relu", "--channels", "0", "--position", "32,0"), "position 32,0 is outside layer 'relu'"),
    (("--layer", "relu", "--channels", "0", "--position", "3"), "'3' is not a position such as 6,4"),
    (("--layer", "relu", "--position", "1,1"), "--position is of a channel: say which with --channels"),
    (("--layer", "rleu"), "no layer 'rleu'; nearest: relu"),
    (("--layer", "mean"), "layer 'mean' of shape"),
    (("--layer", "relu", "--target", "red"), "say one of them"),
    (("--layer", "relu", "--channels", "0", "--top", "2"), "--top is for the strongest channels"),
    (("--layer", "relu", "--channels", "1-x"), "no channel and no range"),
    (("--target", "red", "--top", "2"), "are of a layer: say which with --layer"),
    (("--target", "7"), "there is no class 7"),
    (("--target", "reed"), "nearest: red"),
    (("--colour", "turbot"), "no colour map named 'turbot'"),
    (("--style", "sined"), "signed"),
]


@pytest.mark.parametrize(
    ("words", "text"), REFUSED, ids=lambda w: "_".join(w) if isinstance(w, tuple) else ""
)
def test_what_cannot_be_is_one_line_before_any_work(words, text, place, run):
    for name in ("deconvnet", "saliency"):
        done = run(name, "model.onnx", "none.png", *words, "-q")
        assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
        assert text in done.err
    assert not Path("onnxlens-out").exists()


def test_names_from_the_model_lead_nowhere(place, run):
    model = colours(preprocess=Preprocess(size=(32, 32), fit="stretch", scale=1 / 255))
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = ["../../relu" if name == "relu" else name for name in names]
    onnx.save(model, "evil.onnx")
    assert run("deconvnet", "evil.onnx", "red.png", "--layer", "../../relu", "--channels", "0").code == 0
    assert (
        run("gradcam", "evil.onnx", "red.png", "--layers", "*relu", "--layers", "pool", "-o", "cams").code
        == 0
    )
    for folder in ("onnxlens-out", "cams"):
        named = {f for r in manifest(folder)["results"] for f in r["files"].values()}
        assert files(folder) == {"manifest.json", *named}
    assert not list(Path("..").glob("*relu*"))


def test_grad_cam_of_several_layers(place, run):
    done = run("gradcam", "model.onnx", "red.png", "--layers", "relu", "--layers", "p*l", "--json")
    assert [r["layer"] for r in done.records] == ["relu", "pool"]
    assert files() == {
        "manifest.json",
        "red-0-gradcam-layers.png",
        *(
            f"red-{layer}-0-gradcam{end}"
            for layer in ("relu", "pool")
            for end in (".png", ".npy", "-map.npy")
        ),
    }
    for layer in ("relu", "pool"):
        alone = Lens("model.onnx").gradcam(read_photo("red.png"), layer=layer)
        np.testing.assert_allclose(
            np.load(f"onnxlens-out/red-{layer}-0-gradcam-map.npy"), alone.map, rtol=1e-5
        )


def test_guided_grad_cam(place, run):
    (record,) = run("gradcam", "model.onnx", "blue.jpg", "--guided", "--json").records
    signal = np.load(Path("onnxlens-out", record["files"]["guided_signal"]))
    heat = np.load(Path("onnxlens-out", record["files"]["layer_map"]))
    guided = project(Lens("model.onnx"), read_photo("blue.jpg"), "guided")[0].signal
    np.testing.assert_allclose(signal, guided * heat[..., None], rtol=1e-5)
    assert read_photo(Path("onnxlens-out", record["files"]["guided"])).shape == (60, 90, 3)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--layers", "relu*", "--layer", "relu"), "--layer is for one feature map, --layers for several"),
        (("--layers", "fire*"), "no layer matches 'fire*'"),
        (("--layers", "mean"), "layer 'mean' of shape"),
    ],
)
def test_layers_that_are_not_there(words, text, place, run):
    done = run("gradcam", "model.onnx", "none.png", *words, "-q")
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert text in done.err


@pytest.mark.parametrize("method", ["integrated", "smoothgrad"])
def test_averages_of_the_gradient(method, place, run):
    words = ("saliency", "model.onnx", "red.png", "--method", method)
    (record,) = run(*words, "--steps", 9, "--json").records
    assert record["files"]["picture"] == f"red-0-{method}.png"
    lens = Lens("model.onnx")
    (expected,) = project(lens, read_photo("red.png"), projector_for(lens, method, steps=9))
    np.testing.assert_allclose(np.load("onnxlens-out/red-0-" + method + ".npy"), expected.signal, rtol=1e-5)
    assert manifest()["arguments"]["steps"] == 9
    text = run(*words, "-o", "other").out
    assert ("sums to" in text) == ("completeness" in record) == (method == "integrated")
    if method == "integrated":
        assert record["completeness"]["sum"] == pytest.approx(expected.signal.sum(), rel=1e-3)


def test_steps_are_of_averages(place, run):
    done = run("saliency", "model.onnx", "none.png", "--steps", 9)
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert (
        "--steps is no option of saliency: it is one of integrated, blur-integrated, guided-integrated, "
        "expected-gradients, smoothgrad" in done.err
    )
