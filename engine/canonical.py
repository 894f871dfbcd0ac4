"""One spelling of every model, so that rules meet one form only.

    file -> read -> weights set aside -> functions inlined -> opset 18 or newer
         -> defaults and padding written out -> constants and shape arithmetic folded -> Graph

Weights never pass through the converters: they are set aside as typed inputs and put back afterwards,
which keeps every step quick whatever the size of the model. The caller's file or object is not changed.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    TypeProto,
    helper,
    inliner,
    numpy_helper,
    version_converter,
)
from onnx.reference import ReferenceEvaluator

from .errors import BadModel
from .graph import Dim, Graph, Tensor, attributes, describe, ours, schema_of, shape_of
from .widen import is_narrow, widen

OPSET = 18  # the oldest we work in: reductions take their axes, scatters their sums, as inputs
NEWEST = onnx.defs.onnx_opset_version()
LITERAL = 64  # elements; a constant node up to this size is arithmetic, above it is a weight
LARGEST = 2**22  # elements; a constant larger than this is not made from a shape in the file

Source = str | os.PathLike[str] | ModelProto


def read_model(source: Source) -> ModelProto:
    """The model in a file, external data included; a ModelProto is returned as it is.

    Raises BadModel for a file that is missing, not ONNX, truncated or without a graph.
    """
    if isinstance(source, ModelProto):
        model, where = source, "the model"
    else:
        path, where = Path(source), str(source)
        if not path.is_file():
            raise BadModel(f"{path}: {'is a folder, not an ONNX file' if path.is_dir() else 'no such file'}")
        try:
            model = onnx.load(path)
        except Exception as error:  # protobuf and the external data reader raise several kinds
            reason = " ".join(str(error).split())[:200]
            raise BadModel(f"{path}: not an ONNX file, or a damaged one ({reason})") from error
    if not model.graph.node or not model.graph.output or not model.opset_import:
        raise BadModel(f"{where}: not an ONNX model (it holds no graph, or none with an output)")
    metadata = [text for p in model.metadata_props for text in (p.key, p.value)]
    if not _is_text(model.graph) or not all(isinstance(text, str) for text in metadata):
        raise BadModel(f"{where}: a damaged ONNX file (it holds names that are not text)")
    if len(model.graph.sparse_initializer):
        raise BadModel(f"{where}: has sparse weights, which are not supported; store them as dense ones")
    return model


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


def canonical(
    source: Source, shapes: Mapping[str, Sequence[Dim]] | None = None, keep: Collection[str] = ()
) -> Graph:
    """The model as a Graph in canonical form.

    `shapes` replaces the declared shapes of inputs (to bind a free image size). Values named in `keep`
    are never folded into constants. Raises BadModel for what cannot be brought into the form.
    """
    model = read_model(source)
    light, weights = _set_weights_aside(model, shapes or {})
    light = _converted(light)
    twins = widen(light, weights) if is_narrow(light, weights) else {}
    graph = _assembled(light, weights, set(keep))
    graph.twins = twins
    return graph


def _set_weights_aside(
    model: ModelProto, shapes: Mapping[str, Sequence[Dim]]
) -> tuple[ModelProto, dict[str, TensorProto]]:
    """A copy of the model without its weights, which are declared as inputs of it, and the weights."""
    initializers = {t.name: t for t in model.graph.initializer}
    light = ModelProto(ir_version=max(model.ir_version, 8))
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    light.metadata_props.extend(model.metadata_props)
    graph = light.graph
    graph.name = "model"
    graph.output.extend(model.graph.output)
    graph.value_info.extend(model.graph.value_info)
    for value in model.graph.input:
        if value.name in initializers:
            continue
        if value.name in shapes:
            value = helper.make_tensor_value_info(
                value.name, value.type.tensor_type.elem_type, shapes[value.name]
            )
        graph.input.append(value)
    if shapes:  # what was inferred for the old sizes is no longer true
        del graph.value_info[:]
    weights: dict[str, TensorProto] = {}
    for node in model.graph.node:
        tensor = _weight_in(node)
        if tensor is None:
            graph.node.append(node)
        else:
            weights[node.output[0]] = tensor
    for name, tensor in initializers.items():
        if _elements(tensor) <= LITERAL:
            graph.initializer.append(tensor)
        else:
            weights[name] = tensor
    for name, tensor in weights.items():
        graph.input.append(helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims)))
    return light, weights


def _weight_in(node: NodeProto) -> TensorProto | None:
    """The tensor of a Constant node that is too large to be arithmetic, under the value's name."""
    if node.op_type != "Constant" or node.domain not in ("", "ai.onnx"):
        return None
    for a in node.attribute:
        if a.name == "value" and _elements(a.t) > LITERAL:
            tensor = TensorProto()
            tensor.CopyFrom(a.t)
            tensor.name = node.output[0]
            return tensor
    return None


