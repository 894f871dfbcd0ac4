"""`onnxlens concepts`: what a layer tells a class by, taken apart into a few parts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ....engine.sums import quoted
from ....models.storage.folder import Folder
from ... import options
from ...console import counting, emit, note, say
from ...sources import apart, argument, choice

if TYPE_CHECKING:
    from ....models.features.concepts import Concepts
    from ....models.lens import Lens

PAGE = "concepts.html"


@options.command("concepts")
@options.model
@argument
@click.option(
    "--layer", help="Feature map that is nowhere below zero.  [default: the last one before the head]"
)
@click.option("--target", help="A class, by number or name.  [default: what most photos are taken for]")
@click.option(
    "-k", "count", default=8, show_default=True, type=click.IntRange(1, 64), help="How many concepts."
)
@click.option("--dreams", is_flag=True, help="Of each also a picture made of noise, which takes a while.")
@choice
@options.out("Folder for concepts.html, a vector for each concept (.npy) and manifest.json.")
@options.photos
@options.printing
def command(
    model: str,
    places: tuple[str, ...],
    layer: str | None,
    target: str | None,
    count: int,
    dreams: bool,
    out: Path,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    **given: Any,
) -> None:
    """Take what a layer answers to photos of a class apart into concepts, the most important first.

    PLACE is as of `onnxlens run`. Patches of the photos that the model takes for the class are factorised
    (CRAFT); a concept's importance is its total Sobol index for the score, its picture the patches with most
    of it. Its vector is one for `onnxlens dream --objective "direction(LAYER, v)" --vector v=FILE.npy`. Needs
    scikit-learn: pip install 'onnxlens[cluster]'.

    \b
    onnxlens concepts model.onnx photos --target cat
    onnxlens concepts model.onnx photos --layer conv4 -k 5 --dreams -o concepts
    """
    from ....models.features.concepts import concepts
    from ....models.report.concepts import page
    from ....models.storage.choice import Choice, taken
    from ....models.storage.store import photo_at
    from ...manifest import manifest

    folder, photos = Folder(out, overwrite), Choice(**taken(Choice, given))
    lens = options.open_lens(model, quiet, **given)
    names = list(photos.paths(*apart(places), 16))
    with counting("looking at patches", quiet) as progress:
        found = concepts(lens, names, photo_at, layer, target, count, progress)
    pictures = _dreamed(lens, found, quiet) if dreams else []
    vectors = [folder.write_array(f"concept-{k}.npy", one.weights) for k, one in enumerate(found.concepts, 1)]
    text = page(lens.path.name, found, vectors, photo_at, pictures)
    files = [*vectors, folder.write(PAGE, text.encode())]
    record = {**_record(found), "files": files}
    asked = {"places": list(places), "layer": layer, "target": target, "k": count, "dreams": dreams}
    folder.write_manifest(manifest(lens, "concepts", asked, [record]))
    if as_json:
        emit({**record, "folder": str(folder.path)})
        return
    for k, one in enumerate(found.concepts, 1):
        best = one.patches[0].name if one.patches else "no patch"
        say(f"concept {k}: {one.importance:.0%} of the score of {found.label}; most in {best}")
    of = f"{found.photos} photos of {found.label}, {found.explained:.0%} of {found.layer}"
    note(f"{folder.path / PAGE}: {of}")


def _dreamed(lens: Lens, found: Concepts, quiet: bool) -> list[Any]:
    """A picture (h, w, 3) of each concept, made of noise."""
    from ....models.dreams.ascent import Ascent
    from ....models.dreams.imagine import imagine

    pictures = []
    with counting("dreaming", quiet) as progress:
        for k, one in enumerate(found.concepts):
            ascent = Ascent(lens, f"direction({quoted(found.layer)}, v)", {"v": one.weights}, None)
            pictures.append(imagine(ascent).pictures[0])
            progress(k + 1, len(found.concepts))
    return pictures


def _record(found: Concepts) -> dict[str, Any]:
    """It as JSON."""
    return {
        "layer": found.layer,
        "target": {"index": found.target, "label": found.label},
        "photos": found.photos,
        "explained": found.explained,
        "concepts": [
            {
                "importance": one.importance,
                "patches": [{"path": p.name, "box": list(p.box), "amount": p.amount} for p in one.patches],
            }
            for one in found.concepts
        ],
    }
