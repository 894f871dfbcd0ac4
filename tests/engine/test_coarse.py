import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxlens.engine.attribution.perturbation.coarse import STEPS, coarse_to_fine


def run(grid, tolerance=0.05, labels=0):
    """What comes of a grid of known values, and the numbers that were asked for."""
    asked = []

    def compute(numbers):
        asked.extend(numbers.tolist())
        return grid.reshape(-1, grid.shape[2])[numbers]

    values, known = coarse_to_fine(grid.shape[:2], compute, tolerance, labels)
    assert values.shape == grid.shape
    assert sorted(asked) == np.flatnonzero(known).tolist()
    return values, known


SHAPES = st.tuples(st.integers(1, 14), st.integers(1, 14))


@settings(max_examples=60, deadline=None)
@given(SHAPES, st.integers(0, 99))
def test_what_is_computed_is_kept_and_nothing_is_asked_for_twice(shape, seed):
    grid = np.random.default_rng(seed).standard_normal((*shape, 3))
    values, known = run(grid)
    np.testing.assert_array_equal(values[known], grid[known])


@settings(max_examples=60, deadline=None)
@given(SHAPES, st.integers(0, 99))
def test_without_tolerance_all_that_differs_is_computed(shape, seed):
    grid = np.random.default_rng(seed).standard_normal((*shape, 1))
    values, known = run(grid, tolerance=0)
    assert known.all()
    np.testing.assert_array_equal(values, grid)


@settings(max_examples=30, deadline=None)
@given(SHAPES, st.tuples(*[st.floats(-1, 1)] * 3))
def test_a_plane_is_filled_in(shape, plane):
    y, x = np.mgrid[: shape[0], : shape[1]]
    grid = (plane[0] * y + plane[1] * x + plane[2])[..., None]
    values, known = run(grid, tolerance=2)
    coarse = [np.unique(np.append(np.arange(0, n, STEPS[0]), n - 1)) for n in shape]
    assert known.sum() == known[np.ix_(*coarse)].size
    np.testing.assert_allclose(values, grid, atol=1e-12)


def test_only_where_it_differs_is_refined():
    grid = np.zeros((33, 33, 2))
    grid[15:19, 7:10, 0] = 1
    grid[..., 1] = np.arange(33)
    values, known = run(grid)
    np.testing.assert_array_equal(values, grid)
    assert known[14:20, 6:11].all()
    assert known.sum() < 200
    assert not known[:12][:, 1:4].any()


def test_labels_come_from_the_nearest_place():
    grid = np.zeros((1, 9, 2))
    grid[..., 0] = np.arange(9)
    grid[..., 1] = [3, 3, 3, 3, 3, 8, 8, 8, 8]
    values, known = run(grid, tolerance=2, labels=1)
    assert np.flatnonzero(known).tolist() == [0, 4, 8]
    assert set(values[..., 1].ravel()) == {3, 8}


def test_what_goes_wrong_is_passed_on():
    with pytest.raises(ZeroDivisionError):
        coarse_to_fine((3, 3), lambda numbers: 1 / 0, 0.1)
