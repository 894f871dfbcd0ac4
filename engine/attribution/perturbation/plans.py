"""Whether and where a network is cut to answer for the places of a patch: estimated, then tried out."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...errors import BadModel
from ...graph.graph import Graph
from ...graph.nodes import attributes, describe, reads
from ...runtime.network import Network
from .costs import chains, total_cost
from .spans import spans
from .stages import Ranges

if TYPE_CHECKING:
    from .incremental import Incremental

WORTH = 1e9  # multiplications; a run of less is over before the stages are compiled
GAIN = 1.2  # what cutting has to save by the estimate to be tried
MAX_CUTS = 8  # cuts
DOUBT = 0.9  # a trial is short: it has to say this much against the estimate to be believed
LONG = 0.3  # seconds that a trial goes on for, at least
SAMPLE = 8  # places that a trial is timed on, at most; side by side, as they are in earnest


class Plan(NamedTuple):
    """How the answers are computed: in the stages of `way`, or by plain batches where it is None; and why."""

    way: Incremental | None
    why: str


def plan(
    network: Network,
    graph: Graph,
    names: Sequence[str],
    layer: str | None,
    patches: Ranges,
    image: np.ndarray,
    filler: np.ndarray,
    share: float = 1,
) -> Plan:
    """The quickest way to the values `names` of a graph, for a patch at each of the places `patches`.

    `image` and `filler`, what is under the patch, are (C, h, w) float32. `names` are the output, the scores
    and, if there is a `layer`, the sum over its positions. `share` as in `Incremental`. What the whole
    network takes is what its stages take on the whole image: compiled for that once more it would need
    twice the memory.
    """
    from .incremental import Incremental  # its kernels take a while to load

    if network.provider != "cpu":
        return Plan(None, f"plain batches: on {network.provider} the maps stay on the device")
    count = len(patches.down[0]) * len(patches.across[0])
    if total_cost(graph, names[1]) * count < WORTH:
        return Plan(None, "plain batches: there is little to compute")
    start = entry(graph, image.shape)
    if start is None:
        return Plan(None, "plain batches: the input is not laid out as N,C,H,W")
    if not _on_the_way(graph, layer, start, names[1]):
        return Plan(None, f"plain batches: layer {layer!r} is not between the image and the score")
    found = chains(graph, start, names[1], patches, MAX_CUTS, share)
    if not found or found[-1][0] * GAIN > 1:
        return Plan(None, f"plain batches: {_obstacle(graph, start, names[1])}")
    cuts = found[-1][1]
    try:
        way = Incremental(network, graph, cuts, names, patches, {names[2]: layer} if layer else {}, share)
    except BadModel as error:  # a piece of the network needs what is not among its inputs
        return Plan(None, f"plain batches: {error}")
    kept = way.keep(image)
    numbers = count // 2 + np.arange(min(SAMPLE, -(-count // 32)))
    alone, seconds = _trial(
        [
            lambda: len(way.clean(way.keep(image))[names[1]]),
            lambda: len(way.answers(kept, filler, numbers)[names[1]]),
        ]
    )
    if alone < DOUBT * seconds:
        return Plan(None, "plain batches: quicker in a trial than cutting the network")
    gain = f"{alone / seconds:.1f} times as quick in a trial"
    return Plan(way, f"incremental: cut at {', '.join(cuts[1:])}; {gain}")


def _trial(runs: Sequence[Callable[[], int]]) -> list[float]:
    """The least seconds a place takes by each way, in turns; a run gives the number of its places."""
    least, began = [math.inf] * len(runs), time.perf_counter()
    rounds = 0
    while rounds < 3 or time.perf_counter() - began < LONG:
        rounds += 1
        for i, run in enumerate(runs):
            start = time.perf_counter()
            count = run()
            least[i] = min(least[i], (time.perf_counter() - start) / count)
    return least


def entry(graph: Graph, shape: tuple[int, ...]) -> str | None:
    """The map (N, C, H, W) that is an image of this shape (C, H, W): the input, or it with its axes moved."""
    name = graph.pictured[0]
    readers = [n for n in graph.nodes if name in reads(n)]
    if (
        len(readers) == 1
        and readers[0].op_type == "Transpose"
        and attributes(readers[0]).get("perm") == [0, 3, 1, 2]
    ):
        name = readers[0].output[0]
    return name if (graph[name].shape or ())[1:] == shape else None


def _on_the_way(graph: Graph, layer: str | None, start: str, score: str) -> bool:
    """Whether a layer lies between the image and the score."""
    return layer is None or any(layer in n.output for n in graph.ancestors([score]) if start not in n.output)


def _obstacle(graph: Graph, start: str, score: str) -> str:
    """Why cutting saves too little: from where on everything sees the whole map."""
    seen = spans(graph, start, graph.nodes)
    for node in graph.ancestors([score]):
        if any(i in seen for i in reads(node)) and node.output[0] not in seen:
            return (
                f"from {describe(node)} on a patch changes everything, and before there is too little to save"
            )
    return "a patch changes too much of every map"
