"""Model files: read, checked as far as the rest relies on, and spelt as the specification says.

ONNX Runtime takes more than that: nodes in any order, and sizes of -1 for open ones.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
from onnx import (
    FunctionProto,
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    TensorShapeProto,
    ValueInfoProto,
)

from ..errors import BadModel
from .decoders import cut_decoders, lacking_nodes
from .external import POINTER, attach, beginning, is_attached, is_pointer
from .light import FILE, light_model
from .nodes import bodies, every_node, is_ordered, key_of, ordered
from .sparse import MAX_BYTES, sparse_tensors, write_out, written_size

Source = str | os.PathLike[str] | ModelProto
Part = GraphProto | FunctionProto  # what holds nodes


def read_model(source: Source) -> ModelProto:
    """The model in a file; a ModelProto is returned as it is.

    Large weights of large files, and those in files of their own, stay there for `types.array_of` to map:
    the model is not to be written out as it is. Nodes out of order, sizes below zero and sparse weights are
    put right, and decoders of pictures cut off, in a copy of a ModelProto. Raises BadModel for a file that is
    missing, not ONNX, truncated or without a graph, and for nodes that no order can compute.
    """
    if isinstance(source, ModelProto):
        model, where = source, "the model"
    else:
        path, where = Path(source), str(source)
        if not path.is_file():
            raise BadModel(f"{path}: {'is a folder, not an ONNX file' if path.is_dir() else 'no such file'}")
        if is_pointer(path):
            raise BadModel(f"{path}: {POINTER}")
        if beginning(path, 8)[4:] == b"ORTM":
            raise BadModel(
                f"{path}: in the ORT format of ONNX Runtime; take the ONNX file that it was made from"
            )
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
    if kind := _compiled(model):
        raise BadModel(
            f"{where}: ONNX Runtime optimised this file for one kind of machine (it holds {kind}): take the "
            "one that it was made from, or save another with graph_optimization_level ORT_ENABLE_EXTENDED"
        )
    metadata = [text for p in model.metadata_props for text in (p.key, p.value)]
    if not _is_text(model.graph) or not all(isinstance(text, str) for text in metadata):
        raise BadModel(f"{where}: a damaged ONNX file (it holds names that are not text)")
    for tensor in model.graph.initializer:
        if not is_attached(tensor):
            raise BadModel(f"{where}: {tensor.name!r} lies in another file; give the path, or load it all")
    for value in (*model.graph.input, *model.graph.initializer):
        if not _is_typed(value):
            raise BadModel(f"{where}: {value.name!r} is of a type or shape that ONNX does not have")
    try:
        return _mended(model, isinstance(source, ModelProto))
    except BadModel as error:
        raise BadModel(f"{where}: {error}") from error


def _mended(model: ModelProto, given: bool) -> ModelProto:
    """The model as the specification wants it; what was given is not changed."""
    parts = list(_parts(model))
    if all(_is_plain(part) for part in parts) and not lacking_nodes(model):
        return model
    if given:
        copy = ModelProto()
        copy.CopyFrom(model)
        model, parts = copy, list(_parts(copy))
    size = sum(written_size(s) for part in parts for s in sparse_tensors(part))
    if size > MAX_BYTES:
        raise BadModel(f"its sparse weights would take {size / 2**30:.0f} GB when they are written out")
    for part in parts:
        write_out(part)
        for dim in _dims(part):
            if dim.dim_value < 0:
                dim.Clear()
        nodes = ordered(part.node)
        del part.node[:]
        part.node.extend(nodes)
    cut_decoders(model)
    return model


def _is_plain(part: Part) -> bool:
    no_sparse = next(sparse_tensors(part), None) is None
    return no_sparse and all(d.dim_value >= 0 for d in _dims(part)) and is_ordered(part.node)


def _dims(part: Part) -> Iterator[TensorShapeProto.Dimension]:
    """The sizes that a graph or a function declares."""
    declared = (
        part.value_info if isinstance(part, FunctionProto) else (*part.input, *part.output, *part.value_info)
    )
    for value in declared:
        yield from value.type.tensor_type.shape.dim


def _parts(model: ModelProto) -> Iterator[Part]:
    """The graphs and functions of a model; those inside a node before the one that the node is in."""
    for part in (*model.functions, model.graph):
        yield from _inside(part.node)
        yield part


def _inside(nodes: Iterable[NodeProto]) -> Iterator[GraphProto]:
    for body in (body for node in nodes for body in bodies(node)):
        yield from _inside(body.node)
        yield body


def _compiled(model: ModelProto) -> str:
    """An operator whose weights and values lie as one machine or provider wants them; empty without one."""
    for node in every_node(model.graph.node):
        if node.domain in ("com.microsoft.nchwc", "com.ms.internal.nhwc") or node.op_type == "EPContext":
            return key_of(node)
    return ""


def _is_typed(value: ValueInfoProto | TensorProto) -> bool:
    """True for a known element type, and for stored numbers sizes that are not negative."""
    if isinstance(value, TensorProto):
        return value.data_type in TensorProto.DataType.values() and all(d >= 0 for d in value.dims)
    return value.type.tensor_type.elem_type in TensorProto.DataType.values()


def _is_text(graph: GraphProto) -> bool:
    """True where all names are text: protobuf hands out damaged ones as bytes."""
    values = [*graph.input, *graph.output, *graph.value_info]
    names = [v.name for v in (*values, *graph.initializer)]
    names += [d.dim_param for v in values for d in v.type.tensor_type.shape.dim]
    for node in graph.node:
        names += [node.op_type, node.domain, node.name, *node.input, *node.output]
        names += [a.name for a in node.attribute]
        if not all(map(_is_text, bodies(node))):
            return False
    return all(isinstance(name, str) for name in names)
