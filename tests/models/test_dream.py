"""Dreams of the model that comes along: they rise, they repeat, and show what they were to show."""

import os
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper
from oracles.toys import UNIT, build, colours

from onnxlens.engine.dreams.dream import Priors
from onnxlens.engine.errors import BadModel, BadRequest, NoMap, Unavailable
from onnxlens.models.dreams.ascent import Ascent, entered
from onnxlens.models.dreams.dream import Dream, default_layer, dream, film, grain, guide_features
from onnxlens.models.dreams.imagine import VARIATION, imagine
from onnxlens.models.dreams.octaves import closer, octave_sizes, resize, to_pictures, within
from onnxlens.models.embedded.scenes import TEST_SEEDS, scene
from onnxlens.models.lens import Lens
from onnxlens.models.photos.preprocess import CHANNELS, Preprocess


@pytest.fixture(scope="module")
def lens() -> Lens:
    return Lens("scenes", provider="cpu", threads=1)


PHOTO = scene(TEST_SEEDS[0]).image


def rises(made: Dream) -> bool:
    return all((o.after > o.before).all() for o in made.octaves)


@pytest.mark.parametrize(
    "text", ["layer(relu1)", "layer(pool3)", "channel(relu4, 12)", "neuron(relu5, 3)", "odds(cat)"]
)
def test_the_objective_rises_at_every_octave(lens: Lens, text: str):
    made = dream(Ascent(lens, text), PHOTO, iterations=6)
    assert [(o.height, o.width) for o in made.octaves] == octave_sizes(96, 96, 4, 1.4)
    assert rises(made)
    assert made.pictures.shape == (1, 96, 96, 3)
    assert made.pictures.dtype == np.uint8


@pytest.mark.parametrize("offset", [(0, 0), (5, -40)])
@pytest.mark.parametrize("text", ["layer(pool3)", "channel(relu4, 12)", "odds(cat)"])
def test_the_step_by_a_kernel_is_that_of_the_graph(lens: Lens, text: str, offset: tuple[int, int]):
    shape, ascent = (2, 3, 96, 96), Ascent(lens, text)
    pixels = np.random.default_rng(1).uniform(0, 255, shape).astype(np.float32)
    fast, plain = ascent.pixel_step(shape, 1.5), ascent._step(shape, 1.5)
    assert plain is not None
    (found, value), (expected, rose) = (step(pixels, np.array(offset)) for step in (fast, plain))
    np.testing.assert_allclose(found, expected, atol=1e-3)
    np.testing.assert_allclose(value, rose, rtol=1e-5)


def test_a_seed_repeats_to_the_byte_and_another_does_not(lens: Lens):
    def run(seed: int) -> bytes:
        return dream(Ascent(lens, "layer(pool3)"), PHOTO, iterations=3, seed=seed).pictures.tobytes()

    assert run(1) == run(1)
    assert run(1) != run(2)
    made = [imagine(Ascent(lens, "odds(cat)"), iterations=5, seed=s).pictures.tobytes() for s in (3, 3, 4)]
    assert made[0] == made[1] != made[2]


def test_the_photo_is_left_as_it_is(lens: Lens):
    photo = PHOTO.copy()
    made = dream(Ascent(lens, "layer(pool3)"), photo, iterations=2, octaves=2)
    assert made.start is photo
    np.testing.assert_array_equal(photo, PHOTO)


@pytest.mark.parametrize("label", ["star", "house"])
def test_a_class_from_noise_is_taken_for_that_class(lens: Lens, label: str):
    made = imagine(Ascent(lens, f"odds({label})", priors=Priors(VARIATION)), iterations=96)
    best = lens.predict(made.pictures[0], top=1)[0]
    assert best.label == label
    assert best.probability > 0.9
    assert rises(made)


@pytest.mark.slow
def test_every_class_from_noise_is_taken_for_that_class(lens: Lens):
    """At the default settings of the command."""
    for label in lens.labels:
        made = imagine(Ascent(lens, f"odds({label})", priors=Priors(VARIATION)))
        best = lens.predict(made.pictures[0], top=1)[0]
        assert (best.label, best.probability > 0.9) == (label, True)


