"""The steps of a dream: each graph against the reference notebook in NumPy, and what it is made of."""

import cv2
import numpy as np
import pytest
from onnx import helper
from oracles.toys import build

from onnxlens.engine.canonical.canonical import canonical
from onnxlens.engine.dreams.dream import (
    Climb,
    Priors,
    gradient_graph,
    pixel_step,
    spectrum_step,
    update_graph,
)
from onnxlens.engine.dreams.objective import objective
from onnxlens.engine.dreams.parameterisation import falloff, from_spectrum, noise, to_spectrum, waves
from onnxlens.engine.dreams.priors import blurred, roughness
from onnxlens.engine.dreams.tiles import starts, tiled
from onnxlens.engine.dreams.transforms import jitter, placed, rolled, still, wobble
from onnxlens.engine.errors import BadRequest
from onnxlens.engine.graph.graph import Graph, Tensor, op
from onnxlens.engine.runtime.session import Session

SHAPE = (2, 3, 10, 12)
MEAN = np.array([100, 120, 90], np.float32)
RNG = np.random.default_rng(11)
WEIGHT = RNG.standard_normal((4, 3, 3, 3)).astype(np.float32)


def network(kind: type = np.float32) -> Graph:
    """One convolution and a rectifier, on pixels less a mean."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["conv"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv"], ["relu"]),
    ]
    dtype = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    shape = ("N", 3, SHAPE[2], SHAPE[3])
    return canonical(
        build(nodes, {"x": shape}, {"relu": ("N", 4, *SHAPE[2:])}, {"w": WEIGHT.astype(kind)}, dtype)
    )


def entry(pixels: Tensor) -> Tensor:
    return pixels - pixels.graph.constant(MEAN[:, None, None])


def climb(text: str) -> Climb:
    return Climb("x", entry, lambda graph: objective(graph, text))


def convolved(x: np.ndarray) -> np.ndarray:
    wide = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(wide, (3, 3), (2, 3))
    return np.einsum("nchwij,kcij->nkhw", windows, WEIGHT.astype(np.float64))


def slope_of(x: np.ndarray) -> np.ndarray:
    """The gradient of layer(relu) with respect to the network's input: the transposed convolution of relu."""
    a = np.maximum(convolved(x), 0)
    wide = np.pad(a, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(wide, (3, 3), (2, 3))
    return np.einsum("nkhwij,kcij->nchw", windows, WEIGHT[:, :, ::-1, ::-1].astype(np.float64))


def make_step(x: np.ndarray, offset: np.ndarray, rate: float) -> np.ndarray:
    """google/deepdream, dream.ipynb, make_step: on inputs less the mean, clipped to [-mean, 255 - mean]."""
    mean = MEAN[:, None, None]
    x = x - mean
    x = np.roll(np.roll(x, offset[1], -1), offset[0], -2)
    g = slope_of(x)
    x = x + rate / np.abs(g).mean((1, 2, 3), keepdims=True) * g
    x = np.roll(np.roll(x, -offset[1], -1), -offset[0], -2)
    return np.clip(x, -mean, 255 - mean) + mean


@pytest.mark.parametrize("offset", [(0, 0), (3, -5), (-32, 31)])
@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_a_step_is_that_of_the_reference_notebook(offset, kind: type):
    graph = pixel_step(network(kind), climb("layer(relu)"), SHAPE, Priors(), 1.5)
    x = RNG.uniform(0, 255, SHAPE).astype(np.float32)
    found = Session(graph)({"pixels": x, "offset": np.array(offset)})
    expected = make_step(x.astype(np.float64), np.array(offset), 1.5)
    tolerance = 0.1 if kind is np.float16 else 1e-3  # the weights are rounded to 16 bits, the pixels are not
    np.testing.assert_allclose(found["next"], expected, atol=tolerance)
    moved = np.roll(x.astype(np.float64), offset, (2, 3)) - MEAN[:, None, None]
    value = (np.maximum(convolved(moved), 0) ** 2).sum((1, 2, 3)) / 2
    np.testing.assert_allclose(found["value"], value, rtol=5e-3 if kind is np.float16 else 1e-4)


def test_a_step_in_two_halves_is_the_step():
    priors = Priors(variation=0.7, blur=1.0)
    x = RNG.uniform(0, 255, SHAPE).astype(np.float32)
    whole = Session(pixel_step(network(), climb("layer(relu)"), SHAPE, priors, 2.0))
    first = Session(gradient_graph(network(), climb("layer(relu)"), SHAPE))
    second = Session(update_graph(SHAPE, priors, 2.0))
    halves = second({"pixels": x, "gradient": first({"pixels": x})["gradient"]})["next"]
    at_once = whole({"pixels": x, "offset": np.zeros(2, np.int64)})["next"]
    np.testing.assert_allclose(halves, at_once, atol=1e-3)


def test_the_whole_step_is_one_model_of_plain_operators():
    model = pixel_step(network(), climb("layer(relu)"), SHAPE, Priors(1, 1), 1.5).to_model()
    assert {n.domain for n in model.graph.node} == {""}
    assert [i.name for i in model.graph.input] == ["pixels", "offset"]
    assert [o.name for o in model.graph.output] == ["next", "value"]


def test_an_objective_that_the_image_has_no_say_in():
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["conv"], pads=[1, 1, 1, 1]),
        helper.make_node("Sign", ["conv"], ["sign"]),
    ]
    shape = {"x": ("N", 3, 10, 12)}, {"sign": ("N", 4, 10, 12)}
    graph = canonical(build(nodes, *shape, {"w": WEIGHT}))
    with pytest.raises(BadRequest, match="does not depend on the image"):
        pixel_step(graph, climb("layer(sign)"), SHAPE, Priors(), 1.5)


