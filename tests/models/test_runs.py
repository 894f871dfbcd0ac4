"""Runs from Python: what `onnxlens.run`, `verify` and `merge` do is what the commands do."""

import json
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from oracles.runs import manifest, rows, table, tree
from oracles.toys import UNIT, blob, colours

import onnxlens
from onnxlens.cli import main
from onnxlens.engine.attribution.methods import METHODS, options_of
from onnxlens.models.attribution.attribute import attribute
from onnxlens.models.network.vision_model import SETTINGS
from onnxlens.models.runs.job import Spec
from onnxlens.models.runs.options import names_of_options
from onnxlens.models.runs.plan import Plan
from onnxlens.models.runs.record import command
from onnxlens.models.storage.choice import Choice


@pytest.fixture
def album(tmp_path, monkeypatch):
    """A model and five photos in a tree, one of which is none."""
    monkeypatch.chdir(tmp_path)
    onnx.save(colours(preprocess=UNIT), "model.onnx")
    for i, name in enumerate(["a/1.png", "a/2.png", "b/1.png", "b/2.jpg"]):
        Path("album", name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(f"album/{name}", blob(at=(20 + 5 * i, 30), colour=i % 3)[..., ::-1])
    Path("album/b/bad.png").write_text("no picture")
    return "album"


def test_a_run_from_python_is_that_of_the_command(album):
    told = []
    done = onnxlens.run(
        Path("model.onnx"),
        [album],
        "python",
        ["gradcam", "saliency"],
        targets="top2",
        progress=lambda *now: told.append(now),
    )
    assert (done.state, done.images, done.rows, done.errors, done.problems) == ("done", 5, 17, 1, 4)
    assert (told[-1], done.place) == ((5, 5), "python")
    words = ["run", "model.onnx", album, "-o", "command", "--method", "gradcam,saliency", "--target", "top2"]
    with pytest.raises(SystemExit):
        main(words)
    assert (table("python"), tree("python")) == (table("command"), tree("command"))
    apart = dict.fromkeys(("command_line", "seconds"))
    assert manifest("python") | apart == manifest("command") | apart
    assert sorted(r["path"] for r in done.read()) == sorted(r["path"] for r in rows("command"))


ANYWHERE = [name for name, method in METHODS.items() if not method.needs]
LESS = {
    "steps": 4,
    "masks": 32,
    "samples": 32,
    "permutations": 2,
    "designs": 4,
    "patch": (16, 16),
    "strongest": 8,
}


def less(name):
    """Options that make a method quick."""
    return {key: value for key, value in LESS.items() if key in options_of(METHODS[name])}


@pytest.mark.parametrize("name", ANYWHERE)
def test_a_run_of_any_method_says_what_python_finds(name, album):
    done = onnxlens.run("model.onnx", f"{album}/a", "out", name, targets=["top2"], **less(name))
    assert (done.state, done.images, done.rows, done.errors) == ("done", 2, 4, 0)
    lens = onnxlens.Lens("model.onnx")
    for row in done.read():
        photo = onnxlens.read_photo(f"{album}/a/{row['path']}")
        (found,) = attribute(lens, photo, name, [row["target"]], **less(name))
        assert (row["method"], bool(row["problem"])) == (name, bool(found.problem))
        assert row["score"] == pytest.approx(found.score, rel=1e-4)
        if not found.problem:
            kept = np.load(f"out/{row['map']}")
            np.testing.assert_allclose(kept, found.map, rtol=1e-3, atol=1e-5 * np.abs(kept).max())
            assert Path("out", row["picture"]).is_file()
    said = manifest("out")["arguments"]
    assert {key: said[key] for key in less(name)} == json.loads(json.dumps(less(name)))
    again = command(manifest("out"), next(iter(done.read())))
    assert all(f"--{key} " in again for key in less(name))


def test_the_options_of_methods_are_called_like_nothing_else_of_a_run():
    kinds = (Spec, Plan, Choice)
    assert not names_of_options() & {*SETTINGS, *(f.name for kind in kinds for f in fields(kind))}


def test_an_option_goes_to_all_methods_that_have_it_and_none_that_has_not(album):
    onnxlens.run("model.onnx", f"{album}/a", "out", ["gradcam", "smoothgrad", "integrated"], steps=3)
    assert manifest("out")["arguments"]["steps"] == 3
    onnxlens.run("model.onnx", f"{album}/a", "usual", "integrated", steps=50, fill=None)
    assert "steps" not in manifest("usual")["arguments"]  # as if nobody had said it
    more = {"resume": True, "steps": 3}
    with pytest.raises(onnxlens.OnnxlensError, match="other"):
        onnxlens.run("model.onnx", f"{album}/a", "usual", "integrated", **more)


def test_nothing_is_printed(album, capfd):
    onnxlens.run("model.onnx", album, "out")
    onnxlens.verify("out")
    onnxlens.merge(["out"], "again")
    assert capfd.readouterr() == ("", "")


def test_what_ends_a_run_loses_nothing_and_resuming_goes_on(album):
    whole = onnxlens.run("model.onnx", album, "whole")

    def stop(done, count):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        onnxlens.run("model.onnx", album, "out", batch=2, workers=1, progress=stop)
    assert manifest("out")["state"] == "interrupted"
    assert len(rows("out")) == 2
    told = []
    done = onnxlens.run("model.onnx", album, "out", resume=True, progress=lambda *now: told.append(now))
    assert done == whole._replace(place="out")
    assert told[-1] == (3, 3)
    assert (table("out"), tree("out")) == (table("whole"), tree("whole"))


def test_a_run_stops_at_the_first_photo_that_fails(album):
    done = onnxlens.run("model.onnx", "album/b", "out", batch=1, workers=1, fail_fast=True)
    assert (done.state, done.errors) == ("stopped", 1)
    assert manifest("out")["state"] == "stopped"


def test_faults_are_found(album):
    done = onnxlens.run("model.onnx", album, "out")
    assert onnxlens.verify("out", photos=True) == []
    lost, cut = (next(r[key] for r in done.read() if r[key]) for key in ("picture", "map"))
    Path("out", lost).unlink()
    Path("out", cut).write_bytes(Path("out", cut).read_bytes()[:-1])
    Path("album/a/1.png").write_bytes(Path("album/a/2.png").read_bytes())
    assert {(f.file, f.fault) for f in onnxlens.verify("out", photos=True)} == {
        (lost, "is not there"),
        (cut, "is cut short"),
        ("a/1.png", "the photo has changed since"),
    }


def test_parts_joined_are_one_run(album):
    parts = [onnxlens.run("model.onnx", album, f"part-{i}", part=(i, 2), batch=1) for i in (1, 2)]
    whole = onnxlens.run("model.onnx", album, "whole")
    joined = onnxlens.merge([part.place for part in parts], "joined")
    assert joined == whole._replace(place="joined")
    assert (table("joined"), tree("joined")) == (table("whole"), tree("whole"))
    assert onnxlens.verify("joined") == []
    with pytest.raises(onnxlens.OnnxlensError, match="is one of the runs"):
        onnxlens.merge(["part-1", "joined"], Path("joined"), overwrite=True)
    with pytest.raises(onnxlens.OnnxlensError, match="say which runs"):
        onnxlens.merge([], "none")


@pytest.mark.parametrize("name", ["rise", "shapley", "sobol"])
def test_four_parts_of_what_is_drawn_at_random_are_the_whole_to_the_byte(name, album):
    options = {"cells": 3, **less(name), **({} if name == "sobol" else {"tolerance": 0.2}), "random_seed": 5}
    onnxlens.run("model.onnx", album, "whole", name, **options)
    parts = [onnxlens.run("model.onnx", album, f"{i}", name, part=(i, 4), **options) for i in range(1, 5)]
    onnxlens.merge([part.place for part in parts], "joined")
    assert (table("joined"), tree("joined")) == (table("whole"), tree("whole"))
    assert any(row["map"] for row in rows("joined"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"methods": "gradcm"}, "no method 'gradcm'; nearest: gradcam"),
        ({"resum": True}, "no option 'resum'; nearest: resume"),
        ({"sha256": "0"}, "no option 'sha256'"),
        ({"resume": True, "overwrite": True}, "say one of them"),
        ({"rows": "xml"}, "rows 'xml' is none of 'jsonl', 'parquet'"),
        ({"pictures": "gif"}, "pictures 'gif' is none of"),
        ({"engine": "spark"}, "engine 'spark' is none of"),
        ({"batch": 0}, "batch is a whole number above 0"),
        ({"colour": "purple"}, "purple"),
        ({"targets": ["nobody"]}, "nobody"),
        ({"layer": "conv99"}, "conv99"),
        ({"steps": 3}, "'steps' is no option of gradcam: it is one of integrated"),
        ({"methods": "rise", "masks": 0}, "masks is at least 1, not 0"),
        ({"methods": "rise", "layer": "conv"}, "rise looks at no layer"),
        ({"methods": "lrp", "layer": "conv"}, "a run of lrp looks back from classes"),
        ({"methods": "integrated", "baseline": np.zeros(3)}, "a word or a number, not ndarray"),
        ({"methods": "integrated", "baseline": "blurr"}, "there is no fill 'blurr'"),
        ({"methods": ["gradcam", "rise"], "workers": 2}, "rise takes one photo after the other"),
        ({"photos": "nowhere"}, "nowhere: no such file or folder"),
        ({"photos": []}, "say which photos"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(album, options, said):
    with pytest.raises(onnxlens.OnnxlensError, match=said):
        onnxlens.run(**{"model": "model.onnx", "photos": album, "out": "out", **options})
    assert not Path("out").exists()
