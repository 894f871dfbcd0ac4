"""Answers that lie on the picture: one plane of numbers for each class, point or colour.

Where their cells lie is followed through the graph (coordinates.py), whatever the order of the axes. Planes
that cover the picture are stretched over it, as all producers stretch them; those that cover a part of it, as
a U-Net without padding gives them, lie there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

from ...graph.graph import Graph
from ...operators.places.positions import CENTRE, Positions
from ..grids import Box, Place, View
from ..maps import coordinates, is_map, view_of

HALF = 0.5  # the probability from which on a pixel belongs to a class that has it by itself
Range = tuple[float, float]  # of rows or columns, in pixels of the input


@dataclass(frozen=True)
class Planes:
    """A value of the graph as `count` planes of `grid` (h, w) cells.

    `cells` (y0, x0, y1, x1) is the part of the input that they are spread over, in pixels; None is all of it.
    """

    value: str
    view: View
    count: int
    grid: tuple[int, int]
    cells: Box | None = None

    def is_of_pixels(self, size: tuple[int, int]) -> bool:
        """Whether each cell is a pixel of an input of `size`."""
        y0, x0, y1, x1 = self.cells or (0, 0, *size)
        return (round(y1 - y0), round(x1 - x0)) == self.grid

    def of(self, array: np.ndarray) -> np.ndarray:
        """The planes (K, h, w) of the first picture in an array of the value."""
        return self.view.of_array(self._first(array))[0]

    def indices(self, array: np.ndarray) -> np.ndarray:
        """Where each number of the planes stands in the value, flat and without the batch axis, (K, h, w)."""
        one = self._first(array)
        return self.view.of_array(np.arange(one.size).reshape(one.shape))[0]

    def _first(self, array: np.ndarray) -> np.ndarray:
        return array.take([0], self.view.perm[0]) if self.view.shape is None else array

    def over(self, plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """A plane (h, w) spread over an input of `size`, (H, W) float32; 0 where it does not reach."""
        from ....kernels.photos.upsample import upsample  # a kernel takes a while to load

        return upsample(plane[None], *size, box=self.cells)[0]

    def nearest(self, plane: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        """What stands in the cell in which each pixel of an input lies, (H, W)."""
        y, x = (
            np.searchsorted((middles[1:] + middles[:-1]) / 2, np.arange(side) + 0.5)
            for middles, side in zip(self.middles(size, plane.shape), size, strict=True)
        )
        return plane[y[:, None], x]

    def centre(self, row: int, column: int, size: tuple[int, int], grid: tuple[int, ...]) -> Range:
        """The middle of a cell of a plane of `grid`, y and x in an input of `size`."""
        (y, x) = (axis[i] for axis, i in zip(self.middles(size, grid), (row, column), strict=True))
        return float(y), float(x)

    def within(
        self, size: tuple[int, int], grid: tuple[int, ...], rows: Range | None, columns: Range | None
    ) -> np.ndarray:
        """Which cells of a plane have their middle between rows and columns of an input, (h, w) bool.

        None is all; where no middle lies between, it is the nearest.
        """
        y, x = (
            _between(middles, given)
            for middles, given in zip(self.middles(size, grid), (rows, columns), strict=True)
        )
        return y[:, None] & x

    def middles(self, size: tuple[int, int], grid: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Where the middles of the rows and columns of a plane of `grid` lie, in pixels of an input."""
        y0, x0, y1, x1 = self.cells or (0, 0, *size)
        down, across = (
            start + (np.arange(count) + 0.5) * (end - start) / count
            for start, end, count in ((y0, y1, grid[0]), (x0, x1, grid[1]))
        )
        return down, across


def _between(middles: np.ndarray, given: Range | None) -> np.ndarray:
    if given is None:
        return np.ones(len(middles), bool)
    found = (middles >= given[0]) & (middles <= given[1])
    if not found.any():
        found[np.abs(middles - sum(given) / 2).argmin()] = True
    return found


def box_around(mask: np.ndarray) -> tuple[float, float, float, float] | None:
    """The smallest box around what is in a mask."""
    rows, columns = (np.flatnonzero((mask >= HALF).any(axis)) for axis in (1, 0))
    if not rows.size:
        return None
    return float(rows[0]), float(columns[0]), float(rows[-1] + 1), float(columns[-1] + 1)


