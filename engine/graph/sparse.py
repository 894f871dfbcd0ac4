"""Sparse weights, written out: what a pruned network stores is what every operator reads.

A sparse tensor holds its numbers that are not zero and where they lie, by their place in the flattened tensor
(NNZ,) or by coordinates (NNZ, rank). https://onnx.ai/onnx/repo-docs/IR.html
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from onnx import FunctionProto, GraphProto, SparseTensorProto, TensorProto, helper, numpy_helper

from ..errors import BadModel
from .external import size_of
from .types import array_of

MAX_BYTES = 2**31 - 1  # bytes that all of a model's sparse weights may take when they are written out


def sparse_tensors(part: GraphProto | FunctionProto) -> Iterator[SparseTensorProto]:
    """The sparse tensors of a graph or a function, those of its Constant nodes too."""
    if isinstance(part, GraphProto):
        yield from part.sparse_initializer
    for node in part.node:
        yield from (a.sparse_tensor for a in node.attribute if a.HasField("sparse_tensor"))


def written_size(sparse: SparseTensorProto) -> int:
    """Bytes of a sparse tensor when it is written out."""
    return size_of(TensorProto(data_type=sparse.values.data_type, dims=sparse.dims))


def write_out(part: GraphProto | FunctionProto) -> None:
    """Put dense tensors in the place of the sparse ones of a graph or a function.

    Raises BadModel for a tensor whose places are none.
    """
    if isinstance(part, GraphProto):
        part.initializer.extend(dense(s) for s in part.sparse_initializer)
        del part.sparse_initializer[:]
    for node in part.node:
        for a in node.attribute:
            if a.HasField("sparse_tensor"):
                a.CopyFrom(helper.make_attribute("value", dense(a.sparse_tensor)))


def dense(sparse: SparseTensorProto) -> TensorProto:
    """A sparse tensor with its zeros, under the name of its values. Raises BadModel as `write_out`."""
    dims, values = list(sparse.dims), array_of(sparse.values).ravel()
    places = None if values.dtype.kind == "O" or any(d < 0 for d in dims) else _places(sparse)
    inside = places is not None and ((places >= 0) & (places < math.prod(dims))).all()
    if places is None or not inside or places.shape != values.shape:
        raise BadModel(
            f"the sparse tensor {sparse.values.name!r} is damaged: its places do not lie in {dims}"
        )
    array = np.zeros(math.prod(dims), values.dtype)
    array[places] = values
    return numpy_helper.from_array(array.reshape(dims), sparse.values.name)


def _places(sparse: SparseTensorProto) -> np.ndarray:
    """Where the numbers of a sparse tensor lie in the flattened one, (NNZ,) int64; -1 for no place in it."""
    if not math.prod(sparse.indices.dims):
        return np.zeros(0, np.int64)
    places = array_of(sparse.indices)
    if places.dtype.kind == "i" and places.ndim == 2 and places.shape[-1] == len(sparse.dims):
        inside = ((places >= 0) & (places < sparse.dims)).all(axis=1)
        steps = [math.prod(sparse.dims[i + 1 :]) for i in range(len(sparse.dims))]
        return np.where(inside, places @ np.array(steps, np.int64), -1)
    return places if places.dtype.kind == "i" else np.full(places.shape, -1)
