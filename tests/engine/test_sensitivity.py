"""Sobol indices and HSIC: Ishigami's function, additive functions, and definitions written out."""

import numpy as np
import pytest
from oracles.networks import parsed

from onnxlens.engine.attribution.compile import compiled
from onnxlens.engine.attribution.compiled import Intake
from onnxlens.engine.attribution.methods import METHODS, options_given
from onnxlens.engine.attribution.perturbation.sampled.sensitivity import dependence, hypercube, total_indices
from onnxlens.engine.runtime.network import Network

RNG = np.random.default_rng(4)
W = RNG.standard_normal((3, 1, 6, 9)).astype(np.float32) / 4
IMAGE = RNG.standard_normal((1, 1, 6, 9)).astype(np.float32)
ROWS, COLUMNS = (np.arange(n) * 3 // n for n in (6, 9))
CELL = ROWS[:, None] * 3 + COLUMNS
LINEAR, SOFT = "y = HardSigmoid <alpha = 0.01, beta = 0.5> (f)", "y = Softmax <axis = 1> (f)"


def found(name, end=SOFT, w=W, wishes=(1,), **options):
    """The value of each of nine cells, and what the model says of class 1 of images (n, 1, 6, 9)."""
    text = f"(float[N,1,6,9] x) => (float[N,3] y) {{ c = Conv (x, w) f = Flatten (c) {end} }}"
    network = Network(parsed(text, w=w), provider="cpu", threads=1)
    intake = Intake((6, 9), False, lambda x, fill: np.zeros_like(x), ["a", "b", "c"])
    options = options_given(METHODS[name], {"cells": 3, **options})
    made = compiled(network, METHODS[name], None, options, intake)
    (explained,) = made.explained(IMAGE, list(wishes))
    maps = [e.values for e in explained]
    for map_ in maps:
        assert all(np.ptp(map_[i == CELL]) == 0 for i in range(9))
    cells = [np.array([map_[i == CELL][0] for i in range(9)]) for map_ in maps]
    return cells, lambda x: network.run({"x": x.astype(np.float32)})["y"][:, 1].astype(float), explained


def ishigami(u):
    """Ishigami & Homma 1990, with a = 7 and b = 0.1, of numbers from 0 to 1."""
    x, y, z = (2 * np.pi * u - np.pi).T
    return (np.sin(x) + 7 * np.sin(y) ** 2 + 0.1 * z**4 * np.sin(x))[:, None]


def test_total_indices_of_ishigamis_function():
    found = total_indices(ishigami, 3, 20_000, np.random.default_rng(0))[:, 0]
    np.testing.assert_allclose(found, [0.5576, 0.4424, 0.2437], atol=0.01)


def test_of_a_sum_the_indices_are_the_shares_of_the_variance():
    weights = np.array([[1.0, 3], [2, 0], [0, 0], [-4, 1]])
    found = total_indices(lambda u: u @ weights, 4, 5000, np.random.default_rng(1))
    np.testing.assert_allclose(found, weights**2 / (weights**2).sum(0), atol=0.02)
    flat = total_indices(lambda u: np.ones((len(u), 1)), 4, 8, np.random.default_rng(1))
    np.testing.assert_array_equal(flat, np.zeros((4, 1)))


def test_points_fall_once_into_each_part():
    points = hypercube(np.random.default_rng(0), 50, 7)
    assert points.shape == (50, 7)
    np.testing.assert_array_equal(
        np.sort((points * 50).astype(int), axis=0), np.arange(50)[:, None].repeat(7, 1)
    )
    assert np.abs(np.corrcoef(points.T) - np.eye(7)).max() < 0.5


def test_sobol_of_a_linear_model_is_the_share_of_its_squared_terms():
    (cells,), _, _ = found("sobol", LINEAR, designs=2000)
    terms = np.array([(W[1, 0] * IMAGE[0, 0])[i == CELL].sum() for i in range(9)])
    np.testing.assert_allclose(cells, terms**2 / (terms**2).sum(), atol=0.03)


def test_sobol_is_added_up_as_a_slow_twin_does():
    (cells,), answer, _ = found("sobol", designs=20, random_seed=5)
    first, second = np.split(hypercube(np.random.default_rng(5), 20, 18), 2, axis=1)
    whole = np.array([answer(IMAGE * row[CELL])[0] for row in first])
    for i in range(9):
        squares = 0
        for j, row in enumerate(first):
            other = np.where(np.arange(9) == i, second[j], row)
            squares += (whole[j] - answer(IMAGE * other[CELL])[0]) ** 2
        assert cells[i] == pytest.approx(squares / 40 / whole.var(), rel=1e-3)


def centred(seen, answers, width):
    """HSIC by matrices."""
    count = len(seen)
    h = np.eye(count) - 1 / count
    near = np.exp(-((answers[:, None] - answers) ** 2) / (2 * width**2))
    alike = [(column[:, None] == column).astype(float) for column in seen.T]
    return np.array([np.trace(k @ h @ near @ h) for k in alike]) / (count - 1) ** 2


def test_hsic_is_that_of_its_matrices():
    (cells,), answer, _ = found("hsic", samples=300, random_seed=9)
    seen = np.random.default_rng(9).random((300, 9)) < 0.5
    answers = answer(np.concatenate([IMAGE * row[CELL] for row in seen]))
    width = np.median([abs(a - b) for i, a in enumerate(answers) for b in answers[:i]])
    np.testing.assert_allclose(cells, centred(seen, answers, width), rtol=1e-3, atol=1e-8)


def test_hsic_of_what_is_known():
    # Of y = x ∈ {0, 1}, each as likely: (1 - exp(-1 / 2σ²)) / 4.
    seen = np.random.default_rng(0).random((4001, 3)) < 0.5
    answers = seen[:, 1] * 1.0
    distances = [abs(a - b) for i, a in enumerate(answers[:1000]) for b in answers[:i]]
    sigma = np.median(distances) or np.mean(distances)
    expected = (1 - np.exp(-1 / (2 * sigma**2))) / 4
    found = dependence(seen, answers)
    assert found[1] == pytest.approx(expected, rel=0.02)
    assert found[[0, 2]].max() < 0.005 * found[1]
    np.testing.assert_array_equal(dependence(seen, np.ones(4001)), np.zeros(3))


@pytest.mark.parametrize("name", ["sobol", "hsic"])
def test_what_does_nothing_has_nothing_and_a_seed_is_its_bytes(name):
    w = W.copy()
    w[:, :, CELL == 4] = 0
    (cells,), _, _ = found(name, w=w)
    assert cells[4] < 0.05 * cells.max()
    (first,), _, (e,) = found(name, random_seed=3)
    (again,), _, _ = found(name, random_seed=3)
    (other,), _, _ = found(name, random_seed=4)
    assert first.tobytes() == again.tobytes() != other.tobytes()
    assert e.problem == ""
    three, _, _ = found(name, wishes=(0, 1, 2), random_seed=3)
    np.testing.assert_allclose(three[1], first, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("w", [np.zeros_like(W), W * np.float32(1e-9)], ids=["nothing", "rounding"])
@pytest.mark.parametrize("name", ["sobol", "hsic"])
def test_a_model_that_sees_nothing_has_no_map(name, w):
    (cells,), _, (e,) = found(name, w=w)
    assert not cells.any()
    assert "the answer for 'b' is the same whatever is hidden" in e.problem
