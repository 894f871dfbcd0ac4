"""Numbers of any other kind, with their places where they have any: depths, heat maps of points, pictures.

    "depth"     (N, h, w) or one plane, by the producer's words: the greatest and the least
    "points"    (N, K, h, w), by the producer's words: where each plane is the greatest (Xiao et al. 2018), or
                between its cells (Huang et al. 2020) where the producer finds it so
    "numbers"   everything else: the greatest of them

It fits every output of real numbers, and says of it no more than is so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ...errors import BadRequest
from ...graph.graph import Graph
from ...graph.types import is_float
from ..anatomy import seeing
from ..intervals import interval
from ..maps import coordinates
from .heatmaps import UNBIASED, unbiased
from .planes import Planes, Range, meant, planes_of
from .thing import Hints, Seed, Thing

VARIANTS = ("depth", "points", "numbers")
_SHOWN = 5  # of numbers that stand for nothing in particular
# Models of transformers whose numbers grow with the distance; those of the others grow with what is near.
_DISTANCES = ("glpn", "zoedepth", "prompt_depth_anything")
_NEARNESS = ("dpt", "depth_anything", "depth_pro")


@dataclass(frozen=True)
class Picture:
    """Real numbers: "depth", "points" or "numbers", and the `planes` that they lie on, if they lie on any.

    `size` is the height and width of the input. `names` are those of the planes, and `bounded` says that all
    lies between 0 and 1. `nearest` says whether the "greatest" or the "least" depth is the nearest, and
    `between` that the producer finds points between the cells (heatmaps.py).
    """

    of: str
    output: str
    planes: Planes | None
    size: tuple[int, int]
    why: str
    names: tuple[str, ...] = ()
    bounded: bool = False
    nearest: str = ""
    between: bool = False

    kind = "picture"

    @property
    def outputs(self) -> tuple[str, ...]:
        """The one output."""
        return (self.output,)

    @property
    def parts(self) -> tuple[str, ...]:
        """The same."""
        return (self.output,)

    def things(self, values: Mapping[str, np.ndarray], size: tuple[int, int]) -> list[Thing]:
        """The depths, the points, or the greatest numbers; what is no number (NaN) comes last."""
        array = values[self.output]
        if self.planes is None:
            return _greatest(self.output, array)
        planes = self.planes.of(array)
        if self.of == "points":
            return [self._at(values, k, *_where(plane)) for k, plane in enumerate(planes)]
        if self.of == "depth":
            return self._depths(values, planes[0])
        order = np.argsort(-np.nan_to_num(planes.astype(np.float64), nan=-np.inf), axis=None, kind="stable")
        places = (np.unravel_index(i, planes.shape) for i in order[:_SHOWN])
        return [self._at(values, *map(int, place)) for place in places]

    def pixel(
        self, values: Mapping[str, np.ndarray], row: float, column: float, label: int | None = None
    ) -> Thing:
        """What stands at a place of the input, in pixels: of one plane, or the mean of all.

        Raises BadRequest where the numbers have no places, or there is no such plane.
        """
        return self.region(values, label, (row, row), (column, column))

    def region(
        self,
        values: Mapping[str, np.ndarray],
        label: int | None = None,
        rows: Range | None = None,
        columns: Range | None = None,
    ) -> Thing:
        """The mean of what stands in a part of the input, in pixels: of one plane, or of all.

        Raises BadRequest as `pixel` does.
        """
        if self.planes is None:
            raise BadRequest(f"the numbers of {self.output!r} have no place in the picture: say element(...)")
        indices = self.planes.indices(values[self.output])
        if label is not None and not 0 <= label < len(indices):
            raise BadRequest(f"there is no plane {label}: {self.output!r} has planes 0 to {len(indices) - 1}")
        inside = self.planes.within(self.size, indices.shape[1:], rows, columns)
        chosen = (indices if label is None else indices[label : label + 1])[:, inside].ravel()
        mask = self.planes.over(inside.astype(np.float32), self.size)
        seed = Seed.on(self.output, chosen, 1 / len(chosen))
        return Thing("value", None, None, seed, self._name(label), mask=mask)

    def _name(self, k: int | None) -> str:
        if k is None or self.planes is None or self.planes.count < 2:
            return "value"
        return self.names[k] if self.names else f"{'point' if self.of == 'points' else 'plane'} {k}"

    def _at(self, values: Mapping[str, np.ndarray], k: int, row: int, column: int) -> Thing:
        """One number of the planes, with its place."""
        assert self.planes is not None
        planes = self.planes.of(values[self.output])
        number = float(planes[k, row, column])
        if self.between and np.isfinite(planes[k]).all():
            y, x = unbiased(planes[k], (row, column), self.size)
        else:
            y, x = self.planes.centre(row, column, self.size, planes.shape[1:])
        flat = self.planes.indices(values[self.output])[k, row, column]
        points = np.array([[y, x, number]], np.float32)
        score = number if self.bounded else None
        return Thing("value", None, score, Seed.on(self.output, flat), self._name(k), points=points)

    def _depths(self, values: Mapping[str, np.ndarray], plane: np.ndarray) -> list[Thing]:
        """The greatest depth and the least, the nearest first where it is known, and all of it as a mask."""
        assert self.planes is not None
        ends = {"greatest": _where(plane), "least": _where(-plane)}
        spread = max(float(np.ptp(plane)), 1e-12)
        shown = self.planes.over((plane - plane.min()) / np.float32(spread), self.size)
        found = []
        for name in sorted(ends, key=lambda n: (n != self.nearest, n)):
            thing = self._at(values, 0, *ends[name])
            far = {"": name, name: "nearest"}.get(self.nearest, "farthest")
            found.append(replace(thing, words=far, mask=shown))
        return found


def _where(plane: np.ndarray) -> tuple[int, int]:
    """The row and the column of the greatest number of a plane."""
    y, x = np.unravel_index(int(np.nan_to_num(plane, nan=-np.inf).argmax()), plane.shape)
    return int(y), int(x)


def _greatest(output: str, array: np.ndarray) -> list[Thing]:
    """The greatest numbers of an array of one image, with their indices."""
    shape = array.shape[1:] if array.ndim > 1 and array.shape[0] == 1 else array.shape
    flat = np.nan_to_num(array.reshape(-1).astype(np.float64), nan=-np.inf)
    found = []
    for i in np.argsort(-flat, kind="stable")[:_SHOWN].tolist():
        at = ", ".join(map(str, np.unravel_index(i, shape))) if shape else ""
        found.append(Thing("value", None, None, Seed.on(output, i), f"{output}[{at}]"))
    return found


def find(graph: Graph, hints: Hints) -> Picture | None:
    """The numbers of an output: the said one, else the first one of real numbers that the picture reaches.

    Those that have rows and columns come first.
    """
    depending = seeing(graph)
    names = [hints.output] if hints.output else [o for o in graph.outputs if o in depending]
    real = [name for name in names if (d := graph[name].dtype) is not None and is_float(d)]
    planes = {name: planes_of(graph, name) for name in real}
    chosen = next((name for name in real if planes[name] is not None), next(iter(real), None))
    return None if chosen is None else _read(graph, chosen, planes[chosen], hints)


def _read(graph: Graph, output: str, planes: Planes | None, hints: Hints) -> Picture:
    variant = (hints.kind or "").partition(":")[2]
    what = variant if variant in VARIANTS else meant(hints.facts, output)
    size = coordinates(graph).size
    if planes is None or what not in ("depth", "points") or (what == "depth" and planes.count > 1):
        why = "numbers with places" if planes else "numbers"
        return Picture("numbers", output, planes, size, f"{why}, of which no more is known")
    bounded = interval(graph, output).within(0, 1)
    said = "as said" if variant else "by the producer's words"
    if what == "depth":
        return Picture("depth", output, planes, size, f"a depth, {said}", (), bounded, _nearest(hints.facts))
    names = tuple(hints.labels) if len(hints.labels) == planes.count else ()
    between = hints.facts.get("model_type") in UNBIASED and planes.cells is None
    why = f"heat maps of points, {said}"
    return Picture("points", output, planes, size, why, names, bounded, between=between)


def _nearest(facts: Mapping[str, str]) -> str:
    """Which end of a depth is the nearest, by the model's type; empty where that is not known."""
    model = facts.get("model_type", "")
    if model in _DISTANCES or facts.get("depth_estimation_type") == "metric":
        return "least"
    return "greatest" if model in _NEARNESS else ""
