"""From a unit back to the pixels: against two other ways to compute it, and what must hold anywhere."""

import numpy as np
import pytest
from oracles.networks import parsed
from oracles.toys import colours

from onnxlens.engine.attribution.methods import METHODS
from onnxlens.engine.attribution.projector import Projector
from onnxlens.engine.errors import BadRequest
from onnxlens.engine.runtime.network import Network

RNG = np.random.default_rng(41)
WEIGHTS = {
    "w1": RNG.standard_normal((4, 3, 3, 3)).astype(np.float32),
    "b1": RNG.standard_normal(4).astype(np.float32),
    "w2": RNG.standard_normal((5, 4, 3, 3)).astype(np.float32),
    "b2": RNG.standard_normal(5).astype(np.float32),
}
IMAGES = RNG.standard_normal((2, 3, 12, 12)).astype(np.float32)
LRN = {"alpha": 0.05, "beta": 0.75, "bias": 1.0, "size": 3}


def stack(rectified: bool = True) -> Network:
    """conv -> ReLU -> overlapping max pool -> contrast normalisation -> conv -> ReLU; or without ReLU."""
    relu = "Relu" if rectified else "Identity"
    model = parsed(
        f"""(float[N,3,12,12] x) => (float[N,5,4,4] out) {{
            c1 = Conv <pads = [1,1,1,1]> (x, w1, b1)
            r1 = {relu} (c1)
            m = MaxPool <kernel_shape = [3,3], strides = [2,2], pads = [0,0,1,1]> (r1)
            n = LRN <alpha = 0.05, beta = 0.75, bias = 1.0, size = 3> (m)
            c2 = Conv (n, w2, b2)
            out = {relu} (c2)
        }}""",
        **WEIGHTS,
    )
    return Network(model, provider="cpu", threads=1)


# -- the deconvnet in loops: unpool, rectify, filter, as Zeiler & Fergus put it ------------------------------


def conv(x, w, b, pad):
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    k, size = w.shape[2], x.shape[1] - w.shape[2] + 1
    return np.array(
        [
            [[(x[:, i : i + k, j : j + k] * f).sum() + c for j in range(size)] for i in range(size)]
            for f, c in zip(w, b, strict=True)
        ]
    )


def filtered(signal, w, pad):
    """Every value lays its filter, times itself, below it."""
    k, size = w.shape[2], signal.shape[1] + w.shape[2] - 1
    out = np.zeros((w.shape[1], size, size))
    for c, i, j in np.ndindex(*signal.shape):
        out[:, i : i + k, j : j + k] += signal[c, i, j] * w[c]
    return out[:, pad : size - pad, pad : size - pad]


