"""Sessions of providers that were not seen right before: their first answer is held against the CPU's.

A provider may be wrong and say nothing: OpenVINO is, where two convolutions share a weight
(findings/openvino-convtranspose-shared-weight.sh), and answers in 16 bits where nobody asked for that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..errors import Unavailable
from ..graph.graph import Graph
from ..graph.nodes import OURS
from . import cache
from .exports.checked import WIDEST, distance, moved
from .exports.exported import RUNTIMES, exported
from .provider import choose
from .session import Session

# Of an answer's norm. Rounding that carries rectifiers over their kinks was up to 0.007 in the networks of
# docs/derivatives.md; gradients in bfloat16 were 0.2 off, and wrong ones about 1.
RIGHT = 0.02
TRIES = 4  # answers until one is not zero throughout, which says nothing
Arrays = Mapping[str, np.ndarray]


class Proven(Session):
    """A Session in the words of its provider, which raises Unavailable where its answers are not the CPU's.

    The first call runs the graph as it is on the CPU too, with what is fed. That the two agreed is kept in
    the cache folder: for this graph and its weights, these versions of ONNX Runtime and of the plugin, and
    this device.
    """

    def __init__(self, graph: Graph, outputs: Sequence[str], provider: str, threads: int | None = None):
        name = provider.partition(":")[0]
        words = exported(graph, name if name in RUNTIMES else "any", outputs)
        super().__init__(words, outputs, provider, threads)
        self._key, self._tries = "", 0
        self._graph, self._threads = graph, threads
        if cache.keeps():
            said = f"{cache.key_of_graph(words, self.outputs)} {choose(provider)}"
            self._key = hashlib.sha256(said.encode()).hexdigest()
            self._tries = TRIES * cache.is_right(self._key)

    def __call__(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run once. Raises as a Session does, and Unavailable where the answer is not the CPU's."""
        found = super().__call__(feeds)
        if self._tries < TRIES:
            self._tries += 1
            cpu = Session(self._graph, self.outputs, threads=self._threads)
            right = cpu(feeds)
            rng = np.random.default_rng(0)
            compare(found, right, lambda: moved(cpu, feeds, right, rng), self.provider)
            if all(value.any() for value in right.values() if value.dtype.kind not in "iub"):
                self._tries = TRIES
                cache.set_right(self._key)
        return found


def compare(found: Arrays, right: Arrays, moves: Callable[[], float], provider: str) -> None:
    """Raise Unavailable where an answer of a provider is further off the CPU's than rounding carries it.

    `moves` says how far rounding carries the CPU's own, over its norm; it is asked where that matters.
    """
    distances = {name: distance(found[name], array) for name, array in right.items()}
    name = max(distances, key=lambda name: distances[name], default="")
    if not name or distances[name] <= RIGHT:
        return
    said, moved_by = "a gradient" if name.startswith(OURS) else repr(name), moves()
    if moved_by > WIDEST:
        raise Unavailable(
            f"provider {provider} cannot be checked with this model: rounding alone carries what the CPU "
            f"answers {moved_by:.2g} of its norm away; use `--provider cpu`"
        )
    if not distances[name] <= 2 * moved_by:
        raise Unavailable(
            f"provider {provider} is wrong with this model: {said} is {distances[name]:.2g} of its norm off "
            "what the CPU answers; use `--provider cpu`"
        )
