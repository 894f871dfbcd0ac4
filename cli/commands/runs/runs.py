"""`onnxlens runs`: what lies in the folders of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ... import options
from ...console import counted, emit, note, say, table
from ...progress import duration
from ...sources import folder

run_folder = click.argument("run", type=folder)
MAX_REASONS = 5  # reasons that are shown
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
    from ....models.runs.summary import summary
    from ....models.storage.files import files_at

    found = summary(files_at(run))
    seconds, reasons = found.pop("seconds"), found.pop("reasons")
    record = {**found, "time": None if seconds is None else duration(seconds)}
    if as_json:
        emit({**record, "reasons": reasons})
        return
    table((), [(key, _text(value)) for key, value in record.items()])
    for reason, count in list(reasons.items())[:MAX_REASONS]:
        say(f"{count:,} x {reason}")


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
    from ....models.runs.verify import verify as faults
    from ....models.storage.files import files_at
    from ....models.storage.shards import read_rows

    wrong = faults(run, photos)
    for file, fault in wrong:
        emit({"file": file, "fault": fault}) if as_json else say(f"{file}: {fault}")
    if not as_json:
        rows = sum(1 for _ in read_rows(files_at(run))) if not wrong else 0
        note(f"{counted(len(wrong), 'fault')}; {MEND}" if wrong else f"{run}: whole, {counted(rows, 'row')}")
    return 1 if wrong else 0


@command.command()
@click.argument("runs", nargs=-1, required=True, type=folder)
@click.option("-o", "--out", required=True, type=folder, help="Folder of the joined run.")
@options.rows("Format of the rows.")
@click.option("--overwrite", is_flag=True, help="Replace the run in the output folder.")
@options.as_json
@options.debug
def merge(runs: tuple[Path | str, ...], out: Path | str, rows: str, overwrite: bool, as_json: bool) -> None:
    """Join runs of one model with the same options over parts of the same photos.

    The rows come sorted by photo, and an image that stands in several runs is taken from the first.

    \b
    onnxlens runs merge part-1 part-2 -o run
    """
    from ....models.runs.merge import merge as joined

    done = joined(runs, out, rows=rows, overwrite=overwrite)
    if as_json:
        counts = {"images": done.images, "rows": done.rows, "errors": done.errors, "problems": done.problems}
        emit({"run": str(out), **counts})
    else:
        say(f"{counted(done.images, 'image')}, {counted(done.rows, 'row')} -> {out}")


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "?" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
