"""`onnxlens dream`: what the model looks for, brought out of photos or made of noise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ....engine.errors import BadRequest
from ....models.maps.numbers import finite
from ....models.storage.folder import Folder
from ... import options
from ...console import counting, say
from ...manifest import said
from ...results import Record, finish, records, seen
from .dreaming import aims, ascent, climber, climbs

if TYPE_CHECKING:
    import numpy as np

    from ....models.dreams.dream import Dream, Moment
    from ....models.lens import Lens

THUMBNAIL = 384  # pixels of the longer side, where several starts are compared
NOISE = "noise"  # what a dream is called that starts from no photo


@options.command("dream")
@options.model
@click.argument("images", metavar="[IMAGE]...", nargs=-1)
@aims
@climbs
@click.option("--zoom", type=click.IntRange(1, 10_000), help="A film of so many frames into the dream.")
@click.option("--fps", default=12.0, show_default=True, type=click.FloatRange(1, 60), help="Frames a second.")
@click.option(
    "--save-every", type=click.IntRange(1), help="Also write the picture after every so many steps."
)
@options.out("Folder for pictures, films and manifest.json.")
@options.photos
@options.printing
def command(
    model: str,
    images: tuple[str, ...],
    out: Path,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> int:
    """Dream: bring out of photos, or of noise, what a model looks for.

    With an IMAGE and no more it is Google's DeepDream in its own settings, without one a picture made of
    noise. Each dream is written alone (.png) and beside its start (-beside.png), several images also
    in one picture (starts.png), and films as .gif and .mp4.

    An objective is a sum of class(LABEL), odds(LABEL), layer(NAME), channel(NAME, k), peak(NAME, k),
    neuron(NAME, k, row, column), direction(NAME, VECTOR), guide(NAME, guide) and diversity(NAME), with
    numbers before them. --target means odds(LABEL), --layer layer(NAME), or with --guide guide(NAME, guide).

    \b
    onnxlens dream model.onnx clouds.jpg --preset imagenet
    onnxlens dream model.onnx clouds.jpg --layer conv4 --guide flowers.jpg
    onnxlens dream model.onnx --target banana
    onnxlens dream model.onnx --objective "channel(conv4, 12) + 10*diversity(conv4)" --count 4
    onnxlens dream model.onnx --zoom 100 --layer conv4
    """
    from ....models.network.vision_model import SETTINGS

    fourier = _way(given, images)
    folder = Folder(out, overwrite)
    settings = {n: given.pop(n) for n in (*SETTINGS, "provider", "threads") if n in given}
    lens = options.open_lens(model, quiet, **settings)
    climbed = ascent(lens, given, fourier)
    climb = climber(given, fourier)
    dreams: list[Dream] = []

    def written(stem: str, photo: np.ndarray | None) -> list[Record]:
        with counting(f"{stem}: {climbed.text}"[:60], quiet) as progress:
            if given["zoom"] is None:
                dreams.append(climb(climbed, photo, _watcher(folder, stem, progress, given["save_every"])))
                record = _written(folder, lens, stem, dreams[-1])
            else:
                from .film import filmed

                record = filmed(folder, climbed, photo, stem, given, progress)
        return [{"objective": climbed.text, **record}]

    if images:
        results = list(chain(*records(images, seen(lambda photo: photo), written)))
    else:
        results = [{"image": NOISE, **record} for record in written(NOISE, None)]
    if len(dreams) > 1:
        folder.write(f"{folder.unique('starts')}.png", _encoded(_starts(dreams)))
    arguments = {k: str(v) if isinstance(v, Path) else v for k, v in given.items()} | {"fourier": fourier}
    return finish(folder, lens, "dream", arguments, results, lambda r: say(_line(r, folder.path)), as_json)


def _way(given: dict[str, Any], images: Sequence[str]) -> bool:
    """Whether the spectrum is climbed rather than pixels. BadRequest where the options do not go together."""
    film = given["zoom"] is not None
    fourier = given["fourier"] if given["fourier"] is not None else not images and not film
    if film and (fourier or given["count"] > 1 or len(images) > 1):
        raise BadRequest("--zoom makes one film, in pixels: no --fourier, no --count, one IMAGE at most")
    if film and given["save_every"]:
        raise BadRequest("--save-every goes with pictures; a film holds each of its frames")
    if fourier and given["side"] is not None:
        raise BadRequest("--side goes with --pixels; in the spectrum a picture is of the model's own size")
    return fourier


def _watcher(
    folder: Folder, stem: str, progress: Callable[..., None], every: int | None
) -> Callable[[Moment], None]:
    """What moves the bar, and writes the picture after every so many steps."""

    def watch(moment: Moment) -> None:
        progress(moment.done, moment.total, f"{moment.value:.4g}")
        if every and moment.done % every == 0:
            for picture in moment.pictures():
                folder.write(f"{folder.unique(stem, f'-{moment.done:05d}')}.png", _encoded(picture))

    return watch


def _written(folder: Folder, lens: Lens, stem: str, dream: Dream) -> dict[str, Any]:
    """Write a dream's pictures; the record of them, with what the model takes each for."""
    names = [folder.unique(stem) for _ in dream.pictures]
    pictures = zip(names, dream.pictures, strict=True)
    files = {
        "pictures": [folder.write(f"{name}.png", _encoded(picture)) for name, picture in pictures],
        "beside": folder.write(f"{folder.unique(stem, '-beside')}.png", _encoded(dream.beside())),
    }
    octaves = [
        {
            "size": [o.height, o.width],
            "before": [finite(v) for v in o.before],
            "after": [finite(v) for v in o.after],
        }
        for o in dream.octaves
    ]
    from ....models.photos.bands import dreamt

    photos = [dreamt(p, lens.preprocess.channels) for p in dream.pictures if lens.has_classes]
    seen = [lens.predict(photo, top=1)[0].record() for photo in photos]
    return {"octaves": octaves, "seen_as": seen, "files": files}


def _starts(dreams: Sequence[Dream]) -> np.ndarray:
    """The same objective from several starts: each with what became of it, one below the other."""
    from ....engine.picture import grid
    from ....models.dreams.octaves import within

    pictures = [within(p, THUMBNAIL) for dream in dreams for p in (dream.start, *dream.pictures)]
    return grid(pictures, columns=len(pictures) // len(dreams))


def _encoded(picture: np.ndarray) -> bytes:
    from ....engine.picture import encode_png

    return encode_png(picture)


def _line(result: dict[str, Any], folder: Path) -> str:
    files = result["files"]
    if "gif" in files:
        films = f"{folder / files['gif']}, {folder / files['mp4']}"
        return f"{result['image']}: {result['frames']} frames -> {films}"
    before, after = result["octaves"][0]["before"][0], result["octaves"][-1]["after"][0]
    taken = [f", now taken for {s['index']} {s['label']} ({said(s)})" for s in result["seen_as"][:1]]
    return (
        f"{result['image']}: {result['objective']} from {before:.4g} to {after:.4g}{''.join(taken)} "
        f"-> {folder / files['pictures'][0]}"
    )
