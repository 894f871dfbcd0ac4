"""Where the positions of a feature map look, along one axis of another one: first, last and step.

    the other     a   b   c   d   e   f   g
                  '---|---'       |       |       position j lies at 2 j and sees
                          '-------|-------'       first[j] up to, not including, last[j]
    this one          0       1       2

Exact for convolutions, poolings and what works on each position alone, merged by sums and concatenations;
a value behind anything else has no span. Unlike receptive fields (features/receptive.py) they are told from
any value to any later one, and can be cut: see `Span.crop`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import NodeProto

from ...graph.graph import Graph
from ...graph.nodes import attributes, reads
from ...operators.traits import Traits, traits_of


@dataclass(frozen=True)
class Span:
    """What each of a value's n positions sees of the `size` positions of another, `step` to each of its own.

    `first` and `last` (n,) int64, never falling; `last` is not included.
    """

    first: np.ndarray
    last: np.ndarray
    step: int
    size: int

    def __len__(self) -> int:
        return len(self.first)

    def changed(self, start: np.ndarray, stop: np.ndarray, share: float = 1) -> tuple[np.ndarray, np.ndarray]:
        """The positions, from and up to, that see any of `start` to before `stop`; at least one.

        Of these, with a `share` below 1, those around the middle that are no more than this share of all.
        """
        low = np.minimum(np.searchsorted(self.last, start, "right"), len(self) - 1)
        high = np.maximum(np.searchsorted(self.first, stop, "left"), low + 1)
        most = max(1, round(share * len(self)))
        # Where the patch's middle lies; windows that stand out at the borders have theirs elsewhere.
        ahead = np.median((self.first + self.last - 1) / 2 - np.arange(len(self)) * self.step)
        middle = ((start + stop - 1) / 2 - ahead) / self.step
        narrow = np.maximum(low, np.ceil(middle - most / 2).astype(np.int64))
        low = np.where(high - low > most, np.minimum(narrow, high - 1), low)
        return low, np.minimum(high, low + most)

    def crop(self, start: np.ndarray, stop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where to cut the other value so that the positions `start` to before `stop` come out right.

        The cut holds what they see and where they lie. It begins at a multiple of the step, and
        ends one away from the end: then windows lie on it as they do on the whole, and every size
        on the way is that of the whole less the same number of steps, whatever the rounding.
        """
        low = np.minimum(self.first[start], start * self.step)
        high = np.maximum(self.last[stop - 1], self.size - (len(self) - stop) * self.step)
        return low // self.step * self.step, self.size - (self.size - high) // self.step * self.step

    def window(self, kernel: int, stride: int, before: int, count: int) -> Span:
        """The span of `count` windows of this many positions, the first of which begins `before` early."""
        start = np.arange(count) * stride - before
        first, last = (np.clip(at, 0, len(self) - 1) for at in (start, start + kernel - 1))
        return Span(self.first[first], self.last[last], self.step * stride, self.size)

    def joined(self, other: Span) -> Span | None:
        """What two values see together, position by position; None where they lie on different grids."""
        if len(self) != len(other) or self.step != other.step:
            return None
        return Span(
            np.minimum(self.first, other.first), np.maximum(self.last, other.last), self.step, self.size
        )

    @property
    def can_be_cut(self) -> bool:
        """Whether a position beyond a cut always sees something beyond it.

        Then whatever is computed without it would have had to see beyond the cut as well, and is not
        among what `crop` promises. So it is wherever padding only adds.
        """
        at = np.arange(len(self))
        from_front = self.first < (at + 1) * self.step
        from_end = self.size - self.last < (len(self) - at) * self.step
        return bool((from_front & from_end).all())


Spans = tuple[Span, Span]  # down and across
Range = tuple[np.ndarray, np.ndarray]  # of positions: from, and up to, for each of some places


def changed(seen: Spans, ranges: Sequence[Range], share: float = 1) -> tuple[Range, Range]:
    """`Span.changed` down and across."""
    (down, across), (ys, xs) = seen, ranges
    return down.changed(*ys, share), across.changed(*xs, share)


