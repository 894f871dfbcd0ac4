"""A model with every intermediate value at hand."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from copy import copy
from pathlib import Path

import numpy as np

from ..canonical.canonical import canonical
from ..errors import BadRequest, OnnxlensError, nearest
from ..graph.file import Source, read_model
from ..graph.graph import Graph, Tensor
from ..graph.sizes import Dim
from . import cache
from .chain import Chain
from .optimise import optimised
from .provider import SEEN, choose
from .rewritten import KERNELS
from .session import Session

KEPT = 8  # compiled sessions; each holds its own copy of the prepared weights


class Network:
    """A model, its values by name, and its compiled graphs.

    Parameters
    ----------
    source
        A path or a ModelProto, neither of which is changed.
    provider
        "auto", "cpu", "cuda", ..., or a plugin as "openvino", or one of its devices as "openvino:gpu"
    threads
        How many ONNX Runtime uses; all cores by default.
    shapes
        Sizes to bind for inputs that leave them open, by input name.

    Raises
    ------
    BadModel
        For what cannot be read or run.
    Unavailable
        For a provider that is not there.

    Examples
    --------
    >>> network = onnxlens.Network("model.onnx")
    >>> network.inputs, network.outputs
    ({'image': Tensor('image', float32, ('batch', 3, 96, 96))}, ['probabilities'])
    >>> network.values[:3]
    ['image', 'conv1', 'relu1']
    """

    def __init__(
        self,
        source: Source,
        provider: str = "auto",
        threads: int | None = None,
        shapes: Mapping[str, Sequence[Dim]] | None = None,
    ):
        self.provider, self.why = choose(provider)
        self.threads = threads
        model = read_model(source)
        self.opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
        self.graph = canonical(model, shapes)
        self._sessions: dict[tuple[str, ...], Session] = {}

    @property
    def inputs(self) -> dict[str, Tensor]:
        """The inputs by name."""
        return {name: self.graph[name] for name in self.graph.inputs}

    @property
    def outputs(self) -> list[str]:
        """The names of the outputs."""
        return list(self.graph.outputs)

    @property
    def values(self) -> list[str]:
        """The names of the inputs and of all computed values, in order; each can be asked of `run`."""
        return self.graph.value_names()

    def run(
        self, feeds: Mapping[str, np.ndarray], outputs: Sequence[str] | None = None
    ) -> dict[str, np.ndarray]:
        """The values called `outputs` (default: the model's own), by name, for these inputs.

        Inside a model of 16-bit floats, values are float32.

        Parameters
        ----------
        feeds
            Arrays by input name.
        outputs
            Any values of the model: inputs, weights, outputs and all between.

        Raises
        ------
        BadRequest
            For a name that is not there, with the nearest ones; for inputs that are missing or do not fit.

        Examples
        --------
        >>> network = onnxlens.Network("model.onnx")
        >>> found = network.run({"image": np.zeros((2, 3, 96, 96), np.float32)}, ["relu4"])
        >>> found["relu4"].shape
        (2, 96, 12, 12)
        """
        wanted = list(self.graph.outputs if outputs is None else outputs)
        computed = [n for n in wanted if self.graph[n] and self.graph.producer(n) is not None]
        results = self.session(computed)(feeds) if computed else {}
        return {name: results[name] if name in results else self._given(name, feeds) for name in wanted}

    def _given(self, name: str, feeds: Mapping[str, np.ndarray]) -> np.ndarray:
        """A value that is not computed: a weight or an input."""
        constant = self.graph[name].array
        if constant is not None:
            return constant.copy()
        if name not in feeds:
            raise BadRequest(f"the model's input {name!r} is missing{nearest(name, feeds)}")
        return np.array(feeds[name])

    def over(self, graph: Graph) -> Network:
        """The network with another graph in the place of its own, and sessions of its own."""
        other = copy(self)
        other.graph, other._sessions = graph, {}
        return other

    def session(self, outputs: Sequence[str]) -> Session:
        """The model compiled for these outputs; the last few are kept."""
        key = tuple(sorted(set(outputs)))
        session = self._sessions.pop(key, None) or self.compile(self.graph, key)
        self._sessions[key] = session
        while len(self._sessions) > KEPT:
            del self._sessions[next(iter(self._sessions))]
        return session

    def compile(
        self,
        graph: Graph,
        outputs: Sequence[str] | None = None,
        threads: int | None = None,
        keep: bool = False,
        varying: Collection[str] = (),
    ) -> Session:
        """Another graph, compiled with this network's provider and rewritten for speed.

        `threads`: this network's by default; 1 for a session that several threads call at once. With `keep`,
        what comes of it is taken from the cache folder, or put there (cache.py). On the CPU, what depends on
        inputs that are `varying` is a part of its own, so that `begun` shares the rest; elsewhere that would
        cost the way from the device and back.
        """
        threads = self.threads if threads is None else threads
        outputs = list(graph.outputs if outputs is None else outputs)
        if self.provider not in SEEN:
            from .proven import Proven  # brings what few need

            return Proven(graph, outputs, self.provider, threads)
        if self.provider != "cpu":  # what the rewrites are made for
            return Session(graph, outputs, self.provider, threads)
        if keep and cache.pays(graph, outputs):
            return _kept(graph, outputs, threads, varying)
        return _compiled(optimised(graph, outputs), outputs, threads, None, varying)


def _kept(graph: Graph, outputs: Sequence[str], threads: int | None, varying: Collection[str]) -> Session:
    """A graph compiled for the CPU with what the cache folder holds of it, or to be put there."""
    key = cache.key_of_graph(graph, outputs, varying)
    if entry := cache.found(key):
        try:
            return _compiled(cache.rewritten(entry, graph), outputs, threads, entry / "piece", varying)
        except (OnnxlensError, OSError):  # another process may have removed it
            cache.discard(entry)
    new = optimised(graph, outputs)
    with suppress(OnnxlensError), cache.made(key, new, outputs) as place:  # the disk may be full
        if place is not None:
            return _compiled(new, outputs, threads, place / "piece", varying)
    return _compiled(new, outputs, threads, None, varying)


def _compiled(
    graph: Graph, outputs: Sequence[str], threads: int | None, kept: Path | None, varying: Collection[str]
) -> Session:
    """A rewritten graph compiled for the CPU."""
    if varying or any(n.domain == KERNELS for n in graph.ancestors(outputs)):
        return Chain(graph, outputs, "cpu", threads, kept, varying)
    return Session(graph, outputs, "cpu", threads, kept)
