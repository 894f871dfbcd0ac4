"""onnxruntime-web's WebAssembly under Node, by `tests/web/run.mjs`; needs NumPy alone."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

PLACE = Path(__file__).parents[1] / "web"


def missing(folder: Path = PLACE) -> str:
    """What is not installed, in words; "" where all is."""
    if shutil.which("node") is None:
        return "needs node"
    there = (folder / "node_modules/onnxruntime-web").is_dir()
    return "" if there else "needs onnxruntime-web: npm ci --prefix tests/web"


def ran(model: Path, feeds: Mapping[str, np.ndarray], folder: Path = PLACE) -> dict[str, np.ndarray]:
    """Outputs by name. `folder` has the package in its node_modules.

    Raises RuntimeError with what was said where there are none.
    """
    with TemporaryDirectory() as place:
        given, found = Path(place) / "given.json", Path(place) / "found.json"
        given.write_text(json.dumps({name: _written(array) for name, array in feeds.items()}))
        line = ["node", str(PLACE / "run.mjs"), *map(str, (folder, model, given, found))]
        done = subprocess.run(line, capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1])
        return {name: _read(value) for name, value in json.loads(found.read_text()).items()}


def _written(array: np.ndarray) -> dict[str, object]:
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"type": array.dtype.name, "dims": list(array.shape), "data": data}


def _read(value: dict[str, object]) -> np.ndarray:
    array = np.frombuffer(base64.b64decode(str(value["data"])), str(value["type"]))
    return array.reshape(value["dims"])  # pyright: ignore[reportArgumentType]
