"""`onnxlens gradcam`: where the model looks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ....engine.errors import BadRequest
from ....models.storage.folder import Folder
from ... import options
from ...console import say
from ...manifest import said
from ...results import Record, finish, records
from ..runs.run import folders_too

if TYPE_CHECKING:
    from ....engine.attribution.projector import Projector
    from ....models.lens import Lens
    from ....models.maps.attribution import Attribution


@options.command("gradcam")
@options.model
@options.images
@options.targets()
@click.option("--layer", help="Feature map to look at.  [default: the last one before the head]")
@click.option(
    "--layers",
    multiple=True,
    metavar="GLOB",
    help="Several feature maps, by name or glob, also side by side; may be said several times.",
)
@click.option("--guided", is_flag=True, help="Also guided Grad-CAM: which pixels of the heat matter.")
@options.out("Folder for pictures, maps and manifest.json.")
@options.overlay(0.7)
@folders_too("gradcam")
@options.photos
@options.as_json
@options.quiet
@options.debug
def command(
    model: str,
    images: tuple[str, ...],
    targets: tuple[str, ...],
    layer: str | None,
    layers: tuple[str, ...],
    guided: bool,
    out: Path,
    overwrite: bool,
    colour: str,
    alpha: float,
    as_json: bool,
    quiet: bool,
    **settings: Any,
) -> int:
    """Draw where a classifier looks: Grad-CAM over photos.

    MODEL is an .onnx file, a name of the zoo, or "scenes" (the model that comes along). Each image and
    class gives an overlay (.png), the map on the photo's pixels (.npy) and the map as the layer gave it
    (-map.npy); manifest.json holds all that is needed to do it again. Several layers also give one picture
    of them all; --guided also a picture of the pixels (-guided.png) and its signal (-guided.npy).

    Over folders, patterns such as "photos/**/*.jpg" and lists (- for one on standard input) it is a run, as
    `onnxlens run` makes it: rows, pictures and maps in the tree of the photos, and --resume goes on with it.

    \b
    onnxlens gradcam model.onnx cat.jpg --preset imagenet
    onnxlens gradcam model.onnx cat.jpg dog.jpg --target top3 -o maps
    onnxlens gradcam model.onnx cat.jpg --target "tabby" --layer conv5 --json
    onnxlens gradcam model.onnx cat.jpg --layers "layer?" --guided
    onnxlens gradcam model.onnx photos -o run --resume
    """
    from ....engine.anatomy.anatomy import matching
    from ....engine.attribution.projector import Projector

    if layer is not None and layers:
        raise BadRequest("--layer is for one feature map, --layers for several: say one of them")
    folder = Folder(out, overwrite)
    lens = options.open_lens(model, quiet, **settings)
    where = matching(lens.network.graph, layers) if layers else layer
    lens.explainer("gradcam", where)  # a wrong layer is said before any photo is read
    projector = Projector(lens.network, "guided") if guided else None
    wishes = targets or (None,)
    for wish in wishes:
        lens.wish(wish)

    def look(photo: Any) -> tuple[list[Attribution], dict[int | None, Attribution]]:
        heats = lens.explain(photo, wishes, layer=where)
        return heats, {} if projector is None else _guided(lens, photo, projector, heats)

    several = bool(layers)

    def written(stem: str, found: tuple[list[Attribution], dict[int | None, Attribution]]) -> list[Record]:
        heats, pixels = found
        made = [_written(folder, stem, h, colour, alpha, several, pixels) for h in heats]
        if several:
            _write_sheets(folder, stem, heats, made, colour, alpha)
        return [{**h.record(), **m} for h, m in zip(heats, made, strict=True)]

    results = records(images, look, written)
    arguments = {"targets": list(targets), "layer": layer, "colour": colour, "alpha": alpha}
    arguments |= {"layers": list(layers), "guided": guided}
    tell = lambda result: say(_line(result, folder.path, several))
    return finish(folder, lens, "gradcam", arguments, results, tell, as_json)


def _guided(
    lens: Lens, photo: Any, projector: Projector, heats: Sequence[Attribution]
) -> dict[int | None, Attribution]:
    """The guided backpropagation of each class, by its index."""
    from ....models.attribution.projection import project

    classes = list(dict.fromkeys(h.channel for h in heats))
    return {p.channel: p for p in project(lens, photo, projector, classes)}


def _written(
    folder: Folder,
    stem: str,
    heat: Attribution,
    colour: str,
    alpha: float,
    several: bool,
    pixels: dict[int | None, Attribution],
) -> dict[str, Any]:
    """Write one map; a map with a problem gives the problem, and no picture."""
    from ....engine.picture import encode_png
    from ....models.maps.attribution import guided_gradcam

    if heat.problem:
        return {"problem": heat.problem}
    stem = f"{stem}-{heat.layer}" if several else stem
    name = folder.unique(stem, f"-{heat.channel}-{heat.method}")
    files = {
        "overlay": folder.write(f"{name}.png", encode_png(heat.overlay(colour, alpha))),
        "photo_map": folder.write_array(f"{name}.npy", heat.at_photo()),
        "layer_map": folder.write_array(f"{name}-map.npy", heat.map),
    }
    if heat.channel in pixels:
        fine = guided_gradcam(pixels[heat.channel], heat)
        if not fine.problem:
            files["guided"] = folder.write(f"{name}-guided.png", encode_png(fine.picture()))
            files["guided_signal"] = folder.write_array(f"{name}-guided.npy", fine.signal)
    return {"files": files}


def _write_sheets(
    folder: Folder,
    stem: str,
    heats: Sequence[Attribution],
    written: Sequence[dict[str, Any]],
    colour: str,
    alpha: float,
) -> None:
    """Write one picture for each class, of its maps of all layers, and enter it into `written`."""
    from ....engine.picture import encode_png
    from ....models.maps.sheets import side_by_side

    for index in dict.fromkeys(h.channel for h in heats):
        shown = [(h, w) for h, w in zip(heats, written, strict=True) if h.channel == index and "files" in w]
        if shown:
            name = folder.unique(stem, f"-{index}-{shown[0][0].method}-layers")
            sheet = encode_png(side_by_side([h for h, _ in shown], colour, alpha))
            file = folder.write(f"{name}.png", sheet)
            for _, w in shown:
                w["files"]["layers"] = file


def _line(result: dict[str, Any], folder: Path, several: bool) -> str:
    target = result["target"]
    what = f"{result['image']}: {target['index']} {target['label']} ({said(target)})"
    what += f", {result['layer']}" if several else ""
    if "problem" in result:
        return f"{what}: no map: {result['problem']}"
    return f"{what} -> {folder / result['files']['overlay']}"
