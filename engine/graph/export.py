"""A graph as a model and a file of weights beside it, for what one protobuf cannot hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from onnx import ModelProto, TensorProto, numpy_helper

from .external import PAGE, is_external, set_place, stored
from .graph import Graph
from .types import array_of

MAX_BYTES = 2**31 - 1  # bytes of one protobuf message


def is_too_large(graph: Graph) -> bool:
    """True where the graph with its weights does not fit into one file."""
    light = graph.to_model(weights=False)
    large = (graph.constants[t.name] for t in light.graph.initializer if is_external(t))
    return light.ByteSize() + sum(len(_stored(t)) for t in large) > MAX_BYTES - 2**20


def split(graph: Graph, location: str) -> tuple[ModelProto, Iterator[memoryview]]:
    """The graph as a model whose large weights lie in the file `location`, and that file piece by piece.

    `location` is a bare file name: both files go into one folder. The pieces
    are views of the weights as they are stored and the gaps between them, to be written in order.
    """
    model = graph.to_model(weights=False)
    weights, start = [], 0
    for stub in model.graph.initializer:
        if is_external(stub):
            tensor = graph.constants[stub.name]
            size = len(_stored(tensor))
            set_place(stub, location, start, size)
            start += size + -size % PAGE
            weights.append(tensor)
    return model, _pieces(weights)


def _pieces(weights: Sequence[TensorProto]) -> Iterator[memoryview]:
    for tensor in weights:
        stored = _stored(tensor)
        yield stored
        yield memoryview(bytes(-len(stored) % PAGE))


def _stored(tensor: TensorProto) -> memoryview:
    """The bytes of a tensor's numbers, as ONNX stores them."""
    if is_external(tensor):
        return stored(tensor).data
    if not tensor.HasField("raw_data"):
        tensor = numpy_helper.from_array(array_of(tensor))
    return memoryview(tensor.raw_data)
