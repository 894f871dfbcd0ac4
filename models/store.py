"""Photos below a folder or an address: object stores and all else that fsspec has a way to."""

from __future__ import annotations

from collections.abc import Callable

from ..engine.errors import BadImage, BadRequest, Unavailable
from .addresses import is_address, opened, said
from .album import ENDINGS, Album
from .photo import MAX_BYTES, read_file


def album_at(address: str) -> Album:
    """The photos below an address, in the order of names; what is hidden is left out, as in a folder.

    Raises BadRequest where there is none, and Unavailable where the store cannot be reached.
    """
    files, path = opened(address)
    try:
        found = files.find(path)
    except Exception as error:  # each store has errors of its own
        raise Unavailable(f"{address}: {said(error)}") from error
    if found == [path]:  # a photo itself
        address, _, _ = address.rpartition("/")
        path = path.rpartition("/")[0]
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
    files, path = opened(root)

    def read(name: str) -> bytes:
        if ".." in name.split("/"):
            raise BadImage(f"{name}: leads out of {root}")
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
            raise BadImage(f"{name}: cannot be read ({said(error)})") from error

    return read
