"""ONNX Runtime's attention of grouped heads with its cache inside, and the rotation of its positions.

Shapes as in ContribOperators.md: batch B, heads N of queries and M of keys, new tokens S, cached P, all keys
T, size of a head H.
"""

from __future__ import annotations

import math
from typing import Any

from onnx import TensorProto

from ...errors import NoRule
from ...graph.graph import Tensor, op
from .attention import heads

LOWEST = -1e30  # what a score becomes that is not seen; beside any real one, its share is 0


def rotated(x: Tensor, cos: Tensor, sin: Tensor, interleaved: int) -> Tensor:
    """Pairs of the numbers of each head (B, N, S, H), turned by the angle of their place; (B, S, R/2) each.

    A pair is two neighbours, or one of the first half of the R numbers and one of the second; those behind
    the R first stay as they are.
    """
    size, half = (
        x.shape[-1] if x.shape is not None else None,
        cos.shape[-1] if cos.shape is not None else None,
    )
    if not isinstance(size, int) or not isinstance(half, int):
        raise NoRule("rotates heads of a size that is not known; bind the shape")
    whole = 2 * half
    front = x if whole == size else op.Slice(x, [0], [whole], [3])
    cos, sin = op.Unsqueeze(cos, [1]), op.Unsqueeze(sin, [1])
    if interleaved:
        a, b = (op.Slice(front, [i], [whole], [3], [2]) for i in (0, 1))
    else:
        a, b = op.Split(front, axis=3, num_outputs=2, outputs=2)
    turned = [a * cos - b * sin, a * sin + b * cos]
    if interleaved:
        pairs = op.Concat(*(op.Unsqueeze(t, [4]) for t in turned), axis=4)
        joined = op.Reshape(pairs, op.Concat(op.Shape(x, end=3), [whole], axis=0))
    else:
        joined = op.Concat(*turned, axis=3)
    return joined if whole == size else op.Concat(joined, op.Slice(x, [whole], [size], [3]), axis=3)


def rotary_embedding(
    x: Tensor, places: Tensor, cos: Tensor, sin: Tensor, interleaved: int = 0, num_heads: int = 0,
    rotary_embedding_dim: int = 0, is_packed_batching: int = 0, **_: Any,
) -> Tensor:  # fmt: skip
    """x (B, S, N·H) or (B, N, S, H), turned by its places: one for each token, or the first of them."""
    if is_packed_batching:
        raise NoRule("has sequences of several lengths in one row; export it without packing")
    width = cos.shape[-1] if cos.shape is not None else None
    if not isinstance(width, int):
        raise NoRule("rotates heads of a size that is not known; bind the shape")
    if x.rank == 4:
        by_head = x
    elif num_heads:
        by_head = heads(x, num_heads)
    else:
        by_head = op.Transpose(op.Reshape(x, [0, 0, -1, 2 * width]), perm=[0, 2, 1, 3])
    if places.rank == 1:
        steps = op.Range(0, op.Squeeze(by_head.dim(2), [0]), 1)
        places = op.Expand(op.Add(places, steps), op.Concat(by_head.dim(0), by_head.dim(2), axis=0))
    y = rotated(by_head, op.Gather(cos, places, axis=0), op.Gather(sin, places, axis=0), interleaved)
    return y if x.rank == 4 else op.Transpose(y, perm=[0, 2, 1, 3]).like(x)


