"""What an export says otherwise for a runtime, a function for each: in ONNX's operators only."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from onnx import NodeProto, numpy_helper

from ...canonical.folding import evaluated, size_read
from ...errors import BadRequest
from ...graph.dataflow import SMALL
from ...graph.graph import Dim, Tensor, op
from ...graph.nodes import attributes, bodies
from ...operators.traits import traits_of
from ..rewritten import Rewritten

WIDEST = 10  # outputs of a Split
LITERAL = 2**16  # numbers; what is known up to here is written down


def known(graph: Rewritten, node: NodeProto) -> list[Tensor] | None:
    """What can be known beforehand: sizes, and what comes of these and other small arrays."""
    traits = traits_of(node)
    if node.domain or not all(node.output):
        return None
    if traits.reads_sizes:
        size = size_read(node, graph)
        return None if size is None else [graph.constant(size)]
    feeds = {name: graph.known(name) for name in node.input if name}
    if traits.random or bodies(node) or not feeds:
        return None
    if any(array is None or array.size > LITERAL for array in feeds.values()):
        return None
    values = evaluated(node, graph, {name: array for name, array in feeds.items() if array is not None})
    if values is None or any(array.size > LITERAL for array in values.values()):
        return None
    return [graph.constant(values[name]) for name in node.output]


def flat(graph: Rewritten, node: NodeProto) -> None:
    """Nothing; but raises BadRequest for a node with a graph inside: a loop that is not written out."""
    if bodies(node):
        raise BadRequest(
            f"this runtime is not right with a {node.op_type} of gradients, and its steps are unknown or "
            "too many to write out: bind sizes (--batch, --size), ask for fewer seeds, or for another runtime"
        )


def without_indices(graph: Rewritten, node: NodeProto) -> None:
    """Nothing; but raises BadRequest for a max pooling whose indices are still read."""
    if node.op_type == "MaxPool" and len(node.output) > 1:
        raise BadRequest(
            "this runtime is not right with the indices of max pooling, and without them its gradient has to "
            "know the sizes of a picture: bind them (--size, --batch), or ask for another runtime"
        )


def clipped(graph: Rewritten, node: NodeProto) -> list[Tensor] | None:
    """HardSigmoid as what it is made of."""
    if node.op_type != "HardSigmoid":
        return None
    x, attrs = Tensor(graph, node.input[0]), {"alpha": 0.2, "beta": 0.5} | attributes(node)
    zero, one = (graph.constant(bound, x.dtype) for bound in (0, 1))
    return [op.Clip(x * attrs["alpha"] + attrs["beta"], zero, one)]


def two_by_two(graph: Rewritten, node: NodeProto) -> list[Tensor] | None:
    """A sum as additions."""
    if node.op_type != "Sum":
        return None
    first, *others = (Tensor(graph, name) for name in node.input)
    return [sum(others, first)]


def backwards(graph: Rewritten, node: NodeProto) -> list[Tensor] | None:
    """A sequence from its end to its start, as the places to take and no Slice, of which some lack this."""
    if node.op_type != "Slice" or len(node.input) < 5:
        return None
    x, where = Tensor(graph, node.input[0]), [graph.known(name) for name in node.input[1:]]
    if x.shape is None or any(array is None or array.size != 1 for array in where):
        return None
    start, end, axis, step = (int(array.item()) for array in where if array is not None)
    size = x.shape[axis]
    if step > 0 or not isinstance(size, int):
        return None
    places = list(range(*slice(start, end, step).indices(size)))
    return [op.Gather(x, places, axis=axis)] if places else None


def narrow(graph: Rewritten, node: NodeProto) -> list[Tensor] | None:
    """A Split into more than ten as slices."""
    if node.op_type != "Split" or len(node.output) <= WIDEST:
        return None
    x, axis = Tensor(graph, node.input[0]), attributes(node).get("axis", 0)
    shapes = [Tensor(graph.before, name).shape for name in node.output]
    sizes = [shape[axis] for shape in shapes if shape is not None]
    if len(sizes) < len(shapes) or not all(isinstance(size, int) for size in sizes):
        return None
    ends = [0, *np.cumsum(np.array(sizes, np.int64)).tolist()]
    return [op.Slice(x, [start], [end], [axis]) for start, end in pairwise(ends)]


def on_rows(graph: Rewritten, node: NodeProto) -> list[Tensor] | None:
    """Channels of small pictures joined or parted while their pixels lie in a row.

    onnx2tf takes a picture of few columns for one whose channels are last, and joins or parts the columns.
    """
    joins, parts = node.op_type == "Concat", node.op_type == "Split"
    if not (joins or parts) or attributes(node).get("axis", 0) not in (1, -3):
        return None
    pictures = [Tensor(graph, name) for name in node.input[: None if joins else 1]]
    spatial = pictures[0].spatial
    if spatial is None or not all(_seems_last(x.shape or ()) for x in pictures):
        return None
    rows = [op.Reshape(x, [0, 0, -1]) for x in pictures]
    if joins:
        return [op.Reshape(op.Concat(*rows, axis=1), [0, 0, *spatial])]
    channels = [(Tensor(graph.before, name).shape or (0, 0))[1] for name in node.output]
    apart = op.Split(*rows, channels, axis=1, outputs=len(channels)) if len(channels) > 1 else rows
    return [op.Reshape(part, [0, 0, *spatial]) for part in apart]


def _seems_last(shape: Sequence[Dim]) -> bool:
    """Whether onnx2tf takes (N, C, h, w) for (N, h, w, C)."""
    if len(shape) != 4:
        return False
    sizes = [d for d in shape[1:] if isinstance(d, int)]
    return len(sizes) == 3 and min(sizes[:2]) > 4 and sizes[2] <= 8


def padded_behind(graph: Rewritten, node: NodeProto) -> list[Tensor] | None:
    """A transposed convolution of pictures without `output_padding`: cut less behind, or zeros put there.

    onnx2tf leaves out what is put behind a picture that is cut before it and not behind it.
    """
    attrs = attributes(node)
    more, pads = attrs.get("output_padding", []), attrs.get("pads", [])
    if node.op_type != "ConvTranspose" or len(node.input) > 2 or len(pads) != 2 * len(more) != 4:
        return None
    behind = [end - extra for end, extra in zip(pads[2:], more, strict=True)]
    if min(behind) >= 0 or not any(pads[:2]):
        return None
    attrs |= {"pads": [*pads[:2], *(max(end, 0) for end in behind)], "output_padding": [0, 0]}
    x, weight = (Tensor(graph, name) for name in node.input)
    y = op.ConvTranspose(x, weight, **attrs)
    return [op.Pad(y, [0] * 6 + [max(-end, 0) for end in behind], graph.constant(0, x.dtype))]


def own_weight(graph: Rewritten, node: NodeProto) -> list[Tensor] | None:
    """A layer with a copy of its weight, shared with none of ours but those that are alike."""
    weights = traits_of(node).weights
    kernel = graph.known(node.input[weights.kernel]) if weights and not node.domain else None
    if weights is None or kernel is None:
        return None
    inputs = [Tensor(graph, name) if name else None for name in node.input]
    key = (node.input[weights.kernel], node.op_type, str(attributes(node)))
    if key not in graph.copies:
        graph.copies[key] = _alone(graph, kernel).name
    inputs[weights.kernel] = Tensor(graph, graph.copies[key])
    return [getattr(op, node.op_type)(*inputs, **attributes(node))]


def turned(graph: Rewritten, node: NodeProto) -> list[Tensor] | None:
    """A weight whose axes are turned, written down."""
    weight = graph.known(node.input[0]) if node.op_type == "Transpose" else None
    if weight is None:
        return None
    return [graph.constant(np.ascontiguousarray(weight.transpose(attributes(node).get("perm"))))]


def _alone(graph: Rewritten, array: np.ndarray) -> Tensor:
    """A constant of its own; equal small ones are shared otherwise."""
    if array.size > SMALL:
        return graph.constant(array)
    return graph.add_constant(numpy_helper.from_array(array, graph.fresh("weight")))
