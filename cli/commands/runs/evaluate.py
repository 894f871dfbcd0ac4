"""`onnxlens evaluate`: which method to believe, on a model and photos of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ....engine.attribution.methods import METHODS
from ....engine.errors import BadRequest
from ....engine.metrics.metrics import METRICS, metric_named
from ....models.storage.addresses import is_address
from ....models.storage.folder import write_file
from ... import options
from ...console import counting, emit, note, table
from ...methods import given_to_methods, methods_named, options_of_methods
from ...sources import argument, folder
from .run import machinery, over_folders, overwrite, part

WITHOUT = "deletion", "insertion", "randomisation"  # what can be told of any classifier
WITH_MASKS = "pointing", "mass", "iou"
SHOWN = 200  # photos on the page


@options.command("evaluate")
@options.model
@argument
@click.option(
    "--methods",
    "named",
    multiple=True,
    default=["gradcam,layercam,saliency,integrated,occlusion"],
    show_default=True,
    help="Methods to compare, several with commas; all for every one.",
)
@click.option(
    "--metrics",
    "measures",
    multiple=True,
    help="Metrics, several with commas; all for every one.  [default: deletion, insertion, randomisation, "
    "and with masks pointing, mass and iou]",
)
@click.option(
    "--masks",
    "truth",
    metavar="FOLDER",
    help="Pictures called as the photos, not black where the object is.",
)
@options.targets()
@options.layer
@options_of_methods(list(METHODS.values()), without=["masks"])  # how many RISE has
@click.option(
    "-o",
    "--out",
    default="onnxlens-evaluation",
    show_default=True,
    type=folder,
    help="Folder of the run, or its address in a store.",
)
@overwrite
@part
@options.convention
@options.overlay(0.7)
@machinery
@options.photos
@options.printing
def command(
    model: str,
    places: tuple[str, ...],
    named: tuple[str, ...],
    measures: tuple[str, ...],
    truth: str | None,
    **given: Any,
) -> int:
    """Measure how good the maps of methods are, on photos of your own.

    PLACE is as of `onnxlens run`, of which this is one: each map has its metrics in its row, and the same
    command with --resume goes on. With --masks it is known where the objects are. docs/metrics.md says what
    each metric is; means come with their 95 % intervals, as a table and on a page, report.html in the folder.

    \b
    onnxlens evaluate model.onnx photos --methods gradcam,layercam --limit 100
    onnxlens evaluate model.onnx photos --masks masks --metrics pointing,iou,deletion
    """
    names = methods_named(named)
    metrics = _metrics(measures, truth)
    own = given_to_methods(given, [METHODS[name] for name in names])
    code = over_folders(
        "evaluate", model, places, names, metrics=metrics, truth=_absolute(truth), **given, **own
    )
    if not given["dry_run"] and _say(str(given["out"]), given["as_json"], truth):
        _show(given["out"], given["quiet"])
    return code


def _metrics(words: tuple[str, ...], masks: str | None) -> tuple[str, ...]:
    """The metrics that are named, each once; by default those that can be told."""
    names = tuple(dict.fromkeys(n.strip() for word in words for n in word.split(",")))
    if not names:
        return WITHOUT + (WITH_MASKS if masks else ())
    if "all" in names:
        return tuple(name for name, metric in METRICS.items() if masks or metric.needs != "mask")
    for name in names:
        if metric_named(name).needs == "mask" and not masks:
            raise BadRequest(f"{name} has to know where the objects are: say --masks FOLDER, or leave it out")
    return names


def _absolute(place: str | None) -> str:
    """A folder of this machine from its root on, as workers may stand elsewhere; an address as it is."""
    if not place or is_address(place):
        return place or ""
    if not Path(place).is_dir():
        raise BadRequest(f"--masks {place} is no folder; it holds pictures called as the photos")
    return str(Path(place).absolute())


def _say(place: str, as_json: bool, masks: str | None) -> bool:
    """Say the table of a run that has ended; whether there is anything in it."""
    from ....models.report.evaluation import as_json as record
    from ....models.report.evaluation import evaluation
    from ....models.storage.files import files_at
    from ....models.storage.shards import METRIC, read_rows

    rows = list(read_rows(files_at(place)))
    found = evaluation(rows)
    if as_json:
        emit({"evaluation": record(found)})
        return bool(rows)
    told = [METRIC + name for name, metric in METRICS.items() if metric.needs == "mask"]
    maps = [row for row in rows if row["method"] and not row["problem"] and not row.keys().isdisjoint(told)]
    known = {row["path"] for row in maps for column in told if row.get(column) is not None}
    without = {row["path"] for row in maps} - known
    if without:
        note(f"{len(without)} of {len({r['path'] for r in rows})} photos have no mask, as {min(without)}")
    names = list(dict.fromkeys(name for metrics in found.values() for name in metrics))
    lines = [[method, *(_cell(metrics.get(name)) for name in names)] for method, metrics in found.items()]
    arrows = {"high": "↑", "low": "↓"}
    table(["method", *(f"{name} {arrows[METRICS[name].best]}" for name in names)], lines)
    return bool(rows)


def _show(out: Path | str, quiet: bool) -> None:
    """Write the page of a run that has ended, in its folder."""
    from ....models.report.report import report

    if not isinstance(out, Path):
        note(f"a page of it: onnxlens report {out}")
        return
    with counting("drawing", quiet) as progress:
        page = report(out, SHOWN, progress)
    write_file(out / "report.html", page.html().encode())
    note(f"{out / 'report.html'}: the same as a page, with the photos most worth a look")


def _cell(mean: Any) -> str:
    return "-" if mean is None else f"{mean.value:.3f} ({mean.low:.2f} to {mean.high:.2f})"
