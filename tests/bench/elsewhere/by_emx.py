"""emx-onnx-cgen: C, compiled here by gcc and called."""

import ctypes
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np


def run(model: str, feeds: dict[str, np.ndarray], folder: Path) -> dict[str, np.ndarray]:
    import onnx

    graph = onnx.shape_inference.infer_shapes(onnx.load(model)).graph
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in graph.output}
    found = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    with TemporaryDirectory() as place:
        source, library = f"{place}/model.c", f"{place}/model.so"
        words = ["compile", "--model-name", "model", "--large-weight-threshold", "0", model, source]
        called([str(folder / "bin/emx-onnx-cgen"), *words])
        called(["gcc", "-O1", "-shared", "-fPIC", "-o", library, source, "-lm"])
        values = [np.ascontiguousarray(feeds[v.name]) for v in graph.input] + [*found.values()]
        ctypes.CDLL(library).model(*(a.ctypes.data_as(ctypes.c_void_p) for a in values))
    return found


def called(line: list[str]) -> None:
    done = subprocess.run(line, capture_output=True, text=True)
    if done.returncode:
        sys.exit(" ".join((done.stdout + done.stderr).split())[-300:])
