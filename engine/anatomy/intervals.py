"""Between which bounds the values of a graph are sure to lie, whatever the image: interval arithmetic.

Moore 1966, "Interval Analysis". It tells what is a probability from what is not: a mean of two Softmaxes,
one less a Sigmoid, a Clip to 0 and 1 lie between 0 and 1, whatever the photo is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import exp, inf, isnan, log
from typing import NamedTuple

import numpy as np
from onnx import NodeProto

from ..graph.dataflow import SMALL
from ..graph.graph import Graph
from ..graph.nodes import attributes, bodies, key_of
from ..graph.types import is_float
from ..operators.traits import TRAITS, Traits


class Interval(NamedTuple):
    """Every entry of a value lies between `low` and `high`, both included."""

    low: float = -inf
    high: float = inf

    def within(self, low: float, high: float, slack: float = 1e-5) -> bool:
        """Whether all of it lies between two numbers, but for rounding."""
        return low - slack <= self.low and self.high <= high + slack


ANYTHING = Interval()


def _hull(*given: Interval) -> Interval:
    return Interval(min(i.low for i in given), max(i.high for i in given))


def _corners(function: Callable[[float, float], float], a: Interval, b: Interval) -> Interval:
    """What a function of two numbers that is monotone in each comes to: its extremes are at the corners."""
    found = [function(x, y) for x in a for y in b]
    return ANYTHING if any(map(isnan, found)) else Interval(min(found), max(found))


def _product(x: float, y: float) -> float:
    return 0.0 if 0 in (x, y) else x * y


def _quotient(a: Interval, b: Interval) -> Interval:
    if b.low <= 0 <= b.high:
        return ANYTHING
    return _corners(_product, a, Interval(*sorted((1 / b.low, 1 / b.high))))


def _power(x: Interval, exponent: Interval) -> Interval:
    if min(x.low, exponent.low) < 0:
        return ANYTHING
    with np.errstate(all="ignore"):
        return _corners(lambda a, b: float(np.power(np.float64(a), b)), x, exponent)


def _clip(x: Interval, low: Interval = ANYTHING, high: Interval = ANYTHING) -> Interval:
    return Interval(min(max(x.low, low.low), high.high), min(max(x.high, low.low), high.high))


def _told(traits: Traits) -> Callable[..., Interval] | None:
    """What the table of traits says of an operator: bounds of its own, or those of what it is given."""
    if (bounds := traits.range) is not None:
        return lambda *_: Interval(*bounds)
    if traits.hull and (traits.elementwise == "together" or traits.moves == "joins"):
        return _hull
    first = traits.hull or traits.reshapes or (traits.quantises and traits.elementwise)
    return (lambda x, *_: x) if first else None


def _rounded(x: Interval) -> Interval:
    return Interval(float(np.floor(x.low)), float(np.ceil(x.high)))


# What an operator makes of the intervals of its inputs: as the table of traits says, or by arithmetic of its
# own, which nothing else does.
INTERVALS: dict[str, Callable[..., Interval]] = {
    **{key: rule for key, traits in TRAITS.items() if (rule := _told(traits))},
    "Relu": lambda x: _clip(x, Interval(0, 0)),
    "Exp": lambda x: Interval(exp(min(x.low, 700)), exp(x.high) if x.high < 700 else inf),
    "Log": lambda x: Interval(*(log(v) if 0 < v < inf else -inf if v <= 0 else inf for v in x)),
    "Round": _rounded,
    "Floor": _rounded,
    "Ceil": _rounded,
    "Neg": lambda x: Interval(-x.high, -x.low),
    "Reciprocal": lambda x: _quotient(Interval(1, 1), x),
    "Clip": _clip,
    "Add": lambda a, b: Interval(a.low + b.low, a.high + b.high),
    "Sub": lambda a, b: Interval(a.low - b.high, a.high - b.low),
    "Mul": lambda a, b: _corners(_product, a, b),
    "Div": _quotient,
    "Pow": _power,
    "Sqrt": lambda x: Interval(*(max(v, 0) ** 0.5 for v in x)),
    "Sum": lambda *given: Interval(sum(i.low for i in given), sum(i.high for i in given)),
    "Where": lambda _, a, b: _hull(a, b),
    "AveragePool": lambda x: _hull(x, Interval(0, 0)),
}


def interval(graph: Graph, name: str) -> Interval:
    """The bounds of a value, as far as its graph tells: one pass over what it is computed from.

    Of integers that stand for real numbers it is the bounds of these.
    """
    found: dict[str, Interval] = {"": ANYTHING}
    _follow(graph, graph.ancestors([name]), found)
    return _of(graph, name, found)


def _follow(graph: Graph, nodes: Iterable[NodeProto], found: dict[str, Interval]) -> None:
    """Adds the bounds of what the nodes compute to those that were found before."""
    for node in nodes:
        rule = INTERVALS.get(key_of(node))
        if rule and node.input:
            result = rule(*(_of(graph, i, found) for i in node.input))
            found.update((o, result) for o in node.output)
        else:
            given = [_of_bodies(graph, node, found, i) for i in range(len(node.output))]
            found.update(zip(node.output, given, strict=True))


def _of_bodies(graph: Graph, node: NodeProto, found: dict[str, Interval], index: int) -> Interval:
    """The bounds of an output of an If, a Loop or a Scan: those of the graphs inside it, whatever they are
    given, and of what is handed on where nothing is repeated.
    """
    given = []
    for body in bodies(node):
        own = dict.fromkeys((v.name for v in (*body.input, *body.initializer)), ANYTHING)
        inner = {**found, **own}
        _follow(graph, body.node, inner)
        first = int(node.op_type == "Loop")  # says whether to go on
        given.append(_of(graph, body.output[first + index].name, inner))
    if node.op_type == "Loop":
        carried = node.input[2:]
    else:  # of an If nothing is carried on
        scanned = attributes(node).get("num_scan_inputs", len(node.input))
        carried = node.input[: len(node.input) - scanned]
    given += [_of(graph, name, found) for name in carried[index : index + 1]]
    return _hull(*given) if given else ANYTHING


def _of(graph: Graph, name: str, found: dict[str, Interval]) -> Interval:
    if name in found:
        return found[name]
    tensor = graph.constants.get(name)
    if tensor is None or int(np.prod(tensor.dims, dtype=np.int64)) > SMALL:
        return ANYTHING
    array = graph[name].array
    if array is None or not array.size or not is_float(array.dtype):
        return ANYTHING
    low, high = float(array.min()), float(array.max())
    return ANYTHING if isnan(low) or isnan(high) else Interval(low, high)
