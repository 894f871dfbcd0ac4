"""The runtimes of the table: what each is installed from, and how it is given a file."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import onnx

from onnxlens.engine.runtime.exports import installed

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Runner:
    """A runtime.

    `runtime` is the word for `--for`; `sizes` whether it gets every free batch bound (`--batch`).
    `program` is a Python file beside this one, `by_NAME.py`, whose function `run(path, feeds, folder)` gives
    outputs by name, or a list of all in order; it runs in an environment of `packages` (pip) alone, with
    the npm packages in `folder`/node_modules, and with the Python of a `version` where these want one.
    Without a program the runtime is one that `engine/runtime/exports/installed.py` asks in this environment.
    """

    runtime: str
    sizes: bool = False
    packages: tuple[str, ...] = ()
    npm: tuple[str, ...] = ()
    program: str = ""
    version: str = ""


RUNNERS: dict[str, Runner] = {
    "onnxruntime": Runner("onnxruntime"),
    "reference": Runner("any"),
    "openvino": Runner("openvino"),
    "openvino-plugin": Runner("openvino"),
    "opencv": Runner("opencv"),
    "tract": Runner("any", packages=("tract==0.23.9", "numpy==2.4.6"), program="by_tract"),
    "nxrt": Runner("any", sizes=True, packages=("nxrt==0.1.0.dev6", "numpy==2.4.6"), program="by_nxrt"),
    "emx": Runner("any", sizes=True, packages=("emx-onnx-cgen==1.4.0",), program="by_emx"),
    "litert": Runner("litert", True, packages=("onnx2tf==2.6.9",), program="by_litert", version="3.12"),
    "onnx2torch": Runner(
        "any",
        True,
        packages=("onnx2torch==1.5.15", "torch==2.14.1", "torchvision==0.29.1", "onnx==1.23.2"),
        program="by_torch",
    ),
    "web": Runner("web", packages=("numpy==2.4.6",), npm=("onnxruntime-web@1.30.0",), program="by_web"),
}


def install(name: str, folder: Path) -> None:
    """Make the environment of a runtime, FOLDER/NAME, once."""
    runner, place = RUNNERS[name], folder / name
    if not runner.program or (place / "done").exists():
        return
    subprocess.run([interpreter(runner.version), "-m", "venv", "--clear", str(place)], check=True)
    subprocess.run([python(place), "-m", "pip", "install", "-q", *runner.packages], check=True)
    if runner.npm:
        subprocess.run(["npm", "install", "--silent", "--prefix", str(place), *runner.npm], check=True)
    (place / "done").touch()


def interpreter(version: str) -> str:
    """The Python that runs this; where a runtime wants a version of it that this is not, pythonVERSION."""
    running = ".".join(map(str, sys.version_info[:2]))
    if version in ("", running):
        return sys.executable
    found = shutil.which(f"python{version}")
    if found is None:
        raise click.ClickException(f"Python {version} is wanted: install it so that python{version} is found")
    return found


def python(place: Path) -> str:
    return str(place / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python"))


def version(name: str) -> str:
    """What is run, with its version; pins are the versions of what is installed for it."""
    runner = RUNNERS[name]
    if not runner.program:
        return installed.version(name) or "not installed"
    return " ".join([*runner.npm, *(p for p in runner.packages if not p.startswith(("numpy", "setuptools")))])


def answers(name: str, folder: Path, model: Path, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """All outputs in order. Raises Unavailable, with what was said, where there are none."""
    runner = RUNNERS[name]
    if not runner.program:
        return ordered(model, installed.answers(name, model, feeds))
    place, given, found = folder / name, folder / "given.npz", folder / "found.npz"
    write_arrays(given, feeds)
    line = [python(place), str(HERE / "call.py"), runner.program, *map(str, (model, given, found, place))]
    installed.ran(line)
    return ordered(model, read_arrays(found))


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Arrays by name, whatever the names; call.py reads them."""
    np.savez(path, names=np.array([*arrays], str), **{f"a{i}": a for i, a in enumerate(arrays.values())})


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """What `write_arrays` or call.py wrote."""
    with np.load(path, allow_pickle=False) as found:
        return {str(name): found[f"a{i}"] for i, name in enumerate(found["names"])}


def ordered(model: Path, found: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Outputs in the order of the file; those without names ("0", "1", ...) are in it."""
    names = [value.name for value in onnx.load(model, load_external_data=False).graph.output]
    return [found[name] if name in found else found[str(i)] for i, name in enumerate(names)]
