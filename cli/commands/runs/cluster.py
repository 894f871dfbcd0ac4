"""`onnxlens cluster`: which photos of a run a model looks at alike."""

from __future__ import annotations

from pathlib import Path

import click

from ....engine.errors import BadRequest
from ....models.storage.folder import check_writable, write_file
from ... import options
from ...console import counted, counting, emit, note, say
from ...sources import folder


@options.command("cluster")
@click.argument("run", metavar="RUN_DIR", type=folder)
@click.option("--method", metavar="NAME", help="Maps of this method.  [default: the first of the run]")
@click.option("--class", "label", metavar="LABEL", help="Only maps of this class, by its name.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path),
    help="The page.  [default: clusters.html in the folder of the run, or here for one at an address]",
)
@click.option("--photos", type=folder, help="Where the photos are now, if not where the run found them.")
@click.option("--overwrite", is_flag=True, help="Replace an earlier page.")
@options.printing
def command(
    run: Path | str,
    method: str | None,
    label: str | None,
    out: Path | None,
    photos: Path | str | None,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    """Group the maps of a run by where they look, to see whether the model cheats.

    RUN_DIR is the folder that `onnxlens run` wrote, or its address in a store. A group that looks at one
    place of all its photos comes first: a watermark, a caption or a border that decides is seen at once. It
    needs scikit-learn: pip install 'onnxlens[cluster]'.

    \b
    onnxlens cluster maps
    onnxlens cluster maps --class horse -o horses.html
    """
    from ....models.report.clusters import clusters, page
    from ....models.runs.record import read_run
    from ....models.storage.files import files_at
    from ....models.storage.store import reader, reader_again

    path = out or (run if isinstance(run, Path) else Path()) / "clusters.html"
    if path.exists() and not overwrite:
        raise BadRequest(f"{path} is there already; say --overwrite or another file with -o")
    files = files_at(run)
    manifest, rows = read_run(files)
    with counting("reading maps", quiet) as progress:
        groups = clusters(files, rows, method, label, progress)
    read = reader(str(photos)) if photos else reader_again(str(manifest.get("root", "")), str(files))
    with counting("drawing", quiet) as progress:
        text = page(files, manifest, groups, read, progress)
    check_writable(path.parent)
    write_file(path, text.encode())
    if as_json:
        emit({"run": str(run), "page": str(path), "groups": [group.record() for group in groups]})
        return
    for group in groups:
        most = ", ".join(f"{name} {count}" for name, count in group.classes()[:3])
        place = f"all look at the {group.where}" if group.where else "several places"
        say(f"{counted(len(group.rows), 'map')}: {place} ({group.alike:.2f} alike); {most}")
    note(f"{path}: the groups with their photos")
