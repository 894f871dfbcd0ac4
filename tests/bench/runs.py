"""What a whole run costs beside the bare passes through ONNX Runtime, where that goes, and its memory.

python tests/bench/runs.py [MODEL] [--preset NAME] [--photos N] [--kind KIND] [--size PIXELS] [--pictures ...]
python tests/bench/runs.py [MODEL] [--preset NAME] --memory                 memory from image 500 to the last

The photos are drawn scenes, of the size of the model's input unless it is said, half PNG, half JPEG. A run
reads and decodes them, makes their Grad-CAM and writes rows, pictures and maps. ONNX Runtime alone gets the
same batches ready made and computes the graph that `onnxlens` exports for Grad-CAM: once as it does by
default, all cores on one batch, and once with a batch on each core. The faster of the two is what counts.
Before each turn is a pause, because its threads wait awake for 33 ms after the last one.
"""

from __future__ import annotations

import hashlib
import itertools
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import cv2
import numpy as np
import onnxruntime
from top import draw

from onnxlens.engine.picture import shrunk
from onnxlens.engine.runtime.ahead import cores
from onnxlens.models.attribution.attribute import Attributor
from onnxlens.models.lens import Lens
from onnxlens.models.maps.row import row_of
from onnxlens.models.photos.photo import decode, read_file, read_photo
from onnxlens.models.runs.job import PICTURES, Job
from onnxlens.models.runs.plan import Plan, specified
from onnxlens.models.runs.run import perform
from onnxlens.models.storage.album import album

BATCH = 16
PAUSE = 0.1  # seconds before each turn
PROFILED = 320  # photos of the profile
SETTINGS: dict[str, Any] = {"size": None, "layout": None, "labels": None, "provider": "cpu", "threads": None}


@click.command()
@click.argument("model", default="scenes")
@click.option("--preset")
@click.option("--photos", "count", default=5000)
@click.option("--kind", type=click.Choice(["both", "png", "jpg"]), default="both")
@click.option("--size", type=int, help="Pixels of a photo; the model's by default.")
@click.option("--pictures", type=click.Choice(["jpeg", "png", ""]), default="jpeg")
@click.option("--repeats", default=3)
@click.option("--memory", is_flag=True, help="Memory instead.")
def main(
    model: str,
    preset: str | None,
    count: int,
    kind: str,
    size: int | None,
    pictures: str,
    repeats: int,
    memory: bool,
) -> None:
    """Print the medians, their ratio and the profile, or the memory and its growth."""
    lens = Lens(model, preset=preset, provider="cpu", threads=1)
    size = size or lens.preprocess.size[0]
    with tempfile.TemporaryDirectory() as place:
        paths = draw(Path(place, "photos"), min(count, 1000), size, kind)
        for i in range(len(paths), count):
            source = paths[i % len(paths)]
            Path(place, "photos", f"{i:05}{source.suffix}").hardlink_to(source)
        spec, workers = specified(model, ["gradcam"], None, preset=preset, pictures=pictures, **SETTINGS)
        where = album([Path(place, "photos")])
        plan = Plan(album=where, out=Path(place, "run"), workers=workers, batch=BATCH)
        if memory:
            watch(spec, plan)
            return
        bare = [alone(lens, [Path(where.root, name) for name in where.names], each) for each in (False, True)]
        fresh = (replace(plan, out=Path(place, f"run-{i}")) for i in itertools.count())
        *both, (our_wall, our_cpu) = in_turns([*bare, lambda: once(spec, next(fresh))], repeats)
        wall, cpu = min(both)
        print(f"{lens.path.name}, {count} scenes of {size} pixels, {workers} workers, batches of {BATCH}:")
        for name, (seconds, _) in zip(("all cores on a batch", "a batch on each core"), both, strict=True):
            print(f"ONNX Runtime alone, {name}: {count / seconds:.0f} images/s")
        print(f"the whole run: {count / our_wall:.0f} images/s")
        print(f"run / ONNX Runtime alone: {wall / our_wall:.3f}")
        times = [f"{1e6 * t / count:.0f} us" for t in (cpu, our_cpu)]
        print(f"processor time of an image: {times[0]} alone, {times[1]} in the run; of that, alone:")
        for name, seconds in profile(lens, spec, plan, Path(place, "profile")).items():
            print(f"  {name:16} {1e6 * seconds:6.0f} us")


