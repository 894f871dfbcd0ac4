"""What the pages say is so: their commands and their Python run, their links lead somewhere.

Of README.md, every line of a ```console block that starts with `onnxlens ` and every ```python block is run,
in one folder with a photo `cat.jpg` and a `model.onnx`: the embedded model without its metadata, so
that it has to be told how photos go in, and with the labels that the page names.
"""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import cv2
import onnx
import pytest

from onnxlens.cli import main
from onnxlens.models import embedded
from onnxlens.models.embedded.scenes import TEST_SEEDS, scene

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / n for n in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


COMMANDS = [
    line for block in blocks("console") for line in block.splitlines() if line.startswith("onnxlens ")
]


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = onnx.load(embedded.path())
    del model.metadata_props[:]
    onnx.save(model, "model.onnx")
    cv2.imwrite("cat.jpg", scene(TEST_SEEDS[0], size=288).image[..., ::-1])
    Path("photos").mkdir()
    cv2.imwrite("photos/moon.jpg", scene(TEST_SEEDS[2], size=120).image[..., ::-1])
    return tmp_path


def test_there_is_something_to_run():
    assert len(COMMANDS) >= 4
    assert len(blocks("python")) == 1


def test_the_commands_run(desk, capsys):
    written = (
        "onnxlens-look/index.html",
        "maps",
        "hidden",
        "dreams",
        "weights",
        "run/report.html",
        "training-graph.onnx",
    )
    for line in COMMANDS:
        with pytest.raises(SystemExit) as end:
            main(shlex.split(line, comments=True)[1:])
        out, err = capsys.readouterr()
        # A map of the third best class may show nothing; that is said, and is no fault of the page.
        assert end.value.code == 0 or "no map: " in out, f"{line}\n{err}"
        assert out, line
    assert all((desk / name).exists() for name in written)


@pytest.mark.parametrize("code", blocks("python"))
def test_the_python_runs(code, desk, capsys):
    exec(compile(code, "README.md", "exec"), {"__name__": "readme"})
    assert "Prediction(" in capsys.readouterr().out


def test_the_two_commands_for_a_fresh_machine():
    start = [block.strip() for block in blocks("sh")]
    demo, tests = (next(b for b in start if b.endswith(end)) for end in ("onnxlens demo", "-m pytest"))
    for command in (demo, tests):
        assert "\n" not in command
        assert command.startswith("python3 -m venv ../onnxlens-env && ")
        assert subprocess.run(["bash", "-n", "-c", command]).returncode == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_and_pictures_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_that_are_named_exist(page):
    from onnxlens.cli import COMMANDS as NAMES

    for name in re.findall(r"`onnxlens ([a-z]+)", page.read_text()):
        assert name in NAMES


def test_files_that_are_named_exist():
    for page in PAGES:
        for name in re.findall(r"`((?:engine|kernels|models|cli|tests)/[\w/.]+)`", page.read_text()):
            assert (ROOT / name).exists(), f"{page.name}: {name}"


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_ci_runs_the_command_that_the_readme_says():
    script = (ROOT / ".ci/run").read_text()
    assert "README.md" in script
    assert subprocess.run(["bash", "-n", ROOT / ".ci/run"]).returncode == 0
