"""Reverse-mode differentiation of ONNX graphs, in plain ONNX operators.

    for node in reversed(graph):                       the whole algorithm;
        for x, dx in zip(node.input, rule(...)):       the rules hold the mathematics,
            gradient[x] += dx                          this file everything else

The forward pass is not touched: gradients are nodes appended behind it, so its outputs stay what they were.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, defs, helper, inliner

from .anatomy import score_name
from .canonical import Source, append, canonical
from .errors import BadRequest, NoRule, nearest
from .graph import Graph, Tensor, attributes, describe, is_float, op, schema_of
from .rules import VJP
from .variants import TABLES

Rules = Mapping[str, Callable[..., Any]]
Grads = dict[str, list[Tensor]]


def gradient(
    model: Source,
    of: str | Sequence[str] | None = None,
    wrt: str | Sequence[str] | None = None,
    rules: Rules | str | None = None,
) -> ModelProto:
    """The model's training graph: itself, and the gradient of `of` with respect to `wrt`.

    `model`: a path or a ModelProto (not changed). `of`: names of values, by default the first output,
    before a final Softmax. `wrt`: names of values - inputs, weights or anything between - by default the
    first input. `rules`: a table of rules or the name of one: "gradient" (default), "guided", "deconvnet".

    Returns a model of plain ai.onnx operators (besides those that it had). Its inputs are the model's
    own and then `seed/<of>` for each `of`, of that value's type and shape: the vector v of the product
    vᵀJ. Its outputs are the model's own, unchanged, and then `grad/<wrt>` for each `wrt`, of the shape
    of that value; zeros where `of` does not depend on it. A name that is taken gets "/2", "/3", ... behind.
    Models of 16-bit floats are differentiated in float32, and so are their seeds and gradients.

    Raises BadModel, BadRequest for a name that is not there, NoRule for an operator without a gradient.
    """
    ofs = [of] if isinstance(of, str) else None if of is None else list(of)
    wrts = [wrt] if isinstance(wrt, str) else None if wrt is None else list(wrt)
    graph = canonical(model, keep=wrts or ())
    ofs = [score_name(graph)] if ofs is None else ofs
    wrts = graph.inputs[:1] if wrts is None else wrts
    for name in (*ofs, *wrts):
        value = inside(graph, name)
        if value.dtype is None or not is_float(value.dtype):
            raise BadRequest(f"{name!r} is of type {value.dtype}: only floating-point values have gradients")
    seeds = {}
    for name in ofs:
        value = inside(graph, name).name
        seeds[value] = graph.declare_input(graph.unused(f"seed/{name}"), graph.types[value])
    values = [inside(graph, name) for name in wrts]
    grads = backpropagate(graph, seeds, [v.name for v in values], rules)
    for name, value, grad in zip(wrts, values, grads, strict=True):
        graph.output(zeros_like(value) if grad is None else grad, graph.unused(f"grad/{name}"))
    return graph.to_model()


def inside(graph: Graph, name: str) -> Tensor:
    """The value of this name; the float32 twin of a 16-bit input or output (widen.py).

    Raises NoRule, naming the operator, where its type is lost because an operator is not known.
    """
    value = graph[graph.twins.get(name, name)]
    if value.dtype is None:
        for node in graph.ancestors([value.name]):
            if any(o and Tensor(graph, o).dtype is None for o in node.output):
                raise NoRule(no_rule(node))
    return value


def backpropagate(
    graph: Graph, seeds: Mapping[str, Tensor], wrt: Sequence[str], rules: Rules | str | None = None
) -> list[Tensor | None]:
    """Append the vector-Jacobian product to the graph: Σ seedᵀ ∂of/∂wrt for each `wrt`.

    `seeds` holds the vector for each differentiated value by name. Returns one tensor per `wrt`, of its
    shape and type, or None where no path of differentiable operators leads from it to a seed.
    """
    table = _table(rules)
    grads: Grads = {name: [seed] for name, seed in seeds.items()}
    _walk(graph, list(graph.nodes), grads, set(wrt), table)
    return [_total(grads[name]) if grads.get(name) else None for name in wrt]


def _table(rules: Rules | str | None) -> Rules:
    if isinstance(rules, str):
        if rules not in TABLES:
            raise BadRequest(f"there are no rules called {rules!r}{nearest(rules, TABLES)}")
        return TABLES[rules]
    return VJP if rules is None else rules


def _walk(graph: Graph, nodes: Sequence[NodeProto], grads: Grads, sources: set[str], table: Rules) -> None:
    """Carry `grads` backwards through `nodes` to the `sources`, where they stay."""
    felt = _depending(graph, nodes, sources)
    for node in reversed(nodes):
        if not any(grads.get(o) for o in node.output) or not _feels(graph, node, felt):
            continue
        for o in node.output:
            if len(grads.get(o, ())) > 1:
                grads[o] = [_total(grads[o])]
        arrived = [grads[o][0] if grads.get(o) else None for o in node.output]
        for o in node.output:
            if o not in sources:
                grads.pop(o, None)
        # A node that is called like some operator is not meant by that operator's rule.
        rule = None if node.name in VJP else table.get(node.name)
        rule = rule or table.get(key_of(node))
        if rule is None:
            _through_body(graph, node, arrived, grads, felt, table)
            continue
        for name, entry in zip(node.input, _applied(graph, node, rule, arrived), strict=False):
            if name not in felt:
                continue
            dx = entry() if callable(entry) else entry
            if isinstance(dx, Tensor):
                grads.setdefault(name, []).append(unbroadcast(dx, Tensor(graph, name)))


def key_of(node: NodeProto) -> str:
    """The key of a node's operator in a table of rules: "Relu", or "com.microsoft:Gelu" elsewhere."""
    return f"{node.domain}:{node.op_type}" if node.domain else node.op_type


