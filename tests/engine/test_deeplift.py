"""DeepLIFT: against multipliers worked by hand, the sum that defines it, and Captum."""

import numpy as np
import pytest
from oracles.networks import parsed

from onnxlens.engine.attribution.averaged import Averaged
from onnxlens.engine.attribution.compiled import Intake
from onnxlens.engine.attribution.projector import Projector
from onnxlens.engine.errors import BadRequest, NoRule
from onnxlens.engine.runtime.network import Network

RNG = np.random.default_rng(71)
WEIGHTS = {
    "w1": RNG.standard_normal((6, 3, 3, 3)).astype(np.float32) / 2,
    "b1": RNG.standard_normal(6).astype(np.float32),
    "w2": RNG.standard_normal((6, 6)).astype(np.float32),
    "w3": RNG.standard_normal((6, 5)).astype(np.float32),
    "wide": RNG.standard_normal((1, 6, 8, 8)).astype(np.float32),
    "scale": RNG.standard_normal(6).astype(np.float32),
    "slope": np.full((6, 1, 1), 0.2, np.float32),
    "three": np.array(3, np.float32),
    "sixteenth": np.array(1 / 16, np.float32),
    "low": np.array(-0.5, np.float32),
    "high": np.array(0.7, np.float32),
    "axis": np.array([1]),
    "rows": np.array([0, 6, 64]),
    "back": np.array([0, 6, 8, 8]),
}
IMAGE, BASELINE = RNG.standard_normal((2, 3, 8, 8)).astype(np.float32)
IMAGE[:, :2] = BASELINE[:, :2]  # nothing differs here


def classifier(act: str, batch: object = "N") -> Network:
    """Convolution, what is to be tested (from c to a), means, and dense layers with a Tanh between."""
    model = parsed(
        f"""(float[{batch},3,8,8] x) => (float[{batch},5] y) {{
            c = Conv <pads = [1,1,1,1]> (x, w1, b1)
            {act}
            w = Mul (a, wide)
            m = GlobalAveragePool (w)
            f = Flatten (m)
            d = MatMul (f, w2)
            t = Tanh (d)
            y = MatMul (t, w3)
        }}""",
        20,
        **WEIGHTS,
    )
    return Network(model, provider="cpu", threads=1)


def compared(network, target=2, baseline=BASELINE, image=IMAGE):
    (found,) = Projector(network, "deeplift", baseline=baseline)({"x": image[None]}, target)
    return found


ATTENTION = """r = Reshape (c, rows)
    q = Transpose <perm = [0,2,1]> (r)
    l = MatMul (q, r)
    s = Mul (l, sixteenth)
    p = Softmax <axis = -1> (s)
    o = MatMul (p, q)
    u = Transpose <perm = [0,2,1]> (o)
    a = Reshape (u, back)"""
EXACT = [
    *(
        f"a = {name} (c)"
        for name in ("Relu", "Sigmoid", "Gelu", "HardSwish", "Mish", "Elu", "Abs", "Sin", "Exp")
    ),
    "a = LeakyRelu <alpha = 0.3> (c)",
    "a = Clip (c, low, high)",
    "a = PRelu (c, slope)",
    "a = Pow (c, three)",
    "e = Sigmoid (c)\n a = Mul (c, e)",
    "a = Mul (c, c)",
    "e = Exp (c)\n s = ReduceSum (e, axis)\n a = Div (e, s)",
    "r = ReduceL2 (c, axis)\n a = Div (c, r)",
    "a = Softmax <axis = 1> (c)",
    "a = LogSoftmax <axis = 2> (c)",
    "r = ReduceMax (c, axis)\n a = Sub (c, r)",
    "r = ReduceMin (c, axis)\n a = Sub (c, r)",
    "e = Neg (c)\n s = Tanh (c)\n a = Max (c, e, s)",
    "a = Min (c, high)",
    "a = MaxPool <kernel_shape = [3,3], pads = [1,1,1,1]> (c)",
    "a = InstanceNormalization (c, scale, b1)",
    "q = Transpose <perm = [0,2,3,1]> (c)\n l = LayerNormalization (q, scale, b1)\n"
    "a = Transpose <perm = [0,3,1,2]> (l)",
    ATTENTION,
]


