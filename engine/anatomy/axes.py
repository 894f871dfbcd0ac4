"""Which axis of a value holds its channels.

Names and sizes do not tell, the operators around do: a convolution says the second axis, a LayerNormalization
the last, and from there it is followed, on and back, through everything that keeps the axes apart.
"""

from __future__ import annotations

from collections.abc import Callable

from onnx import NodeProto

from ..graph.graph import Graph
from ..graph.nodes import attributes, reads
from ..graph.sizes import Dim
from ..operators.traits import traits_of

Learn = Callable[[str, int | None], None]
Shape = tuple[Dim, ...]
Shapes = dict[str, Shape]


def channel_axes(graph: Graph) -> dict[str, int]:
    """The axis of the channels of each value of rank 3 or 4 where it is known.

    The surest witnesses are heard first: an input with one axis as long as a picture has channels, operators
    that are told apart by it, then dense layers, which mostly read channels. Who is heard first is believed.
    """
    axes: dict[str, int] = {}
    shapes = {name: graph[name].shape or () for name in graph.value_names()}
    fixed = set(graph.constants)
    for node in graph.nodes:
        if fixed.issuperset(reads(node)):
            fixed.update(node.output)

    def learn(name: str, axis: int | None) -> None:
        if axis is not None and name not in fixed and len(shapes.get(name, ())) in (3, 4):
            axes.setdefault(name, axis)

    def sweep() -> None:
        for node in graph.nodes:
            _forward(node, axes, shapes, learn)
        for node in reversed(graph.nodes):
            _backward(node, axes, shapes, learn)
        for node in graph.nodes:
            _forward(node, axes, shapes, learn)

    for name in graph.inputs:
        likely = [a for a in (1, 3) if len(shapes[name]) == 4 and shapes[name][a] in (1, 3)]
        learn(name, likely[0] if len(likely) == 1 else None)
    for node in graph.nodes:
        for name in (*node.input[:1], *node.output[:1]):
            learn(name, _said(node, len(shapes.get(name, ()))))
    sweep()
    for node in graph.nodes:
        weights = [i for i in node.input if i in fixed and len(graph[i].shape or ()) == 2]
        if traits_of(node).mixes == "last" and weights:
            for name in (*node.input[:1], *node.output[:1]):
                learn(name, len(shapes.get(name, ())) - 1)
    sweep()
    for name in graph.inputs:
        learn(name, 1)
    sweep()
    return axes


def _forward(node: NodeProto, axes: dict[str, int], shapes: Shapes, learn: Learn) -> None:
    """From the inputs of a node to its outputs."""
    for source in node.input:
        if source in axes:
            for name in node.output:
                if node.op_type == "Reshape":
                    learn(name, _kept(shapes[source], axes[source], shapes[name]))
                elif len(shapes.get(name, ())) == len(shapes[source]):
                    learn(name, _moved(node, axes[source], len(shapes[source]), back=False))


def _backward(node: NodeProto, axes: dict[str, int], shapes: Shapes, learn: Learn) -> None:
    """From the outputs of a node to its inputs."""
    for name in node.output[:1]:
        if name in axes:
            for source in node.input:
                if len(shapes.get(source, ())) == len(shapes[name]):
                    learn(source, _moved(node, axes[name], len(shapes[name]), back=True))


def _moved(node: NodeProto, axis: int, rank: int, back: bool) -> int | None:
    """Where an axis of a node's input is in its output, or the other way; None where that is not told."""
    if node.op_type == "Transpose":
        perm = list(attributes(node).get("perm", range(rank)[::-1]))
        return perm[axis] if back else perm.index(axis)
    mixes = traits_of(node).mixes
    if mixes == "last" and not back and axis != rank - 1:
        return axis  # the last axis was mixed, and it is not the one of the channels
    return None if mixes in ("last", "any") else axis


def _kept(before: Shape, axis: int, after: Shape) -> int | None:
    """The axis of the channels behind a Reshape that joins or parts height and width, and nothing else."""
    if axis == len(before) - 1 and before[-1:] == after[-1:]:
        return len(after) - 1
    return 1 if axis == 1 and before[:2] == after[:2] else None


def _said(node: NodeProto, rank: int) -> int | None:
    """The axis of the channels that an operator works on, by what it is."""
    traits = traits_of(node)
    if traits.normalises and traits.channels == -1:
        return _normalised(node, rank)
    if traits.channels == -1 or attributes(node).get("channels_last"):
        return rank - 1
    return traits.channels


def _normalised(node: NodeProto, rank: int) -> int | None:
    """The axis that a node normalises, where it is one alone: the channels."""
    axis = attributes(node).get("axis", -1)
    return rank - 1 if axis in (-1, rank - 1) else None
