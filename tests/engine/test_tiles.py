import numpy as np
import pytest

from onnxlens.engine.picture import SIGNED, bars, blank, colour_map, coloured, fitted, rows, stacked, titled

RNG = np.random.default_rng(5)


def test_colours_go_from_zero_to_the_limit():
    values = np.array([[-1.0, 0, 1, 2, 3, np.nan, np.inf, -np.inf]])
    out = coloured(values, 2.0, "inferno")
    table = colour_map("inferno")
    np.testing.assert_array_equal(out[0], table[[0, 0, 128, 255, 255, 0, 255, 0]])
    assert out.dtype == np.uint8


def test_grey_and_signed_have_zero_in_the_middle():
    values = np.array([[-2.0, 0, 2, np.nan]])
    assert coloured(values, 2, "grey")[0, :, 0].tolist() == [0, 128, 255, 128]
    cold, zero, hot, _ = coloured(values, 2, SIGNED)[0].astype(int)
    assert zero.max() < 10
    np.testing.assert_array_equal(cold, hot[::-1])  # blue where the other is red
    assert hot[0] > 200


@pytest.mark.parametrize("limit", [0.0, -1.0])
def test_no_limit_is_no_colour(limit):
    assert (coloured(np.ones((2, 2)), limit, "inferno") == colour_map("inferno")[0]).all()


@pytest.mark.parametrize(
    "size", [(1, 1), (3, 3), (7, 5), (55, 55), (112, 80), (113, 20), (500, 300), (300, 1)]
)
def test_a_picture_fits_its_square_and_keeps_its_proportions(size):
    picture = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
    out = fitted(picture, 112)
    height, width = out.shape[:2]
    assert 56 < max(height, width) <= 112
    if max(size) <= 112:  # pixels stay squares of one colour
        factor = height // size[0]
        np.testing.assert_array_equal(out[::factor, ::factor], picture)
        np.testing.assert_array_equal(out, np.kron(picture, np.ones((factor, factor, 1), np.uint8)))
    else:
        assert abs(width - size[1] * height / size[0]) <= 1
        assert abs(out.mean() - picture.mean()) < 8


def test_stacked_and_titled_keep_the_picture():
    a, b = np.full((4, 9, 3), 10, np.uint8), np.full((5, 3, 3), 20, np.uint8)
    out = stacked([a, b])
    assert out.shape == (9, 9, 3)
    assert (out[:4] == 10).all()
    assert (out[4:, :3] == 20).all()
    assert (out[4:, 3:] == 255).all()
    page = titled(a, ["a long line above a narrow picture", "\x1b[2J\u4e2d" * 1000])
    assert (page[-4:, :9] == 10).all()
    assert 9 < page.shape[1] <= 1200
    assert (page[:-4] < 255).any()


def test_rows_are_dealt_out_to_columns():
    pictures = [np.full((30, 40, 3), v, np.uint8) for v in (10, 20, 30, 40, 50)]
    out = rows(pictures, list("abcde"), columns=2)
    assert out.shape[0] == 90
    left, right = np.split(out, 2, 1)
    assert [int(p[15, -5, 0]) for p in np.split(left, 3)] == [10, 20, 30]
    assert [int(p[15, -5, 0]) for p in np.split(right, 3)] == [40, 50, 255]


def test_bars_are_as_long_as_their_numbers():
    out = bars([0.0, 0.5, 1.0, 7.0, np.float64(-1)], ["a", "b", "c", "d", "e"], width=300)
    colour = out[2 * 22 + 10, 5]
    lengths = [int((out[i * 22 + 10, :100] == colour).all(1).sum()) for i in range(5)]
    assert lengths == [0, 50, 100, 100, 0]


def test_a_blank_tile_is_a_crossed_grey_field():
    out = blank(20, 30)
    assert out.shape == (20, 30, 3)
    assert (out[10, 0] == out[0, 15]).all()
    assert (out[0, 0] < out[10, 0]).all()