def group_query_attention(
    query: Tensor, key: Tensor | None, value: Tensor | None, past_key: Tensor | None,
    past_value: Tensor | None, last: Tensor, total: Tensor, cos: Tensor | None = None,
    sin: Tensor | None = None, places: Tensor | None = None, bias: Tensor | None = None,
    sink: Tensor | None = None, k_scale: Tensor | None = None, v_scale: Tensor | None = None,
    q_norm: Tensor | None = None, k_norm: Tensor | None = None, *, num_heads: int, kv_num_heads: int,
    scale: float | None = None, softcap: float = 0.0, local_window_size: int = -1, do_rotary: int = 0,
    rotary_interleaved: int = 0, smooth_softmax: int = 0, causal: int = 1, sliding_window_cache: int = 0,
    qk_norm_epsilon: float = 1e-6, **_: Any,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Attention (B, S, N·H) in which groups of queries share their keys, all keys and all values.

    `last` is for each sequence the place of its last key, `total` the length of the longest. Behind the cache
    of a sequence come its new tokens; of a prompt, where S is `total`, the cache is not read.
    """
    if sliding_window_cache or k_scale is not None or v_scale is not None:
        raise NoRule(
            "keeps its cache in a window or in integers, known to the runtime only; export it without"
        )
    q, k, v = _by_head(query, key, value, num_heads, kv_num_heads)
    if q_norm is not None and k_norm is not None:
        q, k = (_rms(t, w, qk_norm_epsilon) for t, w in ((q, q_norm), (k, k_norm)))
    ends = op.Add(op.Cast(last, to=TensorProto.INT64), 1)
    whole = op.Reshape(op.Cast(total, to=TensorProto.INT64), [1])
    before = op.Where(
        op.Equal(whole, q.dim(2)), 0, op.Sub(ends, q.dim(2))
    )  # (B,) keys of the cache that count
    steps = op.Range(0, op.Squeeze(q.dim(2), [0]), 1)
    at = op.Add(op.Unsqueeze(before, [1]), op.Unsqueeze(steps, [0]))  # (B, S) places of the new tokens
    if do_rotary and cos is not None and sin is not None:
        if places is not None:  # of a prompt, the first says where all of it begins
            first = op.Add(op.Slice(op.Reshape(places, [-1]), [0], [1]), op.Unsqueeze(steps, [0]))
            places = op.Where(op.Equal(whole, q.dim(2)), first, places)
        c, s = (op.Gather(t, at if places is None else places, axis=0) for t in (cos, sin))
        q, k = rotated(q, c, s, rotary_interleaved), rotated(k, c, s, rotary_interleaved)
    size = v.shape[3] if v.shape is not None else None
    width = num_heads * size if isinstance(size, int) else -1
    if past_key is not None and past_value is not None:
        k, v = (_behind(old, new, before, whole) for old, new in ((past_key, k), (past_value, v)))
    scores = _scores(q, k, kv_num_heads, scale)
    if softcap:
        scores = op.Tanh(scores / softcap) * softcap
    if bias is not None:
        scores = scores + bias
    seen = _seen(at, ends, k, causal, local_window_size)
    scores = op.Where(op.Unsqueeze(seen, [1]), scores, LOWEST)
    if sink is not None or smooth_softmax:
        scores = op.Concat(scores, _sink(scores, sink), axis=3)
    shares = op.Softmax(scores, axis=-1)
    if sink is not None or smooth_softmax:
        shares = op.Slice(shares, [0], [-1], [3])
    mixed = _grouped(shares, kv_num_heads) @ op.Unsqueeze(v, [2])  # (B, M, N/M, S, H)
    y = op.Transpose(op.Reshape(mixed, op.Concat(op.Shape(q, end=3), [-1], axis=0)), perm=[0, 2, 1, 3])
    return op.Reshape(y, op.Concat(query.dim(0), query.dim(1), [width], axis=0)), k, v


def _by_head(
    query: Tensor, key: Tensor | None, value: Tensor | None, n: int, m: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (B, N, S, H), keys and values (B, M, S, H), out of one tensor or of three."""
    if key is not None and value is not None:
        return heads(query, n), heads(key, m), heads(value, m)
    q, k, v = op.Split(heads(query, n + 2 * m), [n, m, m], axis=1, outputs=3)
    return q, k, v


def _rms(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    return x / op.Sqrt((x * x).mean([-1]) + epsilon) * weight


def _behind(old: Tensor, new: Tensor, before: Tensor, total: Tensor) -> Tensor:
    """The first `before` (B,) of the old keys (B, M, P, H) and then the new ones, (B, M, T, H)."""
    length = op.Max(total, old.dim(2))
    place = op.Unsqueeze(op.Range(0, op.Squeeze(length, [0]), 1), [0])
    start = op.Unsqueeze(before, [1])
    fresh = op.Sub(op.Add(place, old.dim(2)), start)  # where the new ones stand behind all old ones
    where = op.Min(op.Where(op.Less(place, start), place, fresh), op.Sub(op.Add(old.dim(2), new.dim(2)), 1))
    shape = op.Concat(op.Shape(old, end=2), length, op.Shape(old, start=3), axis=0)
    both = op.Concat(old, new, axis=2)
    found = op.GatherElements(both, op.Expand(op.Unsqueeze(where, [1, 3]), shape), axis=2)
    held = op.Less(place, op.Add(start, new.dim(2)))
    return op.Where(op.Unsqueeze(held, [1, 3]), found, 0)


def _grouped(x: Tensor, m: int) -> Tensor:
    """(B, N, ...) as (B, M, N/M, ...)."""
    return op.Reshape(x, op.Concat(x.dim(0), [m, -1], op.Shape(x, start=2), axis=0))


def _scores(q: Tensor, k: Tensor, m: int, scale: float | None) -> Tensor:
    """(B, N, S, T): each group of queries times its keys."""
    size = q.shape[3] if q.shape is not None else None
    if not scale and not isinstance(size, int):
        raise NoRule("has heads of a size that is not known; bind the shape")
    factor = scale or 1 / math.sqrt(size)  # type: ignore[arg-type]
    grouped = _grouped(q, m) @ op.Transpose(op.Unsqueeze(k, [2]), perm=[0, 1, 2, 4, 3]) * factor
    return op.Reshape(grouped, op.Concat(op.Shape(q, end=3), k.dim(2), axis=0))


def _seen(at: Tensor, ends: Tensor, k: Tensor, causal: int, window: int) -> Tensor:
    """Which keys a new token at a place (B, S) sees, (B, S, T)."""
    key = op.Unsqueeze(op.Range(0, op.Squeeze(k.dim(2), [0]), 1), [0, 1])
    seen = op.Less(key, op.Unsqueeze(ends, [1, 2]))
    if not causal:
        return seen
    place = op.Unsqueeze(at, [2])
    seen = op.And(seen, op.LessOrEqual(key, place))
    return seen if window <= 0 else op.And(seen, op.Greater(key, op.Sub(place, window)))


def _sink(scores: Tensor, sink: Tensor | None) -> Tensor:
    """One more score for each query that takes its share and gives nothing: 0, or that of its head."""
    value = scores.graph.constant(0, scores.dtype) if sink is None else op.Reshape(sink, [1, -1, 1, 1])
    return op.Expand(value, op.Concat(op.Shape(scores, end=3), [1], axis=0))


MS = "com.microsoft:"
BODIES = {MS + "GroupQueryAttention": group_query_attention, MS + "RotaryEmbedding": rotary_embedding}
