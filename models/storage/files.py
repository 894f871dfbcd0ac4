"""The files of a run by their names: in a folder, or at an address that fsspec knows."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...engine.errors import BadRequest, Unavailable
from .addresses import fetched, folder_of, is_address, opened, said

MOST = 2**30  # bytes of a file: a shard of a million rows has about 600 MB


class Disk:
    """A folder. Names are those below it, with / between folders."""

    def __init__(self, path: Path):
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def read(self, name: str) -> bytes:
        """A file's bytes. Raises OSError where there is none, or one that is not regular or larger than MOST,
        and BadRequest where `name` leads out.
        """
        path = within(self.path, name)
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise OSError("not a regular file")
        if about.st_size > MOST:  # which need not lie on any disk: files have holes
            raise OSError(f"{about.st_size >> 20} MiB, and files of a run end at {MOST >> 20}")
        return path.read_bytes()

    def size(self, name: str) -> int | None:
        """A file's size in bytes; None where there is none."""
        try:
            return os.stat(f"{self.path}/{name}").st_size  # noqa: PTH116 (there are millions of them)
        except (OSError, ValueError):  # a NUL in the name
            return None

    def names(self, *folders: str) -> list[str]:
        """The names of all files in some folders and below, sorted. Raises BadRequest where one leads out."""
        for folder in folders:
            within(self.path, folder)
        found = (p for folder in folders for p in (self.path / folder).rglob("*") if p.is_file())
        return sorted(p.relative_to(self.path).as_posix() for p in found)


class Bucket:
    """A place in a store that fsspec knows, `path` in its words, with what a Disk has.

    Raises Unavailable where the store cannot be reached or refuses.
    """

    def __init__(self, address: str):
        self.address = address.rstrip("/")
        self.store, path = opened(address)
        self.path: str = path.rstrip("/")

    def __str__(self) -> str:
        return self.address

    def read(self, name: str) -> bytes:
        """A file's bytes. Raises as `Disk.read` does."""
        return self.asked("read", name, lambda path: fetched(self.store, path))

    def size(self, name: str) -> int | None:
        """A file's size in bytes; None where there is none."""
        try:
            return self.asked("read", name, self._info)["size"]
        except FileNotFoundError:
            return None

    def names(self, *folders: str) -> list[str]:
        """The names of all files in some folders and below, sorted."""
        found = [f for folder in folders for f in self.asked("list", folder, self._found)]
        names = (str(f).removeprefix(f"{self.path}/") for f in found)
        return sorted(n for n in names if not n.endswith("/"))  # which some programs write for a folder

    def _info(self, path: str) -> dict[str, Any]:
        self.store.invalidate_cache()  # others write there too
        return self.store.info(path)

    def _found(self, path: str) -> list[str]:
        self.store.invalidate_cache()
        return self.store.find(path)

    def asked(self, what: str, name: str, ask: Callable[[str], Any]) -> Any:
        """What `ask` gives for a name's path in the store. Its errors, each store has its own, become ours;
        FileNotFoundError stays what it is where something is read.
        """
        if ".." in name.split("/"):
            raise BadRequest(f"{name} leads out of {self}")
        try:
            return ask(f"{self.path}/{name}")
        except Exception as error:
            if isinstance(error, FileNotFoundError) and what == "read":
                raise
            raise Unavailable(f"cannot {what} {self}/{name}: {said(error)}") from error


def files_at(place: str | os.PathLike[str]) -> Disk | Bucket:
    """The files below a folder or an address; file:///folder is the folder."""
    if isinstance(place, str) and is_address(place):
        folder = folder_of(place)
        return Bucket(place) if folder is None else Disk(Path(folder))
    return Disk(Path(place))


def within(folder: Path, name: str) -> Path:
    """The file `name` of a folder. Raises BadRequest where the name leads out of it, or may do so in another
    folder, or is none.
    """
    try:
        path = (folder / name).resolve()
        if path.is_relative_to(folder.resolve()) and ".." not in name.split("/"):
            return path
    except (OSError, ValueError, RuntimeError):  # a NUL, a name too long, a loop of links
        pass
    raise BadRequest(f"{name} leads out of {folder}")
