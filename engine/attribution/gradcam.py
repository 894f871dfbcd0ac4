"""Grad-CAM: Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks"."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ..anatomy.maps import views
from ..autodiff.gradient import backpropagate, zeros_like
from ..graph.graph import Tensor, op


def gradcam(scores: Tensor, target: Tensor, layers: Sequence[Tensor]) -> list[Tensor]:
    """Where the feature maps of each layer speak for a class: (N, h, w), not negative.

    `scores` (N, C) or (N, C, 1, 1), `target` (N,) int64, each layer A seen as (N, K, h, w) (maps.py). One way
    back serves all layers.

        α_k = 1/(h w) Σ_ij ∂score/∂A_kij          (equation 1)
        map = ReLU(Σ_k α_k A_k)                   (equation 2)
    """
    return [op.Relu(total) for total in contributions(scores, target, layers)]


def contributions(scores: Tensor, target: Tensor, layers: Sequence[Tensor]) -> list[Tensor]:
    """Σ_k α_k A_k before the ReLU: what speaks for the class and what against, (N, h, w) for each layer."""
    seen = views(scores.graph)
    totals = []
    for layer, gradient in zip(layers, gradients(scores, target, layers), strict=True):
        view = seen[layer.name]
        alpha = view(gradient).mean([2, 3])
        totals.append((alpha * view(layer)).sum([1], keepdims=False))
    return totals


def gradients(scores: Tensor, target: Tensor, layers: Sequence[Tensor]) -> list[Tensor]:
    """∂score/∂A for the class of each image, of each layer's shape."""
    seeds = {scores.name: one_hot(scores, target)}
    found = backpropagate(scores.graph, seeds, [layer.name for layer in layers])
    return [zeros_like(x) if g is None else g for x, g in zip(layers, found, strict=True)]


def one_hot(scores: Tensor, target: Tensor) -> Tensor:
    """1 at the class of each image, 0 elsewhere, in the shape of the scores."""
    count = prod(d for d in (scores.shape or ())[1:] if isinstance(d, int))
    rows = op.OneHot(target, count, scores.graph.constant([0, 1], scores.dtype), axis=1)
    return rows.like(scores)
