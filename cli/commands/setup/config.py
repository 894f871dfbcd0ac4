"""`onnxlens config`: which settings hold, and where each comes from."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import click

from ....engine.errors import BadRequest, nearest
from ... import options
from ...console import emit, note, table
from ...settings import CHOSEN, Setting, commands, settings


@options.command("config")
@click.argument("names", metavar="[COMMAND]...", nargs=-1)
@options.as_json
@options.debug
@click.pass_context
def command(ctx: click.Context, names: tuple[str, ...], as_json: bool) -> None:
    """Show the settings of a command, and where each value comes from; of all commands, those that are set.

    A flag comes before a variable (ONNXLENS_RUN_BATCH for `run --batch`, ONNXLENS_BATCH for each command
    that has it), that before the file of --config or else [tool.onnxlens] of ./pyproject.toml, that before
    the default.

    \b
    onnxlens config
    onnxlens config run
    onnxlens config run --config night.toml --json
    """
    every = commands(ctx)
    chosen = [n for n in every if n[: len(names)] == names]
    if not chosen:
        name = " ".join(names)
        raise BadRequest(f"there is no command {name!r}{nearest(name, [' '.join(n) for n in every])}")
    path = ctx.meta[CHOSEN]
    found = [s for n in chosen for s in settings(ctx, every[n], n, path) if names or s.source != "default"]
    for setting in found if as_json else ():
        emit(_record(setting))
    if not as_json:
        if found:
            table(("command", "setting", "value", "from"), [_line(s) for s in found])
        else:
            note("nothing is set: all commands have their defaults")


def _record(setting: Setting) -> dict[str, Any]:
    value = str(setting.value) if isinstance(setting.value, PurePath) else setting.value
    return {**setting._asdict(), "value": value, "where": setting.where or None}


def _line(setting: Setting) -> tuple[str, str, str, str]:
    value = setting.value
    text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    text = {"None": "", "True": "yes", "False": "no"}.get(text, text)
    return setting.command, setting.key, text, setting.where or setting.source
