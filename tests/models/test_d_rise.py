"""D-RISE: a box found again in a photo that is seen through random masks, against its definition."""

import numpy as np
import onnx
import pytest
from oracles.detectors import plain

from onnxlens.engine.attribution.perturbation.masks import smooth
from onnxlens.engine.errors import BadRequest
from onnxlens.models.lens import Lens

PHOTO = np.random.default_rng(1).integers(0, 256, (32, 48, 3), np.uint8)
MASKS, CELLS = 40, 4


@pytest.fixture(scope="module")
def lens(tmp_path_factory):
    path = tmp_path_factory.mktemp("boxes") / "plain.onnx"
    onnx.save(plain(3, spread=0.2), path)
    return Lens(path, preset="unit", provider="cpu", threads=1)


def overlap(a, b):
    height, width = (max(0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
    areas = [(q[2] - q[0]) * (q[3] - q[1]) for q in (a, b)]
    return height * width / (sum(areas) - height * width)


def alike(box, label, y):
    """The best of all rows: overlap, times the cosine of the classes with the one, times the surest score."""
    found = 0
    for x, row, w, h, *scores in y.T:
        other = row - h / 2, x - w / 2, row + h / 2, x + w / 2
        if w > 0 and h > 0:
            cosine = scores[label] / np.sqrt(np.sum(np.square(scores)))
            found = max(found, overlap(box, other) * cosine * max(scores))
    return found


@pytest.mark.parametrize("number", [0, 2])
def test_the_map_is_the_mean_of_masks_times_how_well_the_box_is_found(lens, number):
    (found,) = lens.attribute(PHOTO, "d-rise", [f"box({number})"], masks=MASKS, cells=CELLS, fill="zero")
    thing = lens.things(PHOTO)[number].thing
    image = PHOTO.transpose(2, 0, 1)[None] / np.float32(255)
    masks = smooth(np.random.default_rng(0), MASKS, CELLS, 0.5, (32, 48))
    wanted = np.zeros((32, 48))
    for mask in masks:
        y = lens.network.run({"x": image * mask})["y"][0].astype(float)
        wanted += mask * alike(thing.box, thing.label, y)
    np.testing.assert_allclose(found.map, wanted / MASKS / 0.5, atol=2e-3)
    assert found.map.max() > 0.01


def test_what_is_no_box_is_not_found_again(lens):
    with pytest.raises(BadRequest, match="d-rise finds boxes again, and 'x of box 0"):
        lens.attribute(PHOTO, "d-rise", ["box(0).x"], masks=2)


def test_for_classes_it_is_rise():
    lens = Lens("scenes", provider="cpu", threads=1)
    ours, rise = (lens.attribute(PHOTO, name, ["cat"], masks=8)[0].map for name in ("d-rise", "rise"))
    np.testing.assert_array_equal(ours, rise)
