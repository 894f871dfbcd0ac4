"""The files of a run by their names: in a folder, or at an address that fsspec knows."""

from __future__ import annotations

import glob
import os
from pathlib import Path

from ...engine.errors import BadRequest
from .addresses import folder_of, is_address
from .bucket import Bucket
from .disk import Disk

Files = Disk | Bucket


def files_at(place: str | os.PathLike[str], writing: bool = False) -> Files:
    """The files below a folder or an address; file:///folder is the folder.

    Raises Unavailable for an address that leads to no store, BadRequest for one that cannot be for `writing`.
    """
    folder = folder_of(place) if isinstance(place, str) and is_address(place) else place
    if folder is not None:
        return Disk(Path(folder))
    files = Bucket(str(place))
    if writing and glob.has_magic(files.path):  # what is to be deleted would be taken for a pattern
        raise BadRequest(f"{files}: the address of a run has no *, ? or [; say another one with -o")
    return files
