import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxlens.kernels.unpool import unpool


def twin(x, g, kernel, strides, pads, dilations, rectified):
    """Window by window, in reading order, in float64."""
    out = np.zeros(x.shape, np.float64)
    for n, c, i, j in np.ndindex(g.shape):
        best, at = (0 if rectified else -np.inf), None
        for a, b in np.ndindex(*kernel):
            y = i * strides[0] - pads[0] + a * dilations[0]
            k = j * strides[1] - pads[1] + b * dilations[1]
            if 0 <= y < x.shape[2] and 0 <= k < x.shape[3] and x[n, c, y, k] > best:
                best, at = x[n, c, y, k], (y, k)
        if at is not None:
            out[n, c, *at] += g[n, c, i, j]
    return out


pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    size=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    result=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    kernel=pairs,
    strides=pairs,
    dilations=pairs,
    pads=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    rectified=st.booleans(),
    tied=st.booleans(),
    seed=st.integers(0, 9),
)
def test_agrees_with_the_slow_twin(size, result, kernel, strides, dilations, pads, rectified, tied, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, 3, *size)).astype(np.float32)
    x = np.round(x) if tied else x
    g = rng.standard_normal((2, 3, *result)).astype(np.float32)
    out = np.full_like(x, np.nan)
    unpool(x, g, kernel, strides, pads, dilations, rectified, out)
    np.testing.assert_allclose(out, twin(x, g, kernel, strides, pads, dilations, rectified), atol=1e-5)


def test_a_window_without_a_number_gives_nothing():
    x = np.full((1, 1, 2, 4), np.nan, np.float32)
    x[0, 0, 1, 3] = -1
    out = np.empty_like(x)
    unpool(x, np.ones((1, 1, 1, 2), np.float32), (2, 2), (2, 2), (0, 0), (1, 1), False, out)
    np.testing.assert_array_equal(out[0, 0], [[0, 0, 0, 0], [0, 0, 0, 1]])


def test_what_is_not_contiguous_is_read_right():
    x = np.arange(32, dtype=np.float32).reshape(1, 2, 4, 4).transpose(0, 1, 3, 2)
    out = np.empty((1, 2, 4, 4), np.float32)
    unpool(x, np.ones((1, 2, 2, 2), np.float32), (2, 2), (2, 2), (0, 0), (1, 1), False, out)
    np.testing.assert_array_equal(out[0, 0], np.kron(np.ones((2, 2)), [[0, 0], [0, 1]]))


@pytest.mark.parametrize(
    ("x", "g", "kernel"),
    [
        ((1, 2, 4), (1, 2, 2), (2, 2)),
        ((1, 2, 4, 4), (1, 3, 2, 2), (2, 2)),
        ((1, 2, 4, 4), (1, 2, 2, 2), (0, 2)),
    ],
)
def test_what_does_not_fit_is_refused(x, g, kernel):
    x, g = np.zeros(x, np.float32), np.zeros(g, np.float32)
    with pytest.raises(ValueError, match=r"no maps|cannot take|no windows"):
        unpool(x, g, kernel, (2, 2), (0, 0), (1, 1), False, np.zeros_like(x))