def pooled(x):
    """Maxima of 3x3 windows, 2 apart, and where they were."""
    out, switches = np.zeros((len(x), 6, 6)), {}
    for c, i, j in np.ndindex(*out.shape):
        window = x[c, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
        y, z = np.unravel_index(window.argmax(), window.shape)
        out[c, i, j], switches[c, i, j] = window.max(), (c, 2 * i + y, 2 * j + z)
    return out, switches


def normalised(x):
    half = LRN["size"] // 2
    squares = np.array([(x[max(c - half, 0) : c + half + 1] ** 2).sum(0) for c in range(len(x))])
    return x / (LRN["bias"] + LRN["alpha"] / LRN["size"] * squares) ** LRN["beta"]


def deconvnet(image, channel, position):
    r1 = np.maximum(conv(image, WEIGHTS["w1"], WEIGHTS["b1"], 1), 0)
    m, switches = pooled(r1)
    out = np.maximum(conv(normalised(m), WEIGHTS["w2"], WEIGHTS["b2"], 0), 0)
    signal = np.zeros_like(out)
    signal[channel][position] = out[channel][position]
    signal = filtered(np.maximum(signal, 0), WEIGHTS["w2"], 0)
    unpooled = np.zeros_like(r1)
    for place, switch in switches.items():
        unpooled[switch] += signal[place]
    return filtered(np.maximum(unpooled, 0), WEIGHTS["w1"], 1)


@pytest.mark.parametrize("channel", range(5))
def test_deconvnet_against_loops(channel):
    signals = Projector(stack(), "deconvnet", "out")({"x": IMAGES}, channel)
    for signal, image in zip(signals, IMAGES, strict=True):
        expected = deconvnet(image, channel, signal.position)
        np.testing.assert_allclose(signal.values, expected, rtol=1e-4, atol=1e-4)


# -- PyTorch's autograd with hooks, the way others do it -----------------------------------------------------


@pytest.mark.reference
@pytest.mark.parametrize("method", ["saliency", "guided", "deconvnet"])
def test_against_hooks_on_modules(method):
    torch = pytest.importorskip("torch")
    nn = torch.nn
    gates = {
        "saliency": lambda module, below, above: None,
        "guided": lambda module, below, above: (below[0].clamp(min=0),),
        "deconvnet": lambda module, below, above: (above[0].clamp(min=0),),
    }
    layers = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.LocalResponseNorm(LRN["size"], LRN["alpha"], LRN["beta"], LRN["bias"]),
        nn.Conv2d(4, 5, 3),
        nn.ReLU(),
    )
    for layer, k in ((0, 1), (4, 2)):
        layers[layer].weight.data = torch.tensor(WEIGHTS[f"w{k}"])
        layers[layer].bias.data = torch.tensor(WEIGHTS[f"b{k}"])
    for layer in (1, 5):
        layers[layer].register_full_backward_hook(gates[method])
    if method == "deconvnet":
        layers[3].register_full_backward_hook(lambda module, below, above: above)
    for channel in range(5):
        x = torch.tensor(IMAGES, requires_grad=True)
        peaks = layers(x)[:, channel].flatten(1).max(1).values
        peaks.backward(peaks.detach() if method == "deconvnet" else torch.ones_like(peaks))
        for signal, expected in zip(
            Projector(stack(), method, "out")({"x": IMAGES}, channel), x.grad.numpy(), strict=True
        ):
            np.testing.assert_allclose(signal.values, expected, rtol=1e-4, atol=1e-4)


# -- what must hold ------------------------------------------------------------------------------------------


def test_without_a_relu_guided_is_the_gradient():
    gradient, guided = (Projector(stack(False), m, "out")({"x": IMAGES})[0] for m in ("saliency", "guided"))
    np.testing.assert_array_equal(gradient.values, guided.values)
    assert gradient.values.any()


def test_a_deconvnet_below_all_gates_is_the_filter_times_the_activation():
    found = Projector(stack(), "deconvnet", "r1")({"x": IMAGES}, 2, (5, 6))[0]
    expected = np.zeros_like(IMAGES[0])
    expected[:, 4:7, 5:8] = found.score * WEIGHTS["w1"][2]
    np.testing.assert_allclose(found.values, expected, rtol=1e-5)


@pytest.mark.parametrize("method", ["saliency", "guided", "deconvnet"])
def test_of_several_that_are_as_strong_one_alone_is_taken(method):
    """On a constant image every position of the map has the same value."""
    model = parsed(
        "(float[1,1,4,4] x) => (float[1,2,4,4] y) { c = Conv (x, w) y = Relu (c) }",
        w=np.array([2, 2], np.float32).reshape(2, 1, 1, 1),
    )
    signals = Projector(Network(model, provider="cpu"), method, "y")({"x": np.ones((1, 1, 4, 4))})
    assert (signals[0].target, signals[0].position) == (0, (0, 0))
    assert np.flatnonzero(signals[0].values).tolist() == [0]


def test_input_x_gradient_of_a_network_without_biases_adds_up_to_the_score():
    model = parsed(
        """(float[N,1,6,6] x) => (float[N,3] s) {
            c = Conv (x, w) r = Relu (c) m = MaxPool <kernel_shape = [2,2]> (r) f = Flatten (m)
            s = MatMul (f, h)
        }""",
        w=RNG.standard_normal((4, 1, 3, 3)).astype(np.float32),
        h=RNG.standard_normal((36, 3)).astype(np.float32),
    )
    network, x = Network(model, provider="cpu"), RNG.standard_normal((3, 1, 6, 6)).astype(np.float32)
    for method in ("input-x-gradient", "lrp"):
        for signal in Projector(network, method)({"x": x}):
            np.testing.assert_allclose(signal.values.sum(), signal.score, rtol=1e-3)


