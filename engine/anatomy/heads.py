"""What stands between the last feature maps and the scores: whether it is their means that are looked at."""

from __future__ import annotations

from onnx import NodeProto

from ..graph.graph import Graph
from ..graph.nodes import attributes
from ..operators.traits import traits_of
from .grids import View
from .maps import view_of


def is_averaged(graph: Graph, layer: str, score: str) -> bool:
    """Whether all that leads from a layer to the scores begins with means of its maps over all positions."""
    view, reached, found = view_of(graph, layer), {layer}, False
    for node in graph.ancestors([score]):
        if reached.isdisjoint(graph.reads(node)) or layer in node.output:
            continue
        traits = traits_of(node)
        if traits.reshapes or traits.moves == "axes":
            reached.update(node.output)
        elif _is_mean(graph, node, layer, view):
            found = True
        elif not traits.reads_sizes:
            return False
    return found


def _is_mean(graph: Graph, node: NodeProto, layer: str, view: View) -> bool:
    """Whether a node gives one number for each channel of a layer, the mean of all of its positions."""
    traits, shapes = traits_of(node), [graph[name].shape for name in (layer, node.output[0])]
    if not traits.pools or traits.linear != "sum" or view.index is not None or None in shapes:
        return False
    channels = (shapes[0] or ())[view.channels]
    if [d for d in (shapes[1] or ())[1:] if d != 1] != [channels]:
        return False
    return traits.window != "window" or tuple(attributes(node).get("kernel_shape", ())) == view.grid
