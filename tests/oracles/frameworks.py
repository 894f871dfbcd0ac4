"""One small network with the same weights, as Keras, TensorFlow and both exporters of PyTorch write it."""

import contextlib
import importlib.util
import io
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

FILES = {"keras": "nhwc", "tensorflow": "nhwc", "torchscript": "nchw", "dynamo": "nchw"}
NEEDS = {
    "keras": ["keras", "tensorflow", "tf2onnx"],
    "tensorflow": ["keras", "tensorflow", "tf2onnx"],
    "torchscript": ["torch"],
    "dynamo": ["torch", "onnxscript"],
}


def is_installed(name: str) -> bool:
    return all(importlib.util.find_spec(module) for module in NEEDS[name])


def weights() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(11)
    shapes = {"w1": (8, 3, 3, 3), "w2": (12, 8, 3, 3), "w3": (16, 12, 3, 3), "w4": (5, 16)}
    made = {name: rng.standard_normal(s) * np.sqrt(2 / np.prod(s[1:])) for name, s in shapes.items()}
    made |= {f"b{i}": rng.standard_normal(n) * 0.1 for i, n in enumerate((8, 12, 16, 5), 1)}
    made |= {"scale": rng.uniform(0.5, 1.5, 8), "shift": rng.standard_normal(8) * 0.2}
    made |= {"mean": rng.standard_normal(8) * 0.2, "var": rng.uniform(0.5, 1.5, 8)}
    return {name: array.astype(np.float32) for name, array in made.items()}


def write_tensorflow(folder: Path) -> None:
    """keras.onnx and tensorflow.onnx."""
    np.savez(folder / "weights.npz", **weights())
    script = Path(__file__).with_name("keras_export.py")
    done = subprocess.run(
        [sys.executable, script, folder / "weights.npz", folder], capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr


def write_torch(folder: Path, exporters: list[str]) -> None:
    """torchscript.onnx, and dynamo.onnx with its weights beside it."""
    import torch
    from torch import nn

    w = {name: torch.from_numpy(array) for name, array in weights().items()}
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 12, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(12, 16, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 5),
        nn.Softmax(1),
    ).eval()
    places = {"0": 1, "4": 2, "7": 3, "11": 4}
    named = {f"{at}.weight": w[f"w{i}"] for at, i in places.items()}
    named |= {f"{at}.bias": w[f"b{i}"] for at, i in places.items()}
    named |= {"1.weight": w["scale"], "1.bias": w["shift"], "1.running_mean": w["mean"]}
    module.load_state_dict(named | {"1.running_var": w["var"]}, strict=False)
    x, names = torch.zeros(1, 3, 32, 32), {"input_names": ["image"], "output_names": ["answer"]}
    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if "torchscript" in exporters:
            torch.onnx.export(module, (x,), folder / "torchscript.onnx", dynamo=False, **names)
        if "dynamo" in exporters:
            program = torch.onnx.export(module, (x,), dynamo=True, optimize=False, verbose=False, **names)
            program.save(folder / "dynamo.onnx", external_data=True)
            add_function(folder / "dynamo.onnx")


def add_function(path: Path) -> None:
    """Make the first BatchNormalization and Relu a function of the model's own.

    PyTorch's exporter wrote modules as such functions for years; of late it writes them out.
    """
    model = onnx.load(path, load_external_data=False)
    nodes = list(model.graph.node)
    at = next(i for i, n in enumerate(nodes) if n.op_type == "BatchNormalization")
    body = nodes[at : at + 2]
    assert body[1].op_type == "Relu"
    own = helper.make_function(
        "pkg.own", "NormRelu", body[0].input, body[1].output, body, list(model.opset_import)
    )
    nodes[at : at + 2] = [helper.make_node("NormRelu", body[0].input, body[1].output, domain="pkg.own")]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.functions.append(own)
    model.opset_import.append(helper.make_opsetid("pkg.own", 1))
    onnx.save(model, path)
