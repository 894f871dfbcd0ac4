"""Coordinates followed through the graph: where each element of a value lies in the picture.

    convolutions, pools, Resize     by kernel, stride, dilation and padding: the middle of what each sees
    Reshape, Transpose, Slice, ...  executed on the positions
    element by element              where it was; where values meet, where the finest of them was
    attention                       where the query was
    products with weights           the mean of what is summed: channels keep their place, tokens lose it

What the picture itself decides (a gather by a computed index, regions that were found) has no place, and
neither has what is made of that alone; a skip connection around it brings its own. The rules
(operators/places) ask the table of traits what an operator does; there is no list of architectures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from threading import RLock
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, helper
from onnx.reference import ReferenceEvaluator

from ..errors import BadModel
from ..graph.dataflow import SMALL
from ..graph.graph import Graph
from ..graph.nodes import around, bodies, describe, key_of
from ..graph.sizes import Dim
from ..operators.places.at import At, Found
from ..operators.places.placing import RULES
from ..operators.places.positions import MAX_ELEMENTS, Positions, nowhere, of_picture
from ..operators.traits import traits_of
from .axes import channel_axis

_OPEN_BATCH = 2  # images: with two of them it shows which elements belong to which
MAX_DEPTH = 4  # of graphs inside others, each of which may be followed twice
_OPEN_SIDE = 224  # pixels of a side that is open
_SHARED = 2**16  # bytes; larger fields are not compared with others


class Coordinates:
    """The positions of the values of a graph, each computed when it is first asked for.

    `lost` says of values that have none why, by name: the node that loses them. Threads share them; who asks
    for several things that belong together holds the `lock` meanwhile.
    """

    def __init__(self, graph: Graph, image: str, before: Coordinates | None = None):
        self.graph, self.image = graph, image
        self.lost: dict[str, str] = {}
        self._known: dict[str, Positions] = {}
        self._made: dict[Any, Any] = {}
        self._ruled: dict[Any, list[Positions | None]] = {}  # by all that a rule was told
        self._fields: dict[Any, np.ndarray] = {}
        self._one: dict[Any, Positions] = {}
        self._seen: dict[int, NodeProto] = {}  # the nodes that were met, which are kept for their identity
        self._arrays: dict[str, np.ndarray | None] = {}
        self._shapes: dict[str, tuple[int, ...] | None] = {}
        self.batch, self.size = _OPEN_BATCH, (0, 0)
        self.sides: dict[Dim, int] = {}  # of the sizes of the picture that are open, which are looked at
        self.depth = 0  # in how many graphs this one is
        self.is_open = self.has_open_batch = False  # the size of the picture, and how many
        self.lock = RLock()
        if before is not None and before.image == image:  # of the graph that this one is a copy of
            with before.lock:
                for name in vars(self).keys() - {"graph", "lock"}:
                    value = getattr(before, name)
                    setattr(self, name, value.copy() if isinstance(value, dict) else value)
        elif image:
            self._start()

    def _start(self) -> None:
        dims = self.graph[self.image].shape or ()
        if len(dims) == 3:  # one picture as decoders give it, (H, W, C)
            channels, self.batch = 2, 1
        else:
            channels = channel_axis(self.graph, self.image)
            first = next(iter(dims), None)
            self.has_open_batch = not isinstance(first, int)
            self.batch = first if isinstance(first, int) else self.batch
        sizes = [d if isinstance(d, int) else _OPEN_SIDE if a != channels else 3 for a, d in enumerate(dims)]
        sizes = sizes if len(dims) == 3 else [self.batch, *sizes[1:]]
        if max(sizes) > MAX_ELEMENTS:
            return
        self.sides = dict(zip(dims, sizes, strict=True))
        down, across = (a for a in range(len(dims) - 3, len(dims)) if a != channels)
        self.size = sizes[down], sizes[across]
        self.is_open = not all(isinstance(dims[a], int) for a in (down, across))
        self._known[self.image] = self._shared(of_picture(sizes, down, across))

    def __getitem__(self, name: str) -> Positions | None:
        """Where the elements of a value lie; None for what does not depend on the picture."""
        with self.lock:
            if self._known and name not in self._known:
                self._follow(name)
            return self._known.get(name)

    def kept(self, positions: Positions, make: Callable[[], Any]) -> Any:
        """What is made of some positions, once for all values that have them."""
        key = _identity(positions)
        if key not in self._made:
            self._made[key] = positions, make()
        return self._made[key][1]

    def _shared(self, p: Positions) -> Positions:
        """The same positions, in one object for all values that have them: blocks repeat."""
        if (known := self._one.get(_identity(p))) is not None:
            return known
        for name in ("rows", "columns", "images"):
            field = getattr(p, name)
            key = field.dtype, field.shape, field.tobytes() if field.nbytes <= _SHARED else id(field)
            p = p._replace(**{name: self._fields.setdefault(key, field)})
        return self._one.setdefault(_identity(p), p)

    def _follow(self, name: str) -> None:
        """Find the positions of a value, and of those before it."""
        try:
            self._through(self._before(name))
        except _Batch:  # a file may say that its batch is open and yet have 1 written inside
            self.batch = 1
            for known in vars(self).values():
                if isinstance(known, dict):
                    known.clear()
            self._start()
            self._through(self._before(name))

    def _before(self, name: str) -> list[NodeProto]:
        """The nodes that a value is computed from and that were not met yet, in order."""
        found: list[tuple[NodeProto, bool]] = []
        stack = [(self.graph.producer(name), False)]
        while stack:
            node, is_ready = stack.pop()
            if node is None:
                continue
            if is_ready:
                found.append((node, True))
            elif id(node) not in self._seen:
                self._seen[id(node)] = node
                stack.append((node, True))
                before = (self.graph.producer(i) for i in reversed(self.graph.reads(node)))
                stack += [(n, False) for n in before if n is not None and id(n) not in self._seen]
        return [node for node, _ in found]

    def _through(self, nodes: Sequence[NodeProto]) -> None:
        for node in nodes:
            depends = not self._known.keys().isdisjoint(self.graph.reads(node))
            if depends and not traits_of(node).reads_sizes:
                self._found(node)

    def _found(self, node: NodeProto) -> None:
        told = self._told(node)
        if told not in self._ruled:
            self._ruled[told] = self._by_rule(node)
        results = self._ruled[told]
        for name, p in zip(node.output, [*results, *[None] * len(node.output)], strict=False):
            if not name:
                continue
            if p is None:
                p = self._shared(nowhere(self.shape(name) or ()))
            if p.nowhere:
                self.lost[name] = next(
                    (self.lost[i] for i in self.graph.reads(node) if i in self.lost), describe(node)
                )
            self._known[name] = p

    def _by_rule(self, node: NodeProto) -> list[Positions | None]:
        """What the rule of a node's operator finds for its outputs; none where there is no rule."""
        rule = RULES.get(key_of(node))
        if rule is None:
            return []
        found: Found = None
        try:
            found = rule(At(self, node, self.graph.attributes, _by_sizes(node)))
            self._check(node, found)
        except (ArithmeticError, BadModel, LookupError, TypeError, ValueError) as error:
            if self.batch == _OPEN_BATCH and self.has_open_batch:
                raise _Batch from error
            found = None
        results = [found] if found is None or isinstance(found, Positions) else found
        return [p if p is None else self._shared(p) for p in results]

    def _told(self, node: NodeProto) -> tuple[Any, ...]:
        """All that a rule is told of a node: in a network of equal blocks, what it was told before."""
        if bodies(node):  # is told of values around it, too
            return (id(node),)
        by_sizes = _by_sizes(node)
        inputs = tuple(self._is(i, by_sizes) for i in node.input)
        sizes = tuple(self.graph.shape(o) for o in node.output)
        return key_of(node), inputs, sizes, *(a.SerializeToString() for a in node.attribute)

    def _is(self, name: str, by_sizes: bool) -> Any:
        """What tells an input from others: its positions, what a small constant holds, or else its name."""
        if (p := self._known.get(name)) is not None:
            return id(p)
        if (tensor := self.graph.constants.get(name)) is None:
            return name
        dims = tuple(tensor.dims)
        if by_sizes:
            return dims
        return (tensor.data_type, dims, tensor.raw_data or name) if prod(dims) <= SMALL else name

    def _check(self, node: NodeProto, found: Found) -> None:
        """Raise ValueError where what was found has other sizes than the graph says."""
        results = [] if found is None else [found] if isinstance(found, Positions) else found
        for name, p in zip(node.output, results, strict=False):
            said = self.graph.shape(name) if name else None
            if p is None or said is None:
                continue
            fits = [not isinstance(d, int) or d == n for d, n in zip(said, p.shape, strict=False)]
            if len(said) != len(p.shape) or not all(fits):
                raise ValueError(f"{name!r} has the sizes {list(said)}, not {list(p.shape)}")

    # -- what is known of values ----------------------------------------------------------------------

    def known(self, name: str) -> Positions | None:
        """Where a value lies that was followed before; None for what does not depend on the picture."""
        return self._known.get(name)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The sizes of a value, for the batch that is looked at."""
        if name in self._known:
            return self._known[name].shape
        if name in self.graph.constants:
            return tuple(self.graph.constants[name].dims)
        if (found := self._shapes.get(name)) is None:
            dims = self.graph[name].shape
            found = None if dims is None else self._bound(dims)
            if found is None and (array := self.array(name)) is not None:
                found = array.shape
            self._shapes[name] = found
        return found

    def _bound(self, dims: Sequence[Dim]) -> tuple[int, ...] | None:
        sizes = [d if isinstance(d, int) else self.sides.get(d) if d is not None else None for d in dims]
        return tuple(d for d in sizes if d is not None) if None not in sizes else None

    def array(self, name: str) -> np.ndarray | None:
        """What a value holds that does not depend on what the picture shows; None where it does."""
        if not name or name in self._known:
            return None
        if name in self.graph.constants:
            return self.graph[name].array
        if name not in self._arrays:
            self._arrays[name] = None
            self._evaluate(name)
        return self._arrays[name]

    def inside(self, body: GraphProto, given: Sequence[Positions | None]) -> list[Positions | None]:
        """Where the outputs of a graph inside a node lie, by where its inputs do (operators/places/at.py)."""
        if self.depth == MAX_DEPTH:
            raise ValueError(f"graphs are followed through no more than {MAX_DEPTH} others around them")
        captured = around(body)
        graph = self.graph.part(captured)
        for value, p in zip(body.input, given, strict=True):
            elem = value.type.tensor_type.elem_type
            graph.declare_input(
                value.name, value.type if p is None else helper.make_tensor_type_proto(elem, p.shape)
            )
        for tensor in body.initializer:
            graph.add_constant(tensor)
        for node in body.node:
            graph.add(node)
        inner = Coordinates(graph, "")
        inner.batch, inner.size, inner.is_open, inner.sides = self.batch, self.size, self.is_open, self.sides
        inner.has_open_batch, inner.depth = self.has_open_batch, self.depth + 1
        inner._known = {name: p for name in captured if (p := self.known(name)) is not None}
        inner._known |= {v.name: p for v, p in zip(body.input, given, strict=True) if p is not None}
        for name in captured:
            if name not in inner._known:
                inner._shapes[name], inner._arrays[name] = self.shape(name), self.array(name)
        inner._through(body.node)
        return [inner.known(o.name) for o in body.output]

    def _evaluate(self, name: str) -> None:
        """Compute a value of sizes and constants with ONNX's own reference, node by node."""
        node = self.graph.producer(name)
        if node is None:
            return
        if traits_of(node).reads_sizes:
            shape = self.shape(node.input[0])
            if shape is None:
                return
            feeds = {node.input[0]: np.broadcast_to(np.float32(0), shape)}
        else:
            feeds = {i: self.array(i) for i in self.graph.reads(node)}
        if any(v is None for v in feeds.values()):
            return
        if (
            sum(v.size for v in feeds.values() if v is not None) > MAX_ELEMENTS
            and not traits_of(node).reads_sizes
        ):
            return
        values = _run(node, feeds, self.graph.opsets)
        self._arrays.update(zip(node.output, values, strict=False))


def _by_sizes(node: NodeProto) -> bool:
    """Whether of constants the sizes alone count: of weights, and of what meets or scales."""
    traits = traits_of(node)
    return bool(traits.weights or traits.elementwise or traits.normalises)


def _identity(p: Positions) -> tuple[Any, ...]:
    return id(p.rows), id(p.columns), id(p.images), p.shape, p.crossed


class _Batch(Exception):
    """The sizes inside do not fit a batch of two."""


def _run(node: NodeProto, feeds: dict[str, Any], opsets: dict[str, int]) -> list[np.ndarray | None]:
    """What one node computes, by ONNX's reference implementation; None where that cannot."""
    graph = helper.make_graph(
        [node],
        "node",
        [helper.make_empty_tensor_value_info(i) for i in feeds],
        [helper.make_empty_tensor_value_info(o) for o in node.output if o],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(d, v) for d, v in opsets.items()])
    try:
        with np.errstate(all="ignore"):
            found = iter(map(np.asarray, ReferenceEvaluator(model).run(None, feeds)))
    except Exception:  # operators that it does not have, sizes that do not fit
        return [None] * len(node.output)
    return [next(found) if o else None for o in node.output]
