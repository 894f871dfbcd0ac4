"""Boxes: what a detector found, in whichever of the layouts its answer has.

A layout is told from what computes the numbers, from the producer's words, from names and shapes, in this
order; nothing is read off the numbers of a photo. Where two fit, or what is needed cannot be known, it is to
be said: `--readout boxes:NAME`, with a name of LAYOUTS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import BadRequest, nearest
from ...graph.graph import Graph
from .detectors import levels, queries, ranked, yolo
from .detectors.candidates import Candidates
from .detectors.layout import Decoder, Layout, Values
from .thing import Hints, Thing

LAYOUTS: dict[str, Layout] = {
    "yolov8": Layout(yolo.plain, overlap=0.7),
    "yolov5": Layout(yolo.objects, overlap=0.45),
    "yolox": Layout(yolo.cellwise, overlap=0.45),
    "end2end": Layout(ranked.joined),
    "softmax": Layout(queries.softmax, threshold=0.5),
    "sigmoid": Layout(queries.sigmoid, threshold=0.5),
    "rtdetr": Layout(queries.joined),
    "tensorflow": Layout(ranked.tensorflow),
    "efficientnms": Layout(ranked.efficient),
    "torchvision": Layout(ranked.separate),
    "mmdet": Layout(ranked.paired),
    "paddle": Layout(ranked.listed),
    "yolov7": Layout(ranked.batched),
    "picodet": Layout(levels.distances, threshold=0.4, overlap=0.5),
    "scrfd": Layout(levels.anchored, threshold=0.5, overlap=0.4),
    "yunet": Layout(levels.faces, threshold=0.6, overlap=0.3),
    "blazeface": Layout(levels.blaze, threshold=0.5, overlap=0.3),
}


@dataclass(frozen=True)
class Boxes:
    """An answer that holds boxes: the layout that it has, and what reads it."""

    layout: str
    outputs: tuple[str, ...]
    parts: tuple[str, ...]
    why: str
    decode: Decoder
    kind: str = "boxes"

    @property
    def threshold(self) -> float:
        """The score from which on the producer takes a candidate for a box."""
        return LAYOUTS[self.layout].threshold

    def candidates(self, values: Values, size: tuple[int, int]) -> Candidates:
        """All that may be a box in the first picture, before any is left out."""
        return self.decode(values, size)

    def things(self, values: Values, size: tuple[int, int], threshold: float | None = None) -> list[Thing]:
        """The boxes of the first picture, best first, as the producer keeps them.

        `values` holds arrays by the names of outputs and parts, `size` is the height and width of the input;
        `threshold` is another one than the layout's: 0 gives the likeliest, however unlikely.
        """
        layout = LAYOUTS[self.layout]
        least = self.threshold if threshold is None else threshold
        return self.decode(values, size).things(least, layout.overlap, layout.by_class)

    def again(self, things: Sequence[Thing], size: tuple[int, int], values: Values) -> np.ndarray:
        """How well each of some boxes is found again in the picture of these values, (T,) of 0 to 1."""
        found = self.decode(values, size)
        return np.array([found.again(thing) if thing.box else 0.0 for thing in things])


def find(graph: Graph, hints: Hints) -> Boxes | None:
    """How the boxes of a model are laid out; None where it has none, or two layouts fit.

    Raises BadRequest for a layout that was said and is not there, or that the outputs do not have, and, where
    boxes were asked for, if two fit.
    """
    kind, _, name = (hints.kind or "").partition(":")
    if name and name not in LAYOUTS:
        raise BadRequest(f"there is no layout of boxes {name!r:.40}{nearest(name, list(LAYOUTS))}")
    wanted = [name] if name else list(LAYOUTS)
    found = [b for n in wanted if (b := _found(graph, hints, n, bool(name))) is not None]
    if name and not found:
        shown = ", ".join(f"{o} {list(graph[o].shape or ())}" for o in graph.outputs[:4])
        raise BadRequest(f"no boxes are laid out as {name} in the outputs {shown}")
    if len(found) == 1:
        return found[0]
    if kind == "boxes":
        fits = " or ".join(f"boxes:{b.layout} ({b.why})" for b in found)
        which = fits or f"boxes:NAME, one of {', '.join(LAYOUTS)}"
        raise BadRequest(f"how the boxes are laid out is to be said: --readout {which}")
    return None


def _found(graph: Graph, hints: Hints, name: str, said: bool) -> Boxes | None:
    found = LAYOUTS[name].find(graph, hints, said)
    if found is None or (hints.output is not None and hints.output not in found.outputs):
        return None
    parts = found.parts or found.outputs
    return Boxes(name, found.outputs, parts, f"{name}: {found.why}", found.decode)
