"""Paths that are not straight: along blurs, and found on the way; against the formulas written out."""

from itertools import pairwise

import numpy as np
import pytest
from oracles.networks import parsed

from onnxlens.engine.attribution.averaged import Averaged
from onnxlens.engine.attribution.compiled import Intake
from onnxlens.engine.attribution.projector import Projector
from onnxlens.engine.errors import BadRequest
from onnxlens.engine.runtime.network import Network

RNG = np.random.default_rng(67)
WEIGHTS = {
    "w1": RNG.standard_normal((6, 3, 3, 3)).astype(np.float32),
    "b1": RNG.standard_normal(6).astype(np.float32),
    "w2": RNG.standard_normal((5, 6, 9, 8)).astype(np.float32) / 10,
    "b2": RNG.standard_normal(5).astype(np.float32),
}
IMAGE, BASELINE = RNG.standard_normal((2, 3, 9, 8)).astype(np.float32)


def classifier(act: str = "Tanh (c)", last: bool = False, batch: object = "N") -> Network:
    """Convolution, an activation, and a convolution as large as the map; the channels of x first or last."""
    x = "first = Transpose <perm = [0,3,1,2]> (x)" if last else "first = Identity (x)"
    model = parsed(
        f"""(float[{batch},{"9,8,3" if last else "3,9,8"}] x) => (float[{batch},5] y) {{
            {x}
            c = Conv <pads = [1,1,1,1]> (first, w1, b1)
            a = {act}
            d = Conv (a, w2, b2)
            y = Flatten (d)
        }}""",
        **WEIGHTS,
    )
    return Network(model, provider="cpu", threads=1)


def slope_of(network, target):
    look = Projector(network, "saliency")
    return lambda x: look({"x": x[None].astype(np.float32)}, target)[0].values.astype(np.float64)


def said(found):
    """The rise, and the sum of the map."""
    return found.extras["completeness"]["rise"], found.extras["completeness"]["sum"]


def blurred(x, spread):
    """A Gaussian over (3, 9, 8), mirrored at the border, by its definition."""
    reach = int(np.rint(spread * 4))
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * spread**2))
    weights /= weights.sum()
    for axis in (1, 2):
        wide = np.pad(x, [(reach, reach) if a == axis else (0, 0) for a in range(3)], "symmetric")
        x = np.apply_along_axis(lambda line: np.convolve(line, weights, "valid"), axis, wide)
    return x


