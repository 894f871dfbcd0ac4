"""Whether files of a run are whole."""

from __future__ import annotations

import hashlib
import io
from pathlib import PurePosixPath
from typing import Any

from ....engine.errors import BadRequest, OnnxlensError
from ....models.storage.files import Bucket, Disk
from ....models.storage.store import Read

# How a whole file begins and ends: PNG, chapters 5.2 and 11.2.5; JPEG (T.81), annex B.1.1.3; NPY 1.0.
ENDS = {
    ".png": (b"\x89PNG\r\n\x1a\n", b"IEND\xaeB`\x82"),
    ".jpg": (b"\xff\xd8", b"\xff\xd9"),
    ".npy": (b"\x93NUMPY", b""),
}


def broken(run: Disk | Bucket, name: str) -> str:
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
    import numpy as np

    stream = io.BytesIO(data)
    try:
        array = np.load(stream, allow_pickle=False)
    except (ValueError, OSError, EOFError, MemoryError):
        return "is cut short"
    return "" if stream.tell() == len(data) and array.size else "has a length that is not its array's"
