"""Every command on a model that decodes pictures itself."""

import onnx
import pytest
from oracles.toys import decoding

ASKS = "--size HEIGHTxWIDTH"
WORKS = [
    ("predict", "red.png"),
    ("gradcam", "red.png"),
    ("occlusion", "red.png", "--patch", "8", "--stride", "8"),
    ("activations", "red.png"),
    ("look", "red.png"),
    ("doctor", "red.png"),
    ("top", ".", "--channels", "0-2"),
    ("run", ".", "--workers", "1"),
]


@pytest.fixture
def model(place):
    onnx.save(decoding(), place / "model.onnx")
    return "model.onnx"


@pytest.mark.parametrize("words", WORKS, ids=lambda w: w[0])
def test_what_needs_no_gradient_of_the_pixels_works(words, model, run):
    command, *rest = words
    done = run(command, model, *rest, "--size", "60x90")
    assert done.code == 0, done.err
    asked = run(command, model, *rest, *(["--overwrite"] if command not in ("predict", "doctor") else []))
    assert asked.code != 0
    assert "decodes pictures itself" in asked.err
    assert ASKS in asked.err


@pytest.mark.parametrize("words", [("weights",), ("layers",), ("doctor",)], ids=lambda w: w[0])
def test_what_needs_no_photo_needs_no_size(words, model, run):
    done = run(*words, model)
    assert done.code == 0, done.err


@pytest.mark.parametrize(
    "words",
    [
        ("saliency", "red.png", "--size", "60x90"),
        ("guided", "red.png", "--size", "60x90"),
        ("deconvnet", "red.png", "--size", "60x90", "--layer", "relu"),
        ("dream", "--objective", "channel(relu, 1)", "--size", "60x90"),
        ("grad", "-o", "grad.onnx"),
    ],
    ids=lambda w: w[0],
)
def test_the_gradient_of_pixels_is_refused_with_the_value_behind(words, model, run):
    command, *rest = words
    done = run(command, model, *rest)
    assert done.code != 0
    last = done.err.strip().splitlines()[-1]
    assert "'bytes' is of type uint8" in last
    assert "the nearest behind it is 'floats': grad --wrt takes it" in last
    assert run("grad", model, "-o", "grad.onnx", "--wrt", "floats").code == 0
