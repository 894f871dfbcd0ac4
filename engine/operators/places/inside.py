"""Rules of operators that hold graphs: one of two branches, and what is repeated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import GraphProto

from .at import At, Found
from .positions import Positions, agree, reshaped, spread, taken


def branched(at: At) -> Found:
    """If: where both branches put it. What a branch makes of no picture says nothing."""
    then, other = (at.around.inside(at.attrs[name], ()) for name in ("then_branch", "else_branch"))
    return [
        b if a is None else a if b is None or agree(a, b) else None for a, b in zip(then, other, strict=True)
    ]


def looped(at: At) -> Found:
    """Loop: where a round puts it, if what goes from round to round stays where it is."""
    states = [at.positions(i) for i in range(2, len(at))]
    found = _round(at, at.attrs["body"], states, before=[None, None], first=1)
    if found is None:
        return None
    count = len(states)
    return [*found[:count], *(_stacked(at, p, count + i, 0) for i, p in enumerate(found[count:]))]


def scanned(at: At) -> Found:
    """Scan: as a Loop, over elements along axes that are neither of places nor of images."""
    attrs, scans = at.attrs, at.attrs["num_scan_inputs"]
    count = len(at) - scans
    parts = []
    for i, axis in enumerate(attrs.get("scan_input_axes") or [0] * scans):
        p = at.positions(count + i)
        if p is not None:
            axis %= len(p.shape)
            if p.varies(axis) or p.images.shape[1 + axis] > 1:
                return None
            p = taken(p, axis, np.array(0))
        parts.append(p)
    found = _round(at, attrs["body"], [at.positions(i) for i in range(count)], behind=parts)
    if found is None:
        return None
    made = found[count:]
    axes = attrs.get("scan_output_axes") or [0] * len(made)
    stacks = (_stacked(at, p, count + i, axis) for i, (p, axis) in enumerate(zip(made, axes, strict=True)))
    return [*found[:count], *stacks]


def _round(
    at: At,
    body: GraphProto,
    states: list[Positions | None],
    before: Sequence[None] = (),
    behind: Sequence[Positions | None] = (),
    first: int = 0,
) -> list[Positions | None] | None:
    """Where the outputs of a round lie from the `first` on, in which all states stay; None where one moves.

    A state that begins with nothing of the picture may get its places in the first round.
    """
    for _ in range(2):
        found = at.around.inside(body, [*before, *states, *behind])[first:]
        after = found[: len(states)]
        pairs = list(zip(states, after, strict=True))
        if all(p is q or (p is not None and q is not None and agree(p, q)) for p, q in pairs):
            return found
        if any(p is not None and (q is None or not agree(p, q)) for p, q in pairs):
            return None
        states = after
    return None


def _stacked(at: At, p: Positions | None, output: int, axis: int) -> Positions | None:
    """What each round gives, one behind the other along a new axis."""
    shape = at.declared(output) if p is not None and at.node.output[output] else None
    if p is None or shape is None:
        return None
    axis %= len(shape)
    return spread(reshaped(p, [*p.shape[:axis], 1, *p.shape[axis:]]), shape)
