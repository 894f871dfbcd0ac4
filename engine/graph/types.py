"""ONNX's types as NumPy and Python know them."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from onnx import TensorProto, TypeProto, helper, numpy_helper

from ..errors import BadModel
from .external import is_external, mapped
from .sizes import Dim


def dtype_of(type_: TypeProto | None) -> np.dtype | None:
    """The NumPy element type of an ONNX tensor type; None where there is none."""
    if type_ is None or not type_.tensor_type.elem_type:
        return None
    return np.dtype(helper.tensor_dtype_to_np_dtype(type_.tensor_type.elem_type))


def array_of(tensor: TensorProto) -> np.ndarray:
    """The values of a stored tensor, of its shape and type. Raises BadModel where it does not hold that."""
    if is_external(tensor):
        return mapped(tensor)
    try:
        return numpy_helper.to_array(tensor)
    except Exception as error:  # NumPy and protobuf each have their own for this
        reason = " ".join(str(error).split())[:200]
        raise BadModel(f"the stored tensor {tensor.name!r} is damaged: {reason}") from error


def is_float(dtype: np.dtype) -> bool:
    """True for the floating-point types, bfloat16 and the 8-bit ones included."""
    return dtype.kind == "f" or "float" in dtype.name


def is_real(dtype: np.dtype | None) -> bool:
    """True for the floating-point types that are computed in; those of 8 bits and fewer only store."""
    return dtype is not None and is_float(dtype) and dtype.itemsize > 1


def shape_of(type_: TypeProto | None) -> tuple[Dim, ...] | None:
    """The shape of an ONNX tensor type; None where the rank is not known."""
    if type_ is None or not type_.tensor_type.HasField("shape"):
        return None
    dims = type_.tensor_type.shape.dim
    return tuple([d.dim_value or (0 if d.HasField("dim_value") else d.dim_param or None) for d in dims])


def merged(first: TypeProto, second: TypeProto) -> TypeProto:
    """Two views of one type: for each size the one that knows more."""
    if dtype_of(first) != dtype_of(second):
        return first if dtype_of(first) is not None else second
    a, b = shape_of(first), shape_of(second)
    if a is None or b is None or len(a) != len(b):
        return second if a is None else first
    dims = [
        x if isinstance(x, int) else y if isinstance(y, int) else x or y for x, y in zip(a, b, strict=True)
    ]
    return helper.make_tensor_type_proto(first.tensor_type.elem_type, dims)


def of_rank(type_: TypeProto | None) -> TypeProto | None:
    """A type of which only the rank is known."""
    shape = shape_of(type_)
    if type_ is None or shape is None:
        return None
    return helper.make_tensor_type_proto(type_.tensor_type.elem_type, [None] * len(shape))


def stacked(type_: TypeProto) -> TypeProto:
    """The type of values of a type, one behind the other along a first axis."""
    shape = shape_of(type_)
    dims = None if shape is None else [None, *shape]
    return helper.make_tensor_type_proto(type_.tensor_type.elem_type, dims)


def without(type_: TypeProto, sizes: Collection[Dim]) -> TypeProto:
    """A type that leaves open what it says by one of these sizes."""
    dims = [None if d in sizes else d for d in shape_of(type_) or ()]
    return helper.make_tensor_type_proto(type_.tensor_type.elem_type, dims)


def common(first: TypeProto, second: TypeProto) -> TypeProto:
    """What two types say alike: the rank, and the sizes that are the same in both."""
    a, b = shape_of(first), shape_of(second)
    if not first.HasField("tensor_type"):
        return first
    dims = None
    if a is not None and b is not None and len(a) == len(b):
        dims = [x if x == y else None for x, y in zip(a, b, strict=True)]
    return helper.make_tensor_type_proto(first.tensor_type.elem_type, dims)
