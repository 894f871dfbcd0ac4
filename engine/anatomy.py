"""Where things are in a network: the score behind a softmax, the last spatial features, what lies between."""

from __future__ import annotations

from onnx import NodeProto

from .errors import BadRequest, nearest
from .graph import Graph
from .nodes import OURS
from .types import is_float

# Operators that pass on every element as it is, in another shape or type at most.
RESHAPING = {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Cast", "Dropout"}
QUANTISING = {"QuantizeLinear", "DequantizeLinear"}
# Operators with weights: the last of them on the way to the score is the classifier.
WEIGHTED = {
    "Conv", "Gemm", "MatMul", "ConvTranspose", "FusedConv", "FusedGemm", "FusedMatMul",
    "QLinearConv", "QGemm", "QLinearMatMul", "ConvInteger", "MatMulInteger",
    "MatMulIntegerToFloat", "DynamicQuantizeMatMul",
}  # fmt: skip
POOLING = {"MaxPool", "AveragePool", "LpPool"}
SOFTMAX = {"Softmax", "LogSoftmax", "QLinearSoftmax"}


def score_name(graph: Graph, output: str | None = None) -> str:
    """The value that holds the scores of an output (default: the first), before a final Softmax.

    Softmax couples the classes: behind it a class also gains by the loss of all others, and a sure
    prediction has almost no gradient.
    """
    output = graph.outputs[0] if output is None else output
    name = output
    passing = RESHAPING | QUANTISING
    while (node := graph.producer(name)) is not None and node.op_type in passing:
        name = node.input[0]
    if node is None or node.op_type not in SOFTMAX:
        return output
    name = node.input[0]
    while name.startswith(OURS) and (node := graph.producer(name)) is not None and node.op_type in passing:
        name = node.input[0]
    return name


def is_spatial(graph: Graph, name: str) -> bool:
    """True for a float value of shape (N, C, H, W) whose map is larger than one pixel."""
    dtype, shape = graph[name].dtype, graph[name].shape
    if shape is None or len(shape) != 4 or (dtype is not None and not is_float(dtype)):
        return False
    return not all(d == 1 for d in shape[2:])


def spatial_values(graph: Graph) -> list[str]:
    """The computed feature maps, in order."""
    names = [o for n in graph.nodes for o in n.output[:1] if not o.startswith(OURS)]
    return [n for n in names if is_spatial(graph, n)]


def last_features(graph: Graph, score: str) -> str:
    """The last spatial features before the head: the layer that Grad-CAM looks at by itself.

    The head is the last operator with weights on the way to the score and all that follows it. Before
    it stands the last feature map; a pooling in between is stepped over, for the finer map behind it.

        conv -> relu -> [pool] -> flatten -> gemm -> softmax        conv -> relu -> gap -> conv 1x1
                ^^^^                                                        ^^^^

    Raises BadRequest when there is none.
    """
    way = graph.ancestors([score])
    weighted = [n for n in way if n.op_type in WEIGHTED]
    if weighted:
        way = graph.ancestors(weighted[-1].input[:1])
    spatial = [n for n in way if n.output and is_spatial(graph, n.output[0])]
    if not spatial:
        raise BadRequest(
            "this model has no feature map (N, C, H, W) before its head; "
            "`onnxlens layers MODEL` lists what it has"
        )
    node = spatial[-1]
    while (maker := _maker(graph, node)).op_type in (*POOLING, *RESHAPING, "LRN"):
        before = graph.producer(maker.input[0])
        if before is None or not is_spatial(graph, before.output[0]):
            break
        node = before
    return node.output[0]


def _maker(graph: Graph, node: NodeProto) -> NodeProto:
    """The node that computes what a node quantises or dequantises, if it does; else the node itself."""
    while node.op_type in QUANTISING and (before := graph.producer(node.input[0])) is not None:
        node = before
    return node


def checked_layer(graph: Graph, layer: str | None, score: str) -> str:
    """The layer to look at: the named one, or the last features before the head.

    Raises BadRequest where it is not there, with the nearest names, or is no feature map.
    """
    if layer is None:
        return last_features(graph, score)
    if layer not in graph:
        raise BadRequest(f"the model has no layer {layer!r}{nearest(layer, spatial_values(graph))}")
    layer = graph.twins.get(layer, layer)
    if not is_spatial(graph, layer):
        raise BadRequest(
            f"layer {layer!r} of shape {list(graph[layer].shape or ())} is no feature map (N, C, H, W)"
            f"{nearest(layer, spatial_values(graph))}"
        )
    return layer


def between(graph: Graph, layer: str, score: str) -> list[str]:
    """The computed floating-point values that lead from the layer to the score, in order, both included."""
    felt = {layer}
    for node in graph.nodes:
        if felt.intersection(node.input):
            felt.update(node.output)
    way = [o for n in graph.ancestors([score]) for o in n.output[:1]]
    return [o for o in way if o in felt and (d := graph[o].dtype) is not None and is_float(d)]
