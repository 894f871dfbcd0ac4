"""Methods that read a transformer's own attention: what of the picture the tokens that answer have asked.

Each takes who is `read` (M, 1, Q), the share that each query has in the answer, and the layers of attention
whose tokens are the same, in order, the last one that of these queries; and gives the relevance of the keys,
(M, 1, K). M counts images, or windows of images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from ...graph.op import op
from ..method import Option, family

if TYPE_CHECKING:
    import numpy as np

    from ...graph.graph import Tensor

ablation = family(
    "ablation",
    on_layer=True,
    needs="attention",
    serial=True,
    blank="the answer for {target!r} falls with no token: nothing to show",
)
_enter = family(
    "attention",
    on_layer=True,
    needs="attention",
    blank="what answers asks each place of the picture alike: nothing to show",
)


class Layer(NamedTuple):
    """An attention: its `weights` (M, H, Q, K) by head, which sum to 1 over the keys; the `gradient` of the
    score by them, of their shape, for a method that takes it; and `own`, whether its queries are its keys:
    what they were before is then added to what they are told.
    """

    weights: Tensor
    gradient: Tensor | None
    own: bool


Relevance = Callable[["Tensor", Sequence[Layer], Any], "Tensor"]


class Through(NamedTuple):
    """How a method goes through the attentions: the function `end`, whether it takes `one` layer and not all,
    and whether it takes `gradients`.
    """

    end: Relevance
    one: bool = False
    gradients: bool = False


def through(
    key: str, title: str, paper: str, one: bool = False, gradients: bool = False, **own: Any
) -> Callable[[Relevance], Relevance]:
    """The decorator of this family; the rest is as in Through and in Method."""

    def enter(end: Relevance) -> Relevance:
        _enter(key, title, paper, **own)(Through(end, one, gradients))
        return end

    return enter


class Block(NamedTuple):
    """Of the attention of one layer."""

    block: Annotated[int, Option("Which attention, counted from 0; -1 is the last one.", -1)] = -1
    head: Annotated[int, Option("Which head of it, counted from 0; -1 is the mean of all.", -1)] = -1


class Fused(NamedTuple):
    """Of attention rollout."""

    heads: Annotated[str, Option("What is made of the heads of a layer.", choices=("mean", "max", "min"))] = (
        "mean"
    )


@through(
    "attention",
    "Attention",
    "Caron et al. 2021, figure 1",
    shows="what the token that answers asks of the picture in one layer, whatever the class",
    options=Block,
    one=True,
)
def attention(read: Tensor, layers: Sequence[Layer], options: Block) -> Tensor:
    """1/H Σ_h A_h of the last layer, the row of the class token; where the head reads several tokens, or the
    mean of all, the mean of their rows.

    It says where a layer looks and not what for: it is the same for every class.
    """
    (layer,) = layers
    weights = layer.weights
    if options.head >= 0:
        weights = op.Gather(weights, [options.head], axis=1)
    return read @ weights.mean([1], keepdims=False)


@through(
    "rollout",
    "Attention rollout",
    "Abnar & Zuidema 2020, section 3",
    shows="how much of each place of the picture attention has handed on to the token that answers",
    options=Fused,
)
def rollout(read: Tensor, layers: Sequence[Layer], options: Fused) -> Tensor:
    """The row of the class token in Π_l (A_l + I)/2, the later layers to the left, A_l being the mean of the
    heads, or their largest or smallest numbers, whose rows are then made to sum to 1 again.

    It is the same for every class, and through many layers it tells places apart less and less.
    """
    fuse = {"mean": op.ReduceMean, "max": op.ReduceMax, "min": op.ReduceMin}[options.heads]
    for layer in reversed(layers):
        weights = fuse(layer.weights, [1], keepdims=0)
        shared = weights.sum([2], keepdims=False)
        if not layer.own:
            read = op.Div(read, op.Unsqueeze(shared, [1])) @ weights
            continue
        read = op.Div(read, op.Unsqueeze(shared + 1, [1]))
        read = read @ weights + read
    return read


@through(
    "chefer",
    "Relevance of attention",
    "Chefer, Gur & Wolf 2021, equations 5 and 6",
    shows="what of the picture attention has handed on to the token that answers, where it raises a class",
    blank="nowhere would more attention raise class {target}: nothing to show",
    gradients=True,
)
def chefer(read: Tensor, layers: Sequence[Layer], options: Any) -> Tensor:
    """The row of the class token in R - I, where R = I at first and R + A R after each layer, A being
    1/H Σ_h ReLU(A_h ∘ ∇A_h) with the gradient of the class.
    """
    found = read
    for layer in reversed(layers):
        assert layer.gradient is not None
        weights = op.Relu(layer.weights * layer.gradient).mean([1], keepdims=False)
        found = found @ weights + found if layer.own else found @ weights
    return found - read if layers[-1].own else found


class Groups(NamedTuple):
    """Of token ablation."""

    group: Annotated[
        int,
        Option("Tokens down and across that are removed at once; 0 is as few as leave 16 groups.", 0, 4096),
    ] = 0


@ablation(
    "token-ablation",
    "Token ablation",
    "Jain et al. 2022, section 3",
    shows="by how much the score of a class drops without each token of a transformer",
    options=Groups,
)
def token_ablation(score: np.ndarray, without: np.ndarray) -> np.ndarray:
    """max(0, score - score without the token), of each token (n, T).

    Where attention alone reads the tokens of the picture, as with a class token, a removed one is masked in
    all of it: the network never saw it. Where more does, as a mean of tokens or windows do, the mean of the
    tokens stands in its place before the first block.
    """
    return (score - without).clip(0)
