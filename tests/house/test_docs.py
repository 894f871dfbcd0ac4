"""What the pages say is so: their Python runs, their links lead somewhere.

Every ```python block of README.md is run, in a folder with a photo `cat.jpg` and a `model.onnx`: the embedded
model without its metadata, so that it has to be told how photos go in. Commands: test_shown_commands.py.
"""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import onnx
import pytest
from oracles import site

from onnxlens.models import embedded
from onnxlens.models.embedded.scenes import TEST_SEEDS, scene

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / n for n in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


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


@pytest.mark.parametrize("page", ["README.md", "docs/index.md"])
def test_every_page_is_linked(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", (ROOT / page).read_text())
    linked = {((ROOT / page).parent / target).resolve() for target in links}
    others = set((ROOT / "docs").glob("*.md")) - linked - {ROOT / page}
    assert {p.relative_to(ROOT).as_posix() for p in others} == set()


def test_the_menu_of_the_site_has_every_page():
    listed = str(site.menu((ROOT / "docs/index.md").read_text()))
    for path in (ROOT / "docs").rglob("*.md"):
        assert f"'{path.relative_to(ROOT / 'docs').as_posix()}'" in listed


def test_links_out_of_the_site_become_text():
    text = (
        "[a](../README.md), [b](top.md#x), [c](https://onnx.ai), ![d](images/demo.jpg), [`e`](../tests/x.py)"
    )
    shown = "a, [b](top.md#x), [c](https://onnx.ai), ![d](images/demo.jpg), `e`"
    page = SimpleNamespace(file=SimpleNamespace(src_uri="look.md"))
    assert site.on_page_markdown(text, page) == shown


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_commands_that_are_named_exist(page):
    from onnxlens.cli import COMMANDS as NAMES

    for name in re.findall(r"`onnxlens ([a-z]+)", page.read_text()):
        assert name in NAMES


def test_files_that_are_named_exist():
    for page in PAGES:
        for name in re.findall(r"`((?:engine|kernels|models|cli|tests)/[\w/.]+)`", page.read_text()):
            assert (ROOT / name).exists(), f"{page.name}: {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_names_that_are_said_to_be_in_a_file_are_there(page):
    said = r"(?:`([\w.]+)`|\b([A-Z_]{3,})) (?:in|of)\s+`((?:engine|kernels|models|cli)/[\w/]+\.py)`"
    for spelt, capital, path in re.findall(said, page.read_text()):
        name = (spelt or capital).split(".")[-1]
        assert re.search(rf"\b{name}\b", (ROOT / path).read_text()), f"{path} has no {name}"


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
@pytest.mark.parametrize("name", ["run", "slow"])
def test_scripts_are_well_formed(name):
    assert subprocess.run(["bash", "-n", ROOT / ".ci" / name]).returncode == 0


def test_ci_lints_and_then_runs_the_command_that_the_readme_says():
    script = (ROOT / ".ci/run").read_text()
    steps = [script.index(step) for step in ("README.md", 'eval "$install"', "make lint", 'eval "$tests"')]
    assert steps == sorted(steps)
    assert ".ci/slow" in (ROOT / "Makefile").read_text()
