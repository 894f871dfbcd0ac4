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


def elementwisecam(a, g):
    return np.maximum(g * a, 0).sum(0)


def eigencam(a, g=None):
    """As pytorch-grad-cam: positions by channels, each channel less its mean; the sign as the mean's."""
    rows = a.reshape(len(a), -1).T
    rows = rows - rows.mean(0)
    found = (rows @ np.linalg.svd(rows)[2][0]).reshape(a.shape[1:])
    return found * (1 if (found * a.mean(0)).sum() >= 0 else -1)


FORMULAS = {
    "gradcam": gradcam,
    "layercam": layercam,
    "hirescam": hirescam,
    "gradcam++": gradcam_plus_plus,
    "xgradcam": xgradcam,
    "elementwisecam": elementwisecam,
    "eigencam": eigencam,
    "eigengradcam": lambda a, g: eigencam(g * a),
}
ELSEWHERE = {"cam", "finercam"}  # test_cams_of_heads.py


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
    assert {*FORMULAS} | ELSEWHERE == {*CAMS}


PRINCIPAL = "eigencam", "eigengradcam"  # of other maps than the plain one, or of no class at all


@pytest.mark.parametrize("method", [m for m in FORMULAS if m not in PRINCIPAL])
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
        ("elementwisecam", -1, "nowhere does layer 'a' add to class 0"),
    ],
)
def test_a_blank_map_is_explained_in_the_terms_of_its_method(method, sign, text):
    network = Network(model(w2=sign * np.abs(WEIGHTS["w2"])), provider="cpu", threads=1)
    (found,) = Explainer(network, method, "a")({"x": IMAGES[:1]}, 0)
    assert not found.map.any()
    assert text in found.problem


SIDES = {"fewer channels": (3, 5, 6), "fewer positions": (40, 4, 3), "as many": (12, 3, 4), "one": (1, 4, 4)}


@pytest.mark.parametrize("size", SIDES.values(), ids=SIDES)
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_a_principal_component_is_that_of_numpy_of_either_side(size, scale):
    channels, height, width = size
    identity = parsed(
        f"""(float[N,{channels},{height},{width}] x) => (float[N,2] y) {{
            a = Conv (x, one)
            p = GlobalAveragePool (a)
            f = Flatten (p)
            y = MatMul (f, v)
        }}""",
        one=np.eye(channels, dtype=np.float32)[:, :, None, None],
        v=np.ones((channels, 2), np.float32),
    )
    images = np.random.default_rng(5).standard_normal((3, *size)).astype(np.float32) * np.float32(scale)
    found = Explainer(Network(identity, provider="cpu", threads=1), "eigencam", "a")({"x": images}, 0)
    for e, image in zip(found, images.astype(np.float64), strict=True):
        expected = np.maximum(eigencam(image), 0)
        np.testing.assert_allclose(e.map, expected, atol=1e-4 * expected.max())


def test_a_principal_component_needs_no_known_size_and_near_ones_are_told_apart():
    """Two directions of lengths 1 and 0.995, in a layer of open size."""
    open_size = parsed(
        """(float[N,2,h,w] x) => (float[N,2] y) {
            a = Conv (x, one)
            p = GlobalAveragePool (a)
            f = Flatten (p)
            y = MatMul (f, v)
        }""",
        one=np.eye(2, dtype=np.float32)[:, :, None, None],
        v=np.ones((2, 2), np.float32),
    )
    waves = np.array([[1, 1, -1, -1], [1, -1, 1, -1]], np.float32).reshape(1, 2, 2, 2)
    image = waves * np.array([0.995, 1], np.float32).reshape(1, 2, 1, 1)
    (found,) = Explainer(Network(open_size, provider="cpu", threads=1), "eigencam", "a")({"x": image}, 0)
    np.testing.assert_allclose(np.abs(found.map), np.maximum(waves[0, 1], 0), atol=1e-4)


def test_what_is_the_same_everywhere_has_no_principal_component():
    flat = {"w1": np.zeros((6, 3, 3, 3), np.float32), "b1": np.ones(6, np.float32)}
    (found,) = Explainer(Network(model(**flat), provider="cpu"), "eigencam", "a")({"x": IMAGES[:1]}, 0)
    assert not found.map.any()
    assert "layer 'a' is the same everywhere" in found.problem
