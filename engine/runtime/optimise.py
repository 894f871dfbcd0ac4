"""Rewrites of a finished graph that change its speed and nothing else.

The rules say the mathematics; here it is put into the words that ONNX Runtime's CPU kernels are fast at.
Between convolutions these keep feature maps in blocks of channels (NCHWc), and every operator that does not
know the blocks costs two copies. So what a convolution's gradient is made of becomes convolutions and what
may stand between them. Only nodes that onnxlens made are rewritten: the model's own stay as they are, and so
do the bits of its answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from onnx import NodeProto, helper

from ..graph.graph import Graph, Tensor
from ..graph.nodes import OURS, key_of, reads, renamed
from .rewrites import REWRITES
from .rewritten import Rewrite, Rewritten


def optimised(graph: Graph, outputs: Iterable[str]) -> Graph:
    """The graph that computes these outputs, in words that are faster on the CPU.

    Equal up to rounding: 1e-5 of the largest value. May contain nodes of the domain KERNELS, which only a
    Chain runs. The graph itself where there is nothing to rewrite.
    """
    outputs = list(outputs)
    if not any(_is_ours(n) and key_of(n) in REWRITES for n in graph.ancestors(outputs)):
        return graph
    return rewritten(graph, outputs, fast)


def fast(graph: Rewritten, node: NodeProto) -> Sequence[Tensor] | None:
    """The rewrite of an operator, where there is one."""
    rewrite = REWRITES.get(key_of(node))
    return None if rewrite is None else rewrite(graph, node)


def rewritten(graph: Graph, outputs: Sequence[str], rewrite: Rewrite, whole: bool = False) -> Graph:
    """The graph that computes these outputs, nodes of onnxlens rewritten where `rewrite` applies.

    With `whole` the model's own are too: for what copies numbers and computes none.
    """
    new = Rewritten(graph)
    names: dict[str, str] = {}
    for node in graph.ancestors(outputs):
        node = node if names.keys().isdisjoint(reads(node)) else renamed(node, names)
        results = rewrite(new, node) if whole or _is_ours(node) else None
        if results is None:
            new.add(node, {o: graph.types[o] for o in node.output if o in graph.types})
            continue
        for name, result in zip(node.output, results, strict=True):
            names[name] = result.name
            if name in outputs:
                new.add(helper.make_node("Identity", [result.name], [name]))
    return new


def _is_ours(node: NodeProto) -> bool:
    return node.output[0].startswith(OURS)
