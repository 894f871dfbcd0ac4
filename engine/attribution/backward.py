"""Methods that go back to the pixels, each by rules of its own: what of an image a unit answers to.

One unit is kept of a layer, and what is left runs back through the network by a method's `rules`. `start`
makes of the unit's value (N,) what runs back, and the function under the record what arrives, of the signal
at the image and of the image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from ..graph.op import op
from .method import Option, family

if TYPE_CHECKING:
    from ..graph.graph import Tensor

COMPOSITES = (
    "composite",
    "epsilon-plus",
    "epsilon-plus-flat",
    "epsilon-alpha2-beta1",
    "epsilon-alpha2-beta1-flat",
)  # of variants.TABLES, behind "lrp-"

_enter = family(
    "backward",
    layer="Look from this layer instead of from a class.",
    units=True,
    signed=True,
    style="absolute",
)


class Backward(NamedTuple):
    """How a method goes back: `rules`, a name in autodiff/variants, in which options stand in braces, or a
    table of rules; `start` and `end` as above; `gates` is whether its ReLUs let through less than those of
    the gradient; `against` a baseline, which its options name: `end` is given it too.
    """

    rules: Any
    start: Callable[[Tensor], Tensor]
    end: Callable[..., Tensor]
    gates: bool
    against: bool


def ones(value: Tensor) -> Tensor:
    """1 for each unit: the gradient's own start."""
    return op.Expand(value.graph.constant(1, value.dtype), value.dims)


def backward(
    *about: str,
    rules: Any,
    start: Callable[[Tensor], Tensor] = ones,
    gates: bool = False,
    against: bool = False,
    **more: Any,
) -> Callable[[Any], Any]:
    """The decorator of this family: as `family` says, and the fields of a Backward."""
    enter = _enter(*about, **more)
    return lambda end: enter(Backward(rules, start, end, gates, against)) and end


class Relevance(NamedTuple):
    """Of layer-wise relevance propagation."""

    composite: Annotated[str, Option("Which rule each layer goes by.", choices=COMPOSITES)] = COMPOSITES[0]


class Attended(NamedTuple):
    """Of AttnLRP."""

    linear: Annotated[str, Option("Which rule layers with weights go by.", choices=("gamma", "epsilon"))] = (
        "gamma"
    )


class Compared(NamedTuple):
    """Of DeepLIFT."""

    baseline: Annotated[
        str, Option("What it is compared with: mean, zero (black), blur, noise, a colour.", fill=True)
    ] = "mean"


@backward(
    "saliency",
    "Gradient",
    "Simonyan et al. 2014, section 3",
    shows="how much each pixel changes a class or a unit",
    rules="gradient",
)
def saliency(signal: Tensor, image: Tensor) -> Tensor:
    """The gradient as it arrives."""
    return signal


@backward(
    "guided",
    "Guided backpropagation",
    "Springenberg et al. 2015, section 3.4",
    shows="which pixels a class or a unit answers to, along ways that are positive throughout",
    rules="guided",
    gates=True,
    style="signed",
)
def guided(signal: Tensor, image: Tensor) -> Tensor:
    """What arrives behind both gates, of the forward and of the backward pass."""
    return signal


# What is handed down is the activation itself. Theirs are never negative; where a score is, its size is
# taken: the pattern is always one that raises the unit.
@backward(
    "deconvnet",
    "Deconvnet",
    "Zeiler & Fergus 2014, section 2.1",
    shows="the pattern in the photo that a unit answers to",
    rules="deconvnet",
    start=op.Abs,
    gates=True,
    style="signed",
    target="units",
)
def deconvnet(signal: Tensor, image: Tensor) -> Tensor:
    """What arrives behind the gate of the backward pass alone."""
    return signal


@backward(
    "input-x-gradient",
    "Input times gradient",
    "Shrikumar et al. 2016, section 3",
    shows="what each pixel, as far as it is from zero, adds to a class or a unit",
    rules="gradient",
)
def input_x_gradient(signal: Tensor, image: Tensor) -> Tensor:
    """The gradient times the input."""
    return op.Mul(signal, image)


@backward(
    "lrp",
    "Layer-wise relevance propagation",
    "Bach et al. 2015; Montavon et al. 2019, section 10.3",
    shows="how the score itself is shared out among the pixels, layer by layer",
    rules="lrp-{composite}",
    start=op.Identity,
    options=Relevance,
)
def lrp(signal: Tensor, image: Tensor) -> Tensor:
    """The relevance that arrives, by rules of which each layer has the one that a composite gives it.

    `composite` has the w-square rule at the pixels, epsilon in the head and all that is fully connected, and
    gamma between. The others are those of zennit: epsilon for what is fully connected, and for convolutions
    what speaks for alone (plus) or twice what speaks for less what speaks against (alpha2-beta1); flat shares
    out alike at the pixels. On drawn scenes maps of epsilon-plus peak on the object more often than those of
    `composite`.
    """
    return signal


@backward(
    "attnlrp",
    "AttnLRP",
    "Achtibat et al. 2024, propositions 3.1 to 3.4",
    shows="how the score itself is shared out among the pixels, also by where a transformer attends",
    rules="attnlrp-{linear}",
    start=op.Identity,
    options=Attended,
)
def attnlrp(signal: Tensor, image: Tensor) -> Tensor:
    """The relevance that arrives. A product of two values shares it half and half, a softmax by its Taylor
    expansion, R_x = x (R - y Σ R); nonlinearities hand it on, and of a normalisation the scale is a constant.

    `lrp` takes attention for a constant instead. Layers with weights go by LRP-γ, 0.25 in convolutions and
    0.05 elsewhere, or by epsilon, which in vision transformers is noisy, as the paper says. What a softmax
    makes of its input is no share, so that the sum over the pixels is not the score.
    """
    return signal


@backward(
    "deeplift",
    "DeepLIFT",
    "Shrikumar, Greenside & Kundaje 2017, section 3.5.2",
    shows="what each pixel adds to what a class is above its score for a photo in which there is nothing",
    rules="rescale",
    against=True,
    options=Compared,
)
def deeplift(signal: Tensor, image: Tensor, baseline: Tensor) -> Tensor:
    """The multiplier that arrives, by how much a score differs for each step that a pixel does, times the
    difference of the pixel. Sums to the difference of the scores.

    Each nonlinearity hands on Δy / Δx, the rescale rule; products and a softmax inside the network share
    their difference out exactly too. Only through what has no such rule (contrast normalisation, quantising)
    goes the gradient, and then the sum is off by as much as is said.
    """
    return op.Mul(signal, op.Sub(image, baseline))