def _elements(tensor: TensorProto) -> int:
    return int(np.prod(tensor.dims, dtype=np.int64))


def _converted(light: ModelProto) -> ModelProto:
    """The model without functions of its own, at opset 18 or newer; nodes keep their names."""
    names = {n.output[0]: n.name for n in light.graph.node if n.name and n.output}
    if light.functions:
        light = inliner.inline_local_functions(light)
    known = {o for n in light.graph.node for o in n.output} | {v.name for v in light.graph.input}
    known |= {t.name for t in light.graph.initializer}
    opset = next((o.version for o in light.opset_import if o.domain in ("", "ai.onnx")), NEWEST)
    if opset > NEWEST:
        raise BadModel(
            f"the model is of opset {opset}, newer than the installed onnx knows; pip install -U onnx"
        )
    if opset < OPSET:
        try:
            light = version_converter.convert_version(light, OPSET)
        except Exception as error:  # C++ assertions come as several kinds
            reason = " ".join(str(error).split())[:200]
            raise BadModel(f"cannot bring the model from opset {opset} to {OPSET}: {reason}") from error
        _mark_added(light, known)
    for node in light.graph.node:
        if node.name:
            names = {o: n for o, n in names.items() if n != node.name}
    for node in light.graph.node:
        if not node.name and node.output:
            node.name = names.pop(node.output[0], "")
    return light


def _mark_added(light: ModelProto, known: set[str]) -> None:
    """Give values that the converter made up a name that says so: nobody asked for them by name."""
    new = {o: ours(o, known) for n in light.graph.node for o in n.output if o and o not in known}
    for node in light.graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = new.get(name, name)
    for value in light.graph.value_info:
        value.name = new.get(value.name, value.name)


def _assembled(light: ModelProto, weights: Mapping[str, TensorProto], keep: set[str]) -> Graph:
    """The Graph: one pass over the nodes that writes out, infers and folds as it goes."""
    graph = Graph({"" if o.domain == "ai.onnx" else o.domain: o.version for o in light.opset_import})
    graph.opsets.setdefault("", OPSET)
    graph.metadata = {p.key: p.value for p in light.metadata_props}
    for value in light.graph.input:
        if value.name not in weights:
            graph.declare_input(value.name, value.type)
    for tensor in (*light.graph.initializer, *weights.values()):
        graph.add_constant(tensor)
    declared = {v.name: v.type for v in (*light.graph.value_info, *light.graph.output)}
    outputs = [o.name for o in light.graph.output]
    # Constants that may be folded: literals and sizes, and what is computed from these alone.
    known = {t.name for t in light.graph.initializer if t.data_type in _WHOLE} - keep
    for node in light.graph.node:
        append(graph, node, known, kept=keep | set(outputs), declared=declared)
    for name in outputs:
        if name not in graph:
            raise BadModel(f"nothing computes the model's output {name!r}")
        graph.outputs.append(name)
    return graph


def append(
    graph: Graph,
    node: NodeProto,
    known: set[str],
    kept: Collection[str] = (),
    declared: dict[str, TypeProto] | None = None,
) -> bool:
    """Add one node in canonical form, or the constants that it comes to; says whether it was added.

    `known` are the constants that may be folded and grows with them; outputs in `kept` stay computed.
    The node is changed. Raises BadModel where it reads what nothing computes, or does not fit.
    """
    node.domain = "" if node.domain == "ai.onnx" else node.domain
    for name in filter(None, node.input):
        if name not in graph:
            raise BadModel(f"{describe(node)} reads {name!r}, which nothing before it in the file computes")
    if any(o in graph for o in node.output if o):
        raise BadModel(f"{describe(node)} computes a value that the file has already")
    write_defaults(node, graph)
    folded = None if set(kept).intersection(node.output) else _folded(node, graph, known)
    if folded is None:
        graph.add(node, declared)
        return True
    for name, array in folded.items():
        graph.add_constant(numpy_helper.from_array(array, name))
        if node.op_type != "ConstantOfShape":
            known.add(name)
    return False


_WHOLE = {TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL}


