"""Methods that read attention, from the command line: on a transformer, and on a model that has none."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from bench.tasks.scenes import TEST_SEEDS, among, several
from oracles.desk import TASKS

from onnxlens.engine.attribution.methods import METHODS
from onnxlens.models.lens import Lens

NAMES = [name for name, method in METHODS.items() if method.needs == "attention"]
VIT = str(TASKS / "vit.onnx")


@pytest.fixture
def photos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for seed in TEST_SEEDS[:2]:
        cv2.imwrite(f"photos/{seed}.png", among(seed).image[..., ::-1])
    return sorted(map(str, Path("photos").iterdir()))


@pytest.mark.parametrize("name", NAMES)
def test_a_command_a_run_and_python_give_the_same(name, photos, run):
    done = run(name, VIT, photos[0], "--json", "-o", "one")
    assert done.code == 0, done.err
    (record,) = done.records
    (found,) = Lens(VIT).attribute(photos[0], name)
    np.testing.assert_array_equal(np.load(Path("one", record["files"]["layer_map"])), found.values)
    assert (record["method"], record["map_size"], record.get("problem")) == (name, [12, 12], None)
    assert record["at"] == record["layer"]
    assert run("run", VIT, "photos", "--method", name, "-o", "run").code == 0
    rows = [json.loads(line) for path in Path("run/rows").iterdir() for line in path.open()]
    row = next(r for r in rows if photos[0].endswith(r["path"]))
    np.testing.assert_allclose(np.load(Path("run", row["map"])), found.map, rtol=1e-4, atol=1e-6)
    assert run("report", "run", "-o", "report.html").code == 0
    assert f'"{name}"' in Path("report.html").read_text()


def test_they_are_panels_of_a_page_and_measured(photos, run):
    done = run("look", VIT, photos[0], "--method", ",".join(NAMES), "-o", "page", "--json")
    assert done.code == 0, done.err
    assert not set(NAMES) & set(done.records[0]["missing"])
    measured = run(
        "evaluate", VIT, "photos", "--methods", "rollout,chefer", "--metrics", "deletion", "-o", "measured"
    )
    assert measured.code == 0, measured.err
    assert "chefer" in measured.out


@pytest.mark.parametrize("name", NAMES)
def test_a_model_without_attention_is_one_line(name, photos, run):
    done = run(name, "scenes", photos[0], "-q")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert f"{name} is of transformers, and this model has no attention" in done.err
    assert "gradcam" in done.err
    layered = run(name, VIT, photos[0], "--block", 99) if name == "attention" else None
    assert layered is None or "there is no block 99" in layered.err


def test_all_methods_are_those_that_any_model_has(photos, run):
    done = run("run", "scenes", "photos", "--method", "all", "--dry-run", "--json", "-o", "tried")
    assert done.code == 0, done.err
    assert not set(NAMES) & set(done.records[0]["methods"])


def test_boxes_are_explained_by_what_their_query_asks_and_by_tokens(photos, run):
    """A detector answers for one picture at a time, and its decoder asks the tokens of the encoder."""
    detr = str(TASKS / "detr.onnx")
    cv2.imwrite("scene.png", several(TEST_SEEDS[1]).image[..., ::-1])
    for name in ("attention", "token-ablation"):
        done = run(name, detr, "scene.png", "--target", "box(0)", "--json", "-o", name)
        assert (done.code, done.records[0]["map_size"]) == (0, [16, 16]), done.err
        (found,) = Lens(detr).attribute("scene.png", name, ["box(0)"])
        peak = np.unravel_index(found.at_photo().argmax(), found.at_photo().shape)
        y0, x0, y1, x1 = found.target.box
        assert y0 - 8 <= peak[0] <= y1 + 8
        assert x0 - 8 <= peak[1] <= x1 + 8
    refused = run("rollout", detr, "scene.png", "--target", "box(0)", "-q", "-o", "refused")
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)
    assert "others come between; take attention" in refused.err


def test_windows_are_laid_out_and_what_goes_through_layers_is_refused(photos, run):
    swin = str(TASKS / "swin.onnx")
    done = run("attention", swin, photos[0], "--json", "-o", "windows")
    assert (done.code, done.records[0]["map_size"]) == (0, [12, 12])
    refused = run("rollout", swin, photos[0], "-q", "-o", "refused")
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)
    assert "within 4 windows; take attention" in refused.err
