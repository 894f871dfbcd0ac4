"""Signals to tones: what is zero, what has a sign, and what one hot pixel may not do."""

import numpy as np
import pytest

from onnxlens.engine import tones

RNG = np.random.default_rng(5)
SIGNAL = RNG.standard_normal((20, 30, 3)).astype(np.float32)
DRAWINGS = [tones.signed, tones.absolute, tones.diverging]


def test_strength_is_the_largest_over_the_colours():
    signal = np.array([[[1, -3, 2], [0, 0, 0]]], np.float32)
    np.testing.assert_array_equal(tones.strength(signal), [[3, 0]])


def test_scaling_knows_neither_unit_nor_how_much_is_zero():
    alone = np.zeros((50, 50, 3), np.float32)
    alone[10:30, 10:40] = SIGNAL
    np.testing.assert_allclose(tones.scaled(alone)[10:30, 10:40], tones.scaled(SIGNAL), rtol=1e-6)
    np.testing.assert_allclose(tones.scaled(SIGNAL * 1e-20), tones.scaled(SIGNAL), rtol=1e-5)
    assert np.abs(tones.scaled(SIGNAL)).max() == 1


def test_one_hot_pixel_does_not_darken_the_others():
    hot = SIGNAL.copy()
    hot[0, 0] = 1e6
    share = np.abs(tones.scaled(hot)).mean() / np.abs(tones.scaled(SIGNAL)).mean()
    assert 0.9 < share < 1.1


@pytest.mark.parametrize(("draw", "none"), [(tones.signed, 128), (tones.absolute, 0), (tones.diverging, 255)])
def test_what_is_zero_or_not_there(draw, none):
    signal = SIGNAL.copy()
    signal[:5] = 0
    signal[5:8] = np.nan
    drawn = draw(signal)
    assert (drawn.shape, drawn.dtype) == ((20, 30, 3), np.uint8)
    assert (drawn[:8] == none).all()
    assert (draw(np.zeros((4, 4, 3), np.float32)) == none).all()


def test_signs():
    signal = np.array([[[1, -1, 0.5], [-1, 0, 0], [1, 1, 1]]], np.float32)
    np.testing.assert_array_equal(tones.signed(signal)[0, 0], [255, 0, 191])
    red, _, blue = tones.diverging(signal)[0, 2].astype(int)
    assert red > blue
    red, _, blue = tones.diverging(signal)[0, 1].astype(int)
    assert blue > red


@pytest.mark.parametrize("draw", DRAWINGS)
def test_a_grey_signal_gives_a_picture_too(draw):
    assert draw(SIGNAL[..., :1]).shape == (20, 30, 3)
