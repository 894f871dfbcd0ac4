"""Image processors of transformers: against their arithmetic restated, and against the library itself."""

import json
import math
import warnings

import numpy as np
import pytest

from onnxlens.models.network.producers.huggingface import facts, nested_facts
from onnxlens.models.network.producers.processors import table
from onnxlens.models.network.sidecar import find
from onnxlens.models.photos.preprocess import Preprocess

H, W = 240, 400
RAMP = (
    np.stack(np.broadcast_arrays(np.linspace(0, 255, W)[None], np.linspace(0, 255, H)[:, None], 60), -1)
    .round()
    .astype(np.uint8)
)
M, S = np.array([0.485, 0.456, 0.406])[:, None, None], np.array([0.229, 0.224, 0.225])[:, None, None]
BASE = {
    "do_resize": True,
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "resample": 2,
    "image_mean": M.ravel().tolist(),
    "image_std": S.ravel().tolist(),
}
ALL = (0, 0, H, W)


def square(side):
    return {"height": side, "width": side}


def seen(box, h, w):
    """The photo's part `box` as (3, h, w) of 0 to 1: the ramp is linear, so any good resizing gives this."""
    y0, x0, y1, x1 = box
    y = y0 + (np.arange(h) + 0.5) * (y1 - y0) / h - 0.5
    x = x0 + (np.arange(w) + 0.5) * (x1 - x0) / w - 0.5
    return np.stack(np.broadcast_arrays((x / (W - 1))[None], (y / (H - 1))[:, None], 60 / 255)).clip(0, 1)


def normal(p):
    return (p - M) / S


def middle(part):
    """The middle square, so large a part of the shorter side."""
    half = H * part / 2
    return H / 2 - half, W / 2 - half, H / 2 + half, W / 2 + half


CROP = {"do_center_crop": True, "crop_size": square(48)}
# class, what its file says, part of the photo, arithmetic
ARITHMETIC = [
    ("ViT", {"size": square(48)}, ALL, normal),
    ("ViT", {"size": 48}, ALL, normal),
    ("CLIP", {"size": 64, **CROP}, middle(48 / 64), normal),
    (
        "CLIP",
        {"size": {"shortest_edge": 64}, "do_center_crop": True, "crop_size": 48},
        middle(48 / 64),
        normal,
    ),
    ("DeiT", {"size": 64, **CROP}, (30, 50, 210, 350), normal),
    (
        "Bit",
        {"size": {"shortest_edge": 64}, **CROP, "do_rescale": False},
        middle(48 / 64),
        lambda p: normal(p * 255),
    ),
    ("ConvNext", {"size": {"shortest_edge": 48}, "crop_pct": 0.75}, middle(0.75), normal),
    ("ConvNext", {"size": {"shortest_edge": 384}}, ALL, normal),
    ("PoolFormer", {"size": {"shortest_edge": 48}, "crop_pct": 0.75, **CROP}, middle(0.75), normal),
    (
        "Levit",
        {"size": {"shortest_edge": 56}, "do_center_crop": True, "crop_size": 56},
        middle(56 / 64),
        normal,
    ),
    ("EfficientNet", {"size": square(48), "include_top": True}, ALL, lambda p: normal(p) / S),
    ("EfficientNet", {"size": square(48), "include_top": False}, ALL, normal),
    ("EfficientNet", {"size": square(48)}, ALL, lambda p: normal(p) / S),
    (
        "EfficientNet",
        {"size": square(48), "include_top": False, "rescale_offset": True, "rescale_factor": 1 / 127.5},
        ALL,
        lambda p: normal(2 * p - 1),
    ),
    (
        "EfficientNet",
        {"size": square(48), "rescale_offset": True, "rescale_factor": 1 / 127.5, "do_normalize": False},
        ALL,
        lambda p: (2 * p - 1) / S,
    ),
    (
        "MobileViT",
        {"size": {"shortest_edge": 64}, **CROP, "do_normalize": None},
        middle(0.75),
        lambda p: p[::-1],
    ),
    (
        "MobileViT",
        {"size": {"shortest_edge": 64}, **CROP, "do_flip_channel_order": False},
        middle(0.75),
        lambda p: p,
    ),
    (
        "PPLCNet",
        {"size": square(99), "resize_short": 64, **CROP},
        (30, 29 * W / 107, 210, 77 * W / 107),
        lambda p: normal(p)[::-1],
    ),
    (
        "Perceiver",
        {"size": square(48), "do_center_crop": True, "crop_size": square(64)},
        middle(0.75),
        normal,
    ),
    ("LayoutLMv2", {"size": square(48)}, ALL, lambda p: 255 * p[::-1]),
    ("RTDetr", {"size": {"height": 48, "width": 64}, "do_normalize": None}, ALL, lambda p: p),
    ("Siglip", {"size": {"height": 48, "width": 64}, "do_normalize": False}, ALL, lambda p: p),
]


