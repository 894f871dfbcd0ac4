"""What the feature maps of a network hold for one input: their values, and these in numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from math import isfinite
from typing import Any

import numpy as np

from ..anatomy.anatomy import bottlenecks, is_pooling
from ..anatomy.maps import View, views
from ..graph.graph import Graph
from ..graph.nodes import OURS, reads
from ..runtime.network import Network

MAX_BYTES = 2**28  # bytes of values that one run hands out
STAGES = 8


@dataclass(frozen=True)
class Statistics:
    """A layer's values in numbers, over all channels and positions of one image.

    `sparsity` is the share of values that are exactly zero, `dead` the share of channels that are the
    same everywhere: to this image they say nothing. Values that are not finite are left out; all
    numbers are NaN where none is left.
    """

    channels: int
    height: int
    width: int
    mean: float
    std: float
    least: float
    most: float
    sparsity: float
    dead: float

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers ready for JSON, which has none for NaN: None."""
        return {k: v if isfinite(v) else None for k, v in asdict(self).items()}


def statistics(maps: np.ndarray) -> Statistics:
    """The statistics of feature maps (K, h, w)."""
    sound = maps[np.isfinite(maps)]
    if not sound.size:
        return Statistics(*maps.shape, *[float("nan")] * 6)  # pyright: ignore[reportCallIssue]
    return Statistics(
        *maps.shape,
        mean=float(sound.mean(dtype=np.float64)),
        std=float(sound.std(dtype=np.float64)),
        least=float(sound.min()),
        most=float(sound.max()),
        sparsity=float((sound == 0).mean()),
        dead=float(dead(maps).mean()),
    )


def dead(maps: np.ndarray) -> np.ndarray:
    """Which channels of (K, h, w) have the same value everywhere, (K,) bool."""
    flat = maps.reshape(len(maps), -1)
    return (flat == flat[:, :1]).all(1)


def strengths(maps: np.ndarray) -> np.ndarray:
    """The strength of each channel of (K, h, w), its largest value: (K,) float32; -inf where all is NaN."""
    return np.where(np.isnan(maps), -np.inf, maps).max((1, 2)).astype(np.float32)


def order(strength: np.ndarray, channels: Sequence[int] | None = None, sort: str = "strength") -> np.ndarray:
    """The channels (default: all) by "strength", strongest first and equal ones by index, or by "index".

    `strength` (K,); gives (n,) int64.
    """
    chosen = np.arange(len(strength)) if channels is None else np.unique(np.asarray(channels, np.intp))
    return chosen if sort == "index" else chosen[np.argsort(-strength[chosen], kind="stable")]


def read(
    network: Network, feeds: Mapping[str, np.ndarray], layers: Sequence[str]
) -> Iterator[tuple[str, np.ndarray]]:
    """The feature maps (N, K, h, w) float32 of each layer, in the order asked for.

    As many layers are computed at once as fit into 256 MB of values.
    """
    known = views(network.graph)
    for group in _groups(network.graph, layers):
        values = network.run(feeds, group)
        for layer in group:
            yield layer, known[layer].of_array(values.pop(layer)).astype(np.float32, copy=False)


def _groups(graph: Graph, layers: Sequence[str]) -> Iterator[list[str]]:
    group, held = [], 0
    for layer in layers:
        size = 4 * int(np.prod([d for d in graph[layer].shape or () if isinstance(d, int)], dtype=float))
        if group and held + size > MAX_BYTES:
            yield group
            group, held = [], 0
        group.append(layer)
        held += size
    if group:
        yield group


def stages(graph: Graph, score: str, most: int = STAGES) -> list[str]:
    """The feature maps that tell a network's story from input to score, in order.

    Of those that everything passes through (of all, where there is none), the last of each resolution, and
    others evenly between them until there are `most`. What is only handed on, to its activation or a
    normalisation, and what pooling makes of another is left out.
    """
    known = views(graph)
    mine = [n for n in known if not n.startswith(OURS) and graph.producer(n) is not None]
    maps = [n for n in bottlenecks(graph, score) if n in mine] or mine
    cuts = [n for n in maps if (p := graph.producer(n)) and not is_pooling(p)] or maps
    shapes = [_shape(graph, name, known[name]) for name in cuts]
    kept = [
        i
        for i in range(len(cuts))
        if i + 1 == len(cuts) or shapes[i] != shapes[i + 1] or not _only_reader(graph, *cuts[i : i + 2])
    ]
    last = {i for i, after in pairwise(kept) if shapes[i][1:] != shapes[after][1:]}
    chosen = set(sorted(last.union(kept[-1:]))[-most:])
    others = [i for i in kept if i not in chosen]
    free = min(most - len(chosen), len(others))
    chosen.update(others[int((k + 0.5) * len(others) / free)] for k in range(free))
    return [cuts[i] for i in sorted(chosen)]


def _shape(graph: Graph, name: str, view: View) -> tuple[int | str | None, ...]:
    """The channels and the grid of a feature map."""
    shape = graph[name].shape or ()
    sides = view.grid or [shape[a] for a in view.perm[2:]]
    return shape[view.channels], *sides


def _only_reader(graph: Graph, name: str, reader: str) -> bool:
    """True where the node that computes `reader` is the only one that reads `name`."""
    readers = [n for n in graph.nodes if name in reads(n)]
    return len(readers) == 1 and reader in readers[0].output
