"""ONNX Runtime's fused attention, as what it was before (ContribOperators.md).

Shapes as there: batch B, heads N, queries S, new keys L, cached keys P, all keys T = P + L, size of a head H.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...errors import NoRule
from ...graph.graph import Tensor, op
from .quantised import real

MASKED = -10000.0  # what is added to a masked score where the node does not say
LOWEST = float(np.finfo(np.float32).min)  # what a score of the future becomes


def multi_head_attention(
    query: Tensor, key: Tensor | None = None, value: Tensor | None = None, bias: Tensor | None = None,
    mask: Tensor | None = None, attention_bias: Tensor | None = None, past_key: Tensor | None = None,
    past_value: Tensor | None = None, *shared: Tensor | None, num_heads: int, scale: float | None = None,
    unidirectional: int = 0, mask_filter_value: float = MASKED,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Attention of queries to keys and values, separate or packed, behind those of a cache.

    Returns what is attended to (B, S, N·H), all keys, all values and the scores before their softmax.
    """
    if any(shared):
        raise NoRule("keeps its cache in a shared buffer; export it without")
    q, k, v = _separate(query, key, value, num_heads)
    numbers = {t.shape[2] for t in (q, k) if t.shape is not None and isinstance(t.shape[2], int)}
    if unidirectional and len(numbers) > 1:
        raise NoRule("is causal between queries and keys of different numbers; give it a mask instead")
    if bias is not None:
        sizes = op.Concat(*(t.dim(1) * t.dim(3) for t in (q, k, v)), axis=0)
        bq, bk, bv = (op.Reshape(b, [num_heads, 1, -1]) for b in op.Split(bias, sizes, axis=0, outputs=3))
        q = q + bq
        if key is None or key.rank != 4:  # by head, they come out of a cache, where they have theirs
            k, v = k + bk, v + bv
    if past_key is not None and past_value is not None:
        k, v = op.Concat(past_key, k, axis=2), op.Concat(past_value, v, axis=2)
    y, scores = attended(q, k, v, scale, attention_bias, mask, unidirectional, mask_filter_value)
    return y, k, v, scores


