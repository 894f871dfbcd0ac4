"""Whether all that a unit sees lies within the image: then an image of another size would show it the same.

Backwards from a position of a layer, the window of each map that it looks at, as if maps went on for ever;
where one reaches beyond a map, what its border does is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, floor
from typing import Any, NamedTuple

import numpy as np
from onnx import NodeProto

from ..anatomy.maps import View, views
from ..graph.graph import Graph
from ..graph.nodes import key_of
from ..operators.traits import having

Window = tuple[int, int]  # the first and the last position of a height or a width


class At(NamedTuple):
    """A node seen along one axis: its attributes, which of height and width that is, and of all axes."""

    graph: Graph
    node: NodeProto
    attributes: dict[str, Any]
    side: int
    axis: int
    channels: int

    def array(self, place: int) -> np.ndarray | None:
        """A constant input."""
        name = self.node.input[place] if place < len(self.node.input) else ""
        return self.graph[name].array if name else None


def sees_no_border(graph: Graph, image: str, layer: str) -> bool:
    """Whether the middle of a feature map depends on no border of any map on the way from the image.

    False also where a node on the way does not do the same at every place, or is not known to.
    """
    seen = views(graph)
    if layer not in seen:
        return False
    reached, way = {image}, graph.ancestors([layer])
    for node in way:
        if reached.intersection(node.input):
            reached.update(filter(None, node.output))
    windows: dict[str, list[Window]] = {layer: [(n // 2, n // 2) for n in _sides(graph, layer, seen)]}
    for node in reversed(way):
        wanted = [windows[o] for o in node.output if o in windows]
        read = [i for i in dict.fromkeys(node.input) if i in reached]
        if not wanted or not read:
            continue
        before = _before(graph, node, read, _joined(wanted), seen)
        if before is None:
            return False
        for name in read:
            inside = zip(before, _sides(graph, name, seen), strict=True)
            if not all(first >= 0 and last < n for (first, last), n in inside):
                return False
            windows[name] = _joined([before, windows.get(name, before)])
    return image in windows


def _joined(windows: Sequence[Sequence[Window]]) -> list[Window]:
    """What holds several windows, down and across."""
    return [(min(f for f, _ in along), max(e for _, e in along)) for along in zip(*windows, strict=True)]


def _sides(graph: Graph, name: str, seen: dict[str, View]) -> list[int]:
    shape = graph[name].shape or ()
    return [d for a in seen[name].perm[2:] if isinstance(d := shape[a], int)]


def _before(
    graph: Graph, node: NodeProto, read: Sequence[str], window: Sequence[Window], seen: dict[str, View]
) -> list[Window] | None:
    """The window of what a node reads that a window of its output needs; None where that is not known."""
    maps = [seen.get(name) for name in (*read, *filter(None, node.output))]
    if key_of(node) not in RULES or len(window) != 2 or any(v is None or not v.upright for v in maps):
        return None
    channels, attrs, found = seen[read[0]].channels, graph.attributes(node), []
    for side, axis in enumerate(a for a in (1, 2, 3) if a != channels):
        place = At(graph, node, attrs, side, axis, channels)
        before = RULES[key_of(node)](place, *window[side])
        if before is None:
            return None
        found.append(before)
    return found


def _alone(at: At, first: int, last: int) -> Window:
    return first, last


def _window(at: At, first: int, last: int) -> Window | None:
    match _taps(at):
        case (kernel, stride, dilation, pad):
            return first * stride - pad, last * stride - pad + (kernel - 1) * dilation


def _transposed(at: At, first: int, last: int) -> Window | None:
    match _taps(at):
        case (kernel, stride, dilation, pad):
            return ceil((first + pad - (kernel - 1) * dilation) / stride), (last + pad) // stride


def _taps(at: At) -> tuple[int, int, int, int] | None:
    """Kernel, stride, dilation and padding before, where all are said."""
    names = ("kernel_shape", "strides", "dilations", "pads")
    given = [at.attributes.get(n, (1, 1) if n == "dilations" else ()) for n in names]
    if any(len(g) <= at.side for g in given) or at.attributes.get("auto_pad", "NOTSET") != "NOTSET":
        return None
    kernel, stride, dilation, pad = (g[at.side] for g in given)
    return kernel, stride, dilation, pad


def _along_channels(at: At, first: int, last: int) -> Window | None:
    """Concat and Split, of channels; and a normalisation over them, where they come last."""
    axis = at.attributes.get("axis", -1 if at.node.op_type == "LayerNormalization" else 0) % 4
    lasting = at.node.op_type != "LayerNormalization" or axis == 3
    return (first, last) if axis == at.channels and lasting else None


def _turned(at: At, first: int, last: int) -> Window | None:
    """A transposition that moves the channels and leaves height before width."""
    order = [a for a in at.attributes["perm"] if a not in (0, at.channels)]
    return (first, last) if order == sorted(order) else None


def _padded(at: At, first: int, last: int) -> Window | None:
    pads = at.array(1)
    if pads is None or len(pads) != 8 or any(at.node.input[3:]):
        return None
    return first - int(pads[at.axis]), last - int(pads[at.axis])


def _sliced(at: At, first: int, last: int) -> Window | None:
    starts, axes, steps = at.array(1), at.array(3), at.array(4)
    if starts is None or axes is None or (len(at.node.input) > 4 and steps is None):
        return None
    for i, axis in enumerate(axes.tolist()):
        if axis % 4 == at.axis:
            start, step = int(starts[i]), 1 if steps is None else int(steps[i])
            return (start + first * step, start + last * step) if start >= 0 and step > 0 else None
    return first, last


def _resized(at: At, first: int, last: int) -> Window | None:
    """Enlarged by a factor that is said: up to two neighbours are mixed, on each side."""
    factors = at.array(2)
    if factors is None or len(factors) != 4 or factors[at.axis] < 1 or any(at.node.input[3:]):
        return None
    return floor(first / factors[at.axis]) - 2, ceil(last / factors[at.axis]) + 2


def _deeper(at: At, first: int, last: int) -> Window:
    block = at.attributes["blocksize"]
    return first * block, last * block + block - 1


def _shallower(at: At, first: int, last: int) -> Window:
    block = at.attributes["blocksize"]
    return first // block, last // block


# By what an operator does to height and width: how it moves them is said nowhere else.
RULES: dict[str, Callable[[At, int, int], Window | None]] = {
    **dict.fromkeys(having(lambda t: t.elementwise or t.mixes == "channels"), _alone),
    **dict.fromkeys(having(lambda t: t.window == "window"), _window),
    "Concat": _along_channels,
    "Split": _along_channels,
    "LayerNormalization": _along_channels,
    "ConvTranspose": _transposed,
    "Transpose": _turned,
    "Pad": _padded,
    "Slice": _sliced,
    "Resize": _resized,
    "SpaceToDepth": _deeper,
    "DepthToSpace": _shallower,
}
