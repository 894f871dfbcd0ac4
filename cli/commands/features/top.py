"""`onnxlens top`: which photos of a folder each channel answers to most."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from math import isqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ....engine.errors import BadRequest
from ....models.maps.numbers import finite
from ....models.network.digest import sha256
from ....models.network.provenance import digests
from ....models.storage.folder import Folder
from ... import options
from ...console import counted, emit, note, say
from ...sources import Part, apart, argument, choice

if TYPE_CHECKING:
    from collections.abc import Callable

    from ....engine.attribution.projector import Projector
    from ....models.features.stream import Tally
    from ....models.features.top import Hit, Top
    from ....models.lens import Lens

TABLE = "top.npz"
SHOWN = 16  # channels of a layer, where none are named, and on one page


@options.command("top")
@options.model
@argument
@options.layers(
    "Name or glob of feature maps; may be said several times.  [default: the last one before the head]"
)
@options.channels("Channels to look at: 0,3,7-12.  [default: all, and the most selective are drawn]")
@click.option("-k", default=9, show_default=True, type=click.IntRange(1, 1000), help="Photos per channel.")
@click.option("--deconv", is_flag=True, help="Beside each crop, what the deconvnet brings back to it.")
@options.batch("Photos at a time, per core.")
@choice
@click.option("--part", type=Part(), help="Only the I-th of N parts, as 1/4; the tables of all are one.")
@options.out("Folder for pictures, top.jsonl, the table top.npz and manifest.json.")
@options.exit_zero
@options.cluster
@options.photos
@options.printing
def command(
    model: str,
    places: tuple[str, ...],
    layers: tuple[str, ...],
    channels: list[int] | None,
    k: int,
    deconv: bool,
    batch: int,
    out: Path,
    overwrite: bool,
    engine: str,
    workers: int | None,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> int:
    """Find the photos that each channel answers to most, and show what it saw of them.

    PLACE is a folder of photos, with all below it, a photo, a pattern, or - for a list on standard input; or
    the top.npz of an earlier run over other photos, which counts as if they were looked at again. Every photo
    is looked at once, however many there are. Each layer gives pages of channels (.png), each with its crops,
    strongest first; top.jsonl has a line for every layer, channel and rank: photo, score, position and crop.

    \b
    onnxlens top model.onnx photos --preset imagenet
    onnxlens top model.onnx photos --layer "fire?/concat*" --channels 0,3,7-12 --deconv
    onnxlens top scenes photos -k 4 --json
    onnxlens top model.onnx parts/*/top.npz
    """
    from ....engine.attribution.projector import Projector
    from ....models.features.tables import encoded, identified, joined
    from ....models.features.top import chosen, top
    from ....models.storage.choice import Choice, read_bytes, taken
    from ...manifest import manifest

    folder, photos = Folder(out, overwrite), Choice(**taken(Choice, given))
    lens = options.open_lens(model, quiet, **given)
    names = chosen(lens, layers)
    projectors = {name: Projector(lens.network, "deconvnet", name) if deconv else None for name in names}
    tables = [place for place in places if place.endswith(TABLE) and Path(place).is_file()]
    places = tuple(place for place in places if place not in tables)
    paths = photos.paths(*apart(places), batch) if places or photos.lists or not tables else ()
    identity = partial(identified, sha256(lens.path), digests(lens.inputs))
    tally = _tally(model, given, engine, workers)
    if tables:
        tally = joined(tally, {name: read_bytes(Path(name)) for name in tables}, identity)
    with _progress(quiet) as progress:
        found = top(lens, paths, names, channels, k, batch, progress, tally)
    _say_counts(found, quiet)
    shown = {name: channels if channels is not None else found.best(name, SHOWN) for name in names}
    results = [_layer(folder, lens, found, name, shown[name], projectors[name]) for name in names]
    folder.write(TABLE, encoded(found, identity(lens.preprocess, list(found.rows), k)))
    asked = {"places": list(places), "layers": list(layers), "channels": channels, "k": k, "deconv": deconv}
    _write_found(folder, found, manifest(lens, "top", asked, results))
    _say_found(folder, found, results, as_json)
    return 1 if found.failed else 0


def _tally(model: str, settings: dict[str, Any], engine: str, workers: int | None) -> Tally:
    """What goes through the photos: the cores of this machine, or a cluster."""
    if engine == "ray":
        from .tallying import tally_of

        return tally_of(model, settings, workers)
    if workers:
        raise BadRequest("--workers is for --engine ray; on one machine say --threads")
    from ....models.features.stream import tallied

    return tallied


def _layer(
    folder: Folder, lens: Lens, found: Top, layer: str, channels: Sequence[int], projector: Projector | None
) -> dict[str, Any]:
    """Write the pages of one layer; the record of them."""
    from ....engine.picture import encode_png, grid, titled
    from ....models.features.mosaic import mosaics

    pages = []
    for i in range(0, len(channels), SHOWN):
        part = channels[i : i + SHOWN]
        views = mosaics(lens, found, layer, part, projector)
        captions = [f"channel {c}" for c in part]
        page = grid(list(views.values()), isqrt(len(part) - 1) + 1, captions=captions)
        most = min(found.k, found.table.count)
        title = f"{layer}: the {most} photos of {found.table.count} that each channel answers to most"
        name = folder.unique(f"{layer}-top")
        pages.append(folder.write(f"{name}.png", encode_png(titled(page, [title]))))
    return {"layer": layer, "channels": list(channels), "pages": pages}


def _write_found(folder: Folder, found: Top, manifest: dict[str, Any]) -> None:
    """Write a line for every hit, and the manifest with the counts of photos."""
    lines = (json.dumps(_record(hit)) + "\n" for hit in found)
    folder.write("top.jsonl", "".join(lines).encode())
    counts = {"photos": found.table.count, "failed": found.failed, "errors": found.errors}
    folder.write_manifest({**manifest, **counts})


def _say_counts(found: Top, quiet: bool) -> None:
    for error in found.errors:
        note(f"onnxlens: {error}")
    if not quiet:
        bad = f", {found.failed} could not be read" if found.failed else ""
        note(f"{counted(found.table.count, 'photo')}, {counted(len(found.rows), 'channel')}{bad}")


def _say_found(folder: Folder, found: Top, results: Sequence[dict[str, Any]], as_json: bool) -> None:
    """Say where the pages of each layer are, or the hits of the channels that are on them."""
    for result in results:
        if as_json:
            for hit in (h for c in result["channels"] for h in found.hits(result["layer"], c)):
                emit(_record(hit))
        else:
            pages = ", ".join(str(folder.path / page) for page in result["pages"])
            say(f"{result['layer']}: {counted(len(result['channels']), 'channel')} -> {pages}")


def _record(hit: Hit) -> dict[str, Any]:
    return {
        "layer": hit.layer,
        "channel": hit.channel,
        "rank": hit.rank,
        "score": finite(hit.score),
        "photo": hit.path,
        "position": list(hit.position),
        "field": list(hit.field),
        "crop": list(hit.crop),
    }


@contextmanager
def _progress(quiet: bool) -> Iterator[Callable[[int], object] | None]:
    """A callback with the number of photos done: a line that counts, on a terminal."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    if quiet or not sys.stderr.isatty():
        yield None
        return
    columns = SpinnerColumn(), TextColumn("photos"), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("photos", total=None)
        yield lambda done: bar.update(task, completed=done)
