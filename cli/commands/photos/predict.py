"""`onnxlens predict`: what the model says, in its own terms."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ....models.storage.folder import Folder
from ... import options
from ...console import emit, note
from ...results import each, seen
from ...sources import photos_too
from .answers import CLASSES, Gallery, record, show, write

if TYPE_CHECKING:
    from ....models.lens import Lens
    from .answers import Answer


@options.command("predict")
@options.model
@options.images
@click.option(
    "--top",
    type=click.IntRange(1, 1000),
    help=f"How many to show.  [default: {CLASSES} classes or photos of a gallery, all other things]",
)
@click.option(
    "--gallery",
    metavar="PLACE",
    help="Folder or pattern of photos to compare with, for models that answer a vector.",
)
@options.out("Folder for pictures of what was found, and manifest.json.  [default: none]", None)
@photos_too
@options.photos
@options.printing
def command(
    model: str,
    images: tuple[str, ...],
    top: int | None,
    gallery: str | None,
    out: Path | None,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    **settings: Any,
) -> int:
    """Say what a model sees in photos.

    Classes with their probabilities; boxes, characters and regions with names, scores and places, rows and
    columns of the photo; vectors with their first numbers and the nearest photos of a --gallery; numbers.
    With -o they are drawn too. MODEL is an .onnx file, a name of the zoo, or "scenes" (the model that comes
    along). IMAGE is a photo, a folder with all below it, a pattern, or - for a list on standard input.

    \b
    onnxlens predict model.onnx cat.jpg --preset imagenet
    onnxlens predict squeezenet1.1-7 photos --top 3 --json
    """
    from ....engine.anatomy.readouts.classes import KINDS

    folder = None if out is None else Folder(out, overwrite)
    lens = options.open_lens(model, quiet, **settings)
    if not quiet and lens.reading.kind not in KINDS:
        note(f"{', '.join(lens.reading.outputs)}: {lens.reading.kind}, {lens.reading.why}")
    near = None if gallery is None else Gallery(lens, gallery)
    results = []
    for image, answer, error in each(images, seen(partial(_answer, lens, top, near))):
        made = {"error": error} if answer is None else record(answer)
        if answer is not None and folder is not None:
            made |= write(folder, Path(image).stem, answer)
        results.append({"image": image, **made})
        if as_json:
            emit(results[-1])
        elif answer is not None:
            show(image, answer)
    if folder is not None:
        from ...manifest import manifest

        arguments = {"top": top, "gallery": gallery}
        folder.write_manifest(manifest(lens, "predict", arguments, results))
    return 1 if any("error" in r for r in results) else 0


def _answer(lens: Lens, top: int | None, near: Gallery | None, photo: Any) -> Answer:
    from .answers import answer

    return answer(lens, photo, top, near)
