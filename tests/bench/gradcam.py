"""What a warm Grad-CAM costs beside the bare forward pass: medians, interleaved, in one process.

python tests/bench/gradcam.py [MODEL] [--threads N] [--repeats N]
"""

from __future__ import annotations

import time
from collections.abc import Callable

import click
import numpy as np
import onnxruntime

from onnxlens.engine.attribution.explainer import Explainer
from onnxlens.engine.graph.file import read_model
from onnxlens.engine.runtime.network import Network
from onnxlens.models.network.intake import image_input
from onnxlens.models.network.zoo import resolve


@click.command()
@click.argument("model", default="scenes")
@click.option("--threads", default=0, help="As ONNX Runtime counts; 0 is all cores.")
@click.option("--repeats", default=200)
def main(model: str, threads: int, repeats: int) -> None:
    """Print the medians and their ratio."""
    path = resolve(model)
    network = Network(path, provider="cpu", threads=threads)
    explainer = Explainer(network)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    bare = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name, shape, _ = image_input(read_model(path))
    tensor = bare.get_inputs()[0]
    dtype = {"tensor(float16)": np.float16, "tensor(double)": np.float64}.get(tensor.type, np.float32)
    x = np.random.default_rng(0).uniform(-1, 1, [d if isinstance(d, int) else 1 for d in shape]).astype(dtype)
    feeds = {name: x}

    def forward() -> np.ndarray:
        return np.asarray(bare.run(None, feeds)[0])

    def gradcam() -> np.ndarray:
        return explainer(feeds)[0].output

    np.testing.assert_array_equal(forward()[0], gradcam())
    times = interleaved([forward, gradcam], repeats)
    ratio = times[1] / times[0]
    print(f"{path.name}, {shape}: forward {times[0] * 1e3:.2f} ms, Grad-CAM {times[1] * 1e3:.2f} ms")
    print(f"Grad-CAM / forward: {ratio:.2f}")


def interleaved(calls: list[Callable[[], object]], repeats: int) -> list[float]:
    """The median seconds of each call, taken in turns so that all meet the same noise."""
    seconds: list[list[float]] = [[] for _ in calls]
    for i in range(repeats + 10):
        for call, kept in zip(calls, seconds, strict=True):
            start = time.perf_counter()
            call()
            if i >= 10:
                kept.append(time.perf_counter() - start)
    return [float(np.median(s)) for s in seconds]


if __name__ == "__main__":
    main()
