"""A method for whatever a model answers: boxes, regions, characters, vectors, differences of classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from ...engine.anatomy.levels import has_cells, levels, ranked
from ...engine.anatomy.maps import view_of
from ...engine.anatomy.readouts.boxes import Boxes
from ...engine.anatomy.readouts.thing import Thing
from ...engine.attribution.compile import compiled
from ...engine.attribution.compiled import Again, Explanation, Intake, Progress
from ...engine.attribution.method import Method, options_of
from ...engine.errors import BadRequest
from ...engine.targets.aim import Aim
from ...engine.targets.answered import Answered, told
from ...engine.targets.targets import targets
from ..maps.found import Found
from ..maps.levels import together
from ..maps.placement import whole
from ..network.vision_model import Target, VisionModel
from ..photos.preprocess import Box
from ..storage.store import photo_at

OF_CELLS, MAYBE = ("regions", "sequence"), ("boxes", "picture")  # kinds of answers
CHANGED = (
    "perturbation",
    "path",
    "ablation",
)  # the families that look at other answers than that to the photo


class Explained(NamedTuple):
    """A thing that was found in a photo, and its explanations: one, or one for each layer that was named."""

    thing: Found
    explanations: list[Explanation]


class Aimed:
    """A method compiled for the sums that the targets of a photo come to.

    `elements` are values of which targets name single numbers, beside those that the answer is made of, and
    with `unit` that is taken as a vector of length 1. A method that looks at a layer looks by default at all
    that the answer is made of, the levels of a detector's pyramid, whose maps are put together.

    `of_cells` is whether these say something of each of their cells: then a cell lies where the model says
    that it is, and not in the middle of what it could see, since training has moved what it does see there.

    Raises BadRequest for a target that this answer cannot have, and for a method that looks at changed photos
    where the model ranks what it finds: its third box is then another one each time.
    """

    def __init__(
        self,
        lens: VisionModel,
        method: Method,
        elements: Sequence[str],
        unit: bool,
        layer: str | Sequence[str] | None,
        options: Any,
        intake: Intake,
    ):
        self._lock = Lock()
        read, graph = lens.reading, lens.network.graph
        self._parts = list(dict.fromkeys([*read.parts, *elements]))
        changed = method.family in CHANGED or any(f.option.fill for f in options_of(method).values())
        if changed and not method.finds and ranked(graph, self._parts):
            raise BadRequest(
                f"{method.name} looks at changed photos, and in each the model ranks anew what it finds: "
                "take a method that looks at the photo itself, as gradcam and saliency do"
            )
        found, self._levels = list[str](), layer is None and method.of_layers
        if layer is None and method.layer and not method.units:
            found = levels(graph, self._parts, read.outputs)
            layer = found if self._levels else found[0]
        self.of_cells = self._levels and _are_cells(lens, found, self._parts)
        self._labels, self._things = list[str](), list[Thing]()
        self._finds = method.name if method.finds else ""
        self._aim = Aim(
            lens.network, self._parts, unit, method.family not in ("perturbation", "ablation"), elements
        )
        intake = intake._replace(labels=self._labels, again=self._again(lens) if method.finds else None)
        self.compiled = compiled(self._aim.network, method, layer, options, intake)

    def __call__(
        self,
        lens: VisionModel,
        wishes: Sequence[Target],
        x: np.ndarray,
        box: Box,
        convention: str,
        progress: Progress | None = None,
        absent: bool = False,
    ) -> tuple[list[Explained], list[Found]]:
        """What explains each target of an input (1, ...), which covers the `box` of a photo; and all that the
        model found there. `wishes` are texts of targets, and `absent` as of engine/targets: of what cannot be
        found the explanation is a problem.
        """
        answered = lens.answered(x, box, self._parts, photo_at)
        things = targets(wishes, answered, absent)
        there = [thing for thing in things if thing.kind != "nothing"]
        most = self._aim.most(answered.values)
        groups = [there[i : i + most] for i in range(0, len(there), most)]
        with self._lock:  # what is aimed at is the network's
            made = [e for group in groups for e in self._explained(x, group, answered, progress)]
        shown = (self._shown(lens, found, convention) for found in made)
        explained = [
            Explained(lens.found(i, t, answered, box), self._none(t) if t.kind == "nothing" else next(shown))
            for i, t in enumerate(things)
        ]
        every = [lens.found(i, told(t, answered), answered, box) for i, t in enumerate(answered.things)]
        return explained, every

    def _again(self, lens: VisionModel) -> Again | None:
        """How the boxes in question are found again in other photos; None for an answer without any."""
        read = lens.reading
        if not isinstance(read, Boxes):
            return None
        values = list(dict.fromkeys([*read.outputs, *read.parts]))
        return Again(values, partial(read.again, self._things, lens.preprocess.size))

    def _explained(
        self, x: np.ndarray, things: Sequence[Thing], answered: Answered, progress: Progress | None
    ) -> Iterator[list[Explanation]]:
        """The explanations of some things, for each one of each layer."""
        self._aim.at([thing.seed for thing in things], answered.values)
        self._labels[:], self._things[:] = [thing.words for thing in things], things
        if self._finds and (other := [t for t in things if t.score is None]):
            raise BadRequest(f"{self._finds} finds boxes again, and {other[0].words!r:.60} is none")
        (found,) = self.compiled.explained(x, range(len(things)), progress)
        layers = len(found) // len(things)
        for i, thing in enumerate(things):
            yield [_in_words(e, i, thing.words) for e in found[i * layers :][:layers]]

    def _none(self, thing: Thing) -> list[Explanation]:
        """What stands for the explanation of what is not there: no number, with the reason."""
        layer, nothing = self.compiled.layers[0], np.full((1, 1), np.nan, np.float32)
        at = layer or self.compiled.images
        return [Explanation(nothing, at, layer, 0, np.nan, None, problem=thing.words)]

    def _shown(self, lens: VisionModel, found: list[Explanation], convention: str) -> list[Explanation]:
        """The explanations, those of the levels put together as one."""
        if not self._levels or len(found) == 1:
            return found
        places = [lens.placement(e.at, convention=convention) for e in found]
        maps = [e.values for e in found]
        if bad := [e for e in found if not np.isfinite(e.values).all()]:
            return bad[:1]
        values = together(maps, places, lens.preprocess.size)
        problem = "" if values.any() else found[0].problem
        reached = [e.at for e, of_level in zip(found, maps, strict=True) if of_level.any()]
        return [replace(found[0], values=values, problem=problem, extras={"levels": reached})]


def _are_cells(lens: VisionModel, layers: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether an answer says something of each cell of some layers, which lie evenly over the whole input."""
    kind, graph, size = lens.reading.kind, lens.network.graph, lens.preprocess.size
    if kind not in OF_CELLS and not (kind in MAYBE and has_cells(graph, parts)):
        return False
    for layer in layers:
        view, grid = view_of(graph, layer), lens.placement(layer).grid
        rows, columns = (view.grid or (None, None))[:2]
        if not (isinstance(rows, int) and isinstance(columns, int)):
            return False
        cell = size[0] / rows, size[1] / columns
        off = [abs(edge - whole_edge) for edge, whole_edge in zip(grid, whole(size), strict=True)]
        if any(o > cell[i % 2] for i, o in enumerate(off)):
            return False
    return True


def _in_words(found: Explanation, number: int, words: str) -> Explanation:
    """An explanation whose problem names the thing, and which says nothing of the classes of a classifier."""
    extras = {name: value for name, value in found.extras.items() if name != "hidden"}
    problem = found.problem.replace(f"class {number}", repr(words))
    return replace(found, problem=problem, extras=extras)
