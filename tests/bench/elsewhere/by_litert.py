"""LiteRT, by a file that onnx2tf makes: pictures have their channels last there."""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np


def run(model: str, feeds: dict[str, np.ndarray], _: Path) -> dict[str, np.ndarray]:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import onnx
    import onnx2tf
    from ai_edge_litert.interpreter import Interpreter

    graph = onnx.load(model).graph
    shapes = {v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim) for v in graph.output}
    with TemporaryDirectory() as place:
        onnx2tf.convert(input_onnx_file_path=model, output_folder_path=place, verbosity="error")
        (path,) = Path(place).glob("*_float32.tflite")
        interpreter = Interpreter(str(path))
    interpreter.allocate_tensors()
    for value in interpreter.get_input_details():
        picture = feeds[plain(value["name"])]
        is_turned = picture.shape != tuple(value["shape"])
        interpreter.set_tensor(value["index"], np.moveaxis(picture, 1, -1) if is_turned else picture)
    interpreter.invoke()
    found = {v["name"]: interpreter.get_tensor(v["index"]) for v in interpreter.get_output_details()}
    found = {plain(name): array for name, array in found.items()}
    return {k: found[k] if found[k].shape == s else np.moveaxis(found[k], -1, 1) for k, s in shapes.items()}


def plain(name: str) -> str:
    """The name that a value has in the ONNX file."""
    return name.removeprefix("serving_default_").removesuffix(":0")
