"""Which photos a command is over: files, folders, patterns and lists, and how many of them."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..engine.errors import BadRequest
from ..models.storage.addresses import is_address
from .options import exit_zero, stacked, taken

if TYPE_CHECKING:
    from ..models.storage.album import Album

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


class Place(click.Path):
    """A folder as a Path, or an address such as s3://bucket/run as it is."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path | str:
        """What is no address is a path as click has it."""
        if isinstance(value, str) and is_address(value):
            return value
        return Path(os.fsdecode(super().convert(value, param, ctx)))


folder = Place(path_type=Path, file_okay=False)
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


@dataclass(frozen=True)
class Choice:
    """Which photos a command takes, by the options that say so.

    Those that `lists` name too; of all a `sample`, drawn by `seed`; of that the first `limit`; and of these
    the `part` (I, N), the I-th of N.
    """

    lists: tuple[Path, ...] = ()
    limit: int | None = None
    sample: int | None = None
    seed: int = 0
    part: tuple[int, int] | None = None

    @property
    def whole(self) -> bool:
        """Whether no photo is left out."""
        return self.limit is self.sample is self.part is None

    def of(self, album: Album, batch: int = 1) -> Album:
        """The chosen ones of an album.

        Parts are of about the same size. No batch is cut, so that all parts give what one run gives.
        """
        album = album.some(self.limit, self.sample, self.seed)
        if self.part is None:
            return album
        (i, n), blocks = self.part, -(-len(album.names) // batch)
        start, end = (blocks * k // n * batch for k in (i - 1, i))
        return replace(album, names=album.names[start:end])

    def album(self, places: Sequence[str], batch: int = 1) -> Album:
        """The chosen photos of places. Raises BadRequest as `photos_of` does."""
        return self.of(photos_of(places, self.lists), batch)

    def paths(self, places: Sequence[str], batch: int = 1) -> Iterable[str]:
        """The paths of the chosen photos, as they are named: found one by one if all are taken."""
        from ..models.storage.album import Album, photos

        if self.lists or LIST in places or not places:
            paths = _paths(photos_of(places, self.lists))
        else:
            paths = photos(places)
        return paths if self.whole else self.of(Album("", list(dict.fromkeys(paths))), batch).names


def photos_too(function: Callable[..., Any]) -> Callable[..., Any]:
    """Lets a command over `images` take folders, patterns and lists as well."""

    @wraps(function)
    def command(images: tuple[str, ...], **given: Any) -> Any:
        chosen = Choice(**taken(Choice, given))
        if are_many(images) or chosen.lists or not chosen.whole:
            images = tuple(dict.fromkeys(chosen.paths(images)))
        return function(images=images, **given)

    return choice(exit_zero(command))


def photos_of(places: Sequence[str], lists: Sequence[Path] = ()) -> Album:
    """The photos that places and lists name. Raises BadRequest for what is not there, and for none."""
    from ..models.storage.album import album
    from ..models.storage.store import album_at

    contents = [read_bytes(path) for path in lists]
    if LIST in places:
        contents.append(sys.stdin.buffer.read())
    places = [p for p in places if p != LIST]
    if not places and not contents:
        raise BadRequest(
            "say which photos: files, folders, patterns, - for a list on standard input, --input-list"
        )
    if any(is_address(p) for p in places):
        if len(places) > 1 or contents:
            raise BadRequest(
                "an address such as s3://bucket/photos stands alone: say no other place beside it"
            )
        return album_at(places[0])
    found = album(places, contents)
    if not found.names:
        raise BadRequest("the list names no photo")
    return found


def are_many(places: Sequence[str]) -> bool:
    """True where places are more than photos named one by one: folders, patterns, a list."""
    return any(p == LIST or Path(p).is_dir() or _is_pattern(p) for p in places)


def _paths(album: Album) -> list[str]:
    return [str(Path(album.root, name)) for name in album.names]


def _is_pattern(place: str) -> bool:
    return not Path(place).exists() and glob.has_magic(place)


def read_bytes(path: Path) -> bytes:
    """A file that the command line names. Raises BadRequest where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadRequest(f"cannot read {path}: {error.strerror or error}") from error
