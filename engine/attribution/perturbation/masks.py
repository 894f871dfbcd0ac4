"""What hides an image: patches as a part of the graph, for a GPU, and random masks with soft edges."""

from __future__ import annotations

import numpy as np

from ...graph.graph import Graph, Tensor, op
from ...runtime.entry import fed

IMAGE, UNDER, CORNERS, PATCH = "occlusion/image", "occlusion/under", "occlusion/corners", "occlusion/patch"


def masked(graph: Graph, shape: tuple[int, ...], last: bool) -> Graph:
    """The graph with its first input made of one image, what lies under a patch, and where the patch lies.

    Inputs IMAGE and UNDER of `shape`, (C, h, w) or, with the channels `last`, (h, w, C), float32; CORNERS
    (N, 2) int64, the upper left pixels (y, x) of the patch in each of N images; PATCH (2,) int64, its height
    and width.

        x_n = under where corner_n <= (y, x) < corner_n + patch, else image
    """
    axes, (count, *_) = (1, 2) if last else (2, 3), graph[graph.pictured[0]].shape or (None,)

    def start(g: Graph) -> Tensor:
        image, under = (g.input(name, np.float32, shape) for name in (IMAGE, UNDER))
        corners = g.input(CORNERS, np.int64, [count, 2])
        patch = g.input(PATCH, np.int64, [2])
        inside = [_within(corners, patch, i, axis, shape[axis - 1]) for i, axis in enumerate(axes)]
        return op.Where(op.And(*inside), under, image)

    return fed(graph, graph.pictured[0], start)


def _within(corners: Tensor, patch: Tensor, which: int, axis: int, size: int) -> Tensor:
    """Whether each position along an axis of the images lies in the patch's range, (N, ..., size, ...)."""
    wide = [1, 1, 1, 1]
    wide[axis] = size
    at = corners.graph.constant(np.arange(size).reshape(wide))
    low = op.Reshape(op.Gather(corners, [which], axis=1), [-1, 1, 1, 1])
    high = low + op.Gather(patch, [which], axis=0)
    return op.And(op.GreaterOrEqual(at, low), op.Less(at, high))


def smooth(
    rng: np.random.Generator, count: int, cells: int, shown: float, size: tuple[int, int]
) -> np.ndarray:
    """Random masks (count, *size) float32 between 0 and 1: grids of cells, each 1 with probability `shown`,
    enlarged bilinearly to one cell more than the image has, and moved by less than a cell.

    Petsiuk, Das & Saenko 2018, section 3.2.
    """
    grids = (rng.random((count, cells, cells)) < shown).astype(np.float32)
    steps = [-(-length // cells) for length in size]
    moved = [rng.integers(0, step, count) for step in steps]
    down, across = (
        _between(cells, step, at, length) for step, at, length in zip(steps, moved, size, strict=True)
    )
    return np.einsum("nyi,nij,nxj->nyx", down, grids, across, optimize=True)


def _between(cells: int, step: int, moved: np.ndarray, length: int) -> np.ndarray:
    """What each cell adds to each pixel along an axis, (n, length, cells) float32: linear between the centres
    of cells, beyond the outermost the same as there.
    """
    pixels = moved[:, None] + np.arange(length) + 0.5
    at = np.clip(pixels * cells / ((cells + 1) * step) - 0.5, 0, cells - 1)
    return np.maximum(0, 1 - np.abs(at[..., None] - np.arange(cells))).astype(np.float32)
