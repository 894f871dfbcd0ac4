"""`onnxlens gradcam`: where the model looks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import options
from .console import emit, say
from .folder import Folder

if TYPE_CHECKING:
    from ..models.heatmap import HeatMap


@options.command("gradcam")
@options.model
@options.images
@click.option(
    "--target",
    "targets",
    multiple=True,
    help="Class index, label, or top3 for the three best; may be said several times.  [default: top1]",
)
@click.option("--layer", help="Feature map to look at.  [default: the last one before the head]")
@click.option(
    "-o",
    "--output",
    default="onnxlens-out",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for pictures, maps and manifest.json.",
)
@click.option("--overwrite", is_flag=True, help="Write into a folder that holds an earlier run.")
@click.option(
    "--colour", default="turbo", show_default=True, help="Colour map: turbo, jet, viridis, inferno, ..."
)
@click.option(
    "--alpha",
    default=0.7,
    show_default=True,
    type=click.FloatRange(0, 1),
    help="Opacity of the hottest spot.",
)
@options.photos
@options.as_json
@options.quiet
@options.debug
def command(
    model: str,
    images: tuple[str, ...],
    targets: tuple[str, ...],
    layer: str | None,
    output: Path,
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
    (-map.npy); manifest.json holds all that is needed to do it again.

    \b
    onnxlens gradcam model.onnx cat.jpg --preset imagenet
    onnxlens gradcam model.onnx cat.jpg dog.jpg --target top3 -o maps
    onnxlens gradcam model.onnx cat.jpg --target "tabby" --layer conv5 --json
    """
    from .manifest import heat_map, manifest

    folder = Folder(output, overwrite)
    lens = options.open_lens(model, quiet, **settings)
    lens.explainer("gradcam", layer)  # a wrong layer is said before any photo is read
    wishes = targets or (None,)
    for wish in wishes:
        lens.wish(wish)
    results, failed = [], 0
    for image, heats, error in options.each(images, lambda p: lens.explain(p, wishes, layer=layer)):
        if heats is None:
            failed += 1
            results.append({"image": image, "error": error})
        for heat in heats or ():
            results.append(
                {"image": image, **heat_map(heat), **_written(folder, Path(image).stem, heat, colour, alpha)}
            )
            failed += bool(heat.problem)
    if any("files" in r for r in results):
        arguments = {"targets": list(targets), "layer": layer, "colour": colour, "alpha": alpha}
        folder.write_manifest(manifest(lens, "gradcam", arguments, results))
    for result in results:
        if as_json:
            emit(result)
        elif "error" not in result:
            say(_line(result, folder.path))
    return 1 if failed else 0


def _written(folder: Folder, stem: str, heat: HeatMap, colour: str, alpha: float) -> dict[str, Any]:
    """Write one map; a map with a problem gives the problem, and no picture."""
    from ..engine.picture import encode_png

    if heat.problem:
        return {"problem": heat.problem}
    name = folder.unique(stem, f"-{heat.target.index}-{heat.method}")
    return {
        "files": {
            "overlay": folder.write(f"{name}.png", encode_png(heat.overlay(colour, alpha))),
            "photo_map": folder.write_array(f"{name}.npy", heat.at_photo()),
            "layer_map": folder.write_array(f"{name}-map.npy", heat.map),
        }
    }


def _line(result: dict[str, Any], folder: Path) -> str:
    target = result["target"]
    sure = target["probability"]
    what = (
        f"{result['image']}: {target['index']} {target['label']} ({'nan' if sure is None else f'{sure:.3f}'})"
    )
    if "problem" in result:
        return f"{what}: no map: {result['problem']}"
    return f"{what} -> {folder / result['files']['overlay']}"
