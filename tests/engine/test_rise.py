"""RISE against a slow twin: one mask after the other, drawn pixel by pixel, on images of their own."""

import numpy as np
import pytest
from oracles.networks import parsed

from onnxlens.engine.attribution.compile import compiled
from onnxlens.engine.attribution.compiled import Intake
from onnxlens.engine.attribution.methods import METHODS, options_given
from onnxlens.engine.attribution.perturbation.masks import smooth
from onnxlens.engine.attribution.perturbation.sampled.methods import SEED
from onnxlens.engine.errors import BadRequest, NoMap
from onnxlens.engine.runtime.network import Network

RNG = np.random.default_rng(5)
WEIGHTS = {"w": RNG.standard_normal((4, 3, 11, 9)).astype(np.float32) / 9, "b": np.zeros(4, np.float32)}
IMAGES = RNG.standard_normal((2, 3, 11, 9)).astype(np.float32)
LABELS = ["a", "b", "c", "d"]


def network(batch: object = "N", end: str = "Softmax <axis = 1> (f)", **weights: np.ndarray) -> Network:
    text = f"""(float[{batch},3,11,9] x) => (float[{batch},4] y) {{
        c = Conv (x, w, b)
        f = Flatten (c)
        y = {end}
    }}"""
    return Network(parsed(text, **WEIGHTS | weights), provider="cpu", threads=1)


def rise(of: Network, fill: float = 0, **options):
    intake = Intake((11, 9), False, lambda image, name: np.full_like(image, fill), LABELS)
    return compiled(of, METHODS["rise"], None, options_given(METHODS["rise"], options), intake)


def mask(grid: np.ndarray, moved: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """A grid enlarged by one cell more than the image has, between the four nearest centres."""
    cells, out = len(grid), np.zeros(size)
    steps = [int(np.ceil(length / cells)) for length in size]
    for y, x in np.ndindex(*size):
        at = [
            min(max((moved[i] + p + 0.5) / ((cells + 1) * steps[i]) * cells - 0.5, 0), cells - 1)
            for i, p in enumerate((y, x))
        ]
        (i, j), (u, v) = (int(at[0]), int(at[1])), (at[0] % 1, at[1] % 1)
        k, m = min(i + 1, cells - 1), min(j + 1, cells - 1)
        out[y, x] = (1 - u) * ((1 - v) * grid[i, j] + v * grid[i, m]) + u * (
            (1 - v) * grid[k, j] + v * grid[k, m]
        )
    return out


def drawn(count: int, cells: int, shown: float) -> list[np.ndarray]:
    rng = np.random.default_rng(SEED)
    grids = rng.random((count, cells, cells)) < shown
    rows, columns = (rng.integers(0, int(np.ceil(n / cells)), count) for n in (11, 9))
    return [mask(g, (r, c), (11, 9)) for g, r, c in zip(grids, rows, columns, strict=True)]


def test_masks_are_those_of_the_slow_twin():
    masks = smooth(np.random.default_rng(SEED), 20, 3, 0.4, (11, 9))
    np.testing.assert_allclose(masks, drawn(20, 3, 0.4), atol=1e-6)
    assert masks.min() >= 0
    assert masks.max() <= 1 + 1e-6


@pytest.mark.parametrize("batch", ["N", 1, 3])
@pytest.mark.parametrize("fill", [0.0, 0.7])
def test_a_map_is_the_mean_of_masks_by_what_the_model_says_behind_each(batch, fill):
    of, plain = network(batch), network()
    masks = drawn(30, 3, 0.4)
    probabilities = np.array(
        [plain.run({"x": (IMAGES[:1] * m + fill * (1 - m)).astype(np.float32)})["y"][0] for m in masks]
    )
    (found,) = rise(of, fill, masks=30, cells=3, shown=0.4).explained(IMAGES[:1], [2, -1])
    best = int(plain.run({"x": IMAGES[:1]})["y"][0].argmax())
    assert [e.target for e in found] == list(dict.fromkeys([2, best]))
    for e in found:
        expected = sum(p * m for p, m in zip(probabilities[:, e.target], masks, strict=True)) / (30 * 0.4)
        np.testing.assert_allclose(e.values, expected, rtol=1e-4, atol=1e-6)
        assert (e.values.shape, e.values.dtype, e.at, e.layer, e.problem) == (
            (11, 9),
            np.float32,
            "x",
            None,
            "",
        )
        assert e.score == pytest.approx(plain.run({"x": IMAGES[:1]}, ["f"])["f"][0, e.target])


def test_it_is_the_same_in_each_run_and_for_each_image_alone():
    made = rise(network(), masks=70)
    together = made.explained(IMAGES, [1])
    for image, (found,) in zip(IMAGES, together, strict=True):
        ((alone,),) = made.explained(image[None], [1])
        np.testing.assert_array_equal(alone.values, found.values)


def test_progress_counts_masks():
    seen = []
    rise(network(), masks=70).explained(IMAGES[:1], [0], lambda *now: seen.append(now))
    assert seen[-1] == (70, 70)


def test_channels_may_come_last():
    text = """(float[N,11,9,3] x) => (float[N,4] y) {
        t = Transpose <perm = [0,3,1,2]> (x)
        c = Conv (t, w, b)
        f = Flatten (c)
        y = Softmax <axis = 1> (f)
    }"""
    last = Network(parsed(text, **WEIGHTS), provider="cpu", threads=1)
    intake = Intake((11, 9), True, lambda image, name: np.zeros_like(image), LABELS)
    options = options_given(METHODS["rise"], {"masks": 20})
    made = compiled(last, METHODS["rise"], None, options, intake)
    ((found,),) = made.explained(np.moveaxis(IMAGES[:1], 1, -1), [1])
    ((expected,),) = rise(network(), masks=20).explained(IMAGES[:1], [1])
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-5)


def test_a_model_that_sees_nothing_has_no_map():
    blind = network(w=np.zeros_like(WEIGHTS["w"]))
    ((found,),) = rise(blind, masks=64, cells=1, shown=1.0).explained(IMAGES[:1], [1])
    assert "the answer for 'b' is the same whatever is hidden" in found.problem


def test_what_is_no_number_is_said():
    broken = network(b=np.full(4, np.nan, np.float32))
    with pytest.raises(NoMap, match="not a number"):
        rise(broken, masks=2).explained(IMAGES[:1], [1])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"masks": 0}, "masks is at least 1, not 0"),
        ({"shown": 0.0}, "shown is above 0, not 0"),
        ({"shown": 1.5}, "shown is at most 1, not 1.5"),
        ({"cells": "7"}, "cells is a whole number, not '7'"),
        ({"patch": 3}, "'patch' is no option of rise: it is one of occlusion"),
        ({"mask": 3}, "nearest: masks"),
    ],
)
def test_options_that_cannot_be(options, text):
    with pytest.raises(BadRequest, match=text):
        rise(network(), **options)


def test_it_takes_no_layer():
    with pytest.raises(BadRequest, match="rise looks at no layer"):
        compiled(network(), METHODS["rise"], "c", options_given(METHODS["rise"], {}), Intake((11, 9)))
