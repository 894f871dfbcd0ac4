"""The terms of an objective: functions of tensors to one number for each image, (N,).

`scores` (N, C) are the classes' before a softmax, `layer` (N, K, h, w) is a feature map; the other parameters
are what stands between a term's brackets (objective.py reads them by these names).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..graph.graph import Tensor, op

_LEAST = 1e-10  # the square of a length that is none, as in Lucid
_NEVER = -1e30  # the score of a class that is left out


def _class(scores: Tensor, label: int) -> Tensor:
    """The score of a class, before a softmax."""
    return op.Gather(op.Flatten(scores), label, axis=1)


def _odds(scores: Tensor, label: int) -> Tensor:
    """The log odds of a class, log p/(1 - p): what speaks for it less what speaks for all others.

    Unlike the score it does not grow where all scores do, unlike log p its slope does not end at p = 1.
    """
    flat = op.Flatten(scores)
    hit = op.Equal(op.Range(0, op.Squeeze(flat.dim(1), [0]), 1), label)
    others = op.Where(op.Unsqueeze(hit, [0]), _NEVER, flat)
    return _class(scores, label) - op.ReduceLogSumExp(others, [1], keepdims=0)


def _element(value: Tensor, *indices: int) -> Tensor:
    """One number of any value, by an index along each of its axes behind the batch."""
    for index in indices:
        value = op.Gather(value, index, axis=1)
    return value


def _layer(layer: Tensor) -> Tensor:
    """½‖A‖², whose gradient is A: what is there becomes more (Inceptionism, 2015)."""
    return (layer * layer).sum([1, 2, 3], keepdims=False) * 0.5


def _channel(layer: Tensor, channel: int) -> Tensor:
    """The mean of a channel."""
    return op.Gather(layer, channel, axis=1).mean([1, 2], keepdims=False)


def _peak(layer: Tensor, channel: int) -> Tensor:
    """The greatest value of a channel."""
    return op.ReduceMax(op.Gather(layer, channel, axis=1), [1, 2], keepdims=0)


def _neuron(layer: Tensor, channel: int, row: int | None = None, column: int | None = None) -> Tensor:
    """The value of a channel at one position, by default the middle one."""
    rows = op.Gather(layer, channel, axis=1)
    columns = op.Squeeze(op.Gather(rows, _middle(rows, 1) if row is None else [row], axis=1), [1])
    return op.Squeeze(op.Gather(columns, _middle(columns, 1) if column is None else [column], axis=1), [1])


def _direction(layer: Tensor, vector: np.ndarray) -> Tensor:
    """The mean over positions of the dot product with a vector (K,)."""
    along = layer * layer.graph.constant(vector.reshape(1, -1, 1, 1), layer.dtype)
    return along.sum([1], keepdims=False).mean([1, 2], keepdims=False)


def _guide(layer: Tensor, features: np.ndarray) -> Tensor:
    """Σ over positions of the greatest dot product with the features (K, J) of a guide.

    Its gradient is, at each position, the guide's feature vector that fits best (the reference notebook's
    objective_guide).
    """
    flat = op.Transpose(op.Reshape(layer, [0, 0, -1]), perm=[0, 2, 1])
    fits = flat @ layer.graph.constant(features, layer.dtype)
    return op.ReduceMax(fits, [2], keepdims=0).sum([1], keepdims=False)


def _diversity(layer: Tensor) -> Tensor:
    """Less the mean cosine similarity of the image's Gram matrix with the others' of the batch.

    Olah, Mordvintsev, Schubert: Feature Visualization, Distill 2017, section Diversity. 0 for an only image.
    """
    flat = op.Reshape(layer, [0, 0, -1])
    gram = op.Flatten(flat @ op.Transpose(flat, perm=[0, 2, 1]))
    square = (gram * gram).sum([1])
    unit = gram / op.Sqrt(op.Max(square, _LEAST))
    alike = (unit @ op.Transpose(unit, perm=[1, 0])).sum([1], keepdims=False)
    itself = (unit * unit).sum([1], keepdims=False)
    others = op.CastLike(op.Max(layer.dim(0) - 1, 1), layer)
    return (itself - alike) / others


def _middle(value: Tensor, axis: int) -> Tensor:
    return op.Div(value.dim(axis), [2])


TERMS: dict[str, Callable[..., Tensor]] = {
    "class": _class,
    "odds": _odds,
    "element": _element,
    "layer": _layer,
    "channel": _channel,
    "peak": _peak,
    "neuron": _neuron,
    "direction": _direction,
    "diversity": _diversity,
    "guide": _guide,
}
