"""What lies between the input and an answer: what depends on it, what everything passes through."""

from __future__ import annotations

from onnx import NodeProto

from ..graph.graph import Graph
from ..graph.types import is_float
from ..operators.traits import traits_of


def seeing(graph: Graph) -> set[str]:
    """The values that depend on the picture, and not on its size alone; it is included.

    What is given beside it (Dataflow.given) is the same for all pictures, as weights are.
    """
    found = set(graph.pictured)
    for node in graph.nodes:
        if not traits_of(node).reads_sizes and not found.isdisjoint(graph.reads(node)):
            found.update(filter(None, node.output))
    return found


def default_input(graph: Graph) -> list[str]:
    """The name of the input that is most likely the image: the first of four axes, or else the first."""
    images = [name for name in graph.pictured if len(graph[name].shape or ()) == 4]
    return (images or graph.pictured)[:1]


def is_pooling(node: NodeProto) -> bool:
    """True for a pooling over windows, which leaves a map."""
    return traits_of(node).pools and traits_of(node).window == "window"


def bottlenecks(graph: Graph, score: str, scales: bool = True) -> list[str]:
    """The values between inputs and score that everything passes through, in order.

    They are where a network can be cut by one tensor: in a residual network the sums, not the branches. Sizes
    say nothing of the image, but positions do (ArgMax, TopK): what is read at them depends on both. So do
    `scales` that are found on the spot, which go around the integers that they belong to; without them those
    integers stand for all.
    """
    way = [n for n in graph.ancestors([score]) if not traits_of(n).reads_sizes]
    reached, last_read = set(graph.pictured), dict.fromkeys(graph.pictured, -1)
    for i, node in enumerate(way):
        read = reached.intersection(graph.reads(node))
        if read:
            numbers = node.output if scales or traits_of(node).quantises != "to" else node.output[:1]
            reached.update(filter(None, numbers))
            last_read.update(dict.fromkeys(read, i))
    found = []
    needed_until = max((last_read[name] for name in graph.pictured), default=-1)
    for i, node in enumerate(way):
        made = [o for o in node.output if o in last_read]
        if len(made) == 1 and needed_until <= i:
            found += made
        needed_until = max([needed_until, *(last_read[o] for o in made)])
    return found


def between(graph: Graph, layer: str, score: str) -> list[str]:
    """The computed floating-point values that lead from the layer to the score, in order, both included."""
    reached = {layer}
    for node in graph.nodes:
        if reached.intersection(graph.reads(node)):
            reached.update(node.output)
    way = [o for n in graph.ancestors([score]) for o in n.output[:1]]
    return [o for o in way if o in reached and (d := graph[o].dtype) is not None and is_float(d)]
