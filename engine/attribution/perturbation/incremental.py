"""Exact incremental occlusion: only what a patch can change is computed again.

A patch changes of each feature map what lies within its reach, and the reach grows from map to map. So the
network is cut at a few maps that everything passes through. Each stage runs on crops: of the map of the
photo as it is, kept from one whole run, with what has changed so far pasted in:

      photo                 map at cut 1            map at cut 2
    +------------+         +------------+         +------------+
    | halo       |         |            |         |            |
    |  +----+    |  stage  |  +------+  |  stage  | +--------+ |  tail, on the whole map
    |  | [] |----|---1-----|->|  ##  |--|---2-----|>|  ####  | | ----> answer
    |  +----+    |         |  +------+  |         | +--------+ |
    |            |         |            |         |            |
    +------------+         +------------+         +------------+
     [] the patch           ## what it changed, computed; around it the map as it was

A crop holds all that the changed positions see (`spans.py`), the halo. Where it ends inside the map its edge
is padded as if the map ended there; what that spoils sees beyond the crop, so it is not among the changed
positions and stays behind. Where it ends with the map, the padding is the network's own. Crops begin at
multiples of the stage's step, so that strides fall on the same positions as on the whole map, and take up
as much as is changed there, by place: sizes are left open in the compiled stages.

The plain answers come out up to rounding (the runtime's kernels add up in another order for other sizes).
A. Nakandala et al. 2019, "Incremental and Approximate Inference for Faster Occlusion-based Deep CNN
Explanations" (Krypton, SIGMOD): exact, one operator at a time there, in stages with a halo here; and its
"projective field thresholding", which is what `share` is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from threading import local
from typing import NamedTuple

import numpy as np

from ....kernels.photos.crop import Box, change, crop
from ...graph.graph import Graph
from ...graph.nodes import attributes, reads
from ...runtime.network import Network
from .spans import changed, spans
from .stages import Piece, Ranges, Stage, part

CACHE = 2**18  # elements of the crops in a batch, unless it is one crop
WHOLE = 2**21  # and of whole maps for the tail: its weights may be large, and fewer batches read them less


class Kept(NamedTuple):
    """What is kept of the photo as it is: maps (C, H, W) by name, and the sums over their positions (C,)."""

    maps: dict[str, np.ndarray]
    sums: dict[str, np.ndarray]


class Incremental:
    """A network cut at `cuts`, the first of which is the image, compiled to answer for the places of a patch.

    `graph` holds the network and what is asked of it, `names`; `patches` are the places. `totals` says which
    of the names are the sums of which maps over all positions: where such a map is never computed whole, its
    sum is that of the photo as it is and what the patch adds to it. With a `share` below 1 a patch is taken
    to change no more than this share of each cut's height and width, around itself: an approximation.
    """

    def __init__(
        self,
        network: Network,
        graph: Graph,
        cuts: Sequence[str],
        names: Sequence[str],
        patches: Ranges,
        totals: Mapping[str, str],
        share: float = 1,
    ):
        made = [{o for n in graph.ancestors([cut]) for o in n.output} for cut in cuts]
        self._totals = {total: layer for total, layer in totals.items() if layer in made[-1]}
        self._asked = [n for n in dict.fromkeys(names) if n not in self._totals]
        pooled = _pooling(graph, cuts[-1], self._asked)
        self._pooled, self._last, self._entry = pooled is not None, cuts[-1], pooled or cuts[-1]
        seen = spans(graph, cuts[0], graph.nodes)
        self._changed = {
            name: Ranges(*changed(seen[name], patches, 1 if name == cuts[0] else share))
            for name in (*cuts, *self._totals.values())
        }
        self._stages = []
        for i, (start, end) in enumerate(pairwise(cuts), 1):
            inner = [v for v in self._totals.values() if v in made[i] and v not in made[i - 1]]
            inner += [end] if self._pooled and end == cuts[-1] else []
            self._stages.append(Stage(network, graph, start, end, list(dict.fromkeys(inner)), self._changed))
        sizes = [(graph[n].shape or (None,))[0] for n in (graph.pictured[0], *self._asked)]
        self._fixed = next((n for n in sizes if isinstance(n, int)), None)
        self._shape = [d for d in (graph[self._entry].shape or ())[1:] if isinstance(d, int)]
        self._tail = network.compile(part(graph, self._entry, self._asked), self._asked, threads=1)
        self._columns = len(patches.across[0])
        self._buffers = local()

    def keep(self, image: np.ndarray) -> Kept:
        """Run the stages once on the whole of a photo, (C, h, w) float32."""
        maps, sums = {self._stages[0].start: np.ascontiguousarray(image)}, {}
        for stage in self._stages:
            maps.update({name: v[0] for name, v in stage(maps[stage.start][None]).items()})
            sums.update({name: maps[name].sum((1, 2), dtype=np.float64) for name in stage.inner})
        return Kept(maps, sums)

    def clean(self, kept: Kept) -> dict[str, np.ndarray]:
        """What the network answers, by name, to the photo as it is, (1, ...) each."""
        last = kept.maps[self._last]
        if self._pooled:
            mean = kept.sums[self._last] / np.prod(last.shape[1:])
            last = mean.astype(np.float32).reshape(self._shape)
        found = self._finish(1, lambda _: last[None])
        return found | {
            total: kept.sums[layer][None].astype(np.float32) for total, layer in self._totals.items()
        }

    def answers(self, kept: Kept, filler: np.ndarray, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """What the network answers, by name, for a patch of `filler` (C, h, w) at these of the places."""
        spots = np.divmod(numbers, self._columns)
        pieces = [Piece(filler, (0, 0))] * len(numbers)
        sums = {}
        for stage in self._stages:
            made = self._through(stage, kept, pieces, spots)
            for name in stage.inner:
                sums[name] = self._sums(name, kept, made[name], spots)
            pieces = made[stage.end]
        if self._pooled:
            means = sums[self._last] / np.prod(kept.maps[self._last].shape[1:])
            means = means.astype(np.float32).reshape(-1, *self._shape)
            found = self._finish(len(numbers), lambda some: means[some])
        else:
            found = self._finish(
                len(numbers), lambda some: self._pasted(kept, pieces[some], [s[some] for s in spots])
            )
        return found | {total: sums[layer].astype(np.float32) for total, layer in self._totals.items()}

    def _through(
        self, stage: Stage, kept: Kept, pieces: Sequence[Piece], spots: Sequence[np.ndarray]
    ) -> dict[str, list[Piece]]:
        """Run a stage on the crop that each place needs, equal ones together."""
        boxes, new = stage.crops.boxes(*spots), self._changed[stage.start].boxes(*spots)
        map_ = kept.maps[stage.start]
        made: dict[str, dict[int, Piece]] = defaultdict(dict)
        for (height, width), members in _batches(boxes, len(map_)):
            maps = self._room(len(members), len(map_), height, width)
            for out, i in zip(maps, members, strict=True):
                crop(map_, boxes[i][:2], pieces[i].values, pieces[i].at, new[i], out)
            for name, batch in stage(maps).items():
                made[name].update(
                    (i, stage.piece(name, v, boxes[i])) for i, v in zip(members, batch, strict=True)
                )
        return {name: [found[i] for i in range(len(pieces))] for name, found in made.items()}

    def _sums(
        self, name: str, kept: Kept, pieces: Sequence[Piece], spots: Sequence[np.ndarray]
    ) -> np.ndarray:
        """The sums of a map over its positions, (n, C)."""
        boxes = self._changed[name].boxes(*spots)
        changes = [change(kept.maps[name], *p, box) for p, box in zip(pieces, boxes, strict=True)]
        return kept.sums[name] + np.stack(changes)

    def _pasted(self, kept: Kept, pieces: Sequence[Piece], spots: Sequence[np.ndarray]) -> np.ndarray:
        """The whole of the last map for each place, (n, C, H, W)."""
        map_ = kept.maps[self._last]
        maps = self._room(len(pieces), *map_.shape)
        for out, piece, box in zip(maps, pieces, self._changed[self._last].boxes(*spots), strict=True):
            crop(map_, (0, 0), piece.values, piece.at, box, out)
        return maps

    def _finish(self, count: int, given: Callable[[slice], np.ndarray]) -> dict[str, np.ndarray]:
        """Run the tail on what is given for so many places, in the batches that it takes."""
        size = self._fixed or max(1, WHOLE // int(np.prod(self._shape)))
        found = []
        for start in range(0, count, size):
            values = given(slice(start, start + size))
            whole = np.resize(values, (self._fixed or len(values), *values.shape[1:]))
            found.append({n: v[: len(values)] for n, v in self._tail({self._entry: whole}).items()})
        return {n: np.concatenate([f[n] for f in found]) for n in self._asked}

    def _room(self, *shape: int) -> np.ndarray:
        """An array in the one buffer of this thread, which holds what was last asked for."""
        size = int(np.prod(shape))
        buffer = getattr(self._buffers, "last", np.empty(0, np.float32))
        if size > len(buffer):
            buffer = self._buffers.last = np.empty(size, np.float32)
        return buffer[:size].reshape(shape)


def _batches(boxes: Sequence[Box], channels: int) -> Iterator[tuple[tuple[int, int], list[int]]]:
    """The numbers of the boxes of equal height and width, a batch at a time."""
    equal: dict[tuple[int, int], list[int]] = defaultdict(list)
    for i, (y0, x0, y1, x1) in enumerate(boxes):
        equal[y1 - y0, x1 - x0].append(i)
    for (height, width), members in equal.items():
        size = max(1, CACHE // (channels * height * width))
        for start in range(0, len(members), size):
            yield (height, width), members[start : start + size]


def _pooling(graph: Graph, name: str, asked: Sequence[str]) -> str | None:
    """The mean of a map over all its positions, where nothing else of the map is asked for."""
    readers = [n for n in graph.ancestors(asked) if name in reads(n)]
    if len(readers) != 1 or name in asked:
        return None
    (node,) = readers
    if node.op_type == "ReduceMean" and len(node.input) > 1:
        axes = graph[node.input[1]].array
        mean = axes is not None and sorted(int(a) % 4 for a in axes) == [2, 3]
    elif node.op_type == "AveragePool":
        attrs = attributes(node)
        mean = attrs["kernel_shape"] == graph[name].spatial and not any(attrs.get("pads") or [1])
    else:
        mean = node.op_type == "GlobalAveragePool"
    known = all(isinstance(d, int) for d in (graph[node.output[0]].shape or (0, None))[1:])
    return node.output[0] if mean and known else None
