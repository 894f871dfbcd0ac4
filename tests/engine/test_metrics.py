"""The pointing game."""

import numpy as np

from onnxlens.engine.metrics import pointing


def test_the_peak_decides():
    mask = np.array([[True, False], [False, False]])
    assert pointing(np.array([[2.0, 1.0], [0.0, -5.0]]), mask)
    assert not pointing(np.array([[2.0, 3.0], [0.0, -5.0]]), mask)


def test_unseen_pixels_are_no_peak_and_the_first_of_several_counts():
    mask = np.array([[False, True], [False, False]])
    assert pointing(np.array([[np.nan, 1.0], [1.0, 0.0]]), mask)
