"""What finding the strongest photos costs beside the bare forward passes, and what memory it takes.

python tests/bench/top.py [MODEL] [--preset NAME] [--photos N] [--repeats N]     photos a second, in turns
python tests/bench/top.py [MODEL] [--preset NAME] --memory                       peak memory, 5,000 and 20,000

The photos are drawn scenes of the size of the model's input, half of them PNG, half JPEG, read and decoded
each time; ONNX Runtime alone gets the same batches ready made, once with its default options and once with a
batch on each core, of which the faster counts. Before each turn is a pause, because its threads wait awake
for 33 ms after the last one.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import cv2
import numpy as np
import onnxruntime

from onnxlens.engine.features.peaks import Peaks
from onnxlens.engine.runtime.ahead import cores
from onnxlens.models.embedded.scenes import TEST_SEEDS, scene
from onnxlens.models.features.stream import BATCH, tallied
from onnxlens.models.features.top import chosen, top
from onnxlens.models.lens import Lens
from onnxlens.models.photos.photo import read_photo
from onnxlens.models.storage.album import photos

PAUSE = 0.1  # seconds before each turn


@click.command()
@click.argument("model", default="scenes")
@click.option("--preset")
@click.option("--photos", "count", default=2000)
@click.option("--kind", type=click.Choice(["both", "png", "jpg"]), default="both")
@click.option("--repeats", default=7)
@click.option("--memory", is_flag=True, help="Peak memory instead.")
@click.option("--peak", "folder", help="Look through this folder once and print the peak in kB.")
def main(
    model: str, preset: str | None, count: int, kind: str, repeats: int, memory: bool, folder: str | None
) -> None:
    """Print the medians and their ratio, or the peaks and theirs."""
    lens = Lens(model, preset=preset, provider="cpu")
    if folder:
        top(lens, photos([folder]))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return
    with tempfile.TemporaryDirectory() as place:
        drawn = draw(Path(place, "drawn"), 500 if memory else count, lens.preprocess.size[0], kind)
        if memory:
            compare_memory(Path(place), drawn, model, preset)
        else:
            compare_time(lens, drawn, repeats)


def draw(folder: Path, count: int, size: int, kind: str) -> list[Path]:
    """Scenes as files, every other one of each kind."""
    folder.mkdir()
    paths = []
    for i in range(count):
        paths.append(folder / f"{i:05}.{('png', 'jpg')[i % 2] if kind == 'both' else kind}")
        cv2.imwrite(str(paths[-1]), scene(TEST_SEEDS[i], size=size).image[..., ::-1])
    return paths


def compare_time(lens: Lens, paths: list[Path], repeats: int) -> None:
    """Photos a second of the pass of `top`, and of ONNX Runtime alone on the same batches, both compiled."""
    options = onnxruntime.SessionOptions()
    session = onnxruntime.InferenceSession(str(lens.path), options, providers=["CPUExecutionProvider"])
    options.intra_op_num_threads = 1
    single = onnxruntime.InferenceSession(str(lens.path), options, providers=["CPUExecutionProvider"])
    wanted = session.get_inputs()[0]
    kind = np.float16 if wanted.type == "tensor(float16)" else np.float32
    size = BATCH if not isinstance(wanted.shape[0], int) else lens.batch
    ready = [lens.preprocess(read_photo(p))[0].astype(kind) for p in paths]
    batches = [np.concatenate(ready[i : i + size]) for i in range(0, len(ready) - size + 1, size)]

    def alone() -> None:
        for batch in batches:
            session.run(None, {wanted.name: batch})

    def each() -> None:
        with ThreadPoolExecutor(cores()) as pool:
            list(pool.map(lambda batch: single.run(None, {wanted.name: batch}), batches))

    peaks = Peaks(lens.network, chosen(lens), threads=1)
    *bare, ours = interleaved([alone, each, lambda: tallied(lens, peaks, paths, 9)], repeats)
    bare = min(bare)
    print(f"{lens.path.name}, {len(paths)} photos of {lens.preprocess.size[0]} pixels, batches of {size}:")
    print(f"ONNX Runtime alone {len(paths) / bare:.0f} photos/s, top {len(paths) / ours:.0f} photos/s")
    print(f"top / ONNX Runtime alone: {bare / ours:.3f}")


def interleaved(calls: list[Callable[[], object]], repeats: int) -> list[float]:
    """The median seconds of each call, taken in turns so that all meet the same noise."""
    seconds: list[list[float]] = [[] for _ in calls]
    for i in range(repeats + 1):
        for call, kept in zip(calls, seconds, strict=True):
            time.sleep(PAUSE)
            start = time.perf_counter()
            call()
            if i:  # the first is to warm up
                kept.append(time.perf_counter() - start)
    return [float(np.median(s)) for s in seconds]


def compare_memory(place: Path, drawn: list[Path], model: str, preset: str | None) -> None:
    """Peaks of processes that look through folders of two sizes, filled with links to the drawn photos."""
    peaks = []
    for count in (5_000, 20_000):
        folder = place / str(count)
        folder.mkdir()
        for i in range(count):
            source = drawn[i % len(drawn)]
            os.link(source, folder / f"photo-{i:06}{source.suffix}")
        command = [sys.executable, __file__, model, "--peak", str(folder)]
        done = subprocess.run(
            [*command, *(["--preset", preset] if preset else [])], capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout))
        print(f"{count} photos: peak {peaks[-1] / 1024:.1f} MiB")
    print(f"difference: {100 * (peaks[1] / peaks[0] - 1):.2f} %")


if __name__ == "__main__":
    main()
