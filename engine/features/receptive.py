"""The part of the image that each position of a feature map can see.

An interval is two maxima, max(-first) and max(last + 1), and everything that a network does to its
intervals is a maximum: of what a window covers, of what a sum adds up, of what an attention attends to;
operators that only move elements move them as they are. So the receptive fields of a network are a graph
of the same form, and the runtime computes them: it is fed -y, y + 1, -x and x + 1 for each pixel.

What depends on the values themselves (a gather by a computed index) sees all that it could see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import NodeProto, helper

from ..anatomy.maps import coordinates, feature_map, is_map, view_of
from ..autodiff.expansion import node_inputs, own_body, specified_body, specified_function
from ..errors import BadModel
from ..graph.graph import Graph, Tensor, op
from ..graph.nodes import key_of, named, reads, renamed
from ..operators.bodies import BODIES
from ..operators.traits import traits_of
from ..runtime.session import Session
from .reach import NOTHING, RULES, everything, sizes_of_one

Fields = dict[str, Tensor]


def receptive_fields(graph: Graph, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The receptive field of every position of feature maps, by name: (h, w, 4) int32.

    Each is the box (y0, x0, y1, x1) in pixels of the model's input, the ends not included, clipped to
    it: no pixel outside it can change the value, whatever the weights, and the pixels at its edges can
    for almost all weights. Channels that see different parts are taken together. Where nothing of the
    image is seen, the box is empty.

    Raises BadRequest for a name that is no feature map, BadModel where the size of the image or of a value
    on the way is not known.
    """
    graph = graph.copy()
    image = graph.pictured[0]
    shape = sizes_of_one(graph[image])
    if shape is None:
        raise BadModel(f"the receptive fields depend on the size of the input {image!r}, which is open")
    _measure(graph, shape)
    found: list[str] = []
    views = {name: _as_map(graph, name).name for name in names}
    wanted = graph.ancestors(views.values())
    place = graph.input(graph.unused("coordinate"), np.float32, shape)
    walk = Walk(graph, {image: place})
    walk.through(wanted)
    for view in views.values():
        seen = walk.fields.get(view)
        if seen is None:
            seen = op.Expand(graph.constant(NOTHING, np.float32), walk.plain(view).dims)
        found.append(graph.output(op.ReduceMax(seen, [0, 1], keepdims=0), graph.fresh("field")).name)
    session = Session(graph, found, "cpu")
    channels = view_of(graph, image).channels
    down, across = (a for a in (1, 2, 3) if a != channels)
    blank = {image: np.zeros(shape, graph[image].dtype)}
    feeds = [feed for axis in (down, across) for feed in _bounds(shape, axis)]
    bounds = [session({place.name: feed, **blank}) for feed in feeds]
    return {name: _boxes([b[out] for b in bounds]) for name, out in zip(names, found, strict=True)}


def _as_map(graph: Graph, name: str) -> Tensor:
    """A value as feature maps; one of four axes that lies on no grid (spatial transformers) as it is."""
    if name in graph and coordinates(graph)[name] is not None and len(graph[name].shape or ()) == 4:
        if is_map(graph, name):
            return feature_map(graph, name)
        channels = view_of(graph, graph.pictured[0]).channels
        return op.Transpose(graph[name], perm=[0, channels, *(a for a in (1, 2, 3) if a != channels)])
    return feature_map(graph, name)


def _measure(graph: Graph, shape: Sequence[int]) -> None:
    """Complete sizes that the file does not tell: those that the runtime comes to for one image."""
    named = [graph[o] for n in graph.nodes for o in n.output if o]
    unknown = [
        v.name for v in named if v.dtype is not None and v.shape is not None and sizes_of_one(v) is None
    ]
    if not unknown:
        return
    image = graph[graph.pictured[0]]
    values = Session(graph, unknown, "cpu")({image.name: np.zeros(shape, image.dtype)})
    for name, value in values.items():
        kind, first = graph.types[name].tensor_type.elem_type, (graph[name].shape or (1,))[:1]
        batch = first if isinstance(first[0], str) else value.shape[:1]
        graph.types[name] = helper.make_tensor_type_proto(kind, [*batch, *value.shape[1:]])


def _bounds(shape: Sequence[int], axis: int) -> list[np.ndarray]:
    """-first and last + 1 of each pixel along an axis."""
    at = np.arange(shape[axis], dtype=np.float32).reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return [np.ascontiguousarray(np.broadcast_to(v, shape)) for v in (-at, at + 1)]


def _boxes(bounds: Sequence[np.ndarray]) -> np.ndarray:
    top, bottom, left, right = bounds
    boxes = np.stack([-top, -left, bottom, right], -1)
    return np.where(bottom[..., None] <= 0, 0, boxes).astype(np.int32)


class Walk:
    """The fields of values, made node by node; values without one do not depend on the image."""

    def __init__(self, graph: Graph, fields: Fields):
        self.graph, self.fields = graph, fields
        self._again: dict[str, str] = {}  # sizes of what depends on the image are those of its field

    def plain(self, name: str) -> Tensor:
        """A value that does not depend on what the image shows."""
        return Tensor(self.graph, self._again.get(name, name))

    def through(self, nodes: Sequence[NodeProto]) -> None:
        """Make the fields of all that these nodes compute."""
        for node in nodes:
            if not any(i in self.fields for i in reads(node)):
                self._as_it_is(node)
            elif self._asks_for_form(node):
                self._append(node, self._again | {i: f.name for i, f in self.fields.items()})
            else:
                self._field(node)

    def _asks_for_form(self, node: NodeProto) -> bool:
        """True for a node that takes the shape or the type of what depends on the image, and no values."""
        like = node.op_type == "CastLike" and node.input[0] not in self.fields
        return not node.domain and (like or traits_of(node).reads_sizes)

    def _as_it_is(self, node: NodeProto) -> None:
        if not self._again.keys().isdisjoint(reads(node)):
            self._append(node, self._again)

    def _append(self, node: NodeProto, new: Mapping[str, str]) -> None:
        """The node once more, for other values of what it reads."""
        outputs = {o: self.graph.fresh(node.op_type) for o in node.output if o}
        other = renamed(node, {**new, **outputs})
        other.name = ""
        self.graph.add(other)
        self._again.update(outputs)

    def _field(self, node: NodeProto) -> None:
        values = node_inputs(self.graph, node)
        seen = [None if v is None else self.fields.get(v.name) for v in values]
        given = [
            v if f is not None or v is None else self.plain(v.name) for v, f in zip(values, seen, strict=True)
        ]
        y = Tensor(self.graph, next(filter(None, node.output)))
        rule = None if node.domain else RULES.get(node.op_type)
        if rule is not None:
            results = rule(y, given, seen, **named(self.graph.attributes(node), rule))
        elif key_of(node) in BODIES or specified_function(self.graph, node) is not None:
            start = len(self.graph.nodes)
            outputs = (own_body if key_of(node) in BODIES else specified_body)(self.graph, node)
            self.through(self.graph.nodes[start:])
            results = [self.fields.get(o) for o in outputs]
        else:
            results = None
        if results is None:
            known = [self.fields[i] for i in reads(node) if i in self.fields]
            results = [everything(Tensor(self.graph, o), known) if o else None for o in node.output]
        results = list(results) if isinstance(results, list | tuple) else [results] * len(node.output)
        self.fields.update({o: f for o, f in zip(node.output, results, strict=False) if o and f is not None})
