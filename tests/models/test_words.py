import json

import pytest

from onnxlens.models.network.producers import huggingface
from onnxlens.models.network.sidecar import find


@pytest.fixture
def words(tmp_path):
    def found(metadata=None, **files):
        for name, content in files.items():
            text = content if isinstance(content, str) else json.dumps(content)
            (tmp_path / name.replace("__", ".")).write_text(text, encoding="utf-8")
        return dict(find(tmp_path / "model.onnx", metadata or {}).words)

    return found


def test_nothing_said_is_nothing_known(words):
    assert words() == {}


def test_ultralytics_words_are_their_metadata(words):
    said = {
        "task": "pose",
        "names": "{0: 'person'}",
        "stride": "32",
        "kpt_shape": "[17, 3]",
        "end2end": "True",
    }
    assert words(said) == said


def test_metadata_of_others_says_nothing(words):
    assert words({"task": "detect", "names": "{0: 'a'}"}) == {}


def test_single_words_of_a_config(words):
    config = {
        "model_type": "segformer",
        "architectures": ["SegformerForSemanticSegmentation", "Other"],
        "num_queries": 100,
        "is_decoder": False,
        "id2label": {"0": "wall"},
        "long": "x" * 201,
        "none": None,
    }
    assert words(config__json=config) == {
        "model_type": "segformer",
        "architectures": "SegformerForSemanticSegmentation",
        "num_queries": "100",
        "is_decoder": "False",
    }


@pytest.mark.parametrize(
    "text", ["{", "[]", "3", "[" * 100_000, '{"architectures": {}}', '{"architectures": [[1]]}']
)
def test_a_hostile_config_says_nothing(words, text):
    assert words(config__json=text) == {}


def test_of_many_words_few_are_kept(words):
    assert len(words(config__json={f"key {i}": i for i in range(1000)})) == 64


@pytest.mark.parametrize(
    "name", ["ppocr_keys_v1.txt", "en_dict.txt", "dict.txt", "keys.txt", "charset.txt", "alphabet.txt"]
)
def test_a_file_of_characters(words, name):
    assert words(**{name.replace(".", "__"): "a\n \n\u3000\n"}) == {"character": "a\n \n\u3000\n"}


def test_several_files_of_characters_are_not_chosen_from(words):
    assert words(en_dict__txt="a\nb", ch_dict__txt="c\nd") == {}


def test_characters_in_the_metadata_come_first(words):
    assert words({"character": "x\ny"}, dict__txt="a\nb") == {"character": "x\ny"}
    assert words({"character": "x" * (2**22 + 1)}) == {}


@pytest.mark.parametrize(
    ("architecture", "kind"),
    [
        ("CLIPVisionModelWithProjection", "values"),
        ("SiglipVisionModel", "values"),
        ("Dinov2Model", "values"),
        ("ViTForImageClassification", None),
        ("CLIPForImageClassification", None),
        ("DetrForObjectDetection", None),
        ("resnet18", None),
    ],
)
def test_an_architecture_without_a_head_answers_values(architecture: str, kind: str | None):
    assert huggingface.readout({"architectures": [architecture]}) == kind
