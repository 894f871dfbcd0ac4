"""Outputs that are features and no scores of classes: embeddings, backbones cut off before their head."""

from __future__ import annotations

from math import prod

from onnx import NodeProto

from ..graph.graph import Graph
from ..operators.traits import traits_of
from .squashing import passes


def is_embedding(graph: Graph, name: str, depending: set[str]) -> bool:
    """Whether a value is features, pooled, normalised or gated, with no layer of classes behind them.

    Such a layer is dense, or a convolution right before the pooling; behind a ReLU (SqueezeNet) it is one of
    1 x 1, since wider ones end the networks that are cut off before their head.
    """
    pooled = gated = False
    while (node := graph.producer(name)) is not None:
        traits, sources = traits_of(node), [i for i in node.input if i in depending]
        if traits.normalises or _divided(graph, node):
            return True
        if traits.weights:
            is_map = _places(graph, node) > 1
            return (gated and is_wide(graph, node)) if is_map and pooled else is_map or (gated and not pooled)
        if len(sources) != 1:
            return pooled or gated
        if traits.pools:
            pooled = True
        elif pooled and node.op_type != "Relu" and (node.op_type == "Clip" or not passes(node)):
            return True
        gated = gated or _gates(node)
        name = sources[0]
    return False


def _gates(node: NodeProto) -> bool:
    """Whether a node makes features of scores: hardly any model has such a one behind its layer of classes.

    A Clip may be as wide as it likes.
    """
    traits = traits_of(node)
    bounded = traits.range is not None and (traits.elementwise or traits.squashes) and not traits.truth
    return bool((traits.activates or bounded) and node.op_type != "Clip")


def _places(graph: Graph, node: NodeProto) -> int:
    """How many places a convolution gives features of; 1 where that is not known, and of other nodes."""
    shape = graph[node.output[0]].shape or ()
    return prod(d for d in shape[2:] if isinstance(d, int)) if "Conv" in node.op_type else 1


def is_wide(graph: Graph, node: NodeProto) -> bool:
    """Whether a convolution looks at more than one place at once."""
    kernels = (graph[i].shape or () for i in node.input if i in graph.constants)
    return any(d != 1 for k in kernels if len(k) == 4 for d in k[2:])


def before_norm(graph: Graph, name: str) -> str:
    """The vector that a value is with the length 1; the value itself where it is of any length."""
    value = name
    while (node := graph.producer(value)) is not None and traits_of(node).reshapes:
        value = node.input[0]
    if node is None:
        return name
    return node.input[0] if node.op_type == "LpNormalization" else _divided(graph, node) or name


def _divided(graph: Graph, node: NodeProto) -> str:
    """The vector that a node divides by its own length, or multiplies with what is 1 over that; else none."""
    if traits_of(node).linear != "product" or not traits_of(node).elementwise:
        return ""
    for vector, other in [node.input] + [node.input[::-1]] * (node.op_type == "Mul"):
        readers = [n for n in graph.ancestors([other]) if vector in n.input]
        if readers and all(_is_square(n, vector) for n in readers):
            return vector
    return ""


def _is_square(node: NodeProto, vector: str) -> bool:
    """Whether a node makes the same of a vector and its opposite, as a length does; a power counts."""
    return traits_of(node).even or node.op_type == "Pow" or list(node.input).count(vector) == 2