@pytest.mark.parametrize("act", EXACT)
def test_it_sums_to_the_difference_of_the_scores(act):
    """Shrikumar et al. 2017, equation 1."""
    network = classifier(act)
    found = compared(network)
    y = network.run({"x": np.stack([IMAGE, BASELINE])})["y"][:, 2].astype(np.float64)
    said, size = found.extras["completeness"], float(np.abs(found.values).sum())
    assert said["rise"] == pytest.approx(y[0] - y[1], abs=1e-5 * size)
    assert said["sum"] == pytest.approx(said["rise"], abs=2e-5 * size)
    assert not found.values[:, :2].any()
    assert found.values[:, 2:].any()


@pytest.mark.parametrize("act", EXACT)
def test_from_a_baseline_that_is_near_it_is_the_gradient_times_the_difference(act):
    """Where nothing bends between the two, whatever is in the network."""
    network, near = classifier(act), IMAGE + np.float32(1e-3) * (BASELINE - IMAGE)
    (slope,) = Projector(network, "saliency")({"x": (IMAGE + near)[None] / 2}, 2)
    expected = slope.values * (IMAGE - near)
    found = compared(network, baseline=near).values
    assert np.linalg.norm(found - expected) < 0.02 * np.linalg.norm(expected)


def by_hand(image, baseline, target):
    """Multipliers, from the last layer to the first, of dense ones with a ReLU and a Sigmoid between."""
    w1 = WEIGHTS["w1"].reshape(6, 27)[:, :6].T.astype(np.float64)
    w2, w3 = WEIGHTS["w2"].astype(np.float64), WEIGHTS["w3"].astype(np.float64)
    values = []
    for x in (image, baseline):
        a = x @ w1
        b = np.maximum(a, 0)
        c = b @ w2
        values.append((a, b, c, 1 / (1 + np.exp(-c))))
    (a, b, c, d), (a0, b0, c0, d0) = values
    m = w3[:, target] * (d - d0) / (c - c0)
    m = (w2 @ m) * (b - b0) / (a - a0)
    return (w1 @ m) * (image - baseline)


def test_multipliers_worked_by_hand():
    model = parsed(
        """(float[N,6] x) => (float[N,5] y) {
            a = MatMul (x, first) b = Relu (a) c = MatMul (b, w2) d = Sigmoid (c) y = MatMul (d, w3) }""",
        first=WEIGHTS["w1"].reshape(6, 27)[:, :6].T.copy(),
        **{key: WEIGHTS[key] for key in ("w2", "w3")},
    )
    network = Network(model, provider="cpu", threads=1)
    image, baseline = RNG.standard_normal((2, 6)).astype(np.float32)
    for target in range(5):
        found = compared(network, target, baseline, image).values
        np.testing.assert_allclose(found, by_hand(image, baseline, target), rtol=1e-4, atol=1e-5)


def test_of_a_line_it_is_the_gradient_times_the_difference():
    network = Network(
        parsed("(float[N,6] x) => (float[N,5] y) { a = MatMul (x, w2) y = MatMul (a, w3) }",
               w2=WEIGHTS["w2"], w3=WEIGHTS["w3"]),
        provider="cpu", threads=1,
    )  # fmt: skip
    image, baseline = RNG.standard_normal((2, 6)).astype(np.float32)
    (slope,) = Projector(network, "saliency")({"x": image[None]}, 1)
    (straight,) = Averaged(network, baseline=baseline, steps=1)({"x": image[None]}, 1)
    found = compared(network, 1, baseline, image).values
    np.testing.assert_allclose(found, slope.values * (image - baseline), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found, straight.values, rtol=1e-4, atol=1e-5)


def test_compared_with_itself_nothing_is_left():
    found = compared(classifier("a = Relu (c)"), baseline=IMAGE)
    assert not found.values.any()
    assert found.extras["completeness"] == {"sum": 0, "rise": 0}


