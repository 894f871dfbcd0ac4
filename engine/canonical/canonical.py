"""One spelling of every model, so that rules meet one form only.

    file -> read -> weights set aside -> functions inlined -> opset 18 or newer
         -> padding written out -> constants and shape arithmetic folded -> Graph

Weights never pass through the converters: they are set aside as typed inputs and put back afterwards,
which keeps every step quick whatever the size of the model. The caller's file or object is not changed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType

import onnx
from onnx import (
    ModelProto,
    NodeProto,
    TensorProto,
    TypeProto,
    ValueInfoProto,
    helper,
    inliner,
    numpy_helper,
    version_converter,
)

from ..errors import BadModel
from ..graph.file import Source, read_model
from ..graph.graph import Graph
from ..graph.nodes import captured, describe, key_of, ours, reads, renamed, schema_of, understood
from ..graph.sizes import Dim
from ..operators.bodies import BODIES
from ..operators.traits import traits_of
from .beside import Body, show_real, type_by_body
from .branches import check_ends, straightened
from .folding import LITERAL, elements, folded
from .upgrades import (
    OWN_STEPS,
    leave_out_empty,
    say_older_opset,
    scalars_apart,
    takes_own_steps,
    write_function_defaults,
    write_mask,
    write_old_resize,
    write_plain_steps,
)
from .widen import is_narrow, keep_unseen, widen
from .windows import write_window

OPSET = 18  # the oldest we work in: reductions take their axes, scatters their sums, as inputs
RUN = 26  # the newest that every supported ONNX Runtime runs
SCANS = 9  # since when a Scan has no batch axis
NEWEST = onnx.defs.onnx_opset_version()
UNKNOWN = "onnxlens.unknown"


def canonical(
    source: Source,
    shapes: Mapping[str, Sequence[Dim]] | None = None,
    keep: Collection[str] = (),
    like: Callable[[NodeProto], Body | None] = lambda node: None,
) -> Graph:
    """The model as a Graph in canonical form.

    `shapes` replaces the declared shapes of inputs (to bind a free image size). Values named in `keep`
    are never folded into constants. `like` gives, for a node that ONNX does not know, a function of its
    inputs that makes values of the types of its outputs. Raises BadModel for what cannot be brought into the
    form.
    """
    model = read_model(source)
    light, weights = _set_weights_aside(model, shapes or {})
    light = _converted(light, weights)
    twins = widen(light, weights) if is_narrow(light, weights) else {}
    graph = _assembled(light, weights, set(keep), bool(twins), like)
    graph.twins.update(twins)
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
        if elements(tensor) <= LITERAL:
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
        if a.name == "value" and elements(a.t) > LITERAL:
            tensor = TensorProto()
            tensor.CopyFrom(a.t)
            tensor.name = node.output[0]
            return tensor
    return None


def _converted(light: ModelProto, weights: Mapping[str, TensorProto]) -> ModelProto:
    """The model without functions of its own, at opset 18 or newer; nodes keep their names."""
    names = {n.output[0]: n.name for n in light.graph.node if n.name and n.output}
    if light.functions:
        write_function_defaults(light)
        light = inliner.inline_local_functions(light)
    known = {o for n in light.graph.node for o in n.output} | {v.name for v in light.graph.input}
    known |= {t.name for t in light.graph.initializer}
    opset = next((o.version for o in light.opset_import if o.domain in ("", "ai.onnx")), NEWEST)
    if opset > NEWEST:
        raise BadModel(
            f"the model is of opset {opset}, newer than the installed onnx knows; pip install -U onnx"
        )
    say_older_opset(light, RUN)
    lowest = OWN_STEPS if takes_own_steps(light) else OPSET
    if opset < SCANS and any(n.op_type == "Scan" and not n.domain for n in light.graph.node):
        raise BadModel(
            f"a Scan of opset {opset} goes through a batch of its own, which ONNX's converter loses: "
            f"export the model at opset {SCANS} or newer"
        )
    if opset < lowest:
        try:
            light = _at_opset(light, lowest)
        except Exception as error:  # C++ assertions come as several kinds
            reason = " ".join(str(error).split())[:200]
            raise BadModel(f"cannot bring the model from opset {opset} to {lowest}: {reason}") from error
        if opset < 11:
            write_old_resize(light, weights)
        _mark_added(light, known)
    write_plain_steps(light)
    taken = {n.name for n in light.graph.node}
    for node in light.graph.node:
        name = names.get(node.output[0], "") if node.output else ""
        if not node.name and name not in taken:
            node.name = name
            taken.add(name)
    return light


def _at_opset(light: ModelProto, opset: int) -> ModelProto:
    """By ONNX's converter, which stops at operators of ai.onnx that ONNX does not know.

    ONNX Runtime writes some (SimplifiedLayerNormalization), so they pass under a domain that it leaves alone.
    """
    unknown = [n for n in light.graph.node if n.domain in ("", "ai.onnx") and not onnx.defs.has(n.op_type)]
    if not unknown:
        return version_converter.convert_version(light, opset)
    for node in unknown:
        node.domain = UNKNOWN
    light.opset_import.append(helper.make_opsetid(UNKNOWN, 1))
    light = version_converter.convert_version(light, opset)
    for node in light.graph.node:
        if node.domain == UNKNOWN:
            node.domain = ""
    opsets = [o for o in light.opset_import if o.domain != UNKNOWN]
    del light.opset_import[:]
    light.opset_import.extend(opsets)
    return light


def _mark_added(light: ModelProto, known: set[str]) -> None:
    """Give values that the converter made up a name that says so: nobody asked for them by name."""
    new = {o: ours(o, known) for n in light.graph.node for o in n.output if o and o not in known}
    if new:
        nodes = [renamed(n, new) for n in light.graph.node]
        del light.graph.node[:]
        light.graph.node.extend(nodes)
    for value in light.graph.value_info:
        value.name = new.get(value.name, value.name)


def _assembled(
    light: ModelProto,
    weights: Mapping[str, TensorProto],
    keep: set[str],
    widened: bool,
    like: Callable[[NodeProto], Body | None],
) -> Graph:
    """The Graph: one pass over the nodes that writes out, infers and folds as it goes."""
    graph = Graph({"" if o.domain == "ai.onnx" else o.domain: o.version for o in light.opset_import})
    graph.opsets.setdefault("", OPSET)
    graph.metadata = {p.key: p.value for p in light.metadata_props}
    read = {i for n in light.graph.node for i in reads(n)}
    for value in sorted(light.graph.input, key=lambda v: v.name not in read):  # the image comes first
        if value.name not in weights:
            graph.declare_input(value.name, _with_named_sizes(value))
    for tensor in (*light.graph.initializer, *weights.values()):
        graph.add_constant(tensor)
    declared = {v.name: v.type for v in (*light.graph.value_info, *light.graph.output)}
    outputs = [o.name for o in light.graph.output]
    # Constants that may be folded: literals and sizes, and what is computed from these alone.
    known = {t.name for t in light.graph.initializer if t.data_type in WHOLE} - keep
    again: dict[str, str] = {}
    taken = {o for n in light.graph.node for o in n.output}
    moved = {i for n in light.graph.node if n.op_type != "DequantizeLinear" for i in n.input}.union(outputs)
    # ONNX Runtime dies of a DequantizeLinear and QuantizeLinear in a row that a graph inside a node reads.
    moved -= {i for n in light.graph.node for i in captured(n)}
    for node in straightened(light.graph.node, graph, known, taken):
        node = node if again.keys().isdisjoint(reads(node)) else renamed(node, again)
        if widened:
            keep_unseen(graph, node)
        if append(graph, node, known, kept=keep | set(outputs), declared=declared, like=like(node)):
            q = node.output[0] if node.output else ""
            if traits_of(node).quantises == "to":
                graph.twins[q] = node.input[0]  # the real numbers before they were rounded
            integers = show_real(graph, node, taken) if q in moved else None
            if integers is not None:
                again[q] = integers
    for name in outputs:
        if name not in graph:
            raise BadModel(f"nothing computes the model's output {name!r}")
        graph.outputs.append(name)
    return graph


def _with_named_sizes(value: ValueInfoProto) -> TypeProto:
    """An input's type with a name for each size that is left open without: sizes are followed by name."""
    for axis, size in enumerate(value.type.tensor_type.shape.dim):
        if not size.WhichOneof("value"):
            size.dim_param = f"{value.name}.{axis}"
    return value.type


