"""What `deconvnet`, `guided` and `saliency` share: from a unit back to the pixels, one method each."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ....engine.errors import BadRequest
from ....models.storage.folder import Folder
from ... import options
from ...console import say
from ...manifest import said
from ...results import finish, records
from ..runs.run import folders_too

if TYPE_CHECKING:
    from ....models.maps.attribution import Attribution

STYLES = ("signed", "absolute", "diverging", "overlay")


class Position(click.ParamType):
    """ROW,COLUMN in a layer, from 0."""

    name = "Y,X"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """A pair (row, column)."""
        found = re.fullmatch(r"\s*(\d{1,8})\s*,\s*(\d{1,8})\s*", str(value), re.ASCII)
        if found is None:
            self.fail(f"{str(value)[:40]!r} is not a position such as 6,4 (row, column)", param, ctx)
        return int(found[1]), int(found[2])


def shared(method: str, style: str, unit: str) -> Any:
    """The arguments and options of a projection; `style` and `unit` are how and from what it is drawn
    unless told otherwise.
    """
    return options.stacked(
        options.model,
        options.images,
        options.targets(unit),
        click.option("--layer", help="Look from this layer instead of from a class."),
        click.option(
            "--channels",
            "--channel",
            "channels",
            type=options.Channels(),
            help="Channels of the layer: 0,3,7-12.  [default: the strongest ones]",
        ),
        click.option(
            "--position", type=Position(), help="Row and column in the layer.  [default: the strongest one]"
        ),
        click.option(
            "--top",
            type=click.IntRange(1, 100),
            help="How many of the layer's channels, without --channels.  [default: 9]",
        ),
        options.out("Folder for pictures, signals and manifest.json."),
        click.option(
            "--style",
            default=style,
            show_default=True,
            type=click.Choice(STYLES),
            help="signed: around middle grey; absolute: light on black; diverging: red for, blue against; "
            "overlay: as heat over the photo.",
        ),
        options.overlay(0.9),
        folders_too(method),
        options.photos,
        options.as_json,
        options.quiet,
        options.debug,
    )


def run(
    command: str,
    method: str,
    *,
    model: str,
    images: tuple[str, ...],
    targets: tuple[str, ...],
    layer: str | None,
    channels: list[int] | None,
    position: tuple[int, int] | None,
    top: int | None,
    out: Path,
    overwrite: bool,
    style: str,
    colour: str,
    alpha: float,
    as_json: bool,
    quiet: bool,
    of_channels: bool = False,
    steps: int | None = None,
    **settings: Any,
) -> int:
    """Project every photo by a method that models.projection knows, write what it gives, and say so.

    Where neither class nor layer is said it is the predicted class, or with `of_channels` the strongest
    channels of the last feature map.
    """
    from ....engine.attribution.methods import method_named, options_given
    from ....engine.picture import colour_map
    from ....models.attribution.attribute import Attributor
    from ....models.features.top import looked_at

    of_channels = of_channels and not targets
    _refuse(targets, layer is not None or of_channels, channels, position, top)
    options_given(method_named(method), {"steps": steps})  # said before the model is opened
    colour_map(colour)
    folder = Folder(out, overwrite)
    lens = options.open_lens(model, quiet, **settings)
    if layer is None and of_channels:
        layer = looked_at(lens)
    unit = {"channels": channels or (), "position": position, "top": top}
    made = Attributor(lens, method, targets or (None,), layer=layer, steps=steps, **unit)

    results = records(
        images, made.of_photo, lambda stem, found: _written(folder, stem, found, style, colour, alpha)
    )
    arguments = {
        "method": method,
        "targets": list(targets),
        "layer": layer,
        "channels": channels,
        "position": position,
        "top": top,
        "style": style,
        "colour": colour,
        "alpha": alpha,
        **made.options,
    }
    return finish(folder, lens, command, arguments, results, lambda r: say(_line(r, folder.path)), as_json)


def _refuse(
    targets: tuple[str, ...],
    of_layer: bool,
    channels: list[int] | None,
    position: tuple[int, int] | None,
    top: int | None,
) -> None:
    """Raise BadRequest for options that do not go together."""
    if not of_layer:
        if channels or position or top:
            raise BadRequest("--channels, --position and --top are of a layer: say which with --layer")
        return
    if targets:
        raise BadRequest("a unit is a class (--target) or a channel of a layer (--layer): say one of them")
    if position and not channels:
        raise BadRequest("--position is of a channel: say which with --channels")
    if top and channels:
        raise BadRequest("--top is for the strongest channels: leave it or --channels out")


def _written(
    folder: Folder, stem: str, found: list[Attribution], style: str, colour: str, alpha: float
) -> list[dict[str, Any]]:
    """Write the projections of one photo, and one sheet of those of several channels; the records of them."""
    from ....engine.picture import encode_png
    from ....models.maps.sheets import sheet

    made = [p.record() for p in found]
    for p, record in zip(found, made, strict=True):
        if p.problem:
            continue
        unit = str(p.channel) if p.unit is None else f"{p.layer}-{p.channel}"
        name = folder.unique(f"{stem}-{unit}", f"-{p.method}")
        drawn = p.overlay(colour, alpha) if style == "overlay" else p.picture(style)
        record["files"] = {
            "picture": folder.write(f"{name}.png", encode_png(drawn)),
            "signal": folder.write_array(f"{name}.npy", p.signal),
        }
    shown = [p for p in found if p.unit and not p.problem]
    if len(shown) > 1:
        name = folder.unique(f"{stem}-{shown[0].layer}", f"-{shown[0].method}")
        drawn = sheet(shown, "signed" if style == "overlay" else style)
        file = folder.write(f"{name}.png", encode_png(drawn))
        for record in made:
            if "files" in record:
                record["files"]["sheet"] = file
    return made


def _line(result: dict[str, Any], folder: Path) -> str:
    if result["target"]:
        target = result["target"]
        what = f"{target['index']} {target['label']} ({said(target)})"
    else:
        y, x = result["position"]
        what = f"{result['layer']} {result['channel']} at {y},{x}"
    what = f"{result['image']}: {what}"
    if "problem" in result:
        return f"{what}: nothing to show: {result['problem']}"
    if "completeness" in result:
        done = result["completeness"]
        what = f"{what}, sums to {done['sum']:.4g} of a rise of {done['rise']:.4g}"
    note = f" ({result['note']})" if "note" in result else ""
    return f"{what} -> {folder / result['files']['picture']}{note}"
