"""What each output of a model holds, for those who want to know before there is a photo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...engine.anatomy.maps import coordinates
from ...engine.anatomy.readouts.classes import readout
from ...engine.anatomy.readouts.table import of_outputs
from ...engine.anatomy.readouts.thing import Hints, Reading
from ...engine.errors import BadRequest
from ...engine.graph.graph import Graph
from .sidecar import find


def read_outputs(
    graph: Graph,
    path: Path,
    labels: Sequence[str] | None = None,
    output: str | None = None,
    kind: str | None = None,
) -> tuple[Reading | None, dict[str, Reading | str]]:
    """How the answer of the model at a path is read, with what stands in and beside it; and how each output
    is, or why not (of_outputs).

    `labels`, `output` and `kind` are what somebody said, as of a Lens. Raises BadRequest for an output or a
    kind that is not there, or does not fit.
    """
    beside = find(path, graph.metadata)
    known = labels or beside.labels or []
    if kind is None and graph.head is None and beside.readout:
        try:
            graph.head = readout(graph, output, len(known), beside.readout)
        except BadRequest:  # what is said beside the model may be of another file
            graph.head = None
    return of_outputs(graph, Hints(coordinates(graph).size, known, beside.words, output, kind))
