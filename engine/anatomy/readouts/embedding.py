"""Vectors that say how alike pictures are: embeddings of faces, of products, of CLIP."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ...graph.graph import Graph
from ..anatomy import seeing
from ..embeddings import before_norm, is_embedding
from .classes import OTHERWISE, Readout, known
from .thing import Hints, Seed, Thing

# Architectures of transformers that end in features or in a projection of them, as their names say.
_HEADLESS = re.compile(r"(?!\w*For[A-Z])\w*(Model|WithProjection)")
_NAMES = re.compile(r"embed|feature|vector|hidden|pooler|latent|descriptor", re.IGNORECASE)


@dataclass(frozen=True)
class Embedding:
    """An output (N, D) that is a vector.

    `vector` is the same before it is divided by its length, if it is. How alike two are is their cosine: the
    product of one with the `unit` vector of the other. A vector's own length is the product of its direction
    with the vector as it is, since the unit vector times itself is 1 whatever the picture shows.
    """

    output: str
    vector: str
    count: int
    why: str

    kind = "embedding"
    unit = True

    @property
    def outputs(self) -> tuple[str, ...]:
        """The one output."""
        return (self.output,)

    @property
    def parts(self) -> tuple[str, ...]:
        """The vector, of any length."""
        return (self.vector,)

    def things(self, values: Mapping[str, np.ndarray], size: tuple[int, int]) -> list[Thing]:
        """The vector: what is explained is its length, along its own direction; nothing where it has none."""
        vector = values[self.vector].reshape(-1)[: self.count].astype(np.float64)
        length = np.linalg.norm(vector)
        if not (np.isfinite(length) and length > 0):
            return []
        seed = Seed.on(self.vector, np.arange(self.count), vector / length)
        return [Thing("vector", None, None, seed, f"vector of {self.count} numbers")]


def is_headless(facts: Mapping[str, str]) -> bool:
    """Whether the words of a producer name an architecture without a head."""
    return bool(_HEADLESS.fullmatch(facts.get("architectures", "")))


def find(graph: Graph, hints: Hints) -> Embedding | None:
    """The vector that a model gives for a picture; None where no output is known to be one.

    It is known by its name, or by the layers before it: pooled, normalised, with no layer of classes last.
    """
    for output in [hints.output] if hints.output else graph.outputs:
        read = known(graph, output)
        said = hints.kind == "embedding" or is_headless(hints.facts)
        if read is None or read.count < 2 or (read.sure and not said):
            continue
        if why := _why(graph, read, hints):
            return Embedding(output, before_norm(graph, read.value), read.count, why)
    return None


def _why(graph: Graph, read: Readout, hints: Hints) -> str:
    """How it is known that values are a vector; empty where it is not."""
    name = re.split(r"[/.:]", read.output)[-1]
    if _NAMES.search(name):
        return "a vector, by the name of the output"
    if not OTHERWISE.search(name) and is_embedding(graph, read.value, seeing(graph)):
        return "a vector: no layer of classes comes last"
    if is_headless(hints.facts):
        return "a vector, by the producer's words"
    return "a vector, as said" if hints.kind == "embedding" else ""
