import numpy as np
import pytest

from onnxlens.kernels.climb import climb


def twin(pixels, slope, offset, rate):
    g = np.roll(slope.astype(np.float64), -np.asarray(offset), (2, 3))
    mean = np.abs(g).mean((1, 2, 3), keepdims=True)
    return np.clip(pixels + rate * g / np.maximum(mean, 1e-12), 0, 255)


@pytest.mark.parametrize("offset", [(0, 0), (3, -5), (-32, 31), (1, 0), (0, 1), (500, -700)])
@pytest.mark.parametrize("shape", [(2, 3, 10, 12), (1, 1, 1, 7), (3, 3, 33, 20)])
def test_agrees_with_the_slow_twin(shape, offset):
    rng = np.random.default_rng(3)
    pixels = rng.uniform(0, 255, shape).astype(np.float32)
    slope = (1e-6 * rng.standard_normal(shape)).astype(np.float32)
    before = pixels.copy(), slope.copy()
    found = climb(pixels, slope, np.array(offset), 30.0)
    np.testing.assert_allclose(found, twin(pixels, slope, offset, 30.0), atol=1e-3)
    assert found.min() >= 0
    assert found.max() <= 255
    np.testing.assert_array_equal((pixels, slope), before)


def test_without_a_slope_nothing_moves():
    pixels = np.full((1, 3, 4, 4), 100, np.float32)
    np.testing.assert_array_equal(climb(pixels, np.zeros_like(pixels), np.array([1, 1]), 1.5), pixels)


def test_what_does_not_fit_is_refused():
    pixels = np.zeros((1, 3, 4, 4), np.float32)
    with pytest.raises(ValueError, match="differ"):
        climb(pixels, pixels[:, :2], np.zeros(2, np.int64), 1.0)
    with pytest.raises(ValueError, match="differ"):
        climb(pixels.astype(np.float64), pixels, np.zeros(2, np.int64), 1.0)