def _depending(graph: Graph, nodes: Iterable[NodeProto], sources: set[str]) -> set[str]:
    """Every value that depends on the sources through differentiable inputs, the sources included."""
    felt = set(sources)
    for node in nodes:
        if _feels(graph, node, felt):
            felt.update(o for o in node.output if o and _may_be_float(graph, o))
    return felt


def _feels(graph: Graph, node: NodeProto, felt: set[str]) -> bool:
    return any(i in felt and _is_differentiable(graph, node, k) for k, i in enumerate(node.input))


def _is_differentiable(graph: Graph, node: NodeProto, index: int) -> bool:
    """False for inputs that the specification calls non-differentiable, such as Reshape's shape."""
    schema = schema_of(node.op_type, graph.opsets.get(node.domain, 1), node.domain)
    if schema is None or not schema.inputs:
        return True
    slot = schema.inputs[min(index, len(schema.inputs) - 1)]
    return slot.differentiation_category != defs.OpSchema.DifferentiationCategory.NonDifferentiable


def _may_be_float(graph: Graph, name: str) -> bool:
    dtype = Tensor(graph, name).dtype
    return dtype is None or is_float(dtype)


def _applied(
    graph: Graph, node: NodeProto, rule: Callable[..., Any], arrived: list[Tensor | None]
) -> Sequence[Any]:
    """What a rule gives for a node: one gradient per input.

    A rule takes the gradient of the output, the output, the inputs in the order of the specification
    (None where one is left out), and by name those attributes that it asks for. An operator with
    several differentiable outputs hands over tuples of gradients and outputs.
    """
    schema = schema_of(node.op_type, graph.opsets.get(node.domain, 1), node.domain)
    outputs = [Tensor(graph, o) if o else None for o in node.output]
    inputs: list[Tensor | None] = [Tensor(graph, i) if i else None for i in node.input]
    if schema is not None and schema.inputs and not _is_variadic(schema.inputs[-1]):
        inputs += [None] * (len(schema.inputs) - len(inputs))
    attrs = attributes(node)
    wanted = _parameters(rule)
    named = attrs if wanted is None else {k: v for k, v in attrs.items() if k in wanted}
    if schema is not None and _many_outputs(schema):
        grads = tuple(
            g if g is not None else zeros_like(y) if y is not None else None
            for g, y in zip(arrived, outputs, strict=True)
        )
        result = rule(grads, tuple(outputs), *inputs, **named)
    else:
        result = rule(arrived[0], outputs[0], *inputs, **named)
    return result if isinstance(result, tuple | list) else (result,)


def _many_outputs(schema: defs.OpSchema) -> bool:
    no = defs.OpSchema.DifferentiationCategory.NonDifferentiable
    return sum(o.differentiation_category != no for o in schema.outputs) > 1 or _is_variadic(
        schema.outputs[-1]
    )


def _is_variadic(slot: defs.OpSchema.FormalParameter) -> bool:
    return slot.option == defs.OpSchema.FormalParameterOption.Variadic


@lru_cache(maxsize=1024)
def _parameters(rule: Callable[..., Any]) -> frozenset[str] | None:
    """The names of a rule's parameters; None where it takes any."""
    parameters = inspect.signature(rule).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return frozenset(p.name for p in parameters)


