"""What a node says of itself, what the specification says of its operator, and the order of nodes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from heapq import heappop, heappush
from typing import Any

from onnx import AttributeProto, GraphProto, NodeProto, defs, helper

from ..errors import BadModel, OnnxlensError

OURS = "onnxlens/"  # how the names of values begin that are not the model's own
MAX_SHOWN = 4  # nodes of a circle, at most, that an error names


@lru_cache(maxsize=4096)
def schema_of(op_type: str, opset: int, domain: str = "") -> defs.OpSchema | None:
    """The operator's schema at an opset, or None for an operator that ONNX does not define."""
    try:
        return defs.get_schema(op_type, opset, domain)
    except defs.SchemaError:
        return None


@lru_cache(maxsize=4096)
def defaults(op_type: str, opset: int, domain: str = "") -> tuple[AttributeProto, ...]:
    """What the specification says for attributes that a node leaves out."""
    schema = schema_of(op_type, opset, domain)
    told = () if schema is None else (a.default_value for a in schema.attributes.values())
    return tuple(a for a in told if a.name)


def attributes(node: NodeProto, opset: int | None = None) -> dict[str, Any]:
    """A node's attributes as Python values; text as str. At an `opset`, those too that it leaves out."""
    left_out = () if opset is None else defaults(node.op_type, opset, node.domain)
    values = {a.name: helper.get_attribute_value(a) for a in (*left_out, *node.attribute)}
    return {k: v.decode("utf-8", "replace") if isinstance(v, bytes) else v for k, v in values.items()}


def bodies(node: NodeProto) -> list[GraphProto]:
    """The graphs inside a node: the branches of an If, what a Loop or a Scan repeats."""
    found: list[GraphProto] = []
    for a in node.attribute:
        if a.type == AttributeProto.GRAPH:
            found.append(a.g)
        elif a.type == AttributeProto.GRAPHS:
            found.extend(a.graphs)
    return found


def every_node(nodes: Iterable[NodeProto]) -> Iterator[NodeProto]:
    """The nodes, and those of the graphs inside them."""
    for node in nodes:
        yield node
        for body in bodies(node):
            yield from every_node(body.node)


def reads(node: NodeProto) -> list[str]:
    """Every value that a node is computed from: its inputs, and what the graphs inside it capture."""
    inputs = [name for name in node.input if name]
    if not _may_hold_graphs(node.op_type, node.domain):
        return list(dict.fromkeys(inputs))
    return list(dict.fromkeys([*inputs, *captured(node)]))


@lru_cache(maxsize=4096)
def _may_hold_graphs(op_type: str, domain: str) -> bool:
    """Whether an operator has attributes that are graphs, as far as its specification tells."""
    try:
        schema = defs.get_schema(op_type, domain=domain)
    except defs.SchemaError:
        return True
    kinds = {attribute.type for attribute in schema.attributes.values()}
    return not kinds.isdisjoint({defs.OpSchema.AttrType.GRAPH, defs.OpSchema.AttrType.GRAPHS})


def captured(node: NodeProto) -> list[str]:
    """The values around a node that the graphs inside it read by name; they stand among no inputs."""
    return list(dict.fromkeys(name for body in bodies(node) for name in around(body)))


def around(body: GraphProto) -> list[str]:
    """The values around a graph inside a node that it reads by name."""
    inner = [i for n in body.node for i in reads(n)] + [o.name for o in body.output if o.name]
    own = _defined(body)
    return [name for name in dict.fromkeys(inner) if name not in own]


def within(node: NodeProto) -> set[str]:
    """The names of all values that the graphs inside a node compute, and those inside these."""
    return set().union(*(_defined(b).union(*map(within, b.node)) for b in bodies(node)))


def _defined(body: GraphProto) -> set[str]:
    """The names that a graph gives to values of its own, which hide those around it."""
    values = (*body.input, *body.initializer, *(t.values for t in body.sparse_initializer))
    return {v.name for v in values}.union(*(n.output for n in body.node))


def renamed(
    node: NodeProto, new: Mapping[str, str], inside: Callable[[str], str] = lambda name: name
) -> NodeProto:
    """A copy that reads and computes values by their new names, in the graphs inside it too.

    What these call their own values is `inside` of the name that they have.
    """
    copy = NodeProto()
    copy.CopyFrom(node)
    _rename(copy, new, inside)
    return copy


