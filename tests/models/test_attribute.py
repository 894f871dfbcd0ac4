"""Every method of the table on photos, through the one function: what must hold whatever the method is."""

import gc
import weakref
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from bench.tasks.scenes import among
from onnx import numpy_helper

from onnxlens.engine.attribution.methods import METHODS, options_of
from onnxlens.engine.errors import BadRequest
from onnxlens.engine.metrics.truth import pointing
from onnxlens.models.attribution.attribute import Attributor, attribute
from onnxlens.models.embedded.scenes import TEST_SEEDS, scene
from onnxlens.models.lens import Lens

LESS = {
    "steps": 6,
    "masks": 96,
    "samples": 96,
    "permutations": 4,
    "designs": 8,
    "cells": 5,
    "patch": 24,
    "stride": 12,
    "strongest": 12,
}
UNITS = [name for name, method in METHODS.items() if method.units]
TASKS = Path(__file__).parents[1] / "bench" / "tasks" / "models"
SCENES = [scene(seed, size=120) for seed in TEST_SEEDS[:3]]


@pytest.fixture(scope="module")
def lens():
    return Lens("scenes", provider="cpu", threads=1)


@pytest.fixture(scope="module")
def lens_for(lens):
    """The network that a method is tried on: one that has what it needs, and else that of the package."""
    attending = Lens(TASKS / "vit.onnx", provider="cpu", threads=1)
    return lambda name: {"attention": attending}.get(METHODS[name].needs, lens)


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """A network with its weights in another order."""

    @cache
    def made(of):
        model, rng = onnx.load(of), np.random.default_rng(0)
        for tensor in model.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.ndim > 1:
                shuffled = rng.permutation(values.ravel()).reshape(values.shape)
                tensor.CopyFrom(numpy_helper.from_array(shuffled, tensor.name))
        path = tmp_path_factory.mktemp("untrained") / "model.onnx"
        onnx.save(model, path)
        return Lens(path, provider="cpu", threads=1)

    return made


def less(name):
    """Options that make a method quick."""
    return {key: value for key, value in LESS.items() if key in options_of(METHODS[name])}


def drawn_for(name, seed):
    """A scene of the kind that the network of a method was trained on, and where its object is."""
    if not METHODS[name].needs:
        drawn = scene(seed, size=96)
        return drawn.image, drawn.mask
    drawn = among(seed)
    return drawn.image, drawn.owner == 1


def ranks(values):
    return np.argsort(np.argsort(values, axis=None))


@pytest.mark.parametrize("name", METHODS)
def test_a_map_is_finite_says_what_it_is_and_is_the_same_again(name, lens_for):
    lens = lens_for(name)
    method, photo = METHODS[name], SCENES[0].image
    first, second = (attribute(lens, photo, name, ["top2"], **less(name)) for _ in range(2))
    best = lens.predict(photo, 2)
    assert [a.target.index for a in first] == [p.index for p in best]
    for a, again in zip(first, second, strict=True):
        assert np.isfinite(a.values).all()
        assert a.values.dtype == np.float32
        assert a.problem or a.values.any()
        assert (a.method, a.unit, a.predictions[0].label) == (name, None, best[0].label)
        assert (a.values.ndim == 2) == (method.style == "overlay")
        assert (a.at == a.layer) == method.on_layer
        assert a.at == lens.input or method.on_layer
        assert method.signed or a.values.min() >= 0
        np.testing.assert_array_equal(a.values, again.values)


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_gives_what_its_photos_give_alone(name, lens_for):
    lens = lens_for(name)
    made = Attributor(lens, name, [None, 3], **less(name))
    photos = [s.image for s in SCENES]
    inputs, boxes = zip(*map(lens.preprocess, photos), strict=True)
    together = made(photos, np.concatenate(inputs), boxes)
    for photo, of_photo in zip(photos, together, strict=True):
        alone = made.of_photo(photo)
        assert [a.target.index for a in alone] == [a.target.index for a in of_photo]
        for a, b in zip(alone, of_photo, strict=True):
            np.testing.assert_allclose(a.values, b.values, rtol=1e-3, atol=1e-5 * np.abs(a.values).max())
            assert a.box == b.box
            assert a.score == pytest.approx(b.score, rel=1e-5)


