"""A run over many photos, done whatever happens."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import cv2

from ...engine.errors import BadRequest, Unavailable
from ...engine.runtime.ahead import ahead
from ..features.stream import groups
from ..maps.row import Row
from ..network.provenance import about
from ..storage.files import files_at
from ..storage.shards import import_arrow, read_rows
from ..storage.store import reader, reading
from .collect import Heard, collect
from .folder import RunFolder
from .job import Job, Spec
from .plan import Plan, folder_of, left_of, planned, threads_of

# A context around the work on photos that are left, by their names, which is told the rows as they come.
Watch = Callable[[Job, Plan, Sequence[str]], AbstractContextManager[Heard]]


class Run(NamedTuple):
    """What lies in the folder or at the address `place` now that a run has ended.

    `state` is "done", "stopped" (at the first image that failed) or, of runs that were merged, "interrupted";
    `errors` of the `rows` are of images that failed, `problems` of maps with nothing to show.
    """

    place: str
    state: str
    images: int
    rows: int
    errors: int
    problems: int

    def read(self) -> Iterator[Row]:
        """The rows, a dictionary for each image, method and class; see docs/runs.md for its fields."""
        return read_rows(files_at(self.place))


def run(
    model: str | os.PathLike[str],
    photos: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str] = "onnxlens-run",
    methods: str | Sequence[str] = "gradcam",
    *,
    progress: Callable[[int, int], object] | None = None,
    **options: Any,
) -> Run:
    """Explain many photos: a row, a picture and a map of each, each method and each class, in a folder.

    What is done is kept whatever ends the run, and `resume=True` goes on with it. An image that cannot be
    read gives a row with the reason.

    Parameters:
        model: an .onnx file, a name of the zoo, or "scenes", as for a Lens.
        photos: a file, a folder with all below it, a pattern, an address such as s3://bucket/photos, or
            several of the first three.
        out: the folder of the run, or its address in a store; docs/runs.md says what will lie there.
        methods: one or more of the methods' names.
        progress: called with the number of images that are done, and of those that were to do.
        options: those of a Lens (preset, size, layout, labels, output, readout, provider, threads); of the
            methods and what is written, the fields of models.runs.job.Spec (targets, layer, pictures, maps,
            ...); which photos, those of models.storage.choice.Choice (limit, sample, seed, part, lists); and
            how, those of models.runs.plan.Plan (resume, overwrite, rows, batch, workers, shard, fail_fast,
            engine).

    Returns:
        What came of the run; `read()` gives its rows.

    Raises:
        BadRequest: for a photo, method, layer, class or option that is not there, for a folder that holds
            another run, and where another process is writing into it.
        Unavailable: where the folder cannot be written, or a store or cluster not reached.

    Examples:
        >>> import onnxlens, tempfile
        >>> folder = tempfile.mkdtemp()
        >>> done = onnxlens.run("scenes", "photos", folder, methods=["gradcam", "saliency"])  # doctest: +SKIP
        >>> done.state, done.images, [row["label"] for row in done.read()]  # doctest: +SKIP
    """
    places = [photos] if isinstance(photos, str | os.PathLike) else list(photos)
    names = (methods,) if isinstance(methods, str) else tuple(methods)
    out = out if isinstance(out, str) else Path(out)
    spec, plan = planned(os.fspath(model), list(map(os.fspath, places)), out, names, **options)
    return perform(spec, plan, watch=_counted(progress))


def perform(
    spec: Spec, plan: Plan, command: str = "run", command_line: Sequence[str] = (), watch: Watch | None = None
) -> Run:
    """Do a run, or what is left of it. Rows that are done are kept whatever ends it, which is raised.

    `command` and `command_line` are those that the manifest says.
    """
    if plan.rows == "parquet":
        import_arrow()
    if plan.workers > 1:
        cv2.setNumThreads(1)  # every worker decodes on its own
    root = plan.album.root
    job = Job(
        spec, reader(root), lambda name, data: folder.files.write(name, data), plan.workers, reading(root)
    )
    if job.serial and plan.workers > 1 and plan.engine == "local":
        raise BadRequest("occlusion takes one photo after the other, with all cores: leave --workers out")
    folder = folder_of(job, plan)
    with folder:
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
    arguments |= {key: getattr(plan, key) for key in ("engine", "rows", "batch", "workers")}
    arguments |= {key: value for key, value in asdict(plan.choice).items() if key != "lists"}
    made = {"root": plan.album.root, "images": len(plan.album.names), "classes": job.lens.labels}
    return {**about(job.lens, command, command_line, arguments), **made}


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
