"""What a layout of boxes is: how a graph is known to have it, and how its answer is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ....graph.graph import Graph
from ....graph.types import is_float
from ...anatomy import seeing
from ..thing import Hints
from .candidates import Candidates

Values = Mapping[str, np.ndarray]
Decoder = Callable[[Values, tuple[int, int]], Candidates]


class Found(NamedTuple):
    """A layout in a graph: the outputs that it reads, in words how that is known, and what reads them.

    `parts` are the values that seeds lie on, where they are not the outputs.
    """

    outputs: tuple[str, ...]
    why: str
    decode: Decoder
    parts: tuple[str, ...] = ()


# Of a graph and what else is known; the last says that somebody named the layout, so that shapes are enough.
Finder = Callable[[Graph, Hints, bool], Found | None]


@dataclass(frozen=True)
class Layout:
    """How boxes are found, and what the producer keeps of them: scores above `threshold`, and of boxes that
    overlap by more than `overlap` (None: the model has chosen) the best, `by_class` or of all.
    """

    find: Finder
    threshold: float = 0.25
    overlap: float | None = None
    by_class: bool = True


def real_outputs(graph: Graph, hints: Hints, rank: int | None = None) -> Iterator[str]:
    """The outputs of real numbers that depend on the picture, of a rank; the one that was said first."""
    depending = seeing(graph)
    for name in sorted(graph.outputs, key=lambda o: o != hints.output):
        value = graph[name]
        fits = value.shape is not None and rank in (None, len(value.shape))
        if fits and name in depending and value.dtype is not None and is_float(value.dtype):
            yield name


def sizes(graph: Graph, name: str) -> tuple[int | None, ...]:
    """The sizes of a value, None for those that are open or unknown."""
    return tuple(d if isinstance(d, int) else None for d in graph[name].shape or ())
