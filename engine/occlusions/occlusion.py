"""Occlusion: what a network answers while a patch hides one place of the image after another.

M. Zeiler and R. Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 4.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from threading import local
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from ...kernels.tile import tile
from ..ahead import ahead, cores
from ..anatomy import checked_layer, score_name
from ..errors import BadRequest
from ..explainer import class_count
from ..gradient import inside
from ..maps import feature_map
from ..network import Network
from ..session import Session
from .masks import CORNERS, IMAGE, PATCH, UNDER, masked
from .places import Key, Places, places
from .plans import Plan, plan

__all__ = ["Answer", "Places", "answers", "asking", "how", "places", "plainly", "watched"]

BATCH = 4  # images at once: on CPUs, where more leave the cache, more take longer
BATCH_ON_GPU = 64
TOGETHER = 32  # places that are on their way through the stages at once
PLANS = 2  # that are kept for a network; each holds a copy of its weights


class Answer(NamedTuple):
    """What a network answers to n images: its `output` (n, C), the `scores` (n, C) before a softmax, and
    the `totals` (n, K), each feature map of a layer summed over its positions.
    """

    output: np.ndarray
    scores: np.ndarray
    totals: np.ndarray


Ask = Callable[[np.ndarray], Iterator[Answer]]  # answers for some of the places, by their numbers (n,)


def answers(
    network: Network,
    layer: str | None,
    image: np.ndarray,
    filler: np.ndarray,
    places: Places,
    last: bool = False,
) -> Iterator[Answer]:
    """What the network answers with the patch at each of the places, in their order, a batch at a time.

    `image` and `filler`, what is under the patch, are inputs without their batch axis, (C, h, w) or, with
    the channels `last`, (h, w, C), float32. Where it is quicker, only what a patch changes is computed
    again (`incremental.py`); `how` says whether. Otherwise the images are written into one buffer for each
    core, which is all that is held of them; its length is what the model asks for, or else fits a
    processor's cache.
    """
    return asking(network, layer, image, filler, places, last)[1](np.arange(len(places)))


def asking(
    network: Network,
    layer: str | None,
    image: np.ndarray,
    filler: np.ndarray,
    places: Places,
    last: bool = False,
    share: float = 1,
) -> tuple[Callable[[], Answer], Ask]:
    """Two functions: of the answer to the image as it is, and of those for some of the places.

    As `answers`; with a `share` below 1 approximately, as `Incremental` says.
    """
    watch = _watch(network, layer)
    chw = (np.ascontiguousarray(np.moveaxis(x, -1, 0) if last else x, np.float32) for x in (image, filler))
    photo, under = chw
    way = watch.plan(network, photo, under, places, share).way
    if way is None:
        feeds = {network.graph.inputs[0]: np.repeat(image[None], watch.fixed or 1, 0)}
        clean = lambda: Answer(*(values[:1] for values in watch.whole(network, feeds)))
        return clean, plainly(network, layer, image, filler, places, last)
    kept = way.keep(photo)

    def staged(some: np.ndarray) -> Answer:
        return watch.answer(way.answers(kept, under, some))

    clean = lambda: watch.answer(way.clean(kept))
    return clean, lambda numbers: ahead(staged, _parts(numbers, TOGETHER), workers(network))


def plainly(
    network: Network,
    layer: str | None,
    image: np.ndarray,
    filler: np.ndarray,
    places: Places,
    last: bool = False,
) -> Ask:
    """The function that gives the answers for some of the places by whole runs of the network."""
    if network.provider != "cpu":
        return on_device(network, layer, image, filler, places, last)
    watch = _watch(network, layer)
    size, buffers = watch.fixed or BATCH, local()
    watch.compiled(network)  # once, before the threads that share it begin

    def whole(some: np.ndarray) -> Answer:
        if not hasattr(buffers, "batch"):
            buffers.batch = np.repeat(image[None].astype(np.float32), size, axis=0)
        count = len(some)
        tile(image, filler, places.corners_of(some), places.patch, buffers.batch[:count], last)
        found = watch.whole(network, {network.graph.inputs[0]: buffers.batch[: watch.fixed or count]})
        return Answer(*(values[:count] for values in found))

    return lambda numbers: ahead(whole, _parts(numbers, size), workers(network))


def on_device(
    network: Network,
    layer: str | None,
    image: np.ndarray,
    filler: np.ndarray,
    places: Places,
    last: bool = False,
) -> Ask:
    """As `plainly`, with the patches a part of the graph: only their corners go to the device."""
    watch = _watch(network, layer)
    size = watch.fixed or BATCH_ON_GPU
    graph = masked(watch.graph, image.shape, last)
    session = network.compile(graph, list(dict.fromkeys(watch.names)))
    feeds = {IMAGE: image.astype(np.float32), UNDER: filler.astype(np.float32)}
    feeds[PATCH] = np.array(places.patch)

    def whole(some: np.ndarray) -> Answer:
        corners = places.corners_of(np.resize(some, watch.fixed or len(some)))
        found = watch.answer(session(feeds | {CORNERS: corners}))
        return Answer(*(values[: len(some)] for values in found))

    return lambda numbers: map(whole, _parts(numbers, size))


def workers(network: Network) -> int:
    """How many places, or groups of them, are under way at once: each on a core of its own."""
    return (network.threads or cores()) if network.provider == "cpu" else 1


def _parts(numbers: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (numbers[i : i + size] for i in range(0, len(numbers), size))


def how(network: Network, layer: str | None, places: Places, share: float = 1) -> str:
    """How `answers` came about for these places: in stages or in plain batches, and why; empty before."""
    found = _watch(network, layer).plans.get((places.key, share))
    return found.why if found else ""


def watched(network: Network, layer: str | None = None) -> str | None:
    """The layer whose feature maps are summed: the named one, or the last before the head.

    None where none is named and the network has no feature maps: occlusion itself needs none. Raises
    BadRequest for a layer that is not there or is no feature map, and for a model that is no classifier.
    """
    return _watch(network, layer).layer


class _Watch:
    """A network that is to answer with an Answer; `fixed` is the only batch that it takes, or None."""

    def __init__(self, network: Network, layer: str | None):
        self.graph = graph = network.graph.copy()
        scores = inside(graph, score_name(graph))
        class_count(scores)
        try:
            self.layer = checked_layer(graph, layer, scores.name)
        except BadRequest:
            if layer is not None:
                raise
            self.layer = None
        self.names = [graph.outputs[0], scores.name]
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


_WATCHES: WeakKeyDictionary[Network, dict[str | None, _Watch]] = WeakKeyDictionary()


def _watch(network: Network, layer: str | None) -> _Watch:
    """The network compiled for a layer; made once for as long as the network is there."""
    made = _WATCHES.setdefault(network, {})
    if layer not in made:
        made[layer] = _Watch(network, layer)
    return made[layer]
