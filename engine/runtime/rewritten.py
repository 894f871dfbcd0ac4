"""A graph that is being rewritten for speed, and what the rewrites want to know of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from onnx import NodeProto, TypeProto

from ..graph.external import MAPPED
from ..graph.graph import Graph, Tensor, op
from ..graph.nodes import attributes, bodies, reads, within
from ..operators.traits import traits_of
from .aside import set_aside, temporary

KERNELS = "onnxlens"  # the domain of steps that no operator does as fast; chain.py runs them
MAX_BLOCK = 16  # channels, where registers hold 512 bits; 8 elsewhere


class Rewritten(Graph):
    """The graph that takes the place of another, with its inputs and constants and none of its nodes yet.

    That one is `before`. It knows which of its values lie in `blocked` form and which are `unbounded`: may be
    infinite. Large constants that are made on the way lie in a temporary file for as long as it lives.
    """

    def __init__(self, graph: Graph):
        super().__init__(dict(graph.opsets))
        self.blocked: set[str] = set()
        self.unbounded: set[str] = set()
        self.copies: dict[
            tuple[str, ...], str
        ] = {}  # what was made of constants, by their names and for what
        self._names.update(graph.value_names())  # which are to come
        self._names.update(*map(within, graph.nodes))  # a runtime takes no name twice, inside nodes either
        self._aside: Path | None = None
        self.before = graph
        for tensor in graph.constants.values():
            self.add_constant(tensor)
        for name in graph.inputs:
            self.declare_input(name, graph.types[name])
        self.outputs, self.metadata, self.twins = list(graph.outputs), graph.metadata, graph.twins
        self.given = graph.given

    def constant(self, value: Any, dtype: Any = None) -> Tensor:
        """As in any Graph, a large one in a file, from which the runtime takes it without another copy."""
        array = np.asarray(value, dtype)
        if array.nbytes >= MAPPED and array.dtype == np.float32:
            with suppress(OSError):  # no room on the disk: it stays in memory
                self._aside = self._aside or temporary(self)
                return self.add_constant(set_aside(array, self.fresh("constant"), self._aside))
        return super().constant(array)

    def once(self, key: tuple[str, ...], make: Callable[[], np.ndarray]) -> Tensor:
        """The constant of a key, made the first time: several nodes may make the same of a weight."""
        if key not in self.copies:
            self.copies[key] = self.constant(make()).name
        return Tensor(self, self.copies[key])

    def add(self, node: NodeProto, declared: dict[str, TypeProto] | None = None) -> None:
        """Append a node, and note what is known of its outputs."""
        super().add(node, declared)
        traits = traits_of(node)
        in_blocks = traits.blocks == "keeps" and all(i in self.blocked for i in node.input)
        if (in_blocks or traits.blocks == "makes") and len(Tensor(self, node.output[0]).shape or ()) == 4:
            self.blocked.add(node.output[0])
        divides = traits.infinities == "makes" and self.known(node.input[-1]) is None
        divides = divides or bool(bodies(node))  # which may hold any of these
        if divides or (traits.infinities != "stops" and not self.unbounded.isdisjoint(reads(node))):
            self.unbounded.update(node.output)

    def known(self, name: str) -> np.ndarray | None:
        """The value of a constant, of its shape and type, also behind an Identity; None for all others."""
        while (node := self.producer(name)) is not None and node.op_type == "Identity":
            name = node.input[0]
        return Tensor(self, name).array

    def in_blocks(self, x: Tensor) -> Tensor:
        """The value in blocks, if these come out even: averaged over windows of one pixel, so unchanged."""
        channels = (x.shape or (0, 0))[1]
        even = isinstance(channels, int) and channels % MAX_BLOCK == 0
        return op.AveragePool(x, **ONE_PIXEL) if even and x.name not in self.blocked else x

    def unblocked(self, name: str) -> NodeProto | None:
        """The node that computes a value, looked at through `in_blocks`."""
        node = self.producer(name)
        while node is not None and node.op_type == "AveragePool" and attributes(node) == ONE_PIXEL:
            node = self.producer(node.input[0])
        return node


ONE_PIXEL: dict[str, Any] = {"kernel_shape": [1, 1]}
Rewrite = Callable[[Rewritten, NodeProto], Sequence[Tensor] | None]
