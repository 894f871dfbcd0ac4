import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxlens.kernels.photos.crop import change, crop


def replaced(map_, piece, at, box):
    """The slow twin: the whole map with the box replaced, position by position."""
    out = map_.copy()
    for y in range(box[0], box[2]):
        for x in range(box[1], box[3]):
            out[:, y, x] = piece[:, y - at[0], x - at[1]]
    return out


def part(data, low, high):
    """An interval inside another, perhaps empty."""
    start = data.draw(st.integers(low, high))
    return start, data.draw(st.integers(start, high))


def case(data):
    channels, height, width = (data.draw(st.integers(1, n)) for n in (4, 12, 14))
    (py0, py1), (px0, px1) = part(data, 0, height), part(data, 0, width)
    (y0, y1), (x0, x1) = part(data, py0, py1), part(data, px0, px1)
    rng = np.random.default_rng(0)
    map_ = rng.standard_normal((channels, height, width)).astype(np.float32)
    piece = rng.standard_normal((channels, py1 - py0, px1 - px0)).astype(np.float32)
    return map_, piece, (py0, px0), (y0, x0, y1, x1)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_crop_agrees_with_the_slow_twin(data):
    map_, piece, at, box = case(data)
    before = map_.copy(), piece.copy()
    (top, bottom), (left, right) = (part(data, 0, n) for n in map_.shape[1:])
    out = np.full((len(map_), bottom - top, right - left), np.nan, np.float32)
    crop(map_, (top, left), piece, at, box, out)
    np.testing.assert_array_equal(out, replaced(map_, piece, at, box)[:, top:bottom, left:right])
    np.testing.assert_array_equal(map_, before[0])
    np.testing.assert_array_equal(piece, before[1])


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_change_agrees_with_the_slow_twin(data):
    map_, piece, at, box = case(data)
    wanted = (replaced(map_, piece, at, box).astype(np.float64) - map_).sum((1, 2))
    np.testing.assert_allclose(change(map_, piece, at, box), wanted, atol=1e-5)


MAP, PIECE = np.zeros((2, 8, 9), np.float32), np.zeros((2, 4, 5), np.float32)


@pytest.mark.parametrize(
    ("corner", "at", "box"),
    [
        ((6, 0), (2, 2), (3, 3, 5, 5)),  # out reaches below the map
        ((0, -1), (2, 2), (3, 3, 5, 5)),
        ((0, 0), (2, 2), (1, 3, 5, 5)),  # the box begins before the piece
        ((0, 0), (2, 2), (3, 3, 7, 5)),
        ((0, 0), (6, 2), (6, 3, 9, 5)),  # and ends behind the map
        ((0, 0), (2, 2), (5, 3, 4, 5)),
    ],
)
def test_nothing_lies_outside(corner, at, box):
    with pytest.raises(ValueError, match="beyond"):
        crop(MAP, corner, PIECE, at, box, np.empty((2, 3, 3), np.float32))


def test_what_does_not_fit_is_a_value_error():
    with pytest.raises(ValueError, match="is no part of"):
        change(MAP, PIECE[:1], (0, 0), (0, 0, 1, 1))
    with pytest.raises(ValueError, match="beyond"):
        crop(MAP, (0, 0), PIECE, (0, 0), (0, 0, 1, 1), np.empty((3, 3, 3), np.float32))
