"""How long a gradient graph takes to build: python tests/bench/building.py

Chains of 1,000 and 10,000 Conv/Relu nodes, where the time must grow as the chain does, and the DenseNet-121
that the onnx package carries (910 nodes) with random weights.
"""

from __future__ import annotations

import sys
from pathlib import Path
from time import perf_counter

import numpy as np
import onnx
from onnx import ModelProto, helper, numpy_helper

from onnxlens.engine.autodiff.gradient import gradient

sys.path.insert(0, str(Path(__file__).parents[1]))
from oracles.networks import randomised


def chain(nodes: int) -> ModelProto:
    """Conv, Relu, Conv, Relu, ... of four channels, each convolution with weights of its own."""
    rng, made, weights, value = np.random.default_rng(0), [], [], "x"
    for i in range(nodes // 2):
        weight = rng.standard_normal((4, 4, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"w{i}"))
        made.append(helper.make_node("Conv", [value, f"w{i}"], [f"c{i}"], pads=[1, 1, 1, 1], name=f"conv{i}"))
        made.append(helper.make_node("Relu", [f"c{i}"], [value := f"r{i}"], name=f"relu{i}"))
    image = helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, ["N", 4, 8, 8])
    graph = helper.make_graph(
        made, "chain", [helper.make_value_info("x", image)], [helper.make_value_info(value, image)], weights
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


def densenet() -> ModelProto:
    """DenseNet-121 from the onnx package, which ships it without its weights."""
    folder = Path(onnx.__file__).parent / "backend/test/data/light"
    return randomised(onnx.load(folder / "light_densenet121.onnx"))


def seconds(model: ModelProto, runs: int = 3) -> float:
    """The shortest of a few runs of gradient()."""
    taken = []
    for _ in range(runs):
        start = perf_counter()
        gradient(model)
        taken.append(perf_counter() - start)
    return min(taken)


def main() -> None:
    gradient(chain(10))
    short, long = seconds(chain(1_000)), seconds(chain(10_000))
    print(f"chain of  1,000 nodes  {short:6.2f} s")
    print(f"chain of 10,000 nodes  {long:6.2f} s   {long / short:.1f} times as long (at most 13)")
    model = densenet()
    print(f"DenseNet-121, {len(model.graph.node)} nodes  {seconds(model):.2f} s (at most 3)")


if __name__ == "__main__":
    main()
