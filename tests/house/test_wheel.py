"""What is installed: one import name, all that it needs, nothing that it does not."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FLOORS = ("kernels", "engine", "models", "cli")


def shipped() -> set[str]:
    """The files of the package, as they should lie in the wheel."""
    files = [*ROOT.glob("*.py"), ROOT / "__init__.pyi", ROOT / "py.typed"]
    for floor in FLOORS:
        for ending in ("py", "json", "onnx", "html", "css", "js"):
            files += (ROOT / floor).rglob(f"*.{ending}")
    return {f"onnxlens/{p.relative_to(ROOT).as_posix()}" for p in files}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "onnxlens"
    for name in [*shipped(), "onnxlens/pyproject.toml", "onnxlens/README.md", "onnxlens/LICENSE"]:
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes((ROOT / Path(name).relative_to("onnxlens")).read_bytes())
    for extra in ("tests/test_x.py", "docs/conf.py"):  # what lies beside the package stays outside
        (source / extra).parent.mkdir()
        (source / extra).touch()
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (made,) = folder.glob("*.whl")
    return made


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    inside = {name for name in names if ".dist-info/" not in name}
    assert inside == shipped()
    assert {name.split("/")[0] for name in names} - {"onnxlens"} == {
        name.split("/")[0] for name in names if ".dist-info/" in name
    }
    assert {
        "onnxlens/py.typed",
        "onnxlens/models/network/zoo.json",
        "onnxlens/models/embedded/scenes.onnx",
    } <= inside
    assert any(name.endswith("/LICENSE") for name in names)
    assert wheel.name.startswith("onnxlens-")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert wheel.stat().st_size < 2**21


def test_it_works_where_it_is_installed(wheel, tmp_path):
    target = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "-q"]
    subprocess.run([*install, "--target", str(target), str(wheel)], check=True, capture_output=True)
    assert [p.name for p in target.iterdir() if p.suffix != ".dist-info"] in (
        ["onnxlens"],
        ["onnxlens", "bin"],
        ["bin", "onnxlens"],
    )
    code = (
        f"import sys; sys.path.insert(0, {str(target)!r}); import onnxlens, onnxlens.models.embedded as e;"
        "print(onnxlens.__file__); print(e.path().is_file()); print(onnxlens.__version__);"
        "from onnxlens.cli import main; main(['--help'])"
    )
    # -I: neither this folder, nor the environment's own installation through PYTHONPATH.
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, env=dict(os.environ)
    )
    assert done.returncode == 0, done.stderr
    where, embedded, version, *help_ = done.stdout.splitlines()
    assert Path(where).is_relative_to(target)
    assert embedded == "True"
    assert version == wheel.name.split("-")[1]
    assert any("gradcam" in line for line in help_)
