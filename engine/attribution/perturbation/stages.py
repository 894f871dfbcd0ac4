"""A network from one of its maps to a later one, compiled for crops of any size; see `incremental.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from onnx import NodeProto, helper

from ...errors import BadModel
from ...graph.graph import Graph, Tensor, op
from ...graph.nodes import describe, reads
from ...operators.traits import traits_of
from ...runtime.network import Network
from ...runtime.session import Session
from .spans import Range, Span, spans

if TYPE_CHECKING:
    from ....kernels.photos.crop import Box, Corner


class Ranges(NamedTuple):
    """A box of some map for each place, the product of what it is down and across: from, and up to."""

    down: Range
    across: Range

    def boxes(self, rows: np.ndarray, columns: np.ndarray) -> list[Box]:
        """The boxes (y0, x0, y1, x1) for the places in these rows and columns of the grid of places."""
        (y0, y1), (x0, x1) = self
        found = np.stack([y0[rows], x0[columns], y1[rows], x1[columns]], axis=1)
        return [tuple(box) for box in found.tolist()]


class Piece(NamedTuple):
    """What has been computed anew of a map: values (C, h, w), and where on the map they lie."""

    values: np.ndarray
    at: Corner


class Stage:
    """The network between two maps, `start` and `end`, compiled for crops of `start` of any size.

    `changed` are the boxes that change of the maps by name, `inner` those on the way, and `end` perhaps, of
    which more is wanted than what follows from `end`.
    """

    def __init__(
        self,
        network: Network,
        graph: Graph,
        start: str,
        end: str,
        inner: Sequence[str],
        changed: Mapping[str, Ranges],
    ):
        self.start, self.end, self.inner = start, end, list(inner)
        outputs = list(dict.fromkeys([end, *inner]))
        seen = spans(graph, start, graph.ancestors(outputs))
        self._steps = {name: (seen[name][0].step, seen[name][1].step) for name in outputs}
        self._session: Session = network.compile(part(graph, start, outputs, free=True), outputs, threads=1)
        self.crops = Ranges(
            *(
                _crop([seen[name][axis] for name in outputs], [changed[name][axis] for name in outputs])
                for axis in (0, 1)
            )
        )

    def __call__(self, maps: np.ndarray) -> dict[str, np.ndarray]:
        """The values of `end` and `inner` for maps or equal crops of `start`, (N, C, h, w)."""
        return self._session({self.start: maps})

    def piece(self, name: str, values: np.ndarray, box: Box) -> Piece:
        """Values computed from the crop of `start` in a box."""
        down, across = self._steps[name]
        return Piece(values, (box[0] // down, box[1] // across))


def _crop(seen: Sequence[Span], changed: Sequence[Range]) -> Range:
    """A crop that is right for several maps: the union, to the step of the coarsest."""
    crops = [s.crop(*c) for s, c in zip(seen, changed, strict=True)]
    low, high = (f.reduce([c[i] for c in crops]) for i, f in enumerate((np.minimum, np.maximum)))
    step, size = max(s.step for s in seen), seen[0].size
    return low // step * step, size - (size - high) // step * step


def part(graph: Graph, start: str, ends: Sequence[str], free: bool = False) -> Graph:
    """The graph from a value, which becomes its input, to others; if `free`, for any batch and size.

    Of a value before it nothing is left but its shape, where one is asked for, and what goes around it, from
    the graph's own inputs. Raises BadModel where a shape is not known.
    """
    behind = {start}
    for node in graph.nodes:
        if not behind.isdisjoint(reads(node)):
            behind.update(node.output)
    wanted, nodes = set(ends), []
    for node in reversed(graph.nodes):
        if wanted.intersection(node.output) and start not in node.output:
            wanted.update(reads(node) if not _sizes(node) or node.input[0] in behind else ())
            nodes.append(node)
    other = Graph(dict(graph.opsets))
    type_ = graph.types[start]
    if free:
        _, channels, *_ = graph[start].shape or (None, None)
        type_ = helper.make_tensor_type_proto(type_.tensor_type.elem_type, ["N", channels, "h", "w"])
    other.declare_input(start, type_)
    other.given = graph.given
    for name in graph.inputs:
        if name in wanted and name != start:
            other.declare_input(name, graph.types[name])
    for name in graph.constants.keys() & wanted:
        other.add_constant(graph.constants[name])
    for node in reversed(nodes):
        if _sizes(node) and node.input[0] not in other:
            _size_before(graph, node, other[start])
            continue
        declared = {o: graph.types[o] for o in node.output if o in graph.types}
        other.add(node, None if free else declared)
    other.outputs = list(ends)
    return other


def _sizes(node: NodeProto) -> bool:
    """True for what says the shape of a value, and nothing of what it holds."""
    return traits_of(node).reads_sizes


def _size_before(graph: Graph, node: NodeProto, start: Tensor) -> None:
    """Put what a Shape or Size says of a value before the start in its place; batches are equal."""
    value, attrs = graph[node.input[0]], graph.attributes(node)
    dims, batch = value.shape, (graph[start.name].shape or (None,))[0]
    if dims is None or not all(isinstance(d, int) or (d == batch and i == 0) for i, d in enumerate(dims)):
        raise BadModel(f"{describe(node)} asks for the size of {value.name!r}, which is not known")
    first = start.dim(0) if dims and not isinstance(dims[0], int) else list(dims[:1])
    whole = op.Concat(first, list(dims[1:]), axis=0) if len(dims) > 1 else op.Concat(first, axis=0)
    if node.op_type == "Size":
        said = op.ReduceProd(whole, keepdims=0)
    else:
        end = attrs.get("end")
        said = op.Slice(whole, [attrs.get("start") or 0], [2**31 - 1 if end is None else end])
    start.graph.add(helper.make_node("Identity", [said.name], [node.output[0]]))
