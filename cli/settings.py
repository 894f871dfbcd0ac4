"""Settings that are not on the command line: ONNXLENS_* variables, then a TOML file, then the defaults.

click looks all of them up by itself once an option knows its variables and a command its file. Both are told
here, to every command when it is loaded, and what is set and means nothing is refused.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import click

from ..engine.errors import BadRequest, nearest
from .tables import FILE, TABLES, as_said, levels, read_table

PREFIX = "ONNXLENS"
OTHERS = frozenset(  # that are no option's
    {"ONNXLENS_CACHE", "ONNXLENS_CACHE_SIZE", "ONNXLENS_CONFIG", "ONNXLENS_TEST_DATA"}
)
CHOSEN = "onnxlens.config"  # in a context's meta: what --config says
NEVER = frozenset({"help", "debug", "config"})

Names = tuple[str, ...]  # of a command: ("run",) or ("runs", "merge")


class Setting(NamedTuple):
    """The value of an option, as said, and where it comes from; `where` names the variable or file."""

    command: str
    key: str
    value: Any
    source: Literal["variable", "file", "default"]
    where: str = ""


def dressed(command: click.Command, names: Names) -> click.Command:
    """Tell a command, and those in a group, the variables of its options, and give it --config."""
    if isinstance(command, click.Group):
        for name, part in command.commands.items():
            dressed(part, (*names, name))
        return command
    for key, option in options_of(command).items():
        option.envvar = variables(names, key)
    config = click.Option(
        ["--config"],
        type=click.Path(path_type=Path),
        metavar="FILE",
        envvar=f"{PREFIX}_CONFIG",
        is_eager=True,
        expose_value=False,
        callback=_apply,
        help=f"Settings (TOML).  [default: [tool.onnxlens] of ./{FILE}]",
    )
    command.params.append(config)
    return command


def options_of(command: click.Command) -> dict[str, click.Option]:
    """The options that can be set, by their long names without dashes."""
    found = ((max(p.opts, key=len).lstrip("-"), p) for p in command.params if isinstance(p, click.Option))
    return {key: option for key, option in found if key not in NEVER}


def variables(names: Names, key: str) -> list[str]:
    """The variables that set an option, the one of this command alone first."""
    levels = ("_".join((PREFIX, *names[:n], key)) for n in range(len(names), -1, -1))
    return [level.upper().replace("-", "_") for level in levels]


def settings(ctx: click.Context, command: click.Command, names: Names, path: Path | None) -> list[Setting]:
    """Every option of a command as the surroundings set it.

    `path` is a file of settings, by default `pyproject.toml` of the working folder where there is one.
    Raises BadRequest for a file that cannot be read, for a key or variable that no command has, with the
    nearest ones, and for a value that its option does not take.
    """
    where, table = read_table(path)
    if table:
        _check_keys(table, ctx, where)
    _check_variables(ctx, command, names)
    values = levels(table, names)
    return [_setting(ctx, names, key, option, where, values) for key, option in options_of(command).items()]


def _setting(
    ctx: click.Context, names: Names, key: str, option: click.Option, file: str, values: dict[str, Any]
) -> Setting:
    """One option as the surroundings set it; of a file that says `values` for the command."""
    variable = next((v for v in variables(names, key) if os.environ.get(v)), "")
    if variable:
        found = Setting(" ".join(names), key, option.value_from_envvar(ctx), "variable", variable)
    elif key in values:
        found = Setting(" ".join(names), key, as_said(option, values[key], f"{file}: {key}"), "file", file)
    else:
        return Setting(" ".join(names), key, option.to_info_dict()["default"], "default")
    try:
        value = option.type_cast_value(ctx, found.value)
    except click.BadParameter as error:
        raise BadRequest(f"{variable or f'{file}: {key}'}: {error.message}") from None
    return found._replace(value=value) if option.is_flag else found


def _apply(ctx: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Have click take from the file what is neither on the command line nor in a variable."""
    if ctx.resilient_parsing:
        return
    names: Names = ()
    level: click.Context | None = ctx
    while level is not None and level.parent is not None:
        names, level = (level.info_name or "", *names), level.parent
    if not names:  # a command by itself, outside the command line
        return
    ctx.meta[CHOSEN] = path
    options = options_of(ctx.command)
    ctx.default_map = {
        str(options[s.key].name): s.value
        for s in settings(ctx, ctx.command, names, path)
        if s.source == "file"
    }


def commands(ctx: click.Context) -> dict[Names, click.Command]:
    """All commands of the command line, also those in groups, by their names."""
    return dict(_within(ctx.find_root().command, ctx, ()))


def _within(
    command: click.Command, ctx: click.Context, names: Names
) -> Iterator[tuple[Names, click.Command]]:
    if not isinstance(command, click.Group):
        yield names, command
        return
    for name in command.list_commands(ctx):
        part = command.get_command(ctx, name)
        if part is not None:
            yield from _within(part, ctx, (*names, name))


def _check_keys(table: dict[str, Any], ctx: click.Context, where: str, names: Names = ()) -> None:
    """Raise BadRequest for a key of a table that no command below it has."""
    below = {path: command for path, command in commands(ctx).items() if path[: len(names)] == names}
    parts = {path[len(names)] for path in below if len(path) > len(names)}
    keys = {key for command in below.values() for key in options_of(command)}
    for key, value in table.items():
        if key in parts and isinstance(value, dict):
            _check_keys(value, ctx, where, (*names, key))
        elif isinstance(value, dict) and key in keys - TABLES:
            raise BadRequest(f"{where}: {key} is a setting and no command, so it cannot be a table")
        elif key not in keys:
            among = f" of {' '.join(names)}" if names else ""
            raise BadRequest(
                f"{where}: there is no setting {key!r}{among}{nearest(key, sorted(keys | parts))}"
            )


def _check_variables(ctx: click.Context, command: click.Command, names: Names) -> None:
    """Raise BadRequest for a variable that looks like ours and that no command has."""
    said = {v for v in os.environ if v.startswith(f"{PREFIX}_")} - OTHERS
    said.difference_update(v for key in options_of(command) for v in variables(names, key))
    if said:  # those of other commands, which now have to be loaded
        every = {v for n, c in commands(ctx).items() for key in options_of(c) for v in variables(n, key)}
        for name in sorted(said - every):
            raise BadRequest(f"there is no setting {name}{nearest(name, sorted(every | OTHERS))}")
