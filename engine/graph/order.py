"""The order in which nodes can be computed: that of the file as far as it is one."""

from __future__ import annotations

from collections.abc import Sequence
from graphlib import CycleError, TopologicalSorter
from heapq import heappop, heappush

from onnx import NodeProto

from ..errors import BadModel
from .nodes import describe, reads

MAX_SHOWN = 4  # nodes of a circle, at most, that an error names


def is_ordered(nodes: Sequence[NodeProto]) -> bool:
    """True where each node stands behind those whose values it reads, in the graphs inside it too."""
    return all(before < i for i, needed in enumerate(_needed(nodes)) for before in needed)


def ordered(nodes: Sequence[NodeProto]) -> list[NodeProto]:
    """The nodes, each behind those whose values it reads, and otherwise as they stood.

    The graphs inside them must be in order. Raises BadModel where nodes read each other's values.
    """
    sorter = TopologicalSorter(dict(enumerate(_needed(nodes))))
    try:
        sorter.prepare()
    except CycleError as error:
        circle = error.args[1][1:]
        names = ", ".join(describe(nodes[i]) for i in circle[:MAX_SHOWN]) + (
            ", ..." if len(circle) > MAX_SHOWN else ""
        )
        raise BadModel(
            f"nodes read each other's values in a circle, so none can be computed: {names}"
        ) from None
    ready: list[int] = []
    found = []
    while sorter.is_active():
        for i in sorter.get_ready():
            heappush(ready, i)
        i = heappop(ready)
        found.append(nodes[i])
        sorter.done(i)
    return found


def _needed(nodes: Sequence[NodeProto]) -> list[set[int]]:
    """For each node the numbers of those whose values it reads."""
    maker = {o: i for i, node in enumerate(nodes) for o in node.output if o}
    return [{maker[v] for v in reads(n) if v in maker} for n in nodes]
