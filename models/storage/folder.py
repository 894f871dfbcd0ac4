"""The folder that a run writes into: whole files or none, and nothing of an earlier run overwritten."""

from __future__ import annotations

import io
import itertools
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...engine.errors import BadRequest, Unavailable

if TYPE_CHECKING:
    import numpy as np

MANIFEST = "manifest.json"


class Folder:
    """A folder of results, made when the first one is written.

    Raises BadRequest where an earlier run lies there that is neither to `overwrite` nor to `resume`, and
    where it is to be both; Unavailable where the folder cannot be written - before any work is done.
    """

    def __init__(self, path: Path, overwrite: bool = False, resume: bool = False):
        self.path = path
        self._names: set[str] = set()
        if resume and overwrite:
            raise BadRequest("--resume goes on with a run, --overwrite replaces it: say one of them")
        if (path / MANIFEST).exists() and not (overwrite or resume):
            raise BadRequest(f"{path} holds an earlier run; say --overwrite or another folder with -o")
        check_writable(path)

    def unique(self, stem: str, ending: str = "") -> str:
        """A file name's beginning that no other file of this run has, safe on every file system.

        It is `stem` as far as that goes, at most 120 bytes, `ending`, and a number where it is taken.
        """
        safe = "".join(c if c.isalnum() or c in "-_." else "_" for c in stem).strip(".")
        name = (safe.encode()[:120].decode(errors="ignore") or "image") + ending
        numbered = (name if i == 1 else f"{name}-{i}" for i in itertools.count(1))
        name = next(n for n in numbered if n.casefold() not in self._names)
        self._names.add(name.casefold())  # Cat.png is cat.png on some systems
        return name

    def take(self, files: Iterable[str]) -> None:
        """Give no file a name of these, which are there."""
        self._names.update(Path(name).stem.casefold() for name in files)

    def write(self, name: str, data: bytes) -> str:
        """Write a file whole or not at all; returns its name. Raises Unavailable where that fails."""
        write_file(self.path / name, data)
        return name

    def write_array(self, name: str, array: np.ndarray) -> str:
        """Write an array as .npy."""
        import numpy as np

        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        return self.write(name, buffer.getvalue())

    def write_manifest(self, record: dict[str, Any]) -> str:
        """Write the record of the run, last of all: a folder that has one without a `state` is complete."""
        text = json.dumps(record, indent=2, allow_nan=False)
        return self.write(MANIFEST, text.encode())


def check_writable(folder: Path) -> None:
    """Raise Unavailable where a folder, or what would be made for it, cannot be written."""
    nearest = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise Unavailable(f"cannot write to {folder}: {error.strerror or error}") from error


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole, in a folder that is made for it. Raises Unavailable where that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, data)
    except OSError as error:
        raise Unavailable(f"cannot write {path}: {error.strerror or error}") from error


def write_whole(path: Path, data: bytes) -> None:
    """Write under a temporary name in the same folder and rename."""
    write_together({path: [data]})


def write_together(files: Mapping[Path, Iterable[bytes | memoryview]]) -> None:
    """Write files piece by piece under temporary names; when all are whole, rename them in this order."""
    unfinished: dict[Path, Path] = {}
    try:
        for path, pieces in files.items():
            name = path.with_name(f".{path.name[:40]}.{os.urandom(8).hex()}")
            with name.open("xb") as file:  # with the rights that the process gives to its files
                unfinished[path] = name
                file.writelines(pieces)
        for path, name in unfinished.items():
            name.replace(path)
    except BaseException:
        for name in unfinished.values():
            name.unlink(missing_ok=True)
        raise