def test_adam_climbs_the_spectrum():
    """Three steps of the graph against Adam in NumPy on the gradient by central differences of the pixels."""
    graph = spectrum_step(network(), climb("channel(conv, 1)"), SHAPE, Priors(), 0.05)
    session = Session(graph)
    s = noise(np.random.default_rng(0), SHAPE)
    m = v = np.zeros_like(s)
    values = []
    for t in range(1, 40):
        feeds = {"spectrum": s, "first": m, "second": v, "count": np.float32(t), "affine": still(2)}
        found = session(feeds)
        slope = (found["first/next"] - 0.9 * m) / 0.1
        m, v = 0.9 * m + 0.1 * slope, 0.999 * v + 0.001 * slope**2
        expected = s * (1 - 0.05 * 0.3) + 0.05 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        np.testing.assert_allclose(found["spectrum/next"], expected, rtol=2e-2, atol=2e-3)
        s, m, v = found["spectrum/next"], found["first/next"], found["second/next"]
        values.append(found["value"])
    assert (values[-1] > values[0]).all()


@pytest.mark.parametrize("kind", [np.float16, np.float32])
@pytest.mark.parametrize(
    ("image", "weight", "conv", "relu"),
    [
        ("pixels", "w", "conv", "next"),
        ("offset", "value", "moved", "relu"),
        ("spectrum", "pixels", "first", "second"),
        ("x", "gradient", "count", "pixels"),
        ("affine", "pixels/2", "spectrum/next", "value"),
    ],
)
def test_a_model_may_call_its_values_as_steps_call_theirs(image, weight, conv, relu, kind: type):
    nodes = [
        helper.make_node("Conv", [image, weight], [conv], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", [conv], [relu]),
    ]
    shape, dtype = ("N", 3, *SHAPE[2:]), helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    weights = {weight: WEIGHT.astype(kind)}
    graph = canonical(build(nodes, {image: shape}, {relu: ("N", 4, *SHAPE[2:])}, weights, dtype))
    text = f"layer({relu}) - channel({conv}, 1)"
    own = Climb(image, entry, lambda g: objective(g, text))
    plain = Climb("x", entry, lambda g: objective(g, "layer(relu) - channel(conv, 1)"))
    x = RNG.uniform(0, 255, SHAPE).astype(np.float32)
    feeds = {"pixels": x, "offset": np.array([1, 2]), "affine": still(2), "count": np.float32(1)}
    feeds |= {"spectrum": x / 255, "first": x, "second": x}
    for step in (pixel_step, spectrum_step):
        arguments = (SHAPE, Priors(0.1, 1), 0.5)
        found = Session(step(graph, own, *arguments))(feeds)
        for name, expected in Session(step(network(kind), plain, *arguments))(feeds).items():
            np.testing.assert_allclose(found[name], expected, 1e-5, 1e-5, err_msg=name)
    found = Session(gradient_graph(graph, own, SHAPE))(feeds)["gradient"]
    expected = Session(gradient_graph(network(kind), plain, SHAPE))(feeds)["gradient"]
    np.testing.assert_allclose(found, expected, 1e-5, 1e-5)


# -- what it is made of --------------------------------------------------------------------------------------


def evaluated(build_: object, **feeds: np.ndarray) -> np.ndarray:
    """An expression of inputs, computed."""
    graph = Graph({"": 18})
    inputs = [graph.input(name, a.dtype, a.shape) for name, a in feeds.items()]
    graph.output(build_(*inputs), "y")  # type: ignore[operator]
    return Session(graph)(feeds)["y"]


@pytest.mark.parametrize("size", [1, 2, 7, 8, 33])
def test_waves_are_an_orthonormal_basis(size: int):
    basis, frequencies = waves(size)
    np.testing.assert_allclose(basis.T @ basis, np.eye(size), atol=1e-12)
    for column, f in zip(basis.T, frequencies, strict=True):
        spectrum = np.abs(np.fft.fft(column))
        assert abs(np.abs(np.fft.fftfreq(size))[spectrum.argmax()] - f) < 1e-12


def test_pixels_to_spectrum_and_back():
    pixels = RNG.uniform(10, 245, SHAPE).astype(np.float32)
    spectrum = to_spectrum(pixels)
    back = evaluated(lambda s: from_spectrum(s, 10, 12), s=spectrum)
    np.testing.assert_allclose(back, pixels, atol=0.05)


def test_low_frequencies_come_first():
    f = falloff(16, 24)
    assert f[0, 0] == f.max()
    assert f[-1, -1] == f.min()
    np.testing.assert_allclose(f[2, 0] / f[4, 0], 2)


def test_rolled_is_numpys_roll_and_back():
    x = RNG.standard_normal(SHAPE).astype(np.float32)
    for offset in ([0, 0], [3, -2], [-32, 32]):
        o = np.array(offset)
        moved = evaluated(lambda x, o: rolled(x, o), x=x, o=o)
        np.testing.assert_array_equal(moved, np.roll(x, offset, (2, 3)))
        np.testing.assert_array_equal(evaluated(lambda x, o: rolled(x, o, -1), x=moved, o=o), x)


def test_a_window_that_changes_nothing_and_one_that_turns():
    x = RNG.standard_normal(SHAPE).astype(np.float32)
    same = evaluated(lambda x, a: placed(x, a, 10, 12), x=x, a=still(2))
    np.testing.assert_allclose(same, x, atol=1e-5)
    upside = -still(2)
    np.testing.assert_allclose(
        evaluated(lambda x, a: placed(x, a, 10, 12), x=x, a=upside), x[:, :, ::-1, ::-1], atol=1e-5
    )


def test_draws_are_bounded_and_of_the_seed():
    rng = np.random.default_rng(5)
    draws = np.array([jitter(rng, 3) for _ in range(300)])
    assert draws.min() == -3
    assert draws.max() == 3
    maps = wobble(np.random.default_rng(5), 500, shift=0.1, scale=0.2, turn=10)
    np.testing.assert_array_equal(maps, wobble(np.random.default_rng(5), 500, shift=0.1, scale=0.2, turn=10))
    assert np.abs(maps[:, :, 2]).max() <= 0.2
    sizes = np.sqrt(np.linalg.det(maps[:, :, :2].astype(np.float64)))
    assert 0.8 <= sizes.min() < 0.85
    assert 1.15 < sizes.max() <= 1.2


def test_roughness_is_the_gradient_of_the_total_variation():
    x = RNG.uniform(0, 1, SHAPE).astype(np.float32)
    v = RNG.standard_normal(SHAPE)

    def total(x: np.ndarray) -> float:
        return (np.diff(x, axis=2) ** 2).sum() + (np.diff(x, axis=3) ** 2).sum()

    slope = (total(x + 1e-4 * v) - total(x - 1e-4 * v)) / 2e-4
    np.testing.assert_allclose((evaluated(roughness, x=x) * v).sum(), slope, rtol=1e-4)


@pytest.mark.parametrize("sigma", [0.4, 1.0, 2.0])
def test_blurred_is_opencvs_blur(sigma: float):
    x = RNG.standard_normal(SHAPE).astype(np.float32)
    k = 2 * max(1, round(3 * sigma)) + 1
    twin = [cv2.GaussianBlur(i.transpose(1, 2, 0), (k, k), sigma, borderType=cv2.BORDER_REPLICATE) for i in x]
    found = evaluated(lambda x: blurred(x, sigma), x=x)
    np.testing.assert_allclose(found, np.stack(twin).transpose(0, 3, 1, 2), atol=1e-5)
    assert evaluated(lambda x: blurred(op.Identity(x), 0), x=x).tobytes() == x.tobytes()


@pytest.mark.parametrize(("size", "window"), [(10, 4), (4, 4), (3, 8), (9, 3), (100, 7)])
def test_windows_cover_the_ring_and_are_few(size: int, window: int):
    for offset in (0, 5, -3):
        begin = starts(size, window, offset)
        assert len(begin) == -(-size // window)
        assert {(b + i) % size for b in begin for i in range(window)} == set(range(size))


@pytest.mark.parametrize("window", [(4, 5), (10, 12), (16, 7), (25, 30)])
def test_a_gradient_of_each_pixel_alone_has_no_seams(window: tuple[int, int]):
    """Where no pixel knows its neighbours, windows make no difference."""
    x = RNG.standard_normal(SHAPE).astype(np.float32)
    found, value = tiled(x, window, np.array([3, -4]), lambda w: (w**2, (w**2).mean((1, 2, 3))))
    np.testing.assert_allclose(found, x**2, rtol=1e-6)
    assert value.shape == (2,)
