"""The command line: the only place that parses arguments, prints, and writes what a run makes."""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Sequence
from functools import cache

import click

from ..engine.attribution.methods import METHODS
from ..engine.errors import OnnxlensError
from ..host import own_process
from . import options
from .completing import offering
from .settings import dressed

# The module of each command, which holds it as `command`, or makes it of the name; heavy imports are inside.
COMMANDS = {
    "demo": ".commands.photos.demo",
    "look": ".commands.photos.look",
    "predict": ".commands.photos.predict",
    "explain": ".commands.photos.explain",
    "activations": ".commands.features.activations",
    "weights": ".commands.features.weights",
    "top": ".commands.features.top",
    "concepts": ".commands.features.concepts",
    "dream": ".commands.dreams.dream",
    "run": ".commands.runs.run",
    "evaluate": ".commands.runs.evaluate",
    "runs": ".commands.runs.runs",
    "report": ".commands.runs.report",
    "cluster": ".commands.runs.cluster",
    "layers": ".commands.graphs.layers",
    "grad": ".commands.graphs.grad",
    "doctor": ".commands.graphs.doctor",
    "zoo": ".commands.graphs.zoo",
    "cache": ".commands.setup.cache",
    "versions": ".commands.setup.versions",
    "config": ".commands.setup.config",
    "completion": ".commands.setup.completion",
    **dict.fromkeys(METHODS, ".commands.photos.explain"),
}

MAX_CHARACTERS = 1000  # characters of an error: the names in it may be a stranger's


class Commands(options.Group):
    """A group that imports a command when it is asked for; its help has the methods apart."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order in which a new user meets them."""
        return list(COMMANDS)

    def sections(self, ctx: click.Context) -> dict[str, list[str]]:
        """The names, as the help has them."""
        rest = [name for name in COMMANDS if name not in METHODS]
        return {"Commands": rest, "Methods, as of explain": list(METHODS)}

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name."""
        if cmd_name not in COMMANDS:
            return None
        return _command(cmd_name)


@cache
def _command(name: str) -> click.Command:
    command = importlib.import_module(COMMANDS[name], __package__).command
    made = command if isinstance(command, click.Command) else command(name)
    return offering(dressed(made, (name,)))


def _version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"onnxlens {version('onnxlens')}")
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Say the version."
)
def group() -> None:
    """See what a vision model stored as an ONNX file is looking at.

    \b
    onnxlens demo                                        scenes of the model that comes along
    onnxlens gradcam model.onnx cat.jpg --preset imagenet
    onnxlens grad model.onnx -o training-graph.onnx

    Exit codes: 0 done, 1 failed, 2 a request that cannot be met as it stands, 130 interrupted.
    """


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code; errors are one line on stderr."""
    own_process()
    args = list(sys.argv[1:] if args is None else args)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal cannot show is no error
            stream.reconfigure(errors="replace")
    if "--debug" in args:  # everything is raised as it is
        sys.exit(_run(args))
    try:
        code = _run(args)
        sys.stdout.flush()
        sys.exit(code)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted", 130)
    except click.ClickException as error:
        hint = (
            f" ({error.ctx.command_path} --help)" if isinstance(error, click.UsageError) and error.ctx else ""
        )
        _fail(f"{error.format_message()}{hint}", error.exit_code)
    except OnnxlensError as error:
        _fail(str(error), error.exit_code)
    except BrokenPipeError:  # the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}", 1)
    except Exception as error:
        _fail(f"{type(error).__name__}: {error}; this is a bug in onnxlens, --debug shows where", 1)


def _run(args: list[str]) -> int:
    code = group.main(args, prog_name="onnxlens", standalone_mode=False)
    return code if isinstance(code, int) else 0


def _fail(text: str, code: int) -> None:
    from .console import printable

    click.echo(f"onnxlens: {printable(' '.join(text.split()))[:MAX_CHARACTERS]}", err=True)
    sys.exit(code)
