"""The scripts of findings/: of one form, each in the table. They install packages, so none is run here."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "findings"
SCRIPTS = sorted(FOLDER.glob("*.sh"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.stem)
class TestScript:
    def test_it_stops_at_the_first_error_and_leaves_nothing(self, script):
        lines = script.read_text().splitlines()
        assert lines[0] == "#!/usr/bin/env bash"
        code = [line for line in lines if line and not line.startswith("#")]
        assert code[:3] == ["set -euo pipefail", "folder=$(mktemp -d)", "trap 'rm -rf \"$folder\"' EXIT"]

    def test_it_installs_exact_versions_and_names_no_index(self, script):
        installs = re.findall(r"pip\" install -q (.*)", script.read_text())
        assert installs
        for package in " ".join(installs).split():
            assert re.fullmatch(r"[\w-]+==[\d.]+", package), package

    def test_its_head_states_the_versions_that_it_installs(self, script):
        text = script.read_text()
        head = text.partition("set -euo pipefail")[0]
        for package, version in re.findall(r"([\w-]+)==([\d.]+)", text):
            assert re.search(rf"{package} {re.escape(version)}", head), package
        for part in ("Behaviour:", "Output seen", "says:", "Why it matters:"):
            assert part in head, part

    def test_it_does_not_use_onnxlens(self, script):
        assert "onnxlens" not in script.read_text()

    @pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
    def test_it_parses(self, script):
        assert subprocess.run(["bash", "-n", script]).returncode == 0
        for code in re.findall(r"<<'PY'\n(.*?)^PY$", script.read_text(), re.DOTALL | re.MULTILINE):
            compile(code, script.name, "exec")


def test_the_table_names_each_script_once():
    rows = re.findall(r"^\| `([\w-]+)` \|", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert rows == [script.stem for script in SCRIPTS]
    assert {p.suffix for p in FOLDER.iterdir()} == {".sh", ".md"}
