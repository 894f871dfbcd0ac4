"""The one table of the kinds of answers, and which of them a model gives."""

from __future__ import annotations

from collections.abc import Callable

from ...errors import BadRequest, nearest
from ...graph.graph import Graph
from . import boxes, embedding, picture, regions, sequence
from .classes import KINDS
from .thing import Hints, Reading

# By the name that --readout takes, in the order in which they are tried.
READOUTS: dict[str, Callable[[Graph, Hints], Reading | None]] = {
    "boxes": boxes.find,
    "regions": regions.find,
    "sequence": sequence.find,
    "embedding": embedding.find,
    "picture": picture.find,
}


def kinds() -> tuple[str, ...]:
    """All that --readout takes, but for the layouts of some."""
    return (*KINDS, *READOUTS)


def reading(graph: Graph, hints: Hints) -> Reading:
    """How a model's answer is read that is no score for each class: the kind that was said, or the first that
    fits.

    Raises BadRequest for a kind that is none, or that the model's outputs cannot be read as.
    """
    if hints.output is not None and hints.output not in graph.outputs:
        raise BadRequest(f"the model has no output {hints.output!r}{nearest(hints.output, graph.outputs)}")
    said = (hints.kind or "").partition(":")[0]
    if said and said not in READOUTS:
        raise BadRequest(f"there is no readout {hints.kind!r:.40}{nearest(said, kinds())}")
    for find in [READOUTS[said]] if said else READOUTS.values():
        if (found := find(graph, hints)) is not None:
            return found
    shapes = "; ".join(f"{name!r} of shape {list(graph[name].shape or [])}" for name in graph.outputs[:4])
    wanted = f"be read as {hints.kind}" if said else "be read"
    raise BadRequest(f"no output can {wanted}: {shapes}")
