"""Reverse-mode differentiation of ONNX graphs, in plain ONNX operators.

    for node in reversed(graph):                       the whole algorithm;
        for x, dx in zip(node.input, rule(...)):       the rules hold the mathematics,
            gradient[x] += dx                          this file everything else

The forward pass is not touched: gradients are nodes appended behind it, so its outputs stay what they were.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, defs

from ..anatomy.anatomy import default_input
from ..anatomy.readouts.classes import score_name
from ..canonical.canonical import canonical
from ..errors import BadRequest, NoRule, nearest
from ..graph.file import Source
from ..graph.graph import Graph, Tensor, op
from ..graph.nodes import (
    is_differentiable,
    is_variadic,
    key_of,
    named,
    reads,
    schema_of,
    understood,
)
from ..graph.sizes import Dim
from ..graph.types import is_float, is_real
from ..operators.bodies import BODIES, quantised
from ..operators.rules import VJP, quantisation
from ..operators.traits import traits_of
from .blocks import explained, no_rule, not_real, why
from .branches import chosen, mapped
from .broadcasting import total, unbroadcast, zeros_like
from .dependence import (
    Rules,
    carries,
    depending,
    mixes_wholes,
    open_inputs,
    reached_inside,
    reached_outputs,
    rule_for,
)
from .expansion import in_reals, node_inputs, own_body, specified_body
from .loops import repeated
from .scope import Grads
from .variants import TABLES
from .vectors import Ends, append_map

Placed = Callable[[Graph, Collection[str]], Rules]  # a table that depends on where nodes stand


def gradient(
    model: Source,
    of: str | Sequence[str] | None = None,
    wrt: str | Sequence[str] | None = None,
    rules: Rules | Placed | str | None = None,
    seeds: int | None = None,
) -> ModelProto:
    """The model's training graph: itself, and the gradient of `of` with respect to `wrt`.

    Models of 16-bit floats are differentiated in float32, and so are their seeds and gradients.

    Parameters
    ----------
    model
        A path or a ModelProto, which is not changed.
    of
        Names of values, by default the scores of the classes before a final Softmax or Sigmoid, or the first
        output.
    wrt
        Names of values - inputs, weights or anything between - by default the image: the first input of four
        axes, or else the first one.
    rules
        A table of rules that stand before those of the gradient, by operator ("Relu", "my.domain:Name"), by a
        node's name or by its first output; or the name of one of `variants.TABLES` ("gradient" by default).
        A rule is a function of the gradient of the output, the output and the inputs, as expressions, and
        gives the gradients of the inputs. For an operator that ONNX does not know, its attribute `like` is a
        function of the inputs that makes a value of the type and shape of the output:
        `rule.like = lambda x: x`.
    seeds
        How many vectors v there are for one forward pass; by default one.

    Returns
    -------
    ModelProto
        A model of plain ai.onnx operators (besides those that it had). Its inputs are the model's own and
        then `seed/<of>` for each `of`, of that value's type and shape: the vector v of the product vᵀJ. Its
        outputs are the model's own, unchanged, and then `grad/<wrt>` for each `wrt`, of the shape of that
        value; zeros where `of` does not depend on it. With `seeds` these and the seeds have an axis of that
        many in front, and what does not depend on the seeds is computed once. A name that is taken gets "/2",
        "/3", ... behind.

    Raises
    ------
    BadModel
        For a file that is no usable model.
    BadRequest
        For a name that is not there, and for less than one seed.
    NoRule
        For an operator without a gradient.

    Examples
    --------
    >>> graph = onnxlens.gradient("model.onnx").graph
    >>> [value.name for value in graph.input], [value.name for value in graph.output]
    (['image', 'seed/head'], ['probabilities', 'grad/image'])
    """
    return training_graph(model, of, wrt, rules, seeds=seeds).to_model()


def training_graph(
    model: Source,
    of: str | Sequence[str] | None = None,
    wrt: str | Sequence[str] | None = None,
    rules: Rules | Placed | str | None = None,
    output: str | None = None,
    shapes: Mapping[str, Sequence[Dim]] | None = None,
    seeds: int | None = None,
) -> Graph:
    """As `gradient`, as a Graph: its weights stay where they are, whatever their size.

    `output`: the one whose scores are differentiated where no `of` is said. `shapes`: sizes to bind for
    inputs that leave them open, by input name.
    """
    own: Rules = rules if isinstance(rules, Mapping) else {}
    graph, ofs, wrts = opened(model, of, wrt, output, shapes, own)
    differentiate(graph, ofs, wrts, rules, seeds)
    return graph


def opened(
    model: Source,
    of: str | Sequence[str] | None,
    wrt: str | Sequence[str] | None,
    output: str | None = None,
    shapes: Mapping[str, Sequence[Dim]] | None = None,
    own: Rules | None = None,
) -> tuple[Graph, list[str], list[str]]:
    """A model's graph, and the names of what is differentiated in it and of what by, as `gradient` says."""
    ofs = [of] if isinstance(of, str) else None if of is None else list(of)
    wrts = [wrt] if isinstance(wrt, str) else None if wrt is None else list(wrt)
    graph = canonical(
        model, shapes, wrts or (), lambda node: getattr(rule_for(own or {}, node), "like", None)
    )
    _check_types(graph, own or {})
    ofs = [score_name(graph, output)] if ofs is None else ofs
    return graph, ofs, default_input(graph) if wrts is None else wrts