def test_where_the_usual_layer_has_no_evidence_an_earlier_one_stands_in(tmp_path):
    """score_0 = -Σ relu(765 - half(x)): the last layer speaks against it, and for it each pixel x before."""
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[1,3,8,8] x) => (float[1,2] score)
    <float[1,3,1,1] one = {1,1,1}, float[1,1,1,1] minus = {-1}, float full = {765},
     float[16,2] head = {HEAD}> {
        sum = Conv(x, one)
        first = Relu(sum)
        half = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(first)
        less = Conv(half, minus)
        rest = Add(less, full)
        second = Relu(rest)
        flat = Flatten(second)
        score = MatMul(flat, head)
    }"""
    onnx.save(onnx.parser.parse_model(text.replace("HEAD", ",".join(["-1,1"] * 16))), tmp_path / "model.onnx")
    lens = Lens(tmp_path / "model.onnx", preset="raw", provider="cpu", threads=1)
    photo = np.random.default_rng(0).integers(1, 255, (8, 8, 3), np.uint8)
    against, other = attribute(lens, photo, "gradcam", [0, 1])
    assert (other.note, other.problem) == ("", "")
    assert (against.problem, against.at, against.target.index) == ("", "first", 0)
    assert against.note.startswith(f"of 'first', as all of layer {other.at!r} speaks against class 0")
    mean = photo.astype(float).sum(2)
    np.testing.assert_allclose(against.map, mean * (against.map.max() / mean.max()), rtol=1e-5)
    (named,) = attribute(lens, photo, "gradcam", [0], layer=other.at)
    assert "speaks against class 0" in named.problem  # what was asked for by name is not replaced


def test_where_no_gradient_leads_to_earlier_layers_the_problem_stays(tmp_path):
    """The numbers of the strongest channels have no slope, so nothing before them can stand in."""
    text = """<ir_version: 8, opset_import: ["" : 17]> g (float[1,3,16,16] x) => (float[1,2] score)
    <float[1,1,2,2] even = {1,1,1,1}, float[1] one = {1}, float[16,2] head = {HEAD}> {
        first = Conv(x, each)
        half = AveragePool<kernel_shape = [2, 2], strides = [2, 2]>(first)
        best = ArgMax<axis = 1>(half)
        number = Cast<to = 1>(best)
        more = Max(number, one)
        last = Conv<strides = [2, 2]>(more, even)
        second = Relu(last)
        flat = Flatten(second)
        score = MatMul(flat, head)
    }"""
    model = onnx.parser.parse_model(text.replace("HEAD", ",".join(["-1,1"] * 16)))
    each = np.eye(3, dtype=np.float32)[:, :, None, None]
    model.graph.initializer.append(numpy_helper.from_array(each, "each"))
    onnx.save(model, tmp_path / "model.onnx")
    lens = Lens(tmp_path / "model.onnx", preset="raw", provider="cpu", threads=1)
    photo = np.random.default_rng(0).integers(1, 255, (16, 16, 3), np.uint8)
    (against,) = attribute(lens, photo, "gradcam", [0])
    assert "speaks against class 0" in against.problem


@pytest.mark.parametrize("name", METHODS)
def test_a_map_is_of_the_network(name, lens_for, untrained):
    """Adebayo et al. 2018, "Sanity Checks for Saliency Maps": other weights, another map."""
    photo, lens = SCENES[1].image, lens_for(name)
    both = lens, untrained(lens.path)
    (trained,), (other,) = (attribute(of, photo, name, [0], **less(name)) for of in both)
    if not other.problem and other.at == trained.at:  # else nothing in the usual layer speaks for the class
        assert abs(np.corrcoef(ranks(trained.map), ranks(other.map))[0, 1]) < 0.9


@pytest.mark.parametrize("name", [m.name for m in METHODS.values() if m.target == "class"])
def test_a_map_of_the_predicted_class_is_nearer_to_its_object_than_chance(name, lens_for):
    hits, lens = [], lens_for(name)
    for seed in TEST_SEEDS[:12]:
        image, mask = drawn_for(name, seed)
        (found,) = attribute(lens, image, name, **less(name))
        at_photo = found.at_photo()
        heat = at_photo if at_photo.ndim == 2 else np.abs(at_photo).max(-1)
        hits.append(not found.problem and pointing(heat, mask))
    assert sum(hits) >= 7  # always in the middle would be 3


@pytest.mark.parametrize("name", METHODS)
def test_options_are_checked_before_there_is_a_photo(name, lens_for):
    lens = lens_for(name)
    for option, field in options_of(METHODS[name]).items():
        said = field.option
        assert said.help
        if said.least is not None:
            with pytest.raises(BadRequest, match=f"^{option} is (at least|above) {said.least:g}"):
                Attributor(lens, name, **{option: said.least - 1})
        if said.most is not None:
            with pytest.raises(BadRequest, match=f"^{option} is at most {said.most:.12g}"):
                Attributor(lens, name, **{option: said.most + 1})
        if said.fill:
            with pytest.raises(BadRequest, match="there is no fill 'blurr'"):
                Attributor(lens, name, **{option: "blurr"})
    with pytest.raises(BadRequest, match=f"'stepps' is no option of {name}"):
        Attributor(lens, name, stepps=3)
    with pytest.raises(BadRequest, match="there is no class 99"):
        Attributor(lens, name, [99], **less(name))
    with pytest.raises(BadRequest, match=r"relu9|looks at no layer"):
        Attributor(lens, name, layer="relu9")


def test_an_option_of_another_method_names_those_that_have_it(lens):
    with pytest.raises(BadRequest, match="'patch' is no option of gradcam: it is one of occlusion"):
        attribute(lens, SCENES[0].image, patch=3)
    with pytest.raises(BadRequest, match="there is no method 'gradcamm'; nearest: gradcam"):
        attribute(lens, SCENES[0].image, "gradcamm")


@pytest.mark.parametrize("name", UNITS)
def test_units_of_a_layer(name, lens):
    photo = SCENES[0].image
    two = attribute(lens, photo, name, layer="relu4", channels=[5, 2], position=(3, 4), **less(name))
    assert [(a.unit.channel, a.unit.position, a.target, a.layer) for a in two] == [
        (5, (3, 4), None, "relu4"),
        (2, (3, 4), None, "relu4"),
    ]
    best = attribute(lens, photo, name, layer="relu4", top=2, **less(name))
    values = lens.network.run(lens.feeds(photo)[0], ["relu4"])["relu4"][0]
    order = np.argsort(-values.max((1, 2)), kind="stable")[:2]
    assert [a.unit.channel for a in best] == order.tolist()
    with pytest.raises(BadRequest, match="there is no channel 999"):
        Attributor(lens, name, layer="relu4", channels=[999])


def test_what_does_not_begin_at_units_refuses_them(lens):
    for name in (m.name for m in METHODS.values() if m.layer and not m.units):
        with pytest.raises(BadRequest, match="channels, position and top are of a layer"):
            Attributor(lens, name, layer="relu5", channels=[1])


def test_several_layers_are_for_maps_that_lie_on_them(lens):
    found = attribute(lens, SCENES[0].image, "layercam", ["top2"], layer=["relu4", "relu5"])
    assert [a.at for a in found] == ["relu4", "relu5"] * 2
    with pytest.raises(BadRequest, match="saliency looks at one layer"):
        attribute(lens, SCENES[0].image, "saliency", layer=["relu4", "relu5"])


def test_a_baseline_may_be_an_input(lens):
    x, _ = lens.preprocess(SCENES[1].image)
    (found,) = attribute(lens, SCENES[0].image, "integrated", baseline=x[0], steps=60)
    scores = [
        lens.network.run({lens.input: i}, [lens.readout.scores])[lens.readout.scores].ravel()
        for i in (lens.preprocess(SCENES[0].image)[0], x)
    ]
    assert found.rise == pytest.approx(scores[0][found.channel] - scores[1][found.channel], rel=1e-4)
    assert abs(found.gap) < 0.05 * np.abs(found.values).sum()


def test_what_is_compiled_is_kept_with_the_lens_and_goes_with_it():
    own = Lens("scenes", provider="cpu", threads=1)
    made = [Attributor(own, "layercam", [target]).compiled for target in (0, 1)]
    assert made[0] is made[1]
    assert Attributor(own, "layercam", layer="relu4").compiled is not made[0]
    gone = weakref.ref(own)
    del own, made
    gc.collect()
    assert gone() is None
