"""Projections on photos: their colours, their place, the units they are of."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from oracles.networks import parsed
from oracles.toys import COLOURS, SIDE, UNIT, blob, colours

from onnxlens.engine.attribution.methods import METHODS
from onnxlens.engine.attribution.projector import Projector
from onnxlens.engine.errors import BadRequest, NoMap
from onnxlens.models.attribution.projection import project, project_layer
from onnxlens.models.lens import Lens
from onnxlens.models.maps.attribution import STYLES, guided_gradcam
from onnxlens.models.maps.placement import Placement
from onnxlens.models.photos.crop import cut
from onnxlens.models.photos.photo import read_photo
from onnxlens.models.photos.preprocess import Preprocess

CROP = Preprocess(size=(32, 32), fit="crop", scale=1 / 255)
LETTERBOX = Preprocess(size=(32, 32), fit="letterbox", scale=1 / 255, fill=110)


def lens(folder, preprocess=UNIT, layout="nchw") -> Lens:
    path = folder / "model.onnx"
    onnx.save(colours(preprocess=replace(preprocess, layout=layout), layout=layout), path)
    return Lens(path, provider="cpu", threads=1)


def bgr(folder) -> Lens:
    """The same network for pictures whose first channel is blue: its filters turned over."""
    model = colours(preprocess=Preprocess(size=(32, 32), fit="stretch", scale=1 / 255, channels="bgr"))
    weight = numpy_helper.to_array(model.graph.initializer[0])[:, ::-1].copy()
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "conv.weight"))
    onnx.save(model, folder / "bgr.onnx")
    return Lens(folder / "bgr.onnx", provider="cpu", threads=1)


@pytest.mark.parametrize("method", ["deconvnet", "guided", "saliency"])
@pytest.mark.parametrize("colour", [0, 2])
def test_a_spot_comes_back_in_its_colour_and_where_it_is(method, colour, tmp_path):
    found = project(lens(tmp_path), blob(at=(40, 66), colour=colour), method)[0]
    assert (found.target.index, found.target.label) == (colour, COLOURS[colour])
    at = found.at_photo()
    assert at.shape == (60, 90, 3)
    strongest = np.unravel_index(np.argmax(at[..., colour]), (60, 90))
    assert np.hypot(strongest[0] - 40, strongest[1] - 66) < 15
    drawn = found.picture()
    assert drawn[strongest].argmax() == colour  # and the others speak against it
    assert drawn[strongest][colour] > 127


def test_blue_first_and_channels_last_give_the_same(tmp_path):
    photo = blob(at=(20, 30), colour=2)
    expected = project(lens(tmp_path), photo, "guided")[0]
    for other in (bgr(tmp_path), lens(tmp_path, layout="nhwc")):
        found = project(other, photo, "guided")[0]
        np.testing.assert_allclose(found.signal, expected.signal, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("preprocess", [CROP, LETTERBOX], ids=["crop", "letterbox"])
def test_it_lies_on_the_photo_however_that_went_in(preprocess, tmp_path):
    eye = lens(tmp_path, preprocess)
    found = project_layer(eye, blob(at=(25, 52)), "deconvnet", "relu", [0])[0]
    at = np.nan_to_num(found.at_photo()[..., 0])
    y, x = (np.average(np.arange(n), weights=at.sum(axis)) for n, axis in ((60, 1), (90, 0)))
    assert np.hypot(y - 25, x - 52) < 4
    if preprocess is CROP:  # what the model did not see is neither for nor against
        assert np.isnan(found.at_photo()[:, :10]).all()
        assert (found.picture("absolute")[:, :10] == 0).all()


def test_units_of_a_layer(tmp_path):
    eye, photo = lens(tmp_path), blob(at=(20, 30), colour=1)
    found = project_layer(eye, photo, "deconvnet", "relu", [1, 0])
    assert [p.channel for p in found] == [1, 0]
    assert found[0].problem == ""
    assert "nothing that it answers to" in found[1].problem
    with pytest.raises(NoMap, match="nothing that it answers to"):
        found[1].picture()
    strongest = project_layer(eye, photo, "deconvnet", "relu", top=3)
    assert [p.channel for p in strongest] == [1]  # the others are not active
    assert strongest[0].value == pytest.approx(found[0].value)
    assert strongest[0].target is None
    np.testing.assert_array_equal(strongest[0].signal, found[0].signal)


def test_the_window_is_the_receptive_field(tmp_path):
    """A unit of a 3x3 convolution behind a 2x2 pool sees 3 of the pixels; at the border fewer."""
    eye, photo = lens(tmp_path), blob(at=(20, 30))
    (found,) = project_layer(eye, photo, "saliency", "relu", [0], (10, 12))
    assert found.window() == (9, 11, 12, 14)
    (found,) = project_layer(eye, photo, "saliency", "conv", [0], (0, 31))
    assert found.window() == (0, 30, 2, 32)
    part, drawn = found.crops(side=40)
    assert part.shape == drawn.shape == (40, 40, 3)


def test_one_projector_serves_many_photos(tmp_path):
    eye = lens(tmp_path)
    projector = Projector(eye.network, "guided")
    for colour in (0, 2):
        photo = blob(colour=colour)
        np.testing.assert_array_equal(
            project(eye, photo, projector)[0].signal, project(eye, photo, "guided")[0].signal
        )


def test_targets(tmp_path):
    eye, photo = lens(tmp_path), blob(colour=2)
    assert [p.channel for p in project(eye, photo, "guided", ["top2", "blue", 4])] == [2, 4]
    assert project(eye, photo, "guided", ["sky"])[0].target.label == "sky"
    with pytest.raises(BadRequest, match="nearest: sky"):
        project(eye, photo, "guided", ["skye"])


@pytest.mark.parametrize("style", STYLES)
def test_styles(style, tmp_path):
    drawn = project(lens(tmp_path), blob(), "input-x-gradient")[0].picture(style)
    assert (drawn.shape, drawn.dtype) == ((60, 90, 3), np.uint8)
    assert drawn.std() > 0


def test_what_cannot_be_drawn(tmp_path):
    found = project(lens(tmp_path), blob(), "guided")[0]
    with pytest.raises(BadRequest, match="no style 'sined'; nearest: signed"):
        found.picture("sined")
    with pytest.raises(BadRequest, match="no colour map"):
        found.overlay("turbot")


def test_an_overlay_leaves_the_photo_where_there_is_no_signal(tmp_path):
    photo = blob(at=(20, 30))
    (found,) = project_layer(lens(tmp_path), photo, "deconvnet", "relu", [0])
    changed = (found.overlay() != photo).any(axis=-1)
    assert changed[10:30, 20:40].any()
    assert not changed[45:].any()


def test_guided_grad_cam_is_guided_where_grad_cam_is(tmp_path):
    eye, photo = lens(tmp_path), blob(colour=2)
    guided, heat = project(eye, photo, "guided")[0], eye.gradcam(photo)
    found = guided_gradcam(guided, heat)
    assert heat.map.shape == (32, 32)  # as large as the input: nothing to enlarge
    np.testing.assert_allclose(found.signal, guided.signal * heat.map[..., None], rtol=1e-6)
    assert found.method == "guided-gradcam"
    against = eye.gradcam(photo, 0)
    assert guided_gradcam(guided, against).problem == against.problem != ""


@pytest.mark.parametrize("crop", [(60, 90), (40, 90), (61, 33)])
def test_guided_grad_cam_takes_the_map_from_where_it_lies_in_the_input(tmp_path, crop):
    """Four cells of 8 pixels whose middles are at 0.5, 8.5, ...: pixel 8 has all of the second's value."""
    eye, photo = lens(tmp_path), blob(colour=2)[: crop[0], : crop[1]]
    guided, heat = project(eye, photo, "guided")[0], eye.gradcam(photo)
    ones = replace(guided, values=np.ones((SIDE, SIDE, 3), np.float32))
    values = np.arange(1, 17, dtype=np.float32).reshape(4, 4)
    place = Placement((0, 0, SIDE, 24), (-3.5, -3.5, 28.5, 28.5)).moved((0, 0, SIDE, SIDE), heat.box)
    found = guided_gradcam(ones, replace(heat, values=values, place=place)).values[..., 1]
    np.testing.assert_allclose(found[::8, :24:8], values[:, :3], rtol=1e-5)
    np.testing.assert_allclose(found[4, 4], values[:2, :2].mean(), rtol=1e-5)
    assert not found[:, 24:].any()  # where the layer does not look


