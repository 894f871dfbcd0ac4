"""Which axis of the picture that a network takes holds its channels.

Names and sizes do not tell, the operators around do: a convolution says the second axis, a LayerNormalization
the last. The first that says so behind the input is believed; where none does, the size of the input.
"""

from __future__ import annotations

from onnx import NodeProto

from ..graph.graph import Graph
from ..graph.nodes import attributes
from ..operators.traits import traits_of


def channel_axis(graph: Graph, image: str) -> int:
    """The axis of the channels of a picture of four axes."""
    own = {image: [0, 1, 2, 3]}  # of values with the axes of the picture in some order: which each is
    for node in graph.nodes:
        order = next((own[name] for name in graph.reads(node) if name in own), None)
        if order is None or traits_of(node).reads_sizes:
            continue
        said = _said(node, len(order)) if node.input[:1] and node.input[0] in own else None
        if said is not None:
            return order[said]
        if node.op_type == "Transpose":
            perm = attributes(node).get("perm", [3, 2, 1, 0])
            order = [order[a] for a in perm]
        elif traits_of(node).mixes or not all(len(graph[o].shape or ()) == 4 for o in node.output if o):
            continue
        own.update((o, order) for o in node.output if o)
    _, second, _, last = graph[image].shape or (None,) * 4
    return 3 if second not in (1, 3) and last in (1, 3) else 1


def _said(node: NodeProto, rank: int) -> int | None:
    """The axis of the channels that an operator works on, by what it is."""
    traits = traits_of(node)
    if traits.normalises and traits.channels == -1:
        return rank - 1 if attributes(node).get("axis", -1) in (-1, rank - 1) else None
    if traits.channels == -1 or attributes(node).get("channels_last"):
        return rank - 1
    return traits.channels