def _folded(node: NodeProto, graph: Graph, known: set[str]) -> dict[str, np.ndarray] | None:
    """The outputs of a node that is shape arithmetic or a constant in disguise; None for all others.

    Weights are not folded, however they are wrapped: a gradient may be wanted for any of them.
    """
    if node.domain:
        return None
    if node.op_type in ("Shape", "Size"):
        shape = shape_of(graph.types.get(node.input[0]))
        if shape is None or not all(isinstance(d, int) for d in shape):
            return None
        whole = np.array(shape, np.int64)
        attrs = attributes(node)
        part = whole[attrs.get("start", 0) : attrs.get("end")] if node.op_type == "Shape" else whole.prod()
        return {node.output[0]: np.asarray(part, np.int64)}
    if not all(i in known for i in node.input if i) or node.op_type in _NEVER_FOLDED:
        return None
    if node.op_type == "ConstantOfShape":
        size = Tensor(graph, node.input[0]).array
        if size is None or (size < 0).any() or np.prod(size.astype(float)) > LARGEST:
            return None
    elif any(_elements(graph.constants[i]) > 16 * LITERAL for i in node.input if i):
        return None
    model = helper.make_model(
        helper.make_graph(
            [node],
            "fold",
            [helper.make_value_info(i, graph.types[i]) for i in dict.fromkeys(node.input) if i],
            [helper.make_empty_tensor_value_info(o) for o in node.output if o],
        ),
        opset_imports=[helper.make_opsetid("", graph.opsets[""])],
    )
    try:
        feeds = {i: numpy_helper.to_array(graph.constants[i]) for i in node.input if i}
        values: list[Any] = ReferenceEvaluator(model).run(None, feeds)  # type: ignore[assignment]
    except Exception:  # not computable here: left to the runtime, which says more about it
        return None
    if any(not isinstance(v, np.ndarray | np.generic) or np.size(v) > LARGEST for v in values):
        return None
    return dict(zip([o for o in node.output if o], map(np.asarray, values), strict=True))


_NEVER_FOLDED = {
    "RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial",
    "If", "Loop", "Scan", "Range", "Expand", "Tile",
}  # fmt: skip


def write_defaults(node: NodeProto, graph: Graph) -> None:
    """Write every attribute that has a default into the node, and padding as explicit numbers."""
    schema = schema_of(node.op_type, graph.opsets.get(node.domain, 1), node.domain)
    if schema is None:
        return
    present = {a.name for a in node.attribute}
    for name, attribute in schema.attributes.items():
        if name not in present and attribute.default_value.name:
            node.attribute.append(attribute.default_value)
    if node.op_type in _WINDOWED:
        _write_window(node, graph)


_WINDOWED = {"Conv", "MaxPool", "AveragePool", "LpPool", "ConvInteger", "QLinearConv"}


def _write_window(node: NodeProto, graph: Graph) -> None:
    """kernel_shape, strides, dilations and pads as numbers, where the sizes are known.

    SAME_UPPER and SAME_LOWER split what ceil(size / stride) windows need, the odd one last or first
    (ONNX operators, Conv: auto_pad).
    """
    attrs = attributes(node)
    weight = {"Conv": 1, "ConvInteger": 1, "QLinearConv": 3}.get(node.op_type)
    kernel = attrs.get("kernel_shape")
    if kernel is None and weight is not None:
        shape = shape_of(graph.types.get(node.input[weight]))
        kernel = None if shape is None or not all(isinstance(d, int) for d in shape) else list(shape[2:])
    if not kernel:
        return
    strides = attrs.get("strides") or [1] * len(kernel)
    dilations = attrs.get("dilations") or [1] * len(kernel)
    auto = attrs.get("auto_pad", "NOTSET")
    pads = attrs.get("pads") if auto == "NOTSET" else None
    size = (shape_of(graph.types.get(node.input[0])) or ())[2:]
    if pads is None and auto.startswith("SAME"):
        if len(size) != len(kernel) or not all(isinstance(d, int) for d in size):
            return
        before, after = [], []
        for x, k, s, d in zip(size, kernel, strides, dilations, strict=True):
            total = max((-(-x // s) - 1) * s + (k - 1) * d + 1 - x, 0)  # type: ignore[operator]
            before.append(total // 2 if auto == "SAME_UPPER" else total - total // 2)
            after.append(total - before[-1])
        pads = before + after
    values = {"kernel_shape": kernel, "strides": strides, "pads": pads or [0] * 2 * len(kernel)}
    schema = schema_of(node.op_type, graph.opsets[""])
    if schema is not None and "dilations" in schema.attributes:
        values["dilations"] = dilations
    others = [a for a in node.attribute if a.name not in (*values, "auto_pad")]
    del node.attribute[:]
    node.attribute.extend(others)
    node.attribute.extend(helper.make_attribute(k, v) for k, v in values.items())
