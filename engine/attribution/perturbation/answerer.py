"""A network that answers for images: which of its values are read, and what is compiled for that.

Whole runs are on images that are written as they are asked for, on all cores at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from threading import local
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from ...anatomy.layers import checked_layer
from ...anatomy.maps import feature_map
from ...anatomy.readouts.classes import readout
from ...autodiff.gradient import inside
from ...errors import BadRequest
from ...graph.graph import Graph
from ...runtime.ahead import BATCH, ahead, cores
from ...runtime.network import Network
from ...runtime.session import Session
from .places import Key, Places
from .plans import Plan, plan
from .stages import part

BATCH_ON_GPU = 64
HELD = 2**22  # numbers of a layer that are in one run
MAX_PLANS = 2  # that are kept for a network; each holds a copy of its weights


class Answer(NamedTuple):
    """What a network answers to n images: its `output` (n, C), the `scores` (n, C) before a softmax, and
    the `totals` (n, K), each feature map of a layer summed over its positions.
    """

    output: np.ndarray
    scores: np.ndarray
    totals: np.ndarray


Ask = Callable[[np.ndarray], Iterator[Answer]]  # answers for some of the images, by their numbers (n,)


class Answerer:
    """A network that is to answer with an Answer; `fixed` is the only batch that it takes, or None.

    It answers to what `start` is: the image, or a layer, from which on it is computed then. Raises BadRequest
    for a layer that nothing follows, or which is not of 32-bit floats.
    """

    def __init__(self, network: Network, layer: str | None, start: str | None = None):
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
        self.start = graph.pictured[0] if start is None else start
        if start is not None:
            self.graph = graph = _behind(graph, start, self.names)
        # A model may take any batch and yet have the size of one written into its head.
        sizes = [(graph[name].shape or (None,))[0] for name in (self.start, *self.names)]
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
        while len(self.plans) > MAX_PLANS:
            del self.plans[next(iter(self.plans))]
        return found


def _behind(graph: Graph, start: str, ends: Sequence[str]) -> Graph:
    """The graph from a layer on. Raises BadRequest as Answerer does."""
    if graph[start].dtype != np.float32:
        raise BadRequest(f"layer {start!r} holds {graph[start].dtype}, and no values that may be changed")
    if not any(start in graph.reads(node) for node in graph.ancestors(ends)):
        raise BadRequest(f"nothing of what the model answers follows from layer {start!r}: name another one")
    return part(graph, start, ends)


_MADE: WeakKeyDictionary[Network, dict[tuple[str | None, str | None], Answerer]] = WeakKeyDictionary()


def answerer_of(network: Network, layer: str | None, start: str | None = None) -> Answerer:
    """The network compiled for a layer, and from a `start` on; made once for as long as it is there."""
    made, key = _MADE.setdefault(network, {}), (layer, start)
    if key not in made:
        made[key] = Answerer(network, layer, start)
    return made[key]


def summed_layer(network: Network, layer: str | None = None) -> str | None:
    """The layer whose feature maps are summed: the named one, or the last before the head.

    None where none is named and the network has no feature maps: occlusion itself needs none. Raises
    BadRequest for a layer that is not there or is no feature map, and for a model that is no classifier.
    """
    return answerer_of(network, layer).layer


def in_batches(
    network: Network,
    answerer: Answerer,
    image: np.ndarray,
    write: Callable[[np.ndarray, np.ndarray], object],
    beside: Mapping[str, np.ndarray] | None = None,
) -> Ask:
    """The function that gives the answers for images that `write` makes of their numbers (n,).

    It writes them into (n, ...) float32, which holds copies of the `image` at first: one buffer for each core
    is all that is held of them; its length is what the model asks for, or else fits a processor's cache.
    Where the answerer starts at a layer they are its values, and `beside` what else is read of the image, by
    the names of inputs.
    """
    best = BATCH if network.provider == "cpu" else BATCH_ON_GPU
    if answerer.start not in network.graph.inputs:
        best = min(max(best, HELD // image.size), BATCH_ON_GPU)
    size = answerer.fixed or best
    buffers = local()
    answerer.compiled(network)  # once, before the threads that share it begin

    def whole(some: np.ndarray) -> Answer:
        if not hasattr(buffers, "batch"):
            buffers.batch = np.repeat(image[None].astype(np.float32), size, axis=0)
        count = len(some)
        write(some, buffers.batch[:count])
        length = answerer.fixed or count
        others = {name: np.repeat(value[None], length, 0) for name, value in (beside or {}).items()}
        found = answerer.whole(network, {answerer.start: buffers.batch[:length], **others})
        return Answer(*(values[:count] for values in found))

    return lambda numbers: ahead(whole, parts(numbers, size), workers(network))


def workers(network: Network) -> int:
    """How many images, or groups of them, are under way at once: each on a core of its own."""
    return (network.threads or cores()) if network.provider == "cpu" else 1


def parts(numbers: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """The numbers, so many at a time."""
    return (numbers[i : i + size] for i in range(0, len(numbers), size))
