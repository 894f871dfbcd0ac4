"""Where maps lie in a photo: each value in the middle of what it sees, or over all that the model sees."""

import base64
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper
from oracles.networks import parsed
from oracles.toys import SIDE, UNIT, blob, colours, metadata_of

from onnxlens.engine.attribution.methods import METHODS
from onnxlens.engine.errors import BadRequest
from onnxlens.models.features.responses import responses
from onnxlens.models.lens import Lens
from onnxlens.models.maps.attribution import guided_gradcam
from onnxlens.models.maps.convention import CONVENTIONS
from onnxlens.models.maps.placement import Placement, whole
from onnxlens.models.photos.photo import read_photo
from onnxlens.models.photos.preprocess import Preprocess
from onnxlens.models.report.report import report
from onnxlens.models.runs.run import run

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


# -- through a network ------------------------------------------------------------------------------------

STRIDED = Preprocess(size=(64, 64), fit="crop", scale=1 / 255)


def strided(folder, pads) -> Lens:
    """Three convolutions of 3 x 3 with step 2 that hand on the middle of their windows, and a head."""
    middle = np.zeros((1, 1, 3, 3), np.float32)
    middle[0, 0, 1, 1] = 1
    red = np.pad(middle, ((0, 0), (0, 2), (0, 0), (0, 0)))
    model = parsed(
        f"""(float[N,3,64,64] image) => (float[N,2] scores) {{
            one = Conv <strides=[2,2], pads={pads}> (image, red)
            two = Conv <strides=[2,2], pads={pads}> (one, middle)
            three = Conv <strides=[2,2], pads={pads}> (two, middle)
            mean = GlobalAveragePool (three)
            flat = Flatten (mean)
            scores = MatMul (flat, head)
        }}""",
        middle=middle,
        red=red,
        head=np.array([[1.0, -1.0]]),
    )
    helper.set_model_props(model, metadata_of(STRIDED, ["red", "none"]))
    onnx.save(model, folder / "strided.onnx")
    return Lens(folder / "strided.onnx", provider="cpu", threads=1)


def marked(at, scale) -> np.ndarray:
    """A black photo, `scale` times as large as the input, whose pixel `at` of the input is red."""
    photo = np.zeros((64 * scale, 64 * scale, 3), np.uint8)
    y, x = at[0] * scale, at[1] * scale
    photo[y : y + scale, x : x + scale, 0] = 255
    return photo


# Of padding before and behind: the pixel that is the middle of what the first cell of each layer sees.
PADDING = {"[1,1,1,1]": 0, "[0,0,1,1]": 7, "[0,0,0,0]": 7}


@pytest.mark.parametrize("scale", [1, 3])
@pytest.mark.parametrize("pads", PADDING)
def test_a_mark_is_drawn_where_it_is_whatever_the_padding(tmp_path, pads, scale):
    """By hand: cell i sees a window around pixel 8 i + first; the mark stands in the middle of that."""
    eye, at = strided(tmp_path, pads), (PADDING[pads] + 8 * 3, PADDING[pads] + 8 * 4)
    photo = marked(at, scale)
    heat = eye.gradcam(photo, "red", layer="three")
    assert point(heat.map) == (3, 4)
    y, x = point(heat.at_photo())
    assert (y // scale, x // scale) == at
    (answer,) = responses(eye, photo, ["three"])
    assert (answer.place, answer.box) == (heat.place, heat.box)
    assert point(answer.at_photo(0)) == (y, x)
    guided = eye.attribute(photo, "guided", ["red"])[0]
    fine = guided_gradcam(guided, heat)
    assert point(fine.map) == at
    assert fine.map[at] == pytest.approx(guided.map[at] * heat.map.max(), rel=1e-5)
    found = eye.gradcam(photo, "red", layer="three", convention="cells")
    assert found.place == Placement(whole((64 * scale, 64 * scale)), convention="cells")
    y, x = (64 * scale * (i + 0.5) / n for i, n in zip((3, 4), heat.map.shape, strict=True))
    assert np.abs(np.subtract(point(found.at_photo()), (y, x))).max() <= 1


@pytest.mark.parametrize("method", [m.name for m in METHODS.values() if m.of_layers])
def test_every_method_of_layers_draws_a_mark_where_it_is(tmp_path, method):
    (found,) = strided(tmp_path, "[1,1,1,1]").attribute(marked((24, 32), 1), method, ["red"], layer="three")
    assert point(found.at_photo()) == (24, 32)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_run_its_rows_and_its_report_place_maps_as_python_does(tmp_path, convention):
    eye, photo = strided(tmp_path, "[1,1,1,1]"), marked((24, 32), 2)
    (tmp_path / "photos").mkdir()
    cv2.imwrite(str(tmp_path / "photos/1.png"), photo[..., ::-1])
    out = str(tmp_path / "out")
    done = run(
        eye.path, tmp_path / "photos", out, "gradcam", layer="three", convention=convention, pictures="png"
    )
    (row,) = done.read()
    heat = eye.gradcam(photo, layer="three", convention=convention)
    drawn = point(heat.at_photo())
    assert np.abs(np.subtract((row["map_peak_y"], row["map_peak_x"]), drawn)).max() <= 1
    np.testing.assert_array_equal(read_photo(f"{out}/{row['picture']}"), heat.overlay())
    (image,) = report(out).data["images"]
    data = base64.b64decode(image["maps"][0]["heat"].partition(",")[2])
    shown = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert np.abs(shown - 255 * heat.at_photo() / heat.at_photo().max()).max() < 12


def test_what_the_last_cells_do_not_see_is_not_drawn(tmp_path):
    """Without padding three windows of 3 with step 2 see 15 pixels, and 7 of them with step 8 see 63."""
    found = strided(tmp_path, "[0,0,0,0]").gradcam(marked((31, 31), 1), "red", layer="three")
    assert found.box == (0, 0, 63, 63)
    assert np.isnan(found.at_photo()[63]).all()
    assert np.isfinite(found.at_photo()[:63, :63]).all()


def test_threads_that_ask_at_once_get_the_same_places(tmp_path):
    names = ["three", "two", "one"] * 3
    expected = {name: strided(tmp_path, "[1,1,1,1]").placement(name) for name in names}
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(20):
            eye = strided(tmp_path, "[1,1,1,1]")
            with ThreadPoolExecutor(6) as pool:
                assert list(pool.map(eye.placement, names)) == [expected[name] for name in names]
    finally:
        sys.setswitchinterval(before)


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
