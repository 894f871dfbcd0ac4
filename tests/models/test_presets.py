import re
from pathlib import Path

import numpy as np
import pytest

from onnxlens.engine.errors import BadModel, BadRequest
from onnxlens.models.layout import infer_layout
from onnxlens.models.presets import PRESETS, preset

WHITE, BLACK = np.full((300, 300, 3), 255, np.uint8), np.zeros((300, 300, 3), np.uint8)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_every_preset_makes_an_input(name, layout):
    x, _ = preset(name, (96, 128), layout)(WHITE)
    assert x.shape == ((1, 3, 96, 128) if layout == "nchw" else (1, 96, 128, 3))


@pytest.mark.parametrize(
    ("name", "black", "white"),
    [
        ("imagenet", (-2.1179, -2.0357, -1.8044), (2.2489, 2.4286, 2.6400)),
        ("caffe", (-103.94, -116.78, -123.68), (151.06, 138.22, 131.32)),
        ("tf", (-1, -1, -1), (1, 1, 1)),
        ("inception", (-1, -1, -1), (1, 1, 1)),
        ("clip", (-1.7923, -1.7521, -1.4802), (1.9303, 2.0749, 2.1459)),
        ("unit", (0, 0, 0), (1, 1, 1)),
        ("yolo", (0, 0, 0), (1, 1, 1)),
        ("raw", (0, 0, 0), (255, 255, 255)),
    ],
)
def test_the_range_that_each_family_is_known_for(name, black, white):
    preprocess = preset(name, (32, 32))
    np.testing.assert_allclose(preprocess(BLACK)[0][0, :, 16, 16], black, atol=1e-4)
    np.testing.assert_allclose(preprocess(WHITE)[0][0, :, 16, 16], white, atol=1e-4)


def test_the_margin_around_the_crop_grows_with_the_model():
    assert preset("imagenet", (224, 224)).resize == 256
    assert preset("tf", (299, 299)).resize == 342
    assert preset("clip", (336, 336)).resize == 336


def test_grey_models_take_the_presets_that_know_no_colour():
    assert preset("unit", (28, 28), channels=1)(WHITE)[0].shape == (1, 1, 28, 28)
    with pytest.raises(BadRequest, match="inception, tf, yolo, unit, raw"):
        preset("imagenet", (28, 28), channels=1)


def test_a_wrong_name_is_told_the_nearest():
    with pytest.raises(BadRequest, match="nearest: imagenet"):
        preset("imagnet", (224, 224))


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [
        ([1, 3, 224, 224], ("nchw", 3, (224, 224))),
        (["batch", 3, 480, 640], ("nchw", 3, (480, 640))),
        ([None, 299, 299, 3], ("nhwc", 3, (299, 299))),
        ([-1, 28, 30, 1], ("nhwc", 1, (28, 30))),
        ([1, 1, 64, 64], ("nchw", 1, (64, 64))),
    ],
)
def test_shapes_that_say_all_there_is_to_know(shape, wanted):
    assert infer_layout(shape) == wanted


def test_answers_fill_what_is_open():
    assert infer_layout([None, 3, "h", "w"], size=(96, 128)) == ("nchw", 3, (96, 128))
    assert infer_layout([1, 3, 224, 3], order="nchw") == ("nchw", 3, (224, 3))
    assert infer_layout([1, 3, 224, 3], order="nhwc") == ("nhwc", 3, (3, 224))
    assert infer_layout([1, 3, 224, 224], size=(224, 224)).size == (224, 224)


@pytest.mark.parametrize(
    ("shape", "answers", "flag"),
    [
        (["n", 3, "h", "w"], {}, "--size"),
        (["n", 3, 224, "w"], {}, "--size"),
        ([1, 3, 224, 3], {}, "--layout"),
        ([1, 1, 28, 1], {}, "--layout"),
        (["n", "a", "b", "c"], {}, "--layout"),
        ([1, 3, 224, 224], {"order": "nhwc"}, "224 channels"),
        ([1, 3, 224, 224], {"order": "chw"}, "--layout is"),
        ([1, "c", 224, 224], {"order": "nchw"}, "set it in the file"),
        ([1, 3, 224, 224], {"size": (256, 256)}, "--size"),
    ],
)
def test_what_cannot_be_known_is_asked(shape, answers, flag):
    with pytest.raises(BadRequest, match=flag):
        infer_layout(shape, **answers)


@pytest.mark.parametrize("shape", [[], [1, 10], [3, 224, 224], [1, 4, 64, 64], [1, 3, 8, 224, 224]])
def test_inputs_that_are_no_photos(shape):
    with pytest.raises(BadModel):
        infer_layout(shape)


def test_the_documentation_has_every_preset():
    page = (Path(__file__).parents[2] / "docs/settings.md").read_text()
    rows = page.partition("## Presets")[2].partition("\n\nA wrong")[0].splitlines()
    named = [
        name for row in rows if row.startswith("| `") for name in re.findall("`(.*?)`", row.split("|")[1])
    ]
    assert named == list(PRESETS)
