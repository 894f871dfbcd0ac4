import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles.toys import metadata_of

from onnxlens.models.network.labels import read_labels, to_labels
from onnxlens.models.network.sidecar import Sidecar, find
from onnxlens.models.photos.preprocess import Preprocess

THREE = ["cat", "dog", "fish"]
STATISTICS = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.2, 0.1], "do_normalize": True}
YOLO = {"names": "{0: 'cat', 1: 'dog', 2: 'fish'}", "imgsz": "[320, 640]", "task": "detect", "stride": "32"}


def model_in(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder / "model.onnx"


def made(found):
    return Preprocess(**{key: value for key, value in found.facts.items() if key != "oblong"})


def test_nothing_found_is_nothing_said(tmp_path):
    assert find(tmp_path / "model.onnx", {}) == Sidecar(None, None, "")


# onnxlens's own metadata


def test_own_metadata_there_and_back(tmp_path):
    preprocess = Preprocess(size=(96, 128), fit="stretch", scale=1 / 255, mean=(0.5,), channels="grey")
    found = find(tmp_path / "model.onnx", metadata_of(preprocess, THREE), 3)
    assert made(found) == preprocess
    assert found.labels == THREE
    assert "the model's metadata" in found.source


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "passed over"),
        ("[]", "not an object"),
        ('{"size": [8, 8], "colour": 1}', "unknown key 'colour'"),
        ('{"size": [99999, 8]}', "size"),
        ("[" * 100_000, "nested too deeply"),
        ('{"size": [8, 8], "scale": NaN}', "scale"),
    ],
)
def test_broken_own_metadata_is_passed_over_with_the_reason(tmp_path, text, why):
    found = find(tmp_path / "model.onnx", {"onnxlens.preprocess": text, "onnxlens.labels": text})
    assert found.facts is None
    assert found.labels is None
    assert why in found.source
    assert "\n" not in found.source


# Hugging Face


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        # ViT: stretched to a square, in the spelling of today and of 2021.
        ({"size": {"height": 224, "width": 224}}, {"size": (224, 224), "fit": "stretch"}),
        (
            {"size": 384, "feature_extractor_type": "ViTFeatureExtractor"},
            {"size": (384, 384), "fit": "stretch"},
        ),
        # MobileNet, CLIP: the shorter side, then the middle.
        (
            {
                "size": {"shortest_edge": 256},
                "do_center_crop": True,
                "crop_size": {"height": 224, "width": 224},
            },
            {"size": (224, 224), "fit": "crop", "resize": 256},
        ),
        (
            {"size": 224, "do_center_crop": True, "crop_size": 224, "resample": 3},
            {"size": (224, 224), "fit": "crop", "resize": 224, "interpolation": "cubic"},
        ),
        # DeiT: a square, then its middle.
        (
            {"size": {"height": 256, "width": 256}, "do_center_crop": True, "crop_size": 224},
            {"size": (224, 224), "fit": "stretch", "resize": 256},
        ),
        # ConvNext, which ResNet uses too.
        (
            {
                "size": {"shortest_edge": 224},
                "crop_pct": 0.875,
                "image_processor_type": "ConvNextImageProcessor",
            },
            {"size": (224, 224), "fit": "crop", "resize": 256, "interpolation": "cubic"},
        ),
        (
            {"size": {"shortest_edge": 384}, "image_processor_type": "ConvNextImageProcessor"},
            {"size": (384, 384), "fit": "stretch", "interpolation": "cubic"},
        ),
    ],
)
def test_preprocessor_config(tmp_path, config, wanted):
    path = model_in(tmp_path, preprocessor_config__json=config | STATISTICS)
    found = find(path, {})
    numbers = {"scale": 1 / 255, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.2, 0.1)}
    assert made(found) == Preprocess(**(numbers | wanted))
    assert found.source == "preprocessing from preprocessor_config.json"


def test_rescaling_and_normalising_can_be_off(tmp_path):
    config = {"size": {"height": 8, "width": 9}, "do_rescale": False, "do_normalize": False}
    assert made(find(model_in(tmp_path, preprocessor_config__json=config), {})) == Preprocess(
        size=(8, 9), fit="stretch"
    )
    config |= {"do_rescale": True, "rescale_factor": 1 / 127.5}
    found = find(model_in(tmp_path, preprocessor_config__json=config), {})
    assert made(found) == Preprocess(size=(8, 9), fit="stretch", scale=1 / 127.5)


