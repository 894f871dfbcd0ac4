"""onnxruntime-web's WebAssembly under Node, as the tests have it."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from oracles import web


def run(model: str, feeds: dict[str, np.ndarray], folder: Path) -> dict[str, np.ndarray]:
    return web.ran(Path(model), feeds, folder)
