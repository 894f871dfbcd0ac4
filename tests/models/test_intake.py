"""Who says how photos go in, and in which order they are believed."""

import json

import onnx
import pytest
from oracles.toys import UNIT, colours, metadata_of

from onnxlens.engine.errors import BadRequest
from onnxlens.models.lens import Lens
from onnxlens.models.network.opened import open_network
from onnxlens.models.photos.preprocess import Preprocess

NAMES = ["a", "b", "c", "d", "e"]
YOLO = {"task": "classify", "names": str(dict(enumerate(NAMES))), "stride": "1", "imgsz": "[64, 64]"}


@pytest.fixture
def model(tmp_path):
    def save(size=(32, 32), layout="nchw", metadata=None, **files):
        proto = colours(size, layout=layout, labels=None)
        onnx.helper.set_model_props(proto, metadata or {})
        onnx.save(proto, tmp_path / "model.onnx")
        for name, content in files.items():
            (tmp_path / f"{name}.json").write_text(json.dumps(content))
        return tmp_path / "model.onnx"

    return save


def test_size_layout_and_fields_complete_what_the_metadata_says(model):
    path = model(("h", "w"), metadata=YOLO)
    found = {"fit": "crop", "scale": 1 / 255}
    assert Lens(path).preprocess == Preprocess(size=(64, 64), **found)
    lens = Lens(path, size=(96, 96))
    assert lens.preprocess == Preprocess(size=(96, 96), **found)
    assert lens.labels == NAMES
    assert "Ultralytics" in lens.source
    lens = Lens(path, preset={"mean": 0.5, "fit": "stretch"})
    assert lens.preprocess == Preprocess(size=(64, 64), fit="stretch", scale=1 / 255, mean=(0.5,))
    assert lens.source.startswith("mean 0.5, fit stretch, preprocessing from Ultralytics' metadata; ")
    # A preset is said in place of all but the size.
    assert Lens(path, preset="raw").preprocess == Preprocess(size=(64, 64), fit="stretch")
    assert "preprocessing" not in Lens(path, preset="raw").source


def test_the_models_own_layout_counts(model):
    config = {"size": {"height": 32, "width": 32}, "do_normalize": False}
    path = model(layout="nhwc", preprocessor_config=config)
    assert Lens(path).preprocess == Preprocess(size=(32, 32), fit="stretch", scale=1 / 255, layout="nhwc")


def test_a_size_that_the_model_does_not_take_is_a_question(model):
    path = model(preprocessor_config={"size": {"height": 48, "width": 48}, "do_normalize": False})
    asked = r"takes pictures of 32x32, .*preprocessor_config.json is for 48x48: say --size 32x32"
    with pytest.raises(BadRequest, match=asked):
        Lens(path)
    assert Lens(path, size=(32, 32)).preprocess == Preprocess(size=(32, 32), fit="stretch", scale=1 / 255)
    assert Lens(path, preset="raw").preprocess.size == (32, 32)


def test_fields_alone_are_enough_if_they_say_part_and_scale(model):
    path = model()
    with pytest.raises(BadRequest, match=r"stands nowhere.* or --fit and --scale"):
        Lens(path)
    with pytest.raises(BadRequest, match="or --scale;"):
        Lens(path, preset={"fit": "crop"})
    said = {"fit": "crop", "scale": "1/255"}
    assert Lens(path, preset=said).preprocess == Preprocess(size=(32, 32), scale=1 / 255)


def test_facts_that_are_not_enough_are_a_question_that_keeps_them(model):
    environment = {"PREPROCESSING": {"resize": {"format": "Fit (white edges) in", "height": 48, "width": 64}}}
    path = model(("h", "w"), environment=environment)
    with pytest.raises(BadRequest, match=r"environment.json: say --preset .* or --scale"):
        Lens(path)
    wanted = Preprocess(size=(48, 64), fit="letterbox", fill=255, antialias=False, scale=1 / 255)
    assert Lens(path, preset={"scale": "1/255"}).preprocess == wanted
    assert open_network(path).preprocess is None


def test_a_whole_preprocessing_is_taken_as_it_is(model):
    own = Preprocess(size=(32, 32), fit="letterbox", fill=9, scale=2.0)
    path = model(metadata=metadata_of(UNIT, None))
    assert Lens(path, preset=own).preprocess == own
    assert Lens(path, preset=own.to_dict()).preprocess == own
    with pytest.raises(BadRequest, match="cannot take pictures of 48x48"):
        Lens(path, preset=own.to_dict() | {"size": (48, 48)})


def test_weights_are_shown_in_the_colours_that_are_said(model):
    assert open_network(model(), preset={"preset": "raw", "channels": "bgr"}).preprocess.channels == "bgr"
    assert "channel-order bgr" in open_network(model(), preset={"preset": "raw", "channels": "bgr"}).source
