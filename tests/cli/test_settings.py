"""Where settings come from, and in which order; that none is silently without effect."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from onnxlens.cli import COMMANDS, group


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    """No variable of the surroundings but those that are no setting."""
    import os

    for name in os.environ:
        if name.startswith("ONNXLENS_") and name not in ("ONNXLENS_CACHE", "ONNXLENS_TEST_DATA"):
            monkeypatch.delenv(name)


def write(text, name="pyproject.toml"):
    Path(name).write_text(text)


def shown(run, *words):
    """What `onnxlens config` says: value and source by command and setting."""
    done = run("config", *words, "--json")
    assert done.code == 0, done.err
    return {(r["command"], r["key"]): (r["value"], r["where"] or r["source"]) for r in done.records}


def test_flag_variable_file_default(place, run, monkeypatch):
    def target_of(*words):
        out = run("gradcam", "model.onnx", "red.png", "--json", "-o", "out", "--overwrite", *words)
        return out.records[0]["target"]["label"]

    first = target_of()
    assert first == "red"
    write('[gradcam]\ntarget = "sky"\n', "night.toml")
    write('[tool.onnxlens.gradcam]\ntarget = ["green"]\n')
    assert target_of() == "green"
    assert target_of("--config", "night.toml") == "sky"
    monkeypatch.setenv("ONNXLENS_CONFIG", "night.toml")
    assert target_of() == "sky"
    monkeypatch.setenv("ONNXLENS_TARGET", "green")
    assert target_of() == "green"
    monkeypatch.setenv("ONNXLENS_GRADCAM_TARGET", "blue")
    assert target_of() == "blue"
    assert target_of("--target", "red") == "red"


def test_config_says_each_value_and_its_source(place, run, monkeypatch):
    both = "[tool.onnxlens.run]\nbatch = 4\nmaps = false\n[tool.onnxlens.runs.merge]\nrows = 'parquet'\n"
    write(f"[tool.onnxlens]\nprovider = 'cpu'\n{both}")
    monkeypatch.setenv("ONNXLENS_RUN_SIDE", "64")
    monkeypatch.setenv("ONNXLENS_OVERWRITE", "1")
    found = shown(run, "run")
    assert found["run", "batch"] == ("4", "pyproject.toml")
    assert found["run", "maps"] == (False, "pyproject.toml")
    assert found["run", "provider"] == ("cpu", "pyproject.toml")
    assert found["run", "side"] == ("64", "ONNXLENS_RUN_SIDE")
    assert found["run", "overwrite"] == (True, "ONNXLENS_OVERWRITE")
    assert found["run", "alpha"] == (0.7, "default")
    every = shown(run)
    assert every["runs merge", "rows"] == ("parquet", "pyproject.toml")
    assert every["gradcam", "provider"] == ("cpu", "pyproject.toml")
    assert "default" not in {source for _, source in every.values()}
    assert shown(run, "runs", "merge")["runs merge", "rows"] == ("parquet", "pyproject.toml")
    assert "pyproject.toml" in run("config").out
    assert "ONNXLENS_RUN_SIDE" in run("config", "run").out


def test_with_nothing_set_everything_has_its_default(place, run):
    assert shown(run) == {}
    assert {source for _, source in shown(run, "run").values()} == {"default"}
    write('[project]\nname = "theirs"\n')
    assert shown(run) == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bacth = 4", "there is no setting 'bacth'; nearest: batch"),
        ("[run]\nbacth = 4", "there is no setting 'bacth' of run; nearest: batch"),
        ("[gradcam]\nbatch = 4", "there is no setting 'batch' of gradcam"),
        ("[rnu]\nbatch = 4", "there is no setting 'rnu'; nearest: run"),
        ("[runs.merge]\nrow = 1", "there is no setting 'row' of runs merge; nearest: rows"),
        ("[batch]\na = 4", "batch is a setting and no command"),
        ("run.batch = 0", "batch: 0 is not in the range"),
        ("run.batch = 1.5", "batch: '1.5' is not a valid"),
        ("run.batch = true", "batch cannot be 'True'"),
        ("run.batch = [1]", "batch cannot be '[1]'"),
        ("run.maps = 1", "maps is true or false"),
        ("run.debug = true", "there is no setting 'debug'"),
        ("run.rows = 'csv'", "rows: 'csv' is not one of"),
        ("[run", "is no TOML file"),
        ("a = " + "[" * 100_000, "is no TOML file"),
        ("a = '" + "a" * 2**21 + "'", "more than a file of settings holds"),
    ],
)
def test_a_file_that_says_nothing_useful(place, run, text, said):
    write(text, "settings.toml")
    done = run("run", "model.onnx", "red.png", "-o", "out", "--config", "settings.toml")
    assert done.code == 2
    assert done.err.startswith("onnxlens: settings.toml")
    assert said in done.err
    assert len(done.err.splitlines()) == 1
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ONNXLENS_BACTH", "4", "there is no setting ONNXLENS_BACTH; nearest: ONNXLENS_BATCH"),
        ("ONNXLENS_RUN_BATCH", "0", "ONNXLENS_RUN_BATCH: 0 is not in the range"),
        ("ONNXLENS_CONFIG", "nowhere.toml", "nowhere.toml: No such file"),
        ("ONNXLENS_MAPS", "perhaps", "ONNXLENS_MAPS: 'perhaps' is not"),
    ],
)
def test_a_variable_that_says_nothing_useful(place, run, monkeypatch, name, value, said):
    monkeypatch.setenv(name, value)
    done = run("run", "model.onnx", "red.png", "-o", "out")
    assert done.code == 2
    assert said in done.err
    assert len(done.err.splitlines()) == 1
    assert not Path("out").exists()


def test_a_setting_of_another_command_is_no_mistake(place, run, monkeypatch):
    monkeypatch.setenv("ONNXLENS_RUNS_MERGE_ROWS", "parquet")
    write("[tool.onnxlens.dream]\nfps = 5\n")
    assert run("predict", "model.onnx", "red.png").code == 0


def test_a_list_in_a_variable(place, run, monkeypatch):
    monkeypatch.setenv("ONNXLENS_TARGET", "red sky")
    done = run("gradcam", "model.onnx", "red.png", "--json")
    assert [r["target"]["label"] for r in done.records] == ["red", "sky"]


def test_there_is_no_such_command(place, run):
    done = run("config", "rnu")
    assert (done.code, "nearest: run" in done.err) == (2, True)


# -- completion ------------------------------------------------------------------------------------------


def offered(*words):
    *before, word = words
    items = ShellComplete(group, {}, "onnxlens", "_ONNXLENS_COMPLETE").get_completions(list(before), word)
    return [item.value for item in items if item.type == "plain"]


def test_what_a_shell_is_offered(place):
    assert set(offered("")) == set(COMMANDS)
    assert offered("runs", "m") == ["merge"]
    assert "show" in offered("runs", "no-such", "")  # and nothing is said of it
    assert "resnet50-v1-7" in offered("zoo", "fetch", "resnet50")
    assert offered("gradcam", "scen") == ["scenes"]
    assert "squeezenet1.1-7" in offered("gradcam", "squeeze")
    assert offered("run", "model.onnx", "--method", "gradcam,occ") == ["gradcam,occlusion"]
    assert offered("run", "model.onnx", "--preset", "cli") == ["clip"]
    assert "relu" in offered("gradcam", "model.onnx", "red.png", "--layer", "")
    assert "relu" in offered("gradcam", "--quiet", "model.onnx", "red.png", "--layers", "re")
    assert "conv1" in offered("gradcam", "scenes", "--layer", "conv")
    assert "squeezenet1.1-7" in offered("zoo", "fetch", "squeeze")
    assert offered("config", "--j") == ["--json"]


@pytest.mark.parametrize("model", ["nowhere.onnx", "junk.onnx", "squeezenet1.1-7", "large.onnx"])
def test_where_there_is_nothing_to_offer(place, monkeypatch, capfd, model):
    monkeypatch.setenv("ONNXLENS_CACHE", str(place / "empty"))
    Path("junk.onnx").write_bytes(b"junk")
    with Path("large.onnx").open("wb") as file:
        file.truncate(2**26)
    assert offered("gradcam", model, "--layer", "") == []
    assert offered("gradcam", "--layer", "") == []
    assert capfd.readouterr() == ("", "")
    assert not Path("empty").exists()


def test_a_name_that_would_move_the_cursor_is_not_offered(place):
    import onnx
    from oracles.toys import UNIT, colours

    model = colours(preprocess=UNIT)
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = ["re\x1b[2J" if n == "relu" else n for n in names]
    onnx.save(model, "model.onnx")
    found = offered("gradcam", "model.onnx", "--layer", "")
    assert found
    assert all(name.isprintable() for name in found)


def test_settings_that_cannot_be_do_not_disturb_a_shell(place):
    write("nonsense")
    assert offered("gradcam", "scen") == ["scenes"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell(place, run, shell):
    done = run("completion", shell)
    assert done.code == 0
    assert "_ONNXLENS_COMPLETE=" in done.out


@pytest.mark.skipif(sys.platform == "win32", reason="bash")
def test_bash_takes_the_script_and_asks_us(place, run):
    Path("complete.sh").write_text(run("completion", "bash").out)
    Path("onnxlens").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m onnxlens "$@"\n')
    Path("onnxlens").chmod(0o755)
    ask = """
    PATH=$PWD:$PATH
    source complete.sh
    COMP_WORDS=(onnxlens runs ver) COMP_CWORD=2
    _onnxlens_completion onnxlens
    printf '%s\\n' "${COMPREPLY[@]}"
    """
    done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True)
    assert done.stdout.split() == ["verify"], done.stderr


def test_nothing_of_it_is_loaded_without_need(place):
    """A command line that sets nothing reads no TOML and completes nothing."""
    code = (
        "import sys\nfrom onnxlens.cli import main\ntry: main(['runs', 'merge', '--help'])\n"
        "except SystemExit: print(sorted({'tomllib', 'click.shell_completion',"
        " 'onnxlens.cli.commands.photos.gradcam'}"
        " & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=place)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_the_schema_stands_in_the_json(place, run):
    done = run("config", "run", "--json")
    assert done.out
    assert all(json.loads(line)["schema"] == 2 for line in done.out.splitlines())


def test_fields_of_a_preprocessing_can_be_set_like_any_option(place, run, monkeypatch):
    write(
        '[predict]\nfit = "stretch"\nscale = "1/255"\nmean = [0.1, 0.2, 0.3]\nantialias = false\n', "c.toml"
    )
    monkeypatch.setenv("ONNXLENS_STD", "0.5")
    done = run("predict", "bare.onnx", "red.png", "--config", "c.toml", "--pad-value", "9")
    assert done.code == 0, done.err
    for said in ("fit stretch", "scale 1/255", "mean 0.1,0.2,0.3", "no-antialias", "std 0.5", "pad-value 9"):
        assert said in done.err
    assert "preset" not in done.err
