import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxlens.kernels.photos.planes import planes

TONES = np.random.default_rng(4).standard_normal((3, 256)).astype(np.float32)
BLACK = np.zeros(3, np.float32)


def twin(photo, corner, tones, fill, order, h, w):
    """One channel after another, one pixel after another, in (C, h, w)."""
    out = np.empty((len(order), h, w), np.float32)
    for c, y, x in np.ndindex(out.shape):
        at = y + corner[0], x + corner[1]
        inside = 0 <= at[0] < photo.shape[0] and 0 <= at[1] < photo.shape[1]
        out[c, y, x] = tones[c, photo[*at, order[c]]] if inside else fill[c]
    return out


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_agrees_with_the_slow_twin_in_both_layouts(data):
    height, width, h, w = (data.draw(st.integers(1, 12)) for _ in range(4))
    corner = data.draw(st.integers(-14, 14)), data.draw(st.integers(-14, 14))
    order = data.draw(st.sampled_from([(0, 1, 2), (2, 1, 0), (1,)]))
    fill = np.array([0, 0.5, -3], np.float32)[: len(order)]
    photo = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    wanted = twin(photo, corner, TONES[: len(order)], fill, order, h, w)
    out = np.full(wanted.shape, np.nan, np.float32)
    planes(photo, corner, TONES[: len(order)], fill, order, out)
    np.testing.assert_array_equal(out, wanted)
    beside = np.full((h, w, len(order)), np.nan, np.float32)
    planes(photo, corner, TONES[: len(order)], fill, order, beside, channels_last=True)
    np.testing.assert_array_equal(beside, np.moveaxis(wanted, 0, 2))


def test_a_photo_in_any_order_in_memory_is_read():
    photo = np.random.default_rng(1).integers(0, 256, (8, 9, 3), np.uint8)
    out = np.empty((3, 9, 8), np.float32)
    planes(photo.swapaxes(0, 1)[:, ::-1], (0, 0), TONES, BLACK, (0, 1, 2), out)
    np.testing.assert_array_equal(
        out, twin(photo.swapaxes(0, 1)[:, ::-1], (0, 0), TONES, BLACK, (0, 1, 2), 9, 8)
    )


@pytest.mark.parametrize(
    ("photo", "order", "fill", "out"),
    [
        (np.zeros((4, 4), np.uint8), (0, 1, 2), BLACK, np.empty((3, 4, 4), np.float32)),
        (np.zeros((4, 4, 3), np.float32), (0, 1, 2), BLACK, np.empty((3, 4, 4), np.float32)),
        (np.zeros((4, 4, 3), np.uint8), (0, 1, 3), BLACK, np.empty((3, 4, 4), np.float32)),
        (np.zeros((4, 4, 3), np.uint8), (0, 1, 2), BLACK[:2], np.empty((3, 4, 4), np.float32)),
        (np.zeros((4, 4, 3), np.uint8), (0, 1), BLACK[:2], np.empty((3, 4, 4), np.float32)),
        (np.zeros((4, 4, 3), np.uint8), (0, 1, 2), BLACK, np.empty((4, 4, 4), np.float32)),
        (np.zeros((4, 4, 3), np.uint8), (0, 1, 2), BLACK, np.empty((3, 4, 8), np.float32)[:, :, ::2]),
    ],
)
def test_what_does_not_fit_is_refused(photo, order, fill, out):
    with pytest.raises(ValueError, match=r"uint8|channels"):
        planes(photo, (0, 0), TONES, fill, order, out)
