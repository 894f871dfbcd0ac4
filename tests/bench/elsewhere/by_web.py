"""onnxruntime-web's WebAssembly under Node, by the program of the tests (`tests/web/run.mjs`)."""

import base64
import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

PROGRAM = Path(__file__).parents[2] / "web/run.mjs"


def run(model: str, feeds: dict[str, np.ndarray], folder: Path) -> dict[str, np.ndarray]:
    with TemporaryDirectory() as place:
        given, found = Path(place) / "given.json", Path(place) / "found.json"
        given.write_text(json.dumps({name: written(array) for name, array in feeds.items()}))
        done = subprocess.run(
            ["node", str(PROGRAM), str(folder), model, str(given), str(found)], capture_output=True, text=True
        )
        if done.returncode:
            sys.exit(done.stderr)
        return {name: read(value) for name, value in json.loads(found.read_text()).items()}


def written(array: np.ndarray) -> dict[str, object]:
    """As the program takes them."""
    data = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"type": array.dtype.name, "dims": list(array.shape), "data": data}


def read(value: dict[str, object]) -> np.ndarray:
    array = np.frombuffer(base64.b64decode(str(value["data"])), str(value["type"]))
    return array.reshape(value["dims"])  # pyright: ignore[reportArgumentType]
