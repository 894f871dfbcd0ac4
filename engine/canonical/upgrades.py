"""What onnx's inliner and version converter leave out, put right."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from ..graph.graph import Graph
from ..graph.nodes import every_node, schema_of
from ..graph.types import array_of, shape_of
from ..operators.traits import traits_of

OWN_STEPS = 21  # see takes_own_steps


def write_function_defaults(model: ModelProto) -> None:
    """Write the default attributes of a model's own functions into their calls: the inliner drops them."""
    defaults = {(f.domain, f.name, f.overload): f.attribute_proto for f in model.functions}
    for nodes in (model.graph.node, *(f.node for f in model.functions)):
        for node in every_node(nodes):
            present = {a.name for a in node.attribute}
            of_call = defaults.get((node.domain, node.op_type, node.overload), ())
            node.attribute.extend(a for a in of_call if a.name not in present)


def write_old_resize(model: ModelProto, weights: Mapping[str, TensorProto]) -> None:
    """Give each Resize that was written before opset 11 the attributes that mean what it meant then.

    Positions were x / scale; nearest was the pixel below, or above where it shrinks (as ONNX Runtime does).
    """
    literals = {t.name: t for t in model.graph.initializer} | dict(weights)
    for node in every_node(model.graph.node):
        for a in node.attribute:
            if node.op_type == "Constant" and a.name == "value":
                literals[node.output[0]] = a.t
        if node.op_type == "Resize" and node.domain in ("", "ai.onnx"):
            scales = literals.get(node.input[2]) if len(node.input) > 2 else None
            shrinks = scales is not None and bool(np.any(numpy_helper.to_array(scales) < 1))
            mode = [a for a in node.attribute if a.name == "mode"]
            del node.attribute[:]
            node.attribute.extend([
                *mode,
                helper.make_attribute("coordinate_transformation_mode", "asymmetric"),
                helper.make_attribute("nearest_mode", "ceil" if shrinks else "floor"),
            ])  # fmt: skip


def leave_out_empty(node: NodeProto, graph: Graph) -> None:
    """Leave out what a Resize is given as an empty tensor: opset 11 knew no other way to say nothing."""
    if node.op_type != "Resize" or node.domain:
        return
    for i, name in enumerate(node.input):
        if i and name in graph.constants and 0 in graph.constants[name].dims:
            node.input[i] = ""


def scalars_apart(node: NodeProto, graph: Graph) -> list[NodeProto]:
    """Nodes that make scalars of the rows of one number that ONNX Runtime lets a Range read."""
    made = []
    for i, name in enumerate(node.input if node.op_type == "Range" and not node.domain else ()):
        if shape_of(graph.types.get(name)) == (1,):
            node.input[i] = graph.fresh("Squeeze")
            made.append(helper.make_node("Squeeze", [name], [node.input[i]]))
    return made


def write_mask(node: NodeProto, graph: Graph) -> None:
    """Have a Dropout that may be in training say what it kept, which is random: its gradient asks for it."""
    if node.op_type != "Dropout" or node.domain or len(node.input) < 3 or any(node.output[1:]):
        return
    training = graph.constants.get(node.input[2])
    if node.input[2] and (training is None or array_of(training).any()):
        del node.output[1:]
        node.output.append(graph.fresh("mask"))


def takes_own_steps(model: ModelProto) -> bool:
    """True where ONNX Runtime's own QuantizeLinear and DequantizeLinear are in a model.

    It has them for 16 and 4 bits, which those of ONNX have from opset 21 (OWN_STEPS) on.
    """
    return any(map(_is_own_step, every_node(model.graph.node)))


def write_plain_steps(model: ModelProto) -> None:
    """Spell ONNX Runtime's own QuantizeLinear and DequantizeLinear as ONNX's: they share their kernels."""
    for node in filter(_is_own_step, every_node(model.graph.node)):
        node.domain = ""


def _is_own_step(node: NodeProto) -> bool:
    return node.domain == "com.microsoft" and bool(traits_of(node).quantises)


def say_older_opset(model: ModelProto, newest: int) -> None:
    """Say `newest` as the opset of a newer model of which each operator is what it was then.

    It is the same model, and runs where opsets that are newer are refused.
    """
    opset = next((o for o in model.opset_import if o.domain in ("", "ai.onnx")), None)
    if opset is None or opset.version <= newest:
        return
    own = (n for n in every_node(model.graph.node) if n.domain in ("", "ai.onnx"))
    schemas = [schema_of(n.op_type, opset.version) for n in own]
    if all(s is not None and s.since_version <= newest for s in schemas):
        opset.version = newest