def in_turns(calls: list[Callable[[], object]], repeats: int) -> list[tuple[float, float]]:
    """The median seconds of each call, by the wall clock and of all processors, after one to warm up."""
    found: list[list[tuple[float, float]]] = [[] for _ in calls]
    for i in range(repeats + 1):
        for call, kept in zip(calls, found, strict=True):
            time.sleep(PAUSE)
            wall, cpu = time.perf_counter(), time.process_time()
            call()
            if i:
                kept.append((time.perf_counter() - wall, time.process_time() - cpu))
    return [tuple(np.median(kept, axis=0).tolist()) for kept in found]  # pyright: ignore[reportReturnType]


def alone(lens: Lens, paths: list[Path], each: bool) -> Callable[[], None]:
    """A function that runs the exported Grad-CAM graph over these photos, ready made, and nothing else.

    All cores compute one batch, or `each` core a batch of its own.
    """
    explainer, options = lens.explainer(), onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1 if each else 0
    model = explainer.to_model().SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    kind = np.float16 if session.get_inputs()[0].type == "tensor(float16)" else np.float32
    ready = [lens.preprocess(read_photo(p))[0].astype(kind) for p in paths[:1000]]
    first = (lens.network.graph[lens.input].shape or (None,))[0]
    size = lens.batch if isinstance(first, int) else BATCH
    parts = [ready[i : i + size] for i in range(0, len(ready) - size + 1, size)]
    batches = [np.concatenate(part) for part in parts]
    target = np.full(size, -1)

    def run(batch: np.ndarray) -> None:
        session.run(None, {lens.input: batch, explainer.target: target})

    def all_of_them() -> None:
        todo = itertools.islice(itertools.cycle(batches), len(paths) // size)
        with ThreadPoolExecutor(cores() if each else 1) as pool:
            list(pool.map(run, todo))

    return all_of_them


def once(spec: Any, plan: Plan) -> None:
    """One whole run, from opening the model to the last file."""
    perform(spec, plan, "bench")


def profile(lens: Lens, spec: Any, plan: Plan, place: Path) -> dict[str, float]:
    """Seconds that one processor takes for each step of a photo, one step after the other."""
    cv2.setNumThreads(1)
    encode = PICTURES[spec.pictures or "jpeg"][1]
    names = plan.album.names[:PROFILED]
    steps: dict[str, float] = {}

    def step(name: str, function: Callable[..., Any], *items: Iterable[Any]) -> list[Any]:
        function(*(next(iter(i)) for i in items))  # compiles, fills caches
        start = time.process_time()
        found = [function(*item) for item in zip(*items, strict=True)]
        steps[name] = (time.process_time() - start) / len(names)
        return found

    files = step("read", lambda name: read_file(f"{plan.album.root}/{name}"), names)
    step("SHA-256", lambda data: hashlib.sha256(data).hexdigest(), files)
    photos = step("decode", decode, files, names)
    room = lens.preprocess.room(len(photos))
    room.fill(1)  # memory that nobody has touched comes from the system page by page
    step("preprocess", lens.preprocess, photos, [room[i : i + 1] for i in range(len(photos))])
    small = step("shrink", lambda photo: shrunk(photo, spec.side), photos)
    find = Attributor(lens, "gradcam", predictions=1)
    boxes = [lens.preprocess.box(*p.shape[:2]) for p in small]
    parts = [slice(i, i + BATCH) for i in range(0, len(photos), BATCH)]
    found = step("compute", lambda part: find(small[part], room[part], boxes[part]), parts)
    heats = [heat for part in found for (heat,) in part]
    pictures = step("draw", lambda heat: heat.overlay(), heats)
    drawn = step("encode", encode, pictures)
    step("row", lambda heat: row_of(heat, heat.place, heat.photo.shape[:2]), heats)
    place.mkdir()
    step("write a file", lambda name, data: (place / name).write_bytes(data), names, drawn)
    steps["all of a photo"] = whole(spec, plan, names)
    return steps


def whole(spec: Any, plan: Plan, names: list[str]) -> float:
    """Seconds that one processor takes for all of a photo but the writing of files."""
    job = Job(replace(spec, threads=1), lambda name: read_file(f"{plan.album.root}/{name}"), lambda *_: None)
    groups = [names[i : i + BATCH] for i in range(0, len(names), BATCH)]
    job(groups[0])
    start = time.process_time()
    for group in groups:
        job(group)
    return (time.process_time() - start) / len(names)


def watch(spec: Any, plan: Plan) -> None:
    """Print what memory the run holds after 500 images and at the end."""
    held: dict[int, float] = {}

    @contextmanager
    def watching(*_: object) -> Iterator[Callable[[list[Any]], None]]:
        done = 0

        def heard(rows: list[Any]) -> None:
            nonlocal done
            done += len(rows)
            if done // 500 not in held:
                held[done // 500] = resident()

        yield heard

    perform(spec, plan, "bench", watch=watching)
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
