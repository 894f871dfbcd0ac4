"""Metrics: on models and maps of which the right number is known."""

from dataclasses import replace

import numpy as np
import pytest
from oracles.networks import parsed

from onnxlens.engine.errors import BadRequest
from onnxlens.engine.metrics.faithfulness import area, imputed, ranks
from onnxlens.engine.metrics.judged import Judged
from onnxlens.engine.metrics.metrics import METRICS, metric_named
from onnxlens.engine.metrics.sanity import spearman
from onnxlens.engine.metrics.truth import iou, mass, pointing
from onnxlens.engine.metrics.twins import randomised
from onnxlens.engine.runtime.network import Network

SIZE = (12, 10)
RNG = np.random.default_rng(0)
WEIGHTS = RNG.random((1, *SIZE)).astype(np.float32) ** 4  # of a linear model: what is added by each pixel
IMAGE = (RNG.random((1, *SIZE)) + 0.2).astype(np.float32)
OBJECT = ranks((WEIGHTS * IMAGE)[0]) < 20
FILLS = {"mean": np.zeros_like(IMAGE), "blur": np.zeros_like(IMAGE)}


def answers(images):
    """Of a linear model, its answer to IMAGE being 1."""
    return (images * WEIGHTS).sum((1, 2, 3)) / (WEIGHTS * IMAGE).sum()


def judged(heat, **more):
    """A map of the linear model; by default the method gives it whatever it is asked."""
    asked = {
        "through": lambda masks, fill: answers(IMAGE * masks[:, None] + FILLS[fill] * (1 - masks[:, None])),
        "answers": answers,
        "again": lambda image: heat,
        "other": lambda: heat,
        "twins": lambda: [heat, heat],
        "passes": lambda: 2.0,
        "mask": OBJECT,
        "sum": 2.0,
        "rise": 1.0,
    }
    return Judged(heat=np.asarray(heat, np.float32), image=IMAGE, last=False, **{**asked, **more})


RIGHT, CONSTANT = (WEIGHTS * IMAGE)[0], np.ones(SIZE, np.float32)
NOISE = RNG.random(SIZE).astype(np.float32)


@pytest.mark.parametrize("name", ["mass", "iou", "pointing", "deletion", "insertion", "infidelity"])
def test_the_right_map_is_best_and_its_negative_worst(name):
    """What a linear model adds up is known: no map of it is better than its own terms."""
    metric = METRICS[name]
    right, noise, wrong = (metric.compute(judged(heat)) for heat in (RIGHT, NOISE, 1 - RIGHT))
    assert metric.better(right, noise) or (name == "pointing" and right == noise == 1)
    if name != "infidelity":  # which does not see the sign
        assert metric.better(noise, wrong) or noise == wrong == 0


def test_road_sees_what_cannot_be_made_up_from_around():
    """A model that looks at a bright square alone, which nothing around it tells of."""
    square = np.zeros((1, *SIZE), np.float32)
    square[:, 4:8, 3:7] = 1
    seen = lambda images: (images * square).sum((1, 2, 3)) / square.sum()
    score = lambda heat: METRICS["road"].compute(replace(judged(heat, answers=seen), image=square))
    assert score(square[0]) > 0.7 > score(NOISE) > -0.7 > score(1 - square[0])


def test_of_the_truth_the_best_numbers_are_reached_by_the_mask_itself():
    for heat in (OBJECT.astype(float), 5 * OBJECT - 3.0):
        assert (pointing(heat, OBJECT), mass(heat, OBJECT), iou(heat, OBJECT)) == (True, 1, 1)
    assert iou(CONSTANT, OBJECT) == pytest.approx(OBJECT.mean())
    assert mass(-CONSTANT, OBJECT) is None
    assert mass(CONSTANT, OBJECT) == pytest.approx(OBJECT.mean())


@pytest.mark.parametrize("seed", range(5))
def test_the_best_threshold_is_that_of_all_tried_in_turn(seed):
    heat = np.random.default_rng(seed).integers(0, 6, SIZE) / 5  # with many ties
    every = [(heat >= t) for t in np.unique(heat)]
    assert iou(heat, OBJECT) == pytest.approx(max((m & OBJECT).sum() / (m | OBJECT).sum() for m in every))


def test_the_peak_decides():
    mask = np.array([[True, False], [False, False]])
    assert pointing(np.array([[2.0, 1.0], [0.0, -5.0]]), mask)
    assert not pointing(np.array([[2.0, 3.0], [0.0, -5.0]]), mask)


def test_unseen_pixels_are_no_peak_and_the_first_of_several_counts():
    mask = np.array([[False, True], [False, False]])
    assert pointing(np.array([[np.nan, 1.0], [1.0, 0.0]]), mask)


def test_deletion_and_insertion_of_a_linear_model_mirror_each_other():
    """Hidden and shown is nothing but the rest: what is shown under zeros is what deletion took."""
    hidden, shown = (METRICS[name].compute(judged(RIGHT)) for name in ("deletion", "insertion"))
    assert hidden == pytest.approx(1 - shown, abs=1e-6)
    flat = METRICS["deletion"].compute(judged(RIGHT, through=lambda masks, fill: np.full(len(masks), 0.3)))
    assert flat == pytest.approx(0.3)
    assert area(np.array([1.0, 0.0, 0.0])) == pytest.approx(0.25)