@pytest.mark.slow
@pytest.mark.skipif("ONNXLENS_TEST_DATA" not in os.environ, reason="ONNXLENS_TEST_DATA is not set")
@pytest.mark.parametrize("target", [351, 647, 310, 327, 393, 954, 701, 783])
def test_the_eight_of_inceptionism(target: int):
    """Hartebeest, measuring cup, ant, starfish, anemone fish, banana, parachute and screw, by SqueezeNet."""
    path = Path(os.environ["ONNXLENS_TEST_DATA"]) / "models" / "squeezenet1.1-caffe2-fp16.onnx"
    real = Lens(path, preset="caffe", provider="cpu")
    made = imagine(Ascent(real, f"odds({target})", priors=Priors(VARIATION)))
    best = real.predict(made.pictures[0], top=1)[0]
    assert (best.index, best.probability > 0.9) == (target, True)
    assert rises(made)


def test_diverse_pictures_differ_more(lens: Lens):
    def alike(text: str) -> float:
        made = imagine(Ascent(lens, text), count=3, iterations=48, robust=False)
        features = lens.network.run(
            {lens.input: np.concatenate([lens.preprocess(p)[0] for p in made.pictures])}, ["relu4"]
        )["relu4"].reshape(3, 96, -1)
        grams = [f @ f.T / np.linalg.norm(f @ f.T) for f in features]
        return np.mean([(grams[i] * grams[j]).sum() for i, j in ((0, 1), (0, 2), (1, 2))])

    assert alike("channel(relu4, 12) + 100*diversity(relu4)") < alike("channel(relu4, 12)") - 0.05


def test_a_guide_draws_towards_its_own_features(lens: Lens):
    """The sum over positions of the greatest dot product: its gradient is the vector that fits best."""
    star = scene(TEST_SEEDS[0], label=0).image
    features = guide_features(lens, star, "relu4")
    assert features.shape == (96, 144)
    made = dream(Ascent(lens, "guide(relu4, guide)", {"guide": features}), PHOTO, iterations=5)
    assert rises(made)

    def fit(photo: np.ndarray) -> float:
        a = lens.network.run(lens.feeds(photo)[0], ["relu4"])["relu4"][0].reshape(96, -1)
        return float((a.T @ features).max(1).sum())

    assert fit(made.pictures[0]) > 1.5 * fit(PHOTO)


def test_a_direction_is_brought_out(lens: Lens):
    vector = np.zeros(96)
    vector[12] = 1
    pictures = [
        dream(Ascent(lens, text, {"v": vector}), PHOTO, iterations=2, octaves=1).pictures
        for text in ("direction(relu4, v)", "channel(relu4, 12)")
    ]
    assert np.abs(pictures[0].astype(int) - pictures[1]).mean() < 1


def test_a_film_goes_nearer_frame_by_frame(lens: Lens):
    frames = list(film(Ascent(lens, "layer(pool3)"), grain(96, 96), 3, iterations=2, octaves=2))
    assert len(frames) == 3
    for before, after in pairwise(frames):
        nearer = closer(before.pictures.transpose(0, 3, 1, 2).astype(np.float32), 0.05)
        np.testing.assert_array_equal(after.start, to_pictures(nearer)[0])
    again = list(film(Ascent(lens, "layer(pool3)"), grain(96, 96), 3, iterations=2, octaves=2))
    assert frames[-1].pictures.tobytes() == again[-1].pictures.tobytes()


# -- sizes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(150, 203), (61, 300)])
def test_a_picture_larger_than_the_input_is_dreamed_at_its_own_size(lens: Lens, size: tuple[int, int]):
    photo = cv2.resize(PHOTO, size[::-1])
    made = dream(Ascent(lens, "layer(pool3)"), photo, iterations=3)
    assert made.pictures.shape == (1, *size, 3)
    assert rises(made)


