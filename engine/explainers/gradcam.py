"""Grad-CAM: Selvaraju et al. 2017, "Grad-CAM: Visual Explanations from Deep Networks"."""

from __future__ import annotations

from ..gradient import backpropagate, zeros_like
from ..graph import Tensor, op
from ..maps import view_of


def gradcam(scores: Tensor, target: Tensor, layer: Tensor) -> Tensor:
    """Where the feature maps of a layer speak for a class: (N, h, w), not negative.

    `scores` (N, C) or (N, C, 1, 1), `target` (N,) int64, `layer` A, seen as (N, K, h, w) (maps.py).

        α_k = 1/(h w) Σ_ij ∂score/∂A_kij          (equation 1)
        map = ReLU(Σ_k α_k A_k)                   (equation 2)
    """
    return op.Relu(contributions(scores, target, layer))


def contributions(scores: Tensor, target: Tensor, layer: Tensor) -> Tensor:
    """Σ_k α_k A_k before the ReLU: what speaks for the class and what against it, (N, h, w)."""
    view = view_of(layer.graph, layer.name)
    alpha = view(layer_gradient(scores, target, layer)).mean([2, 3])
    return (alpha * view(layer)).sum([1], keepdims=False)


def layer_gradient(scores: Tensor, target: Tensor, layer: Tensor) -> Tensor:
    """∂score/∂A for the class of each image, of the layer's shape."""
    (gradient,) = backpropagate(scores.graph, {scores.name: one_hot(scores, target)}, [layer.name])
    return zeros_like(layer) if gradient is None else gradient


def one_hot(scores: Tensor, target: Tensor) -> Tensor:
    """1 at the class of each image, 0 elsewhere, in the shape of the scores."""
    rows = op.OneHot(target, scores.dim(1), scores.graph.constant([0, 1], scores.dtype), axis=1)
    return rows.like(scores)
