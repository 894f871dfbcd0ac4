"""The maps of all classes at once, where the head is a linear layer on means: one pass, and one product."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from onnx import ModelProto

from ...anatomy.heads import averaged
from ...anatomy.layers import checked_layer
from ...anatomy.maps import view_of
from ...anatomy.readouts.classes import readout
from ...autodiff.gradient import inside
from ...errors import BadRequest
from ...graph.graph import op
from ...runtime.network import Network
from ..compiled import image_of
from ..gradients import NOT_OF_MEANS, is_of_means
from ..perturbation.answerer import answerer_of, in_batches


class EveryClass:
    """What each cell of a layer adds to each class, as one ONNX graph: HiResCAM of all classes, signed.

    Parameters
    ----------
    network
        The model, whose scores are a linear layer on the means of a feature map.
    layer
        That feature map, by default the last one whose means are taken.

    Raises
    ------
    BadRequest
        Where the head is another, and for a layer that is not there.

    Examples
    --------
    >>> every = onnxlens.EveryClass(onnxlens.Network("model.onnx"))
    >>> every({"image": np.zeros((2, 3, 96, 96), np.float32)}).shape
    (2, 12, 12, 12)
    """

    def __init__(self, network: Network, layer: str | None = None):
        graph = network.graph.copy()
        self.images, read = image_of(graph), readout(graph)
        score = inside(graph, read.scores).name
        self.layer = checked_layer(graph, layer or averaged(graph, score), score)
        if not is_of_means(graph, score, self.layer):
            raise BadRequest(NOT_OF_MEANS.format(method="every class at once", layer=self.layer))
        maps = view_of(graph, self.layer)(inside(graph, self.layer))
        weights = graph.constant(_weights(network, self.layer))
        area = op.Cast(op.Mul(maps.dim(2), maps.dim(3)), to=1)
        shares = op.MatMul(weights, op.Reshape(maps, [0, 0, -1])) / area
        whole = op.Reshape(shares, op.Concat(maps.dim(0), [read.count], maps.dim(2), maps.dim(3), axis=0))
        self._name = graph.output(whole, graph.unused("heatmaps")).name
        self.graph, self._session = graph, network.compile(graph, [self._name])

    def __call__(self, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        """The maps (N, C, h, w) float32 of N images; those of a class sum to its score, but for the bias.

        Parameters
        ----------
        feeds
            Arrays by input name, images along the first axis.

        Raises
        ------
        BadRequest
            For inputs that are missing or do not fit.

        Examples
        --------
        >>> every = onnxlens.EveryClass(onnxlens.Network("model.onnx"))
        >>> maps = every({"image": np.zeros((1, 3, 96, 96), np.float32)})
        >>> maps.sum((2, 3)).shape
        (1, 12)
        """
        return self._session(feeds)[self._name]

    def to_model(self) -> ModelProto:
        """The graph as an ONNX model: the network's inputs in, the maps of all classes out.

        Examples
        --------
        >>> model = onnxlens.EveryClass(onnxlens.Network("model.onnx")).to_model()
        >>> [value.name for value in model.graph.output]
        ['heatmaps']
        """
        return self.graph.to_model([self._name])


def _weights(network: Network, layer: str) -> np.ndarray:
    """By how much each class rises with the mean of each channel of a layer, (C, K).

    That is what the network answers to maps that are 1 in one channel and 0 elsewhere, less its answer to 0.
    """
    answerer, view = answerer_of(network, None, layer), view_of(network.graph, layer)
    shape = [d if isinstance(d, int) else 1 for d in network.graph[layer].shape or ()][1:]
    cells = view.of_array(np.arange(np.prod(shape)).reshape(1, *shape))[0]
    count, places = len(cells), cells.reshape(len(cells), -1)

    def write(some: np.ndarray, out: np.ndarray) -> None:
        rows = out.reshape(len(out), -1)
        rows[:] = 0
        for row, channel in zip(rows, some.tolist(), strict=True):
            row[places[channel] if channel < count else []] = 1

    ask = in_batches(network, answerer, np.zeros(shape, np.float32), write)
    scores = np.concatenate([found.scores for found in ask(np.arange(count + 1))])
    return np.ascontiguousarray((scores[:count] - scores[count]).T)
