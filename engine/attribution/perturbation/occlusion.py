"""Occlusion: what a network answers while a patch hides one place of the image after another.

M. Zeiler and R. Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 4.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ...runtime.ahead import ahead
from ...runtime.network import Network
from .answerer import BATCH_ON_GPU, Answer, Ask, answerer_of, in_batches, parts, summed_layer, workers
from .masks import CORNERS, IMAGE, PATCH, UNDER, masked
from .places import Hiding, Places, places

__all__ = ["Answer", "Hiding", "Places", "answers", "asking", "how", "places", "plainly", "summed_layer"]

TOGETHER = 32  # places that are on their way through the stages at once


def answers(network: Network, layer: str | None, hiding: Hiding) -> Iterator[Answer]:
    """What the network answers with the patch at each of the places, in their order, a batch at a time.

    Where it is quicker, only what a patch changes is computed again (`incremental.py`); `how` says whether.
    Otherwise the images are written into one buffer for each core, which is all that is held of them; its
    length is what the model asks for, or else fits a processor's cache. Raises BadRequest as `summed_layer`.
    """
    return asking(network, layer, hiding)[1](np.arange(len(hiding.places)))


def asking(
    network: Network, layer: str | None, hiding: Hiding, share: float = 1
) -> tuple[Callable[[], Answer], Ask]:
    """Two functions: of the answer to the image as it is, and of those for some of the places.

    As `answers`; with a `share` below 1 approximately, as `Incremental` says.
    """
    answerer, (photo, under) = answerer_of(network, layer), hiding.maps
    way = answerer.plan(network, photo, under, hiding.places, share).way
    if way is None:
        feeds = {network.graph.pictured[0]: np.repeat(hiding.image[None], answerer.fixed or 1, 0)}
        clean = lambda: Answer(*(values[:1] for values in answerer.whole(network, feeds)))
        return clean, plainly(network, layer, hiding)
    kept = way.keep(photo)

    def staged(some: np.ndarray) -> Answer:
        return answerer.answer(way.answers(kept, under, some))

    clean = lambda: answerer.answer(way.clean(kept))
    return clean, lambda numbers: ahead(staged, parts(numbers, TOGETHER), workers(network))


def plainly(network: Network, layer: str | None, hiding: Hiding) -> Ask:
    """The function that gives the answers for some of the places by whole runs of the network."""
    from ....kernels.tile import tile  # a kernel takes a while to load, and most methods hide nothing

    if network.provider != "cpu":
        return on_device(network, layer, hiding)
    image, filler, places, last = hiding

    def write(some: np.ndarray, out: np.ndarray) -> None:
        tile(image, filler, places.corners(some), places.patch, out, last)

    return in_batches(network, answerer_of(network, layer), image, write)


def on_device(network: Network, layer: str | None, hiding: Hiding) -> Ask:
    """As `plainly`, with the patches a part of the graph: only their corners go to the device."""
    answerer, (image, filler, places, last) = answerer_of(network, layer), hiding
    size = answerer.fixed or BATCH_ON_GPU
    graph = masked(answerer.graph, image.shape, last)
    session = network.compile(graph, list(dict.fromkeys(answerer.names)))
    feeds = {IMAGE: image.astype(np.float32), UNDER: filler.astype(np.float32)}
    feeds[PATCH] = np.array(places.patch)

    def whole(some: np.ndarray) -> Answer:
        corners = places.corners(np.resize(some, answerer.fixed or len(some)))
        found = answerer.answer(session(feeds | {CORNERS: corners}))
        return Answer(*(values[: len(some)] for values in found))

    return lambda numbers: map(whole, parts(numbers, size))


def how(network: Network, layer: str | None, places: Places, share: float = 1) -> str:
    """How `answers` came about for these places: in stages or in plain batches, and why; empty before."""
    found = answerer_of(network, layer).plans.get((places.key, share))
    return found.why if found else ""
