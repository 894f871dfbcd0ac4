"""Which photos a command is over: files, folders, patterns and lists, and how many of them."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any

import click

from ..models.storage.addresses import is_address
from .options import exit_zero, stacked

LIST = "-"  # as a place: a list of them on standard input


class Part(click.ParamType):
    """I/N: the I-th of N parts."""

    name = "I/N"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        """A pair (I, N), with 1 <= I <= N."""
        first, _, last = str(value).partition("/")
        if not all(t.isdecimal() and len(t) < 8 for t in (first, last)) or not 0 < int(first) <= int(last):
            self.fail(f"{str(value)[:40]!r} is no part such as 1/4", param, ctx)
        return int(first), int(last)


class FolderOrAddress(click.Path):
    """A folder as a Path, or an address such as s3://bucket/run as it is."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path | str:
        """What is no address is a path as click has it."""
        if isinstance(value, str) and is_address(value):
            return value
        return Path(os.fsdecode(super().convert(value, param, ctx)))


folder = FolderOrAddress(path_type=Path, file_okay=False)
argument = click.argument("places", metavar="PLACE...", nargs=-1)
lists = click.option(
    "--input-list",
    "lists",
    multiple=True,
    type=click.Path(path_type=Path),
    help="File that names photos or folders, one a line or with NULs between them.",
)
choice = stacked(
    lists,
    click.option("--limit", type=click.IntRange(1), help="At most so many photos."),
    click.option("--sample", type=click.IntRange(1), help="So many photos, drawn at random."),
    click.option("--seed", default=0, show_default=True, help="Of the drawing."),
)


def photos_too(function: Callable[..., Any]) -> Callable[..., Any]:
    """Lets a command over `images` take folders, patterns and lists as well."""

    @wraps(function)
    def command(images: tuple[str, ...], **given: Any) -> Any:
        return function(images=chosen(images, given), **given)

    return choice(exit_zero(command))


def chosen(images: tuple[str, ...], given: dict[str, Any]) -> tuple[str, ...]:
    """The photos that are named, and those in folders, patterns and lists; what is said of the choice is
    taken out of all that was given.
    """
    from ..models.storage.choice import Choice, taken

    choice = Choice(**taken(Choice, given))
    if are_many(images) or choice.lists or not choice.whole:
        return tuple(dict.fromkeys(choice.paths(*apart(images))))
    return images


def apart(places: Sequence[str]) -> tuple[list[str], list[bytes]]:
    """Places without -, and what standard input holds where that stands among them."""
    lists = [sys.stdin.buffer.read()] if LIST in places else []
    return [p for p in places if p != LIST], lists


def are_many(places: Sequence[str]) -> bool:
    """True where places are more than photos named one by one: folders, patterns, a list."""
    return any(p == LIST or Path(p).is_dir() or _is_pattern(p) for p in places)


def _is_pattern(place: str) -> bool:
    return not Path(place).exists() and glob.has_magic(place)
