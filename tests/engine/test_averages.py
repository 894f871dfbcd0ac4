"""Averages of the gradient: against closed forms, naive loops, and what integrated gradients must sum to."""

import numpy as np
import onnx
import pytest
from oracles.networks import parsed

from onnxlens.engine.attribution import averages
from onnxlens.engine.attribution.averages import Averaged
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


@pytest.mark.parametrize("baseline", [None, BASELINE])
def test_a_linear_network_has_a_closed_form_at_any_number_of_steps(baseline):
    network = classifier("Identity (c)")
    (slope,) = Projector(network, "saliency")({"x": IMAGES[:1]}, 3)
    (found,) = Averaged(network, baseline=baseline, steps=1)({"x": IMAGES[:1]}, 3)
    start = np.zeros_like(BASELINE) if baseline is None else baseline
    np.testing.assert_allclose(found.array, slope.array * (IMAGES[0] - start), rtol=1e-4, atol=1e-5)
    assert found.gap == pytest.approx(0, abs=1e-4)


def test_a_square_is_exact_with_one_step_and_a_fifth_power_with_three():
    for act, steps in (("Mul (c, c)", 1), ("Pow (c, five)", 3)):
        WEIGHTS["five"] = np.array(5, np.float32)
        (found,) = Averaged(classifier(act), baseline=BASELINE, steps=steps)({"x": IMAGES[:1]}, 2)
        assert found.rise is not None
        assert found.gap == pytest.approx(0, abs=2e-5 * abs(found.rise) + 1e-3)


@pytest.mark.parametrize("act", ["Relu (c)", "Tanh (c)"])
def test_it_sums_to_what_the_score_rises(act):
    network = classifier(act)
    for image in IMAGES:
        (found,) = Averaged(network, baseline=BASELINE, steps=200)({"x": image[None]}, 1)
        scores = network.run({"x": np.stack([BASELINE, image])})["y"][:, 1]
        assert found.rise == pytest.approx(scores[1] - scores[0], rel=1e-4)
        assert found.array.sum(dtype=np.float64) == pytest.approx(found.rise + found.gap, abs=1e-3)
        assert abs(found.gap) < 0.02 * np.abs(found.array).sum()


def twin(network, image, target, points):
    """One gradient after the other."""
    look = Projector(network, "saliency")
    return sum(w * look({"x": x[None]}, target)[0].array.astype(np.float64) for w, x in points)


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
        np.testing.assert_allclose(signal.array, expected, rtol=1e-4, atol=1e-5)


def test_noise_averages_gradients_around_the_image():
    network = classifier("Relu (c)")
    (found,) = Averaged(network, "smoothgrad", steps=7)({"x": IMAGES[:1]}, 0)
    rng = np.random.default_rng(averages.SEED)
    size = np.float32(0.15 * (IMAGES[0].max() - IMAGES[0].min()))
    points = [(1 / 7, IMAGES[0] + size * rng.standard_normal((3, 8, 8), np.float32)) for _ in range(7)]
    np.testing.assert_allclose(found.array, twin(network, IMAGES[0], 0, points), rtol=1e-4, atol=1e-6)
    assert (found.rise, found.gap) == (None, None)
    (again,) = Averaged(network, "smoothgrad", steps=7)({"x": IMAGES[:1]}, 0)
    np.testing.assert_array_equal(found.array, again.array)


def test_images_of_a_batch_are_each_looked_at_with_their_own_class():
    network = classifier("Relu (c)")
    look = Averaged(network, steps=5)
    together = look({"x": IMAGES})
    for image, signal in zip(IMAGES, together, strict=True):
        (alone,) = look({"x": image[None]})
        assert (alone.channel, alone.value) == (signal.channel, pytest.approx(signal.value, rel=1e-5))
        np.testing.assert_allclose(alone.array, signal.array, rtol=1e-4, atol=1e-6)
    scores = network.run({"x": IMAGES})["y"]
    assert [s.channel for s in together] == scores.argmax(1).tolist()


def test_a_unit_of_a_layer_keeps_its_place_on_the_way():
    network = classifier("Relu (c)")
    (found,) = Averaged(network, layer="a", baseline=BASELINE, steps=100)({"x": IMAGES[:1]}, 2)
    values = network.run({"x": np.stack([BASELINE, IMAGES[0]])}, ["a"])["a"][:, 2]
    y, x = found.position
    assert values[1].max() == values[1, y, x] == pytest.approx(found.value)
    assert found.rise == pytest.approx(values[1, y, x] - values[0, y, x], rel=1e-5)
    seen = np.zeros((8, 8), bool)
    seen[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2] = True
    assert not found.array[:, ~seen].any()


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
    for threads, held in ((3, averages.HELD), (3, 0), (1, averages.HELD)):
        monkeypatch.setattr(network, "threads", threads)
        monkeypatch.setattr(averages, "HELD", held)
        assert averages.shared_out(network)[0] == (3 if held and threads == 3 else 1)
        found.append(Averaged(network, steps=23)({"x": IMAGES[:1]})[0])
    assert found[0].array.any()
    for other in found[1:]:
        np.testing.assert_array_equal(other.array, found[0].array)
        assert (other.rise, other.gap) == (found[0].rise, found[0].gap)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"method": "integratd"}, "nearest: integrated"),
        ({"steps": 0}, "at least 1 step"),
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
    assert (found.rise, found.gap) == (0, 0)
    assert found.problem


def test_copies_of_an_image_may_be_asked_for_different_places():
    network = classifier("Relu (c)")
    feeds = {"x": np.repeat(IMAGES[:1], 2, 0)}
    first, second = Averaged(network, layer="a", steps=3)(feeds, 2, [(1, 1), (6, 6)])
    assert (first.position, second.position) == ((1, 1), (6, 6))
    assert not np.array_equal(first.array, second.array)
