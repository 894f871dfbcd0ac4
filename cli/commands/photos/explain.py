"""`onnxlens explain`, and a command for each method: what of a photo an answer goes back to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ....engine.attribution.methods import METHODS, Method
from ....engine.errors import BadRequest
from ....models.storage.folder import Folder
from ... import options
from ...console import counting, note, say
from ...methods import MethodName, Several, given_to_methods, options_of_methods
from ...results import Record, finish, records
from .attributions import Drawing, line, write, write_guided
from .folders import folders_too

if TYPE_CHECKING:
    from ....models.attribution.pipeline import Pipeline
    from ....models.maps.attribution import Attribution

DEFAULT = "gradcam"
STYLES = ("signed", "absolute", "diverging", "overlay")
ALPHA = {"overlay": 0.7}  # of methods that are drawn in this style where nobody says; 0.9 of all others


def command(name: str) -> click.Command:
    """The command of a name: by any method for "explain", else by the method that is called so.

    That of the gradient at the pixels has a choice of what is drawn in the same way.
    """
    if name == "explain":
        methods = sorted(METHODS.values(), key=lambda m: m.name != DEFAULT)
    else:
        alike = [m for m in METHODS.values() if m.style == METHODS[name].style]
        methods = alike if name == "saliency" else [METHODS[name]]
    parameters = options.stacked(
        options.model,
        options.images,
        *([_choice(methods)] if len(methods) > 1 else []),
        options.targets("none, but the layer's strongest channels" if _begins(methods) else "top1"),
        *_of_layers(methods),
        *([_units] if any(m.units for m in methods) else []),
        options_of_methods(methods, several=True),
        options.out("Folder for pictures, maps and manifest.json."),
        _style(methods),
        options.overlay(*{ALPHA.get(m.style, 0.9): None for m in methods}),
        *([_verbose] if any(m.serial for m in methods) else []),
        folders_too(name, methods[0].name),
        options.photos,
        options.as_json,
        options.quiet,
        options.debug,
    )
    run = partial(_run, name, methods[0].name)
    text = _help(name, methods[0])
    return options.command(name, help=text)(parameters(lambda **given: run(**given)))


def _choice(methods: Sequence[Method]) -> Any:
    return click.option(
        "--method",
        default=methods[0].name,
        show_default=True,
        metavar="NAME",
        type=MethodName([m.name for m in methods]),
        help=f"{', '.join(m.name for m in methods)}; docs/methods.md says what each shows.",
    )


def _begins(methods: Sequence[Method]) -> bool:
    """Whether it begins at the strongest channels of a layer where nobody says a class."""
    return len(methods) == 1 and methods[0].target == "units"


def _of_layers(methods: Sequence[Method]) -> list[Any]:
    """--layer, and for maps that lie on layers --layers and --guided."""
    texts = list(dict.fromkeys(m.layer for m in methods if m.layer))
    text = texts[0] if len(texts) == 1 else "The layer that a method looks at, or from (docs/methods.md)."
    found = [click.option("--layer", help=text)] if texts else []
    if any(m.on_layer for m in methods):
        found.append(
            click.option(
                "--layers",
                multiple=True,
                metavar="GLOB",
                help="Several feature maps, by name or glob, also side by side; may be said several times.",
            )
        )
        found.append(
            click.option(
                "--guided",
                is_flag=True,
                help="Also times guided backpropagation: which pixels of the heat matter.",
            )
        )
    return found


_units = options.stacked(
    click.option(
        "--channels",
        "--channel",
        "channels",
        type=options.Channels(),
        help="Channels of the layer: 0,3,7-12.  [default: the strongest ones]",
    ),
    click.option(
        "--position",
        type=options.Position(),
        help="Row and column in the layer.  [default: the strongest one]",
    ),
    click.option(
        "--top",
        type=click.IntRange(1, 100),
        help="How many of the layer's channels, without --channels.  [default: 9]",
    ),
)
_verbose = click.option("--verbose", is_flag=True, help="Say how the answers are computed, and why so.")


def _style(methods: Sequence[Method]) -> Any:
    styles = list(dict.fromkeys(m.style for m in methods))
    return click.option(
        "--style",
        default=styles[0] if len(styles) == 1 else None,
        show_default=len(styles) == 1,
        type=click.Choice(STYLES),
        help="signed: around middle grey; absolute: light on black; diverging: red for, blue against; "
        "overlay: as heat over the photo." + ("" if len(styles) == 1 else "  [default: that of the method]"),
    )


def _help(name: str, method: Method) -> str:
    if name == "explain":
        first = "Say what of a photo an answer goes back to, by any method of attribution."
        about = "Each method is also a command of its own name, with the options that it has."
    else:
        first = f"Show {method.shows}."
        about = f"{method.title}: {method.paper}."
    return f"""{first}

    {about} Each image and class, or unit of a layer, gives a picture (.png) and its numbers (.npy), and
    manifest.json holds all that is needed to do it again; docs/methods.md says what the numbers are.

    Over folders, patterns such as "photos/**/*.jpg" and lists (- for one on standard input) it is a run, as
    `onnxlens run` makes it: rows, pictures and maps in the tree of the photos, and --resume goes on with it.

    \b
    onnxlens {name} model.onnx cat.jpg --preset imagenet
    onnxlens {name} model.onnx cat.jpg dog.jpg --target top3 -o maps
    onnxlens {name} model.onnx photos -o run --resume
    """


def _run(
    command: str,
    default: str,
    *,
    model: str,
    images: tuple[str, ...],
    targets: tuple[str, ...],
    out: Path,
    overwrite: bool,
    style: str | None,
    colour: str,
    alpha: float | None,
    as_json: bool,
    quiet: bool,
    method: str | None = None,
    layer: str | None = None,
    layers: tuple[str, ...] = (),
    channels: list[int] | None = None,
    position: tuple[int, int] | None = None,
    top: int | None = None,
    guided: bool = False,
    verbose: bool = False,
    **given: Any,
) -> int:
    """Explain photos that are named one by one, write what that gives, and say so; the exit code."""
    from ....engine.anatomy.anatomy import matching
    from ....engine.picture import colour_map
    from ....models.attribution.attribute import Attributor
    from ....models.attribution.pipeline import Pipeline
    from ....models.features.top import looked_at
    from ....models.storage.store import file_at

    how = METHODS[method or default]
    own = given_to_methods(given, [how])
    _refuse(targets, layer, layers, channels, position, top, how)
    colour_map(colour)
    folder = Folder(out, overwrite)
    lens = options.open_lens(model, quiet, **given)
    where = matching(lens.network.graph, layers) if layers else layer
    if where is None and how.target == "units" and not targets:
        where = looked_at(lens)
    units = {"channels": channels or (), "position": position, "top": top}
    wishes = targets or (None,)
    made = [Attributor(lens, how.name, wishes, layer=where, **units, **each) for each in _each(own)]
    pixels = Attributor(lens, "guided", wishes) if guided else None
    alpha = ALPHA.get(how.style, 0.9) if alpha is None else alpha
    drawing = Drawing(style or how.style, colour, alpha, bool(own.get("exact")), bool(layers))

    pipeline = Pipeline(lens, [*made, *([pixels] if pixels else [])], file_at)

    def find(image: str) -> Sequence[Attribution]:
        return _found(pipeline, image, quiet, verbose)

    def written(stem: str, found: Sequence[Attribution]) -> Sequence[Record]:
        traced = {f.channel: f for f in found if pixels and f.method == "guided"}
        found = [f for f in found if f.method == how.name]
        results = write(folder, lens, stem, found, drawing)
        if guided:
            write_guided(folder, found, results, traced)
        return results

    results = records(images, find, written)
    arguments = {"targets": list(targets), "layer": layer, "layers": list(layers), "guided": guided}
    arguments |= {"channels": channels, "position": position, "top": top}
    takes = {parameter.name for parameter in click.get_current_context().command.params}
    arguments = {"method": how.name} | {key: value for key, value in arguments.items() if key in takes}
    arguments |= {**drawing.arguments(), **made[0].options, **own}
    tell = lambda result: say(line(result, folder.path, bool(layers)))
    return finish(folder, lens, command, arguments, results, tell, as_json)


def _each(own: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The options of a method, once for each combination of what was said several times."""
    several = {name: values for name, values in own.items() if isinstance(values, Several)}
    for values in product(*several.values()):
        yield own | dict(zip(several, values, strict=True))


