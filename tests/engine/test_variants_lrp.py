"""Relevance propagation against a plain restatement of each rule, and what it must conserve."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from oracles.networks import parsed, run

from onnxlens.engine.autodiff.gradient import gradient
from onnxlens.engine.autodiff.variants import (
    TABLES,
    by_kind,
    composite,
    lrp_0,
    lrp_alpha_beta,
    lrp_epsilon,
    lrp_flat,
    lrp_gamma,
    lrp_general_gamma,
    lrp_w_square,
    lrp_z_box,
)
from onnxlens.models import embedded
from onnxlens.models.embedded.scenes import TEST_SEEDS, scene
from onnxlens.models.lens import Lens
from onnxlens.models.photos.photo import read_photo

RNG = np.random.default_rng(11)
LOW, HIGH = -2.0, 3.0


def relevance(model, x, rules, wrt="x", of="y"):
    """The relevance of a value for the largest score of each image; and the score."""
    made = gradient(model, of=of, wrt=wrt, rules=rules)
    (y,) = (
        v for k, v in run(made, {"x": x, f"seed/{of}": np.zeros(shape_of(made, of), "f")}).items() if k == of
    )
    seed = np.where(y == y.max(1, keepdims=True), y, 0)
    return run(made, {"x": x, f"seed/{of}": seed})[f"grad/{wrt}"], y.max(1)


def shape_of(made, of):
    (value,) = (v for v in made.graph.input if v.name == f"seed/{of}")
    return [d.dim_value for d in value.type.tensor_type.shape.dim]


def share(r, z):
    """R z / Σ z over the inputs: z is (inputs, outputs) and may hold a row for the bias."""
    total = z.sum(0)
    return z * np.divide(r, total, out=np.zeros_like(total), where=total != 0)


def naive(rule, x, w, b, r):
    """One layer, y = x w + b, from the formulas in the paper; x (inputs,), w (inputs, outputs)."""
    z = x[:, None] * w
    if rule == "0":
        return share(r, np.vstack([z, b]))[:-1].sum(1)
    if rule == "epsilon":
        y = z.sum(0) + b
        return (z * (r / (y + 0.1 * np.where(y < 0, -1, 1)))).sum(1)
    if rule == "gamma":
        z = x[:, None] * (w + 0.5 * w.clip(0))
        return share(r, np.vstack([z, b + 0.5 * b.clip(0)]))[:-1].sum(1)
    if rule == "general-gamma":
        y = z.sum(0) + b
        more = lambda v: v + 0.5 * np.where(y > 0, v.clip(0), v.clip(None, 0))
        return share(r, np.vstack([more(z), more(b)]))[:-1].sum(1)
    if rule == "alpha-beta":
        for_ = share(r, np.vstack([z.clip(0), b.clip(0)]))[:-1].sum(1)
        against = share(r, np.vstack([z.clip(None, 0), b.clip(None, 0)]))[:-1].sum(1)
        return 2 * for_ - against
    if rule == "z-box":
        return share(r, z - LOW * w.clip(0) - HIGH * w.clip(None, 0)).sum(1)
    if rule == "flat":  # what no window holds, the zeros of a matrix, has no share
        return share(r, (abs(w) > 1e-5).astype(float)).sum(1)
    return share(r, w**2).sum(1)


RULES = {
    "0": lrp_0(),
    "epsilon": lrp_epsilon(0.1),
    "gamma": lrp_gamma(0.5),
    "general-gamma": lrp_general_gamma(0.5),
    "alpha-beta": lrp_alpha_beta(2, 1),
    "z-box": lrp_z_box(LOW, HIGH),
    "w-square": lrp_w_square(),
    "flat": lrp_flat(),
}


def dense_net(bias=True):
    w1, w2 = RNG.standard_normal((5, 7)), RNG.standard_normal((7, 3))
    b1, b2 = RNG.standard_normal(7) * bias, RNG.standard_normal(3) * bias
    body = """(float[1,5] x) => (float[1,3] y) {
        a = Gemm (x, w1, b1) h = Relu (a) y = Gemm (h, w2, b2)
    }"""
    return parsed(body, w1=w1, w2=w2, b1=b1, b2=b2), (w1, b1, w2, b2)


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_on_a_dense_net(rule):
    model, (w1, b1, w2, b2) = dense_net()
    for x in RNG.uniform(LOW, HIGH, (5, 5)):
        h = (x @ w1 + b1).clip(0)
        y = h @ w2 + b2
        r = naive(rule, h, w2, b2, np.where(y == y.max(), y, 0))
        found, _ = relevance(model, x[None].astype("f"), RULES[rule])
        np.testing.assert_allclose(found[0], naive(rule, x, w1, b1, r), rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_on_a_convolution(rule):
    """A convolution is a matrix: it is read off by running it on unit pictures."""
    w, b = RNG.standard_normal((3, 2, 3, 3)), RNG.standard_normal(3)
    model = parsed(
        """(float[1,2,5,5] x) => (float[1,27] y) {
            c = Conv <pads = [1,1,1,1], strides = [2,2]> (x, w, b) y = Flatten (c)
        }""",
        w=w,
        b=b,
    )
    x = RNG.uniform(LOW, HIGH, (1, 2, 5, 5)).astype("f")
    bias = np.repeat(b, 9)
    units = np.eye(50, dtype="f").reshape(50, 1, 2, 5, 5)
    matrix = np.stack([run(model, {"x": u})["y"][0] for u in units]) - bias
    y = x.ravel() @ matrix + bias
    expected = naive(rule, x.ravel(), matrix, bias, np.where(y == y.max(), y, 0))
    found, _ = relevance(model, x, RULES[rule])
    np.testing.assert_allclose(found.ravel(), expected, rtol=2e-3, atol=2e-4)


CONV_NET = """(float[1,3,12,12] x) => (float[1,4] y) {
    a = Conv <pads = [1,1,1,1]> (x, w1) r = Relu (a)
    p = MaxPool <kernel_shape = [2,2], strides = [2,2]> (r)
    c = Conv <pads = [1,1,1,1]> (p, w2) q = Relu (c)
    d = Conv (p, w3) j = Concat <axis = 1> (q, d) k = Add (j, j)
    v = AveragePool <kernel_shape = [2,2], strides = [2,2]> (k)
    g = GlobalAveragePool (v) f = Flatten (g) y = MatMul (f, w4)
}"""


def conv_net():
    normal = RNG.standard_normal
    return parsed(
        CONV_NET,
        w1=normal((6, 3, 3, 3)),
        w2=normal((5, 6, 3, 3)),
        w3=normal((2, 6, 1, 1)),
        w4=normal((7, 4)),
    )


CONSERVING = {
    "0": lrp_0(),
    "epsilon": lrp_epsilon(1e-7),
    "gamma": lrp_gamma(),
    "general-gamma": lrp_general_gamma(),
    "z-box": composite(lrp_z_box(LOW, HIGH), lrp_gamma(), lrp_epsilon(1e-7)),
    "w-square": composite(lrp_w_square(), lrp_0(), lrp_0()),
    "epsilon-plus": "lrp-epsilon-plus",
    "epsilon-plus-flat": "lrp-epsilon-plus-flat",
}


@pytest.mark.parametrize("rule", CONSERVING)
@pytest.mark.parametrize("wrt", ["x", "r", "p", "k", "f"])
def test_without_biases_the_score_is_conserved_at_each_layer(rule, wrt):
    x = RNG.uniform(LOW, HIGH, (1, 3, 12, 12)).astype("f")
    found, score = relevance(conv_net(), x, CONSERVING[rule], wrt=wrt)
    np.testing.assert_allclose(found.sum(), score[0], rtol=5e-3)


def test_lrp_0_of_a_relu_net_without_biases_is_gradient_times_input():
    model = conv_net()
    x = RNG.standard_normal((1, 3, 12, 12)).astype("f")
    found, _ = relevance(model, x, "lrp-0")
    made = gradient(model)
    y = run(model, {"x": x})["y"]
    grad = run(made, {"x": x, "seed/y": (y == y.max()).astype("f")})["grad/x"]
    np.testing.assert_allclose(found, grad * x, rtol=1e-2, atol=1e-3 * np.abs(found).max())


def test_a_box_gives_no_negative_relevance():
    x = RNG.uniform(LOW, HIGH, (1, 3, 12, 12)).astype("f")
    table = composite(lrp_z_box(LOW, HIGH), lrp_alpha_beta(1, 0), lrp_alpha_beta(1, 0))
    found, score = relevance(conv_net(), x, table)
    found = found * np.sign(score)
    assert found.min() >= -1e-5 * found.max()
    assert found.max() > 0


def test_alpha_and_beta_must_conserve():
    with pytest.raises(ValueError, match="conserved where it is 1"):
        lrp_alpha_beta(2, 2)


def test_a_composite_puts_each_rule_in_its_place():
    model, (w1, b1, w2, b2) = dense_net()
    x = RNG.uniform(LOW, HIGH, 5)
    h = (x @ w1 + b1).clip(0)
    y = h @ w2 + b2
    r = naive("epsilon", h, w2, b2, np.where(y == y.max(), y, 0))
    table = composite(RULES["z-box"], RULES["gamma"], RULES["epsilon"])
    found, _ = relevance(model, x[None].astype("f"), table)
    np.testing.assert_allclose(found[0], naive("z-box", x, w1, b1, r), rtol=2e-3, atol=2e-4)


@pytest.mark.reference
@pytest.mark.parametrize(
    ("name", "theirs"),
    [
        ("epsilon-plus", "EpsilonPlus"),
        ("epsilon-plus-flat", "EpsilonPlusFlat"),
        ("epsilon-alpha2-beta1", "EpsilonAlpha2Beta1"),
        ("epsilon-alpha2-beta1-flat", "EpsilonAlpha2Beta1Flat"),
    ],
)
def test_composites_agree_with_those_of_zennit(name, theirs):
    torch = pytest.importorskip("torch")
    composites = pytest.importorskip("zennit.composites")
    torch.manual_seed(1)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(6, 6, 3, stride=2, padding=1),
        torch.nn.ReLU(),
        torch.nn.AvgPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(54, 8),
        torch.nn.ReLU(),
        torch.nn.Linear(8, 4),
    )
    model = parsed(
        """(float[1,3,12,12] x) => (float[1,4] y) {
            a = Conv <pads = [1,1,1,1]> (x, w0, b0) b = Relu (a)
            c = Conv <pads = [1,1,1,1], strides = [2,2]> (b, w2, b2) d = Relu (c)
            e = AveragePool <kernel_shape = [2,2], strides = [2,2]> (d) f = Flatten (e)
            g = Gemm <transB = 1> (f, w6, b6) h = Relu (g)
            y = Gemm <transB = 1> (h, w8, b8)
        }""",
        **{f"{n[2]}{n[0]}": value.detach().numpy() for n, value in net.named_parameters()},
    )
    x = RNG.standard_normal((1, 3, 12, 12)).astype("f")
    found, _ = relevance(model, x, f"lrp-{name}")
    given = torch.tensor(x, requires_grad=True)
    with getattr(composites, theirs)(epsilon=1e-6, stabilizer=1e-12).context(net) as hooked:
        y = hooked(given)
        (expected,) = torch.autograd.grad(y, given, torch.where(y == y.max(), y.detach(), 0))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * expected.abs().max().item())


def test_kinds_of_layers_have_each_their_rule():
    """A convolution of one pixel over one channel each is a product with a diagonal matrix."""
    w1, w2, b2 = RNG.standard_normal(5), RNG.standard_normal((5, 3)), RNG.standard_normal(3)
    model = parsed(
        """(float[1,5,1,1] x) => (float[1,3] y) {
            c = Conv <group = 5> (x, w1) f = Flatten (c) y = Gemm (f, w2, b2) }""",
        w1=w1.reshape(5, 1, 1, 1), w2=w2, b2=b2,
    )  # fmt: skip
    x = RNG.uniform(LOW, HIGH, 5)
    h = x * w1
    y = h @ w2 + b2
    r = naive("epsilon", h, w2, b2, np.where(y == y.max(), y, 0))
    found, _ = relevance(
        model, x.reshape(1, 5, 1, 1).astype("f"), by_kind(RULES["epsilon"], RULES["alpha-beta"])
    )
    np.testing.assert_allclose(
        found.ravel(), naive("alpha-beta", x, np.diag(w1), np.zeros(5), r), rtol=2e-3, atol=2e-4
    )


def test_a_product_of_two_values_is_shared_alike():
    model = parsed("(float[1,3] x) => (float[1,3] y) { s = Sigmoid (x) y = Mul (x, s) }")
    x = np.array([[1.0, -2, 3]], "f")
    found, score = relevance(model, x, "lrp-0")
    np.testing.assert_allclose(found, [[0, 0, score[0]]], rtol=1e-5)


@pytest.mark.parametrize("operator", ["Sin", "Tan", "Atan", "Sinh", "Sign", "Softsign", "Erf", "Gelu"])
def test_whatever_works_on_elements_hands_relevance_on(operator):
    model = parsed(f"(float[3] x) => (float[3] y) {{ y = {operator} (x) }}", opset=20)
    x, seed = np.array([0.5, -1, 0.3], np.float32), np.array([1, 2, 3], np.float32)
    found = run(gradient(model, of="y", rules="lrp-epsilon"), {"x": x, "seed/y": seed})["grad/x"]
    np.testing.assert_array_equal(found, seed)


def test_a_sum_of_blocks_is_shared_by_what_each_adds():
    """Col2Im adds up overlapping blocks: its relevance is conserved, as that of any sum."""
    model = parsed(
        "(float[1,4,9] x) => (float[1,1,4,4] y) { y = Col2Im (x, size, block) }",
        size=np.array([4, 4]),
        block=np.array([2, 2]),
    )
    x = np.random.default_rng(0).uniform(0.1, 1, (1, 4, 9)).astype(np.float32)
    seed = np.random.default_rng(1).uniform(0.1, 1, (1, 1, 4, 4)).astype(np.float32)
    found = run(gradient(model, of="y", rules="lrp-0"), {"x": x, "seed/y": seed})["grad/x"]
    assert found.sum() == pytest.approx(seed.sum(), rel=1e-5)


def test_redirected_thresholds_push_below_their_own():
    model = parsed("(float[1,3] x) => (float[1,3] y) { y = ThresholdedRelu <alpha = 1.0> (x) }")
    x, seed = np.array([[0.5, 0.9, -1]], np.float32), np.array([[1, -1, 2]], np.float32)
    found = run(gradient(model, of="y", rules="redirected"), {"x": x, "seed/y": seed})["grad/x"]
    np.testing.assert_array_equal(found, [[1, 0, 2]])


def test_redirected_relu_starts_from_dead_units():
    model = parsed(
        "(float[2,3] x) => (float[2,1] y) { h = Relu (x) y = MatMul (h, c) }", c=[[3.0], [-5], [7]]
    )
    x = np.array([[-1, -1, -1], [-1, 2, -1]], "f")
    found = run(gradient(model, rules="redirected"), {"x": x, "seed/y": np.ones((2, 1), "f")})["grad/x"]
    np.testing.assert_array_equal(found, [[3, 0, 7], [0, -5, 0]])  # the second image is not all dead


def test_redirected_clip_pushes_towards_its_ramp():
    model = parsed(
        "(float[1,4] x) => (float[1,1] y) { h = Clip (x, low, high) y = MatMul (h, c) }",
        c=[[3.0], [-5], [7], [-11]],
        low=np.array(0.0),
        high=np.array(6.0),
    )
    x = np.array([[-1, -1, 8, 8]], "f")
    found = run(gradient(model, rules="redirected"), {"x": x, "seed/y": np.ones((1, 1), "f")})["grad/x"]
    np.testing.assert_array_equal(found, [[3, 0, 0, -11]])


@pytest.mark.parametrize("operator", ["Floor", "Ceil", "Round", "Sign"])
def test_straight_through_takes_steps_for_the_identity(operator):
    model = parsed(
        f"(float[1,2] x) => (float[1,1] y) {{ h = {operator} (x) y = MatMul (h, c) }}", c=[[3.0], [-5]]
    )
    feeds = {"x": np.array([[0.4, 2.7]], "f"), "seed/y": np.ones((1, 1), "f")}
    np.testing.assert_array_equal(run(gradient(model), feeds)["grad/x"], [[0, 0]])
    np.testing.assert_array_equal(run(gradient(model, rules="straight-through"), feeds)["grad/x"], [[3, -5]])


@pytest.mark.parametrize("rules", ["lrp-epsilon", "lrp-composite"])
def test_relevance_of_drawn_scenes_lies_on_the_object(rules):
    """The share of positive relevance on the object is well above the object's share of the picture."""
    lens = Lens("scenes")
    model = onnx.load(embedded.path())
    made = gradient(model, rules=rules)
    gains = []
    for seed in TEST_SEEDS[:8]:
        drawn = scene(seed)
        x, _ = lens.preprocess(drawn.image)
        feeds = {"image": x, "seed/head": np.zeros((1, 12), "f")}
        logits = lens.network.run({"image": x}, ["head"])["head"]
        feeds["seed/head"] = np.where(logits == logits.max(), logits, 0)
        found = run(made, feeds)["grad/image"][0].sum(0).clip(0)
        gains.append(found[drawn.mask].sum() / found.sum() / drawn.mask.mean())
    assert np.median(gains) > 1.5, gains


