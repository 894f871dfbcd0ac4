"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..engine.errors import BadImage, BadRequest, NoMap, nearest
from ..models.maps.convention import CONVENTIONS, FIELDS
from .console import download, note
from .types import Channels, Readout, Size

if TYPE_CHECKING:
    from ..models.lens import Lens

F = TypeVar("F", bound=Callable[..., Any])


class Group(click.Group):
    """A group of commands that answers a wrong name with the nearest ones, and no name with its help.

    That help says the whole first sentence of each command, where click would cut it off.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, with --help for nothing."""
        return super().parse_args(ctx, args or ["--help"])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, with our words for a name that is not there."""
        names = self.list_commands(ctx)
        if args[0] not in names and not args[0].startswith("-") and not ctx.resilient_parsing:
            ctx.fail(f"there is no command {args[0]!r}{nearest(args[0], names)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click does, over as many lines as the sentences need."""
        for title, names in self.sections(ctx).items():
            commands = {name: self.get_command(ctx, name) for name in names}
            with formatter.section(title):
                formatter.write_dl([(n, c.get_short_help_str(1000)) for n, c in commands.items() if c])

    def sections(self, ctx: click.Context) -> dict[str, list[str]]:
        """The names of the commands, in sections of the help."""
        return {"Commands": self.list_commands(ctx)}