@pytest.mark.parametrize("method", [m.name for m in METHODS.values() if m.family == "backward"])
def test_channels_last_and_16_bits_are_the_same_network(method):
    x = np.random.default_rng(3).random((2, 3, 32, 32)).astype(np.float32)
    plain = Projector(Network(colours(), provider="cpu"), method, "relu")({"image": x}, 1)
    last = Projector(Network(colours(layout="nhwc"), provider="cpu"), method, "relu")
    half = Projector(Network(colours(half=True), provider="cpu"), method, "relu")
    for one, two, three in zip(
        plain,
        last({"image": x.transpose(0, 2, 3, 1)}, 1, [s.position for s in plain]),
        half({"image": x.astype(np.float16)}, 1, [s.position for s in plain]),
        strict=True,
    ):
        np.testing.assert_allclose(two.values, one.values.transpose(1, 2, 0), rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(three.values, one.values, rtol=2e-2, atol=1e-3)
        assert three.values.dtype == np.float32


def test_a_map_with_its_channels_last():
    """What a network from TensorFlow holds between its Transposes."""
    model = parsed(
        """(float[N,3,8,8] x) => (float[N,4] s) {
            c = Conv (x, w) r = Relu (c)
            t = Transpose <perm = [0,2,3,1]> (r) u = Transpose <perm = [0,3,1,2]> (t)
            g = GlobalAveragePool (u) s = Flatten (g)
        }""",
        w=RNG.standard_normal((4, 3, 3, 3)).astype(np.float32),
    )
    network, x = Network(model, provider="cpu"), RNG.standard_normal((2, 3, 8, 8)).astype(np.float32)
    first, last = (Projector(network, "deconvnet", name)({"x": x}, 2) for name in ("r", "t"))
    for one, two in zip(first, last, strict=True):
        assert one.position == two.position
        np.testing.assert_array_equal(one.values, two.values)


def test_a_token_of_a_transformer_is_a_patch_of_the_image():
    """Before tokens are mixed, what comes back from one lies on its own patch, and nowhere else."""
    model = parsed(
        """(float[N,3,8,8] x) => (float[N,5] s) {
            c = Conv <strides = [2,2]> (x, w)
            flat = Reshape (c, rows)
            patches = Transpose <perm = [0,2,1]> (flat)
            tokens = LayerNormalization (patches, ln)
            k = Transpose <perm = [0,2,1]> (tokens)
            qk = MatMul (tokens, k)
            p = Softmax (qk)
            mixed = MatMul (p, tokens)
            own = ReduceMean <keepdims = 0> (mixed, one)
            s = MatMul (own, h)
        }""",
        w=RNG.standard_normal((4, 3, 2, 2)),
        rows=np.array([0, 0, -1]),
        ln=np.ones(4),
        one=np.array([1]),
        h=RNG.standard_normal((4, 5)),
    )
    network, x = Network(model, provider="cpu"), RNG.standard_normal((2, 3, 8, 8)).astype(np.float32)
    for signal in Projector(network, "saliency", "tokens")({"x": x}, 3, (1, 2)):
        reached = np.argwhere(signal.values.any(axis=0))
        assert reached.min(0).tolist() == [2, 4]
        assert reached.max(0).tolist() == [3, 5]
    assert Projector(network, "guided")({"x": x})[0].problem == ""


def test_a_dense_layer_is_a_map_of_one_pixel():
    model = parsed(
        """(float[N,1,2,2] x) => (float[N,2] s) {
            f = Flatten (x) h = MatMul (f, w) r = Relu (h) s = MatMul (r, v)
        }""",
        w=np.arange(12, dtype=np.float32).reshape(4, 3),
        v=np.ones((3, 2), np.float32),
    )
    (signal,) = Projector(Network(model, provider="cpu"), "saliency", "r")({"x": np.ones((1, 1, 2, 2))}, 1)
    np.testing.assert_array_equal(signal.values, [[[1, 4], [7, 10]]])
    assert signal.position == (0, 0)


def test_what_does_not_answer_says_so():
    model = parsed(
        "(float[1,1,4,4] x) => (float[1,1,4,4] y) { c = Conv (x, w) y = Relu (c) }",
        w=-np.ones((1, 1, 1, 1), np.float32),
    )
    projector = Projector(Network(model, provider="cpu"), "deconvnet", "y")
    assert "nothing that it answers to" in projector({"x": np.ones((1, 1, 4, 4))})[0].problem
    assert "not finite" in projector({"x": np.full((1, 1, 4, 4), np.nan)})[0].problem
    assert projector({"x": -np.ones((1, 1, 4, 4))})[0].problem == ""


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((5,), "no channel 5: layer 'out' has channels 0 to 4"),
        ((-2,), "no channel -2"),
        ((0, (4, 0)), "position 4,0 is outside layer 'out': its rows are 0 to 3, its columns 0 to 3"),
        ((0, (0, -1)), "position 0,-1 is outside"),
    ],
)
def test_units_that_are_not_there(arguments, text):
    with pytest.raises(BadRequest, match=text):
        Projector(stack(), "deconvnet", "out")({"x": IMAGES}, *arguments)


