import numpy as np
import pytest

from onnxlens.engine.errors import BadRequest
from onnxlens.models.photos.fill import COLOURS, FILLS, filler
from onnxlens.models.photos.preprocess import Preprocess

IMAGENET = {"scale": 1 / 255, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
CAFFE = {"channels": "bgr", "mean": (103.94, 116.78, 123.68)}
UNIT = {"scale": 1 / 255}
SIZE = 24, 32


def preprocess(fields, layout="nchw", fit="crop"):
    return Preprocess(size=SIZE, layout=layout, fit=fit, resize=40 if fit == "crop" else None, **fields)


def photo():
    return np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)


def fill(name, fields=IMAGENET, layout="nchw", fit="crop"):
    how = preprocess(fields, layout, fit)
    image = how(photo())[0]
    made = filler(image, how, name)
    assert made.shape == image.shape
    assert made.dtype == np.float32
    return made, how, image


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("fields", [IMAGENET, CAFFE])
def test_the_mean_is_what_the_model_takes_as_zero(fields, layout):
    made, how, _ = fill("mean", fields, layout)
    step = how.scale / min(how.std)  # one level of 8 bits
    assert np.abs(made).max() <= 0.5001 * step
    assert np.ptp(how.inverse(made).reshape(-1, 3), axis=0).tolist() == [0, 0, 0]


def test_where_nothing_is_subtracted_the_mean_is_grey():
    made, _, _ = fill("mean", UNIT)
    np.testing.assert_allclose(made, 128 / 255, atol=1e-6)


@pytest.mark.parametrize("fit", ["crop", "letterbox", "stretch"])
@pytest.mark.parametrize("fields", [IMAGENET, CAFFE, UNIT])
@pytest.mark.parametrize(
    ("name", "colour"),
    [("zero", (0, 0, 0)), ("#ff8000", (255, 128, 0)), ("#FF8000", (255, 128, 0)), ("Red", (255, 0, 0))],
)
def test_a_colour_fills_all_of_the_input(name, colour, fields, fit):
    made, how, _ = fill(name, fields, fit=fit)
    assert (how.inverse(made) == np.array(colour, np.uint8)).all()


def test_a_model_of_grey_pictures_gets_grey():
    made, how, _ = fill("red", {"channels": "grey", **UNIT})
    np.testing.assert_allclose(made, 76 / 255, atol=1e-6)
    assert how.inverse(made).shape == (1, *SIZE, 3)


def test_a_blur_keeps_the_colours_and_loses_the_details():
    made, _, image = fill("blur")
    np.testing.assert_allclose(made.mean((2, 3)), image.mean((2, 3)), atol=0.05)
    assert made.std() < 0.4 * image.std()


def test_noise_is_the_same_each_time_and_even():
    made, how, _ = fill("noise")
    np.testing.assert_array_equal(made, fill("noise")[0])
    pixels = how.inverse(made)
    assert abs(pixels.mean() - 127.5) < 8
    assert np.histogram(pixels, 8, (0, 256))[0].min() > 0.8 * pixels.size / 8


@pytest.mark.parametrize("name", ["", "gren", "#ff80", "#ff80000", "#gg0000", "1,2,3", "x" * 1000])
def test_no_such_fill(name):
    with pytest.raises(BadRequest, match="there is no fill") as error:
        fill(name)
    assert len(str(error.value)) < 300


def test_nearest_fills_are_named():
    with pytest.raises(BadRequest, match="nearest: green"):
        fill("gren")
    assert not FILLS.keys() & COLOURS.keys()
