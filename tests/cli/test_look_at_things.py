"""`onnxlens look` at what models find: its page says what, where, and what each way makes of it."""

import json
import shlex
from pathlib import Path

import cv2
import onnx
import pytest
from oracles.things import detector, segmenter, spots

from onnxlens.cli.commands.photos.subject import Subject
from onnxlens.cli.commands.photos.ways import WAYS


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    onnx.save(detector(), "boxes.onnx")
    onnx.save(segmenter(), "regions.onnx")
    for name, photo in {"two": spots((24, 36, 0), (40, 84, 2)), "none": spots()}.items():
        cv2.imwrite(f"{name}.png", photo[..., ::-1])
    return tmp_path


def commands(text):
    """The command lines of a page."""
    import html

    blocks = [part.split("</code>")[0] for part in text.split("<code>")[1:]]
    return [line for block in blocks for line in html.unescape(block).splitlines()]


@pytest.mark.parametrize("model", ["boxes", "regions"])
def test_every_way_is_of_what_was_found_and_every_command_works(place, run, model):
    done = run("look", f"{model}.onnx", "two.png", "-o", "page", "--method", "layercam,rise", "--json")
    assert done.code == 0, done.err
    (record,) = done.records
    assert record["missing"] == {}
    best = [p for p in record["predictions"] if p["probability"] > 0.9]
    assert sorted(p["label"].split()[-1] for p in best) == ["blue", "red"]
    text = Path("page/index.html").read_text()
    for key in ("found", *WAYS, "layercam", "rise"):
        assert f'<section id="{key}"' in text
    lines = commands(text)
    assert len(lines) >= len(WAYS) + 3
    for i, line in enumerate(lines):
        words = shlex.split(line)[1:]
        words += ["--iterations", "1", "--octaves", "1"] if words[0] == "dream" else []
        words += [] if words[0] == "predict" else ["-o", f"again-{i}"]
        done = run(*words)
        assert done.code == 0, f"{line}\n{done.err}"


def test_a_target_is_what_the_ways_are_of(place, run):
    done = run("look", "boxes.onnx", "two.png", "--target", "box(red)", "-o", "page", "--json")
    assert done.code == 0, done.err
    text = Path("page/index.html").read_text()
    assert "speak for box" in text
    assert any("--target &#39;box(red)&#39;" in part for part in text.split("<code>"))
    manifest = json.loads(Path("page/manifest.json").read_text())
    assert manifest["arguments"]["target"] == "box(red)"


def test_where_nothing_was_found_the_page_says_so(place, run):
    done = run("look", "boxes.onnx", "none.png", "-o", "page")
    assert done.code == 0, done.err
    assert "none.png: nothing found" in done.out
    text = Path("page/index.html").read_text()
    assert "Nothing, in this photo." in text
    assert text.count("the model found nothing in this photo") == 2  # in the place of maps
    assert "unlikely box" in text  # what comes closest, back at the pixels
    assert '<section id="responses"' in text


@pytest.mark.parametrize(("seconds", "patch"), [(0.001, None), (3, 8), (900, "too long")])
def test_of_a_slow_model_patches_are_larger_or_none_at_all(place, run, monkeypatch, seconds, patch):
    monkeypatch.setattr(Subject, "_seconds", lambda subject: seconds)
    done = run("look", "regions.onnx", "two.png", "-o", "page", "--json")
    assert done.code == 0, done.err
    missing = done.records[0]["missing"]
    (line,) = [c for c in commands(Path("page/index.html").read_text()) if c.startswith("onnxlens occlusion")]
    if patch == "too long":
        assert "takes 900 s for an answer" in missing["occlusion"]
        assert "--patch" not in line
    else:
        assert missing == {}
        assert ("--patch" in line) == (patch is not None)
        assert patch is None or f"--patch {patch} --stride {patch}" in line


@pytest.mark.parametrize(
    ("target", "said"),
    [("box(pink)", "no class is called 'pink'"), ("region(red)", "have no region"), ("pink", "'pink'")],
)
def test_a_target_that_cannot_be_is_one_line_and_writes_nothing(place, run, target, said):
    done = run("look", "boxes.onnx", "two.png", "--target", target, "-o", "page")
    assert done.code == 2
    assert said in done.err.splitlines()[-1]
    assert not Path("page").exists()
