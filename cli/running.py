"""A run over many photos: what it is to do, how long that would take, and doing it whatever happens."""

from __future__ import annotations

import shlex
import signal
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..engine.errors import BadRequest, OnnxlensError, Unavailable
from ..models.shards import import_arrow
from .console import download, emit, note, say
from .live import live
from .manifest import about, sha256
from .runfolder import RunFolder, run_at

if TYPE_CHECKING:
    from types import FrameType

    from ..models.album import Album
    from ..models.job import Job, Spec

OFTEN = 60.0  # seconds after which rows are written, however few: what a power cut may cost


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run is over and how: `batch` photos at a time on each of `workers`, `shard` rows in a file."""

    album: Album
    output: Path | str  # a folder, or an address in a store
    resume: bool = False
    overwrite: bool = False
    rows: str = "jsonl"
    batch: int = 16
    workers: int = 1
    shard: int = 1024
    fail_fast: bool = False
    engine: str = "local"
    as_json: bool = False
    quiet: bool = False
    chosen: dict[str, Any] = field(default_factory=dict)  # how the album was chosen, for the record


def specified(model: str, methods: Sequence[str], workers: int | None, **given: Any) -> tuple[Spec, int]:
    """The specification of a run, and its workers: one for each core, which computes on that one alone.

    A method that looks at one photo's places in turn gets one worker, which has all the cores.
    """
    from ..engine.ahead import cores
    from ..models import zoo
    from ..models.job import Spec

    with download(model) as progress:
        path = zoo.resolve(model, progress)
    settings = {k: given.pop(k) for k in ("preset", "size", "layout", "labels")}
    settings["labels"] = settings["labels"] and str(settings["labels"].absolute())
    threads = given.pop("threads") or cores()
    workers = workers or (1 if "occlusion" in methods else int(threads))
    model = str(Path(model).absolute()) if Path(model).is_file() else model
    share = max(1, int(threads) // workers)
    spec = Spec(
        model=model, sha256=sha256(path), settings=settings, methods=tuple(methods), threads=share, **given
    )
    return spec, workers


def perform(spec: Spec, plan: Plan, command: str) -> int:
    """Do a run, or what is left of it; the exit code. Rows that are done are kept whatever ends it."""
    import cv2

    from ..models.job import Job
    from ..models.store import reader

    if plan.rows == "parquet":
        import_arrow()
    if plan.workers > 1:
        cv2.setNumThreads(1)  # every worker decodes on its own
    job = Job(spec, reader(plan.album.root), lambda name, data: folder.write(name, data), plan.workers)
    if job.serial and plan.workers > 1 and plan.engine == "local":
        raise BadRequest("occlusion takes one photo after the other, with all cores: leave --workers out")
    folder = folder_of(job, plan)
    with folder, _terminated():
        left = left_of(plan.album, folder.done)
        _greet(job, plan, len(left))
        folder.begin(_record(job, spec, plan, command))
        before, start, state = folder.counts["errors"], time.monotonic(), "interrupted"
        batches = _explained(job, plan, left)
        try:
            with live(len(left), plan.quiet) as tell:
                failed = _collect(folder, plan, batches, tell)
            state = "stopped" if failed and plan.fail_fast else "done"
        except (KeyboardInterrupt, OnnxlensError):
            note(f"what is done is kept; to go on: {going_on()}")
            raise
        finally:
            batches.close()
            with nullcontext() if state == "done" else suppress(Unavailable):  # the disk may be full
                folder.end(state, seconds=round(time.monotonic() - start, 3))
    counts = folder.counts
    if not plan.as_json:
        say(_summary(counts, plan.output))
    if state == "stopped":
        note(f"stopped at the first image that failed; to go on: {going_on()}")
    return 1 if counts["errors"] > (before if plan.fail_fast else 0) else 0


def folder_of(job: Job, plan: Plan) -> RunFolder:
    """Where a run is written to."""
    identity = {"root": plan.album.root, **job.identity()}
    return run_at(plan.output, identity, plan.resume, plan.overwrite, plan.rows)


def _explained(job: Job, plan: Plan, names: Sequence[str]) -> Generator[list[dict[str, Any]], None, None]:
    """The rows of batches of photos, from threads of this process or from a cluster."""
    from ..engine.ahead import ahead
    from ..models.stream import groups

    if plan.engine == "ray":
        from .cluster import rows_of

        yield from rows_of(
            job.spec, plan.album.root, plan.output, list(groups(names, plan.batch)), plan.workers
        )
    else:
        yield from ahead(job, groups(names, plan.batch), threads_of(job, plan))


def threads_of(job: Job, plan: Plan) -> int:
    """One more than compute, where that can be: it has a batch ready when one of them is done."""
    return plan.workers + job.overlaps


def _collect(folder: RunFolder, plan: Plan, batches: Iterator[list[dict[str, Any]]], tell: Any) -> int:
    """Take rows as they come and write them in shards; how many images failed. What came is kept."""
    held: list[dict[str, Any]] = []
    done = failed = 0
    since = time.monotonic()
    with _Behind(folder) as shards:
        try:
            for rows in batches:
                held += rows
                done += len({row["path"] for row in rows})
                bad = [row for row in rows if row["error"]]
                failed += len(bad)
                for row in bad[: max(0, 20 - failed + len(bad))]:
                    note(f"{row['path']}: {row['error']}")
                tell(done, failed)
                if plan.as_json:
                    for row in rows:
                        emit(row)
                if bad and plan.fail_fast:
                    break
                if len(held) >= plan.shard or time.monotonic() - since > OFTEN:
                    shards.add(held)
                    held, since = [], time.monotonic()
        except BaseException:
            with suppress(Unavailable):  # what ends the run may be that nothing can be written
                shards.add(held)
                shards.wait()
            raise
        shards.add(held)
        shards.wait()
    return failed


class _Behind:
    """Rows on their way to the disk while the next ones are made: it takes long until their files are there.

    Of one shard at a time. What goes wrong with it is raised by the next call.
    """

    def __init__(self, folder: RunFolder):
        self._folder, self._pool = folder, ThreadPoolExecutor(1)
        self._last: Future[None] | None = None

    def __enter__(self) -> _Behind:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def add(self, rows: list[dict[str, Any]]) -> None:
        self.wait()
        self._last = self._pool.submit(self._folder.add, rows)

    def wait(self) -> None:
        last, self._last = self._last, None
        if last:
            last.result()


def going_on() -> str:
    """The command line that goes on with this one."""
    words = [w for w in sys.argv[1:] if w not in ("--resume", "--overwrite")]
    return shlex.join(["onnxlens", *words, "--resume"])


def left_of(album: Album, done: set[str]) -> list[str]:
    """The photos that are not done yet."""
    from ..models.album import text

    return [name for name in album.names if text(name) not in done] if done else album.names


def _greet(job: Job, plan: Plan, left: int) -> None:
    if plan.quiet:
        return
    lens, count = job.lens, len(plan.album.names)
    note(f"{lens.path.name}: {lens.network.why}; {lens.source}")
    earlier = f", {count - left:,} of them done before" if left < count else ""
    note(f"{count:,} images{earlier}; {plan.workers} workers, batches of {plan.batch} -> {plan.output}")


def _record(job: Job, spec: Spec, plan: Plan, command: str) -> dict[str, Any]:
    """What the manifest says of a run."""
    from dataclasses import asdict

    arguments = {k: v for k, v in asdict(spec).items() if k not in ("model", "sha256", "folder")}
    arguments |= {
        "engine": plan.engine,
        "rows": plan.rows,
        "batch": plan.batch,
        "workers": plan.workers,
        **plan.chosen,
    }
    made = {"root": plan.album.root, "images": len(plan.album.names), "classes": job.lens.labels}
    return {**about(job.lens, command, arguments), **made}


def _summary(counts: Any, output: Path | str) -> str:
    parts = [f"{counts['images']:,} images", f"{counts['rows']:,} rows"]
    parts += [f"{counts['problems']:,} without a map"] if counts["problems"] else []
    parts += [f"{counts['errors']:,} failed"] if counts["errors"] else []
    return f"{', '.join(parts)} -> {output}"


@contextmanager
def _terminated() -> Iterator[None]:
    """SIGTERM as Ctrl-C: a machine that goes down leaves time to write what is done."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not in the main thread, where signals do not arrive
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
