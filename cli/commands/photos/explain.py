"""`onnxlens explain`, and a command for each method: what of a photo an answer goes back to."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ....engine.attribution.methods import METHODS, Method
from ....models.network.provenance import identity
from ....models.storage.folder import Folder
from ... import options
from ...console import counting, emit, note, say
from ...manifest import manifest
from ...methods import OWN, MethodName, given_to_methods, options_of_methods
from ...results import finish, records, told
from ...sources import chosen
from ...types import Channels, Position
from ..runs.run import basics, over_folders
from ..runs.watch import say_tried
from .attributions import line, write
from .best import BEST, best_method
from .request import ALPHA, Request
from .sinks import Unwritten, is_run, of_run, resumable, tried

if TYPE_CHECKING:
    from ....models.attribution.pipeline import Pipeline
    from ....models.maps.attribution import Attribution

DEFAULT = "gradcam"
MODELS = {"attention": "vit.onnx"}  # in the examples, of methods that need what not every model has
USUAL = "  [default: gradcam; of boxes, regions, text, class tokens layercam; text behind an LSTM hirescam]"
STYLES = ("signed", "absolute", "diverging", "overlay")


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
        *([_choice(methods, name == "explain")] if len(methods) > 1 else []),
        options.targets("none, but the layer's strongest channels" if _begins(methods) else "top1"),
        *_of_layers(methods),
        options.convention,
        *([_units] if any(m.units for m in methods) else []),
        options_of_methods(methods, several=True),
        options.out("Folder for pictures, maps and manifest.json."),
        _style(methods),
        options.overlay(*{ALPHA.get(m.style, 0.9): None for m in methods}),
        *([_verbose] if any(m.serial for m in methods) else []),
        basics,
        options.exit_zero,
        options.photos,
        options.printing,
    )
    run = partial(_run, name, methods[0].name)
    text = _help(name, methods[0])
    return options.command(name, help=text)(parameters(lambda **given: run(**given)))


def _choice(methods: Sequence[Method], of_all: bool) -> Any:
    return click.option(
        "--method",
        default=None if of_all else methods[0].name,
        show_default=not of_all,
        metavar="NAME",
        type=MethodName([m.name for m in methods] + [BEST] * of_all),
        help=f"{', '.join(m.name for m in methods)}; docs/methods.md says what each shows."
        + (" Or best: the one that does best on these photos (docs/metrics.md)." if of_all else "")
        + (USUAL if of_all else ""),
    )


def _begins(methods: Sequence[Method]) -> bool:
    """Whether it begins at the strongest channels of a layer where nobody says a class."""
    return len(methods) == 1 and methods[0].target == "units"


def _of_layers(methods: Sequence[Method]) -> list[Any]:
    """--layer, and for maps that lie on layers --layers, --fuse and --guided."""
    texts = list(dict.fromkeys(m.layer for m in methods if m.layer))
    text = texts[0] if len(texts) == 1 else "The layer that a method looks at, or from (docs/methods.md)."
    found = [click.option("--layer", help=text)] if texts else []
    if any(m.of_layers for m in methods):
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
                "--fuse",
                type=click.Choice(["mean", "max"]),
                help="The maps of --layers as one, on the finest grid, each scaled to its greatest value.",
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
        type=Channels(),
        help="Channels of the layer: 0,3,7-12.  [default: the strongest ones]",
    ),
    click.option(
        "--position",
        type=Position(),
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
    model = "model.onnx"
    if name == "explain":
        first = "Say what of a photo an answer goes back to, by any method of attribution."
        about = "Each method is also a command of its own name, with the options that it has."
    else:
        first = f"Show {method.shows}."
        model = MODELS.get(method.needs, model)
        about = f"{method.title}: {method.paper}."
    return f"""{first}

    {about} Each image and class, or unit of a layer, gives a picture (.png) and its numbers (.npy), and
    manifest.json holds all that is needed to do it again; docs/methods.md says what the numbers are.

    Over folders, patterns such as "photos/**/*.jpg" and lists (- for one on standard input) it is a run, as
    `onnxlens run` makes it: rows, pictures and maps in the tree of the photos, and --resume goes on with it.

    \b
    onnxlens {name} {model} cat.jpg --preset imagenet
    onnxlens {name} {model} cat.jpg dog.jpg --target top3 -o maps
    onnxlens {name} {model} photos -o run --resume
    """


def _run(command: str, default: str, *, model: str, images: tuple[str, ...], **given: Any) -> int:
    """Explain photos into the rows of a run, or into pictures beside one manifest; the exit code."""
    if given.get("method") == BEST:
        given["method"] = best_method(model, images, given)
    if is_run(images, given):
        return over_folders(command, model, images, **of_run(default, given))
    return _pictures(command, default, model=model, images=chosen(images, given), **given)


def _pictures(
    command: str,
    default: str,
    *,
    model: str,
    images: tuple[str, ...],
    out: Path,
    overwrite: bool,
    resume: bool,
    dry_run: bool,
    fail_fast: bool,
    as_json: bool,
    quiet: bool,
    method: str | None = None,
    verbose: bool = False,
    **given: Any,
) -> int:
    """Explain photos one by one, write what that gives, and say so; the exit code."""
    from ....engine.picture import colour_map
    from ....models.attribution.attribute import default_method
    from ....models.attribution.pipeline import Pipeline
    from ....models.storage.choice import taken
    from ....models.storage.store import file_at

    request = Request(**taken(Request, given))
    request.check(METHODS[method or default])
    by_answer = method is None and command == "explain"
    settings = {name: value for name, value in given.items() if not name.startswith(OWN)}
    lens = options.open_lens(model, quiet, **settings) if by_answer else None
    how = METHODS[default_method(lens) if lens else method or default]
    own = given_to_methods(given, [how])
    colour_map(request.colour)
    folder = (Unwritten if dry_run else Folder)(out, overwrite, resume)
    lens = lens or options.open_lens(model, quiet, **given)
    made = request.attributors(lens, how, own)
    drawing = request.drawing(how, bool(own.get("exact")))
    arguments = {"method": how.name, **_had(request.arguments()), **drawing.arguments()}
    arguments |= {**made[0].options, **own}
    find = partial(_found, Pipeline(lens, made, file_at), quiet, verbose)
    make = partial(records, find=find, written=partial(write, folder, lens, drawing), of=len(images))
    if isinstance(folder, Unwritten):
        found = tried(folder, lens, how.name, images, make)
        emit(found) if as_json else say_tried(found)
        return 0
    tell = lambda result: say(line(result, folder.path, drawing.layers))
    if not (resume or fail_fast):
        return finish(folder, lens, command, arguments, list(chain(*make(images))), tell, as_json)
    about = {**manifest(lens, command, arguments, []), "identity": {**identity(lens), **arguments}}
    earlier, results = resumable(folder, about, images, make, resume, fail_fast)
    return max(told(folder, results, tell, as_json), int(any("error" in r for r in earlier)))


def _had(arguments: dict[str, Any]) -> dict[str, Any]:
    """Those of the options that this command has."""
    takes = {parameter.name for parameter in click.get_current_context().command.params}
    return {name: value for name, value in arguments.items() if name in takes}


def _found(pipeline: Pipeline, quiet: bool, verbose: bool, image: str) -> Sequence[Attribution]:
    """What methods find in a photo, with a bar where one takes long, and a word on how it went; of a likeness
    to another photo with what is found there as "other".
    """
    from ....models.attribution.pair import counterpart

    method = pipeline.attributors[0].method
    with counting(method.title, quiet) if method.serial else nullcontext() as progress:
        (result,) = pipeline([image], progress)
    if result.error:
        raise result.error
    computed = {f.extras["patch"]: f.extras["how"] for f in result.found if f.extras.get("how")}
    for patch, how in computed.items() if verbose else ():
        note("patch {}x{}: {}".format(*patch, how))
    made = {attributor.method.name: attributor for attributor in pipeline.attributors}
    others = ((f, counterpart(made[f.method], f, image)) for f in result.found)
    return [f if other is None else replace(f, extras={**f.extras, "other": other}) for f, other in others]
