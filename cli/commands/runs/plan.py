"""What a run over many photos is to do, and how: what doing it and only trying it have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....models.network.digest import sha256
from ...console import download
from ...options import LENS
from ...sources import Choice
from .runfolder import RunFolder, run_at

if TYPE_CHECKING:
    from ....models.runs.job import Job, Spec
    from ....models.storage.album import Album


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run is over and how: `batch` photos at a time on each of `workers`, `shard` rows in a file."""

    album: Album
    out: Path | str  # a folder, or an address in a store
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
    choice: Choice = field(default_factory=Choice)  # that made the album, for the record


def specified(
    model: str, methods: Sequence[str], workers: int | None, engine: str = "local", **given: Any
) -> tuple[Spec, int]:
    """The specification of a run, and its workers: one for each core, which computes on that one alone.

    A method that looks at one photo's places in turn gets one worker, which has all the cores. In a cluster
    there are as many as it has room for, each on `threads` cores, one by default. Raises what the zoo does
    for a model that is not there, and Unavailable where there is no cluster.
    """
    from ....engine.runtime.ahead import cores
    from ....models.network import zoo
    from ....models.runs.job import Spec

    with download(model) as progress:
        path = zoo.resolve(model, progress)
    settings = {k: given.pop(k) for k in LENS}
    settings["labels"] = settings["labels"] and str(settings["labels"].absolute())
    threads = given.pop("threads") or (1 if engine == "ray" else cores())
    if engine == "local":
        workers = workers or (1 if "occlusion" in methods else int(threads))
        threads = max(1, int(threads) // workers)
    model = str(Path(model).absolute()) if Path(model).is_file() else model
    spec = Spec(
        model=model, sha256=sha256(path), settings=settings, methods=tuple(methods), threads=threads, **given
    )
    if workers is None:
        from .cluster import room

        workers = room(spec)
    return spec, workers


def folder_of(job: Job, plan: Plan) -> RunFolder:
    """Where a run is written to."""
    identity = {"root": plan.album.root, **job.identity()}
    return run_at(plan.out, identity, plan.resume, plan.overwrite, plan.rows)


def threads_of(job: Job, plan: Plan) -> int:
    """One more than compute, where that can be: it has a batch ready when one of them is done."""
    return plan.workers + job.overlaps


def left_of(album: Album, done: set[str]) -> list[str]:
    """The photos that are not done yet."""
    from ....models.storage.album import text

    return [name for name in album.names if text(name) not in done] if done else album.names
