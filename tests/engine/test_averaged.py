"""Averages of the gradient: against closed forms, naive loops, and what integrated gradients must sum to."""

import numpy as np
import onnx
import pytest
from oracles.networks import parsed

from onnxlens.engine.attribution import averaged, path
from onnxlens.engine.attribution.averaged import Averaged
from onnxlens.engine.attribution.compiled import Intake
from onnxlens.engine.attribution.projector import Projector
from onnxlens.engine.errors import BadRequest
from onnxlens.engine.runtime.network import Network

RNG = np.random.default_rng(53)
WEIGHTS = {
    "w1": RNG.standard_normal((6, 3, 3, 3)).astype(np.float32),
    "b1": RNG.standard_normal(6).astype(np.float32),
    "w2": RNG.standard_normal((5, 6, 8, 8)).astype(np.float32) / 10,
    "b2": RNG.standard_normal(5).astype(np.float32),
}
IMAGES = RNG.standard_normal((3, 3, 8, 8)).astype(np.float32)
BASELINE = RNG.standard_normal((3, 8, 8)).astype(np.float32)


def classifier(act: str, batch: object = "N") -> Network:
    """Convolution, an activation, and a convolution as large as the map."""
    model = parsed(
        f"""(float[{batch},3,8,8] x) => (float[{batch},5] y) {{
            c = Conv <pads = [1,1,1,1]> (x, w1, b1)
            a = {act}
            d = Conv (a, w2, b2)
            y = Flatten (d)
        }}""",
        **WEIGHTS,
    )
    return Network(model, provider="cpu", threads=1)


def completeness(found):
    """The rise, and by how much the sum of the map is more than that."""
    said = found.extras["completeness"]
    return said["rise"], said["sum"] - said["rise"]


@pytest.mark.parametrize("baseline", [None, BASELINE])
def test_a_linear_network_has_a_closed_form_at_any_number_of_steps(baseline):
    network = classifier("Identity (c)")
    (slope,) = Projector(network, "saliency")({"x": IMAGES[:1]}, 3)
    (found,) = Averaged(network, baseline=baseline, steps=1)({"x": IMAGES[:1]}, 3)
    start = np.zeros_like(BASELINE) if baseline is None else baseline
    np.testing.assert_allclose(found.values, slope.values * (IMAGES[0] - start), rtol=1e-4, atol=1e-5)
    assert completeness(found)[1] == pytest.approx(0, abs=1e-4)


def test_a_square_is_exact_with_one_step_and_a_fifth_power_with_three():
    for act, steps in (("Mul (c, c)", 1), ("Pow (c, five)", 3)):
        WEIGHTS["five"] = np.array(5, np.float32)
        (found,) = Averaged(classifier(act), baseline=BASELINE, steps=steps)({"x": IMAGES[:1]}, 2)
        rise, gap = completeness(found)
        assert gap == pytest.approx(0, abs=2e-5 * abs(rise) + 1e-3)


@pytest.mark.parametrize("act", ["Relu (c)", "Tanh (c)"])
def test_it_sums_to_what_the_score_rises(act):
    network = classifier(act)
    for image in IMAGES:
        (found,) = Averaged(network, baseline=BASELINE, steps=200)({"x": image[None]}, 1)
        scores = network.run({"x": np.stack([BASELINE, image])})["y"][:, 1]
        rise, gap = completeness(found)
        assert rise == pytest.approx(scores[1] - scores[0], rel=1e-4)
        assert found.values.sum(dtype=np.float64) == pytest.approx(rise + gap, abs=1e-3)
        assert abs(gap) < 0.02 * np.abs(found.values).sum()


def twin(network, image, target, points):
    """One gradient after the other."""
    look = Projector(network, "saliency")
    return sum(w * look({"x": x[None]}, target)[0].values.astype(np.float64) for w, x in points)


