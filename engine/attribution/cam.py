"""Class activation maps, as tensor expressions: from a layer and its gradient to one map of each image.

Each takes the layer A and the gradient G of the class's score by it, both (N, K, h, w), and gives (N, h, w).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..graph.op import op
from .method import family

if TYPE_CHECKING:
    from ..graph.graph import Tensor

cam = family(
    "cam",
    on_layer=True,
    layer="Feature map to look at.  [default: the last one before the head]",
    blank="the active maps of layer {layer!r} have no weight for class {target}: nothing to show",
)


@cam(
    "gradcam",
    "Grad-CAM",
    "Selvaraju et al. 2017, equations 1 and 2",
    shows="where the feature maps of a layer speak for a class, each weighted with its mean gradient",
)
def gradcam(A: Tensor, G: Tensor) -> Tensor:
    """ReLU(Σ_k α_k A_k), where α_k = 1/(h w) Σ_ij G_kij."""
    return op.Relu((G.mean([2, 3]) * A).sum([1], keepdims=False))


@cam(
    "layercam",
    "LayerCAM",
    "Jiang et al. 2021, equations 6 and 7",
    shows="where a layer speaks for a class, each position weighted with its gradient, if positive",
    blank="nowhere does more of layer {layer!r} raise class {target}: nothing to show",
)
def layercam(A: Tensor, G: Tensor) -> Tensor:
    """ReLU(Σ_k ReLU(G_k) A_k)."""
    return op.Relu((op.Relu(G) * A).sum([1], keepdims=False))


@cam(
    "hirescam",
    "HiResCAM",
    "Draelos & Carin 2020, section 3.2",
    shows="what each position of a layer adds to a class: of a linear head exactly its share of the score",
    blank="where layer {layer!r} is active class {target} has no gradient: nothing to show",
)
def hirescam(A: Tensor, G: Tensor) -> Tensor:
    """ReLU(Σ_k G_k A_k): what speaks against the class is left out, as of Grad-CAM."""
    return op.Relu((G * A).sum([1], keepdims=False))


@cam(
    "gradcam++",
    "Grad-CAM++",
    "Chattopadhay et al. 2018, equations 10 and 19",
    shows="where a layer speaks for a class, small objects of it as much as large ones",
    blank="nowhere does more of layer {layer!r} raise class {target}: nothing to show",
)
def gradcam_plus_plus(A: Tensor, G: Tensor) -> Tensor:
    """ReLU(Σ_k w_k A_k), where w_k = Σ_ij α_kij ReLU(G_kij) and α = G² / (2 G² + G³ Σ_ab A_kab).

    That is the closed form for the exponential of the score, whose own factor is the same for the whole map.
    G² is cut out of α: small gradients do not vanish, and where none is positive none is divided by.
    """
    weighted = op.Where(G > 0, G / (G * A.sum([2, 3]) + 2), 0)
    return op.Relu((weighted.sum([2, 3]) * A).sum([1], keepdims=False))


@cam(
    "xgradcam",
    "XGrad-CAM",
    "Fu et al. 2020, equation 8",
    shows="where a layer speaks for a class, gradients weighted with how strong the layer is there",
)
def xgradcam(A: Tensor, G: Tensor) -> Tensor:
    """ReLU(Σ_k w_k A_k), where w_k = Σ_ij G_kij A_kij / Σ_ij A_kij."""
    total = A.sum([2, 3])
    weight = (G * A).sum([2, 3]) / op.Where(op.Equal(total, 0), 1, total)
    return op.Relu((weight * A).sum([1], keepdims=False))
