"""Pictures of one, four or eleven channels, from .npy files, on every command that shows something."""

import json
import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from oracles.toys import SIDE, blob, build, colours

from onnxlens.models.lens import Lens
from onnxlens.models.photos.bands import banded
from onnxlens.models.photos.photo import read_photo
from onnxlens.models.photos.preprocess import Preprocess

N = helper.make_node


def bands(channels, layout="nchw", side=SIDE):
    """Which channel has a spot in it, less the mean of all: one feature map and class for each."""
    rng = np.eye(channels) * 1.5 - 0.5 / max(channels - 1, 1)
    weights = {"k": np.tile(rng[:, :, None, None] / 9, (1, 1, 3, 3)), "gain": np.eye(channels) * 200}
    entry = "image" if layout == "nchw" else "turned"
    turn = [N("Transpose", ["image"], ["turned"], perm=[0, 3, 1, 2])] if layout == "nhwc" else []
    nodes = [
        *turn,
        N("Conv", [entry, "k"], ["conv"], pads=[1, 1, 1, 1]),
        N("Relu", ["conv"], ["relu"]),
        N("GlobalAveragePool", ["relu"], ["mean"]),
        N("Flatten", ["mean"], ["flat"]),
        N("MatMul", ["flat", "gain"], ["scores"]),
        N("Softmax", ["scores"], ["probabilities"], axis=1),
    ]
    shape = ("N", channels, side, side) if layout == "nchw" else ("N", side, side, channels)
    arrays = {name: array.astype(np.float32) for name, array in weights.items()}
    return build(nodes, {"image": shape}, {"probabilities": ("N", channels)}, arrays, TensorProto.FLOAT)


def spot(channels, which, at=(20, 30), size=(60, 90), dtype=np.float32):
    """Numbers (H, W, C) of 0 to 1 with a soft spot in one channel."""
    y, x = np.ogrid[: size[0], : size[1]]
    strength = np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / 72)
    found = np.full((*size, channels), 0.1)
    found[..., which] += 0.8 * strength
    return (found if np.issubdtype(dtype, np.floating) else np.rint(found * 200)).astype(dtype)


PRESET = "--preset", "raw"


@pytest.fixture
def here(place):
    onnx.save(bands(11), "eleven.onnx")
    onnx.save(bands(4, "nhwc"), "four.onnx")
    np.save("eleven.npy", spot(11, 7))
    np.save("four.npy", spot(4, 3, dtype=np.uint16))
    return place


@pytest.mark.parametrize(("model", "which"), [("eleven", 7), ("four", 3)])
@pytest.mark.parametrize(
    "way", ["gradcam", "saliency", "deconvnet", "occlusion", "integrated", "rise", "kernel-shap"]
)
def test_maps_peak_where_the_spot_is(here, run, way, model, which):
    said = PRESET if model == "eleven" else ("--preset", "unit", "--channel-order", 4)
    done = run(way, f"{model}.onnx", f"{model}.npy", "--target", which, *said, "-o", "out")
    assert done.code == 0, done.err
    (result,) = json.loads((here / "out/manifest.json").read_text())["results"]
    files = result["files"]
    kinds = [kind for kind in ("layer_map", "signal", "map", "drop", "photo_map") if kind in files]
    found = np.abs(np.load(here / "out" / files[kinds[0]]))
    assert kinds[0] != "signal" or found.shape[-1] == (11 if model == "eleven" else 4)
    found = found.max(-1) if found.ndim == 3 else found
    y, x = np.unravel_index(found.argmax(), found.shape)
    coarse = {
        "kernel-shap": 0.3,
        "rise": 0.5,
        "integrated": 0.5,
        "saliency": 0.4,
        "deconvnet": 0.4,
    }  # segments, edges
    near = coarse.get(way, 0.15)
    assert abs((y + 0.5) / found.shape[0] - 20 / 60) < near
    assert abs((x + 0.5) / found.shape[1] - 30 / 90) < near


@pytest.mark.parametrize("fill", ["mean", "zero", "blur", "noise"])
def test_fills_are_numbers_too(here, run, fill):
    said = "--fill", fill, *PRESET, "-o", "out"
    assert run("occlusion", "eleven.onnx", "eleven.npy", "--target", 7, *said).code == 0
    done = run("occlusion", "eleven.onnx", "eleven.npy", "--fill", "red", *PRESET, "-o", "two")
    assert done.code == 2
    assert "takes numbers: mean, zero, blur or noise" in done.err


