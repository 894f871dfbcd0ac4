import cv2
import numpy as np
import pytest

from onnxlens.engine.errors import BadRequest
from onnxlens.engine.picture import COLOURS, PAPER, colour_map, encode_png, grid, overlay

RNG = np.random.default_rng(4)


def flat(h, w, colour):
    return np.full((h, w, 3), colour, np.uint8)


@pytest.mark.parametrize("name", ["turbo", "jet", "viridis", "inferno", "magma", "Turbo"])
def test_a_colour_map_is_opencvs_in_rgb(name):
    lut = colour_map(name)
    code = getattr(cv2, f"COLORMAP_{name.upper()}")
    bgr = cv2.applyColorMap(np.arange(256, dtype=np.uint8).reshape(16, 16), code)
    np.testing.assert_array_equal(lut, bgr.reshape(256, 3)[:, ::-1])
    assert lut.dtype == np.uint8


def test_jet_ends_in_red_not_in_blue():
    assert colour_map("jet")[-1, 0] > 100 > colour_map("jet")[-1, 2]


def test_every_name_has_a_table():
    assert all(colour_map(name).shape == (256, 3) for name in COLOURS)


def test_a_wrong_name_is_told_the_nearest():
    with pytest.raises(BadRequest, match="viridis"):
        colour_map("virdis")


def test_overlay_colours_the_hot_half_only():
    photo, heat = RNG.integers(0, 256, (6, 8, 3), dtype=np.uint8), np.zeros((6, 8), np.float32)
    heat[:, 4:] = 1
    out = overlay(photo, heat, "jet", 1.0)
    np.testing.assert_array_equal(out[:, :4], photo[:, :4])
    assert (out[:, 4:] == colour_map("jet")[255]).all()


@pytest.mark.parametrize("alpha", [-1, 2, float("nan")])
def test_an_impossible_opacity_is_a_bad_request(alpha):
    with pytest.raises(BadRequest, match="opacity"):
        overlay(flat(2, 2, 0), np.zeros((2, 2), np.float32), alpha=alpha)


def test_grid_puts_each_picture_in_its_cell():
    pictures = [flat(10, 20, c) for c in (10, 20, 30)]
    page = grid(pictures, 2, gap=3)
    assert page.shape == (2 * 13 + 3, 2 * 23 + 3, 3)
    assert (page[3:13, 3:23] == 10).all()
    assert (page[3:13, 26:46] == 20).all()
    assert (page[16:26, 3:23] == 30).all()
    assert (page[16:26, 26:46] == PAPER).all()
    assert (page == PAPER).sum() == page.size - 3 * 600


def test_grid_centres_smaller_pictures_and_needs_no_full_row():
    page = grid([flat(4, 4, 1), flat(10, 8, 2)], 5, gap=0)
    assert page.shape == (10, 16, 3)
    assert (page[3:7, 2:6] == 1).all()
    assert (page[:, 8:] == 2).all()


def test_captions_stay_under_their_own_picture():
    pictures = [flat(10, 60, 0), flat(10, 60, 0)]
    plain = grid(pictures, 2, gap=4, captions=["", ""])
    page = grid(pictures, 2, gap=4, captions=["a caption that is far too long for it", ""])
    changed = np.argwhere((page != plain).any(-1))
    assert len(changed)
    assert changed[:, 0].min() >= 14
    assert changed[:, 1].min() >= 4
    assert changed[:, 1].max() < 64


def test_captions_of_any_text_and_on_any_cell_are_drawn_without_trouble():
    for width in (1, 3, 12, 300):
        page = grid([flat(2, width, 0)], 1, captions=["é\n\0 猫 " + "x" * 5000])
        assert page.shape[1] == 8 + width + 8


def test_grid_refuses_what_makes_no_page():
    with pytest.raises(ValueError, match="grid"):
        grid([], 2)
    with pytest.raises(ValueError, match="grid"):
        grid([flat(2, 2, 0)], 1, captions=["a", "b"])


@pytest.mark.parametrize("shape", [(5, 7, 3), (5, 7)])
def test_png_comes_back_the_same(shape):
    picture = RNG.integers(0, 256, shape, dtype=np.uint8)
    data = encode_png(picture)
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    back = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(back if picture.ndim == 2 else back[..., ::-1], picture)
