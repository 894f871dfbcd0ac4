"""Photos below a folder or an address: object stores and all else that fsspec has a way to."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ...engine.errors import BadImage, BadRequest, Unavailable
from ..photos.bands import banded
from ..photos.photo import MAX_BYTES, decode, read_file
from ..photos.pillow import is_pillow, upright
from .addresses import CLOUDS, fetched, folder_of, is_address, kind_of, opened, said
from .album import ENDINGS, Album, name_of
from .disk import within

READERS = 8
Read = Callable[[str], bytes]  # the file of a photo's name
# A path, an address, pixels (H, W, 3) uint8 RGB, or an image of Pillow's.
Photo = Any


def album_at(address: str) -> Album:
    """The photos below an address, in the order of names; what is hidden is left out, as in a folder.

    Raises BadRequest where there is none, and Unavailable where the store cannot be reached.
    """
    files, path = opened(address)
    try:
        files.invalidate_cache()
        found = files.find(path)
    except Exception as error:  # each store has errors of its own
        raise Unavailable(f"{address}: {said(error)}") from error
    if found == [path]:  # a photo itself
        address, _, _ = address.rpartition("/")
        path = path.rpartition("/")[0]
    below = sorted(str(f).removeprefix(f"{path.rstrip('/')}/") for f in found)
    names = [
        n for n in below if n.lower().endswith(ENDINGS) and not any(p.startswith(".") for p in n.split("/"))
    ]
    if not names:
        raise BadRequest(f"no photo below {address}; looked for {', '.join(ENDINGS)}")
    return Album(address.rstrip("/"), names)


def reader(root: str) -> Read:
    """What gives the bytes of a photo by its name below `root`. It raises BadImage as `read_file` does."""
    folder = folder_of(root) if is_address(root) else root
    if folder is not None:
        return lambda name: read_file(f"{folder}/{name}")
    files, path = opened(root)

    def read(name: str) -> bytes:
        if ".." in name.split("/"):
            raise BadImage(f"{name}: leads out of {root}")
        # Not an address: a name may hold what leads elsewhere in one.
        return _asked(files, f"{path.rstrip('/')}/{name}", name)

    return read


def photo_at(place: str) -> np.ndarray:
    """The photo of a file or at an address, as `read_photo`. Raises Unavailable where there is no store."""
    return decode(file_at(place), place)


def pixels(photo: Photo) -> np.ndarray:
    """A photo as (H, W, 3) uint8 RGB; an array of that comes as it is, and any other as Bands."""
    if isinstance(photo, str | os.PathLike):
        return photo_at(os.fspath(photo))
    if is_pillow(photo):
        return upright(photo)
    array = np.asanyarray(photo)
    is_photo = array.ndim == 3 and array.shape[2] == 3 and array.dtype == np.uint8
    return array if is_photo else banded(array)


def file_at(place: str) -> bytes:
    """The bytes of a photo file or at an address. Raises as `read_file`, and Unavailable as `photo_at`."""
    if not is_address(place):
        return read_file(place)
    folder = folder_of(place)
    return read_file(folder) if folder is not None else _asked(*opened(place), place)


def _asked(files: Any, path: str, name: str) -> bytes:
    """The bytes of a photo in a store."""
    try:
        data = fetched(files, path, MAX_BYTES + 1)
    except FileNotFoundError:
        raise BadImage(f"{name}: no such file") from None
    except Exception as error:  # each store has errors of its own
        raise BadImage(f"{name}: cannot be read ({said(error)})") from error
    if len(data) > MAX_BYTES:
        raise BadImage(f"{name}: larger than photos are, which end at {MAX_BYTES >> 20} MiB")
    return data


def reading(place: str) -> int:
    """How many files of a place are best asked for at once by one who waits for them."""
    return READERS if is_address(place) else 1


def reader_again(root: str, run: str) -> Read:
    """As `reader`, of the photos of a run that lies at `run`: their root and names may be a stranger's.

    Addresses are read in CLOUDS and on the run's own server only: others lead to servers that a stranger
    names, some even to code. Names that `text` made are known as well. What is returned raises OnnxlensError.
    """
    away = reader(root) if is_address(root) and _is_open(root, run) else None

    def read(name: str) -> bytes:
        if away:
            return away(name)
        if is_address(root):
            raise BadRequest(f"photos at {root} are not read because a run says so")
        return read_file(within(Path(root), name))

    def again(name: str) -> bytes:
        try:
            return read(name)
        except BadImage:
            if name_of(name) == name:
                raise
            return read(name_of(name))

    return again


def _is_open(root: str, run: str) -> bool:
    """Whether a run may lead to an address. A chain of several, with :: between them, may lead anywhere."""
    near = root.split("/")[:3] == run.split("/")[:3]
    return "::" not in root and (near or kind_of(root) in {*CLOUDS, "file", "local"})