@pytest.mark.parametrize("steps", [1, 3, 8, 13])
@pytest.mark.parametrize("batch", ["N", 1, 3])
def test_agrees_with_a_loop_of_single_gradients(steps, batch):
    network = classifier("Relu (c)", batch)
    one = classifier("Relu (c)")
    feeds = {"x": np.repeat(IMAGES[:1], batch if batch != "N" else 1, 0)}
    nodes, weights = np.polynomial.legendre.leggauss(steps)
    points = [
        (w / 2, BASELINE + (n + 1) / 2 * (IMAGES[0] - BASELINE)) for n, w in zip(nodes, weights, strict=True)
    ]
    expected = twin(one, IMAGES[0], 4, [(w, x.astype(np.float32)) for w, x in points]) * (
        IMAGES[0] - BASELINE
    )
    found = Averaged(network, baseline=BASELINE, steps=steps)(feeds, 4)
    assert len(found) == len(feeds["x"])
    for signal in found:
        np.testing.assert_allclose(signal.values, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("rule", "nodes", "weights"),
    [
        ("riemann-left", [0, 0.25, 0.5, 0.75], [0.25] * 4),
        ("riemann-middle", [0.125, 0.375, 0.625, 0.875], [0.25] * 4),
        ("riemann-right", [0.25, 0.5, 0.75, 1], [0.25] * 4),
        ("riemann-trapezoid", [0, 1 / 3, 2 / 3, 1], [1 / 6, 1 / 3, 1 / 3, 1 / 6]),
    ],
)
def test_rules_of_riemann(rule, nodes, weights):
    network, along = classifier("Tanh (c)"), IMAGES[0] - BASELINE
    points = [(w, (BASELINE + n * along).astype(np.float32)) for n, w in zip(nodes, weights, strict=True)]
    (found,) = Averaged(network, baseline=BASELINE, steps=4, rule=rule)({"x": IMAGES[:1]}, 4)
    np.testing.assert_allclose(
        found.values, twin(network, IMAGES[0], 4, points) * along, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("rule", path.RULES)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_weights_of_all_rules_sum_to_one_on_the_way(rule, steps):
    nodes, weights = path.RULES[rule](steps)
    assert len(nodes) == len(weights) == steps
    assert sum(weights) == pytest.approx(1)
    assert min(nodes) >= 0
    assert max(nodes) <= 1


def test_several_baselines_of_integrated_gradients_are_averaged():
    network, baselines = classifier("Tanh (c)"), [BASELINE, IMAGES[1]]
    (found,) = Averaged(network, baseline=baselines, steps=9)({"x": IMAGES[:1]}, 1)
    each = [Averaged(network, baseline=b, steps=9)({"x": IMAGES[:1]}, 1)[0] for b in baselines]
    np.testing.assert_allclose(found.values, np.mean([e.values for e in each], 0), rtol=1e-4, atol=1e-5)
    for i in (0, 1):
        assert completeness(found)[i] == pytest.approx(np.mean([completeness(e)[i] for e in each]), abs=1e-4)


def test_noise_averaged_gradients_around_the_image():
    network = classifier("Relu (c)")
    (found,) = Averaged(network, "smoothgrad", steps=7)({"x": IMAGES[:1]}, 0)
    rng = np.random.default_rng(path.SEED)
    size = np.float32(0.15 * (IMAGES[0].max() - IMAGES[0].min()))
    points = [(1 / 7, IMAGES[0] + size * rng.standard_normal((3, 8, 8), np.float32)) for _ in range(7)]
    np.testing.assert_allclose(found.values, twin(network, IMAGES[0], 0, points), rtol=1e-4, atol=1e-6)
    assert not found.extras
    (again,) = Averaged(network, "smoothgrad", steps=7)({"x": IMAGES[:1]}, 0)
    np.testing.assert_array_equal(found.values, again.values)


@pytest.mark.parametrize(
    ("method", "of"),
    [("vargrad", lambda g: g.var(0)), ("smoothgrad-squared", lambda g: (g.astype(np.float64) ** 2).mean(0))],
)
def test_other_moments_of_gradients_at_noisy_copies(method, of):
    network = classifier("Tanh (c)")
    (found,) = Averaged(network, method, steps=9)({"x": IMAGES[:1]}, 2)
    rng, look = np.random.default_rng(path.SEED), Projector(network, "saliency")
    size = np.float32(0.15 * np.ptp(IMAGES[0]))
    copies = [IMAGES[0] + size * rng.standard_normal((3, 8, 8), np.float32) for _ in range(9)]
    slopes = np.stack([look({"x": x[None]}, 2)[0].values for x in copies]).astype(np.float64)
    np.testing.assert_allclose(found.values, of(slopes), rtol=1e-4, atol=1e-8)
    assert found.values.min() >= 0
    assert not found.problem


def test_the_variance_of_a_constant_gradient_is_zero_to_the_bit_and_said():
    (found,) = Averaged(classifier("Identity (c)"), "vargrad", steps=7)({"x": IMAGES[:1]}, 2)
    assert not found.values.any()
    assert "linear around this photo" in found.problem
    (other,) = Averaged(classifier("Identity (c)"), "smoothgrad-squared", steps=7)({"x": IMAGES[:1]}, 2)
    (slope,) = Projector(classifier("Identity (c)"), "saliency")({"x": IMAGES[:1]}, 2)
    np.testing.assert_allclose(other.values, slope.values**2, rtol=1e-5)


def test_images_of_a_batch_are_each_looked_at_with_their_own_class():
    network = classifier("Relu (c)")
    look = Averaged(network, steps=5)
    together = look({"x": IMAGES})
    for image, signal in zip(IMAGES, together, strict=True):
        (alone,) = look({"x": image[None]})
        assert (alone.target, alone.score) == (signal.target, pytest.approx(signal.score, rel=1e-5))
        np.testing.assert_allclose(alone.values, signal.values, rtol=1e-4, atol=1e-6)
    scores = network.run({"x": IMAGES})["y"]
    assert [s.target for s in together] == scores.argmax(1).tolist()


def test_a_unit_of_a_layer_keeps_its_place_on_the_way():
    network = classifier("Relu (c)")
    (found,) = Averaged(network, layer="a", baseline=BASELINE, steps=100)({"x": IMAGES[:1]}, 2)
    values = network.run({"x": np.stack([BASELINE, IMAGES[0]])}, ["a"])["a"][:, 2]
    y, x = found.position
    assert values[1].max() == values[1, y, x] == pytest.approx(found.score)
    assert completeness(found)[0] == pytest.approx(values[1, y, x] - values[0, y, x], rel=1e-5)
    seen = np.zeros((8, 8), bool)
    seen[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] = True
    assert not found.values[:, ~seen].any()


def test_no_more_than_a_few_inputs_are_held(monkeypatch):
    network = classifier("Relu (c)")
    look = Averaged(network, steps=23)
    sizes, once = [], look.once
    monkeypatch.setattr(
        look, "once", lambda feeds, *more: sizes.append(len(feeds["x"])) or once(feeds, *more)
    )
    look({"x": IMAGES[:1]})
    assert sizes == [1] * (23 + 2)  # and the ends, for the unit and the rise


def test_inputs_under_way_at_once_give_the_same_to_the_bit(monkeypatch):
    network, found = classifier("Relu (c)"), []
    for threads, held in ((3, averaged.MAX_HELD), (3, 0), (1, averaged.MAX_HELD)):
        monkeypatch.setattr(network, "threads", threads)
        monkeypatch.setattr(averaged, "MAX_HELD", held)
        assert averaged.shared_out(network)[0] == (3 if held and threads == 3 else 1)
        found.append(Averaged(network, steps=23)({"x": IMAGES[:1]})[0])
    assert found[0].values.any()
    for other in found[1:]:
        np.testing.assert_array_equal(other.values, found[0].values)
        assert other.extras == found[0].extras


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"method": "integratd"}, "nearest: integrated"),
        ({"steps": 0}, "steps is at least 1, not 0"),
        ({"stepz": 3}, "'stepz' is no option of integrated; nearest: steps"),
        ({"baseline": BASELINE[:2]}, "a baseline of"),
        ({"layer": "b"}, "layer 'b'"),
    ],
)
def test_what_cannot_be_is_said(arguments, text):
    with pytest.raises(BadRequest, match=text):
        Averaged(classifier("Relu (c)"), **arguments)({"x": IMAGES[:1]})


