import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxlens.kernels.tile import tile


def twin(image, filler, corners, patch):
    """One image after another, one pixel after another, in (C, H, W)."""
    out = np.empty((len(corners), *image.shape), np.float32)
    for n, (top, left) in enumerate(corners):
        for c, y, x in np.ndindex(image.shape):
            inside = top <= y < top + patch[0] and left <= x < left + patch[1]
            out[n, c, y, x] = filler[c, y, x] if inside else image[c, y, x]
    return out


def images(shape, seed=0):
    return np.random.default_rng(seed).standard_normal((2, *shape)).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_agrees_with_the_slow_twin_in_both_layouts(data):
    channels, height, width = (data.draw(st.integers(1, n)) for n in (4, 9, 11))
    patch = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    corner = st.tuples(st.integers(0, height - patch[0]), st.integers(0, width - patch[1]))
    corners = np.array(data.draw(st.lists(corner, max_size=6)), np.int64).reshape(-1, 2)
    image, filler = images((channels, height, width))
    wanted = twin(image, filler, corners, patch)
    out = np.full(wanted.shape, np.nan, np.float32)
    tile(image, filler, corners, patch, out)
    np.testing.assert_array_equal(out, wanted)
    beside = np.full((len(corners), height, width, channels), np.nan, np.float32)
    tile(np.moveaxis(image, 0, 2), np.moveaxis(filler, 0, 2), corners, patch, beside, channels_last=True)
    np.testing.assert_array_equal(beside, np.moveaxis(wanted, 1, 3))


def test_a_buffer_is_used_again_and_the_images_are_left_alone():
    image, filler = images((3, 8, 9))
    before = image.copy(), filler.copy()
    buffer = np.empty((2, 3, 8, 9), np.float32)
    for corners in ([(0, 0), (5, 6)], [(3, 2), (0, 1)]):
        tile(image, filler, np.array(corners), (3, 3), buffer)
        np.testing.assert_array_equal(buffer, twin(image, filler, corners, (3, 3)))
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(filler, before[1])


@pytest.mark.parametrize(
    ("corners", "patch"),
    [
        ([(0, 0)], (9, 1)),
        ([(0, 0)], (1, 10)),
        ([(6, 0)], (3, 3)),
        ([(0, 7)], (3, 3)),
        ([(-1, 0)], (3, 3)),
        ([(0, 0)], (0, 3)),
    ],
)
def test_a_patch_stays_on_the_image(corners, patch):
    image, filler = images((3, 8, 9))
    with pytest.raises(ValueError, match="reach beyond an image of 8x9"):
        tile(image, filler, np.array(corners), patch, np.empty((1, 3, 8, 9), np.float32))


@pytest.mark.parametrize(
    ("filler", "out"),
    [
        (np.zeros((3, 8, 8), np.float32), np.empty((1, 3, 8, 9), np.float32)),
        (np.zeros((3, 8, 9)), np.empty((1, 3, 8, 9), np.float32)),
        (np.zeros((3, 8, 9), np.float32), np.empty((2, 3, 8, 9), np.float32)),
        (np.zeros((3, 8, 9), np.float32), np.empty((1, 3, 8, 9))),
        (np.zeros((3, 8, 9), np.float32), np.empty((1, 3, 9, 8), np.float32).swapaxes(2, 3)),
    ],
)
def test_what_does_not_fit_is_a_value_error(filler, out):
    with pytest.raises(ValueError, match=r"differ|cannot write"):
        tile(images((3, 8, 9))[0], filler, np.array([(0, 0)]), (3, 3), out)
