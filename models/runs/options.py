"""The options of a run's methods: each goes to all of its methods that have it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...engine.attribution.methods import METHODS, Method, method_named, options_given, options_of
from ...engine.errors import BadRequest

# What manifests and identities say of every run, whatever its methods: those of older versions do, and the
# same run has to be told from them.
ALWAYS = {"patch": None, "stride": None, "fill": "mean"}


def names_of_options() -> set[str]:
    """The names of the options of all methods."""
    return {name for method in METHODS.values() for name in options_of(method)}


def taken_options(methods: Sequence[str], given: dict[str, Any]) -> dict[str, Any]:
    """The options of methods, taken out of all that are `given`; without those that change nothing.

    Raises BadRequest for a method that is not there, for an option that none of these methods has or takes,
    and for one that is neither word nor number, which a manifest could not hold.
    """
    records = [method_named(name) for name in methods]
    said = {name: given.pop(name) for name in [*given] if name in names_of_options()}
    said = {name: value for name, value in said.items() if value is not None}
    for name, value in said.items():
        having = [m for m in records if name in options_of(m)]
        if not isinstance(value, str | int | float | tuple | list):
            raise BadRequest(f"{name} of a run is a word or a number, not {type(value).__name__}")
        for method in having or records:
            options_given(method, {name: value})
    return {name: value for name, value in said.items() if _changes(records, name, value)}


def of_method(method: Method, options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a run's options that a method has."""
    return {name: value for name, value in options.items() if name in options_of(method)}


def written(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as manifests and identities have them."""
    return {**ALWAYS, **options}


def _changes(methods: Sequence[Method], name: str, value: Any) -> bool:
    """Whether an option is not what it is by default."""
    return any(name in own and own[name].default != value for own in map(options_of, methods))
