"""Weights that lie in files: mapped into memory as they are needed, not read and copied."""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper

from ..errors import BadModel

MAPPED = 2**20  # bytes; smaller ones are read at once
PAGE = 4096  # bytes; weights that we write begin at pages, so that a runtime can map them
# The types that a file holds as NumPy does; others are packed, or of few numbers.
PLAIN = {
    TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE,
    TensorProto.INT8, TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64,
}  # fmt: skip
_SIZELESS = {TensorProto.UNDEFINED, TensorProto.STRING}
# Bits of a number where several share a byte.
_PACKED: dict[int, int] = {
    TensorProto.INT4: 4, TensorProto.UINT4: 4, TensorProto.FLOAT4E2M1: 4,
    TensorProto.INT2: 2, TensorProto.UINT2: 2,
}  # fmt: skip
MAX_SHOWN = 3  # files that are missing, at most, that an error names
POINTER = "a pointer of Git LFS, not the file itself; `git lfs pull` brings it"
_LFS = b"version https://git-lfs.github.com/spec/"
# Only what this process has checked is opened: a model in memory may say any path.
_CHECKED = secrets.token_hex()


def attach(model: ModelProto, folder: Path) -> None:
    """Read what lies in files beside the model, in `folder`; large weights are checked and left there.

    Every one is checked here: the file lies in the folder, or in the same Hugging Face cache, and holds
    what is said. Raises ValueError or OSError, naming the file, where that is not so.
    """
    weights = len(model.graph.initializer)  # these come first; what is inside a node goes with the node
    outside = [t for t in tensors_of(model) if not is_attached(t)]
    files = dict.fromkeys(_location(t, folder) for t in outside)
    if missing := [f for f in files if not (folder / f).is_file()]:
        raise ValueError(_missing(missing))
    for i, tensor in enumerate(tensors_of(model)):
        if is_attached(tensor):
            continue
        path, offset, length = _found(tensor, folder)
        if i < weights and tensor.data_type in PLAIN and length >= MAPPED:
            left_in(path, tensor, offset, length)
        else:
            _read(tensor, path, offset, length)


def _read(tensor: TensorProto, path: Path, offset: int, length: int) -> None:
    if length >= 2**31:  # what a protobuf message can hold
        raise ValueError(f"{tensor.name!r} of {length} bytes is too large for its type")
    with path.open("rb") as file:
        file.seek(offset)
        tensor.raw_data = file.read(length)
    tensor.ClearField("data_location")
    tensor.ClearField("external_data")


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


def _location(tensor: TensorProto, folder: Path) -> str:
    """The file of a tensor as the model says it. Raises ValueError where it leads out of the folder."""
    location, root = Path(_entries(tensor).get("location", "")), folder.resolve()
    if location.anchor or ".." in location.parts or not _is_beside((root / location).resolve(), root):
        raise ValueError(
            f"the file {str(location)!r} of its weights lies outside the model's folder, or is a link that "
            "leads out of it; put the file itself beside the model"
        )
    return str(location)


def _missing(files: Sequence[str]) -> str:
    """What to do about files that are not there."""
    names = ", ".join(map(repr, files[:MAX_SHOWN])) + (
        f" and {len(files) - MAX_SHOWN} more" if files[MAX_SHOWN:] else ""
    )
    one = len(files) == 1
    return (
        f"its weights are missing: the file{' ' if one else 's '}{names} {'is' if one else 'are'} not in the "
        f"model's folder; put {'it' if one else 'them'} there"
    )


def _found(tensor: TensorProto, folder: Path) -> tuple[Path, int, int]:
    """The file, offset and length of a tensor's numbers, checked."""
    where, size, location = _entries(tensor), size_of(tensor), _location(tensor, folder)
    path = (folder / location).resolve()
    if is_pointer(path):
        raise ValueError(f"the file {location!r} beside it is {POINTER}")
    offset, length = (int(where.get(key) or default) for key, default in (("offset", 0), ("length", size)))
    fits = length == size and 0 <= offset <= path.stat().st_size - size
    if not fits or (size == 0 and math.prod(tensor.dims)):
        raise ValueError(
            f"the file {location!r} beside it does not hold the {size} bytes of {tensor.name!r}: it was "
            "cut short, or is of another model; bring it anew"
        )
    return path, offset, size


def is_pointer(path: Path) -> bool:
    """True for what Git LFS leaves in the place of a file that was not fetched."""
    return beginning(path, len(_LFS)) == _LFS


def beginning(path: Path, size: int) -> bytes:
    """The first bytes of a file, as many as there are; none where it cannot be read, as others will say."""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError:
        return b""


def _is_beside(path: Path, folder: Path) -> bool:
    """True for a file, links followed, in the folder, or in the Hugging Face cache that the folder is of.

    ROOT/snapshots/REVISION/[.../]model.onnx, model.onnx_data  ->  ROOT/blobs/HASH
    """
    caches = [p.parent for p in folder.parents if p.name == "snapshots"]
    return any(path.is_relative_to(place) for place in (folder, *(c / "blobs" for c in caches)))


def _entries(tensor: TensorProto) -> dict[str, str]:
    return {e.key: e.value for e in tensor.external_data}


def _stamp(path: Path) -> str:
    """What tells a file that was written anew from the one that it was."""
    found = path.stat()
    return f"{found.st_size}/{found.st_mtime_ns}"


def size_of(tensor: TensorProto) -> int:
    """Bytes of a tensor's numbers as a file holds them; 0 for text, and where the sizes make no sense."""
    kind = tensor.data_type
    if kind in _SIZELESS or kind not in TensorProto.DataType.values() or any(d < 0 for d in tensor.dims):
        return 0
    bits = _PACKED.get(kind) or 8 * helper.tensor_dtype_to_np_dtype(kind).itemsize
    return -(-math.prod(tensor.dims) * bits // 8)


def tensors_of(model: ModelProto) -> Iterator[TensorProto]:
    """Every stored tensor of a model: its weights, and those of nodes, graphs inside them and functions."""
    yield from _tensors_of(model.graph)
    for function in model.functions:
        yield from _tensors_in(function.node)


def _tensors_of(graph: GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _tensors_in(graph.node)


def _tensors_in(nodes: Iterable[NodeProto]) -> Iterator[TensorProto]:
    for a in (a for node in nodes for a in node.attribute):
        sparse = [a.sparse_tensor] if a.HasField("sparse_tensor") else []
        yield from ([a.t] if a.HasField("t") else [])
        yield from a.tensors
        yield from (t for s in (*sparse, *a.sparse_tensors) for t in (s.values, s.indices))
        for body in ([a.g] if a.HasField("g") else []) + list(a.graphs):
            yield from _tensors_of(body)
