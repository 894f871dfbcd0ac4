import dataclasses
import re
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from onnxlens.engine.errors import BadModel, BadRequest
from onnxlens.models import embedded
from onnxlens.models.photos.layout import Layout, infer_layout
from onnxlens.models.photos.preprocess import Preprocess
from onnxlens.models.photos.presets import OPTIONS, PRESETS, as_options, completed, facts_of, preset

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
        ("raw-bgr", (0, 0, 0), (255, 255, 255)),
        ("unit-bgr", (0, 0, 0), (1, 1, 1)),
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


def test_blue_comes_first_where_a_preset_says_so():
    red = np.zeros((32, 32, 3), np.uint8) + np.array([255, 0, 0], np.uint8)
    for name in ("raw-bgr", "unit-bgr", "caffe", "imagenet-bgr"):
        x = preset(name, (32, 32))(red)[0][0, :, 16, 16]
        assert x.argmax() == 2, name


# -- fields said beside a preset ---------------------------------------------------------------------------

SAID = {
    "preset": "imagenet",
    "fit": "letterbox",
    "resize": "60x70",
    "interpolation": "cubic",
    "antialias": False,
    "anchor": "top-left",
    "crop_first": "true",
    "rounding": "nearest",
    "fill": "1,2,3.5",
    "channels": "bgr",
    "scale": "1/255",
    "mean": "0.5",
    "std": "0.1,0.2,1/4",
}
WANTED = Preprocess(
    size=(64, 80),
    fit="letterbox",
    resize=(60, 70),
    interpolation="cubic",
    antialias=False,
    anchor="top-left",
    crop_first=True,
    rounding="nearest",
    fill=(1, 2, 3.5),
    channels="bgr",
    scale=1 / 255,
    mean=(0.5,),
    std=(0.1, 0.2, 0.25),
)


def test_every_field_can_be_said_as_text_or_as_it_is():
    assert completed(facts_of(SAID), (64, 80), "nchw", 3) == WANTED
    stored = WANTED.to_dict()
    assert completed(facts_of(stored), (64, 80), "nchw", 3) == WANTED
    assert set(OPTIONS) | {"size", "layout"} == set(stored)


def test_what_is_not_said_is_the_presets():
    found = completed(facts_of({"preset": "imagenet", "mean": 0.5}), (224, 224), "nchw", 3)
    assert (found.mean, found.resize, found.std) == ((0.5,), 256, (0.229, 0.224, 0.225))
    assert completed(facts_of({"preset": "imagenet", "resize": "300"}), (224, 224), "nchw", 3).resize == 300


def test_what_is_said_is_said_over_what_was_found():
    found = {"size": (224, 224), "fit": "crop", "resize": 256, "scale": 1 / 255, "mean": (0.4,)}
    assert completed(facts_of(None, found), (224, 224), "nchw", 3) == Preprocess(**found)
    beside = completed(facts_of({"std": "2"}, found), (224, 224), "nchw", 3)
    assert beside == Preprocess(**found, std=(2.0,))
    # A preset takes the place of all but size and layout.
    assert facts_of("raw", found | {"layout": "nhwc"}) == {
        "size": (224, 224), "layout": "nhwc", "fit": "stretch", "scale": 1.0,
    }  # fmt: skip


