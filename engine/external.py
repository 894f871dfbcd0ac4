"""Weights that lie in files of their own: mapped into memory as they are needed, not read and copied."""

from __future__ import annotations

import math
import secrets
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, external_data_helper, helper

from .errors import BadModel

MAPPED = 2**20  # bytes; smaller ones are read at once
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
    large = [t for t in model.graph.initializer if is_external(t) and _size(t) >= MAPPED]
    found = [_found(t, folder) for t in large]
    for tensor in large:
        tensor.data_location = TensorProto.DEFAULT
    external_data_helper.load_external_data_for_model(model, str(folder))
    for tensor, (root, location, offset, length) in zip(large, found, strict=True):
        set_place(tensor, location, offset, length, basepath=root, checked=_CHECKED)


def is_external(tensor: TensorProto) -> bool:
    """True where a tensor's numbers lie in another file."""
    return tensor.data_location == TensorProto.EXTERNAL


def is_attached(tensor: TensorProto) -> bool:
    """True where the numbers of a tensor can be had."""
    return not is_external(tensor) or _entries(tensor).get("checked") == _CHECKED


def mapped(tensor: TensorProto) -> np.ndarray:
    """The numbers of a tensor that `attach` left in its file: read-only, and read where they are used.

    Raises BadModel for any other tensor that lies in a file, and where the file is no longer what it was.
    """
    if not is_attached(tensor):
        raise BadModel(f"the numbers of {tensor.name!r} lie in another file; give the path of the model")
    where = _entries(tensor)
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
    path = Path(where["basepath"], where["location"])
    try:
        array = np.memmap(path, dtype, "r", int(where["offset"]), tuple(tensor.dims))
    except (OSError, ValueError) as error:
        raise BadModel(f"the numbers of {tensor.name!r} can no longer be read: {error}") from error
    return np.asarray(array)


def reference(tensor: TensorProto) -> tuple[str, TensorProto]:
    """The folder of a tensor that `attach` left in its file, and the tensor as a model there refers to it."""
    where = _entries(tensor)
    stub = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    set_place(stub, where["location"], int(where["offset"]), int(where["length"]))
    return where["basepath"], stub


def set_place(tensor: TensorProto, location: str, offset: int, length: int, **more: str) -> None:
    """Say in a tensor that its numbers lie in the file `location`, `length` bytes from `offset` on."""
    tensor.data_location = TensorProto.EXTERNAL
    del tensor.external_data[:]
    for key, value in {"location": location, "offset": offset, "length": length, **more}.items():
        tensor.external_data.add(key=key, value=str(value))


def _found(tensor: TensorProto, folder: Path) -> tuple[str, str, int, int]:
    """The folder, file, offset and length of a tensor's numbers, checked."""
    info = external_data_helper.ExternalDataInfo(tensor)
    root = folder.resolve()
    path = root / info.location
    if Path(info.location).anchor or path.resolve() != path:
        raise ValueError(f"the numbers of {tensor.name!r} lie outside the model's folder, or behind a link")
    if not path.is_file():
        raise ValueError(f"the file {info.location!r} with the numbers of {tensor.name!r} is missing")
    offset, size = info.offset or 0, _size(tensor)
    if info.length not in (None, size) or offset + size > path.stat().st_size:
        raise ValueError(f"the file {info.location!r} does not hold the {size} bytes of {tensor.name!r}")
    return str(root), info.location, offset, size


def _entries(tensor: TensorProto) -> dict[str, str]:
    return {e.key: e.value for e in tensor.external_data}


def _size(tensor: TensorProto) -> int:
    """Bytes of a tensor's numbers; 0 where they are packed or the sizes make no sense."""
    if tensor.data_type not in _PLAIN or any(d < 0 for d in tensor.dims):
        return 0
    return math.prod(tensor.dims) * np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize
