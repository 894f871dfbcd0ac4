"""Outputs that are features and no scores of classes: embeddings, backbones cut off before their head."""

from __future__ import annotations

from math import prod

from onnx import NodeProto

from ..graph.graph import Graph
from .anatomy import WEIGHTED
from .squashing import PASSING

# What makes features of scores: hardly any model has one behind its layer of classes.
_GATING = {
    "Relu", "LeakyRelu", "PRelu", "Elu", "Selu", "Celu", "Gelu", "HardSwish", "Mish", "Softplus", "Softsign",
    "Tanh", "Exp", "Abs", "Softmax", "Sigmoid",
}  # fmt: skip
_NORMALISING = {
    "LpNormalization", "LayerNormalization", "BatchNormalization", "InstanceNormalization",
    "GroupNormalization", "RMSNormalization", "SimplifiedLayerNormalization", "SkipLayerNormalization",
}  # fmt: skip
_POOLING = {
    "GlobalAveragePool", "GlobalMaxPool", "QLinearGlobalAveragePool", "AveragePool", "MaxPool", "ReduceMean",
    "ReduceMax", "ReduceSum", "LpPool", "GlobalLpPool", "NhwcMaxPool", "QLinearAveragePool",
    "QLinearReduceMean",
}  # fmt: skip


def is_embedding(graph: Graph, name: str, depending: set[str]) -> bool:
    """Whether a value is features, pooled, normalised or gated, with no layer of classes behind them.

    Such a layer is dense, or a convolution right before the pooling; behind a ReLU (SqueezeNet) it is one of
    1 x 1, since wider ones end the networks that are cut off before their head.
    """
    pooled = gated = False
    while (node := graph.producer(name)) is not None:
        sources = [i for i in node.input if i in depending]
        if node.op_type in _NORMALISING or _is_norm(graph, node):
            return True
        if node.op_type in WEIGHTED:
            is_map = _places(graph, node) > 1
            return (
                (gated and _is_wide(graph, node)) if is_map and pooled else is_map or (gated and not pooled)
            )
        if len(sources) != 1:
            return pooled or gated
        if node.op_type in _POOLING:
            pooled = True
        elif pooled and node.op_type not in PASSING - {"Clip"} | {"Relu"}:
            return True
        gated = gated or node.op_type in _GATING
        name = sources[0]
    return False


def _places(graph: Graph, node: NodeProto) -> int:
    """How many places a convolution gives features of; 1 where that is not known, and of other nodes."""
    shape = graph[node.output[0]].shape or ()
    return prod(d for d in shape[2:] if isinstance(d, int)) if "Conv" in node.op_type else 1


def _is_wide(graph: Graph, node: NodeProto) -> bool:
    """Whether a convolution looks at more than one place at once."""
    kernels = (graph[i].shape or () for i in node.input if i in graph.constants)
    return any(d != 1 for k in kernels if len(k) == 4 for d in k[2:])


def _is_norm(graph: Graph, node: NodeProto) -> bool:
    """Whether a node divides a vector by its own length, or multiplies it with what is 1 over that."""
    ways = {"Div": [node.input], "Mul": [node.input, node.input[::-1]]}.get(node.op_type, [])
    of_length = {"ReduceL2", "Mul", "Pow", "ReduceSumSquare", "Abs"}
    for vector, other in ways:
        length = [n.op_type for n in graph.ancestors([other]) if vector in n.input]
        if length and of_length.issuperset(length):
            return True
    return False