def _through_body(
    graph: Graph, node: NodeProto, arrived: list[Tensor | None], grads: Grads, felt: set[str], table: Rules
) -> None:
    """Differentiate an operator that has no rule through its function body in the specification.

    The body is computed anew beside the node, whose own value stays what the runtime's kernel makes it.
    """
    outputs, nodes = _body(graph, node)
    inner: Grads = {o: [g] for o, g in zip(outputs, arrived, strict=False) if g is not None}
    sources = {i for i in node.input if i in felt}
    _walk(graph, nodes, inner, sources, table)
    for name in sources:
        if inner.get(name):
            grads.setdefault(name, []).append(_total(inner[name]))


def _body(graph: Graph, node: NodeProto) -> tuple[list[str], list[NodeProto]]:
    """Append an operator's function body to the graph; its outputs' names and its nodes."""
    schema = schema_of(node.op_type, graph.opsets.get(node.domain, 1), node.domain)
    if schema is None or not (schema.has_function or schema.has_context_dependent_function):  # pyright: ignore
        raise NoRule(no_rule(node))
    inputs = list(dict.fromkeys(i for i in node.input if i))
    outputs = [graph.fresh(node.op_type) if o else "" for o in node.output]
    call = NodeProto()
    call.CopyFrom(node)
    del call.output[:]
    call.output.extend(outputs)
    model = helper.make_model(
        helper.make_graph(
            [call],
            "body",
            [helper.make_value_info(i, graph.types[i]) for i in inputs],
            [helper.make_empty_tensor_value_info(o) for o in outputs if o],
        ),
        opset_imports=[helper.make_opsetid(d, v) for d, v in graph.opsets.items()],
    )
    body = inliner.inline_selected_functions(
        model, [(node.domain, node.op_type)], inline_schema_functions=True
    )
    if any(n.op_type == node.op_type and n.domain == node.domain for n in body.graph.node):
        raise NoRule(no_rule(node))
    own = {name: name for name in (*inputs, *outputs)}
    known: set[str] = set()
    nodes = []
    for inner in body.graph.node:
        for names in (inner.input, inner.output):
            for k, name in enumerate(names):
                if name and name not in own:
                    own[name] = graph.fresh(inner.op_type)
                names[k] = own.get(name, "")
        inner.name = ""
        if append(graph, inner, known):
            nodes.append(inner)
    return outputs, nodes


def no_rule(node: NodeProto) -> str:
    """Why a gradient stops at a node, and the way out."""
    before = next((i for i in node.input if i), "?")
    return (
        f"no gradient leads through {describe(node)}: {key_of(node)} has no rule; "
        f"ask for a value before it (of={before!r}) or give a rule for it in `rules`"
    )


def zeros_like(x: Tensor) -> Tensor:
    """Zeros of another tensor's type and shape."""
    return op.Expand(x.graph.constant(np.zeros((), x.dtype)), x.dims)


def _total(grads: list[Tensor]) -> Tensor:
    """The sum of what arrives at a value from all that read it."""
    return grads[0] if len(grads) == 1 else op.Sum(*grads)


def unbroadcast(dx: Tensor, x: Tensor) -> Tensor:
    """Sum a gradient over the axes along which its value was broadcast: the adjoint of broadcasting.

    x (3, 1)  --broadcast-->  (2, 3, 4)        dx (2, 3, 4)  --sum-->  (3, 1)
    """
    if dx.shape == x.shape and dx.shape is not None and None not in dx.shape:
        return dx
    if dx.shape is None or x.shape is None:  # even the rank is known only at run time
        ones = op.Expand(1, op.Sub(op.Shape(op.Shape(dx)), op.Shape(op.Shape(x))))
        return op.Reshape(_summed_where_one(dx, op.Concat(ones, op.Shape(x), axis=0)), op.Shape(x))
    extra = len(dx.shape) - len(x.shape)
    if extra > 0:
        dx = dx.sum(range(extra), keepdims=False)
    assert dx.shape is not None
    stretched = [i for i, (d, s) in enumerate(zip(dx.shape, x.shape, strict=True)) if s == 1 and d != 1]
    if stretched:
        dx = dx.sum(stretched)
    pairs = zip(dx.shape or (), x.shape, strict=True)
    if any(not isinstance(s, int) and (s is None or s != d) for d, s in pairs):
        dx = _summed_where_one(dx, x.dims)
    return dx


def _summed_where_one(dx: Tensor, dims: Tensor) -> Tensor:
    """The sum over the axes along which a shape turns out to be 1, which stay."""
    axes = op.Squeeze(op.NonZero(op.Equal(dims, 1)), [0])
    return op.ReduceSum(dx, axes, keepdims=1, noop_with_empty_axes=1)