def test_a_fixed_batch_and_a_grey_model(tmp_path):
    onnx.save(colours(batch=3, preprocess=UNIT), tmp_path / "three.onnx")
    three = Lens(tmp_path / "three.onnx", provider="cpu", threads=1)
    expected = project_layer(lens(tmp_path), blob(), "deconvnet", "relu", [0])[0]
    np.testing.assert_allclose(
        project_layer(three, blob(), "deconvnet", "relu", [0])[0].signal, expected.signal, rtol=1e-5
    )
    model = parsed(
        "(float[N,1,8,8] x) => (float[N,2] s) { r = Relu (x) f = Flatten (r) s = MatMul (f, w) }",
        w=np.random.default_rng(0).standard_normal((64, 2)),
    )
    onnx.save(model, tmp_path / "grey.onnx")
    grey = Preprocess(size=(8, 8), fit="stretch", channels="grey", scale=1 / 255)
    eye = Lens(tmp_path / "grey.onnx", preset=grey, labels=["a", "b"], provider="cpu", threads=1)
    found = project(eye, blob(), "saliency")[0]
    assert found.signal.shape == (8, 8, 1)
    assert found.at_photo().shape == (60, 90, 1)
    for style in STYLES:
        assert found.picture(style).shape == (60, 90, 3)
    assert found.overlay().shape == (60, 90, 3)


