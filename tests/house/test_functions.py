"""Functions are short: none above 70 lines, half of them at most 8, docstrings counted."""

import ast
from statistics import median

import pytest

from .test_floors import MODULES, ROOT

MAX_LINES = 70  # from def to the last line
MAX_MEDIAN = 8

FUNCTION = ast.FunctionDef | ast.AsyncFunctionDef


def lengths(text: str) -> dict[str, int]:
    """The lines of every function in a module, also of those inside others, by name and line."""
    found = (node for node in ast.walk(ast.parse(text)) if isinstance(node, FUNCTION))
    return {f"{f.name}, line {f.lineno}": (f.end_lineno or 0) - f.lineno + 1 for f in found}


def test_the_reader_of_functions_reads_them():
    text = '@decorated(\n    1\n)\ndef f(\n    a,\n):\n    """What."""\n\n    def g():\n        pass\n'
    assert lengths(text) == {"f, line 4": 7, "g, line 9": 2}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_no_function_is_long(path):
    assert {name: lines for name, lines in lengths(path.read_text()).items() if lines > MAX_LINES} == {}


def test_half_of_the_functions_are_a_few_lines():
    assert median(lines for path in MODULES for lines in lengths(path.read_text()).values()) <= MAX_MEDIAN