@pytest.mark.parametrize(("name", "said", "box", "arithmetic"), ARITHMETIC)
@pytest.mark.parametrize(
    "ending", ["ImageProcessor", "ImageProcessorFast", "ImageProcessorPil", "FeatureExtractor"]
)
def test_each_class_by_its_own_arithmetic(name, said, box, arithmetic, ending):
    key = "feature_extractor_type" if ending == "FeatureExtractor" else "image_processor_type"
    config = {k: v for k, v in {**BASE, **said, key: name + ending}.items() if v is not None}
    preprocess = Preprocess(**facts(json.loads(json.dumps(config))))
    x, covered = preprocess(RAMP)
    wanted = arithmetic(seen(box, *preprocess.size))
    assert np.abs(x[0] - wanted).mean() < 0.02 * wanted.std()
    np.testing.assert_allclose(covered, box, atol=1.1)


@pytest.mark.parametrize(
    ("name", "said", "wanted"),
    [
        ("Donut", {"size": {"height": 64, "width": 48}}, (-147, 0, 387, 400)),
        (
            "Nougat",
            {"size": {"height": 64, "width": 48}, "do_crop_margin": False},
            (-147, 0, 387, 400),
        ),
        ("Donut", {"size": [48, 64]}, (-147, 0, 387, 400)),  # as older files have it
        ("Owlv2", {"size": square(60)}, (0, 0, 400, 400)),
        ("Sam", {"size": {"longest_edge": 60}, "pad_size": square(60)}, (0, 0, 400, 400)),
        ("Janus", {"size": square(60)}, (-80, 0, 320, 400)),
    ],
)
def test_padded_photos_lie_where_the_class_puts_them(name, said, wanted):
    found = Preprocess(**facts({**BASE, **said, "image_processor_type": f"{name}ImageProcessor"}))
    np.testing.assert_allclose(found.box(H, W), wanted, atol=8)


def test_sam_pads_with_what_is_zero_behind_normalising():
    x, _ = Preprocess(**facts({"image_processor_type": "SamImageProcessor", "size": {"longest_edge": 60},
                               "pad_size": square(60)}))(RAMP)  # fmt: skip
    assert np.abs(x[0, :, 40:]).max() < 1e-5
    assert np.abs(x[0, :, :30]).max() > 1


def test_what_a_file_leaves_out_is_the_default_of_its_class():
    found = Preprocess(**facts({"image_processor_type": "BitImageProcessor"}))
    assert (found.size, found.resize, found.interpolation) == ((224, 224), 224, "cubic")
    assert found.mean[0] == pytest.approx(0.48145466)
    assert Preprocess(**facts({"image_processor_type": "ChameleonImageProcessor"})).scale == 0.0078
    assert facts({"image_processor_type": "RTDetrImageProcessor"}).keys() & {"mean", "std"} == set()


def test_the_model_type_tells_the_class_where_the_file_does_not(tmp_path):
    config = {"size": 64, "do_center_crop": True, "crop_size": 48, "do_normalize": False}
    assert facts(config, {"model_type": "deit"})["fit"] == "stretch"
    assert facts(config, {"model_type": "clip"})["fit"] == "crop"
    assert (
        facts({**config, "image_processor_type": "CLIPImageProcessor"}, {"model_type": "deit"})["fit"]
        == "crop"
    )
    with pytest.raises(ValueError, match="DetrImageProcessor"):
        facts(config, {"model_type": "detr"})
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "deit"}))
    assert find(tmp_path / "model.onnx", {}).facts["fit"] == "stretch"


