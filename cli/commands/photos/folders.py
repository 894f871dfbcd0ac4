"""Methods over folders, patterns and lists: a run, or written as of photos that are named one by one."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import click
from click.core import ParameterSource

from ....engine.attribution.methods import METHODS
from ....engine.errors import BadRequest
from ... import options
from ...methods import OWN, Several, given_to_methods
from ...sources import are_many, chosen
from ..runs.run import BASICS, basics, over_folders

RUNNING = "resume", "dry_run", "fail_fast"  # what only a run does
# What only photos that are named one by one have: the rows and files of a run have no place for it.
ALONE = "layers", "channels", "position", "top", "guided", "style", "verbose"


def folders_too(name: str, default: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    """Lets the command of a method, or of several, take folders, patterns and lists as well.

    Over these it is a run; where an option is said that no run has, all is written as of photos that are
    named one by one. `default` is the method where nobody says.
    """

    def decorate(function: Callable[..., int]) -> Callable[..., int]:
        @wraps(function)
        def either(model: str, images: tuple[str, ...], **given: Any) -> int:
            ours = {key: given.pop(key) for key in BASICS}
            if not are_many(images) and not any(ours[key] for key in BASICS if key != "seed"):
                return function(model=model, images=images, **given)
            alone, running = _alone(given), [key for key in RUNNING if ours[key]]
            if alone and running:
                raise BadRequest(f"{_flag(running[0])} is of a run, which has no {alone[0]}: say one of them")
            if alone:
                return function(model=model, images=chosen(images, ours), **given)
            return over_folders(name, model, images, **ours, **_of_a_run(default, given))

        return basics(options.exit_zero(either))

    return decorate


def _alone(given: dict[str, Any]) -> list[str]:
    """The options that are said and that no run has."""
    source = click.get_current_context().get_parameter_source
    said = [_flag(key) for key in ALONE if given.get(key) and source(key) is ParameterSource.COMMANDLINE]
    several = [key for key, value in given.items() if isinstance(value, Several) and len(value) > 1]
    return [*said, *(f"second --{key.removeprefix(OWN)}" for key in several)]


def _of_a_run(default: str, given: dict[str, Any]) -> dict[str, Any]:
    """The options of a method's own command by the names that a run has for them."""
    given = {key: value for key, value in given.items() if key not in ALONE and value is not None}
    method = given.pop("method", default)
    own = given_to_methods(given, [METHODS[method]])
    own = {key: value[0] if isinstance(value, Several) else value for key, value in own.items()}
    return {**given, "methods": (method,), **own}


def _flag(key: str) -> str:
    return f"--{key.replace('_', '-')}"
