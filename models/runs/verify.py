"""Whether a run is whole."""

from __future__ import annotations

import hashlib
import io
import os
from collections import Counter
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from ...engine.errors import BadRequest, OnnxlensError
from ...engine.runtime.ahead import ahead
from ..storage.disk import UNFINISHED
from ..storage.files import Files, files_at
from ..storage.folder import MANIFEST
from ..storage.shards import Row, read_rows
from ..storage.store import Read, reader_again, reading
from .manifest import files_of, read_manifest

# How a whole file begins and ends: PNG, chapters 5.2 and 11.2.5; JPEG (T.81), annex B.1.1.3; NPY 1.0.
ENDS = {
    ".png": (b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"),
    ".jpg": (b"\xff\xd8", b"\xff\xd9"),
    ".npy": (b"\x93NUMPY", b""),
}


class Fault(NamedTuple):
    """What is wrong with a `file` of a run, or with a photo."""

    file: str
    fault: str


def verify(run: str | os.PathLike[str], photos: bool = False) -> list[Fault]:
    """What is wrong in the folder of a run: every row should stand there once, and every file that a row
    names, whole, and no other.

    Parameters
    ----------
    run
        Where it lies, a folder or an address.
    photos
        Also compare each photo with its SHA-256.

    Returns
    -------
    list[Fault]
        Each with the `file`, or the photo, and the `fault`; empty where the run is whole.

    Raises
    ------
    BadRequest
        Where there is no run.
    OnnxlensError
        Where its manifest or its rows cannot be read.

    Examples
    --------
    >>> onnxlens.verify("run", photos=True)
    []
    """
    files = files_at(run)
    manifest, wrong = read_manifest(files), list[Fault]()
    root = str(manifest.get("root", ""))
    read = reader_again(root, str(files))

    def checked(row: Row) -> tuple[Row, list[Fault]]:
        found = [Fault(name, broken(files, name)) for name in files_of(row)]
        found += [Fault(row["path"], changed(read, row))] if photos else []
        return row, [f for f in found if f.fault]

    if manifest.get("state") != "done":
        wrong.append(Fault(MANIFEST, f"the run is not done: {manifest.get('state')}"))
    seen: Counter[tuple[Any, ...]] = Counter()
    named: set[str] = set()
    at_once = max(reading(str(files)), reading(root) if photos else 1)
    for row, found in ahead(checked, read_rows(files), at_once):
        key = row["path"], row.get("method"), row.get("target")
        seen[key] += 1
        if seen[key] == 2:
            wrong.append(Fault(row["path"], "stands there more than once"))
        named.update(files_of(row))
        wrong += found
    wrong += [Fault(n, "no row names it") for n in files.names("pictures", "maps") if n not in named]
    wrong += [Fault(n.removeprefix(f"{UNFINISHED}/"), "unfinished") for n in files.names(UNFINISHED)]
    return wrong


def broken(run: Files, name: str) -> str:
    """Why a picture or a map of a run is not whole; empty where it is."""
    try:
        data = run.read(name)
    except FileNotFoundError:
        return "is not there"
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    except BadRequest as error:
        return str(error)
    ending = PurePosixPath(name).suffix
    start, end = ENDS.get(ending, (b"", b""))
    if not data or not data.startswith(start) or not data.endswith(end):
        return "is cut short or no such file"
    return _broken_map(data) if ending == ".npy" else ""


def changed(read: Read, row: dict[str, Any]) -> str:
    """Whether a photo, which `read` gives, is no more what it was when its row was written."""
    if row.get("sha256") is None:
        return ""
    try:
        data = read(row["path"])
    except BadRequest as error:
        return str(error)
    except OnnxlensError as error:
        return f"the photo is not there any more: {error}"
    return "" if hashlib.sha256(data).hexdigest() == row["sha256"] else "the photo has changed since"


def _broken_map(data: bytes) -> str:
    stream = io.BytesIO(data)
    try:
        array = np.load(stream, allow_pickle=False)
    except (ValueError, OSError, EOFError, MemoryError):
        return "is cut short"
    return "" if stream.tell() == len(data) and array.size else "has a length that is not its array's"
