"""A run that is only tried: what it would do, and how long that would take."""

from __future__ import annotations

import sys
import time
from typing import Any

from ...engine.runtime.ahead import ahead
from ..features.stream import groups
from ..storage.store import reader, reading
from .job import Job, Spec
from .plan import Plan, folder_of, left_of, threads_of

WARM = 2  # batches of each worker that are tried


def dry_run(spec: Spec, plan: Plan) -> dict[str, Any]:
    """What a run would do, and from its first batches how long and how much that would be.

    Raises BadRequest where the run would be refused for what lies in its folder.
    """
    sizes: list[int] = []
    root = plan.album.root
    job = Job(spec, reader(root), lambda _, data: sizes.append(len(data)), plan.workers, reading(root))
    left = left_of(plan.album, folder_of(job, plan).finished())
    names = (left or plan.album.names)[: WARM * plan.workers * plan.batch]
    first = names[: plan.workers * plan.batch]
    list(ahead(job, groups(first, plan.batch), threads_of(job, plan)))
    sizes.clear()
    start = time.perf_counter()
    timed = names[len(first) :] or first
    rows = [row for part in ahead(job, groups(timed, plan.batch), threads_of(job, plan)) for row in part]
    each = (time.perf_counter() - start) / len(timed)
    count = len(left)
    return {
        "model": spec.model,
        "root": plan.album.root,
        "images": len(plan.album.names),
        "done_before": len(plan.album.names) - count,
        "methods": list(spec.methods),
        "rows": round(len(rows) / len(timed) * count),
        "provider": job.lens.network.why,
        "workers": plan.workers,
        "threads": spec.threads,
        "batch": plan.batch,
        "output": str(plan.out),
        "failed_of_those_tried": sum(row["error"] is not None for row in rows),
        "tried": len(timed),
        "memory_bytes": peak(),
        "output_bytes": round(sum(sizes) / len(timed) * count),
        "seconds": round(each * count, 3),
        "images_per_second": round(1 / each, 3),
    }


def peak() -> int | None:
    """The most memory that this process has had, in bytes; None where the system does not say."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
