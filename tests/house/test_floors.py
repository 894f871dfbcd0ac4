"""The floors of the house: cli > models > engine > kernels, and who may touch what."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from house.rooms import arrows, circles, entries, files, folders

ROOT = Path(__file__).parents[2]
FLOORS = ("kernels", "engine", "models", "cli")  # each imports only from those before it
HOST = "onnxlens.host"  # below the floors, for all of them
MODULES = sorted(p for floor in FLOORS for p in (ROOT / floor).rglob("*.py"))
# Training scripts run in a checkout, by hand, with libraries that users do not have.
SCRIPTS = {ROOT / "models/embedded/train.py"}


def names(path: Path) -> set[str]:
    """Everything that a module imports, at its top or inside its functions, as absolute names."""
    package = ("onnxlens", *path.relative_to(ROOT).parts[:-1])
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            # `from . import x` may name a module, `from .x import y` hardly.
            found.update([base] if node.module else [f"{base}.{alias.name}" for alias in node.names])
            if base == HOST:  # which hands on libraries
                found.update(alias.name for alias in node.names)
    return found


def libraries(path: Path) -> set[str]:
    return {name.split(".")[0] for name in names(path)}


def test_the_reader_of_imports_reads_them():
    found = names(ROOT / "engine/attribution/gradients.py")
    assert {"onnxlens.engine.autodiff.gradient", "onnxlens.engine.graph.graph"} <= found
    assert "onnxlens.cli.options" in names(ROOT / "cli/commands/photos/explain.py")
    assert "onnxlens.models.lens" in names(ROOT / "cli/options.py")
    assert "onnxlens.models.network.zoo" in names(ROOT / "models/network/vision_model.py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_go_down(path):
    floor = FLOORS.index(path.relative_to(ROOT).parts[0])
    own = {name for name in names(path) - {HOST} if name.split(".")[0] == "onnxlens"}
    wrong = {name for name in own if name.split(".")[1] not in FLOORS[: floor + 1]}
    assert not wrong, f"{path.relative_to(ROOT)} imports {wrong}"


@pytest.mark.parametrize("floor", ["engine", "models"])
def test_rooms_are_written_down_in_the_order_of_their_imports(floor):
    text = (ROOT / "docs/design.md").read_text()
    table = re.findall(rf"^\| room of the {floor} \|.*?\n\n", text, re.MULTILINE | re.DOTALL)[0]
    rows = [re.findall(r"`(\w+)(?:\.py|/)`", row.split("|")[1]) for row in table.strip().splitlines()]
    row_of = {name: i for i, row in enumerate(rows) for name in row}
    for a, b in arrows((floor,)):
        assert row_of[a] >= row_of[b], f"{floor}/{a} imports {floor}/{b}"
    assert row_of.keys() == entries((floor,)) - {"__init__"}


@pytest.mark.parametrize("folder", folders(), ids="/".join)
def test_no_folder_is_above_fourteen_files_or_goes_round(folder):
    assert len(files(folder)) <= 14
    assert circles(arrows(folder)) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_imports_inside_the_package_are_relative(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and not node.level:
            assert node.module.split(".")[0] not in {*FLOORS, "onnxlens"}


def test_kernels_know_no_onnx():
    for path in (ROOT / "kernels").rglob("*.py"):
        assert not libraries(path) & {"onnx", "onnxruntime", "cv2", "click"}, path


def test_the_host_stands_on_no_floor():
    assert not {name for name in names(ROOT / "host.py") if name.split(".")[0] == "onnxlens"}


def test_two_modules_know_the_runtime():
    knowing = {
        p.relative_to(ROOT).as_posix() for p in set(MODULES) - SCRIPTS if "onnxruntime" in libraries(p)
    }
    assert knowing == {"engine/runtime/provider.py", "engine/runtime/session.py"}


def test_nobody_needs_a_framework():
    for path in set(MODULES) - SCRIPTS:
        assert not libraries(path) & {"torch", "tensorflow", "keras", "jax"}, path


def test_one_floor_speaks_to_people():
    for path in MODULES:
        if path.relative_to(ROOT).parts[0] != "cli":
            assert not libraries(path) & {"click", "rich", "argparse"} or path in SCRIPTS, path


# The zoo writes what it downloads, large weights that are made pass to the runtime through a file, and what
# it makes of a graph is kept.
WRITERS = SCRIPTS | {
    ROOT / "models/network/zoo.py",
    ROOT / "engine/runtime/aside.py",
    ROOT / "engine/runtime/cache.py",
}
WRITING = {"write_text", "write_bytes", "imwrite", "savez", "tofile", "mkdir", "makedirs", "unlink", "rename"}


def writes(call: ast.Call) -> bool:
    """True for opening in a mode that writes, and for calls that change the file system."""
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    if name == "open":
        mode = [
            *call.args[isinstance(call.func, ast.Name) :],
            *(k.value for k in call.keywords if k.arg == "mode"),
        ]
        return any(isinstance(m, ast.Constant) and re.search("[wax+]", str(m.value)) for m in mode[:1])
    return name in WRITING


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("open(p)", False),
        ("open(p, 'rb')", False),
        ("open(p, 'w')", True),
        ("p.open('rb')", False),
        ("p.open('ab')", True),
        ("p.open(mode='x')", True),
        ("p.write_bytes(b)", True),
        ("cv2.imwrite(p, a)", True),
        ("p.read_bytes()", False),
    ],
)
def test_the_reader_of_writes_reads_them(code, expected):
    assert writes(ast.parse(code, mode="eval").body) is expected


def calls(path: Path) -> list[ast.Call]:
    return [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]


def test_only_the_command_line_prints():
    for path in set(MODULES) - SCRIPTS:
        if path.relative_to(ROOT).parts[0] != "cli":
            lines = [c.lineno for c in calls(path) if isinstance(c.func, ast.Name) and c.func.id == "print"]
            assert not lines, f"{path.relative_to(ROOT)} prints in lines {lines}"


def test_only_storage_and_the_command_line_write_files():
    for path in set(MODULES) - WRITERS:
        if path.relative_to(ROOT).parts[0] == "cli" or ROOT / "models/storage" in path.parents:
            continue
        lines = [call.lineno for call in calls(path) if writes(call)]
        assert not lines, f"{path.relative_to(ROOT)} writes in lines {lines}"


def test_file_names_of_tests_are_unique():
    found = [p.name for p in (ROOT / "tests").rglob("test_*.py")]
    assert len(found) == len(set(found))


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]


def test_no_place_of_one_machine_is_written_down():
    """Paths and hosts that only exist where somebody worked have no business in the project."""
    here = {str(p) for p in (ROOT, ROOT.parent, Path.home(), Path(sys.prefix)) if len(p.parts) > 1}
    patterns = [*(re.escape(p) + "/" for p in here), r"/(?:home|Users|tmp)/\w", r"index-url|localhost:\d"]
    places = re.compile(rf"(?<![\w.])(?:{'|'.join(patterns)})".encode())
    for path in tracked():
        # The patterns of .gitignore look like paths from the root, and those above like what they find.
        if path.suffix in {".onnx", ".png", ".jpg"} or path.name in {".gitignore", Path(__file__).name}:
            continue
        found = places.search(path.read_bytes())
        assert not found, f"{path.relative_to(ROOT)}: {found}"


def imports(path: Path) -> list[tuple[int, str]]:
    """The line and the library of every import of a module that is not one of the project's own."""
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name.split(".")[0]) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.append((node.lineno, str(node.module).split(".")[0]))
    return found


def test_the_type_checker_is_told_what_only_an_extra_brings():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {re.split(r"[<>=;\[ ]", line)[0].lower() for line in project["dependencies"]}
    needed.add("markupsafe")  # of jinja2, whose texts are its own
    brings = packages_distributions()
    always = {name for name, found in brings.items() if not needed.isdisjoint(map(str.lower, found))}
    always |= {*sys.stdlib_module_names, "onnxlens"}
    for path in sorted({*MODULES} - SCRIPTS):
        lines = path.read_text().splitlines()
        for line, library in imports(path):
            told = library in always or "pyright: ignore[reportMissingImports]" in lines[line - 1]
            assert told, f"{path}:{line} imports {library}"
