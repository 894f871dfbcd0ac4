"""Marks planted at known places of the picture, and where a layer answers to them: a test of where it lies.

    change = the sum over channels of |A(picture + mark) - f A(picture) - s|, f and s one for each channel
    found  = the centre of mass of what stands out of the change, in pixels of the input by the layer's Place
    error  = found - planted

Coordinates (engine/anatomy) are followed through the graph and nothing of it is run; here it is run, and of
coordinates only the Place that is tested is asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ..anatomy.axes import channel_axis
from ..anatomy.grids import Place, View
from ..anatomy.maps import coordinates
from ..graph.types import is_float
from ..runtime.network import Network

ACROSS = 3  # marks along each side
PICTURES = 8  # that each mark is planted in, another mark in each
MAX_TOGETHER = 16  # pictures of one run
MAX_PIXELS = 2**20  # of the pictures of one run
NARROWEST = 4  # pixels from the middle of a mark to its end
MARGIN = 0.25  # of the side of what is seen: nearer to its end answers are cut off
GRAIN = 0.05  # of the range of the input: the noise of each scale
SHARE = 0.15  # of the greatest change: what changes less is left out
FAINT = 1e-4  # of a layer's greatest answer: what changes less may be rounding
TINY = np.finfo(np.float32).tiny
PER_NUMBER = 4  # cells for each number that is fitted to them: a map of fewer than twice this has no factor
EVEN = 0.1  # of the greatest change: where nothing is as far above the median, all cells change alike


@dataclass(frozen=True)
class Probe:
    """Where marks were planted and where a layer answered, (M, 2) rows and columns in pixels of the input.

    `found` is NaN where it did not answer. `grid` is how many rows and columns of cells the layer has, `cell`
    how high and wide one is in pixels. `problem` says why nothing can be compared, and is empty where
    something can.
    """

    layer: str
    grid: tuple[int, int] | None
    cell: tuple[float, float]
    planted: np.ndarray
    found: np.ndarray
    problem: str = ""

    @property
    def offsets(self) -> np.ndarray:
        """How far down and across from their marks the answers were, (n, 2) pixels."""
        return (self.found - self.planted)[~np.isnan(self.found).any(1)]

    @property
    def pixels(self) -> np.ndarray:
        """The error of each answer, (n,) pixels: along the axis on which it is greater."""
        return np.abs(self.offsets).max(1)

    @property
    def cells(self) -> np.ndarray:
        """The error of each answer, (n,) cells: along the axis on which it is greater."""
        return np.abs(self.offsets / self.cell).max(1)

    @property
    def is_beyond(self) -> bool:
        """Whether an answer is further than a cell from its mark."""
        return bool((self.cells > 1).any())


def unplaced(layer: str, why: str) -> Probe:
    """The probe of a layer whose place is not known."""
    none = np.empty((0, 2))
    return Probe(layer, None, (np.nan, np.nan), none, none, why)


def probe(network: Network, layer: str, view: View, low: Any, high: Any) -> Probe:
    """Plant marks in pictures of noise, and find where a layer answers to them.

    Parameters
    ----------
    network
        The model.
    layer
        A value of it.
    view
        How that is seen as feature maps; its place is what is tested.
    low, high
        The ends of the range of the input's numbers, one for all channels or one for each.

    Returns
    -------
    Probe
        With a `problem` where the layer has no place, or answers to no mark.
    """
    if view.place is None or view.grid is None:
        return unplaced(layer, "has no known place, as sizes are open")
    asked = _Asked(network, layer, view, np.asarray(low, np.float32), np.asarray(high, np.float32))
    cell = cell_of(view.place, view.grid)
    reach = np.clip(cell, NARROWEST, np.array(asked.size) / 4)
    planted = spots(view.place, view.grid)
    rng = np.random.default_rng(0)
    change = sum((asked.change(rng, planted, reach, bool(k % 2)) for k in range(PICTURES)), np.zeros(()))
    middles = middles_of(view.place, view.grid)
    found = np.array([centre_of_mass(c, *middles) for c in change])
    return Probe(layer, view.grid, (cell[0], cell[1]), planted, found, _problem(change, found))


def _problem(change: np.ndarray, found: np.ndarray) -> str:
    if not np.isnan(found).all():
        return ""
    return "changes alike in all its cells, wherever the mark is" if change.any() else "answers to no mark"


def centre_of_mass(change: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> tuple[float, float]:
    """The middle of what stands out of a change (h, w), whose cells lie at these rows and columns.

    What mixes the whole picture changes all cells a little: the median is taken off, and SHARE of the peak.
    NaN where nothing stands out.
    """
    above = change - np.median(change)
    peak = above.max()
    if change.size > 1 and not peak > EVEN * change.max():
        return np.nan, np.nan
    mass = np.maximum(above - SHARE * peak, 0)
    return mass.sum(1) @ rows / mass.sum(), mass.sum(0) @ columns / mass.sum()


def own_change(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """How cells change that no factor and no shift of their whole channel explains, like `after` (..., h, w).

    A mark changes the cells that see it, and through means, norms, gates and attention that is all but even
    also those that do not: what these bring is the same for all cells of a channel, an amount that is added
    or a factor. So a channel is expected to become f before + s, with f and s by least squares, and what is
    left of it is where the mark is seen. Small maps, where one seen cell would bend the fit, are compared as
    they are.
    """
    before, after = before.astype(np.float64), after.astype(np.float64)
    change = after - before
    if before.shape[-1] * before.shape[-2] < 2 * PER_NUMBER:
        return change
    cells = (-2, -1)
    away = before - before.mean(cells, keepdims=True)
    change = change - change.mean(cells, keepdims=True)
    spread = np.square(away).sum(cells, keepdims=True)
    return change - away * ((away * change).sum(cells, keepdims=True) / np.maximum(spread, TINY))


# -- places -----------------------------------------------------------------------------------------------


def cell_of(place: Place, grid: tuple[int, int]) -> np.ndarray:
    """The height and width of a cell, (2,) pixels."""
    y0, x0, y1, x1 = place.cells
    return np.array([(y1 - y0) / grid[0], (x1 - x0) / grid[1]])


def middles_of(place: Place, grid: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """The middles of the rows and of the columns of cells, in pixels."""
    height, width = cell_of(place, grid)
    top, left = place.cells[:2]
    return top + (np.arange(grid[0]) + 0.5) * height, left + (np.arange(grid[1]) + 0.5) * width


def spots(place: Place, grid: tuple[int, int]) -> np.ndarray:
    """Where marks are planted, (M, 2) pixels.

    They are spread evenly over the middle of what is seen, a cell away from the middles of the outermost
    cells (less where there are few); along an axis where nothing is, they are in the middle.
    """
    lines = []
    for axis, middles in enumerate(middles_of(place, grid)):
        start, end = place.seen[axis], place.seen[axis + 2]
        margin = MARGIN * (end - start)
        inside = cell_of(place, grid)[axis] * min(1, (len(middles) - 1) / 4)
        first, last = max(middles[0] + inside, start + margin), min(middles[-1] - inside, end - margin)
        lines.append(np.linspace(first, last, ACROSS) if first < last else [middles[[0, -1]].mean()])
    return np.stack(np.meshgrid(*lines, indexing="ij"), -1).reshape(-1, 2)


# -- pictures ---------------------------------------------------------------------------------------------


def noise(rng: np.random.Generator, size: tuple[int, int], channels: int) -> np.ndarray:
    """Grey with faint noise of several scales, (H, W, C) of 0 to 1."""
    picture = np.full((*size, channels), 0.5)
    for scale in (1, 4, 16):
        coarse = rng.uniform(-GRAIN, GRAIN, (*(-(-side // scale) for side in size), channels))
        picture += coarse.repeat(scale, 0).repeat(scale, 1)[: size[0], : size[1]]
    return picture


def spot(size: tuple[int, int], at: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """How much of a mark is in each pixel, (H, W, 1) of 0 to 1: a Hann window that ends `reach` from `at`."""
    away = (np.abs(np.arange(n) + 0.5 - m) / r for n, m, r in zip(size, at, reach, strict=True))
    down, across = (0.5 + 0.5 * np.cos(np.pi * np.minimum(a, 1)) for a in away)
    return (down[:, None] * across)[..., None]


class _Asked:
    """A layer of a network, asked for pictures of 0 to 1; as many go `together` into one run."""

    def __init__(self, network: Network, layer: str, view: View, low: np.ndarray, high: np.ndarray):
        followed = coordinates(network.graph)
        self.network, self.layer, self.view, self.low, self.high = network, layer, view, low, high
        self.input, self.size = followed.image, followed.size
        self.axis = channel_axis(network.graph, self.input)
        dims = network.graph[self.input].shape or (None,) * 4
        self.channels = c if isinstance(c := dims[self.axis], int) else 3
        is_open = not isinstance(dims[0], int) and followed.batch > 1  # it may be written inside
        self.fixed = None if is_open else followed.batch
        self.together = self.fixed or max(1, min(MAX_TOGETHER, MAX_PIXELS // prod(self.size)))

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        """The feature maps (n, K, h, w) float32 of pictures (n, H, W, C); a fixed batch is filled up."""
        dtype = self.network.graph[self.input].dtype or np.dtype(np.float32)
        x = np.moveaxis(self.low + pictures * (self.high - self.low), -1, self.axis)
        x = np.pad(x, [(0, (self.fixed or len(x)) - len(x)), *[(0, 0)] * 3], "edge")
        x = (x if is_float(dtype) else np.rint(x)).astype(dtype)
        maps = self.view.of_array(self.network.run({self.input: x}, [self.layer])[self.layer])
        return np.nan_to_num(maps[: len(pictures)].astype(np.float32))

    def change(
        self, rng: np.random.Generator, planted: np.ndarray, reach: np.ndarray, textured: bool
    ) -> np.ndarray:
        """How much cells change with each mark, (M, h, w): 1 where most, all 0 where that may be rounding.

        All marks are planted in one picture, and are of one colour or `textured` with one noise. Where all
        cells change, and each channel as one, it is 1 in all.
        """
        picture = noise(rng, self.size, self.channels)
        colour = rng.uniform(0.3, 1, self.channels) * rng.choice([-1, 1], self.channels)
        if textured:
            colour = colour * rng.choice([-1, 1], picture.shape)
        (before,) = self(picture[None])
        own, every = [], []
        for start in range(0, len(planted), self.together):
            marks = [spot(self.size, at, reach) * colour for at in planted[start : start + self.together]]
            after = self(np.clip(picture + np.array(marks), 0, 1))
            own += list(np.abs(own_change(before, after)).sum(1))
            every += list(np.abs(after - before).sum(1))
        found, faint = np.array(own), FAINT * np.abs(before).sum(0).max()
        most, any_ = (np.max(c, (1, 2), keepdims=True) for c in (found, np.array(every)))
        alike = np.where(any_ > faint, 1.0, 0.0)
        return np.where(most > faint, found / np.maximum(most, TINY), alike)
