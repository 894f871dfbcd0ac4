"""Resizing against a slow twin, one pixel after another with the filters' formulas."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from onnxlens.kernels.photos.resample import FILTERS, resample


def sinc(x):
    return 1.0 if x == 0 else math.sin(math.pi * x) / (math.pi * x)


def cubic(x):
    x = abs(x)
    return 1.5 * x**3 - 2.5 * x**2 + 1 if x < 1 else -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2


FORMULAS = {
    "box": (lambda x: 1.0, 0.5),
    "linear": (lambda x: 1 - abs(x), 1),
    "hamming": (lambda x: sinc(x) * (0.54 + 0.46 * math.cos(math.pi * x)), 1),
    "cubic": (cubic, 2),
    "lanczos": (lambda x: sinc(x) * sinc(x / 3), 3),
}


def weights(source, target, name):
    weigh, support = FORMULAS[name]
    wide = max(source / target, 1)
    matrix = np.zeros((target, source))
    for i, j in np.ndindex(matrix.shape):
        distance = (j + 0.5 - (i + 0.5) * source / target) / wide
        assume(name != "box" or abs(abs(distance) - 0.5) > 1e-9)  # at its edge the last bit decides
        if -support < distance <= support:
            matrix[i, j] = weigh(distance)
    return matrix / matrix.sum(1, keepdims=True)


def twin(photo, rows, columns, name):
    down, across = weights(photo.shape[0], rows, name), weights(photo.shape[1], columns, name)
    return np.einsum("ij,jkc,lk->ilc", down, photo.astype(float), across).clip(0, 255)


def test_the_twin_knows_every_filter():
    assert FORMULAS.keys() == FILTERS.keys()


@settings(max_examples=60, deadline=None)
@given(*[st.integers(1, 40)] * 4, st.sampled_from(list(FORMULAS)), st.sampled_from([1, 3]))
def test_agrees_with_the_slow_twin(height, width, rows, columns, name, depth):
    photo = np.random.default_rng(height).integers(0, 256, (height, width, depth), np.uint8)
    found = resample(photo, rows, columns, name)
    assert found.shape == (rows, columns, depth)
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found, twin(photo, rows, columns, name), atol=0.51)


def test_values_of_pillow():
    # Image.fromarray(ramp).resize((3, 1), filter) of Pillow 12.3.
    ramp = np.array([[[0], [10], [20], [200], [40], [50], [255], [70]]], np.uint8)
    wanted = {
        "box": [10, 120, 125],
        "linear": [24, 92, 136],
        "hamming": [12, 101, 150],
        "cubic": [19, 95, 135],
        "lanczos": [20, 97, 132],
    }
    for name, line in wanted.items():
        np.testing.assert_allclose(resample(ramp, 1, 3, name)[0, :, 0], line, atol=1, err_msg=name)


@pytest.mark.parametrize(
    "photo", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_no_photo_is_refused(photo):
    with pytest.raises(ValueError, match="cannot resize"):
        resample(photo, 3, 3, "linear")
    with pytest.raises(ValueError, match="cannot resize"):
        resample(np.zeros((4, 4, 3), np.uint8), 0, 3, "linear")