def test_names_that_are_not_there():
    with pytest.raises(BadRequest, match="no method 'deconv'; nearest: deconvnet"):
        Projector(stack(), "deconv")
    with pytest.raises(BadRequest, match="no layer 'c3'; nearest: c"):
        Projector(stack(), "deconvnet", "c3")
    network = Network(colours(), provider="cpu")
    with pytest.raises(BadRequest, match="no class 5: the model has classes 0 to 4"):
        Projector(network, "guided")({"image": np.zeros((1, 3, 32, 32))}, 5)
    with pytest.raises(BadRequest, match="'image' is missing"):
        Projector(network, "guided")({})


# -- gates ---------------------------------------------------------------------------------------------------

GATED = {
    "Relu": "r = Relu (c)",
    "Clip": "r = Clip (c, zero, six)",
    "ThresholdedRelu": "r = ThresholdedRelu <alpha = 0.0> (c)",
    "integers from zero on": "q = QuantizeLinear (c, step, first) r = DequantizeLinear (q, step, first)",
}
UNGATED = {
    "PRelu": "r = PRelu (c, slope)",
    "LeakyRelu": "r = LeakyRelu <alpha = 0.1> (c)",
    "Elu": "r = Elu (c)",
    "Gelu": "r = Gelu (c)",
    "SiLU": "s = Sigmoid (c) r = Mul (c, s)",
    "HardSwish": "r = HardSwish (c)",
    "Mish": "r = Mish (c)",
    "Tanh": "r = Tanh (c)",
    "integers around zero": "q = QuantizeLinear (c, step, middle) r = DequantizeLinear (q, step, middle)",
}


def activated(text):
    model = parsed(
        f"""(float[N,3,12,12] x) => (float[N,5] y) {{
            c = Conv <pads = [1,1,1,1]> (x, w1, b1) {text}
            d = Conv (r, w2, b2) g = GlobalAveragePool (d) y = Flatten (g)
        }}""",
        20,
        **WEIGHTS,
        zero=np.float32(0),
        six=np.float32(6),
        slope=np.full((4, 1, 1), 0.2),
        step=np.float32(0.05),
        first=np.uint8(0),
        middle=np.int8(0),
    )
    return Network(model, provider="cpu", threads=1)


@pytest.mark.parametrize("text", UNGATED.values(), ids=UNGATED)
def test_without_a_gate_it_is_the_gradient_and_says_so(text):
    network = activated(text)
    ways = {m: Projector(network, m) for m in ("saliency", "guided", "deconvnet")}
    found = {m: way({"x": IMAGES}, 2) for m, way in ways.items()}
    for plain, guided, deconvnet in zip(*found.values(), strict=True):
        np.testing.assert_array_equal(guided.values, plain.values)
        np.testing.assert_allclose(deconvnet.values, plain.values * abs(plain.score), 1e-4, 1e-7)
    assert [bool(way.note) for way in ways.values()] == [False, True, True]
    assert "no ReLU lies on the way" in ways["guided"].note


@pytest.mark.parametrize("text", GATED.values(), ids=GATED)
def test_with_a_gate_it_is_not_and_says_nothing(text):
    network = activated(text)
    plain, guided = (Projector(network, m) for m in ("saliency", "guided"))
    assert plain.note == guided.note == Projector(network, "deconvnet").note == ""
    assert (plain({"x": IMAGES}, 2)[0].values != guided({"x": IMAGES}, 2)[0].values).any()
