"""`onnxlens look`: everything there is to see of one photo, as one page."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import click

from ....engine.errors import BadRequest
from ....models.maps.convention import FIELDS
from ....models.storage.folder import Folder
from ... import options
from ...console import counting, emit, say
from ...methods import methods_named
from .page import Figure, page
from .subject import Subject
from .ways import panels

PAGE = "index.html"
PREDICTIONS = 5


@options.command("look")
@options.model
@click.argument("image")
@click.option(
    "--target", help="Class index or label, or a target (docs/tasks.md).  [default: what is predicted]"
)
@options.layer
@click.option(
    "--method",
    "methods",
    multiple=True,
    help="More methods of attribution, each as a part of its own: lrp, rise, ... or all that need nothing "
    "which not all models have (docs/methods.md).",
)
@click.option(
    "--folder",
    "places",
    multiple=True,
    help="Photos to search for those of highest response; may be repeated.",
)
@options.convention
@options.out(f"Folder for {PAGE} and manifest.json.", default="onnxlens-look")
@options.photos
@options.printing
def command(
    model: str,
    image: str,
    target: str | None,
    layer: str | None,
    methods: tuple[str, ...],
    places: tuple[str, ...],
    convention: str,
    out: Path,
    overwrite: bool,
    as_json: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """See all that a model does with one photo, on one page.

    Where it looks, what hiding a place does, which pixels count, what each layer answers, which photos a
    channel likes, what it learned first and what it dreams. The page needs nothing but a browser: the
    pictures are inside it, there is no script, and nothing is loaded from elsewhere. Each part says the
    command that makes it alone.

    \b
    onnxlens look model.onnx cat.jpg --preset imagenet
    onnxlens look model.onnx cat.jpg --target "tabby" --folder photos -o page
    """
    from ....models.attribution.attribute import aims
    from ....models.features.top import looked_at
    from ....models.storage.store import photo_at
    from ...manifest import manifest, said

    if Path(image).is_dir():
        raise BadRequest(f"{image}: a folder; say one of its photos, or `onnxlens run` for all of them")
    names = methods_named(methods)
    folder = Folder(out, overwrite)
    lens = options.open_lens(model, quiet, **settings)
    of_things = aims(lens, [target]) if target is not None or lens.is_read else False
    where, layer = layer, looked_at(lens, layer)
    photo = photo_at(image)
    beside = settings if convention == FIELDS else {**settings, "convention": convention}
    command = partial(line, model, image, beside)
    where = where if of_things else layer
    subject = Subject(lens, photo, image, target, layer, places, command, names, convention, of_things, where)
    result = look(folder, subject, model, quiet)
    arguments = {"target": target, "layer": layer, "methods": list(names), "folder": list(places)}
    arguments["convention"] = convention
    folder.write_manifest(manifest(lens, "look", arguments, [result]))
    if as_json:
        emit(result)
    else:
        none = "nothing found" if of_things else "no classes"
        best = [f"{p['label']} ({said(p)})" for p in result["predictions"][:1]]
        say(f"{image}: {''.join(best) or none} -> {folder.path / PAGE}")


def look(folder: Folder, subject: Subject, model: str, quiet: bool) -> dict[str, Any]:
    """Make the page of a subject and write it; the record of it, with what this model does not allow."""
    found = subject.things if subject.of_things else []
    predictions = (
        subject.lens.predict(subject.photo, PREDICTIONS) if subject.lens.has_classes else found[:PREDICTIONS]
    )
    with counting("looking", quiet) as progress:
        made = panels(subject, progress)
    text = page(
        version=version("onnxlens"),
        model=Path(model).name,
        image=Path(subject.image).name,
        facts=_facts(subject),
        photo=Figure(subject.photo, f"The photo {Path(subject.image).name}"),
        predictions=predictions,
        layers=_layers(subject),
        panels=made,
    )
    return {
        "image": subject.image,
        "predictions": [p.record() for p in predictions],
        "files": {"page": folder.write(PAGE, text.encode())},
        "missing": {p.key: p.note for p in made if not p.figures},
    }


def line(
    model: str,
    image: str,
    settings: dict[str, Any],
    name: str,
    *more: str,
    places: Sequence[str] | None = None,
) -> str:
    """The command line that makes one panel alone: of the image, or of other `places`.

    Settings that this command has no option for are left out: weights have no labels.
    """
    from ....models.network import inputs
    from ....models.photos.presets import as_options

    root = click.get_current_context().find_root()
    command = cast(click.Group, root.command).get_command(root, name)
    takes = {parameter.name for parameter in command.params} if command else set()
    words = ["onnxlens", name, model, *([image] if places is None else places)]
    for key, value in settings.items():
        if key == "preset" and key in takes:
            words += as_options(value)
        elif key == "inputs" and key in takes:
            words += inputs.as_options(value)
        elif key in takes and value not in (None, "auto"):
            words += [f"--{key}", "x".join(map(str, value)) if key == "size" else str(value)]
    return shlex.join([*words, *more])


def _facts(subject: Subject) -> list[str]:
    """The line below the title."""
    graph, path = subject.lens.network.graph, subject.lens.path
    height, width = subject.photo.shape[:2]
    h, w = subject.lens.preprocess.size
    top, left, bottom, right = subject.lens.preprocess.box(height, width)
    cut = top > 0 or left > 0
    seen = f"of which the middle {right - left:.0f} x {bottom - top:.0f} is seen" if cut else "seen"
    return [
        f"photo of {width} x {height} pixels, {seen} as {w} x {h}",
        f"{path.name}: {path.stat().st_size / 1e6:.1f} MB, opset {subject.lens.network.opset}",
        f"{len(graph.nodes)} operators, {_classes(subject)}",
        subject.lens.source,
    ]


def _classes(subject: Subject) -> str:
    if not subject.lens.has_classes:
        return f"answers {subject.lens.reading.kind}" if subject.of_things else "no classes"
    read = subject.lens.readout
    return f"{read.count} {'classes' if read.sure else 'values'}"


def _layers(subject: Subject) -> list[dict[str, str]]:
    """Feature maps and scores, in the order of the network."""
    from ....engine.anatomy.maps import map_names
    from ....engine.anatomy.readouts.classes import known

    graph = subject.lens.network.graph
    read = known(graph)
    marks = {
        subject.layer: "Grad-CAM looks here" if read or subject.of_things else "looked at",
        **({read.scores: "scores"} if read else {}),
    }
    names = set(map_names(graph)) | set(marks)
    return [
        {
            "name": name,
            "operator": getattr(graph.producer(name), "op_type", ""),
            "shape": " x ".join(map(str, (graph[name].shape or ())[1:])),
            "mark": marks.get(name, ""),
        }
        for name in graph.value_names()
        if name in names
    ]
