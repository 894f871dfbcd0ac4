"""A run over many photos, done whatever happens."""

from __future__ import annotations

import shlex
import signal
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from ....engine.errors import BadRequest, OnnxlensError, Unavailable
from ....models.storage.shards import import_arrow
from ...console import counted, note, say
from ...manifest import about
from ...progress import live
from .collecting import collect
from .plan import Plan, folder_of, left_of, threads_of

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

    from ....models.maps.row import Row
    from ....models.runs.job import Job, Spec


def perform(spec: Spec, plan: Plan, command: str) -> int:
    """Do a run, or what is left of it; the exit code. Rows that are done are kept whatever ends it."""
    import cv2

    from ....models.runs.job import Job
    from ....models.storage.store import reader, reading

    if plan.rows == "parquet":
        import_arrow()
    if plan.workers > 1:
        cv2.setNumThreads(1)  # every worker decodes on its own
    root = plan.album.root
    job = Job(spec, reader(root), lambda name, data: folder.write(name, data), plan.workers, reading(root))
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
                failed = collect(folder, plan, batches, tell)
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
        say(_summary(counts, plan.out))
    if state == "stopped":
        note(f"stopped at the first image that failed; to go on: {going_on()}")
    return 1 if counts["errors"] > (before if plan.fail_fast else 0) else 0


def _explained(job: Job, plan: Plan, names: Sequence[str]) -> Generator[list[Row], None, None]:
    """The rows of batches of photos, from threads of this process or from a cluster."""
    from ....engine.runtime.ahead import ahead
    from ....models.features.stream import groups

    if plan.engine == "ray":
        from .cluster import rows_of

        yield from rows_of(job.spec, plan.album.root, plan.out, list(groups(names, plan.batch)), plan.workers)
    else:
        yield from ahead(job, groups(names, plan.batch), threads_of(job, plan))


def going_on() -> str:
    """The command line that goes on with this one."""
    words = [w for w in sys.argv[1:] if w not in ("--resume", "--overwrite")]
    return shlex.join(["onnxlens", *words, "--resume"])


def _greet(job: Job, plan: Plan, left: int) -> None:
    if plan.quiet:
        return
    lens, count = job.lens, len(plan.album.names)
    note(f"{lens.path.name}: {lens.network.why}; {lens.source}")
    earlier = f", {count - left:,} of them done before" if left < count else ""
    how = f"{counted(plan.workers, 'worker')}, batches of {plan.batch}"
    note(f"{counted(count, 'image')}{earlier}; {how} -> {plan.out}")


def _record(job: Job, spec: Spec, plan: Plan, command: str) -> dict[str, Any]:
    """What the manifest says of a run."""
    arguments = {k: v for k, v in asdict(spec).items() if k not in ("model", "sha256", "folder")}
    arguments |= {key: getattr(plan, key) for key in ("engine", "rows", "batch", "workers")}
    arguments |= {key: value for key, value in asdict(plan.choice).items() if key != "lists"}
    made = {"root": plan.album.root, "images": len(plan.album.names), "classes": job.lens.labels}
    return {**about(job.lens, command, arguments), **made}


def _summary(counts: Any, out: Path | str) -> str:
    parts = [counted(counts["images"], "image"), counted(counts["rows"], "row")]
    parts += [f"{counts['problems']:,} without a map"] if counts["problems"] else []
    parts += [f"{counts['errors']:,} failed"] if counts["errors"] else []
    return f"{', '.join(parts)} -> {out}"


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
