"""Files in a folder, by their names below it: each is written whole or not at all."""

from __future__ import annotations

import itertools
import os
import shutil
import stat
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ...engine.errors import BadRequest, Unavailable
from .folder import check_writable

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_BYTES = 2**30  # of a file: a shard of a million rows has about 600 MB
UNFINISHED = ".unfinished"  # what is being written lies there; nothing that counts is ever in it


class Disk:
    """A folder. Names are those below it, with / between folders.

    Writing takes `lock`, then `begin`; any thread may write then, and `close` gives the folder back.
    """

    locks = True  # whether `lock` keeps other processes out

    def __init__(self, path: Path):
        self.path = path
        self._folders: set[str] = set()
        self._numbers, self._mark = itertools.count(), os.urandom(8).hex()  # other machines may write too

    def __str__(self) -> str:
        return str(self.path)

    def read(self, name: str) -> bytes:
        """A file's bytes. Raises OSError where there is none, or one that is not regular or larger than
        MAX_BYTES, and BadRequest where `name` leads out.
        """
        path = within(self.path, name)
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise OSError("not a regular file")
        if about.st_size > MAX_BYTES:  # which need not lie on any disk: files have holes
            raise OSError(f"{about.st_size >> 20} MiB, and files of a run end at {MAX_BYTES >> 20}")
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

    def holding(self, *folders: str) -> Callable[[str], bool]:
        """What tells by its name whether a file of these folders is there and not empty."""
        return lambda name: bool(self.size(name))

    def lock(self, *folders: str) -> None:
        """Make the folder and keep other processes out of it, until `close`.

        Raises BadRequest where another one has it or one of `folders` leads out, Unavailable where it cannot
        be written.
        """
        from .lock import lock

        check_writable(self.path)
        with _said(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        for folder in folders:
            within(self.path, folder)
        self._lock = lock(self.path)

    def begin(self, *stale: str) -> None:
        """Clear away what is unfinished, and the files and folders `stale`."""
        self.remove(UNFINISHED, *stale)
        with _said(self.path):
            (self.path / UNFINISHED).mkdir()

    def write(self, name: str, data: bytes, safely: bool = False) -> None:
        """Write a file, whole or not at all. If not `safely`, it is on the disk after `settle`.

        Raises Unavailable where that fails. Names are plain text here: there are millions of them.
        """
        folder = name.rpartition("/")[0]
        unfinished = f"{self.path}/{UNFINISHED}/{self._mark}-{next(self._numbers)}"
        with _said(f"{self.path}/{name}"):
            if folder not in self._folders:
                (self.path / folder).mkdir(parents=True, exist_ok=True)
                self._folders.add(folder)
            try:
                with open(unfinished, "wb", buffering=0) as file:  # noqa: PTH123
                    rest = memoryview(data)
                    while rest:
                        rest = rest[file.write(rest) :]
                    if safely:
                        os.fsync(file.fileno())
                os.replace(unfinished, f"{self.path}/{name}")  # noqa: PTH105
            except BaseException:
                Path(unfinished).unlink(missing_ok=True)
                raise
        if safely and os.name == "posix":
            _sync_folder(self.path / folder)

    def settle(self) -> None:
        """Wait until all that was written is on the disk."""
        if hasattr(os, "sync"):
            os.sync()  # once for all of them: thousands of files, and each would wait for the disk

    def remove(self, *names: str) -> None:
        """Delete files, and folders with all that is in them."""
        for path in (self.path / name for name in names):
            if path.is_file():
                path.unlink()
            else:
                shutil.rmtree(path, ignore_errors=True)

    def close(self) -> None:
        """Let other processes in again."""
        self._lock.release()


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


@contextmanager
def _said(path: Path | str) -> Iterator[None]:
    """Turns an OSError into one line that says what cannot be written."""
    try:
        yield
    except OSError as error:
        raise Unavailable(f"cannot write {path}: {error.strerror or error}") from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
