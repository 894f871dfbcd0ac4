"""A graph with steps that a kernel does faster than any operator: sessions with kernels between them."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import numpy as np
from onnx import NodeProto

from ..errors import BadRequest
from ..graph.graph import Graph
from ..graph.nodes import attributes, key_of, reads
from .complaint import one_line
from .rewrites.pools import POOL
from .rewritten import KERNELS
from .session import Run, Session

ENOUGH = 2**20  # elements that are worth a thread of their own: to wake it takes as long as a tenth of them
SHARE = 2**17  # elements of a task, of which each thread does one after the other

Begun = tuple[
    np.ndarray, list[Callable[[], None]]
]  # a result that is still empty, and the tasks that fill it


class Kernel(NamedTuple):
    """A node of the domain KERNELS: the names of what it makes and reads, and how it begins on arrays."""

    output: str
    inputs: list[str]
    begin: Callable[..., Begun]


class Chain(Session):
    """A Session in several pieces, for a graph with nodes of the domain KERNELS; on the CPU.

    Each node runs in the first piece that has all it reads, and kernels between two pieces. Arrays go from
    one to the next as they lie in memory. What depends on the inputs that are `varying` is in pieces of its
    own, behind all others, which `begun` runs once for all that is fed there.
    """

    def __init__(
        self,
        graph: Graph,
        outputs: Sequence[str] | None = None,
        provider: str = "cpu",
        threads: int | None = None,
        kept: Path | None = None,
        varying: Collection[str] = (),
    ):
        self.outputs = list(graph.outputs if outputs is None else outputs)
        self.provider = provider
        self._threads, self._kept = threads, kept
        piece: dict[str, int] = defaultdict(int)
        parts: dict[tuple[bool, int, bool], list[NodeProto]] = defaultdict(list)
        varies = set(varying)
        for node in graph.ancestors(self.outputs):
            read = _read([node])
            if not varies.isdisjoint(read):
                varies.update(node.output)
            first, by_kernel = max((piece[i] for i in read), default=0), node.domain == KERNELS
            parts[not varies.isdisjoint(read), first, by_kernel].append(node)
            piece.update(dict.fromkeys(node.output, first + by_kernel))
        self._once = sum(not key[0] for key in parts)  # steps that do not vary
        self._steps: list[Session | list[Kernel]] = []
        for key in sorted(parts):
            others = [n for k, nodes in parts.items() if k != key for n in nodes]
            wanted = _read(others).union(self.outputs)
            self._steps.append(_kernels(parts[key]) if key[-1] else self._piece(graph, parts[key], wanted))
        self._given_up, later = [], set(self.outputs)  # by step, what no later one reads
        for nodes in reversed([parts[key] for key in sorted(parts)]):
            self._given_up.insert(0, _read(nodes) - later)
            later |= _read(nodes)

    def _piece(self, graph: Graph, nodes: list[NodeProto], wanted: set[str]) -> Session:
        """The session of some nodes, for what of theirs is wanted."""
        part = graph.copy()
        part.nodes = nodes
        made = [o for n in nodes for o in n.output if o]
        given = _read(nodes).difference(made, graph.constants, graph.inputs)
        part.inputs = [*graph.inputs, *sorted(given)]
        kept = self._kept and self._kept.with_name(f"{self._kept.name}-{len(self._steps)}")
        return Session(part, [o for o in made if o in wanted], self.provider, self._threads, kept)

    def __call__(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run once. Raises BadRequest where an input is missing or of a wrong shape or type."""
        return self.begun(feeds)({})

    def begun(self, feeds: Mapping[str, np.ndarray]) -> Run:
        """What runs the rest with inputs that vary: all that does not depend on them is done here."""
        values = self._after(dict(feeds), slice(self._once))

        def rest(more: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            found = self._after({**values, **more}, slice(self._once, None))
            return {name: found[name] for name in self.outputs}

        return rest

    def _after(self, values: dict[str, np.ndarray], part: slice) -> dict[str, np.ndarray]:
        """The values after some of the steps, without those that no later step reads."""
        for step, given_up in zip(self._steps[part], self._given_up[part], strict=True):
            values.update(step(values) if isinstance(step, Session) else self._by_kernels(step, values))
            for name in given_up:
                values.pop(name, None)
        return values

    def _by_kernels(
        self, kernels: Sequence[Kernel], values: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """What some kernels make, which share out their work among the threads."""
        found, work = {}, []
        try:
            for kernel in kernels:
                found[kernel.output], tasks = kernel.begin(*(values[i] for i in kernel.inputs))
                work += tasks
        except ValueError as error:
            raise BadRequest(f"inputs do not fit together: {one_line(error)}") from error
        most = 1 + sum(a.size for a in found.values()) // ENOUGH
        _done(work, min(self._threads or os.cpu_count() or 1, most))
        return found


def _done(tasks: list[Callable[[], None]], threads: int) -> None:
    """Do tasks in several threads, each of which takes the next as soon as it is free."""

    def work() -> None:
        while tasks:
            try:
                task = tasks.pop()
            except IndexError:  # another thread was faster
                return
            task()

    helpers = [Thread(target=work) for _ in range(threads - 1)]
    for thread in helpers:
        thread.start()
    work()
    for thread in helpers:
        thread.join()


def _kernels(nodes: Sequence[NodeProto]) -> list[Kernel]:
    return [Kernel(n.output[0], list(n.input), KERNEL[key_of(n)](attributes(n))) for n in nodes]


def _read(nodes: Sequence[NodeProto]) -> set[str]:
    return {i for n in nodes for i in reads(n)}


def _max_pool(attrs: dict[str, Any]) -> Callable[..., Begun]:
    """Of `channels`, from one to before another, of pooled maps and of the gradient of their pooling."""
    from ...kernels.unpool import unpool  # brings numba, which takes longer to load than many a graph

    windows = [attrs[k] for k in ("kernel_shape", "strides", "pads", "dilations", "rectified")]
    start, end = attrs["channels"]

    def begin(x: np.ndarray, g: np.ndarray) -> Begun:
        if g.shape[:2] != x.shape[:2]:
            raise ValueError(f"maps {x.shape} and the gradient of their pooling {g.shape}")
        out = np.empty((len(x), end - start, *x.shape[2:]), np.float32)
        step = max(1, SHARE // (x.shape[2] * x.shape[3]))
        cuts = [slice(c, min(c + step, end)) for c in range(start, end, step)]
        tasks = [
            partial(
                unpool,
                x[n : n + 1, c],
                g[n : n + 1, c],
                *windows,
                out[n : n + 1, c.start - start : c.stop - start],
            )
            for n in range(len(x))
            for c in cuts
        ]
        return out, tasks

    return begin


KERNEL: dict[str, Callable[[dict[str, Any]], Callable[..., Begun]]] = {POOL: _max_pool}
