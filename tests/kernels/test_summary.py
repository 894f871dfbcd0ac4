import numpy as np
import pytest

from onnxlens.kernels.summary import Summary, summary


def twin(map_):
    values = map_.astype(np.float64)
    above = values[values > 0]
    shares = above / above.sum() if above.size else above
    entropy = -(shares * np.log(shares)).sum() if above.size else np.nan
    return Summary(values.min(), values.max(), values.mean(), entropy, int(values.argmax()))


@pytest.mark.parametrize("shape", [(12, 12), (1, 1), (7, 3), (40,)])
@pytest.mark.parametrize("shift", [-9, -0.5, 0, 3])
def test_agrees_with_the_slow_twin(shape, shift):
    map_ = (np.random.default_rng(2).standard_normal(shape) + shift).astype(np.float32)
    np.testing.assert_allclose(summary(map_), twin(map_), rtol=1e-12)


def test_one_point_has_no_entropy_and_equal_ones_have_the_most():
    map_ = np.zeros((4, 5), np.float32)
    map_[2, 3] = 7
    assert summary(map_) == (0, 7, 7 / 20, 0, 13)
    assert summary(np.ones((4, 5), np.float32)) == pytest.approx((1, 1, 1, np.log(20), 0))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_map_that_is_not_finite_has_no_numbers(bad):
    map_ = np.ones((3, 3), np.float32)
    map_[1, 2] = bad
    assert summary(map_) is None
    assert summary(np.empty((0, 4), np.float32)) is None