def dense() -> onnx.ModelProto:
    """A network that takes one size alone: its head is a matrix over all positions, its batch is 1."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["conv"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("Reshape", ["relu", "shape"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], ["scores"]),
    ]
    weights = {
        "w": rng.standard_normal((8, 3, 3, 3)).astype(np.float32) * 0.2,
        "shape": np.array([1, 8 * 16 * 16]),
        "head": rng.standard_normal((8 * 16 * 16, 4)).astype(np.float32) * 0.05,
    }
    return build(nodes, {"image": (1, 3, 32, 32)}, {"scores": (1, 4)}, weights)


@pytest.fixture
def fixed(tmp_path) -> Lens:
    onnx.save(dense(), tmp_path / "fixed.onnx")
    preset = Preprocess(size=(32, 32), fit="stretch", scale=1 / 255)
    return Lens(tmp_path / "fixed.onnx", preset=preset, provider="cpu", threads=1)


def test_a_head_of_one_size_is_no_obstacle_to_a_layer_before_it(fixed: Lens):
    ascent = Ascent(fixed, "layer(relu)")
    made = dream(ascent, cv2.resize(PHOTO, (100, 80)), iterations=3)
    assert rises(made)
    whole = ascent._whole_step((1, 3, 80, 100), 1.5)
    assert whole is not None


def test_a_class_of_a_network_of_one_size_is_dreamed_in_windows(fixed: Lens):
    ascent = Ascent(fixed, "class(2)")
    assert ascent._whole_step((1, 3, 80, 100), 1.5) is None
    made = dream(ascent, cv2.resize(PHOTO, (100, 80)), count=2, iterations=4, octaves=3)
    assert made.pictures.shape == (2, 80, 100, 3)
    for octave in made.octaves:
        assert (octave.after > octave.before).all()


def test_a_neuron_that_a_small_map_has_not_is_dreamed_in_windows(lens: Lens):
    ascent = Ascent(lens, "neuron(relu4, 0, 11, 11)")
    assert ascent._whole_step((1, 3, 128, 128), 1.5) is not None
    assert ascent._whole_step((1, 3, 64, 64), 1.5) is None


def test_only_a_size_is_a_reason_for_windows(fixed: Lens, monkeypatch):
    shape, ascent = (1, 3, 80, 100), Ascent(fixed, "layer(relu)")
    fixed.path.rename(fixed.path.with_name("moved.onnx"))
    with pytest.raises(BadModel, match="no such file"):
        ascent.pixel_step(shape, 1.5)
    fixed.path.with_name("moved.onnx").rename(fixed.path)

    def gone(*_: object, **__: object) -> None:
        raise Unavailable("provider cuda cannot be used")

    monkeypatch.setattr(fixed.network, "compile", gone)
    with pytest.raises(Unavailable, match="cuda"):
        ascent.pixel_step(shape, 1.5)


def test_windows_leave_no_seams(lens: Lens, monkeypatch):
    """Where a grid of windows would show, the picture changes no more between neighbours than elsewhere."""
    photo = grain(192, 192)
    ascent = Ascent(lens, "layer(relu2)")
    monkeypatch.setattr("onnxlens.models.dreams.ascent.WHOLE", 0)
    tiled = dream(ascent, photo, iterations=10, octaves=1)
    assert rises(tiled)
    steps = np.abs(np.diff(tiled.pictures[0].astype(float), axis=1)).mean((0, 2))
    assert steps[95] < steps.mean() + 4 * steps.std()
    monkeypatch.undo()
    whole = dream(Ascent(lens, "layer(relu2)"), photo, iterations=10, octaves=1)
    ratio = tiled.pictures.astype(float).std() / whole.pictures.astype(float).std()
    assert 0.8 < ratio < 1.25


def test_windows_and_the_whole_agree_where_a_window_is_the_whole(lens: Lens, monkeypatch):
    x = PHOTO.transpose(2, 0, 1)[None].astype(np.float32)
    whole = Ascent(lens, "layer(pool3)").pixel_step((1, 3, 96, 96), 1.5)
    monkeypatch.setattr("onnxlens.models.dreams.ascent.WHOLE", 0)
    window = Ascent(lens, "layer(pool3)").pixel_step((1, 3, 96, 96), 1.5)
    offset = np.array([7, -9])
    # A window that begins at an offset sees the image moved the other way.
    (a, va), (b, vb) = whole(x, offset), window(x, -offset)
    np.testing.assert_allclose(a, b, atol=0.02)
    np.testing.assert_allclose(va, vb, rtol=1e-5)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("half", [False, True])
def test_other_layouts_and_16_bits(tmp_path, layout: str, half: bool):
    onnx.save(colours(layout=layout, half=half, preprocess=UNIT), tmp_path / "model.onnx")
    lens = Lens(tmp_path / "model.onnx", layout=layout, preset="unit", provider="cpu")
    photo = cv2.resize(PHOTO, (48, 40))
    made = dream(Ascent(lens, "odds(red)"), photo, iterations=4)
    assert rises(made)
    imagined = imagine(Ascent(lens, "odds(blue)"), iterations=24)
    assert lens.predict(imagined.pictures[0], 1)[0].label == "blue"


@pytest.mark.parametrize("channels", ["rgb", "bgr", "grey", "rgba"])
def test_pixels_go_in_as_photos_do(channels: str):
    from onnxlens.engine.graph.graph import Graph
    from onnxlens.engine.runtime.session import Session

    std = (0.5,) if channels == "grey" else (0.2, 0.3, 0.4, 0.6)[: CHANNELS[channels]]
    pre = Preprocess(size=(96, 96), channels=channels, scale=1 / 255, mean=(0.4,), std=std, layout="nhwc")
    graph = Graph({"": 18})
    graph.output(entered(graph.input("pixels", np.float32, (1, 3, 96, 96)), pre), "x")
    found = Session(graph)({"pixels": PHOTO.transpose(2, 0, 1)[None].astype(np.float32)})["x"]
    np.testing.assert_allclose(found, pre(PHOTO)[0], atol=0.01)  # OpenCV rounds greys to whole levels


# -- pieces and requests -------------------------------------------------------------------------------------


def test_sizes_of_octaves():
    assert octave_sizes(224, 224, 4, 1.4) == [(82, 82), (114, 114), (160, 160), (224, 224)]
    assert octave_sizes(12, 40, 5, 2.0) == [(12, 40)]


def test_resize_keeps_what_is_even():
    x = np.full((2, 3, 10, 12), 77, np.float32)
    for size in ((10, 12), (5, 6), (21, 17)):
        assert resize(x, size).shape == (2, 3, *size)
        np.testing.assert_allclose(resize(x, size), 77)
    assert within(PHOTO, None) is PHOTO
    assert within(PHOTO, 48).shape == (48, 48, 3)


def test_a_photo_may_be_where_the_spectrum_starts(lens: Lens):
    made = imagine(Ascent(lens, "odds(cat)"), PHOTO, iterations=1)
    assert np.abs(made.start.astype(int) - PHOTO).mean() < 6


def test_the_default_layer_is_a_map_before_the_head(lens: Lens):
    assert default_layer(lens) in lens.network.values


def test_an_objective_that_is_no_number_is_said(tmp_path):
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["conv"]),
        helper.make_node("Log", ["conv"], ["log"]),
        helper.make_node("GlobalAveragePool", ["log"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["scores"]),
    ]
    weights = {"w": -np.ones((2, 3, 1, 1), np.float32)}
    onnx.save(build(nodes, {"image": (1, 3, 16, 16)}, {"scores": (1, 2)}, weights), tmp_path / "nan.onnx")
    lens = Lens(tmp_path / "nan.onnx", preset="unit", provider="cpu")
    for make in (lambda a: dream(a, cv2.resize(PHOTO, (16, 16))), imagine):
        with pytest.raises(NoMap, match="is not a number"):
            make(Ascent(lens, "class(0)"))


def test_what_is_not_there_is_said_at_once(lens: Lens):
    with pytest.raises(BadRequest, match="nearest: relu4"):
        Ascent(lens, "layer(rlu4)")
    with pytest.raises(BadRequest, match="cat"):
        Ascent(lens, "odds(kat)")


def test_diversity_needs_a_batch(fixed: Lens):
    with pytest.raises(BadRequest, match="batch of 3"):
        dream(Ascent(fixed, "class(0) + diversity(relu)"), PHOTO, count=3, iterations=1)
    with pytest.raises(BadRequest, match="batch of 3"):
        imagine(Ascent(fixed, "class(0) + diversity(relu)"), count=3, iterations=1)
