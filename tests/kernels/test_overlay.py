import numpy as np
import pytest

from onnxlens.kernels.photos.overlay import overlay

RNG = np.random.default_rng(3)
LUT = RNG.integers(0, 256, (256, 3), dtype=np.uint8)


def scene(*shape):
    photos = RNG.integers(0, 256, (*shape, 3), dtype=np.uint8)
    return photos, RNG.random(shape, dtype=np.float32)


def twin(photos, maps, lut, alpha):
    out = photos.copy()
    for at in np.ndindex(maps.shape):
        if np.isnan(maps[at]):
            continue
        level = int(np.floor(np.clip(maps[at], 0, 1) * np.float32(255) + np.float32(0.5)))
        opacity = np.rint(256 * alpha * level / 255) / 256
        out[at] = np.floor(photos[at] * (1 - opacity) + lut[level] * opacity + 0.5)
    return out


@pytest.mark.parametrize("shape", [(2, 9, 11), (15, 6), (0, 3, 3)])
@pytest.mark.parametrize("alpha", [0, 0.35, 0.7, 1])
def test_agrees_with_the_slow_twin(shape, alpha):
    photos, maps = scene(*shape)
    maps.flat[::7] = np.nan
    before = photos.copy()
    np.testing.assert_array_equal(overlay(photos, maps, LUT, alpha), twin(photos, maps, LUT, alpha))
    np.testing.assert_array_equal(photos, before)


def test_cold_and_missing_heat_leave_the_photo_as_it_is():
    photos, maps = scene(8, 8)
    np.testing.assert_array_equal(overlay(photos, np.zeros_like(maps), LUT, 1), photos)
    np.testing.assert_array_equal(overlay(photos, np.full_like(maps, np.nan), LUT, 1), photos)
    np.testing.assert_array_equal(overlay(photos, maps, LUT, 0), photos)


def test_full_heat_at_full_opacity_is_the_hottest_colour():
    photos, maps = scene(4, 5)
    assert (overlay(photos, np.ones_like(maps), LUT, 1) == LUT[255]).all()


def test_heat_beyond_the_range_counts_as_its_end():
    photos, maps = scene(2, 2)
    maps[:] = [[-5, -np.inf], [7, np.inf]]
    np.testing.assert_array_equal(
        overlay(photos, maps, LUT, 0.5), overlay(photos, np.clip(maps, 0, 1), LUT, 0.5)
    )


def test_more_heat_is_never_closer_to_the_photo():
    heat = np.linspace(0, 1, 256, dtype=np.float32)[None]
    red = np.tile(np.array([[255, 0, 0]], np.uint8), (256, 1))
    out = overlay(np.full((1, 256, 3), 100, np.uint8), heat, red, 0.8)[0].astype(int)
    assert (np.diff(out[:, 0]) >= 0).all()
    assert (np.diff(out[:, 1]) <= 0).all()


def test_a_batch_is_its_singles():
    photos, maps = scene(3, 5, 6)
    singles = [overlay(p, m, LUT, 0.6) for p, m in zip(photos, maps, strict=True)]
    np.testing.assert_array_equal(overlay(photos, maps, LUT, 0.6), singles)


@pytest.mark.parametrize("alpha", [-0.1, 1.1, float("nan")])
def test_an_impossible_opacity_is_a_value_error(alpha):
    photos, maps = scene(2, 2)
    with pytest.raises(ValueError, match="between 0 and 1"):
        overlay(photos, maps, LUT, alpha)


def test_shapes_that_do_not_fit_are_a_value_error():
    photos, maps = scene(4, 5)
    with pytest.raises(ValueError, match="do not fit"):
        overlay(photos, maps[:3], LUT)
    with pytest.raises(ValueError, match="do not fit"):
        overlay(photos.astype(np.float32), maps, LUT)
    with pytest.raises(ValueError, match="colour map"):
        overlay(photos, maps, LUT[:10])
