"""Occlusion: what a network answers while a patch hides one place of the image after another.

M. Zeiler and R. Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 4.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ....kernels.tile import tile
from ...runtime.ahead import ahead
from ...runtime.network import Network
from .masks import CORNERS, IMAGE, PATCH, UNDER, masked
from .places import Hiding, Places, places
from .probe import BATCH_ON_GPU, Answer, Ask, in_batches, parts, probed_layer, probing, workers

__all__ = ["Answer", "Hiding", "Places", "answers", "asking", "how", "places", "plainly", "probed_layer"]

TOGETHER = 32  # places that are on their way through the stages at once


def answers(network: Network, layer: str | None, hiding: Hiding) -> Iterator[Answer]:
    """What the network answers with the patch at each of the places, in their order, a batch at a time.

    Where it is quicker, only what a patch changes is computed again (`incremental.py`); `how` says whether.
    Otherwise the images are written into one buffer for each core, which is all that is held of them; its
    length is what the model asks for, or else fits a processor's cache. Raises BadRequest as `probed_layer`.
    """
    return asking(network, layer, hiding)[1](np.arange(len(hiding.places)))


def asking(
    network: Network, layer: str | None, hiding: Hiding, share: float = 1
) -> tuple[Callable[[], Answer], Ask]:
    """Two functions: of the answer to the image as it is, and of those for some of the places.

    As `answers`; with a `share` below 1 approximately, as `Incremental` says.
    """
    probe, (photo, under) = probing(network, layer), hiding.maps
    way = probe.plan(network, photo, under, hiding.places, share).way
    if way is None:
        feeds = {network.graph.inputs[0]: np.repeat(hiding.image[None], probe.fixed or 1, 0)}
        clean = lambda: Answer(*(values[:1] for values in probe.whole(network, feeds)))
        return clean, plainly(network, layer, hiding)
    kept = way.keep(photo)

    def staged(some: np.ndarray) -> Answer:
        return probe.answer(way.answers(kept, under, some))

    clean = lambda: probe.answer(way.clean(kept))
    return clean, lambda numbers: ahead(staged, parts(numbers, TOGETHER), workers(network))


def plainly(network: Network, layer: str | None, hiding: Hiding) -> Ask:
    """The function that gives the answers for some of the places by whole runs of the network."""
    if network.provider != "cpu":
        return on_device(network, layer, hiding)
    image, filler, places, last = hiding

    def write(some: np.ndarray, out: np.ndarray) -> None:
        tile(image, filler, places.corners(some), places.patch, out, last)

    return in_batches(network, probing(network, layer), image, write)


def on_device(network: Network, layer: str | None, hiding: Hiding) -> Ask:
    """As `plainly`, with the patches a part of the graph: only their corners go to the device."""
    probe, (image, filler, places, last) = probing(network, layer), hiding
    size = probe.fixed or BATCH_ON_GPU
    graph = masked(probe.graph, image.shape, last)
    session = network.compile(graph, list(dict.fromkeys(probe.names)))
    feeds = {IMAGE: image.astype(np.float32), UNDER: filler.astype(np.float32)}
    feeds[PATCH] = np.array(places.patch)

    def whole(some: np.ndarray) -> Answer:
        corners = places.corners(np.resize(some, probe.fixed or len(some)))
        found = probe.answer(session(feeds | {CORNERS: corners}))
        return Answer(*(values[: len(some)] for values in found))

    return lambda numbers: map(whole, parts(numbers, size))


def how(network: Network, layer: str | None, places: Places, share: float = 1) -> str:
    """How `answers` came about for these places: in stages or in plain batches, and why; empty before."""
    found = probing(network, layer).plans.get((places.key, share))
    return found.why if found else ""
