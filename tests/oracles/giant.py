"""A classifier of more than 2 GB on disk, written piece by piece."""

from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from oracles.toys import UNIT, metadata_of

CHUNK = 2**20  # numbers at a time
WIDE, DEEP = 2**14, 2**15 + 2**11  # the large matrix: 2.3 GB, more than protobuf holds, in one tensor


def write_giant(path: Path, wide: int = WIDE, deep: int = DEEP, seed: int = 0) -> int:
    """Write the model to `path` and its large matrix to `weights.bin` beside it; returns its bytes.

    It takes photos as UNIT says and gives three classes. Memory used is that of one chunk.
    """
    rng = np.random.default_rng(seed)
    chunk = rng.standard_normal(CHUNK, np.float32) / np.float32(np.sqrt(wide))
    left = wide * deep
    with (path.parent / "weights.bin").open("wb") as file:
        while left > 0:
            file.write(chunk[:left].tobytes())
            left -= CHUNK
            chunk = np.roll(chunk, 1)
    large = TensorProto(name="large", data_type=TensorProto.FLOAT, dims=(wide, deep))
    large.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "weights.bin"), ("offset", 0), ("length", 4 * wide * deep)):
        large.external_data.add(key=key, value=str(value))
    small = {
        "kernel": rng.standard_normal((16, 3, 3, 3)),
        "up": rng.standard_normal((16, wide)) / 4,
        "down": rng.standard_normal((deep, 3)) / np.sqrt(deep),
    }
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["conv"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv"], ["features"]),
        helper.make_node("GlobalAveragePool", ["features"], ["pool"]),
        helper.make_node("Flatten", ["pool"], ["flat"]),
        helper.make_node("Gemm", ["flat", "up"], ["first"]),
        helper.make_node("Relu", ["first"], ["first/relu"]),
        helper.make_node("Gemm", ["first/relu", "large"], ["second"]),
        helper.make_node("Relu", ["second"], ["second/relu"]),
        helper.make_node("Gemm", ["second/relu", "down"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "giant",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ("N", 3, *UNIT.size))],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ("N", 3))],
        [large, *(numpy_helper.from_array(a.astype(np.float32), n) for n, a in small.items())],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    helper.set_model_props(model, metadata_of(UNIT, ["red", "green", "blue"]))
    path.write_bytes(model.SerializeToString())
    return 4 * wide * deep
