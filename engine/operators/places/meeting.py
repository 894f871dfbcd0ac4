"""Rules of elements that meet: one by one, in sums, products and attention, or step by step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .at import At, Found, as_given, channels_second, slots
from .merging import met, together
from .positions import Positions, common, reshaped, spread, taken, transposed


def kept(at: At) -> Found:
    """Each element lies where the same one of the first input does."""
    return at[0] if at.depends(0) else None


def meeting(at: At) -> Found:
    """Each lies where the finest of those lies that meet in it."""
    shape = common(*(at.shape(i) for i in range(len(at)) if at.given(i)))
    return together([p for i in range(len(at)) if (p := at.positions(i)) is not None], shape)


def skipped(at: At) -> Found:
    """SkipGroupNorm: where the maps lie, or what is added to them, if it is a map too."""
    parts = [0, 3] if len(at.shape(3)) == len(at.shape(0)) else [0]
    return together([at[i] for i in parts], at.shape(0))


def chosen(at: At, what: Sequence[int] = (1, 2)) -> Found:
    """Where: what is chosen, not what chooses."""
    shape = common(*(at.shape(i) for i in (0, *what)))
    parts = [p for i in what if (p := at.positions(i)) is not None]
    return together(parts or [at[0]], shape)


def reduced(at: At) -> Found:
    """What is made of all elements along some axes."""
    p, rank = at[0], len(at.shape(0))
    if "axis" in at.attrs:
        axes = [at.attrs["axis"] % rank]
    elif at.given(1):
        given = at.array(1)
        if given is None:
            return None
        axes = [int(a) % rank for a in given.ravel()]
    else:
        axes = at.attrs.get("axes")
        axes = range(rank) if axes is None else [a % rank for a in axes]
        axes = [] if at.attrs.get("noop_with_empty_axes") and len(axes) == rank else axes
    found = met(p, list(axes))
    if at.attrs.get("keepdims", 1):
        return found
    return reshaped(found, [d for a, d in enumerate(found.shape) if a not in axes])


def over_map(at: At) -> Found:
    """All of a map."""
    return as_given(at, met(channels_second(at, at[0]), range(2, len(at.shape(0)))))


def product(at: At) -> Found:
    """A matrix product: rows of the first, or columns of the second, each where what is summed lies."""
    shapes = [at.shape(0), at.shape(slots(at))]
    parts = [at.positions(0), at.positions(slots(at))]
    return _product(parts, shapes)


def _product(parts: Sequence[Positions | None], shapes: Sequence[tuple[int, ...]]) -> Found:
    left, right = shapes
    a, b = parts
    if len(left) == 1 or len(right) == 1:  # a vector, as NumPy has it
        wide = [(1, *left) if len(left) == 1 else left, (*right, 1) if len(right) == 1 else right]
        grown = [None if p is None else reshaped(p, s) for p, s in zip(parts, wide, strict=True)]
        found = _product(grown, wide)
        if not isinstance(found, Positions):
            return None
        gone = {len(found.shape) - 2} if len(left) == 1 else set()
        gone |= {len(found.shape) - 1} if len(right) == 1 else set()
        return reshaped(found, [d for i, d in enumerate(found.shape) if i not in gone])
    shape = (*common(left[:-2], right[:-2]), left[-2], right[-1])
    rank = len(shape)
    a = None if a is None else spread(met(a, [len(left) - 1]), shape)
    b = None if b is None else spread(met(b, [len(right) - 2]), shape)
    if a is None or b is None:
        return a if b is None else b
    of_a, of_b = a.varies(rank - 2), b.varies(rank - 1)
    if of_a and of_b:
        return a._replace(crossed=a.crossed | {rank - 1})
    if of_a or of_b:
        return a if of_a else b
    return together([a, b], shape)


def gemm(at: At) -> Found:
    """As a matrix product; what is added to it is a bias."""
    parts, shapes = [], []
    for i, turn in ((0, at.attrs.get("transA")), (slots(at), at.attrs.get("transB"))):
        p, shape = at.positions(i), at.shape(i)
        parts.append(p if p is None or not turn else transposed(p, [1, 0]))
        shapes.append(shape[::-1] if turn else shape)
    return _product(parts, shapes)


def einsum(at: At) -> Found:
    """A product of one or two: elements lie where what is summed to them lies."""
    equation = at.attrs["equation"].replace(" ", "")
    if "." in equation or len(at) > 2:
        return None
    terms, _, out = equation.partition("->")
    letters = terms.split(",")
    if "->" not in equation:
        out = "".join(sorted(c for c in set(terms) if c != "," and terms.count(c) == 1))
    if any(len(set(t)) != len(t) for t in (*letters, out)):
        return None
    sizes = {c: d for i, t in enumerate(letters) for c, d in zip(t, at.shape(i), strict=True)}
    shape = [sizes[c] for c in out]
    parts = []
    for i, term in enumerate(letters):
        p = at.positions(i)
        if p is None:
            continue
        p = met(p, [a for a, c in enumerate(term) if c not in out])
        kept_ = [c for c in term if c in out]
        p = reshaped(p, [d for d, c in zip(p.shape, term, strict=True) if c in out])
        p = transposed(p, [kept_.index(c) for c in out if c in kept_])
        ones = [1 if c not in kept_ else sizes[c] for c in out]
        parts.append((term, spread(reshaped(p, ones), shape)))
    if len(parts) == 1:
        return parts[0][1]
    (first, a), (second, b) = parts
    own = [
        [i for i, c in enumerate(out) if c in t and c not in other and p.varies(i)]
        for t, other, p in ((first, second, a), (second, first, b))
    ]
    if own[0] and own[1]:  # queries come first in what is made, whichever of the two is written first
        p, others = (a, own[1]) if own[0] < own[1] else (b, own[0])
        return p._replace(crossed=p.crossed.union(others))
    if own[0] or own[1]:
        return a if own[0] else b
    return together([a, b], shape)


def attention(at: At) -> Found:
    """Each token where its query is. Heads stay apart in four axes, and lie in the last one of three."""
    shape = at.declared()
    if not at.depends(0) or shape is None:
        return None
    p = at[0]
    p = met(p, range(2, len(p.shape)) if len(shape) == 3 else [len(p.shape) - 1])
    if len(p.shape) != len(shape):
        p = reshaped(p, p.shape[: len(shape)]) if set(p.shape[len(shape) :]) <= {1} else p
    return spread(p._replace(shape=tuple(shape)), shape)


def recurrent(at: At) -> Found:
    """Y (T, D, N, H) keeps the steps; the last states are made of all of them."""
    x, hidden = met(at[0], [2]), at.attrs["hidden_size"]
    if at.attrs.get("layout"):
        x = transposed(x, [1, 0, 2])
    steps, n, _ = x.shape
    directions = 2 if at.attrs.get("direction") == "bidirectional" else 1
    y = spread(reshaped(x, [steps, 1, n, 1]), [steps, directions, n, hidden])
    state = taken(met(y, [0]), 0, np.array(0))
    if at.attrs.get("layout"):
        y, state = transposed(y, [2, 0, 1, 3]), transposed(state, [1, 0, 2])
    return [y, state, state]


def ranked(at: At) -> Found:
    """Along an axis that is not one of places, all else stays; along one, places move with the input."""
    p, axis = at[0], at.attrs.get("axis", -1) % len(at.shape(0))
    shape = at.declared()
    if p.varies(axis) or shape is None:
        return None
    return [p._replace(shape=tuple(shape))] * len(at.node.output)
