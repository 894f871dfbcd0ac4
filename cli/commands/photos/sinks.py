"""Where the results of a method go: into the rows of a run, or into pictures beside one manifest."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ....engine.attribution.methods import METHODS
from ....engine.errors import BadRequest
from ....models.storage.folder import MANIFEST, Folder
from ...console import note
from ...methods import Several, given_to_methods
from ...results import Record
from ...sources import are_many
from ..runs.run import BASICS
from ..runs.watch import going_on

if TYPE_CHECKING:
    from ....models.lens import Lens

# What is looked at, and drawn, that the rows and files of a run have no place for.
ALONE = "layers", "fuse", "channels", "position", "top", "guided", "style", "verbose"
MAX_TRIED = 4  # photos that a dry run times
PAUSE = 20  # times as long as a manifest takes to write, until it is written again
Make = Callable[[Sequence[str]], Iterable[list[Record]]]  # images to the records of each


def is_run(images: Sequence[str], given: dict[str, Any]) -> bool:
    """Whether results go into the rows of a run: those of folders, patterns and lists, and of photos named
    one by one where an option of runs is said; never where an option is that rows have no place for.
    """
    many = are_many(images) or any(given[key] for key in BASICS if key != "seed")
    source = click.get_current_context().get_parameter_source
    said = any(given.get(key) and source(key) is ParameterSource.COMMANDLINE for key in ALONE)
    return many and not said and not any(isinstance(v, Several) and len(v) > 1 for v in given.values())


def of_run(default: str, given: dict[str, Any]) -> dict[str, Any]:
    """The options of a method's own command by the names that a run has for them."""
    given = {key: value for key, value in given.items() if key not in ALONE and value is not None}
    method = given.pop("method", default)
    own = given_to_methods(given, [METHODS[method]])
    own = {key: value[0] if isinstance(value, Several) else value for key, value in own.items()}
    return {**given, "methods": (method,), **own}


class Unwritten(Folder):
    """A folder that nothing is written into: it weighs what would be, in bytes."""

    weight = 0

    def write(self, name: str, data: bytes) -> str:
        """The name, as if the file were there."""
        self.weight += len(data)
        return name


def tried(folder: Unwritten, lens: Lens, method: str, images: Sequence[str], make: Make) -> dict[str, Any]:
    """What it would be to make the records of images, and from the first of them how long and how much."""
    from ....models.runs.dry_run import peak

    list(make(images[:1]))  # what is compiled and loaded once
    folder.weight = 0
    timed = images[1 : 1 + MAX_TRIED] or images
    start = time.perf_counter()
    made = list(make(timed))
    each = (time.perf_counter() - start) / len(timed)
    return {
        "model": str(lens.path),
        "images": len(images),
        "methods": [method],
        "provider": lens.network.why,
        "output": str(folder.path),
        "failed_of_those_tried": sum("error" in records[0] for records in made),
        "tried": len(timed),
        "memory_bytes": peak(),
        "output_bytes": round(folder.weight / len(timed) * len(images)),
        "seconds": round(each * len(images), 3),
        "images_per_second": round(1 / each, 3),
    }


def resumable(
    folder: Folder, manifest: dict[str, Any], images: Sequence[str], make: Make, resume: bool, fail_fast: bool
) -> tuple[list[Record], list[Record]]:
    """The records of an earlier command in a folder that this one goes on with, and those that it adds.

    The manifest is written while they come, so that what ends the work loses little. Raises BadRequest where
    the earlier command was another.
    """
    goes_on = resume and (folder.path / MANIFEST).exists()
    earlier = _whole(folder, _before(folder, manifest)) if goes_on else []
    folder.take(chain(*map(_files, earlier)))
    there, results, due = {record["image"] for record in earlier}, list[Record](), 0.0
    for made in make([image for image in images if image not in there]):
        results += made
        if (start := time.monotonic()) >= due:
            _write(folder, {**manifest, "state": "running"}, [*earlier, *results])
            due = time.monotonic() + PAUSE * (time.monotonic() - start)
        if fail_fast and "error" in made[0]:
            note(f"stopped at the first image that failed; to go on: {going_on()}")
            break
    _write(folder, manifest, [*earlier, *results])
    return earlier, results


def _write(folder: Folder, manifest: dict[str, Any], results: Sequence[Record]) -> None:
    """Write the manifest of results, if one of them has files."""
    if any("files" in record for record in results):
        folder.write_manifest({**manifest, "results": results})


def _before(folder: Folder, manifest: dict[str, Any]) -> list[Any]:
    """The results in a folder, where a command that is the same to them left its manifest."""
    from ....models.runs.manifest import differs, read_record
    from ....models.storage.files import files_at

    before = read_record(files_at(folder.path))
    results, identity = before.get("results"), before.get("identity")
    if not isinstance(results, list) or not isinstance(identity, dict):
        raise BadRequest(
            f"{folder.path} holds what was made without --resume, or by another command; say --overwrite to "
            "replace it, or another folder with -o"
        )
    differs(str(folder.path), identity, json.loads(json.dumps(manifest["identity"])))
    return results


def _whole(folder: Folder, results: Sequence[Any]) -> list[Record]:
    """The records of images of which no file is missing."""
    there = {path.name for path in folder.path.iterdir() if path.is_file()}
    read = [record for record in results if isinstance(record, dict) and isinstance(record.get("image"), str)]
    lost = {r["image"] for r in read if not _files(r).issubset(there)}
    return [record for record in read if record["image"] not in lost]


def _files(record: Record) -> set[str]:
    """The names of the files of a record; one that no file has where they are no table."""
    files = record.get("files", {})
    return set(map(str, files.values())) if isinstance(files, dict) else {""}
