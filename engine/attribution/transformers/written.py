"""Fused attention written out, so that its weights are values of the graph like any other."""

from __future__ import annotations

from onnx import NodeProto, helper

from ...autodiff.blocks import explained
from ...autodiff.expansion import own_body, specified_body
from ...graph.graph import Graph
from ...graph.nodes import key_of, understood
from ...operators.bodies import BODIES
from ...operators.traits import traits_of


def written_out(graph: Graph) -> Graph:
    """A copy of a graph in which each fused attention is what it is made of, up to rounding.

    Raises NoRule for one that cannot be, such as one that keeps a cache in a shared buffer.
    """
    graph = graph.copy()
    for node in [n for n in graph.nodes if _is_fused(n)]:
        count = len(graph.nodes)
        with understood(node), explained(graph, node):
            made = own_body(graph, node) if key_of(node) in BODIES else specified_body(graph, node)
        ends = [
            helper.make_node("Identity", [name], [o])
            for name, o in zip(made, node.output, strict=False)
            if name and o
        ]
        body = graph.nodes[count:]
        del graph.nodes[count:]
        graph.extend(node, [*body, *ends], {})
    return graph


def _is_fused(node: NodeProto) -> bool:
    traits = traits_of(node)
    return traits.attends and not traits.mixes
