"""A graph with steps that a kernel does faster than any operator: sessions with kernels between them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from threading import Thread

import numpy as np
from onnx import NodeProto

from ..kernels.unpool import unpool
from .errors import BadRequest
from .graph import Graph
from .nodes import attributes, key_of, subgraph_inputs
from .rewrites.pools import POOL
from .rewritten import KERNELS
from .session import Session, one_line

ENOUGH = 2**18  # elements that are worth a thread of their own


class Chain(Session):
    """A Session in several pieces, for a graph with nodes of the domain KERNELS; on the CPU.

    Each node runs in the first piece that has all it reads, and kernels between two pieces. Arrays go from
    one to the next as they lie in memory.
    """

    def __init__(
        self,
        graph: Graph,
        outputs: Sequence[str] | None = None,
        provider: str = "cpu",
        threads: int | None = None,
    ):
        self.outputs = list(graph.outputs if outputs is None else outputs)
        self.provider = provider
        self._threads = threads
        piece: dict[str, int] = defaultdict(int)
        parts: dict[tuple[int, bool], list[NodeProto]] = defaultdict(list)
        for node in graph.ancestors(self.outputs):
            first, by_kernel = max((piece[i] for i in _read([node])), default=0), node.domain == KERNELS
            parts[first, by_kernel].append(node)
            piece.update(dict.fromkeys(node.output, first + by_kernel))
        self._steps: list[Session | list[NodeProto]] = []
        for key in sorted(parts):
            others = [n for k, nodes in parts.items() if k != key for n in nodes]
            wanted = _read(others).union(self.outputs)
            self._steps.append(parts[key] if key[1] else self._piece(graph, parts[key], wanted))

    def _piece(self, graph: Graph, nodes: list[NodeProto], wanted: set[str]) -> Session:
        """The session of some nodes, for what of theirs is wanted."""
        part = graph.copy()
        part.nodes = nodes
        made = [o for n in nodes for o in n.output if o]
        given = _read(nodes).difference(made, graph.constants, graph.inputs)
        part.inputs = [*graph.inputs, *sorted(given)]
        return Session(part, [o for o in made if o in wanted], self.provider, self._threads)

    def __call__(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run once. Raises BadRequest where an input is missing or of a wrong shape or type."""
        values = dict(feeds)
        for step in self._steps:
            if isinstance(step, Session):
                values.update(step(values))
                continue
            for node in step:
                values[node.output[0]] = self._kernel(node, values)
        return {name: values[name] for name in self.outputs}

    def _kernel(self, node: NodeProto, values: Mapping[str, np.ndarray]) -> np.ndarray:
        try:
            threads = self._threads or os.cpu_count() or 1
            return KERNEL[key_of(node)](node, threads, *(values[i] for i in node.input))
        except ValueError as error:
            raise BadRequest(f"inputs do not fit together: {one_line(error)}") from error


def _read(nodes: Sequence[NodeProto]) -> set[str]:
    return {i for n in nodes for i in (*n.input, *subgraph_inputs(n)) if i}


def _max_pool(node: NodeProto, threads: int, x: np.ndarray, g: np.ndarray) -> np.ndarray:
    if g.shape[:2] != x.shape[:2]:
        raise ValueError(f"maps {x.shape} and the gradient of their pooling {g.shape}")
    attrs = attributes(node)
    windows = [attrs[k] for k in ("kernel_shape", "strides", "pads", "dilations", "rectified")]
    out = np.empty_like(x)
    planes = [a.reshape(-1, 1, *a.shape[2:]) for a in (x, g, out)]
    count = min(threads, 1 + x.size // ENOUGH)
    shares = zip(*(np.array_split(a, count) for a in planes), strict=True)
    run = [Thread(target=unpool, args=(x, g, *windows, out)) for x, g, out in shares]
    for thread in run[1:]:
        thread.start()
    run[0].run()
    for thread in run[1:]:
        thread.join()
    return out


KERNEL = {POOL: _max_pool}
