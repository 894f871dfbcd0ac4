"""A run, as a person or a program sees it: what it begins with, how far it is, and what came of it."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ....engine.errors import OnnxlensError
from ...console import counted, emit, note, say
from ...progress import Tell, duration, live

if TYPE_CHECKING:
    from ....models.maps.row import Row
    from ....models.runs.collect import Heard
    from ....models.runs.job import Job
    from ....models.runs.plan import Plan
    from ....models.runs.run import Run, Watch

MAX_NAMED = 20  # images that failed, at most, whose errors are said


def watching(as_json: bool, quiet: bool) -> Watch:
    """What says how a run goes on: to `perform` of models/runs/run.py."""

    @contextmanager
    def watch(job: Job, plan: Plan, left: Sequence[str]) -> Iterator[Heard]:
        if not quiet:
            _greet(job, plan, len(left))
        try:
            with live(len(left), quiet) as tell:
                yield _hearing(tell, as_json)
        except (KeyboardInterrupt, OnnxlensError):
            note(f"what is done is kept; to go on: {going_on()}")
            raise

    return watch


def _hearing(tell: Tell, as_json: bool) -> Callable[[list[Row]], None]:
    """What hears the rows of a run as they come: says its first errors, how far it is, and with JSON all."""
    done = failed = 0

    def heard(rows: list[Row]) -> None:
        nonlocal done, failed
        done += len({row["path"] for row in rows})
        bad = [row for row in rows if row["error"]]
        failed += len(bad)
        for row in bad[: max(0, MAX_NAMED - failed + len(bad))]:
            note(f"{row['path']}: {row['error']}")
        tell(done, failed)
        for row in rows if as_json else ():
            emit(row)

    return heard


def going_on() -> str:
    """The command line that goes on with this one."""
    words = [w for w in sys.argv[1:] if w not in ("--resume", "--overwrite")]
    return shlex.join(["onnxlens", *words, "--resume"])


def _greet(job: Job, plan: Plan, left: int) -> None:
    lens, count = job.lens, len(plan.album.names)
    note(f"{lens.path.name}: {lens.network.why}; {lens.source}")
    earlier = f", {count - left:,} of them done before" if left < count else ""
    how = f"{counted(plan.workers, 'worker')}, batches of {plan.batch}"
    note(f"{counted(count, 'image')}{earlier}; {how} -> {plan.out}")


def summed(done: Run) -> str:
    """A run that has ended, in one line."""
    parts = [counted(done.images, "image"), counted(done.rows, "row")]
    parts += [f"{done.problems:,} without a map"] if done.problems else []
    parts += [f"{done.errors:,} failed"] if done.errors else []
    return f"{', '.join(parts)} -> {done.place}"


def say_tried(found: dict[str, Any]) -> None:
    """Say what a run would do."""
    memory = found["memory_bytes"]
    shown = {
        **{k: v for k, v in found.items() if not k.endswith("bytes") and "second" not in k},
        "memory": f"about {memory / 1e6:.0f} MB" if memory else "unknown",
        "output": f"{found['output']}, about {found['output_bytes'] / 1e6:.1f} MB",
        "time": f"about {duration(found['seconds'])} ({found['images_per_second']:.3g} images/s)",
    }
    for key, value in shown.items():
        say(f"{key.replace('_', ' ')}: {', '.join(value) if isinstance(value, list) else value}")
