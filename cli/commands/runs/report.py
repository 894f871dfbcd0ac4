"""`onnxlens report`: what a run found, as one page."""

from __future__ import annotations

from pathlib import Path

import click

from ....engine.errors import BadRequest
from ....models.storage.folder import check_writable, write_file
from ... import options
from ...console import counted, counting, emit, say
from ...sources import folder


@options.command("report")
@click.argument("run", metavar="RUN_DIR", type=folder)
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="The page.  [default: report.html in the folder of the run, or here for one at an address]",
)
@click.option("--photos", type=folder, help="Where the photos are now, if not where the run found them.")
@click.option("--limit", type=click.IntRange(1), help="Show only so many images, those most worth a look.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier page.")
@options.printing
def command(
    run: Path | str,
    out: Path | None,
    photos: Path | str | None,
    limit: int | None,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Show a run in a browser: all images and maps, with filters, as one page.

    RUN_DIR is the folder that `onnxlens run` wrote, or its address in a store. First come the images that the
    model got wrong and was sure of, where the photos' folders are called after the classes, then the shakiest
    maps. The page needs nothing but a browser: the pictures are inside it, and none is loaded.

    \b
    onnxlens report maps
    onnxlens report maps -o report.html --limit 500
    """
    from ....models.report.report import report

    path = out or (run if isinstance(run, Path) else Path()) / "report.html"
    if path.exists() and not overwrite:
        raise BadRequest(f"{path} is there already; say --overwrite or another file with -o")
    with counting("drawing", quiet) as progress:
        page = report(run, limit, progress, photos)
    check_writable(path.parent)
    data = page.html().encode()
    write_file(path, data)
    totals = page.data["totals"]
    if as_json:
        emit(
            {
                "run": str(run),
                "page": str(path),
                "bytes": len(data),
                "shown": len(page.data["images"]),
                **totals,
            }
        )
    else:
        held = (counted(totals[f"{what}s"], what) for what in ("image", "map", "error"))
        say(f"{run}: {', '.join(held)} -> {path}")
