"""Where maps lie in a photo: each value in the middle of what it sees, or over all that the model sees."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from oracles.toys import SIDE, UNIT, blob, colours

from onnxlens.engine.errors import BadRequest
from onnxlens.models.features.responses import responses
from onnxlens.models.lens import Lens
from onnxlens.models.maps.convention import CONVENTIONS
from onnxlens.models.maps.placement import Placement, whole
from onnxlens.models.photos.preprocess import Preprocess

# PyTorch's padding at stride 8 on 32 pixels: the middle of cell i is at 8 i + 1/2.
PADDED = Placement((0.0, 0.0, 32.0, 32.0), (-3.5, -3.5, 28.5, 28.5))


def lens(folder, preprocess=UNIT) -> Lens:
    onnx.save(colours(preprocess=preprocess), folder / "model.onnx")
    return Lens(folder / "model.onnx", provider="cpu", threads=1)


def point(heat) -> tuple[int, int]:
    y, x = np.unravel_index(np.nanargmax(heat), heat.shape)
    return int(y), int(x)


def test_a_point_and_the_pixels_of_a_photo_are_found_in_the_cells():
    assert PADDED.on_photo((0.5, 1.5), (4, 4)) == (0.5, 8.5)
    rows, columns = PADDED.of_pixels((32, 32), (4, 4))
    np.testing.assert_allclose(rows[[0, 8, 16]], [0.5, 1.5, 2.5])
    np.testing.assert_allclose(columns, rows)


def test_without_cells_they_lie_over_the_box():
    box = (1.0, 2.0, 17.0, 34.0)
    plain, said = Placement(box), Placement(box, box)
    assert plain.grid == said.grid == box
    maps = np.random.default_rng(0).random((2, 4, 5), np.float32)
    np.testing.assert_array_equal(plain.spread(maps, (20, 36)), said.spread(maps, (20, 36)))
    assert plain.record() == said.record()


@pytest.mark.parametrize("target", [(18.0, 18.0, 270.0, 270.0), (-36.123, 0.1, 300.7, 99.3)])
def test_moving_is_exact_at_the_edges_and_affine_between(target):
    moved = PADDED.moved(whole((32, 32)), target)
    assert moved.box == target
    for i in (0, 1):
        scale = (target[i + 2] - target[i]) / 32
        assert moved.grid[i] == pytest.approx(target[i] - 3.5 * scale)
        assert moved.grid[i + 2] == pytest.approx(target[i] + 28.5 * scale)
    back = moved.moved(target, whole((32, 32)))
    assert back.box == PADDED.box
    np.testing.assert_allclose(back.grid, PADDED.grid)


def test_a_photo_of_another_size_has_the_map_on_the_same_part():
    small = PADDED.scaled((32, 32), (8, 16))
    assert small.box == (0, 0, 8, 16)
    assert small.grid == (-0.875, -1.75, 7.125, 14.25)


def test_a_record_is_read_again():
    record = replace(PADDED, convention="fields").record()
    assert record == {"box": [0, 0, 32, 32], "cells": [-3.5, -3.5, 28.5, 28.5], "convention": "fields"}
    assert Placement.from_record(record) == PADDED
    with pytest.raises(BadRequest, match="no box"):
        Placement.from_record(record | {"cells": [1, 2, 3]})


def test_a_map_is_drawn_where_its_cells_see(tmp_path):
    """The same map, once over the whole photo and once in the middles of what its cells see."""
    photo = blob(64, 64)
    heat = lens(tmp_path).gradcam(photo)
    values = np.zeros((4, 4), np.float32)
    values[1, 2] = 1
    place = PADDED.moved(whole((SIDE, SIDE)), heat.box)
    plain, moved = (replace(heat, values=values, place=p) for p in (Placement(heat.box), place))
    assert plain.at_photo()[23:25, 39:41].min() == pytest.approx((31 / 32) ** 2)  # the middle of the cell
    assert moved.at_photo()[16:18, 32:34].min() == pytest.approx((31 / 32) ** 2)  # at 8.5 and 16.5 of 32
    assert (np.abs(moved.overlay().astype(int) - photo).sum(-1) > 0).any()
    np.testing.assert_array_equal(moved.overlay(), moved.on(photo).overlay())
    record = moved.record()
    assert record["box"] == [0, 0, 64, 64]
    assert record["cells"] == [-7, -7, 57, 57]


def test_nothing_is_drawn_where_the_layer_does_not_look(tmp_path):
    photo = blob(64, 64)
    heat = lens(tmp_path).gradcam(photo)
    place = Placement((0, 0, 64, 40), (0, 0, 64, 64))
    found = replace(heat, place=place)
    assert np.isnan(found.at_photo()[:, 40:]).all()
    assert np.isfinite(found.at_photo()[:, :40]).all()
    np.testing.assert_array_equal(found.overlay()[:, 40:], photo[:, 40:])


def test_a_response_lies_where_its_layer_does(tmp_path):
    (found,) = responses(lens(tmp_path), blob(64, 64), ["pool"])
    values = np.zeros((3, 4, 4), np.float32)
    values[0, 1, 2] = 1
    moved = replace(found, maps=values, place=PADDED.scaled((SIDE, SIDE), (64, 64)))
    assert point(moved.at_photo(0)) == (16, 32)
    assert moved.box == (0, 0, 64, 64)
    assert moved.overlays([0]).shape == found.overlays([0]).shape


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize("method", ["gradcam", "saliency", "occlusion", "rise"])
def test_an_attribution_says_its_convention(tmp_path, method, convention):
    crop = Preprocess(size=(SIDE, SIDE), fit="crop", scale=1 / 255)
    photo = blob(60, 90)
    (found,) = lens(tmp_path, crop).attribute(photo, method, convention=convention)
    assert found.record()["convention"] == convention
    if method != "gradcam" or convention == "cells":  # pixels are where they are
        assert found.place == Placement((0, 15, 60, 75), convention=convention)
        assert found.record()["cells"] == [0, 15, 60, 75]


@pytest.mark.parametrize(
    "ask",
    [
        lambda lens: lens.gradcam(blob(), convention="field"),
        lambda lens: lens.attribute(blob(), "saliency", convention="field"),
        lambda lens: lens.responses(blob(), convention="field"),
    ],
)
def test_another_convention_is_refused_with_the_nearest(tmp_path, ask):
    with pytest.raises(BadRequest, match="no convention 'field'; nearest: fields"):
        ask(lens(tmp_path))
