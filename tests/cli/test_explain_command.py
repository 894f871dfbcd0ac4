"""`onnxlens explain` and the commands of the methods: made from one table, each with all that others have."""

import json
import re
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from onnxlens.cli import group
from onnxlens.engine.attribution.methods import METHODS, options_of
from onnxlens.models.lens import Lens
from onnxlens.models.photos.photo import read_photo

ANYWHERE = [name for name, method in METHODS.items() if not method.needs]
# What keeps methods that look at many inputs short here.
QUICK = {"steps": 4, "masks": 16, "samples": 60, "permutations": 2, "designs": 4, "patch": 8}


def quick(name):
    own = options_of(METHODS[name])
    return {key: value for key, value in QUICK.items() if key in own}


def flags(name):
    return [word for key, value in quick(name).items() for word in (f"--{key}", value)]


def manifest(folder="onnxlens-out"):
    return json.loads(Path(folder, "manifest.json").read_text())


def numbers(record, folder="onnxlens-out"):
    """What a record's file of numbers holds."""
    files = record["files"]
    key = next(k for k in ("signal", "layer_map", "photo_map") if k in files)
    return np.load(Path(folder, files[key]))


@pytest.mark.parametrize("name", ANYWHERE)
def test_a_method_is_a_command_and_a_choice(name, place, run):
    alone = run(name, "model.onnx", "red.png", "--target", "red", *flags(name), "--json", "-o", "alone")
    chosen = run(
        *("explain", "model.onnx", "red.png", "--method", name, "--target", "red", *flags(name)),
        *("--json", "-o", "chosen"),
    )
    assert (alone.code, chosen.code) == (0, 0)
    assert alone.records == chosen.records
    (record,) = alone.records
    assert (record["method"], record["target"]["label"], record["schema"]) == (name, "red", 2)
    assert record["map_size"] == ([16, 16] if name == "cam" else [32, 32])  # of what the means are of
    for file in record["files"].values():
        assert Path("alone", file).read_bytes() == Path("chosen", file).read_bytes()
    arguments = manifest("alone")["arguments"]
    assert {"method", "targets", "style", *options_of(METHODS[name])} <= arguments.keys()


@pytest.mark.parametrize("name", ANYWHERE)
def test_the_files_are_what_python_gives(name, place, run):
    (record,) = run(name, "model.onnx", "blue.jpg", "--target", "blue", *flags(name), "--json").records
    (found,) = Lens("model.onnx").attribute("blue.jpg", name, ["blue"], **quick(name))
    values = found.at_photo() if name == "occlusion" else found.values
    np.testing.assert_array_equal(numbers(record), values)
    key = "overlay" if METHODS[name].style == "overlay" else "picture"
    drawn = found.overlay(alpha=0.7) if key == "overlay" else found.picture(METHODS[name].style)
    np.testing.assert_array_equal(read_photo(Path("onnxlens-out", record["files"][key])), drawn)
    said = {
        key: value for key, value in record.items() if key not in ("schema", "image", "files", "not_drawn")
    }
    assert said == json.loads(json.dumps(found.record()))


@pytest.mark.parametrize("name", ANYWHERE)
def test_a_method_over_a_folder_is_a_run_with_its_options(name, place, run):
    Path("photos").mkdir()
    Path("red.png").rename("photos/red.png")
    assert run("explain", "model.onnx", "photos", "--method", name, *flags(name), "-o", "run").code == 0
    assert run("run", "model.onnx", "photos", "--method", name, *flags(name), "-o", "same").code == 0
    assert [p.read_bytes() for p in Path("same/maps").iterdir()] == [
        p.read_bytes() for p in Path("run/maps").iterdir()
    ]
    (row,) = (json.loads(line) for path in Path("run/rows").iterdir() for line in path.open())
    assert (row["method"], row["target_label"], row["error"], row["problem"]) == (name, "red", None, None)
    (found,) = Lens("model.onnx").attribute("photos/red.png", name, **quick(name))
    np.testing.assert_allclose(np.load(Path("run", row["map"])), found.map, rtol=1e-4, atol=1e-6)
    assert manifest("run")["command"] == "explain"
    assert run("report", "run", "-o", "report.html").code == 0
    assert f'"{name}"' in Path("report.html").read_text()


def test_time_that_ends_before_the_tolerance_is_reached_is_said_with_the_error(place, run):
    words = "rise", "model.onnx", "red.png", "--target", "red", "--tolerance", 1e-6, "-o", "out"
    done = run(*words, "--seconds", 0.01)
    assert done.code == 0
    text = r", (\d+) draws, standard error ([\d.]+)% of the range, short of the tolerance of 0.0001%"
    said = re.search(text, done.out)
    sampled = manifest("out")["results"][0]["sampled"]
    assert (sampled["drawn"], sampled["reached"]) == (int(said[1]), False)
    assert float(said[2]) == pytest.approx(100 * sampled["standard_error"], rel=0.01)
    reached = run(*words[:6], 1, *words[7:], "--overwrite").out
    assert "1000 draws, standard error" in reached
    assert "short of" not in reached


