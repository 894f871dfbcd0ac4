"""What a whole run costs beside the bare passes through ONNX Runtime, and what memory it takes.

python tests/bench/runs.py [MODEL] [--preset NAME] [--photos N] [--pictures KIND]   images a second, in turns
python tests/bench/runs.py [MODEL] [--preset NAME] --memory                 memory from image 500 to the last

The photos are drawn scenes of the size of the model's input, half PNG, half JPEG. A run reads and decodes
them, makes their Grad-CAM and writes rows, pictures and maps; ONNX Runtime alone gets the same batches ready
made and computes the graph that `onnxlens` exports for Grad-CAM, with its default options.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import onnxruntime
from top import draw

from onnxlens.cli.running import Plan, perform, specified
from onnxlens.models.album import album
from onnxlens.models.lens import Lens
from onnxlens.models.photo import read_photo

BATCH = 16
SETTINGS: dict[str, Any] = {"size": None, "layout": None, "labels": None, "provider": "cpu", "threads": None}


@click.command()
@click.argument("model", default="scenes")
@click.option("--preset")
@click.option("--photos", "count", default=5000)
@click.option("--pictures", type=click.Choice(["jpeg", "png", ""]), default="jpeg")
@click.option("--repeats", default=3)
@click.option("--memory", is_flag=True, help="Memory instead.")
def main(model: str, preset: str | None, count: int, pictures: str, repeats: int, memory: bool) -> None:
    """Print the medians and their ratio, or the memory and its growth."""
    lens = Lens(model, preset=preset, provider="cpu")
    with tempfile.TemporaryDirectory() as place:
        paths = draw(Path(place, "photos"), min(count, 1000), lens.preprocess.size[0], "both")
        for i in range(len(paths), count):
            source = paths[i % len(paths)]
            Path(place, "photos", f"{i:05}{source.suffix}").hardlink_to(source)
        spec, workers = specified(model, ["gradcam"], None, preset=preset, pictures=pictures, **SETTINGS)
        where = album([Path(place, "photos")])
        plan = Plan(album=where, output=Path(place, "run"), workers=workers, batch=BATCH, quiet=True)
        if memory:
            watch(spec, plan)
            return
        bare = alone(lens, [Path(where.root, name) for name in where.names])
        fresh = (replace(plan, output=Path(place, f"run-{i}")) for i in itertools.count())
        (wall, cpu), (our_wall, our_cpu) = in_turns([bare, lambda: once(spec, next(fresh))], repeats)
    print(f"{lens.path.name}, {count} scenes of {lens.preprocess.size[0]} pixels, batches of {BATCH}:")
    print(f"ONNX Runtime alone {count / wall:.0f} images/s, the whole run {count / our_wall:.0f} images/s")
    print(f"run / ONNX Runtime alone: {wall / our_wall:.3f}")
    times = [f"{1e3 * t / count:.2f} ms" for t in (cpu, our_cpu)]
    print(f"processor time of an image: {times[0]} alone, {times[1]} in the run")


def in_turns(calls: list[Callable[[], object]], repeats: int) -> list[tuple[float, float]]:
    """The median seconds of each call, by the wall clock and of all processors, after one to warm up."""
    found: list[list[tuple[float, float]]] = [[] for _ in calls]
    for i in range(repeats + 1):
        for call, kept in zip(calls, found, strict=True):
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            if i:
                kept.append((time.perf_counter() - wall, time.process_time() - cpu))
    return [tuple(np.median(kept, axis=0).tolist()) for kept in found]  # pyright: ignore[reportReturnType]


def alone(lens: Lens, paths: list[Path]) -> Any:
    """A function that runs the exported Grad-CAM graph over these photos, ready made, and nothing else."""
    explainer = lens.explainer()
    session = onnxruntime.InferenceSession(
        explainer.to_model().SerializeToString(), providers=["CPUExecutionProvider"]
    )
    kind = np.float16 if session.get_inputs()[0].type == "tensor(float16)" else np.float32
    ready = [lens.preprocess(read_photo(p))[0].astype(kind) for p in paths[:1000]]
    first = (lens.network.graph[lens.input].shape or (None,))[0]
    size = lens.batch if isinstance(first, int) else BATCH
    parts = [ready[i : i + size] for i in range(0, len(ready) - size + 1, size)]
    batches = [np.concatenate(part) for part in parts]
    target = np.full(size, -1)

    def run() -> None:
        for batch in itertools.islice(itertools.cycle(batches), len(paths) // size):
            session.run(None, {lens.input: batch, explainer.target: target})

    return run


def once(spec: Any, plan: Plan) -> None:
    """One whole run, from opening the model to the last file."""
    threads = cv2.getNumThreads()
    perform(spec, plan, "bench")
    cv2.setNumThreads(threads)


def watch(spec: Any, plan: Plan) -> None:
    """Print what memory the run holds after 500 images and at the end."""
    from onnxlens.cli import running

    held: dict[int, float] = {}

    def tell(done: int, _: int) -> None:
        if done // 500 not in held:
            held[done // 500] = resident()

    class Live:
        def __init__(self, *_: object): ...
        def __enter__(self) -> Any:
            return tell

        def __exit__(self, *_: object) -> None: ...

    running.live = Live  # type: ignore[assignment]
    perform(spec, plan, "bench")
    for k, size in sorted(held.items()):
        print(f"{500 * k:5} images: {size:.1f} MiB")
    marks = sorted(held)
    growth = 100 * (held[marks[-1]] / held[marks[1]] - 1)
    print(f"from image {500 * marks[1]} to {500 * marks[-1]}: {growth:+.2f} %")


def resident() -> float:
    """Memory of this process that is in use, in MiB (Linux)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


if __name__ == "__main__":
    main()
