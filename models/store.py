"""Photos below a folder or an address: object stores and all else that fsspec has a way to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..engine.errors import BadImage, BadRequest, Unavailable
from .album import ENDINGS, Album
from .photo import MAX_BYTES, read_file


def is_address(place: str) -> bool:
    """True for s3://bucket/photos and the like."""
    return "://" in place


def album_at(address: str) -> Album:
    """The photos below an address, in the order of names; what is hidden is left out, as in a folder.

    Raises BadRequest where there is none, and Unavailable where the store cannot be reached.
    """
    files, path = _opened(address)
    try:
        found = files.find(path)
    except Exception as error:  # each store has errors of its own
        raise Unavailable(f"{address}: {_line(error)}") from error
    below = sorted(str(f).removeprefix(path).lstrip("/") for f in found)
    names = [
        n for n in below if n.lower().endswith(ENDINGS) and not any(p.startswith(".") for p in n.split("/"))
    ]
    if not names:
        raise BadRequest(f"no photo below {address}; looked for {', '.join(ENDINGS)}")
    return Album(address.rstrip("/"), names)


def reader(root: str) -> Callable[[str], bytes]:
    """What gives the bytes of a photo by its name below `root`. It raises BadImage as `read_file` does."""
    if not is_address(root):
        return lambda name: read_file(f"{root}/{name}")
    files, path = _opened(root)

    def read(name: str) -> bytes:
        place = f"{path.rstrip('/')}/{name}"  # not an address: a name may hold what leads elsewhere in one
        try:
            size = files.size(place)
            if size is None or size > MAX_BYTES:
                raise BadImage(f"{name}: larger than photos are, which end at {MAX_BYTES >> 20} MiB")
            return files.cat_file(place)
        except FileNotFoundError:
            raise BadImage(f"{name}: no such file") from None
        except BadImage:
            raise
        except Exception as error:
            raise BadImage(f"{name}: cannot be read ({_line(error)})") from error

    return read


def _opened(address: str) -> tuple[Any, str]:
    """The store of an address and the path in it."""
    try:
        from fsspec.core import url_to_fs  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise Unavailable(f"{address} needs fsspec: pip install 'onnxlens[scale]'") from None
    try:
        return url_to_fs(address)
    except Exception as error:
        raise Unavailable(f"{address}: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
