"""What a run found, as one HTML page that needs nothing but itself."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ...engine.errors import BadRequest
from ...engine.picture import colour_map
from ...engine.runtime.ahead import ahead, cores
from ..runs.record import line, part, read_run
from ..storage.addresses import is_address
from ..storage.files import Files, files_at
from ..storage.shards import Row, encodable
from ..storage.store import Read, reader, reader_again, reading
from . import evaluation, tally
from .entry import Drawer
from .pages import as_it_stands, rendered

MAX_BYTES = 200_000_000  # bytes of a page: beyond that a browser takes its time
SIDES = {100: 480, 500: 320}  # pixels of a thumbnail's longer side, by the number of images
SIDE = 160
COLOUR = "turbo"
SCRIPTS = "report.js", *(f"report-{part}.js" for part in ("cards", "gallery", "summary", "start"))
SAMPLE = 32  # images by which the size of a page is foretold


@dataclass(frozen=True)
class Report:
    """The content of a page, which in a notebook shows itself.

    `data` is what the page's script reads: `totals`, `classes` (`of` an "image" or a "thing" each),
    `confusion`, `histograms` and `evaluation` of the whole run, the `images` shown, each with its `maps` and
    `things`, and the opacity `alpha` (0 to 1) of the heat at first.
    `commands` made the run and the page; `colours` (256, 3) uint8 are those of the heat, cold to hot.
    """

    title: str
    facts: Sequence[str]
    notes: Sequence[str]
    commands: Mapping[str, str]
    colours: np.ndarray
    data: Mapping[str, Any]

    def html(self) -> str:
        """The page. It runs its own script only, loads nothing, and every text in it is escaped."""
        return rendered(
            "report.html",
            version=version("onnxlens"),
            title=self.title,
            facts=self.facts,
            notes=self.notes,
            commands=self.commands,
            tones=[" ".join(f"{tone / 255:.4g}" for tone in channel) for channel in self.colours.T],
            data=self.data,
            style=as_it_stands("style.css", "report.css"),
            script=as_it_stands(*SCRIPTS),
        )

    def _repr_html_(self) -> str:
        """The page in a frame of its own, which can reach nothing of the notebook."""
        return rendered("frame.html", title=self.title, page=self.html())


def report(
    folder: str | os.PathLike[str],
    limit: int | None = None,
    progress: Callable[[int, int], object] = lambda done, count: None,
    photos: str | os.PathLike[str] | None = None,
) -> Report:
    """The report of a run: first the wrong predictions, the surest of them first, then the shakiest maps.

    Parameters
    ----------
    folder
        Where the run lies, a folder or an address.
    limit
        So many images, those most worth a look; all by default.
    progress
        Called with the images done, and how many there are.
    photos
        Where they are now, if not where the run says.

    Returns
    -------
    Report
        The content of one HTML page, which in a notebook shows itself.

    Raises
    ------
    BadRequest
        Where the folder holds no run, and where the page would have more than MAX_BYTES bytes.
    OnnxlensError
        Where its manifest or its rows cannot be read.

    Examples
    --------
    >>> page = onnxlens.report("run", limit=10)
    >>> page.title
    'scenes.onnx looks at 2 images'
    >>> page.html()[:15]
    '<!DOCTYPE html>'
    """
    files = files_at(folder)
    manifest, rows = read_run(files)
    if photos is None:
        read = reader_again(str(manifest.get("root", "")), str(files))
    else:
        manifest["root"] = os.fspath(photos)
        read = reader(manifest["root"])
    images = _images(rows)
    shown = sorted(images.values(), key=_interest)[:limit]
    drawn = _drawn(files, manifest, shown, read, progress)
    firsts, things = [image[0] for image in images.values()], tally.things(images.values())
    data = {
        "totals": tally.totals(list(images.values())),
        "classes": things or tally.classes(firsts),
        "of": "thing" if things else "image",
        "confusion": tally.confusion(firsts),
        "histograms": tally.histograms(rows),
        "images": drawn,
        "alpha": _alpha(manifest),
        "evaluation": evaluation.shown(rows),
    }
    return Report(
        title=_title(manifest, len(images)),
        facts=_facts(manifest, str(files)),
        notes=_notes(manifest, len(images), len(drawn)),
        commands=_commands(manifest, str(files), limit),
        colours=_colours(manifest),
        data=data,
    )


def _images(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each image by its path, each with how shaky its map is."""
    images: dict[str, list[Row]] = {}
    for row, shaky in zip(rows, tally.shakiness(rows), strict=True):
        row["shaky"] = shaky
        images.setdefault(row["path"], []).append(row)
    return images


