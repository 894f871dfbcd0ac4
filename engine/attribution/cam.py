"""Class activation maps, as tensor expressions: from a layer and its gradient to one map of each image.

Each takes the layer A and the gradient G of the class's score by it, both (N, K, h, w), and gives (N, h, w).
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from ..errors import BadRequest
from ..graph.op import op
from .method import Option, family

if TYPE_CHECKING:
    from ..graph.graph import Tensor

SQUARINGS = 14  # of a matrix, whose eigenvectors stay: one whose value is 0.1 % less fades to exp(-16)
TINY = 1e-30  # instead of dividing by zero

_enter = family(
    "cam",
    on_layer=True,
    layer="Feature map to look at.  [default: the last one before the head]",
    blank="the active maps of layer {layer!r} have no weight for class {target}: nothing to show",
)

# From scores (N, C), 1 at the class of each image (N, C), and options: what the gradient starts with (N, C).
Seed = Callable[["Tensor", "Tensor", Any], "Tensor"]


class Cam(NamedTuple):
    """How a map is made: `end` as above, `seed` what the gradient is of (None: the score), and whether the
    scores have to be a linear layer `of_means`, those of the layer's maps.
    """

    end: Callable[[Tensor, Tensor], Tensor]
    seed: Seed | None
    of_means: bool


def cam(*about: str, seed: Seed | None = None, of_means: bool = False, **more: Any) -> Callable[[Any], Any]:
    """The decorator of this family: as `family` says, and the fields of a Cam."""
    enter = _enter(*about, **more)
    return lambda end: enter(Cam(end, seed, of_means)) and end


class Finer(NamedTuple):
    """Of Finer-CAM."""

    against: Annotated[float, Option("How much the scores of similar classes count against it.", 0, 10)] = 1.0
    similar: Annotated[
        int, Option("How many classes it is told from: those of the nearest scores.", 1, 100)
    ] = 3


def _told_apart(scores: Tensor, own: Tensor, options: Finer) -> Tensor:
    """1 at the class, and -α p_d / Σ_d p_d at each class d of those whose scores are nearest to its own."""
    count = (own.shape or (0, 0))[1]
    if not isinstance(count, int) or count < 2:
        raise BadRequest("finercam tells a class from others, and here there is one alone: take gradcam")
    score = op.ReduceMax(op.Where(own > 0, scores, -inf), [1], keepdims=1)
    apart = op.Where(own > 0, inf, op.Abs(scores - score))
    _, nearest = op.TopK(apart, [min(options.similar, count - 1)], axis=1, largest=0, outputs=2)
    weights = op.Softmax(op.GatherElements(scores, nearest, axis=1), axis=1)
    others = op.OneHot(nearest, count, own.graph.constant([0, 1], own.dtype), axis=2)
    return own - options.against * (op.Unsqueeze(weights, [2]) * others).sum([1], keepdims=False)


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


@cam(
    "elementwisecam",
    "Grad-CAM, elementwise",
    "after Selvaraju et al. 2017, as pytorch-grad-cam computes it",
    shows="where a layer speaks for a class, whatever else at the same position speaks against it",
    blank="nowhere does layer {layer!r} add to class {target}: nothing to show",
)
def elementwisecam(A: Tensor, G: Tensor) -> Tensor:
    """Σ_k ReLU(G_k A_k): of HiResCAM the terms that are above zero."""
    return op.Relu(G * A).sum([1], keepdims=False)


@cam(
    "cam",
    "CAM",
    "Zhou et al. 2016, equation 2",
    shows="what each position of the last layer adds to a class, where means of it and a linear layer follow",
    signed=True,
    of_means=True,
    layer="Feature map to look at.  [default: the last one whose means are taken]",
)
def plain(A: Tensor, G: Tensor) -> Tensor:
    """Σ_k w_k A_k, where w are the weights of the linear layer that takes the means of the maps.

    What speaks against the class is below zero. The mean of the map is the score, but for the bias.
    """
    return (G.sum([2, 3]) * A).sum([1], keepdims=False)


@cam(
    "finercam",
    "Finer-CAM",
    "Zhang et al. 2025, equation 4",
    shows="where a layer speaks for a class rather than for those that are most like it",
    seed=_told_apart,
    options=Finer,
    blank="nothing in layer {layer!r} tells class {target} from those most like it: nothing to show",
)
def finercam(A: Tensor, G: Tensor) -> Tensor:
    """Grad-CAM of y_c - α Σ_d p_d y_d / Σ_d p_d, over the classes d whose scores y are nearest to y_c, with
    their probabilities p, which are taken as they are and not differentiated.
    """
    return gradcam(A, G)


@cam(
    "eigencam",
    "Eigen-CAM",
    "Muhammad & Yeasin 2020, section III",
    shows="where a layer is most unlike its mean, along its first principal component, whatever the class",
    blank="layer {layer!r} is the same everywhere: nothing to show",
)
def eigencam(A: Tensor, G: Tensor) -> Tensor:
    """ReLU(X v), where the rows of X are the positions of the layer, each channel less its mean, and v is its
    first right singular vector. The mean is taken off as pytorch-grad-cam does.

    Its sign is that which agrees with the mean of the channels: that of a singular vector says nothing.
    """
    return op.Relu(_principal(A))


@cam(
    "eigengradcam",
    "Eigen-Grad-CAM",
    "after Muhammad & Yeasin 2020, as pytorch-grad-cam computes it",
    shows="where what a layer adds to a class varies most, along its first principal component",
    blank="where layer {layer!r} is active class {target} has no gradient: nothing to show",
)
def eigengradcam(A: Tensor, G: Tensor) -> Tensor:
    """ReLU(X v) as of Eigen-CAM, of the layer times its gradient: the sign agrees with what that sums to."""
    return op.Relu(_principal(G * A))


def _principal(X: Tensor) -> Tensor:
    """Maps (N, K, h, w), each less its mean, on their first principal component: (N, h, w).

    Its sign is that of the agreement with the mean of the maps. The matrix of the smaller side is squared
    until nothing else is left of it, then one step with the matrix itself takes off the rounding.
    """
    maps = op.Reshape(X, [0, 0, -1])  # (N, K, P)
    scale = op.Max(op.ReduceMax(op.Abs(maps), [1, 2], keepdims=1), TINY)
    maps = maps / scale  # so that squares stay within what floats hold
    centred = maps - maps.mean([2])
    channels, positions = (maps.shape or (None,) * 3)[1:]
    turned = op.Transpose(centred, perm=[0, 2, 1])
    by_place = isinstance(positions, int) and isinstance(channels, int) and positions <= channels
    gram = turned @ centred if by_place else centred @ turned
    power = _unit(gram)
    for _ in range(SQUARINGS):
        power = _unit(power @ power)
    sizes = op.ReduceSumSquare(power, [1], keepdims=0)
    longest = op.OneHot(
        op.ArgMax(sizes, axis=1, keepdims=0), power.dim(2), power.graph.constant([0, 1], power.dtype)
    )
    vector = _unit(gram @ (power @ op.Unsqueeze(longest, [2])))
    projection = gram @ vector / _norm(centred @ vector) if by_place else turned @ vector  # (N, P, 1)
    agreement = (op.Transpose(projection, perm=[0, 2, 1]) * maps.mean([1])).sum([1, 2])
    signed = op.Where(agreement < 0, -projection, projection)
    return op.Reshape(signed * scale, op.Concat(*map(X.dim, (0, 2, 3)), axis=0))


def _norm(matrix: Tensor) -> Tensor:
    """The Frobenius norm of each matrix (N, ...), (N, 1, 1), never zero."""
    return op.Max(op.ReduceL2(matrix, [1, 2], keepdims=1), TINY)


def _unit(matrix: Tensor) -> Tensor:
    return matrix / _norm(matrix)