@pytest.mark.parametrize("batch", ["N", 2])
def test_images_of_a_batch_have_each_their_own_class_and_baseline(batch):
    network, one = classifier("a = Relu (c)", batch), classifier("a = Relu (c)")
    intake = Intake((8, 8), fill=lambda image, name: image * np.float32(name))
    images = np.stack([IMAGE, BASELINE])
    together = Projector(network, "deeplift", intake=intake, baseline="0.5")({"x": images}, [1, 4])
    for image, target, found in zip(images, (1, 4), together, strict=True):
        alone = compared(one, target, image * np.float32(0.5), image)
        np.testing.assert_allclose(found.values, alone.values, rtol=1e-4, atol=1e-6)
        assert found.extras["completeness"]["rise"] == pytest.approx(
            alone.extras["completeness"]["rise"], rel=1e-4, abs=1e-5
        )


def test_a_unit_of_a_layer_is_compared_with_itself_at_the_baseline():
    network = classifier("a = Relu (c)")
    (found,) = Projector(network, "deeplift", "a", baseline=BASELINE)({"x": IMAGE[None]}, 3, (4, 5))
    values = network.run({"x": np.stack([IMAGE, BASELINE])}, ["a"])["a"][:, 3, 4, 5]
    assert found.extras["completeness"]["rise"] == pytest.approx(values[0] - values[1], abs=1e-6)
    assert found.values.sum() == pytest.approx(values[0] - values[1], abs=1e-4)


def test_what_cannot_be_is_said():
    network = classifier("a = Relu (c)")
    with pytest.raises(BadRequest, match="compares with one baseline"):
        compared(network, baseline=np.stack([IMAGE, BASELINE]))
    with pytest.raises(BadRequest, match="is none for an image of"):
        compared(network, baseline=IMAGE[:2])
    loop = parsed(
        """(float[1,3,8,8] x) => (float[1,5] y) {
            c = Conv <pads = [1,1,1,1]> (x, w1, b1)
            a = Loop <body = step (int64 i, bool on, float[1,6,8,8] before)
                      => (bool still, float[1,6,8,8] after) { still = Identity (on) after = Sin (before) }>
                (times, , c)
            m = GlobalAveragePool (a)
            f = Flatten (m)
            y = MatMul (f, w3)
        }""",
        times=np.array(2),
        **{key: WEIGHTS[key] for key in ("w1", "b1", "w3")},
    )
    with pytest.raises(NoRule, match="no rule against a baseline inside a Loop"):
        compared(Network(loop, provider="cpu", threads=1))


@pytest.mark.reference
def test_agrees_with_captum():
    """Its DeepLift on the same weights. A linear layer lies between any two that bend: where they follow each
    other, its multipliers do not sum to the difference; and windows of a pool overlap nowhere.
    """
    torch = pytest.importorskip("torch")
    attr = pytest.importorskip("captum.attr")
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv2d(6, 4, 3, padding=1),
        torch.nn.MaxPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(64, 7),
        torch.nn.Sigmoid(),
        torch.nn.Linear(7, 5),
    ).eval()
    model = parsed(
        """(float[N,3,8,8] x) => (float[N,5] y) {
            a = Conv <pads = [1,1,1,1]> (x, w0, b0)
            b = Relu (a)
            c = Conv <pads = [1,1,1,1]> (b, w2, b2)
            d = MaxPool <kernel_shape = [2,2], strides = [2,2]> (c)
            e = Flatten (d)
            f = Gemm <transB = 1> (e, w5, b5)
            g = Sigmoid (f)
            y = Gemm <transB = 1> (g, w7, b7)
        }""",
        **{f"{n[2]}{n[0]}": value.detach().numpy() for n, value in net.named_parameters()},
    )
    for target in range(5):
        found = compared(Network(model, provider="cpu", threads=1), target).values
        given = [torch.tensor(v)[None] for v in (IMAGE, BASELINE)]
        expected = attr.DeepLift(net).attribute(*given, target=target).detach().numpy()[0]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