def _drawn(
    files: Files,
    manifest: Mapping[str, Any],
    images: Sequence[Sequence[Row]],
    read: Read,
    progress: Callable[[int, int], object],
) -> list[dict[str, Any]]:
    """The entries of images, made on all cores. BadRequest where the page would be too large."""
    side = next((side for n, side in SIDES.items() if len(images) <= n), SIDE)
    drawer = Drawer(files, manifest, side, read)
    waiting = reading(str(files)), reading(str(manifest.get("root", "")))
    drawing = partial(ahead, drawer, workers=max(cores(), *waiting))
    _check_size(drawing, images)
    drawn = []
    for entry in drawing(images):
        drawn.append(entry)
        progress(len(drawn), len(images))
    return drawn


def _interest(image: Sequence[Row]) -> tuple[bool, float, float, str]:
    """A key that sorts first what is most worth a look, and last what nothing can be seen of."""
    first, shaky = image[0], max(row["shaky"] for row in image)
    surprise = tally.surprise(first)
    return first["error"] is not None, 0 if surprise is None else -1 - surprise, -shaky, first["path"]


def _check_size(drawing: Callable[..., Iterable[Any]], images: Sequence[Sequence[Row]]) -> None:
    """Raise BadRequest, with a number of images that fits, where the page would be too large."""
    sample = images[:: -(-len(images) // SAMPLE)]
    each = sum(len(json.dumps(entry)) for entry in drawing(sample)) / len(sample)
    if each * len(images) > MAX_BYTES:
        raise BadRequest(
            f"a page of {len(images):,} images would have about {each * len(images) / 1e6:,.0f} MB, "
            f"and a browser is slow from {MAX_BYTES / 1e6:.0f} on; say --limit {_round(MAX_BYTES / each)} "
            "for those most worth a look"
        )


def _round(number: float) -> int:
    """A number of two digits that is not greater."""
    unit = 10 ** max(0, len(str(int(number))) - 2)
    return max(1, int(number) // unit * unit)


def _title(manifest: Mapping[str, Any], count: int) -> str:
    model = Path(str(part(manifest, "model").get("path", "The model"))).name
    return f"{encodable(model)} looks at {count:,} image{'s' * (count != 1)}"


def _facts(manifest: Mapping[str, Any], place: str) -> list[str]:
    """The line below the title."""
    methods = part(manifest, "arguments").get("methods")
    facts = {
        "folder ": place if is_address(place) else Path(place).absolute().name,
        "": ", ".join(map(str, methods)) if isinstance(methods, list) else None,
        "model ": str(part(manifest, "model").get("sha256", ""))[:12],
        "opset ": part(manifest, "model").get("opset"),
        "on ": part(manifest, "provider").get("why"),
        "onnxlens ": part(manifest, "versions").get("onnxlens"),
    }
    return [encodable(f"{what}{value}") for what, value in facts.items() if value]


def _notes(manifest: Mapping[str, Any], count: int, shown: int) -> list[str]:
    notes = []
    if manifest.get("state", "done") != "done":
        notes.append("This run is not finished: the rows are those of the images done so far.")
    if shown < count:
        most = f"Shown are the {shown:,} images most worth a look, of {count:,}"
        notes.append(f"{most}; totals, classes, confusions and histograms are those of all.")
    return notes


def _commands(manifest: Mapping[str, Any], place: str, limit: int | None) -> dict[str, str]:
    """The command lines that made the run, if it says so, and this page, by what they make."""
    words, few = manifest.get("command_line"), [] if limit is None else ["--limit", str(limit)]
    lines = {"This page": ["report", place, *few]}
    if isinstance(words, list) and words and all(isinstance(word, str) for word in words):
        lines = {"This run": words, **lines}
    return {what: line(words) for what, words in lines.items()}


def _alpha(manifest: Mapping[str, Any]) -> float:
    alpha = part(manifest, "arguments").get("alpha")
    return alpha if isinstance(alpha, int | float) and 0 <= alpha <= 1 else 0.7


def _colours(manifest: Mapping[str, Any]) -> np.ndarray:
    """The colours of the run's pictures, which may be called as none is that we have."""
    try:
        return colour_map(str(part(manifest, "arguments").get("colour", COLOUR)))
    except BadRequest:
        return colour_map(COLOUR)