def test_an_input_that_is_missing_is_said():
    with pytest.raises(BadRequest, match="'x' is missing"):
        Averaged(classifier("Relu (c)"))({})


def test_a_unit_that_nothing_moves_shows_nothing():
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 18]> n (float[N,2] x) => (float[N,2] y) { y = Relu (x) }'
    )
    network = Network(model, provider="cpu", threads=1)
    (found,) = Averaged(network, baseline=np.array([-2, -2], np.float32))({"x": -np.ones((1, 2), np.float32)})
    assert completeness(found) == (0, 0)
    assert found.problem


def test_copies_of_an_image_may_be_asked_for_different_places():
    network = classifier("Relu (c)")
    feeds = {"x": np.repeat(IMAGES[:1], 2, 0)}
    first, second = Averaged(network, layer="a", steps=3)(feeds, 2, [(1, 1), (6, 6)])
    assert (first.position, second.position) == ((1, 1), (6, 6))
    assert not np.array_equal(first.values, second.values)


@pytest.mark.parametrize("act", ["Relu (c)", "Tanh (c)"])
def test_expected_gradients_are_the_mean_over_baselines(act):
    """Erion et al. 2021: the expectation of integrated gradients, summing to the rise from their mean."""
    network = classifier(act)
    baselines = [BASELINE, np.zeros_like(BASELINE), IMAGES[2]]
    (found,) = Averaged(network, "expected-gradients", baselines=baselines, steps=120)({"x": IMAGES[:1]}, 1)
    each = [Averaged(network, baseline=b, steps=40)({"x": IMAGES[:1]}, 1)[0].values for b in baselines]
    np.testing.assert_allclose(found.values, np.mean(each, axis=0), rtol=1e-4, atol=1e-5)
    scores = network.run({"x": np.stack([IMAGES[0], *baselines])})["y"][:, 1]
    rise, gap = completeness(found)
    assert rise == pytest.approx(scores[0] - scores[1:].mean(), rel=1e-4)
    assert abs(gap) < 0.02 * np.abs(found.values).sum()


