"""The strongest response of every channel, found inside the graph: whole maps never leave the runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from onnx import TensorProto

from ..anatomy.maps import feature_map
from ..errors import BadRequest
from ..graph.graph import Tensor, op
from ..runtime.network import Network


class Peaks:
    """The maximum of each channel of some layers, and where it is, as one graph.

    `layers` are feature maps; `channels` the ones to look at in each of them, all by default. `rows` says
    which (layer, channel) each number of an answer belongs to. Runs on `threads` threads (see Network) and
    may be called from several at once.

    Raises BadRequest for a layer that is no feature map or whose size is open, and for a channel that one
    of the layers does not have.
    """

    def __init__(
        self,
        network: Network,
        layers: Sequence[str],
        channels: Sequence[int] | None = None,
        threads: int | None = None,
    ):
        graph = network.graph.copy()
        self.layers, self.channels = list(dict.fromkeys(layers)), channels
        self.rows: list[tuple[str, int]] = []
        scores, places = [], []
        for layer in self.layers:
            maps = feature_map(graph, layer)
            chosen = self._check(layer, maps, channels)
            if channels is not None:
                maps = op.Gather(maps, chosen, axis=1)
            # Of equal values TopK takes the first (ONNX operators, TopK).
            peak, place = op.TopK(op.Reshape(maps, [0, len(chosen), -1]), [1], axis=2, outputs=2)
            scores.append(op.Cast(op.Squeeze(peak, [2]), to=TensorProto.FLOAT))
            places.append(op.Squeeze(place, [2]))
            self.rows += [(layer, c) for c in chosen]
        joined = [t[0] if len(t) == 1 else op.Concat(*t, axis=1) for t in (scores, places)]
        self._names = [
            graph.output(t, graph.unused(n)).name for t, n in zip(joined, ("scores", "places"), strict=True)
        ]
        self._session = network.compile(graph, self._names, threads)

    def __call__(self, feeds: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Scores (N, R) float32 and flat positions (N, R) int64, the first of equals, of N images."""
        values = self._session(feeds)
        return values[self._names[0]], values[self._names[1]]

    def _check(self, layer: str, maps: Tensor, channels: Sequence[int] | None) -> list[int]:
        count, *size = (maps.shape or (None,) * 4)[1:]
        if not isinstance(count, int) or not all(isinstance(d, int) for d in size):
            raise BadRequest(f"the size of layer {layer!r} is open; --size binds it")
        for channel in channels or ():
            if not 0 <= channel < count:
                raise BadRequest(f"layer {layer!r} has no channel {channel}: it has 0 to {count - 1}")
        return list(range(count) if channels is None else channels)