@pytest.mark.skipif("ONNXLENS_TEST_DATA" not in os.environ, reason="ONNXLENS_TEST_DATA is not set")
def test_a_real_network_of_16_bits():
    """SqueezeNet on a dog: guided Grad-CAM of its class is on the dog, not on the pavement."""
    folder = Path(os.environ["ONNXLENS_TEST_DATA"])
    eye = Lens(folder / "models/squeezenet1.1-caffe2-fp16.onnx", preset="caffe", provider="cpu", threads=1)
    photo = read_photo(folder / "photos/dog.jpg")
    for method in (m.name for m in METHODS.values() if m.family == "backward"):
        assert project(eye, photo, method)[0].problem == ""
    fine = guided_gradcam(project(eye, photo, "guided")[0], eye.gradcam(photo))
    rows, columns = (np.abs(fine.signal).sum((axis, 2)) for axis in (1, 0))
    height, width = fine.signal.shape[:2]
    assert np.average(np.arange(height), weights=rows) < 0.6 * height  # the head is in the upper half,
    assert np.average(np.arange(width), weights=columns) < 0.6 * width  # left of the middle
    sharp = project_layer(eye, photo, "deconvnet", "fire3/concat_1", top=4)
    assert len(sharp) == 4
    assert all(p.window()[2] - p.window()[0] <= 31 for p in sharp)
    assert [p.value for p in sharp] == sorted((p.value for p in sharp), reverse=True)


def test_parts_of_a_photo():
    photo = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    np.testing.assert_array_equal(cut(photo, (1, 2, 5, 6), 4), photo[1:5, 2:6])
    beyond = cut(photo, (-2, -2, 4, 4), 6)
    assert (beyond[:2] == 127).all()
    assert (beyond[:, :2] == 127).all()
    np.testing.assert_array_equal(beyond[2:, 2:], photo[:4, :4])
    assert (cut(photo, (10, 10, 12, 12), 5) == 127).all()
    assert cut(photo, (0.25, 0.5, 0.75, 1.0), 9).shape == (9, 9, 3)
