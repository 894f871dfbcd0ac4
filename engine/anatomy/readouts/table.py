"""The one table of the kinds of answers, and which of them a model gives."""

from __future__ import annotations

from collections.abc import Callable

from ...errors import BadRequest, nearest
from ...graph.graph import Graph
from ..anatomy import seeing
from . import alphabet, boxes, embedding, picture, regions, sequence
from .classes import KINDS, Readout, SeveralReadouts, readout
from .thing import Hints, Reading

# By the name that --readout takes, in the order in which they are tried.
READOUTS: dict[str, Callable[[Graph, Hints], Reading | None]] = {
    "boxes": boxes.find,
    "regions": regions.find,
    "sequence": sequence.find,
    "embedding": embedding.find,
    "picture": picture.find,
}
# What may stand behind the name and a colon; layouts of boxes are boxes' own.
VARIANTS: dict[str, tuple[str, ...]] = {
    "regions": regions.VARIANTS,
    "sequence": alphabet.VARIANTS,
    "embedding": (),
    "picture": picture.VARIANTS,
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
    _check_variant(said, hints.kind or "")
    for find in [READOUTS[said]] if said else READOUTS.values():
        if (found := find(graph, hints)) is not None:
            return found
    shapes = "; ".join(f"{name!r} of shape {list(graph[name].shape or [])}" for name in graph.outputs[:4])
    wanted = f"be read as {hints.kind}" if said else "be read"
    raise BadRequest(f"no output can {wanted}: {shapes}")


def _check_variant(said: str, kind: str) -> None:
    """Raises BadRequest for a word behind the colon that a kind of planes, lines or vectors does not have."""
    variants, variant = VARIANTS.get(said), kind.partition(":")[2]
    if variant and variants is not None and variant not in variants:
        there = nearest(variant, variants) if variants else ": it has none"
        raise BadRequest(f"there is no {said} of the kind {variant!r:.40}{there}")


def otherwise(graph: Graph, hints: Hints, read: Readout | None) -> Reading:
    """How an answer is read that has no classes, or only values (`read`) that may be a vector.

    Raises BadRequest as `reading` does, where there are no values either.
    """
    try:
        found = reading(graph, hints)
    except BadRequest:
        if read is None:
            raise
        return read
    return found if read is None or found.kind == "embedding" else read


def of_outputs(graph: Graph, hints: Hints) -> tuple[Reading | None, dict[str, Reading | str]]:
    """How a model's answer is read, None where somebody has to say it; and how each output is, those of one
    answer together, or why it is not.

    Raises BadRequest for a kind or an output that was said and is not there, or does not fit.
    """
    whole, found = None, dict[str, Reading | str]()
    try:
        whole = _read(graph, hints)
        found |= dict.fromkeys([whole.output] if isinstance(whole, Readout) else whole.outputs, whole)
    except BadRequest:
        if hints.kind or hints.output:
            raise
    depending = seeing(graph)
    for name in graph.outputs:
        if name not in found:
            is_seen = name in depending
            found[name] = _alone(graph, hints, name) if is_seen else "it does not depend on the picture"
    return whole, {name: found[name] for name in graph.outputs}


def _alone(graph: Graph, hints: Hints, output: str) -> Reading | str:
    try:
        return _read(graph, hints._replace(output=output, kind=None))
    except BadRequest as error:
        return str(error)


def _read(graph: Graph, hints: Hints) -> Reading:
    """How an answer is read: as classes where it has them, else as whatever fits."""
    said = (hints.kind or "").partition(":")[0]
    if said and said not in KINDS:
        return reading(graph, hints)
    try:
        read = readout(graph, hints.output, len(hints.labels), hints.kind)
    except BadRequest as error:
        if said or isinstance(error, SeveralReadouts):
            raise
        read = None
    return read if read is not None and (said or read.sure) else otherwise(graph, hints, read)
