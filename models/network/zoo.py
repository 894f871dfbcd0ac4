"""The zoo: public ONNX classifiers by name, brought from the net once and checked on every use.

The records lie beside this file in zoo.json. A preset there says what the network was trained on,
which is not always what its page in the public zoo says: the networks born in Caffe2 want BGR.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

from ...engine.errors import BadRequest, Unavailable, nearest
from ...host import cache_folder
from .. import embedded
from .digest import sha256

Progress = Callable[[int, int], None]

EMBEDDED = "scenes"  # the model that comes with the package, by name

_CONNECT_SECONDS, _SILENCE_SECONDS = 10, 30
_WAIT_SECONDS = 600  # for another process that downloads the same file
_CHUNK = 1 << 16  # a cut loses at most this many bytes


@dataclass(frozen=True)
class Record:
    """One model of the zoo: where it is, what its bytes must be, and how images go in."""

    name: str
    address: str
    sha256: str
    size: int  # bytes
    preset: str
    labels: str  # the name of the label set
    opset: int
    class_names: tuple[str, ...] = ()  # empty where the project does not hold the names (imagenet)


@functools.cache
def records() -> dict[str, Record]:
    """All models of the zoo, by name, in the order of zoo.json."""
    data = json.loads(Path(__file__).with_name("zoo.json").read_text("utf-8"))
    names = {key: tuple(values) for key, values in data["labels"].items()}
    return {
        entry["name"]: Record(**entry, class_names=names.get(entry["labels"], ())) for entry in data["models"]
    }


def record(name: str) -> Record:
    """The record of a name. Raises BadRequest, with the nearest names, where there is none."""
    try:
        return records()[name]
    except KeyError:
        raise BadRequest(f"the zoo has no model {name!r}{nearest(name, records())}") from None


def cached_path(name: str) -> Path:
    """Where the file of a zoo model lies or would lie. Only names of the zoo make a path: BadRequest."""
    return cache_folder() / "zoo" / f"{record(name).name}.onnx"


def resolve(model: str | os.PathLike[str], progress: Progress | None = None) -> Path:
    """The file that a model argument means: an existing path, "scenes" (the model of the package), or else
    a name of the zoo (see `fetch`).

    Raises BadRequest where it is neither, Unavailable where the zoo's file cannot be had.
    """
    asked = os.fspath(model)
    with contextlib.suppress(OSError, ValueError):  # a name that no file system could hold is no file
        path = Path(asked)
        # A folder of a model's name must not hide the model.
        if path.is_file() or (path.exists() and asked not in (EMBEDDED, *records())):
            return path
    if asked == EMBEDDED:
        return embedded.path()
    if asked in records():
        return fetch(asked, progress)
    near = nearest(asked, [*_beside(asked), EMBEDDED, *records()])
    raise BadRequest(f"no model {asked!r}: neither a file nor a name of the zoo{near}")


def _beside(asked: str) -> list[str]:
    """Model files of the folder where one was looked for in vain."""
    with contextlib.suppress(OSError, ValueError):
        return sorted(str(path) for path in islice(Path(asked).parent.glob("*.onnx"), 1000))
    return []


def fetch(name: str, progress: Progress | None = None) -> Path:
    """The file of a zoo model: from the cache folder, or else downloaded into it.

    The file is hashed on every call (0.06 s for 100 MB), so one put there by hand is as good. A
    download that was cut goes on where it stopped; `progress(done, size)` is told the bytes of the
    whole file. Processes that want the same file wait for the one that brings it.

    Raises BadRequest for an unknown name, and Unavailable where the file cannot be had (the text says
    where to put it by hand) or is not the one that the record names (it is left as it is).
    """
    wanted, place = record(name), cached_path(name)
    try:
        if not place.is_file():
            _bring(wanted, place, progress)
        elif (found := sha256(place)) != wanted.sha256:
            raise Unavailable(
                f"{place} is not the zoo's {name}: its sha256 is {found}, expected {wanted.sha256}; "
                "move it away and try again"
            )
    except _DownloadError as error:
        raise Unavailable(
            f"cannot download {name}: {error}; try again, or get {wanted.address} another way and "
            f"put the file by hand at {place} (sha256 {wanted.sha256})"
        ) from None
    except OSError as error:
        raise Unavailable(
            f"cannot use the cache folder {place.parent}: {error.strerror or error}; "
            "choose another one with ONNXLENS_CACHE"
        ) from None
    return place


class _DownloadError(Exception):
    """Why a download did not end well, in words that follow "cannot download NAME:"."""


def _bring(wanted: Record, place: Path, progress: Progress | None) -> None:
    """Download to `place`, which comes to be only when the whole file is there and its hash is right."""
    import filelock

    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(f"{place}.lock", timeout=_WAIT_SECONDS):
            if place.is_file():  # another process brought it while this one waited
                return
            part = place.with_name(f"{place.name}.part")
            _download(wanted, part, progress)
            if (found := sha256(part)) != wanted.sha256:
                part.unlink()
                raise _DownloadError(f"what {_host(wanted)} sent has sha256 {found} and was thrown away")
            part.replace(place)
    except filelock.Timeout:
        raise _DownloadError("another process has been at it for too long") from None


def _download(wanted: Record, part: Path, progress: Progress | None) -> None:
    """Fill `part` up to the size in the record, going on from what it holds; a cut leaves it for the next."""
    import requests

    done = part.stat().st_size if part.exists() else 0
    if done == wanted.size:
        return
    done = done if done < wanted.size else 0
    headers = {"Accept-Encoding": "identity"}  # sizes and ranges are those of the file itself
    if done:
        headers["Range"] = f"bytes={done}-"
    limits = (_CONNECT_SECONDS, _SILENCE_SECONDS)
    try:
        with requests.get(wanted.address, headers=headers, stream=True, timeout=limits) as answer:
            if not answer.ok:
                raise _DownloadError(f"{_host(wanted)} answered {answer.status_code}")
            if not answer.headers.get("Content-Range", "").startswith(f"bytes {done}-"):
                done = 0  # no ranges here: the whole file comes
            length = answer.headers.get("Content-Length", "")
            if length.isdecimal() and int(length) != wanted.size - done:
                # Before the part is opened: the page of some proxy must not cost what is there.
                raise _DownloadError(f"{_host(wanted)} offers {length} bytes, expected {wanted.size - done}")
            with part.open("ab" if done else "wb") as file:
                for chunk in answer.iter_content(_CHUNK):
                    done += len(chunk)
                    if done > wanted.size:
                        raise _DownloadError(
                            f"{_host(wanted)} sends more than the {wanted.size} bytes expected"
                        )
                    file.write(chunk)
                    if progress:
                        progress(done, wanted.size)
    except requests.Timeout:
        raise _DownloadError(f"{_host(wanted)} does not answer") from None
    except requests.RequestException:
        raise _DownloadError(_stopped(wanted, done)) from None
    if done < wanted.size:
        raise _DownloadError(_stopped(wanted, done))


def _stopped(wanted: Record, done: int) -> str:
    if not done:
        return f"no connection to {_host(wanted)}"
    return f"the connection to {_host(wanted)} broke after {done} of {wanted.size} bytes, which are kept"


def _host(wanted: Record) -> str:
    return urlsplit(wanted.address).netloc
