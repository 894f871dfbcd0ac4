"""Weights that lie in files: mapped into memory as they are needed, not read and copied."""

from __future__ import annotations

import math
import secrets
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, external_data_helper, helper

from .errors import BadModel

MAPPED = 2**20  # bytes; smaller ones are read at once
PAGE = 4096  # bytes; weights that we write begin at pages, so that a runtime can map them
# The types that a file holds as NumPy does; others are packed, or of few numbers.
_PLAIN = {
    TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE,
    TensorProto.INT8, TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64,
}  # fmt: skip
# Only what this process has checked is opened: a model in memory may say any path.
_CHECKED = secrets.token_hex()


def attach(model: ModelProto, folder: Path) -> None:
    """Read the weights that lie in files of `folder` into the model; large ones are checked and left there.

    Raises ValueError, OSError or what onnx raises where a file is missing, lies outside the folder or is
    shorter than the weights.
    """
    external = [t for t in model.graph.initializer if is_external(t)]
    there = [t for t in external if is_attached(t)]
    large = [t for t in external if not is_attached(t) and size_of(t) >= MAPPED]
    found = [_found(t, folder) for t in large]
    for tensor in (*there, *large):
        tensor.data_location = TensorProto.DEFAULT
    external_data_helper.load_external_data_for_model(model, str(folder))
    for tensor in there:
        tensor.data_location = TensorProto.EXTERNAL
    for tensor, (path, offset, length) in zip(large, found, strict=True):
        left_in(path, tensor, offset, length)


def left_in(path: Path, tensor: TensorProto, offset: int, length: int, grows: bool = False) -> None:
    """Say in a tensor that its numbers are to be mapped from a file, `length` bytes from `offset` on.

    That they lie there has been checked. The file is to stay as it is, unless it `grows`; one that is
    written anew is noticed.
    """
    path = path.resolve()
    more = {"basepath": str(path.parent), "checked": _CHECKED, "stamp": "" if grows else _stamp(path)}
    set_place(tensor, path.name, offset, length, **more)


def is_external(tensor: TensorProto) -> bool:
    """True where a tensor's numbers lie in another file."""
    return tensor.data_location == TensorProto.EXTERNAL


def is_attached(tensor: TensorProto) -> bool:
    """True where the numbers of a tensor can be had."""
    return not is_external(tensor) or _entries(tensor).get("checked") == _CHECKED


def mapped(tensor: TensorProto) -> np.ndarray:
    """The numbers of a tensor that was left in a file: read-only, and read where they are used.

    An array of the tensor's shape and type.
    They are copied where they do not begin at a multiple of their size, as within a model's own file.
    Raises BadModel for any other tensor that lies in a file, and where the file is no longer what it was.
    """
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
    array = np.require(stored(tensor).view(dtype).reshape(tuple(tensor.dims)), requirements="A")
    array.flags.writeable = False
    return array


def stored(tensor: TensorProto) -> np.ndarray:
    """The bytes of such a tensor, (length,) uint8, as they lie in the file. Raises BadModel as `mapped`."""
    path, offset, length = place_of(tensor)
    try:
        return np.asarray(np.memmap(path, np.uint8, "r", offset, (length,)))
    except (OSError, ValueError) as error:
        raise BadModel(f"the numbers of {tensor.name!r} can no longer be read: {error}") from error


def place_of(tensor: TensorProto) -> tuple[Path, int, int]:
    """The file in which the numbers of a tensor were left, their offset and length in bytes.

    Raises BadModel as `mapped` does.
    """
    if not is_attached(tensor):
        raise BadModel(f"the numbers of {tensor.name!r} lie in another file; give the path of the model")
    where = _entries(tensor)
    path = Path(where["basepath"], where["location"])
    try:
        same = where["stamp"] in ("", _stamp(path))
    except OSError as error:
        raise BadModel(f"the numbers of {tensor.name!r} can no longer be read: {error}") from error
    if not same:
        raise BadModel(f"the numbers of {tensor.name!r} can no longer be read: {path} was written anew")
    return path, int(where["offset"]), int(where["length"])


def set_place(tensor: TensorProto, location: str, offset: int, length: int, **more: str) -> None:
    """Say in a tensor that its numbers lie in the file `location`, `length` bytes from `offset` on."""
    tensor.data_location = TensorProto.EXTERNAL
    del tensor.external_data[:]
    for key, value in {"location": location, "offset": offset, "length": length, **more}.items():
        tensor.external_data.add(key=key, value=str(value))


def _found(tensor: TensorProto, folder: Path) -> tuple[Path, int, int]:
    """The file, offset and length of a tensor's numbers, checked."""
    info = external_data_helper.ExternalDataInfo(tensor)
    root = folder.resolve()
    path = root / info.location
    if Path(info.location).anchor or path.resolve() != path:
        raise ValueError(f"the numbers of {tensor.name!r} lie outside the model's folder, or behind a link")
    if not path.is_file():
        raise ValueError(f"the file {info.location!r} with the numbers of {tensor.name!r} is missing")
    offset, size = info.offset or 0, size_of(tensor)
    if info.length not in (None, size) or offset + size > path.stat().st_size:
        raise ValueError(f"the file {info.location!r} does not hold the {size} bytes of {tensor.name!r}")
    return path, offset, size


def _entries(tensor: TensorProto) -> dict[str, str]:
    return {e.key: e.value for e in tensor.external_data}


def _stamp(path: Path) -> str:
    """What tells a file that was written anew from the one that it was."""
    found = path.stat()
    return f"{found.st_size}/{found.st_mtime_ns}"


def size_of(tensor: TensorProto) -> int:
    """Bytes of a tensor's numbers; 0 where they are packed or the sizes make no sense."""
    if tensor.data_type not in _PLAIN or any(d < 0 for d in tensor.dims):
        return 0
    return math.prod(tensor.dims) * np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize
