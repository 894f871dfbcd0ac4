"""The options of attribution methods on the command line, made from their records."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
from click.core import ParameterSource

from ..engine.attribution.method import Field, Pair
from ..engine.attribution.methods import METHODS, Method, method_named, options_of
from ..engine.errors import BadRequest, nearest
from .options import stacked
from .types import Size

ALL = "all"  # as the name of a method
OWN = "own_"  # before the names of the parameters that are options of methods


class MethodName(click.Choice[str]):
    """The name of one of some methods; another is answered with the nearest."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name."""
        if value not in self.choices:
            self.fail(
                f"there is no method {str(value)[:40]!r}{nearest(str(value), self.choices)}", param, ctx
            )
        return value


class Several(tuple[Any, ...]):
    """The values of an option that may be said several times, for a map of each."""


def options_of_methods(
    methods: Sequence[Method], several: bool = False, without: Sequence[str] = ()
) -> Callable[[Any], Any]:
    """The options of these methods as options of a command, by their own names.

    With `several` one that its record says so of may be said several times, for a map of each. Those
    `without` which a command does have a name of its own.
    """
    having: dict[str, dict[str, Field]] = {}
    for method in methods:
        for name, field in options_of(method).items():
            if name in without:
                continue
            having.setdefault(name, {})[method.name] = field
    alone = len(methods) == 1
    return stacked(*(_option(name, fields, alone, several) for name, fields in having.items()))


def methods_named(words: Sequence[str]) -> tuple[str, ...]:
    """The methods that are named, each once, several in a word with commas; "all" is every one that needs
    nothing which not all networks have.

    Raises BadRequest for one that is not there, with the nearest names.
    """
    names = dict.fromkeys(n.strip() for word in words for n in word.split(","))
    for name in names.keys() - {ALL}:
        method_named(name)
    every = [m.name for m in METHODS.values() if not m.needs] if ALL in names else []
    return tuple(dict.fromkeys([*every, *(name for name in names if name != ALL)]))


def given_to_methods(given: dict[str, Any], methods: Sequence[Method]) -> dict[str, Any]:
    """The options of methods that are said, by their own names, taken out of all that were given.

    One that none of the methods has is refused where it stands on the command line, and else, in a file or
    variable that is for other commands too, left out. Raises BadRequest.
    """
    own = {name.removeprefix(OWN): given.pop(name) for name in [*given] if name.startswith(OWN)}
    said = {name: value for name, value in own.items() if value is not None and value != ()}
    context, known = click.get_current_context(), {name for m in methods for name in options_of(m)}
    for name in said.keys() - known:
        if context.get_parameter_source(OWN + name) is ParameterSource.COMMANDLINE:
            having = ", ".join(m.name for m in METHODS.values() if name in options_of(m))
            names = " and ".join(m.name for m in methods)
            raise BadRequest(f"--{name.replace('_', '-')} is no option of {names}: it is one of {having}")
    return {name: value for name, value in said.items() if name in known}


def _option(name: str, fields: Mapping[str, Field], alone: bool, several: bool) -> Callable[[Any], Any]:
    """One option, of the methods that have it; it is None where nobody says it."""
    field = next(iter(fields.values()))
    option, flag = field.option, f"--{name.replace('_', '-')}"
    parts = [option.help, *_default(fields), *([] if alone else [f"[of {', '.join(fields)}]"])]
    more: dict[str, Any] = {"help": "  ".join(parts), "default": None}
    if field.type is bool:
        return click.option(flag, OWN + name, is_flag=True, **more)
    if field.type == Pair | None:
        more["metavar"] = "N[xM]"
    if several and option.several:
        more |= {"multiple": True, "callback": lambda ctx, param, values: Several(values)}
    return click.option(flag, OWN + name, type=_type(field), **more)


def _type(field: Field) -> Any:
    option = field.option
    if option.choices:
        return click.Choice(option.choices)
    if field.type == Pair | None:
        return Size()
    if field.type is int:
        least, most = (None if end is None else int(end) for end in (option.least, option.most))
        return click.IntRange(least, most)
    if field.type in (float, float | None):
        return click.FloatRange(option.least, option.most, min_open=option.above)
    return str


def _default(fields: Mapping[str, Field]) -> list[str]:
    """What it is where nobody says it; of several methods that differ, of each."""
    said = {name: str(field.default) for name, field in fields.items()}
    if "[default" in next(iter(fields.values())).option.help or set(said.values()) <= {"False", "None"}:
        return []
    if len(set(said.values())) == 1:
        return [f"[default: {next(iter(said.values()))}]"]
    return [f"[default: {', '.join(f'{value} of {name}' for name, value in said.items())}]"]
