"""`onnxlens predict`: what the model says."""

from __future__ import annotations

from typing import Any

import click

from ... import options
from ...console import emit, say, table
from ...results import each, seen
from ...sources import photos_too


@options.command("predict")
@options.model
@options.images
@click.option(
    "--top", default=5, show_default=True, type=click.IntRange(1, 1000), help="How many classes to show."
)
@photos_too
@options.photos
@options.printing
def command(
    model: str, images: tuple[str, ...], top: int, as_json: bool, quiet: bool, **settings: Any
) -> int:
    """Say what a classifier sees in photos.

    MODEL is an .onnx file, a name of the zoo, or "scenes" (the model that comes along). IMAGE is a photo, a
    folder with all below it, a pattern, or - for a list on standard input.

    \b
    onnxlens predict model.onnx cat.jpg --preset imagenet
    onnxlens predict squeezenet1.1-7 photos --top 3 --json
    """
    lens = options.open_lens(model, quiet, **settings)
    failed = 0
    for image, ranked, error in each(images, seen(lambda photo: lens.predict(photo, top))):
        failed += ranked is None
        if as_json:
            emit(
                {
                    "image": image,
                    **({"predictions": [p.record() for p in ranked]} if ranked else {"error": error}),
                }
            )
        elif ranked:
            say(image)
            table((), [(f"  {p.said}", str(p.index), p.label) for p in ranked])
    return 1 if failed else 0