@pytest.mark.parametrize("name", METHODS)
def test_the_shell_offers_it(name, place):
    for words, incomplete in ((["explain", "model.onnx", "--method"], name), (["run", "--method"], name)):
        from click.shell_completion import ShellComplete

        offered = ShellComplete(group, {}, "onnxlens", "_ONNXLENS_COMPLETE").get_completions(
            words, incomplete
        )
        assert name in [item.value for item in offered]


@pytest.mark.parametrize("name", METHODS)
def test_its_help_has_its_options_alone(name):
    text = CliRunner().invoke(group, [name, "--help"]).output
    own = {f"--{key.replace('_', '-')}" for key in options_of(METHODS[name])}
    others = {f"--{key.replace('_', '-')}" for m in METHODS.values() for key in options_of(m)} - own
    if name == "saliency":  # which has a choice of methods
        return
    assert own <= set(text.split())
    assert not others & set(text.split())
    assert ("--channels" in text) == METHODS[name].units
    assert ("--layers" in text) == METHODS[name].of_layers


@pytest.mark.parametrize("name", ["explain", "run", "evaluate", *METHODS])
def test_no_option_of_a_method_is_called_as_another_one_of_the_command(name):
    command = group.get_command(click.Context(group), name)
    flags = [flag for parameter in command.params for flag in parameter.opts]
    assert len(flags) == len(set(flags))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["explain", "--method", "gradcan"], "there is no method 'gradcan'; nearest: gradcam"),
        (
            ["explain", "--method", "lrp", "--steps", 3],
            "--steps is no option of lrp: it is one of integrated",
        ),
        (["explain", "--method", "rise", "--layer", "relu"], "rise"),
        (["explain", "--method", "lrp", "--layers", "re*"], "lie on the input"),
        (["explain", "--layer", "relu", "--layers", "re*"], "say one of them"),
        (["explain", "--channels", 1], "are of a layer"),
        (["rise", "--masks", 0], "--masks"),
        (["layercam", "--layer", "rleu"], "nearest: relu"),
        (["explain", "--style", "sined"], "signed"),
    ],
)
def test_bad_arguments_are_one_line_before_any_photo_is_read(words, text, place, run):
    done = run(words[0], "model.onnx", "none.png", *words[1:], "-q")
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert text in done.err
    assert not Path("onnxlens-out").exists()


ALONE = [
    ("gradcam", "--layers", "re*", "--guided"),
    ("saliency", "--style", "diverging"),
    ("guided", "--layer", "relu", "--channels", "0,2"),
    ("occlusion", "--patch", 8, "--patch", 4, "--verbose"),
]


@pytest.mark.parametrize("words", ALONE)
def test_over_folders_what_no_run_has_is_written_as_of_single_photos(words, place, run):
    Path("photos").mkdir()
    for name in ("red.png", "blue.jpg"):
        Path(name).rename(f"photos/{name}")
    done = run(words[0], "model.onnx", "photos", *words[1:], "--json", "-o", "out")
    assert {Path(r["image"]).name for r in done.records} == {"red.png", "blue.jpg"}
    assert not Path("out/rows").exists()
    assert manifest("out")["results"]


@pytest.fixture
def photos(place):
    """A folder of three photos, of which the second is none."""
    folder = Path("photos")
    folder.mkdir()
    for name in ("red.png", "blue.jpg"):
        Path(name).rename(folder / f"{'ac'[name == 'red.png']}-{name}")
    (folder / "b-empty.png").touch()
    return folder


@pytest.mark.parametrize("words", ALONE)
def test_what_no_run_has_goes_on_where_it_ended(words, photos, run):
    line = [words[0], "model.onnx", photos, *words[1:], "--json"]
    whole = run(*line, "-o", "whole")
    first = run(*line, "-o", "out", "--fail-fast")
    assert (whole.code, first.code) == (1, 1)
    assert [r for r in first.records if "error" in r] == first.records[-1:]
    assert [r["image"] for r in first.records][-1] == str(photos / "b-empty.png")
    assert "--resume" in first.err
    rest = run(*line, "-o", "out", "--resume")
    assert {r["image"] for r in rest.records} == {str(photos / "c-red.png")}
    assert rest.code == 1  # one has failed, as with a run that is resumed
    assert first.records + rest.records == whole.records
    assert manifest("out")["results"] == manifest("whole")["results"]
    assert {p.name: p.read_bytes() for p in Path("out").iterdir() if p.name != "manifest.json"} == {
        p.name: p.read_bytes() for p in Path("whole").iterdir() if p.name != "manifest.json"
    }
    assert run(*line, "-o", "out", "--resume").records == []
    apart = {"identity": 0, "command_line": 0}
    assert manifest("out") | apart == manifest("whole") | apart


def test_what_was_lost_is_made_again_and_no_more(photos, run):
    line = ["saliency", "model.onnx", photos, "--style", "diverging", "-o", "out", "--resume", "--json"]
    whole = run(*line).records
    Path("out", whole[0]["files"]["picture"]).unlink()
    (again,) = run(*line).records
    assert again["image"] == whole[0]["image"]
    assert {r["image"] for r in manifest("out")["results"]} == {r["image"] for r in whole}
    for record in manifest("out")["results"]:
        assert all(Path("out", name).is_file() for name in record.get("files", {}).values())