def test_a_processor_inside_a_processor_config(tmp_path):
    config = {"image_processor": {"image_processor_type": "ViTImageProcessor", "size": square(32)}}
    assert nested_facts({"feature_extractor": {}}) is None
    (tmp_path / "processor_config.json").write_text(json.dumps(config))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": square(48)}))
    found = find(tmp_path / "model.onnx", {})
    assert found.facts["size"] == (32, 32)
    assert found.source == "preprocessing from processor_config.json"


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"image_processor_type": "MyOwnImageProcessor"}, "MyOwnImageProcessor"),
        ({"image_processor_type": "DetrImageProcessor", "size": square(48)}, "DetrImageProcessor"),
        ({"image_processor_type": "x" * 10_000}, "does not know how x"),
        ({"size": square(48), "include_top": True}, "image_processor_type"),
        ({"size": square(48), "do_flip_channel_order": True}, "image_processor_type"),
        ({"image_processor_type": "DonutImageProcessor", "do_align_long_axis": True}, "do_align_long_axis"),
        ({"image_processor_type": "NougatImageProcessor"}, "do_crop_margin"),
        ({"image_processor_type": "DPTImageProcessor", "keep_aspect_ratio": True}, "open"),
        ({"image_processor_type": "DPTImageProcessor", "ensure_multiple_of": 37}, "multiple"),
        ({"image_processor_type": "PPLCNetImageProcessor", "size_divisor": 32}, "size_divisor"),
        ({"image_processor_type": "RTDetrImageProcessor", "do_pad": True}, "open"),
        ({"image_processor_type": "GotOcr2ImageProcessor", "crop_to_patches": True}, "open"),
        ({"image_processor_type": "CLIPImageProcessor", "do_center_crop": False}, "open"),
        (
            {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 8, "longest_edge": 9}},
            "open",
        ),
        ({"image_processor_type": "ViTImageProcessor", "do_resize": False}, "open"),
        ({"image_processor_type": "ViTImageProcessor", "resample": 17}, "filter"),
        ({"image_processor_type": "ViTImageProcessor", "image_mean": ["a"]}, "image_mean"),
        ({"image_processor_type": "ConvNextImageProcessor", "crop_pct": 1e-300, "size": 224}, "no sense"),
        ({"image_processor_type": "LevitImageProcessor", "size": {"shortest_edge": 10**400}}, "no sense"),
        ([], "no object"),
    ],
)
def test_what_cannot_be_known_is_refused_with_the_reason(said, why):
    with pytest.raises(ValueError, match=why) as caught:
        facts(said)
    assert len(str(caught.value)) < 200


# -- against the library ---------------------------------------------------------------------------------


