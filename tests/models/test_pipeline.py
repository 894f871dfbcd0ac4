"""The way from photos to results, which commands over single photos and runs share."""

import cv2
import numpy as np
import onnx
import pytest
from oracles.toys import UNIT, blob, colours

from onnxlens.engine.errors import BadImage
from onnxlens.models.attribution.attribute import Attributor
from onnxlens.models.attribution.pipeline import Pipeline
from onnxlens.models.lens import Lens

METHODS = "gradcam", "saliency", "occlusion"


@pytest.fixture(scope="module")
def lens(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    onnx.save(colours(preprocess=UNIT), path)
    return Lens(path, provider="cpu")


FILES = {
    f"{i}.png": cv2.imencode(".png", blob(at=(22 + 9 * i, 30), colour=i)[..., ::-1])[1].tobytes()
    for i in range(3)
}


def read(name):
    if name not in FILES | {"bad.png": b""}:
        raise BadImage(f"{name}: no such file")
    return FILES.get(name, b"")


def made(lens):
    return [Attributor(lens, method, ["top2"], layer=None) for method in METHODS]


def test_it_finds_in_a_batch_what_each_method_finds_in_a_photo(lens):
    results = Pipeline(lens, made(lens), read)(list(FILES))
    for result in results:
        photo = cv2.imdecode(np.frombuffer(FILES[result.name], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        alone = [f for method in METHODS for f in lens.attribute(photo, method, ["top2"])]
        assert [(f.method, f.target) for f in result.found] == [(f.method, f.target) for f in alone]
        for found, other in zip(result.found, alone, strict=True):
            np.testing.assert_array_equal(found.values, other.values)
            np.testing.assert_array_equal(found.photo, photo)
            assert found.box == other.box == result.box
        assert result.size == photo.shape[:2]


def test_with_a_side_photos_are_kept_small_and_maps_lie_on_the_same_part(lens):
    pipeline, small = (Pipeline(lens, made(lens), read, side) for side in (None, 16))
    for whole, result in zip(pipeline(list(FILES)), small(list(FILES)), strict=True):
        assert (result.size, result.box, result.sha256) == (whole.size, whole.box, whole.sha256)
        for found, other in zip(result.found, whole.found, strict=True):
            assert max(found.photo.shape[:2]) == 16
            np.testing.assert_array_equal(found.values, other.values)
            scale = np.array(found.photo.shape[:2] * 2) / np.array(other.photo.shape[:2] * 2)
            np.testing.assert_allclose(found.box, other.box * scale, atol=1e-9)


def test_an_error_is_of_one_photo_and_says_which(lens):
    results = Pipeline(lens, made(lens), read)(["0.png", "gone.png", "bad.png", "2.png"])
    assert [str(r.error or "") for r in results] == [
        "",
        "gone.png: no such file",
        "bad.png: the file is empty",
        "",
    ]
    assert [len(r.found) for r in results] == [6, 0, 0, 6]