@pytest.mark.parametrize(
    "config",
    [
        {},
        [],
        "text",
        {"size": None},
        {"size": {"longest_edge": 1333, "shortest_edge": 800}},
        {"size": {"shortest_edge": 224}},
        {"size": {}, "do_center_crop": True, "crop_size": 224},
        {"size": {"height": 224, "width": 224}, "do_resize": False},
        {"size": {"height": 224, "width": 224}, "do_normalize": True, "image_mean": 3},
        {"size": {"height": 10**9, "width": 10**9}},
        {"size": {"shortest_edge": 10**400}, "crop_pct": 0.9},
        {"size": {"shortest_edge": 224}, "crop_pct": 1e-300},
        {"size": {"height": 8, "width": 8}, "resample": [], "rescale_factor": "1"},
    ],
)
def test_a_config_without_one_fixed_size_is_passed_over(tmp_path, config):
    config = STATISTICS | config if isinstance(config, dict) and config else config
    found = find(model_in(tmp_path, preprocessor_config__json=config), {})
    assert found.facts is None
    assert found.source.startswith("preprocessing in preprocessor_config.json passed over: ")


def test_labels_of_a_config(tmp_path):
    path = model_in(tmp_path, config__json={"id2label": {"0": "cat", "2": "fish", "1": "dog"}})
    assert find(path, {}, 3).labels == THREE
    assert find(path, {}).source == "labels from config.json"
    assert find(path, {}, 4).labels is None
    assert "3 labels for 4 classes" in find(path, {}, 4).source


def test_made_up_labels_of_a_config_do_not_count(tmp_path):
    path = model_in(tmp_path, config__json={"id2label": {"0": "LABEL_0", "1": "LABEL_1"}})
    assert find(path, {}, 2) == Sidecar(None, None, "")


def test_the_folder_above_counts_only_for_an_onnx_folder(tmp_path):
    config = {"id2label": dict(enumerate(THREE))}
    model_in(tmp_path, config__json=config)
    assert find(model_in(tmp_path / "onnx"), {}, 3).labels == THREE
    assert find(model_in(tmp_path / "other"), {}, 3).labels is None


# Ultralytics


def test_ultralytics_metadata(tmp_path):
    found = find(tmp_path / "model.onnx", YOLO)
    assert made(found) == Preprocess(
        size=(320, 640), fit="letterbox", antialias=False, scale=1 / 255, fill=114
    )
    assert found.labels == THREE


def test_ultralytics_classifiers_crop(tmp_path):
    found = find(tmp_path / "model.onnx", YOLO | {"task": "classify", "imgsz": "224"}, 3)
    assert made(found) == Preprocess(size=(224, 224), fit="crop", scale=1 / 255)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('false')",
        "{0: 'a', 2: 'b'}",
        "{0: 'a'",
        "(" * 5000,
        "{None: 'a'}",
        "{1e999: 'a'}",
        "{0: ['a']}",
        "{[]: 1}",
        "'a' * 9",
        "1" * 2**18 + "1",
        "",
        "{}",
    ],
)
def test_hostile_literals_are_passed_over(tmp_path, text):
    found = find(tmp_path / "model.onnx", YOLO | {"names": text, "imgsz": text})
    assert found.facts is None
    assert found.labels is None
    assert "passed over" in found.source
    assert len(found.source) < 500


def test_names_without_the_rest_of_ultralytics_mean_nothing(tmp_path):
    assert find(tmp_path / "model.onnx", {"names": "{0: 'cat'}"}) == Sidecar(None, None, "")


