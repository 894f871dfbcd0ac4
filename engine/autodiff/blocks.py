"""Where gradients stop: the operators that none leads through, why, and the way out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from onnx import NodeProto

from ..anatomy.anatomy import seeing
from ..errors import NoRule
from ..graph.graph import Graph, Tensor
from ..graph.nodes import captured, describe, key_of, reads, schema_of
from ..graph.types import is_float, is_real
from ..operators.contrib import REFUSED
from ..operators.traits import having, traits_of

STEPS = having(lambda t: t.step)


def why(graph: Graph, node: NodeProto) -> str:
    """Why no gradient leads through a node, as what its operator does."""
    if stops := traits_of(node).stops or REFUSED.get(key_of(node)):
        return stops
    dtype = Tensor(graph, node.output[0]).dtype if node.output and node.output[0] in graph else None
    if dtype is not None and not is_float(dtype):
        return f"gives {dtype}, and only real numbers have gradients"
    if schema_of(node.op_type, graph.opsets.get(node.domain, 1), node.domain) is None:
        return f"{key_of(node)} has no rule, and ONNX does not define it"
    return f"{key_of(node)} has no rule"


def no_rule(graph: Graph, node: NodeProto, reason: str | None = None) -> str:
    """Why a gradient stops at a node, and the way out: one line, for errors and for the doctor.

    `reason`: what its rule or body says; by default what its operator does.
    """
    before = value_before(graph, node)
    ways = [f"ask for a value before it (of={before!r})" if before else "ask for a value behind it by `wrt`"]
    if traits_of(node).step and traits_of(node).elementwise:
        ways.append('take steps for the identity (rules="straight-through")')
    elif not captured(node) and not traits_of(node).runs:  # which a rule is not given
        typed = all(Tensor(graph, o).dtype is not None for o in node.output if o)
        ways.append("give a rule for it in `rules`" + ("" if typed else ", whose `like` tells the type"))
    return f"no gradient leads through {describe(node)}: {reason or why(graph, node)}; {' or '.join(ways)}"


def not_real(value: Tensor, name: str) -> str:
    """Why a value that holds no real numbers has no gradient, and which one has: one line."""
    node = value.graph.producer(value.name)
    before = None if node is None else value_before(value.graph, node)
    behind = value_behind(value.graph, value.name)
    ask = (
        f"the nearest before it is {before!r}"
        if before
        else f"the nearest behind it is {behind!r}: grad --wrt takes it"
        if behind
        else "ask for one behind it by `wrt`"
    )
    stored = value.dtype is not None and is_float(value.dtype)
    real = "only floating-point values have gradients" + ", of 16 bits or more" * stored
    return f"{name!r} is of type {value.dtype}: {real}; {ask}"


@contextmanager
def explained(graph: Graph, node: NodeProto) -> Iterator[None]:
    """Around a node of the backward pass: what its rule or body says becomes the sentence about the node."""
    try:
        yield
    except NoRule as stop:
        why = f"{stop.why} ({stop.at} inside)" if stop.at and traits_of(node).runs else stop.why
        raise NoRule(no_rule(graph, node, why), why, describe(node)) from stop


def value_before(graph: Graph, node: NodeProto) -> str | None:
    """The nearest real value before a node that is computed from an input; a feature map before others."""
    names, depending = reads(node), seeing(graph)
    seen: set[str] = set()
    while names:
        real = [n for n in names if n in depending and graph.producer(n) is not None and _is_real(graph, n)]
        if real:
            return max(real, key=lambda n: len(graph[n].shape or ()))
        seen.update(names)
        made = [graph.producer(n) for n in names]
        names = list(dict.fromkeys(i for m in made if m is not None for i in reads(m) if i not in seen))
    return None


def value_behind(graph: Graph, name: str) -> str | None:
    """The first real value that is computed from another which is none, as a Cast makes it of pixels."""
    reached = {name}
    for node in graph.nodes:
        if not traits_of(node).reads_sizes and not reached.isdisjoint(reads(node)):
            reached.update(filter(None, node.output))
            real = next((o for o in node.output if o and _is_real(graph, o)), None)
            if real is not None:
                return real
    return None


def _is_real(graph: Graph, name: str) -> bool:
    return is_real(graph[name].dtype)