def attention(
    x: Tensor, weights: Tensor, bias: Tensor | None = None, mask: Tensor | None = None,
    past: Tensor | None = None, attention_bias: Tensor | None = None, *shared: Tensor | None, num_heads: int,
    scale: float | None = None, unidirectional: int = 0, mask_filter_value: float = MASKED,
    qkv_hidden_sizes: Sequence[int] | None = None, do_rotary: int = 0, past_present_share_buffer: int = 0,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Self-attention with the projection of queries, keys and values in one matrix, behind a cache.

    Returns what is attended to (B, S, N·H), and all keys and values (2, B, N, T, H).
    """
    if do_rotary:
        raise NoRule("rotates its queries and keys; export it with RotaryEmbedding nodes")
    if past_present_share_buffer or any(shared):
        raise NoRule("keeps its cache in a shared buffer; export it without")
    joint = x @ weights
    joint = joint if bias is None else joint + bias
    if qkv_hidden_sizes:
        parts = op.Split(joint, list(qkv_hidden_sizes), axis=2, outputs=3)
    else:
        parts = op.Split(joint, axis=2, num_outputs=3, outputs=3)
    q, k, v = (heads(p, num_heads) for p in parts)
    if past is not None:
        k, v = (op.Concat(op.Gather(past, i, axis=0), t, axis=2) for i, t in enumerate((k, v)))
    y, _ = attended(q, k, v, scale, attention_bias, mask, unidirectional, mask_filter_value)
    if qkv_hidden_sizes and qkv_hidden_sizes[1] != qkv_hidden_sizes[2]:
        return (y,)  # such keys and values have no common output
    return y, op.Concat(*(op.Unsqueeze(t, [0]) for t in (k, v)), axis=0)


def quantised_attention(
    x: Tensor, weights: Tensor, bias: Tensor, xs: Tensor, ws: Tensor, mask: Tensor | None = None,
    xz: Tensor | None = None, wz: Tensor | None = None, past: Tensor | None = None, **attrs: Any,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Attention to what integers stand for, by weights of integers."""
    return attention(real(x, xs, xz), real(weights, ws, wz), bias, mask, past, **attrs)


def heads(x: Tensor, number: int) -> Tensor:
    """(B, S, N·H) to (B, N, S, H)."""
    return op.Transpose(op.Reshape(x, [0, 0, number, -1]), perm=[0, 2, 1, 3])


def _separate(query: Tensor, key: Tensor | None, value: Tensor | None, number: int) -> list[Tensor]:
    """Queries, keys and values (B, N, S, H), out of each of the forms in which they come."""

    def unpacked(x: Tensor, count: int) -> list[Tensor]:  # (B, S, N, count, H)
        return [op.Transpose(op.Gather(x, i, axis=3), perm=[0, 2, 1, 3]) for i in range(count)]

    if key is None:
        return unpacked(query, 3)
    if value is None:
        return [heads(query, number), *unpacked(key, 2)]
    return [t if t.rank == 4 else heads(t, number) for t in (query, key, value)]


def attended(
    q: Tensor, k: Tensor, v: Tensor, scale: float | None, bias: Tensor | None, mask: Tensor | None,
    causal: int, masked: float,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """softmax(Q Kᵀ scale + bias + mask) V, its heads joined (B, S, N·H), and what the softmax is of."""
    size = q.shape[3] if q.shape is not None else None
    if scale:
        factor: Any = scale
    elif isinstance(size, int):
        factor = 1 / math.sqrt(size)
    else:
        factor = 1 / op.Sqrt(op.CastLike(op.Squeeze(q.dim(3), [0]), q))
    scores = q @ op.Transpose(k, perm=[0, 1, 3, 2]) * factor
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        scores = scores + op.Where(_seen(mask, q, k), q.graph.constant(0, q.dtype), masked)
    if causal:
        later = op.Squeeze(op.Sub(k.dim(2), q.dim(2)), [0])
        ones = op.Expand(q.graph.constant(1, q.dtype), op.Concat(q.dim(2), k.dim(2), axis=0))
        scores = op.Where(op.Equal(op.Trilu(ones, later, upper=0), 1), scores, LOWEST)
    mixed = op.Transpose(op.Softmax(scores, axis=-1) @ v, perm=[0, 2, 1, 3])
    return op.Reshape(mixed, op.Concat(op.Shape(mixed, end=2), [-1], axis=0)), scores


def _seen(mask: Tensor, q: Tensor, k: Tensor) -> Tensor:
    """True for the keys that are seen, for each query or for all, broadcast to (B, N, S, T).

    A mask is (B, S, T) or (B, T), above 0 where a key is seen, or the square (B, 1, ., .) of all places, in
    which the queries are the last of the keys; or it says how many of the keys are, (B), or where they end
    and where they start, (2B), or the first with more behind it, (3B + 2).
    """
    if mask.rank == 4:
        ends = op.Concat(k.dim(2), k.dim(2), axis=0)
        starts = op.Concat(op.Sub(k.dim(2), q.dim(2)), [0], axis=0)
        return op.Slice(mask, starts, ends, [2, 3]) > 0
    if mask.rank in (2, 3):
        return op.Unsqueeze(mask, [1] if mask.rank == 3 else [1, 2]) > 0
    length, batch = (mask.shape or (None,))[0], (q.shape or (None,))[0]
    known = isinstance(length, int) and isinstance(batch, int)
    if mask.rank != 1 or not (known or length == batch):
        raise NoRule("has a mask of a form that is not known; bind the shape, or give it as (batch, keys)")
    position = op.CastLike(op.Range(0, op.Squeeze(k.dim(2), [0]), 1), mask)
    ends, starts = (op.Slice(mask, i * q.dim(0), (i + 1) * q.dim(0)) for i in (0, 1))
    seen = position < op.Unsqueeze(ends, [1, 2, 3])
    if known and length == 2 * batch:  # type: ignore[operator]
        seen = op.And(seen, position >= op.Unsqueeze(starts, [1, 2, 3]))
    return seen


MS = "com.microsoft:"
BODIES: dict[str, Callable[..., Any]] = {
    MS + "Attention": attention,
    MS + "MultiHeadAttention": multi_head_attention,
    MS + "QAttention": quantised_attention,
}
