"""What is zero but in one channel, as a class is among the scores: of all weights it needs a row."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from onnx import NodeProto

from ...graph.graph import Tensor, op
from ...graph.nodes import OURS, attributes
from ...operators.traits import traits_of
from ..rewritten import Rewritten


class Spot(NamedTuple):
    """A value (N, K) or (N, K, h, w) by the `channel` (N,) int64 where it is not zero, and the `value` there.

    `value` has one channel and as many axes, of which others may be 1 as well.
    """

    channel: Tensor
    value: Tensor


def row(graph: Rewritten, node: NodeProto) -> list[Tensor] | None:
    """A spot times a matrix of weights, or their transpose: a row of it."""
    attrs, turned = attributes(node), graph.producer(node.input[1])
    flipped = turned is not None and turned.op_type == "Transpose"
    w = Tensor(graph, turned.input[0] if turned is not None and flipped else node.input[1])
    plain = len(node.input) == 2 and not attrs.get("transA") and attrs.get("alpha", 1) == 1
    found = spot(graph, node.input[0]) if plain and w.name in graph.constants and w.rank == 2 else None
    if found is None or found.value.rank != 2:
        return None
    if attrs.get("transB", 0) == flipped:
        return [found.value * op.Gather(w, found.channel, axis=0)]
    return [found.value * op.Transpose(op.Gather(w, found.channel, axis=1), perm=[1, 0])]


def spread(graph: Rewritten, g: Tensor, w: np.ndarray) -> Tensor | None:
    """A spot in maps g through a convolution of single pixels: its only map times a row of `w` (K, O)."""
    found = spot(graph, g.name)
    if found is None or g.spatial is None:
        return None
    rows = op.Unsqueeze(op.Gather(graph.constant(w), found.channel, axis=0), [2, 3])
    value = found.value if found.value.spatial == g.spatial else op.Expand(found.value, [1, 1, *g.spatial])
    return value * rows


def spot(graph: Rewritten, name: str) -> Spot | None:
    """What onnxlens made of a one-hot vector, as a Spot; None for all else."""
    node = graph.unblocked(name)
    if node is None or not node.output[0].startswith(OURS):
        return None
    if node.op_type == "OneHot":
        return _one_hot(graph, node)
    traits = traits_of(node)
    scales = bool(traits.elementwise) and traits.linear == "product"
    if len(node.input) != 2 or not (scales or traits.moves in ("copies", "order")):
        return None
    pairs = [(node.input[0], node.input[-1])] + [(node.input[1], node.input[0])] * (node.op_type == "Mul")
    found, x, other = next(((f, *p) for p in pairs if (f := spot(graph, p[0]))), (None, "", ""))
    if found is None:
        return None
    channel, value = found
    before, after = Tensor(graph, x).shape, Tensor(graph, node.output[0]).shape
    if before is None or after is None or None in (*before[:1], *after[:2]):
        return None
    if node.op_type == "Expand":
        return found if before[:2] == after[:2] and len(before) == len(after) else None
    if node.op_type == "Reshape":
        same = (
            len(after) in (2, 4) and before[0] == after[0] and all(d == 1 for d in (*before[2:], *after[2:]))
        )
        return Spot(channel, _with_axes(value, len(after))) if same else None
    factor = _at(graph, other, channel, after) if scales else None
    if factor is None:
        return None
    return Spot(channel, value * factor if node.op_type == "Mul" else value / factor)


def _one_hot(graph: Rewritten, node: NodeProto) -> Spot | None:
    index, values = Tensor(graph, node.input[0]), graph.known(node.input[2])
    if values is None or values.tolist() != [0, 1] or len(index.shape or ()) != 1:
        return None
    if attributes(node).get("axis", -1) not in (-1, 1):
        return None
    return Spot(index, graph.constant(np.ones((1, 1)), values.dtype))


def _with_axes(value: Tensor, rank: int) -> Tensor:
    """A value (N, 1) or (N, 1, 1, 1) with 2 or 4 axes."""
    if value.rank == rank:
        return value
    return op.Unsqueeze(value, [2, 3]) if rank == 4 else op.Squeeze(value, [2, 3])


def _at(graph: Rewritten, name: str, channel: Tensor, whole: tuple[object, ...]) -> Tensor | None:
    """One channel of each image of what a value of a shape is multiplied with; None where it is unsure."""
    x = Tensor(graph, name)
    if x.shape is None or len(x.shape) not in (0, len(whole)):
        return None
    if x.shape[1:2] in ((), (1,)):
        return x
    if x.shape[:2] != whole[:2]:
        return None
    node = graph.producer(name)
    if node is not None and node.op_type == "HardSigmoid" and name.startswith(OURS):
        inner = _at(graph, node.input[0], channel, whole)
        return None if inner is None else op.HardSigmoid(inner, **attributes(node))
    return op.Unsqueeze(op.GatherND(x, op.Unsqueeze(channel, [1]), batch_dims=1), [1])