def spans(graph: Graph, start: str, nodes: Sequence[NodeProto]) -> dict[str, Spans]:
    """What the values that these nodes compute see of the map `start`, itself included, (N, C, h, w) each.

    Without those that it reaches through anything but the operators above, or of an open size.
    """
    whole = _sides(graph, start)
    if whole is None:
        return {}
    height, width = (Span(np.arange(n), np.arange(n) + 1, 1, n) for n in whole)
    found: dict[str, Spans] = {start: (height, width)}
    reached = {start}
    for node in nodes:
        moving = [i for i in reads(node) if i in reached]
        if not moving:
            continue
        reached.update(filter(None, node.output))
        name, sides = node.output[0], _sides(graph, node.output[0])
        if sides is None or not all(i in found for i in moving):
            continue
        seen = _through(graph, node, found, sides)
        if seen is not None and tuple(map(len, seen)) == sides and all(s.can_be_cut for s in seen):
            found[name] = seen
    return found


def _sides(graph: Graph, name: str) -> tuple[int, int] | None:
    match graph[name].shape:
        case (_, _, int(h), int(w)):
            return h, w
    return None


def _through(graph: Graph, node: NodeProto, found: dict[str, Spans], sides: tuple[int, int]) -> Spans | None:
    """What the first output of a node sees, where it is one of the operators above."""
    traits, attrs = traits_of(node), graph.attributes(node)
    moving = [found[i] for i in node.input if i in found]
    others = [i for i in node.input if i and i not in found]
    flat = all(_is_flat(graph, i) for i in others)
    if len(moving) == 1 and node.input[0] in found:
        if traits.window == "window" and traits.channels == 1 and not attrs.get("channels_last"):
            return _windows(moving[0], attrs, sides, is_pool=traits.pools)
        if _is_position_by_position(traits, attrs) and (flat or traits.per_channel):
            return moving[0]
        if traits.moves == "pads" and attrs["mode"] == "constant":
            return _padded(graph, node, moving, sides)
    together = traits.elementwise == "together" and flat
    if together or (traits.moves == "joins" and attrs["axis"] in (1, -3) and not others):
        down, across = moving[0]
        for y, x in moving[1:]:
            down, across = down and down.joined(y), across and across.joined(x)
        return (down, across) if down and across else None
    return None


def is_position_by_position(node: NodeProto) -> bool:
    """Whether each position of an operator's result needs the same one of its first input alone."""
    return _is_position_by_position(traits_of(node), attributes(node))


def _is_position_by_position(traits: Traits, attrs: dict[str, Any]) -> bool:
    """On elements alone, or among the channels; not to integers, where another rounding would show."""
    among_channels = traits.mixes == "channels" or (traits.mixes == "axis" and attrs.get("axis") in (1, -3))
    return (traits.elementwise == "alone" and not traits.quantises) or among_channels


def _windows(seen: Spans, attrs: dict[str, Any], sides: tuple[int, int], is_pool: bool) -> Spans | None:
    pads, kernel, strides = attrs.get("pads"), attrs.get("kernel_shape"), attrs.get("strides") or (1, 1)
    if pads is None or kernel is None or len(pads) != 4 or min(pads) < 0:
        return None
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, attrs.get("dilations") or (1, 1), strict=True)]
    begins = [(sides[i] - 1) * strides[i] - pads[i] for i in (0, 1)]
    if is_pool and any(b >= len(s) for b, s in zip(begins, seen, strict=True)):
        return None  # a last window that begins behind the map: inference counts it, the runtime does not
    down, across = (s.window(reach[i], strides[i], pads[i], sides[i]) for i, s in enumerate(seen))
    return down, across


def _padded(graph: Graph, node: NodeProto, moving: list[Spans], sides: tuple[int, int]) -> Spans | None:
    """Behind padding that is known and adds to height and width alone."""
    pads = graph[node.input[1]].array
    if any(node.input[3:]) or pads is None or len(pads) != 8 or min(pads) < 0:
        return None
    if pads[[0, 1, 4, 5]].any():
        return None
    down, across = (s.window(1, 1, int(pads[2 + i]), sides[i]) for i, s in enumerate(moving[0]))
    return down, across


def _is_flat(graph: Graph, name: str) -> bool:
    """Whether a constant is the same at every position."""
    shape = graph[name].shape
    return shape is not None and all(d == 1 for d in shape[-2:])
