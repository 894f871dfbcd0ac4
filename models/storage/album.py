"""The photos of files, folders, patterns and lists, as names below one folder; folders may be of any size."""

from __future__ import annotations

import glob
import hashlib
import os
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from ...engine.errors import BadRequest

ENDINGS = (".jpg", ".jpeg", ".jpe", ".png", ".webp", ".gif", ".tif", ".tiff", ".bmp")
MAX_BYTES = 120  # bytes of a file name's beginning: what is added to it must fit into 255


@dataclass(frozen=True)
class Album:
    """Photos by their `names` below the folder `root`, with / between folders; no name stands there twice."""

    root: str
    names: list[str]

    def some(self, limit: int | None = None, sample: int | None = None, seed: int = 0) -> Album:
        """`sample` of the photos, drawn by `seed`, of which the first `limit`; their order stays."""
        names = self.names
        if sample is not None and sample < len(names):
            drawn = sorted(random.Random(seed).sample(range(len(names)), sample))
            names = [names[i] for i in drawn]
        return replace(self, names=names[:limit])


def album(places: Iterable[str | os.PathLike[str]], lists: Iterable[bytes] = ()) -> Album:
    """The photos of files, folders with all below them, and patterns such as "photos/**/*.jpg".

    `lists` are contents of files that name more of them, one a line or, as from `find -print0`, with a NUL
    between them; what they name and is not there stays a name, so that it can be said of that photo alone.

    `root` is the folder, or the deepest one that holds all places. Raises BadRequest as `photos` does.
    """
    named = [os.fspath(p) for p in places]
    listed = [name for data in lists for name in _lines(data)]
    found = list(chain(photos(named) if named or not listed else (), _walked(listed)))
    tops = {Path(os.path.abspath(p)) for p in [*_matched(named), *listed]}  # noqa: PTH100 (links stay)
    root = os.path.commonpath({p if p.is_dir() else p.parent for p in tops})
    names = (os.path.relpath(p, root).replace(os.sep, "/") for p in found)
    return Album(root, list(dict.fromkeys(names)))


def photos(places: Iterable[str | os.PathLike[str]]) -> Iterator[str]:
    """The paths of photos in files, folders and patterns, with what lies in folders in the order of names.

    A file is taken as it is named; in a folder and the folders below it, what is called like a picture
    (ENDINGS), is not hidden and no link to a folder, so that no loop of links is walked. A folder that may
    not be listed comes itself, so that reading it says so. Names are held of one folder at a time. Raises
    BadRequest for what is not there, and where there is no photo.
    """
    places = [os.fspath(p) for p in places]
    found = _walked(list(_matched(places)))
    first = next(found, None)
    if first is None:
        raise BadRequest(f"no photo in {', '.join(places)}; looked for {', '.join(ENDINGS)}")
    return chain([first], found)


def text(name: str) -> str:
    """A name as text that every format can hold: bytes that are no UTF-8 are written as \\xff."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def name_of(text: str) -> str:
    """The name that `text` made such a text of; wrong for names that have a \\xff of their own."""
    return os.fsdecode(
        re.sub(rb"\\x([89a-f][0-9a-f])", lambda m: bytes.fromhex(m[1].decode()), text.encode())
    )


def safe(name: str) -> str:
    """A photo's name as one for files: short, the same on every file system, and no other photo's.

    Letters, digits and -_.+= stay; a part that has others, or is longer than MAX_BYTES bytes, gets the
    beginning of its SHA-256.
    """
    return "/".join(_safe_part(part) for part in name.split("/"))


def _safe_part(part: str) -> str:
    clean = "".join(c if c.isascii() and (c.isalnum() or c in "-_.+=") else "_" for c in part)
    clean = f"_{clean[1:]}" if clean.startswith(".") else clean
    if (
        part and clean == part and len(part) <= MAX_BYTES
    ):  # in a store a part may be empty, and in a folder not
        return part
    mark = hashlib.sha256(os.fsencode(part)).hexdigest()[:12]
    return f"{clean[: MAX_BYTES - 13]}~{mark}"


def _matched(places: Iterable[str]) -> Iterator[str]:
    """Places as they are, patterns as the pictures and folders that they match."""
    for place in places:
        if Path(place).exists():
            yield place
        elif glob.has_magic(place):
            found = sorted(glob.iglob(place, recursive=True))  # noqa: PTH207
            found = [p for p in found if p.lower().endswith(ENDINGS) or Path(p).is_dir()]
            if not found:
                raise BadRequest(f"{place}: no photo and no folder is called like that")
            yield from found
        else:
            raise BadRequest(f"{place}: no such file or folder")


def _walked(places: Iterable[str]) -> Iterator[str]:
    return (path for place in places for path in (_within(place) if Path(place).is_dir() else [place]))


def _lines(data: bytes) -> list[str]:
    """The names in a list: between NULs if it has any, else line by line."""
    parts = data.split(b"\0") if b"\0" in data else data.splitlines()
    return [os.fsdecode(part) for part in parts if part.strip()]


def _within(folder: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            found = sorted((e.name, e.is_dir(follow_symlinks=False)) for e in entries if e.name[0] != ".")
    except OSError:  # it stands for its photos, and is said to fail as they would
        yield folder
        return
    for name, is_folder in found:
        path = f"{folder.rstrip('/') or '/'}/{name}" if os.sep == "/" else str(Path(folder) / name)
        if is_folder:
            yield from _within(path)
        elif name.lower().endswith(ENDINGS):
            yield path
