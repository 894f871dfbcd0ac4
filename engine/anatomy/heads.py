"""What stands between the last feature maps and the scores: whether it is their means that are looked at."""

from __future__ import annotations

from math import prod

from onnx import NodeProto

from ..graph.graph import Graph
from ..graph.nodes import attributes
from ..operators.traits import traits_of
from .maps import is_map, view_of


def is_averaged(graph: Graph, layer: str, score: str) -> bool:
    """Whether all that leads from a layer to the scores begins with means of its maps over all positions."""
    reached, found = {layer}, False
    for node in graph.ancestors([score]):
        if reached.isdisjoint(graph.reads(node)) or layer in node.output:
            continue
        traits = traits_of(node)
        if traits.reshapes or traits.moves == "axes":
            reached.update(node.output)
        elif _is_mean(graph, node, layer):
            found = True
        elif not traits.reads_sizes:
            return False
    return found


def averaged(graph: Graph, score: str) -> str | None:
    """The last layer on the way to the scores whose means over all positions are taken; None without any."""
    for node in reversed(graph.ancestors([score])):
        layer = node.input[0] if node.input else ""
        if traits_of(node).pools and is_map(graph, layer) and _is_mean(graph, node, layer):
            return layer
    return None


def _is_mean(graph: Graph, node: NodeProto, layer: str) -> bool:
    """Whether a node gives one number for each channel of a layer, the mean of all of its positions."""
    traits, view = traits_of(node), view_of(graph, layer)
    before, after = (graph[name].shape for name in (layer, node.output[0]))
    if not traits.pools or traits.linear != "sum" or view.index is not None or not before or not after:
        return False
    if None in after or prod(d for d in after[1:] if isinstance(d, int)) != before[view.channels]:
        return False
    return traits.window != "window" or tuple(attributes(node).get("kernel_shape", ())) == view.grid