def _check_types(graph: Graph, own: Rules) -> None:
    """Raises BadRequest where the types of a node are lost that a rule is given for, and says what to add."""
    for node in graph.nodes:
        lost = [o for o in node.output if o and Tensor(graph, o).dtype is None]
        if (
            lost
            and callable(rule_for(own, node))
            and not any(Tensor(graph, i).dtype is None for i in reads(node))
        ):
            raise BadRequest(
                f"ONNX does not know {key_of(node)}, and nothing says of what type its output {lost[0]!r} "
                "is: give its rule a function `like` that makes a value of the same type and shape of the "
                f"inputs (rule.like = lambda x: x), or the model a value_info for {lost[0]!r}"
            )


def differentiate(
    graph: Graph,
    ofs: Sequence[str],
    wrts: Sequence[str],
    rules: Rules | Placed | str | None = None,
    count: int | None = None,
) -> list[str]:
    """Append seeds as inputs and gradients as outputs, as `gradient` names them; the names of the gradients.

    `count`: the seeds of each `of`, as `gradient` says. Raises BadRequest for a value that holds no real
    numbers, NoRule for an operator without a gradient.
    """
    check_real(graph, (*ofs, *wrts))
    values = [inside(graph, name) for name in wrts]
    seeds = Ends("seed", ofs, [inside(graph, name) for name in ofs])
    wanted = [v.name for v in values]
    return append_map(
        graph,
        seeds,
        Ends("grad", wrts, values),
        lambda given: backpropagate(graph, given, wanted, rules),
        count,
    )


def check_real(graph: Graph, names: Iterable[str]) -> None:
    """Raises BadRequest for a value that is not there or holds no real numbers."""
    for name in names:
        value = inside(graph, name)
        if not is_real(value.dtype):
            raise BadRequest(not_real(value, name))


def inside(graph: Graph, name: str) -> Tensor:
    """The value of this name; the float32 twin of a 16-bit input or output (widen.py).

    Raises NoRule, naming the operator, where its type is lost because an operator is not known.
    """
    value = graph[graph.twins.get(name, name)]
    if value.dtype is None:
        for node in graph.ancestors([value.name]):
            if any(o and Tensor(graph, o).dtype is None for o in node.output):
                raise NoRule(no_rule(graph, node, refusal(graph.copy(), node)))
    return value


def refusal(graph: Graph, node: NodeProto, wrt: Iterable[str] | None = None) -> str | None:
    """What stops the gradient of a node by some of its inputs (default: all); None where nothing does.

    It is tried: what its rule or body appends stays in the graph, so give a copy.
    """
    sources = set(reads(node) if wrt is None else wrt)
    grads: Grads = {}
    for y in (Tensor(graph, o) for o in node.output if o and carries(graph, node, o, sources)):
        stored = y.dtype is not None and not is_real(y.dtype)
        grads[y.name] = [op.Cast(y, to=TensorProto.FLOAT) if stored else y]
    try:
        walk(graph, [node], grads, sources, VJP)
    except NoRule as stop:
        return stop.why
    return None


def backpropagate(
    graph: Graph, seeds: Mapping[str, Tensor], wrt: Sequence[str], rules: Rules | Placed | str | None = None
) -> list[Tensor | None]:
    """Append the vector-Jacobian product to the graph: Σ seedᵀ ∂of/∂wrt for each `wrt`.

    `seeds` holds the vector for each differentiated value by name. Returns one tensor per `wrt`, of its
    shape and type, or None where no path of differentiable operators leads from it to a seed.
    """
    before = {name: unrounded(graph, name) for name in seeds}
    table = _table(rules, graph, before.values())
    grads: Grads = {}
    for name, seed in seeds.items():
        grads.setdefault(before[name], []).append(seed)
    walk(graph, list(graph.nodes), grads, set(wrt), table)
    for name, seed in seeds.items():
        if name != before[name]:
            grads.setdefault(name, []).append(seed)
    return [total(grads[name]) if grads.get(name) else None for name in wrt]


def unrounded(graph: Graph, name: str) -> str:
    """What a quantised value was before its rounding, appended where an integer operator hides it.

    A score that saturates has no slope of its own; what it is made of has.
    """
    start, passed = name, ""
    while (node := graph.producer(name)) is not None and node.op_type in quantisation.RULES:
        if name != node.output[0]:  # a scale that is found on the spot
            break
        name, passed = node.input[0], node.op_type
    if node is not None and name != start and key_of(node) in quantised.BODIES:
        last = graph.producer(own_body(graph, node)[0])
        assert last is not None
        return last.input[0] if last.op_type == "QuantizeLinear" else start
    # Floats of 8 bits that nothing quantised are no real numbers in disguise.
    rounded = passed != "DequantizeLinear" and is_float(graph[name].dtype or np.dtype(bool))
    return name if rounded else start


