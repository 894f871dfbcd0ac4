"""Model files: read, and checked as far as the rest relies on."""

from __future__ import annotations

import os
from pathlib import Path

import onnx
from onnx import GraphProto, ModelProto, TensorProto, ValueInfoProto

from .errors import BadModel
from .external import attach, is_attached
from .light import FILE, light_model

Source = str | os.PathLike[str] | ModelProto


def read_model(source: Source) -> ModelProto:
    """The model in a file; a ModelProto is returned as it is.

    Large weights of large files, and those in files of their own, stay there for `types.array_of` to map:
    the model is not to be written out as it is. Raises BadModel for a file that is missing, not ONNX,
    truncated or without a graph.
    """
    if isinstance(source, ModelProto):
        model, where = source, "the model"
    else:
        path, where = Path(source), str(source)
        if not path.is_file():
            raise BadModel(f"{path}: {'is a folder, not an ONNX file' if path.is_dir() else 'no such file'}")
        try:
            large = path.stat().st_size >= FILE
            model = light_model(path) if large else onnx.load(path, load_external_data=False)
        except Exception as error:  # protobuf raises several kinds
            reason = " ".join(str(error).split())[:200]
            raise BadModel(f"{path}: not an ONNX file, or a damaged one ({reason})") from error
        try:
            attach(model, path.parent)
        except (ValueError, OSError, TypeError, KeyError) as error:
            reason = " ".join(str(error).split())[:300]
            raise BadModel(f"{path}: {reason}") from error
    if not model.graph.node or not model.graph.output or not model.opset_import:
        raise BadModel(f"{where}: not an ONNX model (it holds no graph, or none with an output)")
    metadata = [text for p in model.metadata_props for text in (p.key, p.value)]
    if not _is_text(model.graph) or not all(isinstance(text, str) for text in metadata):
        raise BadModel(f"{where}: a damaged ONNX file (it holds names that are not text)")
    if len(model.graph.sparse_initializer):
        raise BadModel(f"{where}: has sparse weights, which are not supported; store them as dense ones")
    for tensor in model.graph.initializer:
        if not is_attached(tensor):
            raise BadModel(f"{where}: {tensor.name!r} lies in another file; give the path, or load it all")
    for value in (*model.graph.input, *model.graph.initializer):
        if not _is_typed(value):
            raise BadModel(f"{where}: {value.name!r} is of a type or shape that ONNX does not have")
    return model


def _is_typed(value: ValueInfoProto | TensorProto) -> bool:
    """True for a known element type and sizes that are not negative."""
    if isinstance(value, TensorProto):
        return value.data_type in TensorProto.DataType.values() and all(d >= 0 for d in value.dims)
    tensor = value.type.tensor_type
    return tensor.elem_type in TensorProto.DataType.values() and all(
        d.dim_value >= 0 for d in tensor.shape.dim
    )


def _is_text(graph: GraphProto) -> bool:
    """True where all names are text: protobuf hands out damaged ones as bytes."""
    values = [*graph.input, *graph.output, *graph.value_info]
    names = [v.name for v in (*values, *graph.initializer)]
    names += [d.dim_param for v in values for d in v.type.tensor_type.shape.dim]
    for node in graph.node:
        names += [node.op_type, node.domain, node.name, *node.input, *node.output]
        names += [a.name for a in node.attribute]
        if not all(_is_text(a.g) for a in node.attribute if a.type == a.GRAPH):
            return False
    return all(isinstance(name, str) for name in names)