def planes_of(graph: Graph, name: str) -> Planes | None:
    """How a value lies on the picture; None where it has no rows and columns of it."""
    followed = coordinates(graph)
    with followed.lock:
        p = followed[name]
        if p is None or p.nowhere or p.crossed:
            return None
        view = view_of(graph, name) if is_map(graph, name) else _single(p, followed.batch)
        if view is None:
            return None
        grid = view.grid or tuple(p.shape[a] for a in view.perm[2:4])
        images, size, place = followed.batch, followed.size, None if followed.is_open else view.place
    if len(grid) != 2 or min(grid) < 2:
        return None
    count = prod(p.shape) // (p.shape[view.perm[0]] if view.shape is None else images) // prod(grid)
    return Planes(
        name, view, count, grid, None if place is None or _is_whole(place, grid, size) else place.cells
    )


def _is_whole(place: Place, grid: tuple[int, int], size: tuple[int, int]) -> bool:
    """Whether cells cover the picture: whole cells of it, or all but for one of them at a side.

    Padding and strides shift what a cell sees by less than that.
    """
    if not any(side % count and count % side for side, count in zip(size, grid, strict=True)):
        return True
    y0, x0, y1, x1 = place.cells
    steps = (y1 - y0) / grid[0], (x1 - x0) / grid[1]
    away = (y0, size[0] - y1), (x0, size[1] - x1)
    return all(abs(edge) <= step for edges, step in zip(away, steps, strict=True) for edge in edges)


def _single(p: Positions, images: int) -> View | None:
    """The view of a value that has rows and columns and nothing beside them, (N, h, w) or (N, 1, h, w)."""
    rank = len(p.shape)
    down = [a for a in range(rank) if p.rows.shape[1 + a] > 1]
    across = [a for a in range(rank) if p.columns.shape[1 + a] > 1]
    if len(down) != 1 or len(across) != 1 or down == across:
        return None
    along = [a for a, d in enumerate(p.images.shape[1:]) if d > 1]
    others = [a for a in range(rank) if a not in (*down, *across, *along)]
    if any(p.shape[a] != 1 for a in others) or (images > 1 and not along):
        return None
    lead = [*along, *others][:1]
    shape = (*(-1 if a in lead else d for a, d in enumerate(p.shape)), 1, 1)  # two more, for what is missing
    perm = (*(lead or [rank]), rank + 1, *down, *across)
    rest = (a for a in range(rank + 2) if a not in perm)
    grid = p.shape[down[0]], p.shape[across[0]]
    return View(-1, (*perm, *rest), grid, shape, None, _place(p))


def _place(p: Positions) -> Place | None:
    """Where cells lie that follow each other evenly, by the first and the last of them."""
    lines = []
    for field in (p.rows, p.columns):
        middles = field[CENTRE].ravel()
        if np.isnan(middles).any():
            return None
        first, last = float(middles[0]), float(middles[-1])
        half = (last - first) / (len(middles) - 1) / 2
        lines.append((first - half, last + half))
    (y0, y1), (x0, x1) = lines
    return Place((y0, x0, y1, x1), (y0, x0, y1, x1))


# What producers call models, and outputs, by what their planes are of.
_ARCHITECTURES = {
    "SemanticSegmentation": "regions",
    "ImageSegmentation": "regions",
    "UniversalSegmentation": "regions",
    "DepthEstimation": "depth",
    "PoseEstimation": "points",
    "KeypointDetection": "points",
    "SuperResolution": "picture",
    "ImageToImage": "picture",
    "MaskedImageModeling": "picture",
}
_NAMES = {
    "depth": r"depth|dispar|\bdisp",
    "points": r"heat_?map|keypoint|kpt|joint|landmark|pose",
    "picture": r"feat|embed|hidden|flow|normals?\b|offset|rgb|foreground|fgr|restor|enhanc|denois|reconstr",
    "regions": r"mask|matte|alpha|\bpha\b|seg|class|logit|prob|label|text",
}


def meant(facts: Mapping[str, str], output: str) -> str:
    """What the producer says that planes are of: "regions", "depth", "points" or "picture"; else nothing.

    That is the class of the model where its config.json has one, else the name of the output.
    """
    model = facts.get("architectures", "")
    for ending, what in _ARCHITECTURES.items():
        if model.endswith(f"For{ending}"):
            return what
    name = re.split(r"[/.:]", output)[-1]
    return next((what for what, names in _NAMES.items() if re.search(names, name, re.IGNORECASE)), "")
