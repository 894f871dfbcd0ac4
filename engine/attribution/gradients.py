"""The gradient of a class's score by layers, and the maps made of it, as tensor expressions."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ..anatomy.heads import is_averaged
from ..anatomy.maps import views
from ..autodiff.broadcasting import zeros_like
from ..autodiff.gradient import backpropagate
from ..graph.graph import Graph, Tensor, op
from ..operators.traits import traits_of
from .method import Method

NOT_OF_MEANS = (
    "{method} needs a linear layer on the means of {layer!r}, and other operators follow it: "
    "take gradcam, or name the layer that a global mean reads"
)


def maps_of(
    method: Method, options: Any, scores: Tensor, target: Tensor, layers: Sequence[Tensor]
) -> list[Tensor]:
    """The maps (N, h, w) of some layers for the class of each image; each layer is seen as (N, K, h, w).

    `scores` (N, C) or (N, C, 1, 1), `target` (N,) int64; `options` are the method's.
    """
    seen = views(scores.graph)
    found = gradients(scores, seed_of(method, options, scores, target), layers)
    return [
        method.compute.end(view(layer), view(gradient))
        for layer, gradient in zip(layers, found, strict=True)
        for view in (seen[layer.name],)
    ]


def seed_of(method: Method, options: Any, scores: Tensor, target: Tensor) -> Tensor:
    """What the gradient of a method starts with, in the shape of the scores."""
    own = one_hot(scores, target)
    if method.compute.seed is None:
        return own
    return method.compute.seed(op.Flatten(scores), op.Flatten(own), options).like(scores)


def gradients(scores: Tensor, seed: Tensor, layers: Sequence[Tensor]) -> list[Tensor]:
    """The gradient of Σ seed · scores by each layer, of its shape; one backward pass serves all layers."""
    found = backpropagate(scores.graph, {scores.name: seed}, [layer.name for layer in layers])
    return [zeros_like(x) if g is None else g for x, g in zip(layers, found, strict=True)]


def one_hot(scores: Tensor, target: Tensor) -> Tensor:
    """1 at the class of each image, 0 elsewhere, in the shape of the scores."""
    count = prod(d for d in (scores.shape or ())[1:] if isinstance(d, int))
    rows = op.OneHot(target, count, scores.graph.constant([0, 1], scores.dtype), axis=1)
    return rows.like(scores)


def is_of_means(graph: Graph, score: str, layer: str) -> bool:
    """Whether scores are a linear function of the means of a layer's maps over all positions.

    Behind the means, that is so where the gradient of the scores does not depend on the image.
    """
    if not is_averaged(graph, layer, score):
        return False
    images, graph = graph.pictured, graph.copy()
    scores = graph[score]
    target = graph.input(graph.unused("target"), np.int64, (scores.shape or ())[:1])
    (gradient,) = gradients(scores, one_hot(scores, target), [graph[layer]])
    wanted = {gradient.name}
    for node in reversed(graph.nodes):
        if not (wanted.isdisjoint(node.output) or traits_of(node).reads_sizes):
            wanted.update(graph.reads(node))
    return wanted.isdisjoint(images)
