"""Exported gradients in other runtimes, as they are and with `--for`: how far off they are, what they cost.

python tests/bench/architectures/export.py FOLDER       in an environment of its own: see there
python tests/bench/runtimes.py FOLDER [NAME]...         needs the extra openvino

Each network has one picture. "off" is the distance of a gradient from ONNX Runtime's, over its norm: up to
1e-2 where rounding carries a rectifier over its kink, around 1 where a gradient is wrong. "cost" is in
forward passes of the network in plain ONNX Runtime, one thread, medians in turns; what is timed has answered
alike before.
"""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import onnx
import onnxruntime

from onnxlens.engine.autodiff.gradient import training_graph
from onnxlens.engine.graph.types import shape_of
from onnxlens.engine.runtime.exports.checked import distance
from onnxlens.engine.runtime.exports.exported import exported
from onnxlens.engine.runtime.exports.installed import by_openvino

NAMES = (
    "squeezenet1_1 resnet18 resnet50 vgg11 densenet121 inception_v3 mobilenet_v2 mobilenet_v3_small "
    "convnext_tiny vit_tiny_patch16_224 swin_tiny_patch4_window7_224"
)


def session(model: bytes | str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def in_openvino(model: bytes, feeds: dict[str, np.ndarray]) -> np.ndarray:
    """The last output."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model)
        return [*by_openvino(str(path), feeds).values()][-1]


def row(path: Path, rounds: int) -> str:
    """A line of the table."""
    value = onnx.load(path, load_external_data=False).graph.input[0]
    shape = [d if isinstance(d, int) else 1 for d in shape_of(value.type) or ()]
    graph = training_graph(str(path), shapes={value.name: shape})
    plain = graph.to_model().SerializeToString()
    fast = exported(graph, "onnxruntime").to_model().SerializeToString()
    other = exported(graph, "openvino").to_model().SerializeToString()
    calls = {"forward": session(str(path)), "plain": session(plain), "for onnxruntime": session(fast)}
    rng = np.random.default_rng(0)
    feeds = {i.name: rng.standard_normal(i.shape).astype(np.float32) for i in calls["plain"].get_inputs()}
    given = {name: {i.name: feeds[i.name] for i in one.get_inputs()} for name, one in calls.items()}
    right = calls["plain"].run(None, feeds)[-1]
    apart = distance(calls["for onnxruntime"].run(None, feeds)[-1], right)
    assert apart < 1e-4, f"{path.stem}: {apart}"
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, one in calls.items():
            start = time.perf_counter()
            one.run(None, given[name])
            seconds[name].append(time.perf_counter() - start)
    once = np.median(seconds["forward"])
    costs = [f"{np.median(seconds[name]) / once:.1f}" for name in ("plain", "for onnxruntime")]
    wrong = [f"{distance(in_openvino(model, feeds), right):.0e}" for model in (plain, other)]
    return f"| {path.stem} | " + " | ".join([*costs, *wrong]) + " |"


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("names", nargs=-1)
@click.option("--rounds", default=9, show_default=True)
def command(folder: Path, names: tuple[str, ...], rounds: int) -> None:
    """Print the table of docs/derivatives.md."""
    print("| network | cost | cost, `--for onnxruntime` | off in OpenVINO | off, `--for openvino` |")
    print("| --- | --- | --- | --- | --- |")
    for name in names or NAMES.split():
        print(row(folder / f"{name}.onnx", rounds), flush=True)


if __name__ == "__main__":
    command()