def _found(pipeline: Pipeline, image: str, quiet: bool, verbose: bool) -> Sequence[Attribution]:
    """What methods find in a photo, with a bar where one takes long, and a word on how it went."""
    method = pipeline.attributors[0].method
    with counting(method.title, quiet) if method.serial else nullcontext() as progress:
        (result,) = pipeline([image], progress)
    if result.error:
        raise result.error
    computed = {f.extras["patch"]: f.extras["how"] for f in result.found if f.extras.get("how")}
    for patch, how in computed.items() if verbose else ():
        note("patch {}x{}: {}".format(*patch, how))
    return result.found


def _refuse(
    targets: tuple[str, ...],
    layer: str | None,
    layers: tuple[str, ...],
    channels: list[int] | None,
    position: tuple[int, int] | None,
    top: int | None,
    how: Method,
) -> None:
    """Raise BadRequest for options that do not go together."""
    if layer is not None and layers:
        raise BadRequest("--layer is for one feature map, --layers for several: say one of them")
    if layers and not how.on_layer:
        raise BadRequest(f"the maps of {how.name} lie on the input, not on layers: leave --layers out")
    of_units = how.units and (layer is not None or (how.target == "units" and not targets))
    if not of_units and (channels or position or top):
        raise BadRequest("--channels, --position and --top are of a layer: say which with --layer")
    if of_units and targets:
        raise BadRequest("a unit is a class (--target) or a channel of a layer (--layer): say one of them")
    if position and not channels:
        raise BadRequest("--position is of a channel: say which with --channels")
    if top and channels:
        raise BadRequest("--top is for the strongest channels: leave it or --channels out")