def test_a_way_of_blurs_is_what_its_pieces_come_to():
    network, steps = classifier(), 6
    (found,) = Averaged(network, "blur-integrated", steps=steps, spread=0.25)({"x": IMAGE[None]}, 2)
    spreads = [2 * (i / steps) ** 2 for i in range(steps + 1)]  # a quarter of the shorter side
    images = [blurred(IMAGE, s) if s else IMAGE for s in spreads]
    slope = slope_of(network, 2)
    expected = sum(slope((b + a) / 2) * (a - b) for a, b in pairwise(images))
    np.testing.assert_allclose(found.values, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    scores = network.run({"x": np.stack([images[-1], IMAGE]).astype(np.float32)})["y"][:, 2]
    assert said(found)[0] == pytest.approx(scores[1] - scores[0], rel=1e-4)


def test_with_more_steps_it_sums_to_the_rise_from_the_blurred_photo():
    gaps = []
    for steps in (10, 200):
        (found,) = Averaged(classifier(), "blur-integrated", steps=steps)({"x": IMAGE[None]}, 1)
        rise, whole = said(found)
        gaps.append(abs(whole - rise) / np.abs(found.values).sum())
    assert gaps[1] < 1e-4 < gaps[0]
    (found,) = Averaged(classifier("Identity (c)"), "blur-integrated", steps=1)({"x": IMAGE[None]}, 1)
    assert said(found)[1] == pytest.approx(said(found)[0], rel=1e-4)  # a linear network


@pytest.mark.parametrize("method", ["blur-integrated", "guided-integrated"])
def test_channels_may_come_last(method):
    (first,) = Averaged(classifier(), method, steps=5)({"x": IMAGE[None]}, 3)
    turned = Averaged(classifier(last=True), method, intake=Intake((9, 8), last=True), steps=5)
    (last,) = turned({"x": np.moveaxis(IMAGE, 0, -1)[None]}, 3)
    np.testing.assert_allclose(np.moveaxis(last.values, -1, 0), first.values, rtol=1e-3, atol=1e-5)


def test_only_pictures_are_blurred():
    model = parsed("(float[N,4] x) => (float[N,4] y) { y = Relu (x) }")
    with pytest.raises(BadRequest, match=r"an input of \(4,\) is none"):
        Averaged(Network(model, provider="cpu", threads=1), "blur-integrated")(
            {"x": np.ones((1, 4), np.float32)}
        )


def guided(slope, steps, fraction, distance):
    """Algorithm 1 of Kapishnikov et al. 2021, number by number, by how far each is on its own way."""
    along, far = (IMAGE - BASELINE).astype(np.float64).ravel(), np.zeros(IMAGE.size)
    whole = np.zeros(IMAGE.size)
    for i in range(1, steps + 1):
        grad = slope((BASELINE + (far * along).reshape(IMAGE.shape)).astype(np.float32)).ravel()
        low, high = max(i / steps - distance, 0), min(i / steps + distance, 1)
        new = np.maximum(far, low)
        steep = [np.inf if at >= high else abs(g) for at, g in zip(new, grad, strict=True)]
        while (left := np.abs(along) @ (i / steps - new)) > 1e-9:
            bound = np.quantile(steep, fraction, method="lower")
            chosen = [k for k, s in enumerate(steep) if s <= bound and s < np.inf]
            share = min(1, left / sum(abs(along[k]) * (high - new[k]) for k in chosen))
            for k in chosen:
                new[k] += share * (high - new[k])
                steep[k] = np.inf
        whole += grad * along * (new - far)
        far = new
    return whole.reshape(IMAGE.shape)


@pytest.mark.parametrize(("fraction", "distance"), [(0.25, 0.1), (0.1, 0.02), (1, 0.3), (0.05, 1)])
def test_a_way_that_leaves_steep_places_for_the_end(fraction, distance):
    network, more = classifier("Sin (c)"), {"fraction": fraction, "distance": distance}
    (found,) = Averaged(network, "guided-integrated", baseline=BASELINE, steps=12, **more)(
        {"x": IMAGE[None]}, 2
    )
    expected = guided(slope_of(network, 2), 12, **more)
    np.testing.assert_allclose(found.values, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_held_to_the_straight_way_it_is_integrated_gradients():
    about = {"baseline": BASELINE, "steps": 9}
    (straight,) = Averaged(classifier(), "integrated", rule="riemann-left", **about)({"x": IMAGE[None]}, 2)
    (found,) = Averaged(classifier(), "guided-integrated", distance=0, **about)({"x": IMAGE[None]}, 2)
    np.testing.assert_allclose(found.values, straight.values, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("batch", ["N", 1, 2])
def test_a_found_way_ends_at_the_image(batch):
    """Of a linear network the sum is the rise only if all of every number's way is gone."""
    network = classifier("Identity (c)", batch=batch)
    feeds = {"x": np.stack([IMAGE] * 2)} if batch == 2 else {"x": IMAGE[None]}
    both = [BASELINE, np.zeros_like(IMAGE)]
    found = Averaged(network, "guided-integrated", baseline=both, steps=7)(feeds, 0)[-1]
    rise, whole = said(found)
    assert whole == pytest.approx(rise, rel=1e-4)


def test_from_the_image_itself_there_is_no_way():
    (found,) = Averaged(classifier(), "guided-integrated", baseline=IMAGE, steps=3)({"x": IMAGE[None]}, 0)
    assert not found.values.any()
    assert said(found) == (0, 0)
