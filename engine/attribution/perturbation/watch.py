"""A network that is watched while it answers: which values are read, and what is compiled for that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from ...anatomy.anatomy import checked_layer
from ...anatomy.maps import feature_map
from ...anatomy.readouts import readout
from ...autodiff.gradient import inside
from ...errors import BadRequest
from ...runtime.network import Network
from ...runtime.session import Session
from .places import Key, Places
from .plans import Plan, plan

PLANS = 2  # that are kept for a network; each holds a copy of its weights


class Answer(NamedTuple):
    """What a network answers to n images: its `output` (n, C), the `scores` (n, C) before a softmax, and
    the `totals` (n, K), each feature map of a layer summed over its positions.
    """

    output: np.ndarray
    scores: np.ndarray
    totals: np.ndarray


class Watch:
    """A network that is to answer with an Answer; `fixed` is the only batch that it takes, or None."""

    def __init__(self, network: Network, layer: str | None):
        self.graph = graph = network.graph.copy()
        read = readout(graph)
        scores = inside(graph, read.scores)
        try:
            self.layer = checked_layer(graph, layer, scores.name)
        except BadRequest:
            if layer is not None:
                raise
            self.layer = None
        self.names = [read.value, scores.name]
        if self.layer is not None:
            totals = feature_map(graph, self.layer).sum([2, 3], keepdims=False)
            self.names.append(totals.name)
        # A model may take any batch and yet have the size of one written into its head.
        sizes = [(graph[name].shape or (None,))[0] for name in (graph.inputs[0], *self.names)]
        self.fixed = next((n for n in sizes if isinstance(n, int)), None)
        self._session: Session | None = None  # a network in stages does without: it would hold all weights
        self.plans: dict[tuple[Key, float], Plan] = {}

    def whole(self, network: Network, feeds: Mapping[str, np.ndarray]) -> Answer:
        """The answer of the whole network."""
        return self.answer(self.compiled(network)(feeds))

    def compiled(self, network: Network) -> Session:
        """The whole network, which is compiled the first time."""
        if self._session is None:
            one = 1 if network.provider == "cpu" else None
            self._session = network.compile(self.graph, list(dict.fromkeys(self.names)), threads=one)
        return self._session

    def answer(self, values: Mapping[str, np.ndarray]) -> Answer:
        """The values by name as an Answer."""
        found = [values[name].reshape(len(values[name]), -1) for name in self.names]
        return Answer(found[0], found[1], found[2] if self.layer else found[0][:, :0])

    def plan(
        self, network: Network, image: np.ndarray, filler: np.ndarray, places: Places, share: float
    ) -> Plan:
        """The quickest way to the answers for a patch at these places; made once, the last few are kept."""
        key = places.key, share
        found = self.plans.pop(key, None) or plan(
            network, self.graph, self.names, self.layer, places.ranges, image, filler, share
        )
        self.plans[key] = found
        while len(self.plans) > PLANS:
            del self.plans[next(iter(self.plans))]
        return found


_MADE: WeakKeyDictionary[Network, dict[str | None, Watch]] = WeakKeyDictionary()


def watching(network: Network, layer: str | None) -> Watch:
    """The network compiled for a layer; made once for as long as the network is there."""
    made = _MADE.setdefault(network, {})
    if layer not in made:
        made[layer] = Watch(network, layer)
    return made[layer]


def watched(network: Network, layer: str | None = None) -> str | None:
    """The layer whose feature maps are summed: the named one, or the last before the head.

    None where none is named and the network has no feature maps: occlusion itself needs none. Raises
    BadRequest for a layer that is not there or is no feature map, and for a model that is no classifier.
    """
    return watching(network, layer).layer
