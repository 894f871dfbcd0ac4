"""Maps of several layers as one: each scaled to its greatest value, then their mean or their greatest."""

import json

import numpy as np
import pytest

from onnxlens.engine.errors import BadRequest
from onnxlens.models.attribution.attribute import Attributor
from onnxlens.models.embedded.scenes import TEST_SEEDS, scene
from onnxlens.models.lens import Lens

HOW = {"mean": np.mean, "max": np.max}
PHOTO = scene(TEST_SEEDS[2], size=96).image


@pytest.fixture(scope="module")
def lens():
    return Lens("scenes", provider="cpu", threads=1)


def scaled(found):
    return found.values / np.abs(found.values).max()


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("method", ["gradcam", "layercam", "ablationcam"])
def test_of_one_grid_it_is_cell_by_cell(lens, how, method):
    layers = ["relu4", "relu5"]
    apart = lens.attribute(PHOTO, method, ["top2"], layer=layers)
    fused = lens.attribute(PHOTO, method, ["top2"], layer=layers, fuse=how)
    assert len(fused) == 2
    for i, found in enumerate(fused):
        expected = HOW[how]([scaled(a) for a in apart[2 * i : 2 * i + 2]], axis=0)
        np.testing.assert_allclose(found.values, expected, rtol=1e-5)
        assert (found.target, found.score) == (apart[2 * i].target, apart[2 * i].score)
        assert found.extras == {"fused": {"how": how, "layers": layers}}
        assert json.loads(json.dumps(found.record()))["fused"]["how"] == how


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("order", [["relu5", "relu3"], ["relu3", "relu5"]])
def test_of_two_grids_it_lies_on_the_finer_whatever_comes_first(lens, how, order):
    (found,) = lens.attribute(PHOTO, "layercam", layer=order, fuse=how)
    assert (found.at, found.values.shape) == ("relu3", (24, 24))
    fine, coarse = (lens.attribute(PHOTO, "layercam", layer=layer)[0] for layer in ("relu3", "relu5"))
    wide = lens.placement("relu5").spread(scaled(coarse)[None], (96, 96), 0)[0]
    grid = lens.placement("relu3").grid
    at = [
        (grid[a] + (np.arange(24) + 0.5) * (grid[a + 2] - grid[a]) / 24).astype(int).clip(0, 95)
        for a in (0, 1)
    ]
    expected = HOW[how]([scaled(fine), wide[np.ix_(*at)]], axis=0)
    np.testing.assert_allclose(found.values, expected, rtol=1e-5, atol=1e-6)
    assert found.extras["fused"]["layers"] == order


def test_of_layers_that_show_nothing_nothing_is_taken(lens):
    alone = lens.attribute(PHOTO, "gradcam", [3], layer=["relu4", "relu5"])
    (found,) = lens.attribute(PHOTO, "gradcam", [3], layer=["relu4", "relu5"], fuse="mean")
    sound = [a for a in alone if not a.problem]
    if sound:
        expected = np.mean([scaled(a) for a in sound], axis=0)
        np.testing.assert_allclose(found.values, expected, rtol=1e-5)
    else:
        assert found.problem == alone[0].problem


def test_a_difference_of_classes_is_fused_too(lens):
    layers, target = ["relu4", "relu5"], [f"{lens.labels[0]} - {lens.labels[1]}"]
    apart = lens.attribute(PHOTO, "layercam", target, layer=layers)
    (found,) = lens.attribute(PHOTO, "layercam", target, layer=layers, fuse="max")
    np.testing.assert_allclose(found.values, np.max([scaled(a) for a in apart], axis=0), rtol=1e-5)


def test_what_cannot_be_fused_is_refused_before_there_is_a_photo(lens):
    with pytest.raises(BadRequest, match="maps are fused by their mean or max, not 'sum'"):
        Attributor(lens, "gradcam", layer=["relu4", "relu5"], fuse="sum")
    for method, layer in (("gradcam", None), ("gradcam", "relu4"), ("gradcam", ["relu4"]), ("rise", None)):
        with pytest.raises(BadRequest, match="fuse puts the maps of several layers together"):
            Attributor(lens, method, layer=layer, fuse="mean")
