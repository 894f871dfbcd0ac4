"""What producers of models write beside and into them, each against its own arithmetic restated."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxlens.models.network.producers import bitmap, huggingface, lobe, paddle, roboflow, timm, ultralytics
from onnxlens.models.network.sidecar import Sidecar, find
from onnxlens.models.photos.presets import completed, facts_of

H, W = 240, 480
THREE = ["cat", "dog", "fish"]


def made(facts, size=(48, 48)):
    return completed(facts_of(None, facts), facts.get("size", size), "nchw", 3)


# -- Ultralytics -----------------------------------------------------------------------------------------


def said(task, imgsz):
    return {"task": task, "names": "{0: 'a', 1: 'b'}", "stride": "32", "imgsz": imgsz}


@pytest.mark.parametrize(
    ("imgsz", "size", "box"),
    [
        # data/augment.py, classify_transforms: Resize(side) and CenterCrop of a square, else Resize((h, w)).
        ("64", (64, 64), (0, 120, 240, 360)),
        ("[64, 64]", (64, 64), (0, 120, 240, 360)),
        ("(32, 64)", (32, 64), (0, 0, H, W)),
        ("[64, 48]", (64, 48), (0, 0, H, W)),
    ],
)
def test_an_ultralytics_classifier_crops_a_square_and_stretches_else(imgsz, size, box):
    found = made(ultralytics.facts(said("classify", imgsz)))
    assert found.size == size
    assert found.antialias
    np.testing.assert_allclose(found.box(H, W), box, atol=1e-9)


def test_another_size_decides_anew_whether_an_ultralytics_classifier_crops():
    facts = ultralytics.facts(said("classify", "[64, 64]"))
    assert completed(facts_of(None, facts), (96, 96), "nchw", 3).fit == "crop"
    assert completed(facts_of(None, facts), (64, 96), "nchw", 3).fit == "stretch"
    assert completed(facts_of({"fit": "crop"}, facts), (64, 96), "nchw", 3).fit == "crop"


@pytest.mark.parametrize("task", ["detect", "segment", "pose", "obb"])
def test_all_else_of_ultralytics_is_letterboxed_as_opencv_does(task):
    cv2 = pytest.importorskip("cv2")
    found = made(ultralytics.facts(said(task, "[64, 96]")))
    photo = np.random.default_rng(0).integers(0, 256, (H, W, 3), np.uint8)
    # LetterBox: r = min(64/240, 96/480), resized with INTER_LINEAR, padded on both sides with 114.
    small = cv2.resize(photo, (96, round(H * 0.2)), interpolation=cv2.INTER_LINEAR)
    wanted = np.full((64, 96, 3), 114, np.uint8)
    top = round((64 - len(small)) / 2 - 0.1)
    wanted[top : top + len(small)] = small
    x, _ = found(photo)
    np.testing.assert_allclose(x[0], wanted.transpose(2, 0, 1) / np.float32(255), atol=1e-6)


# -- ONNX's image metadata -------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "channels"), [("Rgb8", "rgb"), ("BGR8", "bgr"), ("gray8", "grey")])
@pytest.mark.parametrize(
    ("name", "black", "white"),
    [
        ("NominalRange_0_255", 0, 255),
        ("Normalized_0_1", 0, 1),
        ("normalized_1_1", -1, 1),
        ("NOMINALRANGE_16_235", 16, 235),
    ],
)
def test_image_metadata(order, channels, name, black, white):
    metadata = {
        "Image.BitmapPixelFormat": order,
        "image.nominalPixelRange": name,
        "Image.ColorSpaceGamma": "SRGB",
    }
    facts = bitmap.facts(metadata)
    found = completed(facts_of(None, facts), (48, 48), "nchw", 1 if channels == "grey" else 3)
    assert found.channels == channels
    for tone, wanted in ((0, black), (255, white)):
        np.testing.assert_allclose(found(np.full((48, 48, 3), tone, np.uint8))[0], wanted, atol=1e-4)
    assert found.box(H, W) == (0, 0, H, W)


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ({"Image.BitmapPixelFormat": "Rgba8", "Image.NominalPixelRange": "Normalized_0_1"}, "rgba8"),
        ({"Image.BitmapPixelFormat": "Rgb8", "Image.NominalPixelRange": "x" * 9999}, "NominalPixelRange"),
        (
            {
                "Image.BitmapPixelFormat": "Rgb8",
                "Image.NominalPixelRange": "Normalized_0_1",
                "Image.ColorSpaceGamma": "Linear",
            },
            "linear",
        ),
    ],
)
def test_image_metadata_that_photos_do_not_fit(metadata, why):
    with pytest.raises(ValueError, match=why) as caught:
        bitmap.facts(metadata)
    assert len(str(caught.value)) < 250


def test_half_of_the_image_metadata_is_not_enough_and_is_kept(tmp_path):
    half = {"Image.BitmapPixelFormat": "Bgr8"}
    found = find(tmp_path / "model.onnx", half)
    assert found.facts["channels"] == "bgr"
    assert not found.is_enough
    assert found.source == "preprocessing in part from the model's image metadata"
    assert bitmap.facts({"image.other": "x"}) is None
    # What says all comes before what says a part.
    (tmp_path / "config.json").write_text(json.dumps(config()))
    assert find(tmp_path / "model.onnx", half).facts == timm.facts(config())


# -- timm ------------------------------------------------------------------------------------------------


def config(**cfg):
    return {
        "architecture": "resnet18",
        "label_names": THREE,
        "pretrained_cfg": {"input_size": [3, 56, 56], **cfg},
    }


@pytest.mark.parametrize(
    ("cfg", "size", "box"),
    [
        # transforms_factory.py, transforms_imagenet_eval: to floor(56 / pct), then the middle.
        ({"crop_pct": 0.875}, (56, 56), (15, 135, 225, 345)),
        ({}, (56, 56), (15, 135, 225, 345)),  # timm's own default
        ({"crop_pct": 1.0}, (56, 56), (0, 120, 240, 360)),
        ({"crop_pct": 1.0, "crop_mode": "squash"}, (56, 56), (0, 0, H, W)),
        ({"crop_pct": 0.875, "crop_mode": "squash"}, (56, 56), (15, 30, 225, 450)),
        ({"crop_pct": 1.0, "crop_mode": "border"}, (56, 56), (-120, 0, 360, 480)),
        ({"crop_pct": 1.0, "input_size": [3, 48, 72]}, (48, 72), (0, 60, 240, 420)),
    ],
)
def test_timms_evaluation(cfg, size, box):
    found = made(timm.facts(config(**cfg)))
    assert found.size == size
    np.testing.assert_allclose(found.box(H, W), box, atol=1e-9)


def test_timms_numbers():
    found = made(timm.facts(config(mean=[0.5, 0.4, 0.3], std=[0.2, 0.2, 0.1], interpolation="bilinear")))
    assert (found.mean, found.std, found.scale) == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.1), 1 / 255)
    assert (found.interpolation, found.resize) == ("linear", (math.floor(56 / 0.875),) * 2)
    assert made(timm.facts(config())).interpolation == "cubic"
    assert made(timm.facts(config(crop_mode="border"))).fill == (124, 116, 104)
    assert timm.labels(config()) == THREE
    older = {"architecture": "resnet18", "labels": THREE, **config(mean=[0.5, 0.4, 0.3])["pretrained_cfg"]}
    assert timm.facts(older) == timm.facts(config(mean=[0.5, 0.4, 0.3]))
    assert timm.labels(older) == THREE
    wrapped = {"image_processor_type": "TimmWrapperImageProcessor"}
    assert huggingface.facts(wrapped, config()) == timm.facts(config())
    assert timm.facts({"model_type": "vit"}) is timm.labels({"model_type": "vit"}) is None


@pytest.mark.parametrize(
    "cfg",
    [
        {"crop_mode": "other"},
        {"interpolation": "random"},
        {"crop_pct": 1e-9},
        {"crop_pct": "1"},
        {"input_size": [3, 10**400, 5]},
        {"input_size": 224},
        {"mean": ["a"]},
    ],
)
def test_a_configuration_that_timm_would_not_take(cfg):
    with pytest.raises(ValueError, match="it"):
        timm.facts(config(**cfg))


# -- Lobe, Roboflow, Paddle, lists -----------------------------------------------------------------------


def test_lobe_takes_the_middle_square():
    signature = {"classes": {"Label": THREE}, "format": "onnx"}
    found = made(lobe.facts(signature))
    assert found.box(H, W) == (0, 120, 240, 360)
    assert (found.scale, found.interpolation, lobe.labels(signature)) == (1 / 255, "cubic", THREE)
    assert lobe.facts({"inputs": {}}) is lobe.labels({"inputs": {}}) is None


@pytest.mark.parametrize(
    ("how", "box", "fill"),
    [
        ("Stretch to", (0, 0, H, W), 0),
        ("Fit (black edges) in", (-120, 0, 360, 480), 0),
        ("Fit (white edges) in", (-120, 0, 360, 480), 255),
        ("Fit (grey edges) in", (-120, 0, 360, 480), 114),
    ],
)
def test_roboflow_says_the_part_and_not_the_scale(how, box, fill):
    steps = {"resize": {"format": how, "width": 48, "height": 48}, "auto-orient": {"enabled": True}}
    environment = {"CLASS_MAP": {"0": "cat", "2": "fish", "1": "dog"}, "PREPROCESSING": json.dumps(steps)}
    facts = roboflow.facts(environment)
    assert "scale" not in facts
    np.testing.assert_allclose(made(facts).box(H, W), box, atol=1e-9)
    assert made(facts).fill == fill
    assert roboflow.labels(environment) == THREE


@pytest.mark.parametrize(
    ("steps", "why"),
    [
        ({"grayscale": {"enabled": True}}, "grayscale"),
        ({"static-crop": {"x_min": 1}}, "static-crop"),
        ({"resize": {"format": "Fill (with center crop) in"}}, "resizes by"),
        ("[" * 100_000, "deeply"),
    ],
)
def test_steps_of_roboflows_that_are_not_ours(steps, why):
    with pytest.raises(ValueError, match=why):
        roboflow.facts({"PREPROCESSING": steps})


def test_paddles_characters_with_what_its_decoder_adds():
    assert paddle.labels("0\n180\n", 2) == ["0", "180"]
    assert paddle.labels("a\nb", 4) == ["blank", "a", "b", "space"]
    assert paddle.labels("a\nb", 3) == ["blank", "a", "b"]
    assert paddle.labels("a\n\u2028\nb", None) == ["a", " ", "b"]
    with pytest.raises(ValueError, match="longer"):
        paddle.labels("a" * (2**22 + 1), None)


@pytest.mark.parametrize("name", ["class_names.txt", "classes.txt"])
def test_lists_of_classes(tmp_path, name):
    (tmp_path / name).write_text("cat\ndog\nfish\n")
    assert find(tmp_path / "model.onnx", {}, 3) == Sidecar(None, THREE, f"labels from {name}")
    assert find(tmp_path / "model.onnx", {}, 4).labels is None
    (tmp_path / "labels.txt").write_text("x\ny\nz\n")  # which is nearer
    assert find(tmp_path / "model.onnx", {}, 3).labels == ["x", "y", "z"]


def test_names_in_one_line_with_semicolons(tmp_path):
    (tmp_path / "labels.txt").write_text("cat;dog;fish\n")
    assert find(tmp_path / "model.onnx", {}, 3).labels == THREE


# -- all of it is a stranger's ---------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
KEYS = [
    "pretrained_cfg",
    "label_names",
    "classes",
    "CLASS_MAP",
    "PREPROCESSING",
    "image_processor",
    "model_type",
]
INNER = [
    "input_size",
    "crop_pct",
    "mean",
    "std",
    "crop_mode",
    "Label",
    "resize",
    "size",
    "image_processor_type",
]
PARTS = st.dictionaries(st.sampled_from(INNER), JSON | st.just([3, 32, 32]), max_size=4)


@settings(max_examples=150, deadline=None)
@given(content=st.dictionaries(st.sampled_from(KEYS), JSON | PARTS), text=st.text(max_size=30))
def test_nothing_that_lies_beside_a_model_is_an_error(tmp_path_factory, content, text):
    folder = tmp_path_factory.mktemp("model")
    names = ("config", "processor_config", "preprocessor_config", "signature", "environment")
    for name in names:
        (folder / f"{name}.json").write_text(json.dumps(content))
    metadata = {
        "Image.BitmapPixelFormat": text,
        "Image.NominalPixelRange": text,
        "character": text,
        "names": text,
        "task": text,
        "stride": text,
    }
    found = find(folder / "model.onnx", metadata)
    assert "\n" not in found.source
    assert found.labels is None or len(found.labels) < 2**17
