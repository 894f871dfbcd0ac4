"""Batch normalisation merged into the convolution before it, for rules that tell signs apart.

    y = γ (x w + b - μ) / √(σ² + ε) + β   =   x w' + b'      w' = w γ / √(σ² + ε)

Alone, a normalisation with a negative γ turns evidence for into evidence against, and its shift is as large
as what it shifts. Merged, the two are one layer (Guillemot et al. 2020; zennit calls it canonising). The
network is not changed: w' and b' are computed on the backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from onnx import NodeProto

from ...graph.graph import Graph, Tensor, emit, op
from ...graph.nodes import attributes, reads
from ...operators.rules import VJP

Rule = Callable[..., Any]
Rules = Mapping[str, Rule]
Placed = Callable[[Graph, Collection[str]], Rules]


def merged(rules: Rules | Placed) -> Placed:
    """The rules, for a network whose convolutions have taken in the normalisation behind them.

    It is done where the weights of both are constants and nothing else reads the convolution; a
    normalisation elsewhere keeps its own rule.
    """

    def table(graph: Graph, of: Collection[str]) -> Rules:
        own = dict(rules if isinstance(rules, Mapping) else rules(graph, of))
        for norm, conv in _pairs(graph, of):
            # As the walker looks a rule up: by the node's name, its output, its operator.
            key = next((n for n in (conv.name, conv.output[0]) if n in own and n not in VJP), "Conv")
            own[conv.output[0] if key == "Conv" else key] = partial(_merged, own[key], norm)
            own[norm.output[0]] = lambda r, *_: r
        return own

    return table


def _pairs(graph: Graph, of: Collection[str]) -> list[tuple[NodeProto, NodeProto]]:
    """Each normalisation and the convolution that it normalises."""
    way = graph.ancestors(of)
    readers: dict[str, int] = {}
    for name in (*of, *(i for node in way for i in reads(node))):
        readers[name] = readers.get(name, 0) + 1
    pairs = []
    for norm in way:
        conv = graph.producer(norm.input[0]) if norm.op_type == "BatchNormalization" else None
        if conv is None or conv.op_type != "Conv" or conv.domain or readers[conv.output[0]] > 1:
            continue
        if all(i in graph.constants for i in (*conv.input[1:], *norm.input[1:]) if i):
            pairs.append((norm, conv))
    return pairs


def _merged(
    rule: Rule, norm: NodeProto, r: Tensor, y: Tensor, x: Tensor, w: Tensor, b: Tensor | None = None
) -> Any:
    """The rule of a convolution, on the weights that it has with the normalisation in it."""
    scale, shift, mean, variance = (y.graph[i] for i in norm.input[1:5])
    factor = scale / op.Sqrt(variance + attributes(norm).get("epsilon", 1e-5))
    b = shift - mean * factor if b is None else (b - mean) * factor + shift
    w = w * op.Reshape(factor, [-1] + [1] * (w.rank - 1))
    node = y.graph.producer(y.name)
    assert node is not None
    return rule(r, emit("Conv", x, w, b, **attributes(node)), x, w, b)