@pytest.mark.parametrize(
    "words",
    [
        ["predict", "eleven.onnx", "eleven.npy"],
        ["activations", "eleven.onnx", "eleven.npy", "-o", "out"],
        ["dream", "eleven.onnx", "-o", "out", "--iterations", "1", "--layer", "conv"],
        ["top", "eleven.onnx", "eleven.npy", "-o", "out"],
        ["run", "eleven.onnx", "eleven.npy", "-o", "out"],
        ["look", "eleven.onnx", "eleven.npy", "-o", "out"],
        ["weights", "eleven.onnx", "-o", "out"],
        ["doctor", "eleven.onnx", "eleven.npy"],
    ],
    ids=lambda words: words[0],
)
def test_every_command_works(here, run, words):
    done = run(*words, *PRESET)
    assert done.code == 0, done.err


def test_tones_are_a_photo(here):
    """Colours and grey of 8 bits come as a picture file of the same tones does."""
    photo, lens = blob(), Lens("model.onnx")
    np.save("red.npy", photo)
    found = read_photo("red.npy")
    np.testing.assert_array_equal(found, photo)
    np.testing.assert_array_equal(lens.preprocess(found)[0], lens.preprocess(photo)[0])
    assert lens.predict("red.npy")[0] == lens.predict(photo)[0]
    np.save("grey.npy", photo[..., 0])
    np.testing.assert_array_equal(read_photo("grey.npy"), photo[..., :1].repeat(3, 2))


def test_numbers_are_resized_as_photos_are_without_rounding():
    photo = blob(61, 97)
    for fit in ("crop", "stretch", "letterbox"):
        for name in ("nearest", "box", "linear", "hamming", "cubic", "lanczos"):
            how = {"size": (32, 40), "fit": fit, "interpolation": name, "scale": 1 / 255, "mean": (0.5,)}
            tones, box = Preprocess(**how, fill=9)(photo)
            numbers, same = Preprocess(**how, fill=9, channels=3)(banded(photo.astype(np.float32)))
            assert box == same
            assert np.abs(tones - numbers).max() <= 0.51 / 255 + 1e-6


def test_one_number_and_one_for_each_channel(here):
    mean = tuple(np.linspace(0, 1, 11))
    lens = Lens("eleven.onnx", preset={"preset": "raw", "mean": mean, "std": 0.5})
    x = lens.preprocess(banded(spot(11, 7, size=(32, 32))))[0]
    np.testing.assert_allclose(
        x[0], np.moveaxis((spot(11, 7, size=(32, 32)) - np.float32(mean)) / 0.5, -1, 0), rtol=1e-5, atol=1e-6
    )
    assert Preprocess.from_dict(lens.preprocess.to_dict()) == lens.preprocess


CASES = [
    ("eleven.onnx", "red.png", PRESET, "has 3 channels, and the model takes 11.*give it a .npy file"),
    ("eleven.onnx", "four.npy", PRESET, "has 4 channels, and the model takes 11"),
    ("eleven.onnx", "eleven.npy", (), "--preset"),
    (
        "eleven.onnx",
        "eleven.npy",
        ("--preset", "imagenet"),
        "a mean or std for other channels than the model's 11",
    ),
    (
        "eleven.onnx",
        "eleven.npy",
        (*PRESET, "--mean", "1,2"),
        "a mean or std for other channels than the model's 11",
    ),
    ("eleven.onnx", "nan.npy", PRESET, "not finite"),
    ("eleven.onnx", "flat.npy", PRESET, "flat.npy: 9 float64 is no picture"),
    ("eleven.onnx", "object.npy", PRESET, "a .npy file of object"),
    ("eleven.onnx", "short.npy", PRESET, "cut short"),
    ("model.onnx", "eleven.npy", (), "no tones of 0 to 255: say --channel-order 3"),
    ("odd.onnx", "eleven.npy", PRESET, "say --layout nchw or nhwc"),
]


@pytest.mark.parametrize(("model", "picture", "words", "message"), CASES)
def test_what_does_not_fit_is_one_line(here, run, model, picture, words, message):
    np.save("nan.npy", np.where(spot(11, 7) > 0.5, np.nan, 1))
    np.save("flat.npy", np.zeros(9))
    np.save("object.npy", np.array([[{}, 1]], object), allow_pickle=True)
    (here / "short.npy").write_bytes((here / "eleven.npy").read_bytes()[:-9])
    odd = colours((5, 7), preprocess=None, labels=None)
    odd.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 9
    onnx.save(odd, "odd.onnx")
    done = run("predict", model, picture, *words)
    assert done.code in (1, 2)
    lines = [line for line in done.err.splitlines() if line.startswith("onnxlens: ")]
    assert re.search(message, lines[-1]), done.err
    assert "Traceback" not in done.err
