"""The peak memory of `onnxlens weights` on a detector of 10 MB, over that of opening it.

python tests/bench/weights.py [SIDE]        1280 pixels by default

The detector has random weights and the layout of YOLOv8's smallest: blocks that split their channels, SiLU, a
pyramid, and a head at three scales. Each figure is the peak of the resident set of a process (Linux).
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

PEAK = "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM:')))"
OPEN = (
    f"import sys; from onnxlens.models.network.opened import open_network; open_network(sys.argv[1]); {PEAK}"
)
RUN = f"""import sys; from onnxlens.cli import main
try: main(['weights', *sys.argv[1:]])
except SystemExit as end: assert not end.code, end.code
{PEAK}"""


class Builder:
    """The nodes of a detector, one block after the other; each method gives the name of what it computes."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.channels = {"images": 3}
        self._rng = np.random.default_rng(0)

    def add(
        self, op_type: str, inputs: list[str], channels: int, outputs: int = 1, **attributes: object
    ) -> str:
        names = [f"{op_type.lower()}{len(self.nodes)}.{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op_type, inputs, names, **attributes))
        self.channels.update(dict.fromkeys(names, channels))
        return names[0]

    def constant(self, array: np.ndarray) -> str:
        self.weights.append(numpy_helper.from_array(array, f"weight{len(self.weights)}"))
        return self.weights[-1].name

    def conv(self, x: str, k: int, size: int = 3, stride: int = 1, silu: bool = True) -> str:
        c = self.channels[x]
        w = self._rng.normal(0, (2 / (c * size * size)) ** 0.5, (k, c, size, size)).astype(np.float32)
        inputs = [x, self.constant(w), self.constant(self._rng.normal(0, 0.1, k).astype(np.float32))]
        y = self.add("Conv", inputs, k, strides=[stride] * 2, pads=[size // 2] * 4, kernel_shape=[size] * 2)
        return self.add("Mul", [y, self.add("Sigmoid", [y], k)], k) if silu else y

    def block(self, x: str, k: int, count: int, add: bool) -> str:
        """C2f: halves of the channels, one of which goes on through pairs of convolutions."""
        halves = self.constant(np.array([k // 2, k // 2], np.int64))
        first = self.add("Split", [self.conv(x, k, 1), halves], k // 2, 2, axis=1)
        parts = [first, f"{first[:-2]}.1"]
        for _ in range(count):
            y = self.conv(self.conv(parts[-1], k // 2), k // 2)
            parts.append(self.add("Add", [parts[-1], y], k // 2) if add else y)
        return self.conv(self.add("Concat", parts, k // 2 * len(parts), axis=1), k, 1)

    def joined(self, x: str, other: str, up: bool) -> str:
        if up:
            factors = self.constant(np.array([1, 1, 2, 2], np.float32))
            x = self.add("Resize", [x, "", factors], self.channels[x], mode="nearest")
        return self.add("Concat", [x, other], self.channels[x] + self.channels[other], axis=1)


def detector(side: int, batch: int | str) -> onnx.ModelProto:
    """The model, whose outputs are maps of 64 + 80 channels at three scales."""
    b = Builder()
    x = b.block(b.conv(b.conv("images", 16, 3, 2), 32, 3, 2), 32, 1, True)
    third = b.block(b.conv(x, 64, 3, 2), 64, 2, True)
    fourth = b.block(b.conv(third, 128, 3, 2), 128, 2, True)
    fifth = b.block(b.conv(fourth, 256, 3, 2), 256, 1, True)
    middle = b.block(b.joined(fifth, fourth, up=True), 128, 1, False)
    fine = b.block(b.joined(middle, third, up=True), 64, 1, False)
    middle = b.block(b.joined(b.conv(fine, 64, 3, 2), middle, up=False), 128, 1, False)
    coarse = b.block(b.joined(b.conv(middle, 128, 3, 2), fifth, up=False), 256, 1, False)
    heads = [b.conv(b.conv(b.conv(x, 64), 64), 144, 1, silu=False) for x in (fine, middle, coarse)]
    inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, side, side])]
    outputs = [helper.make_tensor_value_info(h, TensorProto.FLOAT, [batch, 144, None, None]) for h in heads]
    graph = helper.make_graph(b.nodes, "detector", inputs, outputs, b.weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def peak(code: str, *arguments: str) -> float:
    """The peak of a process that runs some Python, in MB."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    return int(done.stdout.split()[-1]) / 1024


if __name__ == "__main__":
    side = int(sys.argv[1]) if len(sys.argv) > 1 else 1280
    for batch in (1, "N"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "detector.onnx"
            onnx.save(detector(side, batch), path)
            opened = peak(OPEN, str(path))
            for layers in ([], ["--layer", "*"]):
                more = peak(RUN, str(path), "-o", f"{folder}/out", "--overwrite", "--preset", "unit", *layers)
                print(
                    f"{path.stat().st_size / 1e6:.1f} MB, batch {batch}, {side} pixels, "
                    f"{'every layer' if layers else 'the first layers'}: "
                    f"{more - opened:.0f} MB over {opened:.0f} MB",
                    flush=True,
                )
