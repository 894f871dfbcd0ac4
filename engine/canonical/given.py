"""Sizes that an input leaves open and what is behind it gives away: a convolution knows its channels.

The axes of the input are followed through what keeps them apart, in the file as it was read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto

from ..graph.external import is_external
from ..graph.nodes import attributes, understood
from ..graph.types import array_of
from ..operators.traits import traits_of

# An axis of a value: which of the input's it is, and how many times its size; None for any other.
Axis = tuple[int, Fraction] | None
Axes = tuple[Axis, ...]


def given_sizes(graph: GraphProto, name: str, rank: int) -> dict[int, int]:
    """The sizes of an input's axes, by axis but the first, that the operators behind it take for granted.

    `graph` has its nodes in order. What is said twice counts as it is said first. Raises BadModel for a
    damaged node.
    """
    stored = _Stored(graph)
    known: dict[str, Axes] = {name: tuple((i, Fraction(1)) for i in range(rank))}
    sizes: dict[int, int] = {}
    for node in graph.node:
        here = [i for i in node.input if i in known]
        if not here:
            continue
        with understood(node):
            for axis, size in _said(node, known, stored):
                if axis is not None and axis[0] and (size / axis[1]).denominator == 1:
                    sizes.setdefault(axis[0], int(size / axis[1]))
            after = _after(node, known, stored)
        known.update((o, after) for o in node.output if o and after)
    return sizes


class _Stored:
    """The shapes and numbers of a graph's constants, also behind what only wraps them."""

    def __init__(self, graph: GraphProto):
        self._tensors: dict[str, TensorProto] = {t.name: t for t in graph.initializer}
        self._makers = {o: n for n in graph.node for o in n.output[:1]}
        self._shapes: dict[str, tuple[int, ...] | None] = {}

    def tensor(self, name: str) -> TensorProto | None:
        node = self._makers.get(name)
        if node is not None and node.op_type == "Constant":
            return next((a.t for a in node.attribute if a.name == "value"), None)
        return self._tensors.get(name)

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of a constant; None for any other value."""
        if name not in self._shapes:
            self._shapes[name] = self._shape(name)
        return self._shapes[name]

    def _shape(self, name: str) -> tuple[int, ...] | None:
        if (tensor := self.tensor(name)) is not None:
            return tuple(tensor.dims)
        node = self._makers.get(name)
        if node is None or not node.input:
            return None
        if _keeps_axes(node):
            return self.shape(node.input[0])
        if traits_of(node).elementwise == "together":
            shapes = [self.shape(i) for i in node.input]
            known = [s for s in shapes if s is not None]
            return np.broadcast_shapes(*known) if len(known) == len(shapes) else None
        if node.op_type == "Reshape" and self.shape(node.input[0]) is not None:
            wish = self.numbers(node, 1)
            return tuple(wish) if wish and min(wish) > 0 else None
        if node.op_type == "Transpose" and (inner := self.shape(node.input[0])) is not None:
            perm = attributes(node).get("perm", range(len(inner))[::-1])
            return tuple(inner[i] for i in perm) if sorted(perm) == list(range(len(inner))) else None
        return None

    def numbers(self, node: NodeProto, slot: int, attribute: str | None = None) -> list[Any] | None:
        """The numbers of a small constant input, or of the attribute that it was in older opsets."""
        if attribute and (found := attributes(node).get(attribute)) is not None:
            return list(found)
        tensor = self.tensor(node.input[slot]) if len(node.input) > slot else None
        if tensor is None or is_external(tensor) or np.prod(tensor.dims, dtype=float) > 1024:
            return None
        return array_of(tensor).ravel().tolist()


def _said(node: NodeProto, known: Mapping[str, Axes], stored: _Stored) -> Sequence[tuple[Axis, int]]:
    """Axes of the input and their sizes, as far as a node says them."""
    axes: Axes = known.get(node.input[0], ())
    traits = traits_of(node)
    if traits.weights and traits.window and len(axes) > 1 and len(node.input) > traits.weights.kernel:
        # (M, C / group, ...) but for what is transposed, whose kernel is (C, M / group, ...)
        weight = stored.shape(node.input[traits.weights.kernel])
        group = attributes(node).get("group", 1)
        if not weight or len(weight) != len(axes):
            return []
        return [(axes[1], weight[0] if traits.window == "transposed" else weight[1] * group)]
    if traits.per_channel and len(axes) > 1:
        scale = stored.shape(node.input[1])
        return [(axes[1], scale[0])] if scale and len(scale) == 1 else []
    if traits.elementwise == "together":
        axes = next(known[i] for i in node.input if i in known)
        others = [s for i in node.input if (s := stored.shape(i)) and len(s) <= len(axes)]
        pairs: list[tuple[Axis, int]] = [
            p for s in others for p in zip(axes[len(axes) - len(s) :], s, strict=True)
        ]
        return [pair for pair in pairs if pair[1] > 1]
    if node.op_type == "Split" and (parts := stored.numbers(node, 1, "split")):
        i: int = attributes(node).get("axis", 0)
        return [(axes[i], sum(parts))] if -len(axes) <= i < len(axes) else []
    return []


def _after(node: NodeProto, known: Mapping[str, Axes], stored: _Stored) -> Axes | None:
    """The axes of what a node makes of a value that is followed; None where they are mixed up."""
    attrs, axes = attributes(node), known.get(node.input[0], ())
    rank = len(axes)
    traits = traits_of(node)
    if traits.per_channel or (traits.window in ("window", "resized") and not traits.weights):
        return tuple(a if i < 2 else None for i, a in enumerate(axes))
    if _keeps_axes(node):
        return axes
    if traits.elementwise == "together":
        ranks = [len(known[i]) for i in node.input if i in known]
        constant = [len(stored.shape(i) or ()) for i in node.input if i not in known]
        found = next(known[i] for i in node.input if i in known)
        return found if max(ranks) == min(ranks) >= max(constant, default=0) else None
    if node.op_type == "Transpose":
        perm = attrs.get("perm", range(rank)[::-1])
        return tuple(axes[i] for i in perm) if sorted(perm) == list(range(rank)) else None
    if node.op_type == "Pad":
        pads = stored.numbers(node, 1, "pads")
        if pads is None or len(pads) != 2 * rank:
            return tuple(a if i < 2 else None for i, a in enumerate(axes))
        return tuple(a if not pads[i] and not pads[i + rank] else None for i, a in enumerate(axes))
    if traits.moves in ("selects", "joins") and rank:
        return _recut(node, attrs, [known.get(i) for i in node.input], stored)
    if node.op_type == "SpaceToDepth" and rank == 4:
        return axes[0], _times(axes[1], Fraction(attrs.get("blocksize", 1) ** 2)), None, None
    return None


def _recut(
    node: NodeProto, attrs: Mapping[str, Any], values: Sequence[Axes | None], stored: _Stored
) -> Axes | None:
    """The axes behind what takes parts of a value along some of them, or joins parts."""
    axes = values[0]
    if axes is None:
        return None
    cut: dict[int, Axis] = {}
    if node.op_type == "Slice":
        ends, steps = stored.numbers(node, 2, "ends"), stored.numbers(node, 4) or []
        for k, i in enumerate(stored.numbers(node, 3, "axes") or range(len(ends or axes))):
            whole = k < len(steps) and steps[k] == -1 and ends is not None and ends[k] < -(2**30)
            cut[i % len(axes)] = axes[i % len(axes)] if whole else None
    elif node.op_type == "Gather":
        i, which = attrs.get("axis", 0) % len(axes), stored.numbers(node, 1)
        turned = which is not None and len(which) > 1 and sorted(which) == list(range(len(which)))
        cut[i] = axes[i] if turned else None
    elif node.op_type == "Split":
        i = attrs.get("axis", 0) % len(axes)
        alike = "split" not in attrs and len(node.input) < 2
        cut[i] = _times(axes[i], Fraction(1, len(node.output))) if alike else None
    elif node.op_type == "Concat":
        i = attrs.get("axis", 0) % len(axes)
        parts = [v[i] if v and len(v) == len(axes) else None for v in values]
        same = all(p is not None and axes[i] is not None and p[0] == axes[i][0] for p in parts)
        total = sum((p[1] for p in parts if p is not None), Fraction(0))
        cut[i] = (axes[i][0], total) if same and axes[i] is not None else None
    else:
        return None
    return tuple(cut.get(i, a) for i, a in enumerate(axes))


def _keeps_axes(node: NodeProto) -> bool:
    """Whether an operator leaves every axis as it is."""
    return traits_of(node).elementwise == "alone" or traits_of(node).mixes in ("axis", "channels")


def _times(axis: Axis, factor: Fraction) -> Axis:
    return None if axis is None else (axis[0], axis[1] * factor)
