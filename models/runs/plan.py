"""What a run over many photos is to do, and how: what doing it and only trying it have in common."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ...engine.attribution.methods import method_named
from ...engine.errors import BadRequest, nearest
from ...engine.picture import colour_map
from ...engine.runtime.ahead import cores
from ..maps.convention import CONVENTIONS
from ..network import zoo
from ..network.digest import sha256
from ..network.inputs import elsewhere, value_elsewhere
from ..network.vision_model import SETTINGS
from ..storage.album import Album, text
from ..storage.choice import Choice, taken
from ..storage.shards import ENDINGS
from .folder import RunFolder
from .job import PICTURES, Job, Spec
from .options import names_of_options, taken_options

# Fields of a Spec and a Plan that are found, or said otherwise.
FOUND = frozenset({"model", "sha256", "settings", "methods", "options", "folder", "album", "out", "choice"})
CHOICES = {
    "rows": tuple(ENDINGS),
    "pictures": (*PICTURES, ""),
    "engine": ("local", "ray"),
    "convention": CONVENTIONS,
}
COUNTS = ("batch", "shard")


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
    choice: Choice = field(default_factory=Choice)  # that made the album, for the record


def planned(
    model: str,
    places: Sequence[str],
    out: Path | str,
    methods: Sequence[str],
    more: Sequence[bytes] = (),
    progress: zoo.Progress | None = None,
    workers: int | None = None,
    **options: Any,
) -> tuple[Spec, Plan]:
    """A run of methods over the photos of places, and of lists of the contents `more`; nothing is written.

    The rest are fields of a Spec, a Plan and a Choice, settings of a Lens, and options of the methods, also
    together as `options`; `progress` as in `specified`.
    Raises BadRequest for options that are not there or do not go together, and what `Choice.album` and
    `specified` do.
    """
    options = {**options.pop("options", {}), **options}
    own = taken_options(methods, options)
    _check(options)
    choice, how = Choice(**taken(Choice, options)), taken(Plan, options)
    if how.get("resume") and how.get("overwrite"):
        raise BadRequest("--resume goes on with a run, --overwrite replaces it: say one of them")
    colour_map(options.get("colour", Spec.colour))
    album = choice.album(places, more, how.get("batch", Plan.batch))
    options["targets"] = _several(options.get("targets")) or (None,)
    options["folder"] = Path(album.root).name
    engine = how.get("engine", Plan.engine)
    spec, workers = specified(model, methods, workers, engine, progress, options=own, **options)
    return spec, Plan(album=album, out=out, choice=choice, workers=workers, **how)


def _check(options: dict[str, Any]) -> None:
    """Raise BadRequest for an option that a run has not, or a value that it does not take."""
    named = (field.name for kind in (Spec, Plan, Choice) for field in fields(kind))
    known = [*SETTINGS, *names_of_options(), *(name for name in named if name not in FOUND)]
    for name, value in options.items():
        if name not in known:
            raise BadRequest(f"a run has no option {name!r}{nearest(name, known)}")
        if name in CHOICES and value not in CHOICES[name]:
            raise BadRequest(f"{name} {value!r} is none of {', '.join(map(repr, CHOICES[name]))}")
        if name in COUNTS and not (isinstance(value, int) and value > 0):
            raise BadRequest(f"{name} is a whole number above 0, not {value!r}")


def _several(value: Any) -> tuple[Any, ...]:
    """One or more values, or none, as a tuple."""
    return () if value is None else (value,) if isinstance(value, str | int) else tuple(value)


def specified(
    model: str,
    methods: Sequence[str],
    workers: int | None = None,
    engine: str = "local",
    progress: zoo.Progress | None = None,
    **given: Any,
) -> tuple[Spec, int]:
    """The specification of a run, and its workers: one for each core, which computes on that one alone.

    A method that takes all cores for one photo gets one worker, which has all the cores. In a cluster
    there are as many as it has room for, each on `threads` cores, one by default. `progress` is called with
    the bytes of a model that are downloaded, and with all of them.

    Raises what the zoo does for a model that is not there, and Unavailable where there is no cluster.
    """
    path = zoo.resolve(model, progress)
    settings = {k: given.pop(k, None) for k in SETTINGS}
    if isinstance(labels := settings["labels"], str | os.PathLike):
        settings["labels"] = str(Path(labels).absolute())
    settings["inputs"] = elsewhere(settings["inputs"])
    if settings["second"] is not None:
        if not isinstance(settings["second"], str | os.PathLike):
            raise BadRequest("a run takes its second picture by its path: give one in the place of pixels")
        settings["second"] = value_elsewhere(settings["second"])
    threads = given.pop("threads", None) or (1 if engine == "ray" else cores())
    if engine == "local":
        alone = any(method_named(name).serial for name in methods)
        workers = workers or (1 if alone else int(threads))
        threads = max(1, int(threads) // workers)
    model = str(Path(model).absolute()) if Path(model).is_file() else model
    given |= {"methods": tuple(methods), "threads": threads, "settings": settings}
    spec = Spec(model=model, sha256=sha256(path), **given)
    if workers is None:
        from .cluster import room

        workers = room(spec)
    return spec, workers


def folder_of(job: Job, plan: Plan) -> RunFolder:
    """Where a run is written to."""
    identity = {"root": plan.album.root, **job.identity()}
    return RunFolder(plan.out, identity, plan.resume, plan.overwrite, plan.rows)


def threads_of(job: Job, plan: Plan) -> int:
    """One more than compute, where that can be: it has a batch ready when one of them is done."""
    return plan.workers + job.overlaps


def left_of(album: Album, done: set[str]) -> list[str]:
    """The photos that are not done yet."""
    return [name for name in album.names if text(name) not in done] if done else album.names