def test_infidelity_of_a_linear_model_is_zero_for_its_own_terms_times_any_factor():
    for factor in (1, -3, 1e-3):
        assert METRICS["infidelity"].compute(judged(factor * RIGHT)) == pytest.approx(0, abs=1e-5)
    assert METRICS["infidelity"].compute(judged(0 * RIGHT)) == 1
    still = judged(RIGHT, through=lambda masks, fill: np.ones(len(masks)), answers=lambda x: np.ones(len(x)))
    assert METRICS["infidelity"].compute(still) is None


@pytest.mark.parametrize("last", [False, True])
def test_what_is_imputed_is_the_weighted_mean_of_its_neighbours(last):
    image = RNG.standard_normal((3, 9, 11)).astype(np.float32)
    hole = RNG.random((9, 11)) < 0.5
    given = np.moveaxis(image, 0, -1) if last else image
    quiet = type("Quiet", (), {"standard_normal": staticmethod(np.zeros)})
    found = imputed(given, hole, last, quiet)
    found = np.moveaxis(found, -1, 0) if last else found
    np.testing.assert_array_equal(found[:, ~hole], image[:, ~hole])
    for y, x in np.argwhere(hole):
        near = [(a, b) for a in (y - 1, y, y + 1) for b in (x - 1, x, x + 1) if (a, b) != (y, x)]
        near = [(a, b) for a, b in near if 0 <= a < 9 and 0 <= b < 11]
        weights = [1 / 6 if a == y or b == x else 1 / 12 for a, b in near]
        mean = np.average([found[:, a, b] for a, b in near], axis=0, weights=weights)
        np.testing.assert_allclose(found[:, y, x], mean, atol=1e-3)


def test_an_image_that_is_all_hole_is_finite():
    assert np.isfinite(imputed(IMAGE, np.ones(SIZE, bool), False, RNG)).all()


def test_a_constant_method_fails_what_asks_for_the_class_and_the_weights():
    """It gives one map, whatever it is asked: of random weights, of another class, of a noisy photo."""
    one = judged(NOISE)
    assert METRICS["randomisation"].compute(one) == pytest.approx(1)
    assert METRICS["discrimination"].compute(one) == pytest.approx(1)
    assert METRICS["sensitivity"].compute(one) == 0
    other = np.random.default_rng(5).random(SIZE)
    free = judged(NOISE, twins=lambda: [other], other=lambda: 1 - NOISE, again=lambda x: 0 * NOISE)
    assert METRICS["randomisation"].compute(free) < 0.2
    assert METRICS["discrimination"].compute(free) == pytest.approx(-1)
    assert METRICS["sensitivity"].compute(free) == pytest.approx(1)
    assert METRICS["discrimination"].compute(judged(NOISE, other=lambda: None)) is None
    assert METRICS["randomisation"].compute(judged(NOISE, twins=list)) is None
    assert METRICS["sensitivity"].compute(judged(0 * NOISE)) is None


def test_entropy_of_a_point_is_0_and_of_all_alike_1():
    point = np.zeros(SIZE)
    point[3, 4] = 7
    assert METRICS["entropy"].compute(judged(point)) == 0
    assert METRICS["entropy"].compute(judged(CONSTANT)) == pytest.approx(1)
    assert METRICS["entropy"].compute(judged(-CONSTANT)) is None


def test_completeness_is_the_gap_over_the_rise():
    assert METRICS["completeness"].compute(judged(RIGHT)) == 1
    assert METRICS["completeness"].compute(judged(RIGHT, sum=None)) is None
    assert METRICS["completeness"].compute(judged(RIGHT, rise=0.0)) is None


def test_spearman_shares_the_ranks_of_equal_values():
    """By hand: ranks 1.5, 1.5, 3 and 1, 2, 3, of which the correlation is √3/2."""
    assert spearman(np.array([0, 0, 5]), np.array([1, 2, 3])) == pytest.approx(np.sqrt(3) / 2)
    assert spearman(np.array([1, 2, 3]), np.array([9, 4, 1])) == -1
    assert spearman(np.zeros(3), np.arange(3)) == 0


def test_the_last_layers_are_random_first():
    text = """(float[1,3,6,6] x) => (float[1,4] y) { a = Conv(x, w1) b = Relu(a) c = Conv(b, w2)
    d = GlobalAveragePool(c) e = Flatten(d) t = Transpose(w3) y = MatMul(e, t) }"""
    kernels = {"w1": RNG.random((5, 3, 3, 3)), "w2": RNG.random((6, 5, 1, 1)), "w3": RNG.random((4, 6))}
    network = Network(parsed(text, **kernels))
    for share, changed in ((0, {"w3"}), (0.6, {"w3", "w2"}), (1, {"w1", "w2", "w3"})):
        twin = randomised(network, share)
        for name in kernels:
            old, new = (n.graph[name].array for n in (network, twin))
            assert (name in changed) != np.array_equal(old, new)
            np.testing.assert_array_equal(np.sort(old, axis=None), np.sort(new, axis=None))
        feeds = {"x": np.ones((1, 3, 6, 6), np.float32)}
        assert not np.array_equal(twin.run(feeds)["y"], network.run(feeds)["y"])


def test_a_metric_that_is_not_there_is_answered_with_the_nearest():
    with pytest.raises(BadRequest, match=r"there is no metric 'delection'.*deletion"):
        metric_named("delection")


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_a_metric_says_what_it_is(metric):
    assert all((metric.title, metric.paper, metric.compute.__doc__))
    assert metric.best in ("high", "low")
    assert metric.needs in ("", "mask", "answers", "maps")
    assert metric.says == metric.says[0].lower() + metric.says[1:].rstrip(".")
