"""Whole runs of a network on images that are written as they are asked for, on all cores at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import local

import numpy as np

from ...runtime.ahead import BATCH, ahead, cores
from ...runtime.network import Network
from .watch import Answer, Watch

BATCH_ON_GPU = 64

Ask = Callable[[np.ndarray], Iterator[Answer]]  # answers for some of the images, by their numbers (n,)


def in_batches(
    network: Network, watch: Watch, image: np.ndarray, write: Callable[[np.ndarray, np.ndarray], object]
) -> Ask:
    """The function that gives the answers for images that `write` makes of their numbers (n,).

    It writes them into (n, ...) float32, which holds copies of the `image` at first: one buffer for each core
    is all that is held of them; its length is what the model asks for, or else fits a processor's cache.
    """
    size = watch.fixed or (BATCH if network.provider == "cpu" else BATCH_ON_GPU)
    buffers = local()
    watch.compiled(network)  # once, before the threads that share it begin

    def whole(some: np.ndarray) -> Answer:
        if not hasattr(buffers, "batch"):
            buffers.batch = np.repeat(image[None].astype(np.float32), size, axis=0)
        count = len(some)
        write(some, buffers.batch[:count])
        found = watch.whole(network, {network.graph.inputs[0]: buffers.batch[: watch.fixed or count]})
        return Answer(*(values[:count] for values in found))

    return lambda numbers: ahead(whole, parts(numbers, size), workers(network))


def workers(network: Network) -> int:
    """How many images, or groups of them, are under way at once: each on a core of its own."""
    return (network.threads or cores()) if network.provider == "cpu" else 1


def parts(numbers: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """The numbers, so many at a time."""
    return (numbers[i : i + size] for i in range(0, len(numbers), size))
