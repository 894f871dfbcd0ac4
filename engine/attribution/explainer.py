"""An explainer compiled for some layers of one network: every class and every image through one session."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ModelProto

from ..anatomy.heads import averaged
from ..anatomy.layers import checked_layer
from ..anatomy.readouts.classes import Readout, readout
from ..autodiff.gradient import inside
from ..errors import BadModel, BadRequest
from ..graph.graph import Graph, Tensor, op
from ..runtime.network import Network
from . import cam  # noqa: F401 (which enters its methods into the table)
from .compiled import PREDICTED, Explanation, OneGraph, image_of
from .diagnose import diagnose, sound
from .gradients import NOT_OF_MEANS, is_of_means, maps_of
from .method import method_named, options_given

__all__ = ["Explainer", "Explanation"]


class Explainer(OneGraph):
    """A class activation map of one layer or several, as one ONNX graph with the class as an input.

    Parameters
    ----------
    network
        The model.
    method
        A name of METHODS of that family.
    layer
        The name of a feature map or a list of names, by default the last before the head.
    output
        The output of the model that holds the classes, by default the one that `readout` finds.
    several
        Whether it is made ready for several classes of an image, and not for one.
    options
        The method's own.

    Raises
    ------
    BadRequest
        For a layer, method, option or output that is not there, and for a layer that a method cannot use.
    NoRule
        Where no gradient leads from the scores to the layer.

    Examples
    --------
    >>> explainer = onnxlens.Explainer(onnxlens.Network("model.onnx"))
    >>> images = np.zeros((2, 3, 96, 96), np.float32)
    >>> [(found.layer, found.map.shape) for found in explainer({"image": images}, 3)]
    [('relu5', (12, 12)), ('relu5', (12, 12))]
    >>> [value.name for value in explainer.to_model().graph.input]
    ['image', 'target']
    """

    together = True

    def __init__(
        self,
        network: Network,
        method: str = "gradcam",
        layer: str | Sequence[str] | None = None,
        output: str | None = None,
        several: bool = False,
        **options: Any,
    ):
        self._record = method_named(method, ("cam",))
        self._options = options_given(self._record, options)
        graph = network.graph
        self.network, self.method, self.images = network, method, image_of(graph)
        read = readout(graph, output)
        self.score = inside(graph, read.scores).name
        if layer is None and self._record.compute.of_means:
            layer = averaged(graph, self.score)
        named = [layer] if layer is None or isinstance(layer, str) else layer
        self.layers: list[str] = [checked_layer(graph, name, self.score) for name in named]
        for name in self.layers if self._record.compute.of_means else ():
            if not is_of_means(graph, self.score, name):
                raise BadRequest(NOT_OF_MEANS.format(method=method, layer=name))
        graph = graph.copy()  # which knows where the layers lie, as the network does from now on
        layers = [graph[name] for name in self.layers]
        maps = lambda scores, chosen: maps_of(self._record, self._options, scores, chosen, layers)
        self._compile(graph, read, maps, several)

    def _compile(
        self,
        graph: Graph,
        read: Readout,
        maps_for: Callable[[Tensor, Tensor], list[Tensor]],
        several: bool,
    ) -> None:
        """Append to a graph the maps of the class of each image, as `maps_for` makes them of the scores and
        the classes, and compile it; the rest is as of the class.
        """
        scores = graph[self.score]
        self.classes = read.count
        self.target = graph.unused("target")
        wish = graph.input(self.target, np.int64, (scores.shape or ())[:1])
        chosen = predicted_or(wish, scores)
        maps = maps_for(scores, chosen)
        heatmaps = [graph.output(m, graph.unused("heatmap")).name for m in maps]
        picked = op.GatherElements(op.Flatten(scores), op.Unsqueeze(chosen, [1]), axis=1)
        score = graph.output(op.Squeeze(picked, [1]), graph.unused("score"))
        chosen = graph.output(chosen, graph.unused("class"))
        self.names = [*heatmaps, chosen.name, score.name, read.value]
        self.graph, self.varying = graph, [self.target]
        self.session(several)

    @property
    def layer(self) -> str:
        """The layer; of several the first."""
        return self.layers[0]

    def __call__(
        self, feeds: Mapping[str, np.ndarray], targets: int | Sequence[int] | None = None
    ) -> list[Explanation]:
        """One explanation per image of a batch and layer: all layers of the first image, then of the next.

        `feeds`: arrays by input name, images along the first axis. `targets`: one class for all, one for
        each image, or None for the class of highest score.

        Raises BadRequest for a class that the model does not have.
        """
        return self.once(feeds, targets)

    def wished(
        self, feeds: Mapping[str, np.ndarray], targets: int | Sequence[int] | None = None
    ) -> dict[str, np.ndarray]:
        """The classes as an input."""
        if self.images not in feeds or np.ndim(feeds[self.images]) == 0:
            raise BadRequest(f"the model's input {self.images!r} is missing, or has no batch axis")
        count = len(feeds[self.images])
        wish = np.full(count, PREDICTED) if targets is None else np.broadcast_to(targets, count)
        for target in wish[(wish < PREDICTED) | (wish >= self.classes)]:
            raise BadRequest(f"there is no class {target}: the model has classes 0 to {self.classes - 1}")
        return {self.target: wish}

    def read(self, values: Mapping[str, np.ndarray], feeds: Mapping[str, np.ndarray]) -> list[Explanation]:
        """The explanations of each image, one of each layer."""
        count = len(feeds[self.images])
        *maps, classes, scores, outputs = (values[name] for name in self.names)
        for layer, of_layer in zip(self.layers, maps, strict=True):
            if len(of_layer) != count:
                raise BadModel(f"layer {layer!r} has {len(of_layer)} maps for {count} images")
        shown = [sound(of_layer) for of_layer in maps]
        classes, scores = classes.tolist(), scores.tolist()
        return [
            Explanation(
                of_layer[i],
                layer,
                layer,
                classes[i],
                scores[i],
                outputs[i],
                "" if is_sound[i] else self._problem(layer, i, feeds, classes[i]),
            )
            for i in range(count)
            for layer, of_layer, is_sound in zip(self.layers, maps, shown, strict=True)
        ]

    def _problem(self, layer: str, i: int, feeds: Mapping[str, np.ndarray], target: int) -> str:
        fixed = (self.graph[self.target].shape or (1,))[0]
        count = fixed if isinstance(fixed, int) else 1
        alone = {n: np.repeat(x[i : i + 1], count, 0) if np.ndim(x) else x for n, x in feeds.items()}
        return diagnose(self.network, self._record, self._options, self.score, layer, alone, target)

    def to_model(self) -> ModelProto:
        """The explainer as an ONNX model: the network's inputs and `target` (a class, or -1 for the
        predicted) in; the heatmap of each layer, class, score and the network's output out.
        """
        return self.graph.to_model(self.names)


def predicted_or(wish: Tensor, scores: Tensor) -> Tensor:
    """The wished class of each image, or where that is negative the class of highest score, (N,) int64."""
    best = op.ArgMax(op.Flatten(scores), axis=1, keepdims=0)
    return op.Where(wish < 0, best, wish)