# Label files


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.txt", "cat\ndog\nfish\n\n"),
        ("labels.txt", "\ufeffcat\r\ndog\r\nfish"),
        ("labels.csv", "0,cat\n1,dog\n2,fish\n"),
        ("labels.csv", "2,fish\n0,cat\n1,dog\n"),
        ("labels.csv", 'index,name\n0,"cat"\n1, dog\n2,fish'),
        ("labels.csv", "cat\ndog\nfish\n"),
        ("labels.json", '["cat", "dog", "fish"]'),
        ("labels.json", '{"0": "cat", "1": "dog", "2": "fish"}'),
        ("model.labels.txt", "cat\ndog\nfish"),
        ("pet-labels.csv", "0,cat\n1,dog\n2,fish\n"),
    ],
)
def test_label_files(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    found = find(tmp_path / "model.onnx", {}, 3)
    assert found == Sidecar(None, THREE, f"labels from {name}")


def test_a_name_may_hold_commas(tmp_path):
    (tmp_path / "labels.csv").write_text("0,tench, Tinca tinca\n1,goldfish, Carassius auratus\n")
    assert read_labels(tmp_path / "labels.csv") == ["tench, Tinca tinca", "goldfish, Carassius auratus"]


def test_a_space_is_a_character_of_an_alphabet(tmp_path):
    """PaddleOCR's en_dict.txt ends with it, as a line of its own."""
    (tmp_path / "en_dict.txt").write_text("a\nb\n \n")
    assert read_labels(tmp_path / "en_dict.txt") == ["a", "b", " "]
    assert to_labels(["", "a", " ", "\u3000", " b  c "]) == ["", "a", " ", " ", "b c"]


def test_the_models_own_label_file_comes_first(tmp_path):
    model_in(
        tmp_path, labels__txt="x\ny\nz", model__labels__txt="cat\ndog\nfish", other__labels__txt="a\nb\nc"
    )
    assert find(tmp_path / "model.onnx", {}, 3).labels == THREE
    assert find(tmp_path / "third.onnx", {}, 3).labels == ["x", "y", "z"]


def test_another_models_label_file_is_not_taken(tmp_path):
    assert find(model_in(tmp_path, other__labels__txt="a\nb\nc"), {}, 3).labels is None


def test_several_label_files_are_not_chosen_from(tmp_path):
    found = find(model_in(tmp_path, **{"a-labels__txt": "a\nb", "b-labels__csv": "0,a\n1,b"}), {}, 2)
    assert found.labels is None
    assert "several label files: a-labels.txt, b-labels.csv" in found.source


def test_labels_must_be_as_many_as_classes(tmp_path):
    path = model_in(tmp_path, labels__txt="cat\ndog\nfish")
    assert find(path, {}, 4) == Sidecar(
        None, None, "labels in labels.txt passed over: 3 labels for 4 classes"
    )
    assert find(path, {}, None).labels == THREE


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.csv", b"0,cat\n0,dog\n"),
        ("labels.csv", b"1,cat\n2,dog\n"),
        ("labels.json", b'{"a": "cat"}'),
        ("labels.json", b'{"0": {"nested": 1}}'),
        ("labels.json", b"3"),
        ("labels.json", b"{"),
        ("labels.json", b"[" * 200_000),
        ("labels.txt", b"\xff\xfe\x00"),
        ("labels.txt", b""),
        ("labels.txt", b"x\n" * 2**21 + b"x"),
    ],
)
def test_hostile_label_files_are_passed_over(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    found = find(tmp_path / "model.onnx", {})
    assert found.labels is None
    assert found.source.startswith(f"labels in {name} passed over: ")
    assert len(found.source) < 300


def test_labels_become_one_clean_line_each():
    names = ["a\nb", "\x1b[31mred\x07", "  wide   name ", "x" * 10_000, "naïve café", "\u202edesrever", 7]
    labels = to_labels(names)
    assert labels[:3] == ["a b", "[31mred", "wide name"]
    assert len(labels[3]) == 200
    assert labels[4:] == ["naïve café", "desrever", "7"]


def test_what_is_nearer_to_the_model_wins(tmp_path):
    path = model_in(
        tmp_path,
        labels__txt="x\ny\nz",
        config__json={"id2label": {"0": "h", "1": "f", "2": "l"}},
        preprocessor_config__json={"size": {"height": 224, "width": 224}, **STATISTICS},
    )
    own = Preprocess(size=(10, 10))
    metadata = YOLO | metadata_of(own, THREE[::-1])
    found = find(path, metadata, 3)
    assert (made(found), found.labels) == (own, THREE[::-1])
    assert made(find(path, YOLO, 3)) == Preprocess(
        size=(320, 640), fit="letterbox", antialias=False, scale=1 / 255, fill=114
    )
    assert find(path, {}, 3).labels == ["h", "f", "l"]
    # What does not fit gives way to the next.
    assert find(path, metadata | {"onnxlens.labels": '["one"]'}, 3).labels == THREE


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
KEYS = [
    "size", "crop_size", "crop_pct", "do_center_crop", "do_resize", "image_mean", "image_std", "resample",
    "rescale_factor", "image_processor_type", "id2label",
]  # fmt: skip
SIZES = st.dictionaries(
    st.sampled_from(["height", "width", "shortest_edge"]), JSON | st.just(224), max_size=3
)


@settings(max_examples=200, deadline=None)
@given(config=st.dictionaries(st.sampled_from(KEYS), JSON | SIZES | st.just(True) | st.just(224)))
def test_no_config_is_an_error(tmp_path_factory, config):
    path = model_in(tmp_path_factory.mktemp("hub"), config__json=config, preprocessor_config__json=config)
    found = find(path, {"onnxlens.preprocess": json.dumps(config), "onnxlens.labels": json.dumps(config)})
    assert isinstance(found, Sidecar)


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (
            {"problem_type": "multi_label_classification", "id2label": {"0": "a", "1": "b", "2": "c"}},
            "labels",
        ),
        ({"problem_type": "single_label_classification"}, "classes"),
        ({"problem_type": "regression"}, "values"),
        ({"id2label": {"0": "LABEL_0"}}, "values"),  # one label only is a regression for transformers
        ({"id2label": {"0": "a", "1": "b"}}, None),
        ({"problem_type": ["odd"]}, None),
        ([], None),
    ],
)
def test_what_hugging_face_says_of_the_answers(config, kind, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert find(tmp_path / "model.onnx", {}).readout == kind