def _rename(node: NodeProto, new: Mapping[str, str], inside: Callable[[str], str]) -> None:
    for names in (node.input, node.output):
        for i, name in enumerate(names):
            if name in new:
                names[i] = new[name]
    for body in bodies(node):
        there = {**new, **{name: inside(name) for name in sorted(_defined(body)) if name}}
        for value in (
            *body.input,
            *body.initializer,
            *(t.values for t in body.sparse_initializer),
            *body.value_info,
            *body.output,
        ):
            value.name = there.get(value.name, value.name)
        for inner in body.node:
            _rename(inner, there, inside)


def describe(node: NodeProto) -> str:
    """A node in words: its operator, and its name or else what it computes."""
    return f"{node.op_type} node {node.name or next(filter(None, node.output), '?')!r}"


@contextmanager
def understood(node: NodeProto) -> Iterator[None]:
    """Around all that is made of a node: what stumbles over a damaged one ends as BadModel, naming it."""
    try:
        yield
    except OnnxlensError:
        raise
    except Exception as error:  # attributes and inputs of any kind may be missing or of a wrong one
        reason = " ".join(f"{type(error).__name__} {error}".split())[:200]
        raise BadModel(
            f"{describe(node)} is not what the specification says of {node.op_type!r} ({reason}); "
            "onnx.checker may say more"
        ) from error


def key_of(node: NodeProto) -> str:
    """The key of a node's operator in a table: "Relu", or "com.microsoft:Gelu" elsewhere."""
    return f"{node.domain}:{node.op_type}" if node.domain else node.op_type


def named(attrs: dict[str, Any], function: Callable[..., Any]) -> dict[str, Any]:
    """Those of some attributes that a rule or a body asks for by name."""
    wanted = _parameters(function)
    return attrs if wanted is None else {k: v for k, v in attrs.items() if k in wanted}


@lru_cache(maxsize=1024)
def _parameters(function: Callable[..., Any]) -> frozenset[str] | None:
    """The names of a function's parameters; None where it takes any."""
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    return frozenset(p.name for p in parameters)


def is_variadic(slot: defs.OpSchema.FormalParameter) -> bool:
    """True for the last input or output of an operator that takes any number."""
    return slot.option == defs.OpSchema.FormalParameterOption.Variadic


def is_differentiable(slot: defs.OpSchema.FormalParameter) -> bool:
    """False for what the specification calls non-differentiable, such as Reshape's shape."""
    return slot.differentiation_category != defs.OpSchema.DifferentiationCategory.NonDifferentiable


def ours(name: str, taken: set[str]) -> str:
    """A name for a value that we put beside one of the model's, added to those that are taken."""
    name = OURS + name
    while name in taken:
        name += "'"
    taken.add(name)
    return name


def is_ordered(nodes: Sequence[NodeProto]) -> bool:
    """True where each node stands behind those whose values it reads, in the graphs inside it too."""
    return all(before < i for i, needed in enumerate(_needed(nodes)) for before in needed)


def ordered(nodes: Sequence[NodeProto]) -> list[NodeProto]:
    """The nodes, each behind those whose values it reads, and otherwise as they stood.

    The graphs inside them must be in order. Raises BadModel where nodes read each other's values.
    """
    sorter = TopologicalSorter(dict(enumerate(_needed(nodes))))
    try:
        sorter.prepare()
    except CycleError as error:
        circle = error.args[1][1:]
        names = ", ".join(describe(nodes[i]) for i in circle[:MAX_SHOWN]) + (
            ", ..." if len(circle) > MAX_SHOWN else ""
        )
        raise BadModel(
            f"nodes read each other's values in a circle, so none can be computed: {names}"
        ) from None
    ready: list[int] = []
    found = []
    while sorter.is_active():
        for i in sorter.get_ready():
            heappush(ready, i)
        i = heappop(ready)
        found.append(nodes[i])
        sorter.done(i)
    return found


def _needed(nodes: Sequence[NodeProto]) -> list[set[int]]:
    """For each node the numbers of those whose values it reads."""
    maker = {o: i for i, node in enumerate(nodes) for o in node.output if o}
    return [{maker[v] for v in reads(n) if v in maker} for n in nodes]
