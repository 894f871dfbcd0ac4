"""The public names are documented: docs/api.md has each, their examples run, their parameters are all said.

Examples run in a folder with the embedded model as `model.onnx`, a photo `cat.jpg`, `photos` and their `run`.
"""

import builtins
import doctest
import inspect
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

import onnxlens
from onnxlens.cli import main
from onnxlens.engine import errors
from onnxlens.models import embedded
from onnxlens.models.embedded.scenes import TEST_SEEDS, scene

ROOT = Path(__file__).parents[2]
NAMES = [n for n in onnxlens.__all__ if getattr(onnxlens, n).__name__ == n]  # HeatMap is an earlier one
FUNCTIONS = [name for name in NAMES if inspect.isfunction(getattr(onnxlens, name))]
CAT, MOON = TEST_SEEDS[3], TEST_SEEDS[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("examples")
    shutil.copy(embedded.path(), place / "model.onnx")
    (place / "photos").mkdir()
    for name, seed, size in (
        ("cat.jpg", CAT, 288),
        ("photos/cat.jpg", CAT, 120),
        ("photos/moon.jpg", MOON, 120),
    ):
        cv2.imwrite(str(place / name), scene(seed, size=size).image[..., ::-1])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        with pytest.raises(SystemExit) as end:
            main(["run", "scenes", "photos", "-q", "-o", "run"])
    assert not end.value.code
    return place


def texts(name: str) -> dict[str, str]:
    """The docstrings of a public name: its own, and those of the methods that people call."""
    thing = getattr(onnxlens, name)
    members = inspect.getmembers(thing) if inspect.isclass(thing) else []
    methods = {
        f"{name}.{m}": f for m, f in members if callable(f) and (m == "__call__" or not m.startswith("_"))
    }
    return {where: inspect.getdoc(f) or "" for where, f in {name: thing, **methods}.items()}


def section(text: str, title: str) -> list[str]:
    """The names in a section of a docstring, in their order; several in a line are set apart by commas."""
    found = re.search(rf"^{title}\n-+\n(.*?)(?=^\w+\n-+$|\Z)", text, re.DOTALL | re.MULTILINE)
    lines = re.findall(r"^([\w*].*)$", found[1], re.MULTILINE) if found else []
    return [name.strip(" *") for line in lines for name in line.split(",")]


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_run(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    for where, text in texts(name).items():
        example = doctest.DocTestParser().get_doctest(text, {"onnxlens": onnxlens, "np": np}, where, None, 0)
        complaints: list[str] = []
        doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(example, out=complaints.append)
        assert not complaints, "".join(complaints)
    assert ">>> " in (inspect.getdoc(getattr(onnxlens, name)) or ""), "no example"


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_parameter_of_a_function_is_documented(name):
    function = getattr(onnxlens, name)
    assert section(inspect.getdoc(function) or "", "Parameters") == list(
        inspect.signature(function).parameters
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_parameters_and_errors_that_are_documented_are_there(name):
    thing = getattr(onnxlens, name)
    for where, text in texts(name).items():
        of = getattr(thing, where.partition(".")[2], thing)
        if names := section(text, "Parameters"):
            assert names == [p for p in inspect.signature(of).parameters if p != "self"], where
        for error in section(text, "Raises"):
            assert hasattr(errors, error) or hasattr(builtins, error), f"{where}: {error}"


def test_the_page_has_every_public_name():
    page = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^::: onnxlens\.(\w+)$", page, re.MULTILINE)) == sorted(NAMES)
