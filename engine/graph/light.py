"""A model file read without its large weights, which stay in it: protobuf would copy each of them twice.

A protobuf message is a row of fields, each with its number and its length, so what lies in a file is found
without reading it, and messages put one behind the other are one message. https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

from onnx import GraphProto, ModelProto, TensorProto

from .external import MAPPED, PLAIN, left_in, size_of

FILE = 2**26  # bytes; what is smaller is read as a whole, and may be written anew while it is in use
GRAPH, INITIALIZER, RAW_DATA = 7, 5, 9  # the numbers of the fields of ModelProto, GraphProto and TensorProto


def light_model(path: Path) -> ModelProto:
    """The model in a file over FILE bytes; its weights over MAPPED bytes are left there, to be mapped.

    Raises ValueError, or what protobuf raises, where the file is not what it should be.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        model, others = ModelProto(), []
        for number, start, value, end in _fields(data, 0, len(data)):
            if number == GRAPH:
                _read_graph(data, value, end, path, model.graph)
            else:
                others.append(data[start:end])
        model.MergeFromString(b"".join(others))
        return model


def _read_graph(data: mmap.mmap, start: int, end: int, path: Path, graph: GraphProto) -> None:
    others = []
    for number, first, value, last in _fields(data, start, end):
        if number == INITIALIZER:
            _read_tensor(data, value, last, path, graph.initializer.add())
        else:
            others.append(data[first:last])
    graph.MergeFromString(b"".join(others))


def _read_tensor(data: mmap.mmap, start: int, end: int, path: Path, tensor: TensorProto) -> None:
    fields = list(_fields(data, start, end)) if end - start >= MAPPED else []
    large = [f for f in fields if f[0] == RAW_DATA and f[3] - f[2] >= MAPPED]
    if len(large) == 1:
        _, first, value, last = large[0]
        tensor.MergeFromString(data[start:first] + data[last:end])
        plain = not tensor.HasField("data_location") and not tensor.external_data
        if plain and tensor.data_type in PLAIN and size_of(tensor) == last - value:
            left_in(path, tensor, value, last - value)
            return
        tensor.Clear()
    tensor.MergeFromString(data[start:end])


def _fields(data: mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """The fields of a message: number, where each begins, where its value does, and where it ends."""
    while start < end:
        key, value = _varint(data, start, end)
        kind = key & 7
        if kind == 0:
            _, last = _varint(data, value, end)
        elif kind == 2:
            length, value = _varint(data, value, end)
            last = value + length
        elif kind in (1, 5):
            last = value + (8 if kind == 1 else 4)
        else:
            raise ValueError(f"a field of kind {kind} at byte {start}")
        if last > end:
            raise ValueError(f"a field at byte {start} that goes beyond the end")
        yield key >> 3, start, value, last
        start = last


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    """A number of seven bits to a byte, the lowest first, and where the next thing begins."""
    number = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
    raise ValueError(f"no number before byte {at}")
