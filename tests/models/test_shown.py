"""Results in a notebook: a picture, and a line of text that holds no array."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

import onnxlens
from onnxlens.models.embedded.scenes import scene
from onnxlens.models.maps.shown import MAX_PIXELS

PHOTO = scene(3).image
RESULTS = {
    "Attribution of a map": lambda lens: lens.gradcam(PHOTO),
    "Occlusion": lambda lens: onnxlens.occlusion(lens, PHOTO, patch=24, stride=24),
    "Attribution of a signal": lambda lens: onnxlens.project(lens, PHOTO, "guided")[0],
    "Response": lambda lens: next(onnxlens.responses(lens, PHOTO)),
    "Weights": lambda lens: next(onnxlens.weights(lens.network)),
    "Dream": lambda lens: onnxlens.dream(onnxlens.Ascent(lens, "class(0)"), PHOTO, octaves=1, iterations=1),
}


@pytest.fixture(scope="module")
def lens():
    return onnxlens.Lens("scenes", provider="cpu")


@pytest.mark.parametrize("kind", RESULTS)
def test_a_result_is_its_picture_and_one_short_line(lens, kind):
    result = RESULTS[kind](lens)
    drawn = cv2.imdecode(np.frombuffer(result._repr_png_(), np.uint8), cv2.IMREAD_COLOR_RGB)
    assert max(drawn.shape) <= MAX_PIXELS
    if max(result.shown().shape) <= MAX_PIXELS:
        np.testing.assert_array_equal(drawn, result.shown())
    line = repr(result)
    assert line.startswith(f"{kind.split()[0]}(")
    assert "\n" not in line
    assert "array(" not in line
    assert len(line) < 1500


def test_a_map_that_shows_nothing_is_its_reason(lens):
    heat = replace(lens.gradcam(PHOTO), problem="the gradient is zero")
    assert heat._repr_png_() is None
    assert "problem='the gradient is zero'" in repr(heat)