def photograph():
    """A photo (240, 400, 3) that is not square: soft structure of all sizes, with some edges and noise."""
    import cv2

    rng = np.random.default_rng(3)
    layers = [rng.normal(0, 400 / n**0.6, (3 * n // 5, n, 3)) for n in (5, 15, 40, 120)]
    photo = 120 + sum(cv2.resize(layer, (W, H), interpolation=cv2.INTER_CUBIC) for layer in layers) / 3
    photo[60:110, 250:330] = (230, 40, 30)
    return np.clip(photo + rng.normal(0, 4, photo.shape), 0, 255).astype(np.uint8)


def processors():
    """The names of all image processors that transformers knows by a model's type, without their endings."""
    try:
        auto = pytest.importorskip("transformers.models.auto.image_processing_auto")
    except RuntimeError as error:
        pytest.skip(f"a torchvision that does not fit torch: {error}")
    kinds = auto.IMAGE_PROCESSOR_MAPPING_NAMES.values()
    return sorted(
        {name.removesuffix("Pil").removesuffix("ImageProcessor") for k in kinds for name in k.values()}
    )


def made(name, **said):
    """A processor of the library, and the file that it saves."""
    transformers = pytest.importorskip("transformers")
    for ending in ("", "Pil"):
        try:
            processor = getattr(transformers, f"{name}ImageProcessor{ending}")(**said)
        except (
            ImportError,
            RuntimeError,
            AttributeError,
        ):  # without torchvision, or one that does not fit torch
            continue
        return processor, json.loads(processor.to_json_string())
    pytest.skip(f"{name}ImageProcessor needs torchvision")


def deviation(processor, config):
    """How far our input lies from the library's, in parts of its standard deviation."""
    image = pytest.importorskip("PIL.Image").fromarray(photograph())
    preprocess = Preprocess(**facts(config))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            wanted = np.asarray(processor(images=image, return_tensors="np")["pixel_values"], np.float64)
        except ImportError as error:  # Owlv2's without torchvision wants scipy
            pytest.skip(str(error).strip())
    x, _ = preprocess(photograph())
    assert x.shape == wanted.shape
    return np.abs(x - wanted).mean() / wanted.std()


NO_OCR = {name: {"apply_ocr": False} for name in ("LayoutLMv2", "LayoutLMv3")}
SMALL = {"height": 112, "width": 96}


@pytest.mark.reference
def test_every_processor_of_the_library_is_met_or_asked_about():
    met, asked = [], []
    for name in processors():
        if name == "TimmWrapper":  # which reads timm's config.json
            continue
        try:
            processor, config = made(name, **NO_OCR.get(name, {}))
        except pytest.skip.Exception:
            continue
        try:
            assert deviation(processor, config) < 0.02, name
            met.append(name)
        except ValueError:  # of facts(): the question
            asked.append(name)
        except pytest.skip.Exception:
            continue
    assert len(met) >= 24, asked


VARIANTS = [
    ("ViT", {"size": SMALL, "resample": 0}),
    ("ViT", {"size": SMALL, "do_normalize": False, "rescale_factor": 1 / 127.5}),
    ("Beit", {"size": {"height": 256, "width": 256}, "do_center_crop": True, "crop_size": SMALL}),
    ("Beit", {"size": SMALL, "do_center_crop": True, "crop_size": {"height": 128, "width": 128}}),
    ("CLIP", {"size": {"shortest_edge": 100}, "crop_size": SMALL, "resample": 1}),
    (
        "CLIP",
        {"size": {"shortest_edge": 150}, "crop_size": {"height": 128, "width": 160}, "do_rescale": False},
    ),
    ("DeiT", {"size": {"height": 140, "width": 120}, "crop_size": SMALL}),
    ("ConvNext", {"size": {"shortest_edge": 224}, "crop_pct": 0.95}),
    ("ConvNext", {"size": {"shortest_edge": 192}}),
    ("PoolFormer", {"crop_pct": 0.95, "size": {"height": 160, "width": 160}, "crop_size": 160}),
    ("Levit", {"size": {"height": 120, "width": 100}, "crop_size": 96}),
    ("Levit", {"size": {"shortest_edge": 112}, "crop_size": 112}),
    (
        "EfficientNet",
        {"size": SMALL, "include_top": False, "rescale_offset": True, "rescale_factor": 1 / 127.5},
    ),
    ("EfficientNet", {"size": SMALL, "do_normalize": False, "include_top": True}),
    ("EfficientNet", {"do_center_crop": True, "rescale_offset": True}),
    ("MobileViT", {"size": {"shortest_edge": 288}, "do_normalize": True}),
    ("MobileViT", {"do_flip_channel_order": False}),
    ("PPLCNet", {"resize_short": 160, "crop_size": 128}),
    ("Perceiver", {"size": {"height": 128, "width": 128}, "crop_size": {"height": 200, "width": 200}}),
    ("Perceiver", {"do_center_crop": False}),
    ("Donut", {"size": {"height": 160, "width": 120}}),
    ("Donut", {"size": {"height": 100, "width": 220}}),
    ("Nougat", {"do_crop_margin": False}),
    ("Owlv2", {"size": {"height": 200, "width": 200}}),
    ("Sam", {"size": {"longest_edge": 256}, "pad_size": {"height": 256, "width": 256}}),
    ("Janus", {"size": {"height": 128, "width": 128}, "background_color": [255, 0, 9]}),
    ("Llava", {"do_pad": True}),
    ("RTDetr", {"size": SMALL, "do_normalize": True}),
    ("Segformer", {"size": SMALL, "do_rescale": False}),
]


@pytest.mark.reference
@pytest.mark.parametrize(("name", "said"), VARIANTS, ids=lambda v: v if isinstance(v, str) else ",".join(v))
def test_variants_of_what_a_processor_is_told(name, said):
    assert deviation(*made(name, **said)) < 0.02


@pytest.mark.reference
def test_our_defaults_are_the_librarys():
    for name, ours in table()["classes"].items():
        try:
            _, config = made(name, **NO_OCR.get(name, {}))
        except pytest.skip.Exception:
            continue
        for key, value in ours.items():
            theirs = config.get(key, value)
            same = math.isclose(theirs, value) if isinstance(value, float) else theirs == value
            assert same or (key in ("crop_size", "size") and isinstance(theirs, dict)), (name, key)