def test_what_is_written_when_the_work_is_ended_is_not_made_again(photos, run, monkeypatch):
    from onnxlens.models.attribution.pipeline import Pipeline

    ask = Pipeline.__call__

    def ended(self, names, progress=None):
        if "c-red" in names[0]:
            raise KeyboardInterrupt
        return ask(self, names, progress)

    line = ["gradcam", "model.onnx", photos, "--layers", "re*", "-o", "out", "--resume", "--json"]
    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, "__call__", ended)
        run(*line)
    assert manifest("out")["state"] == "running"
    done = {r["image"] for r in manifest("out")["results"]}
    rest = {r["image"] for r in run(*line).records}
    assert str(photos / "a-blue.jpg") in done
    assert done | rest == set(map(str, photos.iterdir()))
    assert not done & rest
    assert "state" not in manifest("out")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--style", "signed"], 'begun with style "diverging", and now it is "signed"'),
        (["--target", "red"], "begun with targets []"),
        (["--labels", "others.txt"], "begun with labels"),
        (["--style", "diverging", "--overwrite"], "say one of them"),
    ],
)
def test_only_the_same_goes_on(change, said, photos, run):
    line = ["saliency", "model.onnx", photos, "--style", "diverging", "-o", "out", "-q"]
    run(*line, "--fail-fast")
    before = Path("out/manifest.json").read_bytes()
    Path("others.txt").write_text("a\nb\nc\nd\ne\n")
    done = run(*line, *change, "--resume")
    assert (done.code, len(done.err.splitlines())) == (2, 1)
    assert said in done.err
    assert Path("out/manifest.json").read_bytes() == before


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", 1), ("[]", 2), ("{}", 2), ('{"results": [], "identity": 3}', 2), ('{"results": {}}', 2),
        ('{"a": 1e999}', 1), ("[" * 10**5, 1),
    ],
)  # fmt: skip
def test_what_another_left_is_neither_gone_on_with_nor_lost(text, code, photos, run):
    Path("out").mkdir()
    Path("out/manifest.json").write_text(text)
    done = run("saliency", "model.onnx", photos, "--style", "diverging", "-o", "out", "--resume", "-q")
    assert (done.code, len(done.err.splitlines())) == (code, 1)
    assert Path("out/manifest.json").read_text() == text
    assert len(list(Path("out").iterdir())) == 1


def test_results_of_any_content_are_made_again(photos, run):
    line = ["saliency", "model.onnx", photos, "--style", "diverging", "-o", "out", "--resume", "--json"]
    whole = run(*line).records
    images = [r["image"] for r in whole]
    evil = [{"image": [1]}, 3, None, {"files": {}}, *({"image": i, "files": f} for i, f in zip(images, (
        {"picture": "../../../etc/passwd"}, [1], {"picture": "x" * 999, "y": ["z"], "w": "\0"},
    ), strict=True))]  # fmt: skip
    Path("out/manifest.json").write_text(json.dumps({**manifest("out"), "results": evil}))
    assert [r["image"] for r in run(*line).records] == images


@pytest.mark.parametrize("words", ALONE)
def test_a_dry_run_of_what_no_run_has_writes_nothing(words, photos, run):
    (tried,) = run(words[0], "model.onnx", photos, *words[1:], "--dry-run", "--json", "-o", "out").records
    assert not Path("out").exists()
    assert (tried["images"], tried["tried"], tried["failed_of_those_tried"]) == (3, 2, 1)
    assert tried["methods"] == ["gradcam" if words[0] == "gradcam" else words[0]]
    assert tried["seconds"] > 0
    assert tried["output_bytes"] > 0
    said = run(words[0], "model.onnx", photos, *words[1:], "--dry-run", "-o", "out")
    assert "images: 3" in said.out
    assert said.code == 0


def test_the_deconvnet_begins_at_units_and_the_others_at_a_class(place, run):
    for name in ANYWHERE:
        (record, *_) = run(
            "explain", "model.onnx", "red.png", "--method", name, *flags(name), "--json", "-o", name
        ).records
        begins_at_units = METHODS[name].target == "units"
        assert (record["target"] is None) == begins_at_units
        assert (record["position"] is not None) == begins_at_units


def test_options_of_other_commands_in_a_file_are_left_out(place, run):
    Path("pyproject.toml").write_text("[tool.onnxlens]\nsteps = 3\nmasks = 9\n")
    assert run("explain", "model.onnx", "red.png", "--method", "lrp").code == 0
    assert run("explain", "model.onnx", "red.png", "--method", "integrated", "--overwrite").code == 0
    assert manifest()["arguments"]["steps"] == 3


def test_no_method_has_to_be_named(place, run):
    done = run("explain", "model.onnx", "red.png", "-o", "out", "--json")
    assert done.code == 0
    assert done.records[0]["method"] == "gradcam"
