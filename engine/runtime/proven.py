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
from .exports.exported import RUNTIMES, exported
from .provider import choose
from .session import Session

# Of an answer's norm. Rounding that carries rectifiers over their kinks was up to 0.007 in the networks of
# docs/derivatives.md; gradients in bfloat16 were 0.2 off, and wrong ones about 1.
RIGHT = 0.02
SHAKEN = 1e-6  # of an input's values, some roundings of single precision: how far these carry the CPU's own
SHAKY = 0.1  # of its norm, from where an answer hangs on rounding, so that two cannot be compared
TRIES = 4  # answers until one is not zero throughout, which says nothing


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
            compare(found, right, lambda: cpu(shaken(feeds)), self.provider)
            if all(value.any() for value in right.values() if value.dtype.kind not in "iub"):
                self._tries = TRIES
                cache.set_right(self._key)
        return found


Answers = Mapping[str, np.ndarray]


def compare(found: Answers, right: Answers, near: Callable[[], Answers], provider: str) -> None:
    """Raise Unavailable where an answer of a provider is further off the CPU's than rounding carries it.

    `near` gives what the CPU answers for inputs that are `shaken`; it is asked where that matters.
    """
    distances = {name: off(found[name], array) for name, array in right.items()}
    far = {name: distance for name, distance in distances.items() if not distance <= RIGHT}
    moved = near() if far else {}
    for name, distance in far.items():
        own, said = off(moved[name], right[name]), "a gradient" if name.startswith(OURS) else repr(name)
        if not own <= SHAKY:
            raise Unavailable(
                f"provider {provider} cannot be checked with this model: {said} hangs on rounding, which "
                f"alone carries it {own:.2g} of its norm away on the CPU too; use `--provider cpu`"
            )
        if not distance <= 2 * own:
            raise Unavailable(
                f"provider {provider} is wrong with this model: {said} is {distance:.2g} of its norm off "
                "what the CPU answers; use `--provider cpu`"
            )


def shaken(feeds: Answers) -> dict[str, np.ndarray]:
    """Inputs with every float a little off, the same way each time."""
    rng = np.random.default_rng(0)
    arrays = {name: np.asarray(array) for name, array in feeds.items()}
    return {
        name: (a * (1 + SHAKEN * rng.standard_normal(a.shape))).astype(a.dtype) if a.dtype.kind == "f" else a
        for name, a in arrays.items()
    }


def off(found: np.ndarray, right: np.ndarray) -> float:
    """How far an answer is off: the distance over the norm; of whole numbers and of finite ones the share."""
    if found.shape != right.shape:
        return np.inf
    if right.dtype.kind not in "fc" and right.dtype.name != "bfloat16":
        return float(np.mean(found != right)) if right.size else 0.0
    a, b = found.astype(np.float64), right.astype(np.float64)
    finite = np.isfinite(b)
    if not np.array_equal(finite, np.isfinite(a)):
        return np.inf
    a, b = a[finite], b[finite]
    distance, norm = np.linalg.norm(a - b), np.linalg.norm(b)
    return float(distance / norm) if norm else float(np.inf if distance else 0)
