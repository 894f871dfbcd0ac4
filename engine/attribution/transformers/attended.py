"""A method of methods.py compiled for one network: its attentions are found, and its map laid out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...anatomy.attention import Attention, map_of
from ...anatomy.readouts.classes import readout
from ...autodiff.gradient import inside
from ...errors import BadRequest
from ...graph.graph import Tensor, op
from ...runtime.network import Network
from ..compiled import image_of
from ..explainer import Explainer
from ..gradients import gradients, one_hot
from ..method import method_named
from .chain import block, chain, placed
from .methods import Layer
from .written import written_out


class Attended(Explainer):
    """A method that reads attention, as one ONNX graph with the class as an input: called as an Explainer is.

    Fused attention is written out. The `layer` of a map is what the first of the attentions asks.

    Raises BadRequest for a network without attention, for one whose tokens cannot be placed, and for a block
    or a head that is not there; NoRule where no gradient leads to the last attention.
    """

    def __init__(self, network: Network, method: str, options: Any, several: bool = False):
        self._record = method_named(method, ("attention",))
        self.network, self.method, self.images = network, method, image_of(network.graph)
        graph = written_out(network.graph)
        read = readout(graph)
        self.score = inside(graph, read.scores).name
        there, last = placed(graph, self.score, method)
        self._options = options
        if self._record.compute.one:
            self._layers = [block(there, last, options)]
        else:
            self._layers, self.note = chain(there, last, method)
        self._last = last
        layer = map_of(graph, self._layers[0], network.graph.value_names())
        if layer is None:
            raise BadRequest(
                f"{method} has no layer to lie on: no feature map before the attention "
                f"{self._layers[0].weights!r} has the places of its tokens; take saliency"
            )
        self.layers = [layer]
        self._compile(graph, read, self._map, several)

    def _map(self, scores: Tensor, chosen: Tensor) -> list[Tensor]:
        """The relevance of the places, (N, h, w), as expressions."""
        how, graph, last = self._record.compute, scores.graph, self._last
        wanted = {a.weights: a for a in [last, *(self._layers if how.gradients else ())]}
        found = gradients(scores, one_hot(scores, chosen), [graph[name] for name in wanted])
        by = {name: _by_head(g, a) for (name, a), g in zip(wanted.items(), found, strict=True)}
        layers = [
            Layer(_by_head(graph[a.weights], a), by.get(a.weights) if how.gradients else None, a.own)
            for a in self._layers
        ]
        first, answering = self._layers[0], self._layers[-1]
        if answering.queries == last.queries:
            read = _read(by[last.weights])
        else:  # in whose layer all tokens go on to be read
            assert answering.queries is not None
            share = np.full((1, 1, answering.queries.count), 1 / answering.queries.count, np.float32)
            read = graph.constant(share)
        relevance = how.end(read, layers, self._options)
        assert first.keys is not None
        assert first.keys.cells is not None
        rows, columns, tokens = first.keys.cells
        flat = op.Reshape(relevance, [-1, first.keys.windows * first.keys.count])
        return [op.Reshape(op.Gather(flat, tokens.tolist(), axis=1), [-1, rows, columns])]

    def _problem(self, layer: str, i: int, feeds: Mapping[str, np.ndarray], target: int) -> str:
        return self._record.blank.format(target=target, layer=layer)


def _by_head(value: Tensor, attention: Attention) -> Tensor:
    """Weights, or what has their shape, as (M, heads, queries, keys), M counting windows of images."""
    assert attention.queries is not None
    assert attention.keys is not None
    return op.Reshape(value, [-1, attention.heads, attention.queries.count, attention.keys.count])


def _read(gradient: Tensor) -> Tensor:
    """The share (M, 1, Q) that each query has in the answer: those that it is made of have as much each.

    Behind the last attention tokens meet no more but in the head, so that a query which the head does not
    read has no gradient at all: with a class token all others, with the mean of the patches the class token.
    """
    reached = op.Relu(op.Sign(op.ReduceSum(op.Abs(gradient), [1, 3], keepdims=0)))
    most = op.Max(op.ReduceSum(reached, [1], keepdims=1), np.float32(1))
    return op.Unsqueeze(reached / most, [1])
