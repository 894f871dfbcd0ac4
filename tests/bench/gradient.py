"""What an input gradient costs beside the bare forward pass, before and after the rewrites for speed.

python tests/bench/gradient.py [MODEL]... [--threads N] [--repeats N] [--batch N] [--profile]

MODEL: a file, a name of the zoo, or one of the architectures that the onnx package carries (resnet50, vgg19,
squeezenet, densenet121, ...) with random weights. Medians, taken in turns in one process; the gradients are
compared before anything is timed. `--profile` lists what ONNX Runtime spends its time on afterwards.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
import numpy as np
import onnx
import onnxruntime

sys.path.insert(0, str(Path(__file__).parents[1]))
from oracles.networks import randomised

from onnxlens.engine.autodiff.gradient import training_graph
from onnxlens.engine.graph.graph import Graph
from onnxlens.engine.runtime.chain import Chain
from onnxlens.engine.runtime.network import Network
from onnxlens.engine.runtime.session import Session
from onnxlens.models.network.zoo import resolve

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"


@click.command()
@click.argument("models", nargs=-1)
@click.option("--threads", default=0, help="As ONNX Runtime counts; 0 is all cores.")
@click.option("--repeats", default=50)
@click.option("--batch", default=1, help="Images at once, where the model leaves it open.")
@click.option("--profile", is_flag=True)
def main(models: tuple[str, ...], threads: int, repeats: int, batch: int, profile: bool) -> None:
    """Print a row for each model."""
    print(f"{'':16}{'forward':>12}{'plain rules':>18}{'rewritten':>18}{'differ by':>12}")
    for name in models or ("squeezenet", "resnet50"):
        light = LIGHT / f"light_{name}.onnx"
        source = randomised(onnx.load(light)) if light.is_file() else resolve(name)
        network = Network(source, provider="cpu", threads=threads)
        graph = training_graph(source)
        feeds = drawn(graph, batch)
        # Threads of one session that wait for its next run would take the cores from the next one's.
        forward = Session(network.graph, graph.outputs[:1], "cpu", threads)
        before = Session(graph, graph.outputs, "cpu", threads)
        after = network.compile(graph, graph.outputs)
        *outputs, gradient = graph.outputs
        old, new = before(feeds), after(feeds)
        for output in outputs:
            np.testing.assert_array_equal(new[output], forward(feeds).get(output, new[output]))
        error = np.abs(new[gradient] - old[gradient]).max() / np.abs(old[gradient]).max()
        calls = [partial(session, feeds) for session in (forward, before, after)]
        times = interleaved(calls, repeats)
        row = "".join(f"{t * 1e3:9.2f} ms ({t / times[0]:4.2f})" for t in times[1:])
        print(f"{Path(name).name[:16]:16}{times[0] * 1e3:9.2f} ms{row}{error:12.1e}")
        if profile:
            spent(network, graph, feeds)


def drawn(graph: Graph, batch: int) -> dict[str, np.ndarray]:
    """Random inputs, and a seed of one for the fourth class."""
    rng = np.random.default_rng(0)
    shapes = {i: [d if isinstance(d, int) else batch for d in graph[i].shape] for i in graph.inputs}
    feeds = {i: rng.standard_normal(s).astype(graph[i].dtype) for i, s in shapes.items()}
    for name in feeds:
        if name.startswith("seed/"):
            feeds[name][:] = 0
            feeds[name].reshape(len(feeds[name]), -1)[:, 3] = 1
    return feeds


def interleaved(calls: list[Callable[[], object]], repeats: int) -> list[float]:
    """The median seconds of each call, taken in turns so that all meet the same noise."""
    seconds: list[list[float]] = [[] for _ in calls]
    for i in range(repeats + 5):
        for call, kept in zip(calls, seconds, strict=True):
            start = time.perf_counter()
            call()
            if i >= 5:
                kept.append(time.perf_counter() - start)
    return [float(np.median(s)) for s in seconds]


def spent(network: Network, graph: Graph, feeds: dict[str, np.ndarray], runs: int = 10) -> None:
    """Print the milliseconds of each operator in each piece, by ONNX Runtime's own profiler."""
    real = onnxruntime.SessionOptions
    with tempfile.TemporaryDirectory() as folder:

        def profiling() -> onnxruntime.SessionOptions:
            options = real()
            options.enable_profiling = True
            options.profile_file_prefix = f"{folder}/profile"
            return options

        onnxruntime.SessionOptions = profiling
        try:
            chain = network.compile(graph, graph.outputs)
        finally:
            onnxruntime.SessionOptions = real
        for _ in range(runs):
            chain(feeds)
        pieces = [s for s in chain._steps if isinstance(s, Session)] if isinstance(chain, Chain) else [chain]
        for i, piece in enumerate(pieces):
            events = json.loads(Path(piece._session.end_profiling()).read_text())
            times: Counter[str] = Counter()
            for e in events:
                if e.get("cat") == "Node" and e["name"].endswith("_kernel_time"):
                    times[e["args"]["op_name"]] += e["dur"]
            listed = ", ".join(f"{op} {t / runs / 1e3:.2f}" for op, t in times.most_common(12))
            print(f"    piece {i}: {sum(times.values()) / runs / 1e3:.2f} ms: {listed}")


if __name__ == "__main__":
    main()
