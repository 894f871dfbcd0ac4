"""Class activation maps against arrays: activations and gradients, put together by the formulas."""

import numpy as np
import onnxruntime
import pytest
from oracles.networks import parsed

from onnxlens.engine.attribution.explainer import Explainer
from onnxlens.engine.attribution.methods import METHODS
from onnxlens.engine.autodiff.gradient import gradient
from onnxlens.engine.runtime.network import Network

RNG = np.random.default_rng(11)
WEIGHTS = {
    "w1": RNG.standard_normal((6, 3, 3, 3)).astype(np.float32),
    "b1": RNG.standard_normal(6).astype(np.float32),
    "w2": RNG.standard_normal((5, 6, 8, 8)).astype(np.float32) / 10,
    "b2": RNG.standard_normal(5).astype(np.float32),
}
IMAGES = RNG.standard_normal((3, 3, 8, 8)).astype(np.float32)
CAMS = [m.name for m in METHODS.values() if m.family == "cam"]


def model(act: str = "Relu (c)", **weights: np.ndarray):
    """A convolution, an activation, and weights for each position: no two have the same gradient."""
    return parsed(
        f"""(float[N,3,8,8] x) => (float[N,5] y) {{
            c = Conv <pads = [1,1,1,1]> (x, w1, b1)
            a = {act}
            q = Mul (a, a)
            d = Conv (q, w2, b2)
            y = Flatten (d)
        }}""",
        **WEIGHTS | weights,
    )


def gradcam(a, g):
    return np.einsum("k,khw->hw", g.mean((1, 2)), a)


def layercam(a, g):
    return sum(np.maximum(g[k], 0) * a[k] for k in range(len(a)))


def hirescam(a, g):
    return (g * a).sum(0)


def gradcam_plus_plus(a, g):
    """As the paper writes it, with the powers of the gradient, in float64."""
    total = np.zeros(a.shape[1:])
    for k in range(len(a)):
        below = 2 * g[k] ** 2 + a[k].sum() * g[k] ** 3
        alpha = np.divide(g[k] ** 2, below, out=np.zeros_like(g[k]), where=below != 0)
        total += (alpha * np.maximum(g[k], 0)).sum() * a[k]
    return total


def xgradcam(a, g):
    return sum((g[k] * a[k]).sum() / (a[k].sum() or 1) * a[k] for k in range(len(a)))


FORMULAS = {
    "gradcam": gradcam,
    "layercam": layercam,
    "hirescam": hirescam,
    "gradcam++": gradcam_plus_plus,
    "xgradcam": xgradcam,
}


@pytest.mark.parametrize("act", ["Relu (c)", "Sigmoid (c)", "Identity (c)"])
@pytest.mark.parametrize("method", FORMULAS)
def test_a_map_is_its_formula(method, act):
    network, classes = Network(model(act), provider="cpu", threads=1), [4, 0, 2]
    training = onnxruntime.InferenceSession(gradient(model(act), wrt="a").SerializeToString())
    seed = np.eye(5, dtype=np.float32)[classes]
    activations = network.run({"x": IMAGES}, ["a"])["a"].astype(np.float64)
    (slopes,) = training.run(["grad/a"], {"x": IMAGES, "seed/y": seed})
    found = Explainer(network, method, "a")({"x": IMAGES}, classes)
    for e, a, g in zip(found, activations, slopes.astype(np.float64), strict=True):
        expected = np.maximum(FORMULAS[method](a, g), 0)
        np.testing.assert_allclose(e.map, expected, rtol=2e-4, atol=1e-4 * expected.max())


def test_every_map_of_the_table_has_its_formula_here():
    assert set(FORMULAS) == set(CAMS)


@pytest.mark.parametrize("method", CAMS)
def test_a_map_of_a_linear_head_on_means_is_the_plain_class_map(method):
    """There every position has the same gradient: all agree up to a factor where the head's weights are
    positive, and hirescam and layercam are Grad-CAM to the last factor (Draelos & Carin 2020).
    """
    head = {"v": np.abs(RNG.standard_normal((6, 5))).astype(np.float32)}
    pooled = parsed(
        """(float[N,3,8,8] x) => (float[N,5] y) {
            c = Conv <pads = [1,1,1,1]> (x, w1, b1)
            a = Relu (c)
            p = GlobalAveragePool (a)
            f = Flatten (p)
            y = MatMul (f, v)
        }""",
        w1=WEIGHTS["w1"],
        b1=WEIGHTS["b1"],
        **head,
    )
    network = Network(pooled, provider="cpu", threads=1)
    features = network.run({"x": IMAGES}, ["a"])["a"]
    (found,) = Explainer(network, method)({"x": IMAGES[:1]}, 3)
    plain = np.einsum("k,khw->hw", head["v"][:, 3], features[0]) / 64
    if method == "gradcam++":
        weight = head["v"][:, 3] / 64
        weight = 64 * weight / (2 + weight * features[0].sum((1, 2)))
        plain = np.einsum("k,khw->hw", weight, features[0])
    np.testing.assert_allclose(found.map, plain, rtol=1e-5)


def test_small_gradients_do_not_vanish_and_those_below_zero_divide_by_nothing():
    """Where 2 + G ΣA is 0 the gradient is negative; a score scaled by 1e-20 has powers below all floats."""
    flat = {"w1": np.zeros((6, 3, 3, 3), np.float32), "b1": np.full(6, 1 / 64, np.float32)}
    down = np.full((5, 6, 8, 8), -64, np.float32)  # G = 2 · w · a = -2, ΣA = 1
    network = Network(model(w2=down, **flat), provider="cpu", threads=1)
    (found,) = Explainer(network, "gradcam++", "a")({"x": IMAGES[:1]}, 0)
    assert not found.map.any()
    assert "nowhere does more of layer 'a' raise class 0" in found.problem
    tiny = Network(model(w2=WEIGHTS["w2"] * np.float32(1e-20)), provider="cpu", threads=1)
    (found,) = Explainer(tiny, "gradcam++", "a")({"x": IMAGES[:1]}, 0)
    assert found.problem == ""


@pytest.mark.parametrize(
    ("method", "sign", "text"),
    [
        ("gradcam", -1, "all of layer 'a' speaks against class 0"),
        ("hirescam", -1, "all of layer 'a' speaks against class 0"),
        (
            "layercam",
            -1,
            "nowhere does more of layer 'a' raise class 0: nothing to show; choose another class",
        ),
        ("gradcam++", -1, "nowhere does more of layer 'a' raise class 0"),
    ],
)
def test_a_blank_map_is_explained_in_the_terms_of_its_method(method, sign, text):
    network = Network(model(w2=sign * np.abs(WEIGHTS["w2"])), provider="cpu", threads=1)
    (found,) = Explainer(network, method, "a")({"x": IMAGES[:1]}, 0)
    assert not found.map.any()
    assert text in found.problem
