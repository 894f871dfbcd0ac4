"""Operators that select elements, or put some in the place of others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from onnx import TensorProto

from ...graph.graph import Tensor, op
from .layout import moved, positions, scatter


def top_k(
    g: Tensor, y: Tensor, x: Tensor, k: Tensor, axis: int, largest: int, sorted: int
) -> tuple[Tensor, None]:
    """Each selected element gets the gradient of the place that it was selected into."""
    _, where = op.TopK(x, k, axis=axis, largest=largest, sorted=sorted, outputs=2)
    zeros = op.Expand(x.graph.constant(0, x.dtype), x.dims)
    return op.ScatterElements(zeros, where, g, axis=axis), None


def unique(g: Tensor, y: Tensor, x: Tensor, sorted: int, axis: int | None = None) -> Tensor:
    """Each number that is found hands its gradient to where it is found first."""
    _, first = op.Unique(x, axis=axis, sorted=sorted, outputs=2)
    where = first if axis is None else op.Gather(positions(x), first, axis=axis)
    return scatter(g, where, x)


def one_hot(
    g: Tensor, y: Tensor, indices: Tensor, depth: Tensor, values: Tensor, axis: int = -1
) -> tuple[None, None, Tensor]:
    """y = off + (on - off) · hot: each of the two values is added up where it stands."""
    hot = op.OneHot(indices, depth, g.graph.constant([0, 1], g.dtype), axis=axis)
    parts = [op.Unsqueeze(part.sum(keepdims=False), [0]) for part in (g * (1 - hot), g * hot)]
    return None, None, op.Concat(*parts, axis=0)


def placed(place: Callable[..., Tensor]) -> Callable[..., Any]:
    """The rule of an operator (data, indices, updates) that overwrites parts of data with updates.

    Run on positions, those of the updates counted on behind those of data, it tells for each element of
    the result where it came from; an update that was overwritten by a later one gets nothing.
    """

    def rule(
        g: Tensor, y: Tensor, data: Tensor, indices: Tensor, updates: Tensor, **attrs: Any
    ) -> Sequence[Any]:
        reduction = attrs.get("reduction", "none")
        if reduction == "none":
            behind = op.Reshape(op.Range(op.Size(data), op.Size(data) + op.Size(updates), 1), updates.dims)
            source = place(positions(data), indices, behind, **attrs)
            total = op.Add(op.Size(data), op.Size(updates))
            zeros = op.Expand(data.graph.constant(0, g.dtype), op.Reshape(total, [1]))
            both = op.ScatterElements(
                zeros, op.Reshape(source, [-1]), op.Reshape(g, [-1]), axis=0, reduction="add"
            )
            sizes = op.Concat(op.Reshape(op.Size(data), [1]), op.Reshape(op.Size(updates), [1]), axis=0)
            to_data, to_updates = op.Split(both, sizes, axis=0, outputs=2)
            return op.Reshape(to_data, data.dims), None, op.Reshape(to_updates, updates.dims)
        return reduced(g, y, data, indices, updates, place, attrs)

    return rule


def tensor_scatter(
    g: Tensor, y: Tensor, past: Tensor, update: Tensor, at: Tensor, **attrs: Any
) -> Sequence[Any]:
    """As `placed`, with its inputs in another order."""
    rule = placed(lambda data, indices, new, **a: op.TensorScatter(data, new, indices, **a))
    to_past, _, to_update = rule(g, y, past, at, update, **attrs)
    return to_past, to_update, None


def reduced(
    g: Tensor,
    y: Tensor,
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    place: Callable[..., Tensor],
    attrs: dict[str, Any],
) -> Sequence[Any]:
    """Sums give their gradient to every part, extrema to the parts that reach them, products y / part."""
    picked = picking(place, indices, attrs)
    kind = attrs["reduction"]
    if kind == "add":
        return g, None, picked(g)
    if kind == "mul":
        return g * y / data, None, picked(g * y) / updates
    to_data = op.CastLike(op.Equal(data, y), g)
    to_updates = op.CastLike(op.Equal(updates, picked(y)), g)
    share = g / place(to_data, indices, to_updates, **{**attrs, "reduction": "add"})
    return share * to_data, None, picked(share) * to_updates


def picking(
    place: Callable[..., Tensor], indices: Tensor, attrs: dict[str, Any]
) -> Callable[[Tensor], Tensor]:
    """What a scatter puts there, picked up again: Gather at the same indices."""
    if "axis" in attrs:
        return lambda t: op.GatherElements(t, indices, axis=attrs["axis"])
    return lambda t: op.GatherND(t, indices)


def max_unpool(
    g: Tensor, y: Tensor, x: Tensor, where: Tensor, shape: Tensor | None, **attrs: Any
) -> tuple[Tensor, None, None]:
    """Numbers 1, 2, ... unpooled say which element stands where; 0 marks what none was put at.

    Runtimes do not agree on what an index means with an output shape: so the operator itself is asked.
    """
    number = op.CastLike(positions(x) + 1, x)
    source = op.Cast(op.MaxUnpool(number, where, shape, **attrs), to=TensorProto.INT64)
    slots = op.Add(op.Reshape(op.Size(x), [1]), 1)
    zeros = op.Expand(x.graph.constant(0, g.dtype), slots)
    added = op.ScatterElements(zeros, op.Reshape(source, [-1]), op.Reshape(g, [-1]), axis=0, reduction="add")
    return op.Reshape(op.Slice(added, [1], slots), x.dims), None, None


RULES = {
    "TopK": top_k,
    "ScatterElements": placed(op.ScatterElements),
    "Scatter": placed(op.ScatterElements),
    "ScatterND": placed(op.ScatterND),
    "TensorScatter": tensor_scatter,
    "MaxUnpool": max_unpool,
    "OneHot": one_hot,
    "Optional": lambda g, y, x: g,
    "OptionalGetElement": lambda g, y, x: g,
    "Unique": unique,
    "Compress": moved(op.Compress),
    "ReverseSequence": moved(op.ReverseSequence),
    "Trilu": lambda g, y, x, k, upper: (op.Trilu(g, k, upper=upper), None),
}
