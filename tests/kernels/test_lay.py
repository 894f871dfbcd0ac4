import numpy as np
import pytest

from onnxlens.kernels.photos.lay import lay
from onnxlens.kernels.photos.normalise import normalise
from onnxlens.kernels.photos.overlay import overlay
from onnxlens.kernels.photos.upsample import upsample

RNG = np.random.default_rng(5)
LUT = RNG.integers(0, 256, (256, 3), dtype=np.uint8)


@pytest.mark.parametrize("shape", [(40, 56), (17, 9), (1, 1), (5, 300)])
@pytest.mark.parametrize("box", [(0, 0, 40, 56), (3.5, -7, 30, 90.25), (500, 500, 600, 600)])
@pytest.mark.parametrize("size", [(12, 12), (1, 3), (1, 1)])
@pytest.mark.parametrize("cells", [None, (-4, -20.5, 33, 66.5)])
def test_is_one_kernel_after_the_other(shape, box, size, cells):
    photo = RNG.integers(0, 256, (*shape, 3), dtype=np.uint8)
    map_ = RNG.standard_normal(size).astype(np.float32)
    map_.flat[::5] = np.nan
    heat = normalise(upsample(map_[None], *shape, box, np.nan, cells))[0]
    np.testing.assert_array_equal(lay(photo, map_, box, LUT, 0.6, cells), overlay(photo, heat, LUT, 0.6))


def test_photos_and_maps_in_any_order_in_memory_are_read_and_left_alone():
    photo = RNG.integers(0, 256, (30, 20, 3), dtype=np.uint8).swapaxes(0, 1)[:, ::-1]
    map_ = RNG.random((9, 7), dtype=np.float32).T
    kept = photo.copy(), map_.copy()
    box = (0, 0, 20, 30)
    wanted = lay(kept[0], kept[1], box, LUT, 0.5)
    np.testing.assert_array_equal(lay(photo, map_, box, LUT, 0.5), wanted)
    np.testing.assert_array_equal(photo, kept[0])
    np.testing.assert_array_equal(map_, kept[1])


@pytest.mark.parametrize(
    ("photo", "map_", "box", "alpha", "why"),
    [
        (np.zeros((4, 4), np.uint8), np.zeros((2, 2)), (0, 0, 4, 4), 0.5, "photo"),
        (np.zeros((4, 4, 3), np.float32), np.zeros((2, 2)), (0, 0, 4, 4), 0.5, "photo"),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((1, 2, 2)), (0, 0, 4, 4), 0.5, "map"),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((2, 2)), (0, 0, 0, 4), 0.5, "covers nothing"),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((2, 2)), (0, 0, 4, 4), 1.5, "alpha"),
    ],
)
def test_what_does_not_fit_is_refused(photo, map_, box, alpha, why):
    with pytest.raises(ValueError, match=why):
        lay(photo, map_, box, LUT, alpha)
