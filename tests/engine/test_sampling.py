"""Sampling that ends when a map is sure enough: its errors, its ends, its bytes and its memory."""

import tracemalloc

import numpy as np
import pytest
from oracles.networks import parsed

from onnxlens.engine.attribution.compile import compiled
from onnxlens.engine.attribution.compiled import Intake
from onnxlens.engine.attribution.methods import METHODS, options_given
from onnxlens.engine.attribution.perturbation.sampled.means import MOST, Ending, Sums, drawn, standard_error
from onnxlens.engine.errors import BadRequest
from onnxlens.engine.runtime.network import Network

RNG = np.random.default_rng(8)
W = (RNG.standard_normal((3, 1, 12, 12)) / 8).astype(np.float32)
W[1, 0, 2:6, 3:7] += 0.6
IMAGE = np.ones((1, 1, 12, 12), np.float32)
SAMPLED = ["rise", "d-rise", "shapley"]
FEW = {"rise": {"masks": 64}, "d-rise": {"masks": 64}, "shapley": {"permutations": 3, "cells": 3}}


@pytest.fixture(scope="module")
def network():
    text = """(float[N,1,12,12] x) => (float[N,3] y) {
        c = Conv (x, w) f = Flatten (c) y = Softmax <axis = 1> (f) }"""
    return Network(parsed(text, w=W), provider="cpu", threads=1)


def explained(network, name, wishes=(1,), progress=None, **options):
    intake = Intake((12, 12), False, lambda image, fill: np.zeros_like(image), ["a", "b", "c"])
    made = compiled(network, METHODS[name], None, options_given(METHODS[name], options), intake)
    return made.explained(IMAGE, list(wishes), progress)[0]


def test_the_error_is_that_of_the_mean():
    values = np.random.default_rng(0).normal(3, 2, (50, 2, 4, 5)) + np.arange(5)
    mean, error = values.mean(0), values.std(0, ddof=1) / np.sqrt(50)
    expected = [np.sqrt((e**2).mean()) / np.ptp(m) for m, e in zip(mean, error, strict=True)]
    np.testing.assert_allclose(standard_error(values.sum(0), (values**2).sum(0), 50), expected)
    assert standard_error(np.ones((1, 3)), np.ones((1, 3)), 1) == np.inf
    assert standard_error(np.zeros((1, 3)), np.zeros((1, 3)), 9) == 0
    assert standard_error(np.zeros((1, 2)), np.full((1, 2), 4.0), 4) == np.inf  # noise around nothing


def test_errors_are_as_large_as_maps_of_many_seeds_differ(network):
    found = [explained(network, "rise", masks=256, random_seed=i, tolerance=1)[0] for i in range(40)]
    maps = np.stack([f.values for f in found]).astype(float)
    differ = np.sqrt(maps.var(0, ddof=1).mean())
    said = np.mean([f.extras["sampled"]["standard_error"] * np.ptp(f.values) for f in found])
    assert said == pytest.approx(differ, rel=0.15)


@pytest.mark.parametrize("name", ["rise", "shapley"])
def test_a_tolerance_is_reached_and_two_seeds_agree(name, network):
    maps = []
    for seed in (0, 1):
        (found,) = explained(network, name, **FEW[name], random_seed=seed, tolerance=0.02)
        said = found.extras["sampled"]
        assert said["reached"]
        assert said["tolerance"] == 0.02
        assert said["standard_error"] <= 0.02
        assert said["drawn"] > next(iter(FEW[name].values()))
        maps.append(found.values.ravel())
    assert np.corrcoef(maps)[0, 1] > 0.98


@pytest.mark.parametrize("name", SAMPLED)
def test_the_same_seed_is_the_same_bytes(name, network):
    first, again, other = (
        explained(network, name, **FEW[name], random_seed=seed, tolerance=0.1)[0].values for seed in (3, 3, 4)
    )
    assert first.tobytes() == again.tobytes() != other.tobytes()


@pytest.mark.parametrize("name", SAMPLED)
def test_a_tolerance_that_is_reached_at_once_changes_nothing(name, network):
    plain, sure = explained(network, name, **FEW[name]), explained(network, name, **FEW[name], tolerance=1)
    assert plain[0].values.tobytes() == sure[0].values.tobytes()
    assert "sampled" not in plain[0].extras
    assert sure[0].extras["sampled"]["drawn"] == next(iter(FEW[name].values()))


@pytest.mark.parametrize("name", SAMPLED)
def test_time_that_is_over_ends_it_and_says_how_sure_it_is(name, network):
    (found,) = explained(network, name, tolerance=1e-6, seconds=0.05)
    said = found.extras["sampled"]
    assert not said["reached"]
    assert said["standard_error"] > 1e-6
    assert found.values.any()
    (found,) = explained(network, name, seconds=1e-9)
    assert found.extras["sampled"].keys() == {"drawn", "standard_error"}
    assert found.extras["sampled"]["drawn"] < 100


def test_all_classes_are_as_sure(network):
    found = explained(network, "rise", (0, 1, 2), masks=64, tolerance=0.1)
    assert len({f.extras["sampled"]["drawn"] for f in found}) == 1
    assert all(f.extras["sampled"]["standard_error"] <= 0.1 for f in found)


def test_progress_foresees_how_many_are_drawn(network):
    seen = []
    explained(network, "rise", masks=64, tolerance=0.05, progress=lambda *now: seen.append(now))
    assert seen[-1][0] == seen[-1][1]
    assert all(done <= of for done, of in seen)
    assert abs(seen[len(seen) // 2][1] / seen[-1][0] - 1) < 0.5


def test_nothing_is_drawn_for_ever():
    # Noise around zero is never sure; what does not vary is sure at once.
    def draw(count, squared):
        return Sums(np.zeros((1, 2)), np.full((1, 2), float(count)))

    assert drawn(draw, MOST, Ending(1, 0.1, None), lambda *now: None).draws == MOST + 1
    flat = drawn(
        lambda count, squared: Sums(np.zeros((1, 2)), np.zeros((1, 2))), 5, Ending(9, 0.1, None), max
    )
    assert (flat.draws, flat.said[0]["sampled"]["standard_error"]) == (9, 0)


def test_memory_does_not_grow_with_the_masks(network):
    def peak(masks):
        tracemalloc.start()
        explained(network, "rise", masks=masks, tolerance=1)
        try:
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(64)
    assert peak(6400) < 1.05 * peak(640)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"tolerance": 0}, "tolerance is above 0, not 0"),
        ({"tolerance": 2}, "tolerance is at most 1, not 2"),
        ({"tolerance": float("nan")}, "tolerance is above 0, not nan"),
        ({"seconds": -1}, "seconds is above 0, not -1"),
        ({"seconds": "5"}, "seconds is a number, not '5'"),
        ({"random_seed": -1}, "random_seed is at least 0, not -1"),
        ({"random_seed": 0.5}, "random_seed is a whole number, not 0.5"),
    ],
)
def test_ends_that_cannot_be(options, text, network):
    with pytest.raises(BadRequest, match=text):
        explained(network, "rise", **options)
