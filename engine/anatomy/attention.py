"""Where tokens attend to each other, and which places of the picture the tokens stand for.

    scores = queries @ keysᵀ -> scale, mask, bias -> Softmax over the keys -> weights @ values

That is found however it is spelt: as products of matrices or Einsum, with heads in an axis of their own or
among the images, in windows. Where queries and keys lie is known of the values that they are
(coordinates.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from math import prod
from typing import NamedTuple

import numpy as np
from onnx import NodeProto

from ..graph.graph import Graph
from ..graph.nodes import OURS, attributes
from ..graph.types import is_float
from ..operators.places.positions import CENTRE, END, NEAR
from ..operators.traits import traits_of
from .anatomy import seeing
from .maps import coordinates, views

Side = tuple[int, int]  # which input of a product, and along which of its axes


class Tokens:
    """Where tokens lie: `centres` (2, windows, count), rows and columns in pixels of the input, NaN nowhere.

    Where all tokens of a picture attend to each other there is one window.
    """

    def __init__(self, centres: np.ndarray):
        self.centres = centres
        _, self.windows, self.count = centres.shape

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokens) and (
            self.centres.shape == other.centres.shape
            and np.allclose(self.centres, other.centres, rtol=0, atol=NEAR, equal_nan=True)
        )

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def cells(self) -> tuple[int, int, np.ndarray] | None:
        """The rows and columns of the grid on which they lie, and which token lies in each of its cells, row
        by row, counted through all windows; None where they form no grid with one token in each cell.
        """
        flat = self.centres.reshape(2, -1)
        there = np.flatnonzero(~np.isnan(flat).any(0))
        ys, xs = (np.unique(np.round(f[there] / NEAR), return_inverse=True) for f in flat)
        rows, columns = len(ys[0]), len(xs[0])
        cell = ys[1] * columns + xs[1]
        if rows * columns < 2 or not np.array_equal(np.sort(cell), np.arange(rows * columns)):
            return None
        return rows, columns, there[np.argsort(cell)]


class Attention(NamedTuple):
    """One attention: the name of its `weights`, (..., queries, keys), by which the values of the tokens are
    added up, and that of the keys, which are `asked`. Where queries and keys lie is None where it is not
    sure; else the axes before those two are images, windows and `heads`, in this order.
    """

    weights: str
    asked: str
    queries: Tokens | None = None
    keys: Tokens | None = None
    heads: int = 0

    @property
    def own(self) -> bool:
        """Whether tokens of the picture ask each other, all of them."""
        return self.keys is not None and self.seen and self.queries == self.keys and self.keys.windows == 1

    @property
    def seen(self) -> bool:
        """Whether what is asked lies in the picture, on a grid."""
        return self.keys is not None and self.keys.cells is not None


def attentions(graph: Graph, score: str) -> list[Attention]:
    """The attentions between the picture and a score, in order: all softmaxes over what tokens say of others.

    Those of which more is not known for sure have no tokens: heads that are mixed behind the softmax, axes in
    another order, fused attention.
    """
    depending, readers, found = seeing(graph), _readers(graph), list[Attention]()
    for node in graph.ancestors([score]):
        if not traits_of(node).attends or depending.isdisjoint(graph.reads(node)):
            continue
        made = _attention(graph, node, depending, readers)
        p = coordinates(graph)[node.output[0]]
        if made is not None:
            found.append(made)
        elif not traits_of(node).mixes or (p is not None and p.crossed):
            found.append(Attention(node.output[0], node.input[0]))
    return found


def map_of(graph: Graph, attention: Attention, among: Iterable[str]) -> str | None:
    """The feature map next before an attention, of those `among`, whose cells are the tokens that it asks."""
    keys, seen, among = attention.keys, views(graph), set(among)
    assert keys is not None
    assert keys.cells is not None
    rows, columns, tokens = keys.cells
    centres = keys.centres.reshape(2, -1)[:, tokens]
    for node in reversed(graph.ancestors([attention.asked])):
        for name in node.output:
            view = seen.get(name)
            if view is None or view.place is None or view.grid != (rows, columns):
                continue
            (y0, x0, y1, x1), near = view.place.cells, 0.5
            ys = y0 + (np.arange(rows) + 0.5) * (y1 - y0) / rows
            xs = x0 + (np.arange(columns) + 0.5) * (x1 - x0) / columns
            off = np.stack([np.repeat(ys, columns), np.tile(xs, rows)]) - centres
            steps = np.array([[(y1 - y0) / rows], [(x1 - x0) / columns]])
            if name in among and not name.startswith(OURS) and (abs(off) <= near * steps).all():
                return name
    return None


def _readers(graph: Graph) -> dict[str, list[NodeProto]]:
    found: dict[str, list[NodeProto]] = {}
    for node in graph.nodes:
        for name in graph.reads(node):
            found.setdefault(name, []).append(node)
    return found


def _attention(
    graph: Graph, node: NodeProto, depending: set[str], readers: dict[str, list[NodeProto]]
) -> Attention | None:
    """The attention of which a node is the softmax; None where it is of something else."""
    if node.op_type != "Softmax" or node.domain:
        return None
    shape = graph.shape(node.output[0])
    if shape is None or len(shape) < 3 or attributes(node).get("axis", -1) not in (-1, len(shape) - 1):
        return None
    scores = _product_before(graph, node.input[0], depending)
    weights = _before_values(graph, node.output[0], depending, readers)
    if scores is None or weights is None:
        return None
    sides = _sides(scores)
    if sides is None:
        return None
    asked = scores.input[sides[1][0]]
    if asked not in depending:
        return None
    queries, keys = (_centres(graph, scores, side, weights) for side in sides)
    if queries is None or keys is None:
        return Attention(weights, asked)
    groups = keys.shape[1]  # heads, or heads of windows, which begin where the tokens are others
    both = np.nan_to_num(np.concatenate([queries, keys], 2), nan=-1.0)
    starts = [g for g in range(groups) if not g or not np.allclose(both[:, g], both[:, g - 1], 0, NEAR)]
    heads = groups // len(starts)
    if starts != list(range(0, groups, heads)):
        return Attention(weights, asked)
    return Attention(weights, asked, Tokens(queries[:, starts]), Tokens(keys[:, starts]), heads)


def _product_before(graph: Graph, name: str, depending: set[str]) -> NodeProto | None:
    """The product of queries and keys that scores are made of, whatever is added to it or masked."""
    node = graph.producer(name)
    if node is None or name not in depending:
        return None
    if _multiplies(node):
        return node
    if not _passes(node):
        return None
    before = (_product_before(graph, i, depending) for i in node.input if i in depending)
    return next((n for n in before if n is not None), None)


def _before_values(
    graph: Graph, name: str, depending: set[str], readers: dict[str, list[NodeProto]]
) -> str | None:
    """What of a softmax is multiplied with the values of the tokens: its numbers, masked, mixed with others
    or in another shape at most. None where nothing is; the softmax itself where those are integers.
    """
    waiting, met = [name], {name}
    while waiting:
        value = waiting.pop()
        for node in readers.get(value, ()):
            if _multiplies(node):
                if any(i != value and i in depending for i in node.input):
                    dtype = graph[value].dtype
                    return value if dtype is not None and is_float(dtype) else name
            elif _passes(node) and node.output[0] not in met:
                met.add(node.output[0])
                waiting.append(node.output[0])
    return None


def _multiplies(node: NodeProto) -> bool:
    """Whether a node is a product of matrices."""
    traits = traits_of(node)
    return traits.mixes in ("last", "any") and (traits.linear == "product" or bool(traits.made_of))


def _passes(node: NodeProto) -> bool:
    """Whether a node leaves weights or scores where they are: elementwise, quantised, or in another shape."""
    traits = traits_of(node)
    return bool(traits.elementwise or traits.reshapes or traits.quantises)


def _sides(node: NodeProto) -> tuple[Side, Side] | None:
    """Where the last two axes of a product come from: its queries and its keys."""
    attrs = attributes(node)
    if node.op_type == "Einsum":
        terms, _, out = attrs["equation"].replace(" ", "").partition("->")
        letters = terms.split(",")
        if len(letters) != 2 or len(out) < 3 or "." in terms:
            return None
        of = [[(i, t.index(c)) for i, t in enumerate(letters) if c in t] for c in out[-2:]]
        return (of[0][0], of[1][0]) if len(of[0]) == len(of[1]) == 1 and of[0][0][0] != of[1][0][0] else None
    if attrs.get("transBatchA") or attrs.get("transBatchB"):
        return None
    weights = traits_of(node).weights
    second = weights.kernel if weights else 1
    return (0, -1 if attrs.get("transA") else -2), (second, -2 if attrs.get("transB") else -1)


def _centres(graph: Graph, product: NodeProto, side: Side, weights: str) -> np.ndarray | None:
    """Where the tokens of one side of a product lie, (2, groups, count), groups being what the `weights`
    have in their first axes beside the images; None where that is not sure.
    """
    followed = coordinates(graph)
    behind, before = followed[weights], followed[product.output[0]]
    if behind is None or before is None or followed.is_open or before.shape[-2:] != behind.shape[-2:]:
        return None
    lead, groups = before.shape[:-2], prod(behind.shape[:-2]) // followed.batch
    images = np.broadcast_to(behind.images[0][..., 0, 0], behind.shape[:-2])
    if prod(lead) != images.size or not np.array_equal(
        images.ravel(), np.arange(followed.batch).repeat(groups)
    ):
        return None
    name, axis = product.input[side[0]], side[1]
    shape, at = followed.shape(name), followed[name]
    if shape is None:
        return None
    count = shape[axis]
    if at is None:
        return np.full((2, groups, count), np.nan)
    # The mean of the picture, as of the query of a pooling by attention, is no place of it.
    centres = (np.where(np.isposinf(f[END]), np.nan, f[CENTRE]) for f in (at.rows, at.columns))
    fields = [_along(c, product, side, lead, count) for c in centres]
    laid = [f.reshape(followed.batch, groups, count)[0] for f in fields if f is not None]
    return np.stack(laid) if len(laid) == 2 else None


def _along(
    centre: np.ndarray, product: NodeProto, side: Side, lead: tuple[int, ...], count: int
) -> np.ndarray | None:
    """The centres of an operand's tokens, (*lead, count), as the product has them.

    None where the channels that are summed lie in several places.
    """
    if product.op_type != "Einsum":
        centre = np.moveaxis(centre, side[1], -1)
        return None if centre.shape[-2] > 1 else np.broadcast_to(centre[..., 0, :], (*lead, count))
    terms, _, out = attributes(product)["equation"].replace(" ", "").partition("->")
    letters = terms.split(",")[side[0]]
    gone = tuple(a for a, c in enumerate(letters) if c not in out)
    if any(centre.shape[a] > 1 for a in gone):
        return None
    kept, token = [c for c in letters if c in out], letters[side[1]]
    before = [c for c in out[:-2] if c in kept]
    if sorted(kept) != sorted([*before, token]):
        return None
    laid = centre.squeeze(gone).transpose([kept.index(c) for c in (*before, token)])
    ones = tuple(a for a, c in enumerate(out[:-2]) if c not in kept)
    return np.broadcast_to(np.expand_dims(laid, ones), (*lead, count))
