"""Every entry of every registry is documented on its page and tested, or this fails.

Documented: its name stands in a span of code of the page. Tested: a test runs over the whole registry, or a
string in one of the test files that are meant says the name.
"""

import ast
import pkgutil
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from oracles.cases import CASES, HAND_MADE

from onnxlens.cli import COMMANDS
from onnxlens.cli.commands.photos.ways import WAYS
from onnxlens.engine.anatomy.readouts.classes import KINDS
from onnxlens.engine.anatomy.readouts.table import READOUTS
from onnxlens.engine.attribution.methods import METHODS
from onnxlens.engine.autodiff.variants import TABLES
from onnxlens.engine.dreams.terms import TERMS
from onnxlens.engine.metrics.metrics import METRICS
from onnxlens.engine.operators.bodies import BODIES
from onnxlens.engine.operators.rules import VJP
from onnxlens.engine.runtime.rewrites import REWRITES
from onnxlens.engine.targets.terms import TARGETS
from onnxlens.models.network import producers, sidecar
from onnxlens.models.photos.fill import FILLS
from onnxlens.models.photos.presets import PRESETS

ROOT = Path(__file__).parents[2]


class Registry(NamedTuple):
    """The names in a registry, the page that has each, the tests of it, and how these call the registry."""

    names: Iterable[str]
    page: str
    tests: str
    variable: str = ""


FILES = {*sidecar.FACTS, *sidecar.LABELS, *sidecar.READOUTS, *sidecar.LISTS}
PRODUCERS = [m.name for m in pkgutil.iter_modules(producers.__path__) if m.name != "processors"]
OPERATORS = {m.graph.node[0].op_type for m in (*(model for model, _ in CASES.values()), *HAND_MADE.values())}
REGISTRIES = {
    "rules": Registry(VJP, "docs/operators.md", "tests/engine/*.py"),
    "bodies": Registry(BODIES, "docs/operators.md", "tests/engine/*.py"),
    "variants": Registry(TABLES, "docs/design.md", "tests/engine/test_variants*.py", "TABLES"),
    "methods": Registry(METHODS, "docs/methods.md", "tests/models/test_attribute.py", "METHODS"),
    "rewrites": Registry(REWRITES, "docs/design.md", "tests/engine/test_optimise.py", "REWRITES"),
    "metrics": Registry(METRICS, "docs/metrics.md", "tests/engine/test_metrics.py", "METRICS"),
    "readouts": Registry(KINDS, "docs/answers.md", "tests/engine/test_readouts.py", "KINDS"),
    "other readouts": Registry(READOUTS, "docs/answers.md", "tests/cli/test_*.py"),
    "targets": Registry(TARGETS, "docs/targets.md", "tests/engine/test_targets.py", "TARGETS"),
    "terms": Registry(TERMS, "docs/dream.md", "tests/engine/test_objective.py", "TERMS"),
    "presets": Registry(PRESETS, "docs/preprocessing.md", "tests/models/test_presets.py", "PRESETS"),
    "fills": Registry(FILLS, "docs/occlusion.md", "tests/models/test_fill.py", "FILLS"),
    "files of producers": Registry(FILES, "docs/preprocessing.md", "tests/models/test_*.py"),
    "panels": Registry(WAYS, "docs/look.md", "tests/cli/test_look_command.py", "WAYS"),
    "commands": Registry(COMMANDS, "docs/commands.md", "tests/cli/test_*.py", "COMMANDS"),
}
ENTRIES = [pytest.param(r, n, id=f"{kind}-{n}") for kind, r in REGISTRIES.items() for n in r.names]


@cache
def strings(pattern: str) -> str:
    """All strings in the files of a pattern."""
    nodes = (node for path in ROOT.glob(pattern) for node in ast.walk(ast.parse(path.read_text("utf-8"))))
    return "\n".join(n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str))


@cache
def runs_over(pattern: str, variable: str) -> bool:
    """Whether a test is parametrised with a registry, or loops over it."""
    for path in ROOT.glob(pattern):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            is_marked = isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "parametrize"
            over = node if is_marked else getattr(node, "iter", None)
            if over is not None and any(getattr(n, "id", "") == variable for n in ast.walk(over)):
                return True
    return False


@pytest.mark.parametrize(("registry", "name"), ENTRIES)
def test_it_is_documented(registry, name):
    spans = re.findall(r"`[^`\n]+`", (ROOT / registry.page).read_text("utf-8"))
    page = (
        "\n".join(spans)
        if registry.page != "docs/operators.md"
        else (ROOT / registry.page).read_text("utf-8")
    )
    assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", page), f"{registry.page} does not have it"


@pytest.mark.parametrize(("registry", "name"), ENTRIES)
def test_it_is_tested(registry, name):
    operator = name.split(":")[-1]
    is_case = registry.page == "docs/operators.md" and operator in OPERATORS
    named = re.search(rf"(?<![\w-]){re.escape(operator)}(?![\w-])", strings(registry.tests))
    assert is_case or named or runs_over(registry.tests, registry.variable), (
        f"{registry.tests} do not have it"
    )


@pytest.mark.parametrize("name", PRODUCERS)
def test_producers_are_documented_and_read(name):
    page = (ROOT / "docs/preprocessing.md").read_text("utf-8").replace(" ", "").lower()
    assert name in page
    assert f"{name}." in (ROOT / "models/network/sidecar.py").read_text("utf-8")
