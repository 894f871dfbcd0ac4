"""Which photos: files, folders, patterns and lists, and how many of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ...engine.errors import BadRequest
from .addresses import is_address
from .album import Album, album, photos
from .store import album_at


@dataclass(frozen=True)
class Choice:
    """Which photos of some places are taken.

    Those that files of `lists` name too; of all a `sample`, drawn by `seed`; of that the first `limit`; and
    of these the `part` (I, N), the I-th of N.
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

    def album(self, places: Sequence[str], more: Sequence[bytes] = (), batch: int = 1) -> Album:
        """The chosen photos of places, and of lists whose contents are `more`. Raises BadRequest for what is
        not there, and for no photo; Unavailable for a store that cannot be reached.
        """
        return self.of(_named(places, [*map(read_bytes, self.lists), *more]), batch)

    def paths(self, places: Sequence[str], more: Sequence[bytes] = (), batch: int = 1) -> Iterable[str]:
        """The paths of the chosen photos, as they are named: found one by one if all are taken."""
        if self.lists or more or not places:
            found = _named(places, [*map(read_bytes, self.lists), *more])
            paths = [str(Path(found.root, name)) for name in found.names]
        else:
            paths = photos(places)
        return paths if self.whole else self.of(Album("", list(dict.fromkeys(paths))), batch).names


def taken(kind: type[Any], given: dict[str, Any]) -> dict[str, Any]:
    """What is given for fields of a dataclass, taken out of all that is given."""
    return {field.name: given.pop(field.name) for field in fields(kind) if field.name in given}


def read_bytes(path: Path) -> bytes:
    """A file that somebody names. Raises BadRequest where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadRequest(f"cannot read {path}: {error.strerror or error}") from error


def _named(places: Sequence[str], lists: Sequence[bytes]) -> Album:
    """The photos that places, and lists by their contents, name."""
    if not places and not lists:
        raise BadRequest(
            "say which photos: files, folders, patterns, - for a list on standard input, --input-list"
        )
    if any(is_address(p) for p in places):
        if len(places) > 1 or lists:
            raise BadRequest(
                "an address such as s3://bucket/photos stands alone: say no other place beside it"
            )
        return album_at(places[0])
    found = album(places, lists)
    if not found.names:
        raise BadRequest("the list names no photo")
    return found
