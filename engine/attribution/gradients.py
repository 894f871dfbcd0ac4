"""The gradient of a class's score by layers, and the maps made of it, as tensor expressions."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ..anatomy.maps import views
from ..autodiff.broadcasting import zeros_like
from ..autodiff.gradient import backpropagate
from ..graph.graph import Tensor, op
from .method import Method


def maps_of(method: Method, scores: Tensor, target: Tensor, layers: Sequence[Tensor]) -> list[Tensor]:
    """The maps (N, h, w) of some layers for the class of each image; each layer is seen as (N, K, h, w).

    `scores` and `target` as in `gradients`.
    """
    seen = views(scores.graph)
    found = gradients(scores, target, layers)
    return [
        method.compute(view(layer), view(gradient))
        for layer, gradient in zip(layers, found, strict=True)
        for view in (seen[layer.name],)
    ]


def gradients(scores: Tensor, target: Tensor, layers: Sequence[Tensor]) -> list[Tensor]:
    """∂score/∂A for the class of each image, of each layer's shape; one backward pass serves all layers.

    `scores` (N, C) or (N, C, 1, 1), `target` (N,) int64.
    """
    seeds = {scores.name: one_hot(scores, target)}
    found = backpropagate(scores.graph, seeds, [layer.name for layer in layers])
    return [zeros_like(x) if g is None else g for x, g in zip(layers, found, strict=True)]


def one_hot(scores: Tensor, target: Tensor) -> Tensor:
    """1 at the class of each image, 0 elsewhere, in the shape of the scores."""
    count = prod(d for d in (scores.shape or ())[1:] if isinstance(d, int))
    rows = op.OneHot(target, count, scores.graph.constant([0, 1], scores.dtype), axis=1)
    return rows.like(scores)
