"""A run over many photos, done whatever happens."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from ...engine.attribution.methods import METHODS
from ...engine.errors import BadRequest, Unavailable
from ...engine.runtime.ahead import ahead
from ...host import opencv_threads
from ..features.stream import groups
from ..maps.row import Row
from ..network.provenance import about
from ..storage.files import files_at
from ..storage.shards import import_arrow, read_rows
from ..storage.store import reader, reading
from .collect import Heard, collect
from .folder import RunFolder
from .job import Job, Spec
from .options import written
from .plan import Plan, folder_of, left_of, planned, threads_of

# A context around the work on photos that are left, by their names, which is told the rows as they come.
Watch = Callable[[Job, Plan, Sequence[str]], AbstractContextManager[Heard]]


class Run(NamedTuple):
    """What lies in the folder or at the address `place` now that a run has ended."""

    place: str
    state: str  # "done"; "stopped", at the first image that failed; "interrupted", of some that were merged
    images: int
    rows: int
    errors: int  # images that failed
    problems: int  # rows with nothing to show

    def read(self) -> Iterator[Row]:
        """Its rows, one for each image, method and class, with the fields that docs/runs.md lists."""
        return read_rows(files_at(self.place))


def run(
    model: str | os.PathLike[str],
    photos: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    out: str | os.PathLike[str] = "onnxlens-run",
    methods: str | Sequence[str] = "gradcam",
    *,
    progress: Callable[[int, int], object] | None = None,
    **options: Any,
) -> Run:
    """Explain many photos: a row, a picture and a map for each photo, method and class, in a folder.

    Whatever ends a run, what is done is kept, and `resume=True` goes on with it. A photo that cannot be read
    gives a row with the reason.

    Parameters
    ----------
    model
        A path, a name of the zoo, or "scenes", as of a Lens.
    photos
        A photo, a folder with all below it, a pattern, or several of them; or one address in a store.
    out
        The folder of the run, or its address in a store. docs/runs.md says what lies there.
    methods
        Names of attribution methods.
    progress
        Called with the images done, and how many there were to do.
    **options
        Settings of a Lens (`preset`, `provider`, ...); options of the methods, each of all that have it
        (`patch`, `steps`, ...); fields of Spec: what is explained and written
        (`targets`, `layer`, `convention`, `pictures`, `maps`, ...); of Choice: which of the photos
        (`limit`, `sample`, `seed`, `part`, `lists`); and of Plan: how (`resume`, `overwrite`, `rows`,
        `batch`, `workers`, `shard`, `fail_fast`, `engine`). All are as the options of `onnxlens run`.

    Returns
    -------
    Run
        What came of it; `read()` gives the rows.

    Raises
    ------
    BadRequest
        For a photo, method, layer, class or option that is not there, where `out` holds another run, and
        where another process writes into it.
    Unavailable
        Where nothing can be written there, and for a store or a cluster that cannot be reached.

    Examples
    --------
    >>> done = onnxlens.run("model.onnx", "photos", "maps", "gradcam", pictures="")
    >>> done.state, done.images, done.rows
    ('done', 2, 2)
    >>> all(row["map"] for row in done.read())
    True
    """
    places = [photos] if isinstance(photos, str | os.PathLike) else photos
    names = (methods,) if isinstance(methods, str) else tuple(methods)
    place = out if isinstance(out, str) else Path(out)
    spec, plan = planned(os.fspath(model), [os.fspath(p) for p in places], place, names, **options)
    return perform(spec, plan, watch=_counted(progress))


def perform(
    spec: Spec, plan: Plan, command: str = "run", command_line: Sequence[str] = (), watch: Watch | None = None
) -> Run:
    """Do a run, or what is left of it. Rows that are done are kept whatever ends it, which is raised.

    `command` and `command_line` are those that the manifest says.
    """
    if plan.rows == "parquet":
        import_arrow()
    root = plan.album.root
    job = Job(
        spec, reader(root), lambda name, data: folder.files.write(name, data), plan.workers, reading(root)
    )
    if job.serial and plan.workers > 1 and plan.engine == "local":
        names = " and ".join(name for name in spec.methods if METHODS[name].serial)
        raise BadRequest(f"{names} takes one photo after the other, with all cores: leave --workers out")
    folder = folder_of(job, plan)
    with folder, opencv_threads(1) if plan.workers > 1 else nullcontext():  # every worker decodes on its own
        left = left_of(plan.album, folder.done)
        folder.begin(_record(job, plan, command, command_line))
        start, state = time.monotonic(), "interrupted"
        batches = _explained(job, plan, left)
        try:
            with (watch or _counted(None))(job, plan, left) as heard:
                failed = collect(folder, batches, plan.shard, plan.fail_fast, heard)
            state = "stopped" if failed and plan.fail_fast else "done"
        finally:
            batches.close()
            with nullcontext() if state == "done" else suppress(Unavailable):  # the disk may be full
                folder.end(state, seconds=round(time.monotonic() - start, 3))
    return ended(folder, state)


def ended(folder: RunFolder, state: str) -> Run:
    """What lies in a run's folder at its end."""
    return Run(folder.place, state, *(folder.counts[key] for key in Run._fields[2:]))


def _explained(job: Job, plan: Plan, names: Sequence[str]) -> Generator[list[Row], None, None]:
    """The rows of batches of photos, from threads of this process or from a cluster."""
    if plan.engine == "ray":
        from .cluster import rows_of

        yield from rows_of(job.spec, plan.album.root, plan.out, list(groups(names, plan.batch)), plan.workers)
    else:
        yield from ahead(job, groups(names, plan.batch), threads_of(job, plan))


def _record(job: Job, plan: Plan, command: str, command_line: Sequence[str]) -> dict[str, Any]:
    """What the manifest says of a run."""
    arguments = {k: v for k, v in asdict(job.spec).items() if k not in ("model", "sha256", "folder")}
    arguments |= written(arguments.pop("options"))
    arguments |= {key: getattr(plan, key) for key in ("engine", "rows", "batch", "workers")}
    arguments |= {key: value for key, value in asdict(plan.choice).items() if key != "lists"}
    made = {"root": plan.album.root, "images": len(plan.album.names), "classes": job.lens.labels}
    return {**about(job.lens, command, command_line, arguments), "places": job.places(), **made}


def _counted(progress: Callable[[int, int], object] | None) -> Watch:
    """A watch that tells how many images are done, and of how many."""

    @contextmanager
    def watch(_: Job, __: Plan, left: Sequence[str]) -> Iterator[Heard]:
        done = 0

        def heard(rows: list[Row]) -> None:
            nonlocal done
            done += len({row["path"] for row in rows})
            if progress:
                progress(done, len(left))

        yield heard

    return watch
