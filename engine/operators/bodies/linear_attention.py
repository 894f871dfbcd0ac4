"""Linear attention: a matrix as memory, written to and read token by token over a length that is known."""

from __future__ import annotations

import math

from ...errors import NoRule
from ...graph.graph import Tensor, op


def linear_attention(
    query: Tensor, key: Tensor, value: Tensor, past: Tensor | None = None, decay: Tensor | None = None,
    beta: Tensor | None = None, *, q_num_heads: int, kv_num_heads: int, scale: float = 0.0,
    update_rule: str = "gated_delta",
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """S = exp(g) S' + k ⊗ v, with the delta rule k ⊗ β (v - Sᵀ k) on the decayed S; o = scale Sᵀ q.

    Shapes as in the specification: batch B, time T, heads H, sizes of a key K and of a value V; the
    state is (B, H, K, V). The specification's own body is a Scan.
    """
    if query.shape is None or not isinstance(query.shape[1], int) or not isinstance(query.shape[2], int):
        raise NoRule("runs over a length that is not known; bind the input's shape")
    length, size = query.shape[1], query.shape[2] // q_num_heads
    q = _heads(query * (scale or 1 / math.sqrt(size)), q_num_heads)
    k, v = _heads(key, kv_num_heads), _heads(value, kv_num_heads)
    fading = None if decay is None else op.Exp(_heads(decay, kv_num_heads))  # (B, H, T, K or 1)
    rate = None if beta is None else op.Unsqueeze(op.Transpose(beta, perm=[0, 2, 1]), [3])
    if past is None:
        empty = op.Concat(query.dim(0), [kv_num_heads, size], op.Shape(v, start=3), axis=0)
        state = op.Expand(query.graph.constant(0, query.dtype), empty)
    else:
        state = op.CastLike(past, query)
    outputs = []
    for t in range(length):
        column, row = _at(k, t, "column"), _at(v, t, "row")
        if fading is not None:
            state = state * _at(fading, t, "column")
        if rate is not None:
            row = (row - (state * column).sum([2])) * _at(rate, t, "row")
        state = state + column * row
        outputs.append(_read(_at(q, t, "row"), state, q_num_heads // kv_num_heads))
    joined = op.Transpose(op.Concat(*outputs, axis=2), perm=[0, 2, 1, 3])
    y = op.Reshape(joined, op.Concat(op.Shape(query, end=2), [-1], axis=0))
    return y, state if past is None else op.CastLike(state, past)


def _heads(x: Tensor, number: int) -> Tensor:
    """(B, T, H·D) to (B, H, T, D)."""
    return op.Transpose(op.Reshape(x, [0, 0, number, -1]), perm=[0, 2, 1, 3])


def _at(x: Tensor, t: int, form: str) -> Tensor:
    """What lies at time t of (B, H, T, D), as a row (B, H, 1, D) or a column (B, H, D, 1)."""
    row = op.Gather(x, [t], axis=2)
    return row if form == "row" else op.Transpose(row, perm=[0, 1, 3, 2])


def _read(query: Tensor, state: Tensor, shared: int) -> Tensor:
    """Sᵀ q (B, H_q, 1, V), where `shared` heads of queries in a row read the same state."""
    if shared == 1:
        return query @ state
    grouped = op.Reshape(query, op.Concat(op.Shape(state, end=2), [shared, -1], axis=0))
    return op.Reshape(grouped @ state, op.Concat(op.Shape(query, end=3), [-1], axis=0))


BODIES = {"LinearAttention": linear_attention}
