"""The command line as a whole: help, names, streams, exit codes."""

import ast
import contextlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import click
import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from oracles.toys import COLOURS, UNIT, blob, build, colours

from onnxlens.cli import COMMANDS, group
from onnxlens.cli.types import Size
from onnxlens.models.lens import Lens
from onnxlens.models.network import zoo

HEAVY = {"numpy", "onnx", "onnxruntime", "numba", "cv2", "torch", "rich", "requests"}


def every_command():
    context = click.Context(group)
    for name in COMMANDS:
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from (((name, inner), c) for inner, c in command.commands.items())
        else:
            yield (name,), command


LEAVES = dict(every_command())
IDS = [" ".join(words) for words in LEAVES]


def shell(*arguments, **options):
    """The same in a process of its own, as a person would."""
    script = Path(sys.executable).with_name("onnxlens")
    words = [str(script)] if script.exists() else [sys.executable, "-m", "onnxlens"]
    return subprocess.run([*words, *map(str, arguments)], capture_output=True, text=True, **options)


# -- help ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("words", "command"), LEAVES.items(), ids=IDS)
def test_every_command_has_help_an_example_and_debug(words, command, run):
    done = run(*words, "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out == run(*words, "-h").out
    first, *_ = command.help.splitlines()
    assert first.strip(" \b").endswith((".", ":"))
    assert f"onnxlens {' '.join(words)}" in command.help
    assert "--debug" in done.out
    for option in command.params:
        assert isinstance(option, click.Argument) or option.help, option.name


def test_the_help_of_all(run):
    done = run("--help")
    assert (done.code, done.err) == (0, "")
    assert all(name in done.out for name in COMMANDS)
    assert "..." not in done.out.partition("Commands:")[2]  # no sentence is cut off
    assert run("-h") == run() == done


def test_a_group_alone_shows_its_help(run):
    assert run("zoo") == run("zoo", "--help")
    assert "fetch" in run("zoo").out


@pytest.mark.parametrize(
    ("words", "near"),
    [(["gradcm"], "gradcam"), (["zoo", "lst"], "list"), (["gradcam", "--targt", "3"], "--target")],
)
def test_a_wrong_name_answers_with_the_nearest(words, near, run):
    done = run(*words)
    assert (done.code, done.out) == (2, "")
    assert len(done.err.splitlines()) == 1
    assert near in done.err
    assert words[-1] in done.err or words[-2] in done.err


def test_as_a_program():
    version = shell("--version")
    assert (version.returncode, version.stderr) == (0, "")
    assert version.stdout.split()[0] == "onnxlens"
    module = subprocess.run([sys.executable, "-m", "onnxlens", "-h"], capture_output=True, text=True)
    assert module.stdout == shell("-h").stdout
    wrong = shell("predict", "there-is-no-such-model.onnx", "photo.jpg")
    assert (wrong.returncode, wrong.stdout, len(wrong.stderr.splitlines())) == (2, "", 1)


@pytest.mark.parametrize("code", ["import onnxlens", "import onnxlens.cli; onnxlens.cli.main(['--help'])"])
def test_help_imports_nothing_heavy(code):
    report = (
        f"import atexit, sys; atexit.register(lambda: print(sorted(sys.modules), file=sys.stderr)); {code}"
    )
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    assert not HEAVY & set(ast.literal_eval(done.stderr))


# -- streams ---------------------------------------------------------------------------------------------


def test_results_on_stdout_and_all_else_on_stderr(place, run):
    done = run("predict", "model.onnx", "red.png", "blue.jpg", "--top", 2)
    assert done.code == 0
    assert [line.strip() for line in done.out.splitlines()][::3] == ["red.png", "blue.jpg"]
    assert done.out.splitlines()[1].split() == ["1.000", "0", "red"]
    assert "model.onnx: " in done.err
    assert "metadata" in done.err
    quiet = run("predict", "model.onnx", "red.png", "blue.jpg", "--top", 2, "-q")
    assert (quiet.out, quiet.err) == (done.out, "")


@pytest.mark.parametrize(
    "words",
    [
        ("predict", "model.onnx", "red.png", "blue.jpg"),
        ("gradcam", "model.onnx", "red.png", "blue.jpg"),
        ("layers", "model.onnx"),
        ("grad", "model.onnx", "-o", "grad.onnx"),
        ("zoo", "list"),
        ("zoo", "show", "squeezenet1.1-7"),
        ("versions",),
    ],
    ids=lambda words: words[0],
)
def test_json_is_lines_with_a_schema_number(words, place, run):
    done = run(*words, "--json")
    assert done.code == 0
    assert done.records
    assert all(record["schema"] == 2 for record in done.records)
    assert done.out.isascii()


def test_predictions_as_json_are_those_of_python(place, run):
    (record,) = run("predict", "model.onnx", "red.png", "--top", 3, "--json").records
    expected = Lens("model.onnx").predict(blob(), top=3)
    assert [(p["index"], p["label"]) for p in record["predictions"]] == [(p.index, p.label) for p in expected]
    np.testing.assert_allclose(
        [p["probability"] for p in record["predictions"]], [p.probability for p in expected], atol=1e-6
    )


EVIL = "re\x1b[31mlu\x9b2J\u202e\x07"


@pytest.fixture
def evil(place):
    """A model, its labels and a photo, with names that a terminal would obey."""
    model = colours(preprocess=UNIT, labels=[f"\x1b]0;{c}\x07" for c in COLOURS])
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [EVIL if name == "relu" else name for name in names]
    onnx.save(model, "evil.onnx")
    cv2.imwrite("a\x1b[2Jb.png", blob()[..., ::-1])
    return place


@pytest.mark.skipif(sys.platform == "win32", reason="such names are no file names there")
@pytest.mark.parametrize(
    "words",
    [
        ("layers", "evil.onnx"),
        ("layers", "evil.onnx", "--json"),
        ("predict", "evil.onnx", "a\x1b[2Jb.png"),
        ("predict", "evil.onnx", "a\x1b[2Jb.png", "--json"),
        ("gradcam", "evil.onnx", "a\x1b[2Jb.png"),
        ("gradcam", "evil.onnx", "red.png", "--layer", "rel"),
        ("gradcam", "evil.onnx", "none\x1b[2J.png"),
        ("grad", "evil.onnx", "-o", "grad.onnx", "--of", EVIL),
    ],
)
def test_control_characters_never_reach_the_terminal(words, evil, run):
    done = run(*words)
    assert done.out or done.err
    assert all(c.isprintable() or c == "\n" for c in done.out + done.err)
    assert not any("\x1b" in path.name for path in (evil / "onnxlens-out").glob("*"))


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no text")
def test_a_file_name_that_is_no_text(place, run):
    name = os.fsdecode(b"caf\xe9.png")
    Path("red.png").rename(name)
    assert run("gradcam", "model.onnx", name, "-o", "out").code == 0
    assert run("predict", "model.onnx", name, "--json").records[0]["image"] == name


def test_an_output_that_knows_only_ascii(place):
    onnx.save(colours(preprocess=UNIT, labels=["ŕøť", "gřün", "b", "g", "s"]), "letters.onnx")
    done = shell(
        "predict", "letters.onnx", "red.png", "-q", env={**os.environ, "PYTHONIOENCODING": "ascii:strict"}
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "0  ???" in done.stdout


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a terminal of POSIX")
@pytest.mark.parametrize(
    "words", [("layers",), ("predict", "red.png"), ("dream", "red.png", "--iterations", "1")], ids=" ".join
)
def test_a_terminal_shows_names_as_they_are_and_no_bar_of_a_model_that_is_here(words, place):
    Path("b[").mkdir()
    name = "b[/red]x.onnx"  # which ends a colour, where one was begun
    shutil.copy("model.onnx", name)
    ours, theirs = os.openpty()
    program = [sys.executable, "-m", "onnxlens", words[0], name, *words[1:]]
    with subprocess.Popen(program, stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs) as done:
        os.close(theirs)
        seen = b""
        with contextlib.suppress(OSError):  # the end of what was shown
            while part := os.read(ours, 4096):
                seen += part
        os.close(ours)
    assert done.returncode == 0, seen
    assert b"bytes" not in seen


@pytest.mark.parametrize("words", [("zoo", "list"), ("zoo", "list", "--json"), ("--help",)], ids=" ".join)
def test_a_closed_pipe_is_quiet(words):
    program = [sys.executable, "-m", "onnxlens", *words]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(program, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert done.stderr == ""
    assert done.returncode == 1


# -- exit codes ------------------------------------------------------------------------------------------


def test_ctrl_c_is_130(place, run, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Lens, "predict", interrupted)
    done = run("predict", "model.onnx", "red.png", "-q")
    assert (done.code, done.out, done.err.strip()) == (130, "", "onnxlens: interrupted")


def test_a_bug_is_called_one(place, run, monkeypatch):
    monkeypatch.setattr(Lens, "predict", lambda *_: 1 / 0)
    done = run("predict", "model.onnx", "red.png", "-q")
    assert done.code == 1
    assert done.err.startswith("onnxlens: ZeroDivisionError: ")
    assert "--debug" in done.err


def test_debug_shows_the_traceback_and_keeps_the_exit_code(place):
    done = shell("predict", "model.onnx", "none.png", "--debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert shell("predict", "model.onnx", "red.png", "none.png", "--debug").returncode == 1
    assert shell("predict", "model.onnx", "red.png", "--debug").returncode == 0


# -- commands --------------------------------------------------------------------------------------------


def test_layers_are_the_values_in_order(place, run):
    records = run("layers", "model.onnx", "--json").records
    assert [(r["name"], r["operator"]) for r in records] == [
        ("image", "input"),
        ("conv", "Conv"),
        ("relu", "Relu"),
        ("pool", "MaxPool"),
        ("mean", "GlobalAveragePool"),
        ("flat", "Flatten"),
        ("scores", "MatMul"),
        ("probabilities", "Softmax"),
    ]
    assert {r["name"]: r["mark"] for r in records if "mark" in r} == {
        "relu": "Grad-CAM layer",
        "scores": "scores",
    }
    assert records[2]["shape"] == ["N", 3, 32, 32]
    assert [r["weights"] for r in records if r["weights"]] == [3 * 3 * 9 + 3, 15]
    text = run("layers", "model.onnx").out.splitlines()
    assert len(text) == 1 + len(records)
    assert text[3].split() == ["relu", "Relu", "Nx3x32x32", "32x32", "Grad-CAM", "layer"]


def test_layers_of_what_has_no_feature_map(place, run):
    onnx.save(build([onnx.helper.make_node("Relu", ["x"], ["y"])], {"x": (1, 4)}, {"y": (1, 4)}), "flat.onnx")
    done = run("layers", "flat.onnx")
    assert done.code == 0
    assert "no feature map" in done.err
    assert len(done.out.splitlines()) == 3


def test_grad_writes_a_model_that_stock_runtime_runs(place, run):
    done = run(
        "grad", "model.onnx", "-o", "deep/grad.onnx", "--wrt", "image", "--wrt", "head.weight", "--json"
    )
    (record,) = done.records
    assert record["inputs"] == ["image", "seed/scores"]
    assert record["outputs"] == ["probabilities", "grad/image", "grad/head.weight"]
    onnx.checker.check_model("deep/grad.onnx", full_check=True)
    session = onnxruntime.InferenceSession("deep/grad.onnx", providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).random((2, 3, 32, 32), np.float32)
    values = session.run(None, {"image": x, "seed/scores": np.eye(5, dtype=np.float32)[:2]})
    assert [v.shape for v in values] == [(2, 5), (2, 3, 32, 32), (3, 5)]


def test_grad_replaces_only_when_told(place, run):
    assert run("grad", "model.onnx", "-o", "grad.onnx").code == 0
    before = Path("grad.onnx").read_bytes()
    refused = run("grad", "model.onnx", "-o", "grad.onnx", "--rules", "guided")
    assert (refused.code, refused.out) == (2, "")
    assert "--overwrite" in refused.err
    assert Path("grad.onnx").read_bytes() == before
    assert run("grad", "model.onnx", "-o", "grad.onnx", "--rules", "guided", "--overwrite").code == 0
    assert Path("grad.onnx").read_bytes() != before


def test_the_demo_shows_every_class_and_counts(place, run, monkeypatch):
    from onnxlens.cli.commands.photos import demo
    from onnxlens.models.embedded.scenes import CLASSES

    monkeypatch.setattr(demo, "UNSEEN", 10)
    done = run("demo", "-q")
    assert (done.code, done.err) == (0, "")
    assert re.search(r"peak on the object in \d+ of 10 unseen scenes", done.out)
    written = {p.name for p in Path("onnxlens-demo").iterdir()}
    others = {"demo.png", "index.html", "manifest.json", "scenes"}
    assert others <= written
    *results, figures = run("demo", "-q", "--json").records  # over the earlier one
    assert [r["truth"] for r in results] == list(CLASSES)
    assert {name for r in results for name in r["files"].values()} == written - others
    assert figures["scenes"] == 10
    assert figures["peaks_on_object"] >= 9


def test_versions_say_what_can_be_used(run):
    (record,) = run("versions", "--json").records
    assert record["providers"]["cpu"] == "can be used"
    assert {"onnxlens", "onnx", "python"} <= record["versions"].keys()
    assert "provider cuda" in run("versions").out


def test_the_zoo_in_words(run, monkeypatch, tmp_path):
    monkeypatch.setenv("ONNXLENS_CACHE", str(tmp_path))
    listed = run("zoo", "list").out.splitlines()
    assert len(listed) == 1 + len(zoo.records())
    (shown,) = run("zoo", "show", "squeezenet1.1-7", "--json").records
    assert shown["sha256"] == zoo.record("squeezenet1.1-7").sha256
    assert shown["here"] is False
    wrong = run("zoo", "show", "squeezenet-1.1")
    assert (wrong.code, wrong.out) == (2, "")
    assert "squeezenet1.1-7" in wrong.err


def test_no_connection_says_where_to_put_the_file(run, monkeypatch, tmp_path):
    monkeypatch.setenv("ONNXLENS_CACHE", str(tmp_path))
    nowhere = replace(zoo.record("squeezenet1.1-7"), address="http://127.0.0.1:9/model.onnx")
    monkeypatch.setattr(zoo, "records", lambda: {nowhere.name: nowhere})
    for words in (("zoo", "fetch", nowhere.name), ("predict", nowhere.name, "photo.png")):
        done = run(*words)
        assert (done.code, done.out, len(done.err.splitlines())) == (1, "", 1)
        assert str(zoo.cached_path(nowhere.name)) in done.err


def test_sizes_are_pairs():
    size = Size()
    assert size.convert("224", None, None) == (224, 224)
    assert size.convert("40X48", None, None) == (40, 48)
    for wrong in ("", "x", "0", "-3", "3x", "1x2x3", "9" * 5000, "8193", "¹"):
        with pytest.raises(click.BadParameter):
            size.convert(wrong, None, None)