def append(
    graph: Graph,
    node: NodeProto,
    known: set[str],
    kept: Collection[str] = (),
    declared: Mapping[str, TypeProto] = MappingProxyType({}),
    like: Body | None = None,
) -> bool:
    """Add one node in canonical form, or the constants that it comes to; says whether it was added.

    `known` are the constants that may be folded and grows with them; outputs in `kept` stay computed.
    The node is changed. Raises BadModel where it reads what nothing computes, or does not fit.
    """
    node.domain = "" if node.domain == "ai.onnx" else node.domain
    for name in reads(node):
        if name not in graph:
            raise BadModel(f"{describe(node)} reads {name!r}, which nothing in the file computes")
    if any(o in graph for o in node.output if o):
        raise BadModel(f"{describe(node)} computes a value that the file has already")
    with understood(node):
        check_ends(node, graph)
        leave_out_empty(node, graph)
        for before in scalars_apart(node, graph):
            append(graph, before, known)
        write_window(node, graph)
        write_mask(node, graph)
        constants = None if set(kept).intersection(node.output) else folded(node, graph, known)
        if constants is None:
            graph.add(node)
            for name in (o for o in node.output if o in declared):
                graph.complete(name, declared[name])
            body = like or BODIES.get(key_of(node))
            if body is not None and schema_of(node.op_type, graph.opsets[""], node.domain) is None:
                type_by_body(graph, node, body)
            return True
    for name, array in constants.items():
        tensor = numpy_helper.from_array(array, name)
        graph.add_constant(tensor)
        if node.op_type != "ConstantOfShape" or tensor.data_type in WHOLE:  # real numbers may be weights
            known.add(name)
    return False


WHOLE = {TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL}
