"""`onnxlens occlusion`: what hiding a place of the photo does to the answer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ....engine.errors import NoMap
from ....models.storage.folder import Folder
from ... import options
from ...console import counting, note, say
from ...manifest import said
from ...results import finish, records
from ..runs.run import folders_too

if TYPE_CHECKING:
    import numpy as np

    from ....models.maps.occluded import Occlusion

Shape = tuple[int, int]


@options.command("occlusion")
@options.model
@options.images
@click.option(
    "--patch",
    "patches",
    multiple=True,
    type=options.Size(),
    metavar="N[xM]",
    help="Height and width of the patch in pixels of the model's input; may be said several times.  "
    "[default: 1/7 of the shorter side]",
)
@click.option(
    "--stride", type=options.Size(), metavar="N[xM]", help="Step of the patch.  [default: half the patch]"
)
@click.option(
    "--fill",
    default="mean",
    show_default=True,
    help="Under the patch: mean (the grey that the model takes as zero), zero (black), blur, noise, "
    "#rrggbb or the name of a colour.",
)
@click.option("--target", help="Class index or label.  [default: the predicted class]")
@click.option("--layer", help="Layer of the feature map to follow.  [default: the last one before the head]")
@click.option(
    "--coarse",
    is_flag=True,
    help="Approximate: every fourth place, and those between where the score differs.",
)
@click.option(
    "--narrow",
    type=click.FloatRange(0, 1, min_open=True),
    default=1.0,
    metavar="SHARE",
    help="Approximate: a patch changes at most this share of a map's height and width.  [default: all]",
)
@click.option("--exact", is_flag=True, help="Draw one block for each place, nothing between them.")
@options.out("Folder for pictures, values and manifest.json.")
@folders_too("occlusion")
@options.photos
@click.option("--verbose", is_flag=True, help="Say how the answers are computed, and why so.")
@options.as_json
@options.quiet
@options.debug
def command(
    model: str,
    images: tuple[str, ...],
    patches: tuple[Shape, ...],
    stride: Shape | None,
    fill: str,
    target: str | None,
    layer: str | None,
    coarse: bool,
    narrow: float,
    exact: bool,
    out: Path,
    overwrite: bool,
    verbose: bool,
    as_json: bool,
    quiet: bool,
    **settings: Any,
) -> int:
    """Hide one place of a photo after another, and draw what the model answers.

    The panels of Zeiler & Fergus 2014, figure 7, by where the patch is: the total of the strongest feature
    map, the score and the probability of the class, and the most probable class. Each image gives one
    sheet of them (-sheet.png), and each size of patch the panels on the photo's pixels, what hiding a pixel
    costs as heat over the photo (.png) and in numbers (.npy), and the answers by place (-score.npy, ...).
    Over folders, patterns and lists it is a run, as `onnxlens run` makes it.

    \b
    onnxlens occlusion model.onnx cat.jpg --preset imagenet
    onnxlens occlusion model.onnx cat.jpg --patch 16 --patch 32 --stride 8 --fill blur
    onnxlens occlusion model.onnx cat.jpg --target "tabby" --layer conv5 --json
    """
    from ....models.attribution.occlusion import check, occlusion

    folder = Folder(out, overwrite)
    lens = options.open_lens(model, quiet, **settings)
    sizes = patches or (None,)
    for size in sizes:
        check(lens, target, layer, patch=size, stride=stride, fill=fill)

    def look(photo: np.ndarray) -> list[Occlusion]:
        found = []
        for size in sizes:
            with counting("hiding one place after another", quiet) as progress:
                found.append(
                    occlusion(lens, photo, target, size, stride, fill, layer, progress, coarse, narrow)
                )
            if verbose:
                note("patch {}x{}: {}".format(*found[-1].places.patch, found[-1].how))
        return found

    results = records(images, look, lambda stem, found: _written(folder, stem, found, exact))
    arguments = {"patches": patches, "stride": stride, "fill": fill, "target": target, "layer": layer}
    arguments |= {"coarse": coarse, "narrow": narrow, "exact": exact}
    tell = lambda result: say(_line(result, folder.path))
    return finish(folder, lens, "occlusion", arguments, results, tell, as_json)


def _written(folder: Folder, stem: str, found: list[Occlusion], exact: bool) -> list[dict[str, Any]]:
    """Write one photo's sheet, and the pictures and values of each size of patch; the record of each.

    Where the score does not depend on the place there is nothing to draw.
    """
    from ....engine.attribution.perturbation.hidden import moves
    from ....engine.picture import encode_png
    from ....models.attribution.panels import sheet

    stem = f"{stem}-{found[0].target.index}-occlusion"
    files = {}
    if shown := [o for o in found if moves(o.scores)]:
        files["sheet"] = folder.write(f"{folder.unique(stem, '-sheet')}.png", encode_png(sheet(shown, exact)))
    return [
        o.heat().record() | (_drawn(folder, stem, o, exact, files) if moves(o.scores) else {}) for o in found
    ]


def _drawn(folder: Folder, stem: str, found: Occlusion, exact: bool, files: dict[str, str]) -> dict[str, Any]:
    """Write the pictures and values of one size of patch, and say what could not be drawn."""
    from ....engine.picture import encode_png
    from ....models.attribution.panels import panel, panels, values

    heat, not_drawn = found.heat(exact), {}
    name = folder.unique(stem, "-{}x{}".format(*found.places.patch))
    files = files | {"photo_map": folder.write_array(f"{name}.npy", heat.at_photo())}
    if not heat.problem:
        files["overlay"] = folder.write(f"{name}.png", encode_png(heat.overlay()))
    for kind in panels(found):
        files[f"{kind}_values"] = folder.write_array(f"{name}-{kind}.npy", values(found, kind))
        try:
            files[kind] = folder.write(f"{name}-{kind}.png", encode_png(panel(found, kind, exact)))
        except NoMap as error:
            not_drawn[kind] = str(error)
    return {"files": files, **({"not_drawn": not_drawn} if not_drawn else {})}


def _line(result: dict[str, Any], folder: Path) -> str:
    target, worst = result["target"], result["worst"]
    what = f"{result['image']}: {target['index']} {target['label']} ({said(target)})"
    what += ", patch {}x{}".format(*result["patch"])
    if near := result.get("approximation"):
        what += f", off by up to {near['deviation']:.1%} of the range at {near['checked']} places checked"
    sheet = f" -> {folder / result['files']['sheet']}" if "files" in result else ""
    if "problem" in result:
        return f"{what}: no map: {result['problem']}{sheet}"
    top, left = worst["corner"]
    score = f"score {result['score']:.4g}, {worst['score']:.4g} with it at row {top}, column {left}"
    return f"{what}: {score}{sheet}"
