"""Gradient ascent on images: one step - shift, gradient, normalisation, update, clip - as one ONNX graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ..autodiff.gradient import backpropagate
from ..canonical.canonical import OPSET
from ..errors import BadRequest
from ..graph.graph import Graph, Tensor, op
from ..runtime.entry import fed
from .parameterisation import from_spectrum
from .priors import blurred, roughness
from .transforms import placed, rolled

Shape = tuple[int, int, int, int]  # of the images: (N, 3, H, W)
Entry = Callable[[Tensor], Tensor]  # pixels (N, 3, h, w), 0 to 255, to the model's input
Aim = Callable[[Graph], Tensor]  # the objective: a number for each image, (N,)
# What a step's inputs and outputs are called, whatever a model calls its own values.
_NAMES = (
    "pixels", "offset", "moved", "next", "value", "gradient", "spectrum", "affine", "first", "second",
    "count", "spectrum/next", "first/next", "second/next",
)  # fmt: skip
_TINY = 1e-12
_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8  # Kingma & Ba 2015, "Adam"
_DECAY = 0.3  # Loshchilov & Hutter 2019, "Decoupled Weight Decay": without it light and dark run away


class Climb(NamedTuple):
    """What is climbed: the objective `aim` of a network whose input `name` is made of pixels by `entry`."""

    name: str
    entry: Entry
    aim: Aim


@dataclass(frozen=True)
class Priors:
    """What holds ascent back. `variation`: how strongly pixels pull towards their neighbours, where the
    objective's mean pull on a pixel is 1. `blur`: of the objective's pull, in pixels.
    """

    variation: float = 0.0
    blur: float = 0.0


def pixel_step(graph: Graph, climb: Climb, shape: Shape, priors: Priors, rate: float) -> Graph:
    """A step of the reference notebook (Google 2015, make_step), on pixels.

    Inputs `pixels` (N, 3, H, W) float32, 0 to 255, and `offset` (2,) int64; outputs `next`, the pixels
    after the step, and `value` (N,), the objective before it.

        x' = clip(x + rate · g / mean|g|, 0, 255),  g = ∂value/∂x, all moved round by the offset
    """

    def start(g: Graph) -> Tensor:
        moved = rolled(g.input("pixels", np.float32, shape), g.input("offset", np.int64, [2]))
        return climb.entry(g.output(moved, "moved"))

    graph = fed(graph, climb.name, start, _NAMES)
    moved = graph["moved"]
    value, slope = _climbed(graph, climb.aim, moved)
    graph.outputs = []
    graph.output(rolled(_stepped(moved, slope, priors, rate), graph["offset"], -1), "next")
    graph.output(value, "value")
    return graph


def gradient_graph(graph: Graph, climb: Climb, shape: Shape) -> Graph:
    """The first half of `pixel_step`, for a window of a large image: `pixels` to `gradient` and `value`."""
    graph = fed(graph, climb.name, lambda g: climb.entry(g.input("pixels", np.float32, shape)), _NAMES)
    value, slope = _climbed(graph, climb.aim, graph["pixels"])
    graph.outputs = []
    graph.output(slope, "gradient")
    graph.output(value, "value")
    return graph


def update_graph(shape: Shape, priors: Priors, rate: float) -> Graph:
    """The second half of `pixel_step`, for the whole image: `pixels` and `gradient` to `next`."""
    graph = Graph({"": OPSET})
    pixels, slope = (graph.input(n, np.float32, shape) for n in ("pixels", "gradient"))
    graph.output(_stepped(pixels, slope, priors, rate), "next")
    return graph


def spectrum_step(graph: Graph, climb: Climb, shape: Shape, priors: Priors, rate: float) -> Graph:
    """A step of Adam on spectra (parameterisation.py), under the transforms that are handed in.

    Inputs `spectrum`, `first`, `second` (N, 3, H, W), the means of Adam, `count` () float32, the number of
    the step from 1, and `affine` (N, 2, 3), where the network's window lies on the picture; outputs
    `spectrum/next`, `first/next`, `second/next`, `pixels` (N, 3, H, W) and `value` (N,) before the step.
    """

    def start(g: Graph) -> Tensor:
        spectrum = g.input("spectrum", np.float32, shape)
        pixels = g.output(from_spectrum(spectrum, shape[2], shape[3]), "pixels")
        affine = g.input("affine", np.float32, [shape[0], 2, 3])
        return climb.entry(placed(pixels, affine, shape[2], shape[3]))

    graph = fed(graph, climb.name, start, _NAMES)
    spectrum, pixels = graph["spectrum"], graph["pixels"]
    value, pull = _climbed(graph, climb.aim, pixels)
    (slope,) = backpropagate(graph, {"pixels": _held(pixels, pull, priors)}, ["spectrum"])
    assert slope is not None
    first = graph.input("first", np.float32, shape) * _BETA1 + slope * (1 - _BETA1)
    second = graph.input("second", np.float32, shape) * _BETA2 + slope * slope * (1 - _BETA2)
    count = graph.input("count", np.float32, [])
    mean = first / (1 - op.Pow(graph.constant(_BETA1, np.float32), count))
    square = second / (1 - op.Pow(graph.constant(_BETA2, np.float32), count))
    graph.outputs = []
    kept = spectrum * (1 - rate * _DECAY)
    graph.output(kept + rate * mean / (op.Sqrt(square) + _EPSILON), "spectrum/next")
    graph.output(first, "first/next")
    graph.output(second, "second/next")
    graph.outputs.append("pixels")
    graph.output(value, "value")
    return graph


def _climbed(graph: Graph, aim: Aim, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """The objective and its gradient by the pixels. BadRequest where it does not depend on them."""
    value = aim(graph)
    one = op.Expand(graph.constant(1, value.dtype), value.dims)
    # Where a rectifier is off all over an image, as on noise, no gradient would come through at all.
    (slope,) = backpropagate(graph, {value.name: one}, [pixels.name], "redirected")
    if slope is None:
        raise BadRequest("the objective does not depend on the image")
    return value, slope


def _held(pixels: Tensor, slope: Tensor, priors: Priors) -> Tensor:
    """What pulls at each pixel: the objective with a mean of 1, and the priors against it."""
    slope = blurred(slope, priors.blur)
    pull = slope / op.Max(op.Abs(slope).mean([1, 2, 3]), _TINY)
    return pull - priors.variation * roughness(pixels / 255) if priors.variation else pull


def _stepped(pixels: Tensor, slope: Tensor, priors: Priors, rate: float) -> Tensor:
    return op.Clip(pixels + rate * _held(pixels, slope, priors), 0.0, 255.0)