@pytest.mark.parametrize("rules", TABLES)
def test_every_table_works_on_the_embedded_model(rules):
    made = gradient(onnx.load(embedded.path()), rules=rules)
    x = RNG.standard_normal((1, 3, 96, 96)).astype("f")
    found = run(made, {"image": x, "seed/head": np.eye(12, dtype="f")[:1]})["grad/image"]
    assert np.isfinite(found).all()
    assert found.any()


@pytest.mark.skipif("ONNXLENS_TEST_DATA" not in os.environ, reason="ONNXLENS_TEST_DATA is not set")
def test_relevance_of_squeezenet():
    """Fire modules join two branches; the head is a convolution, which the composite tells from the rest."""
    folder = Path(os.environ["ONNXLENS_TEST_DATA"])
    lens = Lens(folder / "models/squeezenet1.1-caffe2-fp16.onnx", preset="imagenet")
    made = gradient(lens.path, rules="lrp-composite")
    x, _ = lens.preprocess(read_photo(folder / "photos/hummingbird.jpg"))
    (name,) = (v.name.removeprefix("seed/") for v in made.graph.input if v.name.startswith("seed/"))
    logits = lens.network.run({lens.input: x}, [name])[name]
    seed = np.where(logits == logits.max(), logits, 0)
    x = x.astype(lens.network.inputs[lens.input].dtype)  # the model is of 16-bit floats
    found = run(made, {lens.input: x, f"seed/{name}": seed})[f"grad/{lens.input}"]
    assert np.isfinite(found).all()
    assert found.sum() > 0.1 * logits.max()
