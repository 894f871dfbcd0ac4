"""What scripts and tests import of the package is there: most of the scripts are run by hand, seldom."""

import ast
from importlib import import_module, util
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
SCRIPTS = sorted([*TESTS.rglob("*.py"), *(TESTS.parent / "findings").rglob("*.py")])


def imported(path: Path) -> set[tuple[str, str]]:
    """Modules of the package and the names that are taken from them, also inside functions."""
    nodes = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Import | ast.ImportFrom)]
    found = {(n.module or "", a.name) for n in nodes if isinstance(n, ast.ImportFrom) for a in n.names}
    found |= {(a.name, "") for n in nodes if isinstance(n, ast.Import) for a in n.names}
    return {(module, name) for module, name in found if module.split(".")[0] == "onnxlens"}


def test_imports_inside_functions_are_read(tmp_path):
    (tmp_path / "x.py").write_text("import onnxlens.cli\n\ndef f():\n    from onnxlens.host import away\n")
    assert imported(tmp_path / "x.py") == {("onnxlens.cli", ""), ("onnxlens.host", "away")}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.relative_to(TESTS.parent).as_posix())
def test_what_a_script_imports_is_there(path):
    for module, name in imported(path):
        found = import_module(module)
        assert not name or hasattr(found, name) or util.find_spec(f"{module}.{name}"), f"{module}.{name}"