def test_baselines_by_name_are_what_the_intake_fills_with():
    network = classifier("Relu (c)")
    intake = Intake((8, 8), fill=lambda image, name: np.full_like(image, float(name)))
    named = Averaged(network, "expected-gradients", None, intake, baselines="0.5, -1", steps=8)
    flat = [np.full_like(BASELINE, 0.5), np.full_like(BASELINE, -1)]
    given = Averaged(network, "expected-gradients", baselines=flat, steps=8)
    np.testing.assert_array_equal(named({"x": IMAGES})[1].values, given({"x": IMAGES})[1].values)


def test_gradient_shap_draws_places_on_ways_to_noisy_images():
    network, baselines = classifier("Relu (c)"), [BASELINE, np.zeros_like(BASELINE)]
    (found,) = Averaged(network, "gradient-shap", baselines=baselines, steps=6)({"x": IMAGES[:1]}, 1)
    rng, size, total = np.random.default_rng(path.SEED), 0.15 * np.ptp(IMAGES[0]), 0
    for i in range(6):
        along = IMAGES[0] + size * rng.standard_normal((3, 8, 8), np.float32) - baselines[i % 2]
        at = (baselines[i % 2] + rng.random(dtype=np.float32) * along).astype(np.float32)
        total = total + twin(network, at, 1, [(1 / 6, at)]) * along
    np.testing.assert_allclose(found.values, total, rtol=1e-3, atol=1e-5)
