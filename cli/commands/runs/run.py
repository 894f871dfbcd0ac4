"""`onnxlens run`: maps of whole folders, in a run that survives what happens to it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import click

from ....engine.attribution.methods import METHODS
from ....engine.errors import BadRequest
from ....host import sigterm_interrupts
from ... import options
from ...console import download, emit, note, say
from ...methods import given_to_methods, methods_named, options_of_methods
from ...sources import Part, apart, argument, choice, folder
from .watch import going_on, say_tried, summed, watching

out = click.option(
    "-o",
    "--out",
    default="onnxlens-run",
    show_default=True,
    type=folder,
    help="Folder of the run, or its address in a store: manifest.json, rows, pictures and maps.",
)
BASICS = "lists", "limit", "sample", "seed", "resume", "dry_run", "fail_fast"
basics = options.stacked(
    choice,
    click.option("--resume", is_flag=True, help="Go on with the run in the output folder, if there is one."),
    click.option("--dry-run", is_flag=True, help="Say what would be done, and how long it would take."),
    click.option("--fail-fast", is_flag=True, help="Stop at the first image that fails."),
)
overwrite = click.option("--overwrite", is_flag=True, help="Replace the run in the output folder.")
part = click.option(
    "--part", type=Part(), help="Only the I-th of N parts, as 1/4; `onnxlens runs merge` joins them."
)
machinery = options.stacked(
    basics,
    options.exit_zero,
    options.batch("Images at a time."),
    options.cluster,
    options.rows("Format of the rows; parquet needs the extra of that name."),
    click.option(
        "--pictures",
        type=click.Choice(["jpeg", "png", "none"]),
        default="jpeg",
        show_default=True,
        help="Of each map, over its photo.",
    ),
    click.option("--maps/--no-maps", default=True, show_default=True, help="Write each map as .npy."),
    click.option(
        "--side",
        type=click.IntRange(16, 8192),
        default=1024,
        show_default=True,
        help="Longer side of a picture, at most, in pixels.",
    ),
    click.option(
        "--shard",
        type=click.IntRange(1, 10**6),
        default=1024,
        show_default=True,
        help="Rows in a file; a run that is killed does those of one file again.",
    ),
)


@options.command("run")
@options.model
@argument
@click.option(
    "--method",
    "methods",
    multiple=True,
    default=["gradcam"],
    show_default=True,
    help="gradcam, occlusion, saliency, guided, deconvnet, ...; several with commas or said several times.",
)
@options.targets()
@options.layer
@options_of_methods(list(METHODS.values()))
@out
@overwrite
@part
@options.convention
@options.overlay(0.7)
@machinery
@options.photos
@options.printing
def command(model: str, places: tuple[str, ...], methods: tuple[str, ...], **given: Any) -> int:
    """Explain all photos of folders, in a run that can be stopped and resumed.

    PLACE is a folder with all below it, a photo, a pattern, or - for a list on standard input. Each image,
    method and class gives a row (rows/), a picture (pictures/) and a map (maps/), in the tree of the photos.
    An image that cannot be read gives a row with the reason. Whatever ends the run - Ctrl-C, a full disk,
    a power cut -, the same command with --resume goes on where it was.

    \b
    onnxlens run model.onnx photos -o run
    onnxlens run model.onnx photos --method gradcam,occlusion --target top3 --resume -o run
    find photos -name "*.jpg" -print0 | onnxlens run model.onnx - --sample 1000 --dry-run
    """
    names = methods_named(methods)
    own = given_to_methods(given, [METHODS[name] for name in names])
    return over_folders("run", model, places, names, **given, **own)


def over_folders(
    command: str,
    model: str,
    places: tuple[str, ...],
    methods: tuple[str, ...],
    *,
    out: Path | str,
    dry_run: bool,
    as_json: bool,
    quiet: bool,
    targets: tuple[str, ...] = (),
    pictures: str = "jpeg",
    **given: Any,
) -> int:
    """A run of methods over all photos of some places; the exit code.

    The rest is as in `planned` of models/runs/plan.py. Raises BadRequest for what does not go together.
    """
    from ....models.runs.dry_run import dry_run as tried
    from ....models.runs.plan import planned
    from ....models.runs.run import perform

    was_address = re.match(r"\w[\w+.-]+:/", str(out))  # what a path makes of s3://bucket
    if isinstance(out, Path) and was_address:
        raise BadRequest(f"{out} is no folder; `onnxlens run --method {methods[0]}` writes to addresses too")
    if dry_run and given.get("engine") == "ray":
        raise BadRequest("--dry-run times this machine and not a cluster: leave --engine ray out")
    given |= {"pictures": "" if pictures == "none" else pictures, "targets": targets}
    photos, more = apart(places)
    with download(model) as progress:
        spec, plan = planned(model, photos, out, methods, more, progress, **given)
    if dry_run:
        found = tried(spec, plan)
        emit(found) if as_json else say_tried(found)
        return 0
    with sigterm_interrupts():
        done = perform(spec, plan, command, sys.argv[1:], watching(as_json, quiet))
    if not as_json:
        say(summed(done))
    if done.state == "stopped":
        note(f"stopped at the first image that failed; to go on: {going_on()}")
    return 1 if done.state == "stopped" or (done.errors and not plan.fail_fast) else 0