def _table(rules: Rules | Placed | str | None, graph: Graph, of: Collection[str]) -> Rules:
    if isinstance(rules, str):
        if rules not in TABLES:
            raise BadRequest(f"there are no rules called {rules!r}{nearest(rules, TABLES)}")
        rules = TABLES[rules]
    if rules is None:
        return VJP
    return VJP | dict(rules) if isinstance(rules, Mapping) else rules(graph, of)


def walk(graph: Graph, nodes: Sequence[NodeProto], grads: Grads, sources: set[str], table: Rules) -> None:
    """Carry `grads` backwards through `nodes` to the `sources`, where they stay."""
    reached = depending(graph, nodes, sources, table)
    for node in reversed(nodes):
        if not any(grads.get(o) for o in node.output) or not reached_outputs(graph, node, reached, table):
            continue
        for o in node.output:
            if len(grads.get(o, ())) > 1:
                grads[o] = [total(grads[o])]
        arrived = [grads[o][0] if grads.get(o) else None for o in node.output]
        for o in node.output:
            if o not in sources:
                grads.pop(o, None)
        rule = rule_for(table, node)
        with understood(node), explained(graph, node):
            if rule is None and (runs := traits_of(node).runs):
                through = {"one": chosen, "again": repeated, "each": mapped}[runs]
                for name, dx in through(graph, node, arrived, reached, table, walk):
                    if name in reached:
                        grads.setdefault(name, []).append(dx)
                continue
            if inside := reached_inside(graph, node, reached, table):
                raise NoRule(f"{why(graph, node)}, and reads {', '.join(map(repr, inside[:3]))} there")
            given: Any = NotImplemented
            if rule is not None and not isinstance(rule, Mapping) and not mixes_wholes(graph, node, reached):
                given = _applied(graph, node, rule, arrived)
            told = given is not NotImplemented
            entries = list(zip(open_inputs(graph, node, table), given if told else (), strict=False))
            left = {name for name, entry in entries if entry is NotImplemented and name in reached}
            if left or not told:
                within = rule if isinstance(rule, Mapping) else table
                _through_body(graph, node, arrived, grads, left if told else reached, within)
            for name, entry in entries:
                if name not in reached or entry is NotImplemented:
                    continue
                dx = entry() if callable(entry) else entry
                if isinstance(dx, Tensor):
                    grads.setdefault(name, []).append(unbroadcast(dx, Tensor(graph, name)))


def _applied(graph: Graph, node: NodeProto, rule: Callable[..., Any], arrived: list[Tensor | None]) -> Any:
    """What a rule gives for a node: one gradient per input; NotImplemented where its body is the way.

    A rule takes the gradient of the output, the output, the inputs in the order of the specification
    (None where one is left out), and by name those attributes that it asks for. An operator with
    several differentiable outputs hands over tuples of gradients and outputs.
    """
    schema = schema_of(node.op_type, graph.opsets.get(node.domain, 1), node.domain)
    outputs = [Tensor(graph, o) if o else None for o in node.output]
    inputs, attrs = node_inputs(graph, node), named(graph.attributes(node), rule)
    if schema is not None and _many_outputs(schema):
        grads = tuple(
            g if g is not None else zeros_like(y) if y is not None else None
            for g, y in zip(arrived, outputs, strict=True)
        )
        result = rule(grads, tuple(outputs), *inputs, **attrs)
    else:
        result = rule(arrived[0], outputs[0], *inputs, **attrs)
    return result if isinstance(result, tuple | list) or result is NotImplemented else (result,)


def _many_outputs(schema: defs.OpSchema) -> bool:
    return sum(map(is_differentiable, schema.outputs)) > 1 or is_variadic(schema.outputs[-1])


def _through_body(
    graph: Graph, node: NodeProto, arrived: list[Tensor | None], grads: Grads, reached: set[str], table: Rules
) -> None:
    """Differentiate an operator that has no rule through its body: ours, or that of the specification.

    One that moves or mixes integers is its own body, on the real numbers that they stand for. The body is
    computed anew beside the node, whose own value stays what the kernel of the runtime makes it.
    """
    start = len(graph.nodes)
    wholes = mixes_wholes(graph, node, reached)
    body = in_reals if wholes else own_body if key_of(node) in BODIES else specified_body
    outputs = body(graph, node)
    if any(g is not None for g in arrived[len(outputs) :]):
        raise NoRule(f"has no gradient by its output {node.output[len(outputs)]!r}")
    inner: Grads = {o: [g] for o, g in zip(outputs, arrived, strict=False) if g is not None}
    sources = reached.intersection(open_inputs(graph, node, table))
    walk(graph, graph.nodes[start:], inner, sources, table)
    for name in sources:
        if inner.get(name):
            grads.setdefault(name, []).append(total(inner[name]))
