import numpy as np
import pytest

from onnxlens.kernels.photos.normalise import normalise


def twin(maps):
    out = np.empty(maps.shape)
    for i, one in enumerate(maps.astype(np.float64)):
        finite = one[np.isfinite(one)]
        out[i] = np.where(np.isfinite(one), 0.0, np.nan)
        if finite.size and finite.max() > finite.min():
            out[i] = np.where(np.isfinite(one), (one - finite.min()) / (finite.max() - finite.min()), np.nan)
    return out


@pytest.mark.parametrize("shape", [(3, 17, 23), (1, 1, 1), (2, 1, 40), (0, 4, 4), (2, 0, 3)])
def test_agrees_with_the_slow_twin(shape):
    maps = (np.random.default_rng(1).standard_normal(shape) * 7 - 3).astype(np.float32)
    before = maps.copy()
    np.testing.assert_allclose(normalise(maps), twin(maps), atol=1e-7)
    np.testing.assert_array_equal(maps, before)


def test_every_map_spans_zero_to_one_on_its_own():
    maps = np.random.default_rng(2).standard_normal((4, 9, 9)).astype(np.float32)
    maps *= np.array([1, 1e-30, 1e30, -5], np.float32)[:, None, None]
    out = normalise(maps)
    assert (out.min((1, 2)) == 0).all()
    assert (out.max((1, 2)) == 1).all()


@pytest.mark.parametrize("low_high", [(-3.4e38, 3.4e38), (0, 1e-45), (16777216.0, 16777218.0)])
def test_the_ends_of_the_range_of_float32(low_high):
    np.testing.assert_array_equal(normalise(np.array([[low_high]], np.float32)), [[[0, 1]]])


@pytest.mark.parametrize("value", [0.0, 5.5, -1e-30])
def test_a_constant_map_becomes_zeros(value):
    np.testing.assert_array_equal(normalise(np.full((1, 3, 4), value, np.float32)), np.zeros((1, 3, 4)))


def test_pixels_that_are_no_numbers_take_no_part():
    maps = np.array([[[np.nan, 1, 3], [np.inf, 2, -np.inf]], [[np.nan] * 3] * 2], np.float32)
    wanted = [[[np.nan, 0, 1], [np.nan, 0.5, np.nan]], [[np.nan] * 3] * 2]
    np.testing.assert_array_equal(normalise(maps), wanted)


def test_another_number_of_axes_is_a_value_error():
    with pytest.raises(ValueError, match="not \\(N, H, W\\)"):
        normalise(np.zeros((3, 3), np.float32))
