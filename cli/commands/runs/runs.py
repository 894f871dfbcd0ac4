"""`onnxlens runs`: what lies in the folders of runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import click

from ....engine.errors import BadRequest
from ....models.storage.files import Bucket, Disk, files_at
from ....models.storage.shards import Row, read_rows, read_shard, shards
from ... import options
from ...console import counted, emit, note, say, table
from ...folder import MANIFEST
from ...progress import duration
from ...sources import folder
from .lock import is_held
from .runfolder import UNFINISHED, run_at
from .runrecord import differs, files_of, read_manifest

run_folder = click.argument("run", type=folder)
MOST = 5  # reasons that are shown
MEND = "delete files that are damaged or no row's, then the run's command with --resume makes what is missing"


@click.group("runs", cls=options.Group, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Show, check and join the folders that `onnxlens run` makes.

    \b
    onnxlens runs show run
    onnxlens runs verify run
    onnxlens runs merge part-1 part-2 -o run
    """


@command.command()
@run_folder
@options.as_json
@options.debug
def show(run: Path | str, as_json: bool) -> None:
    """Show how far a run is and what came of it.

    \b
    onnxlens runs show run
    """
    record = summary(files_at(run))
    if as_json:
        emit(record)
        return
    reasons = record.pop("reasons")
    table((), [(key, _text(value)) for key, value in record.items()])
    for reason, count in list(reasons.items())[:MOST]:
        say(f"{count:,} x {reason}")


def summary(run: Disk | Bucket) -> dict[str, Any]:
    """A run in a few figures. Whether one in a store still runs cannot be told from here."""
    manifest = read_manifest(run)
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for name in shards(run):
        rows = read_shard(run, name)
        counts["images"] += len({row["path"] for row in rows})
        counts["rows"] += len(rows)
        counts["failed"] += sum(bool(row.get("error")) for row in rows)
        reasons.update(
            row.get("error") or row["problem"] for row in rows if row.get("error") or row.get("problem")
        )
    state = manifest.get("state")
    if state != "done":
        held = is_held(run.path) if isinstance(run, Disk) else None
        state = {True: "running", False: "interrupted", None: "running or interrupted"}[held]
    return {
        "run": str(run),
        "state": state,
        "model": manifest["model"].get("path"),
        "photos": manifest.get("root"),
        "methods": manifest["arguments"].get("methods"),
        "provider": manifest["provider"].get("used"),
        "images": counts["images"],
        "of": manifest.get("images"),
        "rows": counts["rows"],
        "failed": counts["failed"],
        "time": duration(manifest["seconds"]) if "seconds" in manifest else None,
        "reasons": dict(reasons.most_common()),
    }


@command.command()
@run_folder
@click.option("--photos", is_flag=True, help="Also compare each photo with its SHA-256.")
@options.as_json
@options.debug
def verify(run: Path | str, photos: bool, as_json: bool) -> int:
    """Check that a run is whole: every row once, every file that a row names, and no other.

    \b
    onnxlens runs verify run
    onnxlens runs verify run --photos
    """
    files = files_at(run)
    wrong = list(faults(files, photos))
    for name, what in wrong:
        emit({"file": name, "fault": what}) if as_json else say(f"{name}: {what}")
    if not as_json:
        rows = sum(1 for _ in read_rows(files)) if not wrong else 0
        note(f"{counted(len(wrong), 'fault')}; {MEND}" if wrong else f"{run}: whole, {counted(rows, 'row')}")
    return 1 if wrong else 0


def faults(run: Disk | Bucket, photos: bool = False) -> list[tuple[str, str]]:
    """What is wrong in a run's folder: the file or image, and what."""
    from ....engine.runtime.ahead import ahead
    from ....models.storage.store import reader_again, reading
    from .verify import broken, changed

    manifest, wrong = read_manifest(run), []
    root = str(manifest.get("root", ""))
    read = reader_again(root, str(run))

    def checked(row: Row) -> tuple[Row, list[tuple[str, str]]]:
        found = [(name, broken(run, name)) for name in files_of(row)]
        found += [(row["path"], changed(read, row))] if photos else []
        return row, [(name, fault) for name, fault in found if fault]

    if manifest.get("state") != "done":
        wrong.append((MANIFEST, f"the run is not done: {manifest.get('state')}"))
    seen: Counter[tuple[Any, ...]] = Counter()
    named: set[str] = set()
    for row, found in ahead(checked, read_rows(run), max(reading(str(run)), reading(root) if photos else 1)):
        key = row["path"], row.get("method"), row.get("target")
        seen[key] += 1
        if seen[key] == 2:
            wrong.append((row["path"], "stands there more than once"))
        named.update(files_of(row))
        wrong += found
    wrong += [(name, "no row names it") for name in run.names("pictures", "maps") if name not in named]
    wrong += [(name.removeprefix(f"{UNFINISHED}/"), "unfinished") for name in run.names(UNFINISHED)]
    return wrong


@command.command()
@click.argument("runs", nargs=-1, required=True, type=folder)
@click.option("-o", "--out", required=True, type=folder, help="Folder of the joined run.")
@click.option(
    "--rows",
    type=click.Choice(["jsonl", "parquet"]),
    default="jsonl",
    show_default=True,
    help="Format of the rows.",
)
@click.option("--overwrite", is_flag=True, help="Replace the run in the output folder.")
@options.as_json
@options.debug
def merge(runs: tuple[Path | str, ...], out: Path | str, rows: str, overwrite: bool, as_json: bool) -> None:
    """Join runs of one model with the same options over parts of the same photos.

    The rows come sorted by photo, and an image that stands in several runs is taken from the first.

    \b
    onnxlens runs merge part-1 part-2 -o run
    """
    from .merge import joined

    parts = [files_at(run) for run in runs]
    manifests = [read_manifest(part) for part in parts]
    words = (
        f"{parts[0]} with",
        "what is joined is runs over parts of one folder, of one model and its options",
    )
    for part, manifest in zip(parts[1:], manifests[1:], strict=True):
        differs(str(part), manifest["identity"], manifests[0]["identity"], words)
    if _whole(out) in map(_whole, runs):
        raise BadRequest(f"{out} is one of the runs; say another folder with -o")
    with run_at(out, manifests[0]["identity"], overwrite=overwrite, kind=rows) as joint:
        joined(joint, parts, manifests)
        counts = dict(joint.counts)
    if as_json:
        emit({"run": str(out), **counts})
    else:
        images, lines = counted(counts.get("images", 0), "image"), counted(counts.get("rows", 0), "row")
        say(f"{images}, {lines} -> {out}")


def _whole(place: Path | str) -> str:
    return place.rstrip("/") if isinstance(place, str) else str(place.resolve())


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "?" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