def test_at_another_size_the_margin_keeps_its_proportion():
    found = {"size": (224, 224), "fit": "crop", "resize": 256, "scale": 1}
    assert completed(facts_of(None, found), (448, 448), "nchw", 3).resize == 512
    found |= {"fit": "stretch", "resize": (256, 448)}
    assert completed(facts_of(None, found), (112, 224), "nchw", 3).resize == (128, 448)
    assert completed(facts_of({"resize": 300}, found), (112, 224), "nchw", 3).resize == 300


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"mean": "0.5,x"}, "mean cannot be"),
        ({"mean": ""}, "mean cannot be"),
        ({"mean": "1/0"}, "mean cannot be"),
        ({"mean": "nan"}, "mean cannot be"),
        ({"std": "0"}, "std cannot be"),
        ({"scale": "1,2"}, "scale cannot be"),
        ({"scale": "1e999"}, "scale cannot be"),
        ({"resize": "10x"}, "resize cannot be"),
        ({"resize": "1x2x3"}, "resize cannot be"),
        ({"resize": "9" * 5000}, "resize cannot be"),
        ({"fill": "300"}, "fill cannot be"),
        ({"fit": "cropp"}, "nearest: crop"),
        ({"channels": "rbg"}, "nearest: "),
        ({"antialias": "perhaps"}, "antialias cannot be"),
        ({"antialais": True}, "nearest: antialias"),
        ({"preset": "imagnet"}, "nearest: imagenet"),
        ({"preset": ["raw"]}, "no preset named"),
    ],
)
def test_what_makes_no_sense_is_a_bad_request(said, why):
    with pytest.raises(BadRequest, match=why) as caught:
        completed(facts_of({"preset": "raw"} | said), (8, 8), "nchw", 3)
    assert len(str(caught.value)) < 200


def test_what_is_said_is_said_again_by_options():
    assert as_options("raw") == ["--preset", "raw"]
    assert as_options({"preset": "raw", "mean": (1, 2), "resize": [3, 4], "antialias": False, "fill": 7}) == [
        "--preset", "raw", "--mean", "1,2", "--resize", "3x4", "--no-antialias", "--pad-value", "7",
    ]  # fmt: skip


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


@pytest.mark.parametrize("shape", [[], [1, 10], [3, 224, 224], [1, 9, 5, 7], [1, 3, 8, 224, 224]])
def test_inputs_that_are_no_photos(shape):
    with pytest.raises(BadModel):
        infer_layout(shape)


def test_a_fourth_channel_has_to_be_said():
    """Four channels may be anything: colours and how opaque they are, a latent, a depth."""
    found = infer_layout([1, 32, 32, 4])
    assert found == Layout("nhwc", 4, (32, 32))
    facts = {"scale": 1.0, "mean": (0.0,), "std": (1.0,)}
    with pytest.raises(BadRequest, match="--channel-order rgba"):
        completed(facts, found.size, found.order, found.channels)
    for channels in ("rgba", 4):
        said = facts | {"channels": channels}
        assert completed(said, found.size, found.order, found.channels).channels == channels


@pytest.mark.parametrize("channels", [2, 5, 11])
def test_channels_that_are_no_colours_lie_beside_a_square(channels):
    assert infer_layout([1, channels, 64, 64]) == ("nchw", channels, (64, 64))
    assert infer_layout(["N", 48, 48, channels]) == ("nhwc", channels, (48, 48))
    assert infer_layout([1, channels, 40, 64], order="nchw") == ("nchw", channels, (40, 64))
    with pytest.raises(BadModel, match="say --layout"):
        infer_layout([1, channels, 40, 64])


PAGE = Path(__file__).parents[2] / "docs/preprocessing.md"


def column(heading, index):
    """What stands in code in a column of the table below a heading."""
    rows = PAGE.read_text().partition(f"## {heading}")[2].partition("\n## ")[0].splitlines()
    cells = [row.split("|")[index] for row in rows if row.startswith("| `")]
    return [name for cell in cells for name in re.findall("`(.*?)`", cell)]


def test_the_documentation_has_every_preset():
    assert column("Presets", 1) == list(PRESETS)


def test_the_documentation_has_every_field_and_its_option():
    options = [name.removeprefix("--") for name in column("What can be said", 1)]
    assert set(options) == {"preset", "size", "layout", "no-antialias", *OPTIONS.values()}
    assert set(column("What can be said", 2)) == {field.name for field in dataclasses.fields(Preprocess)}


@pytest.mark.parametrize(
    "code", re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
)
def test_the_python_of_the_documentation_runs(code, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    model = onnx.load(embedded.path())
    del model.metadata_props[:]
    onnx.save(model, "model.onnx")
    cv2.imwrite("cat.jpg", np.full((60, 90, 3), 99, np.uint8))
    exec(compile(code, PAGE.name, "exec"), {"__name__": "page"})
    assert "preset imagenet, mean 0.5,0.5,0.5" in (out := capsys.readouterr().out) or "metadata" in out