def stacked(*decorators: Callable[[Any], Any]) -> Callable[[F], F]:
    """Several decorators as one, in the order of writing."""

    def apply(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


def targets(default: str = "top1") -> Callable[[F], F]:
    """What of the answer is explained; where nobody says, what `default` says in words."""
    help = (
        "Class index or label, top3 or every; box(3), box(dog, 0.5).x, region(dog), pixel(40, 90), char(2), "
        "text(), similar(PHOTO), element(OUTPUT, 5), or a sum of them: tabby - tiger (docs/targets.md). "
        "May be said several times."
    )
    return click.option("--target", "targets", multiple=True, help=f"{help}  [default: {default}]")


def of(scores: str) -> Callable[[F], F]:
    """What is differentiated; `scores` says which those are by default."""
    return click.option(
        "--of", multiple=True, help=f"Value to differentiate.  [default: the scores, {scores}]"
    )


wrt = click.option(
    "--wrt", multiple=True, help="Input, weight or value to differentiate by.  [default: the image]"
)
layer = click.option("--layer", help="Feature map to look at.  [default: the last one before the head]")


def layers(help: str) -> Callable[[F], F]:
    """Layers by name or glob; `help` says of what, and which there are by default."""
    return click.option("--layer", "layers", multiple=True, help=help)


def channels(help: str) -> Callable[[F], F]:
    """Channels of a layer; `help` says what for, and which there are by default."""
    return click.option("--channels", type=Channels(), help=help)


def drawn(what: str, by: str) -> Callable[[F], F]:
    """Which of a layer's channels or kernels (`what`) a picture shows: the first in the order of `by`."""
    return stacked(
        click.option(
            "--sort",
            type=click.Choice([by, "index"]),
            default=by,
            show_default=True,
            help=f"Order of the {what}.",
        ),
        click.option(
            "--top",
            default=64,
            show_default=True,
            type=click.IntRange(1, 4096),
            help=f"{what.capitalize()} in a picture.",
        ),
    )


def overlay(alpha: float, *others: float) -> Callable[[F], F]:
    """How a map is laid over its photo; `alpha` (0 to 1) where nobody says.

    With `others`, those of some methods of the command, it is None then.
    """
    return stacked(
        click.option(
            "--colour",
            default="turbo",
            show_default=True,
            help="Colour map of an overlay: turbo, jet, viridis, inferno, ...",
        ),
        click.option(
            "--alpha",
            default=None if others else alpha,
            show_default=not others,
            type=click.FloatRange(0, 1),
            help="Opacity of an overlay's hottest spot."
            + (f"  [default: {alpha}, or {others[0]} by the method]" if others else ""),
        ),
    )


convention = click.option(
    "--convention",
    default=FIELDS,
    show_default=True,
    type=click.Choice(CONVENTIONS),
    help="How the map of a layer lies on the photo: each value in the middle of what it sees (fields), or "
    "all stretched over what the model sees (cells).",
)


def out(holds: str, default: str | None = "onnxlens-out") -> Callable[[F], F]:
    """Where the results go, and whether over those of an earlier run; `holds` says what will lie there."""
    return stacked(
        click.option(
            "-o",
            "--out",
            default=default,
            show_default=True,
            type=click.Path(path_type=Path),
            help=holds,
        ),
        click.option("--overwrite", is_flag=True, help="Write into a folder that holds an earlier run."),
    )


debug = click.option(
    "--debug", is_flag=True, expose_value=False, help="Show the whole traceback of an error."
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print results as JSON Lines.")
quiet = click.option("-q", "--quiet", is_flag=True, help="Print nothing but results and errors.")
printing = stacked(as_json, quiet, debug)
model = click.argument("model")
images = click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
runtime = stacked(
    click.option(
        "--provider",
        default="auto",
        show_default=True,
        help="auto, cpu, cuda, ..., or a plugin: openvino, webgpu, ...; openvino:gpu is one of its devices.",
    ),
    click.option(
        "--threads", type=click.IntRange(1, 1024), help="Threads to compute with; all cores by default."
    ),
)


def batch(help: str) -> Callable[[F], F]:
    """How many photos go through the model at once."""
    return click.option("--batch", default=16, show_default=True, type=click.IntRange(1, 4096), help=help)


def rows(help: str) -> Callable[[F], F]:
    """The format of a run's rows."""
    return click.option(
        "--rows", type=click.Choice(["jsonl", "parquet"]), default="jsonl", show_default=True, help=help
    )


cluster = stacked(
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="Where the workers are: on this machine, or in a Ray cluster (needs the extra scale).",
    ),
    click.option(
        "--workers",
        type=click.IntRange(1, 4096),
        help="How many of them at once.  [default: one on each core]",
    ),
)
model_output = click.option(
    "--output", metavar="NAME", help="Output of the model that holds the answer.  [default: found]"
)
readout = click.option(
    "--readout",
    type=Readout(),
    help="What it is: classes of which one is right, labels each by itself, values that are no "
    "probabilities, boxes, regions, sequence, embedding or picture; a layout behind a colon, as "
    "boxes:yolox.  [default: found]",
)


def _by_name(ctx: click.Context, option: click.Parameter, said: Sequence[str]) -> dict[str, str] | None:
    """What is said as NAME=VALUE, by name; None for nothing."""
    found: dict[str, str] = {}
    for text in said:
        name, sign, value = text.partition("=")
        if not sign or not name or not value or name in found:
            why = "is said twice" if sign and name in found else "is not NAME=VALUE"
            raise click.BadParameter(f"{text[:60]!r} {why}", ctx, option)
        found[name] = value
    return found or None


inputs = stacked(
    click.option(
        "--input",
        "inputs",
        multiple=True,
        callback=_by_name,
        metavar="NAME=VALUE",
        help="What an input beside the picture is given: numbers (1,2,3), a .npy file or a photo; may be "
        "said several times.",
    ),
    click.option("--second", metavar="PHOTO", help="The other picture, for a model that compares two."),
)
FIELD = "field_"  # before the names of the parameters that are fields of a preprocessing


def _field(flag: str, field: str, help: str, **more: Any) -> Callable[[F], F]:
    return click.option(flag, FIELD + field, default=None, help=help, **more)


size = click.option("--size", type=Size(), help="Size of the input, for models that leave it open.")
layout = click.option("--layout", type=click.Choice(["nchw", "nhwc"]), help="Order of the input's axes.")
# How photos go in. The fields that are said beside a preset arrive with it, see Command.
pictures = stacked(
    click.option("--preset", help="How photos go in: imagenet, caffe, tf, clip, unit, raw, ..."),
    size,
    layout,
    _field("--fit", "fit", "crop, stretch or letterbox: cut off, distort or pad what does not fit."),
    _field("--resize", "resize", "Size before that: a number or HxW.", metavar="N[xM]"),
    _field("--interpolation", "interpolation", "nearest, box, linear, hamming, cubic or lanczos."),
    _field("--antialias/--no-antialias", "antialias", "Average where a photo shrinks."),
    _field("--crop-first/--no-crop-first", "crop_first", "Cut a crop out before resizing it."),
    _field("--rounding", "rounding", "Of the side that goes beyond --resize: down or nearest."),
    _field("--anchor", "anchor", "Where the photo lies: centre or top-left."),
    _field("--pad-value", "fill", "Tone of what is padded, 0 to 255, or one a channel.", metavar="N,..."),
    _field("--channel-order", "channels", "rgb, bgr, grey, rgba, or how many channels of numbers."),
    _field("--scale", "scale", "What pixels of 0 to 255 are multiplied by, as 1/255.", metavar="X"),
    _field("--mean", "mean", "What is then taken off, or one a channel.", metavar="X,..."),
    _field("--std", "std", "What is then divided by, or one a channel.", metavar="X,..."),
)
photos = stacked(
    pictures,
    click.option("--labels", type=click.Path(path_type=Path), help="File of class names: txt, csv or json."),
    model_output,
    readout,
    inputs,
    runtime,
)


def open_lens(model: str, quiet: bool = False, **options: Any) -> Lens:
    """The lens for a model argument, with what it runs on and where its settings come from said once."""
    from ..models.lens import Lens

    with download(model) as progress:
        lens = Lens(model, progress=progress, **options)
    if not quiet:
        note(f"{lens.path.name}: {lens.network.why}; {lens.source}")
    return lens


def exit_zero(function: Callable[..., int]) -> Callable[..., int]:
    """Lets a command over photos end with 0 where photos failed: what is wrong is said as before."""

    @wraps(function)
    def command(exit_zero: bool, **given: Any) -> int:
        if exit_zero and given.get("fail_fast"):
            raise BadRequest(
                "--fail-fast stops at an image that fails, --exit-zero goes over it: say one of them"
            )
        try:
            code = function(**given)
        except (BadImage, NoMap) as error:
            if not exit_zero:
                raise
            note(f"onnxlens: {error}")
            code = 0
        return 0 if exit_zero and code == 1 else code

    help = "Exit with 0 also where images failed; their errors are said all the same."
    return click.option("--exit-zero", is_flag=True, help=help)(command)


class Command(click.Command):
    """A command to which the fields of a preprocessing come with its preset, as a Lens takes them."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, then {"preset": ..., "mean": ..., ...} for a preset beside which fields are said."""
        rest = super().parse_args(ctx, args)
        names = [name for name in ctx.params if name.startswith(FIELD)]
        said = {name.removeprefix(FIELD): ctx.params.pop(name) for name in names}
        if beside := {name: value for name, value in said.items() if value is not None}:
            preset = ctx.params.get("preset")
            ctx.params["preset"] = ({"preset": preset} if preset else {}) | beside
        return rest


command = partial(click.command, cls=Command, context_settings={"help_option_names": ["-h", "--help"]})
