"""Lens: the verbs of the command line in Python, on whatever a photo is given as."""

import io

import cv2
import numpy as np
import pytest

import onnxlens
from onnxlens.engine.errors import BadImage, BadRequest
from onnxlens.models.embedded.scenes import scene
from onnxlens.models.lens import pixels

PHOTO = scene(3).image


@pytest.fixture(scope="module")
def lens():
    return onnxlens.Lens("scenes", provider="cpu")


@pytest.fixture
def path(tmp_path):
    cv2.imwrite(str(tmp_path / "cat.png"), PHOTO[..., ::-1])
    return tmp_path / "cat.png"


# What each verb finds, as numbers.
VERBS = {
    "predict": lambda lens, photo: [p.probability for p in lens.predict(photo)],
    "explain": lambda lens, photo: [a.values for a in lens.explain(photo, ["top2"])],
    "gradcam": lambda lens, photo: lens.gradcam(photo, "cat").values,
    "occlusion": lambda lens, photo: lens.occlusion(photo, "cat", patch=32, stride=32).scores,
    "responses": lambda lens, photo: next(lens.responses(photo)).maps,
    "activations": lambda lens, photo: next(lens.activations(photo, ["relu5"])).maps,
    "dream": lambda lens, photo: lens.dream(photo, octaves=1, iterations=1).pictures,
    "imagine": lambda lens, photo: lens.imagine("class(cat)", photo, iterations=1).pictures,
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_path_is_as_good_as_its_pixels(lens, path, verb):
    expected = VERBS[verb](lens, PHOTO)
    for given in (path, str(path)):
        np.testing.assert_array_equal(VERBS[verb](lens, given), expected)


def test_verbs_without_a_photo(lens, path):
    assert lens.layers()[:3] == ["conv1", "relu1", "pool1"]
    assert next(lens.weights()).kernels.values.shape == (16, 3, 7, 7)
    for places in (path, [str(path)], path.parent, f"{path.parent}/*.png"):
        assert {hit.path for hit in lens.top(places, k=1)} == {str(path)}


def test_a_class_at_a_time(lens):
    with pytest.raises(BadRequest, match=r"one class.*top3.*attribute"):
        lens.gradcam(PHOTO, "top3")
    assert [a.channel for a in lens.explain(PHOTO, ["top3"])] == [p.index for p in lens.predict(PHOTO, 3)]


def test_a_file_that_is_not_there(lens):
    with pytest.raises(BadImage, match=r"no\.png: no such file"):
        lens.gradcam("no.png")


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "P", "1", "CMYK", "RGBA"])
def test_images_of_pillow_are_what_their_files_are(mode):
    image = pytest.importorskip("PIL.Image")
    made = image.fromarray(PHOTO).convert(mode)
    if mode == "RGBA":
        made.putalpha(image.fromarray(PHOTO[..., 0]))
    exif = made.getexif()
    exif[0x112] = 6  # a quarter turn
    kind, buffer = ("TIFF" if mode == "CMYK" else "PNG"), io.BytesIO()
    made.save(buffer, kind, exif=exif)
    read = pixels(image.open(io.BytesIO(buffer.getvalue())))
    turned = np.rot90(np.asarray(made.convert("RGBA"), np.uint16), -1)
    alpha = turned[..., 3:]
    np.testing.assert_array_equal(read, (turned[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"method": "occlusion", "patch": 1.5}, "patch is one whole number or two, not 1.5"),
        ({"method": "occlusion", "patch": (4, 4, 4)}, "patch is one whole number or two"),
        ({"method": "occlusion", "stride": "4"}, "stride is one whole number or two, not '4'"),
        ({"method": "integrated", "steps": 2.5}, "steps is a whole number, not 2.5"),
        ({"method": "rise", "masks": True}, "masks is a whole number, not True"),
        ({"layer": 5}, "layer is the name of one, or several names, not 5"),
        ({"layer": ["relu5", 5]}, "layer is the name of one, or several names"),
        ({"method": "saliency", "layer": "relu5", "targets": ["cat"]}, "say targets or a layer"),
    ],
)
def test_arguments_that_make_no_sense_are_said(lens, options, text):
    with pytest.raises(BadRequest) as caught:
        lens.attribute(PHOTO, **options)
    assert text in str(caught.value)
