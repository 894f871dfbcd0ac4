"""Feature maps of which a box is replaced: parts of them, and by how much their sums change."""

from __future__ import annotations

import numpy as np
from numba import float32, float64, uint64

from ..jit import compiled, view

Corner = tuple[int, int]
Box = tuple[int, int, int, int]


def crop(map_: np.ndarray, corner: Corner, piece: np.ndarray, at: Corner, box: Box, out: np.ndarray) -> None:
    """Write to `out` what lies at `corner` of a map whose `box` is replaced by what `piece` has there.

    `map_` (C, H, W), `piece` (C, h, w) and `out` (C, m, n), float32, C-contiguous; the upper left
    corners (y, x) of `out` and of `piece` (`at`) and the box (y0, x0, y1, x1), ends not included, count
    positions of the map. Raises ValueError where `out` reaches beyond the map, or the box beyond the piece.
    """
    _check(map_, piece, at, box)
    if out.shape[:1] != map_.shape[:1] or not _holds((0, 0), map_.shape, _box(corner, out.shape)):
        raise ValueError(f"{out.shape} at {corner} reach beyond a map of {map_.shape}")
    _crop(map_, *corner, piece, *at, *box, out)


def change(map_: np.ndarray, piece: np.ndarray, at: Corner, box: Box) -> np.ndarray:
    """By how much the sum of each channel of a map changes where `piece` replaces its `box`: (C,) float64.

    Arguments and errors as for `crop`.
    """
    _check(map_, piece, at, box)
    out = np.empty(len(map_))
    _change(map_, piece, *at, *box, out)
    return out


def _check(map_: np.ndarray, piece: np.ndarray, at: Corner, box: Box) -> None:
    if map_.ndim != 3 or piece.ndim != 3 or len(map_) != len(piece):
        raise ValueError(f"a piece of {piece.shape} is no part of a map of {map_.shape}")
    if not (_holds(at, piece.shape, box) and _holds((0, 0), map_.shape, box)):
        raise ValueError(
            f"box {box} reaches beyond a piece of {piece.shape} at {at} or a map of {map_.shape}"
        )


def _box(corner: Corner, shape: tuple[int, ...]) -> Box:
    return (*corner, corner[0] + shape[1], corner[1] + shape[2])


def _holds(corner: Corner, shape: tuple[int, ...], box: Box) -> bool:
    y0, x0, y1, x1 = _box(corner, shape)
    return y0 <= box[0] <= box[2] <= y1 and x0 <= box[1] <= box[3] <= x1


# Positions are counted without a sign: numba lets a negative one count from the end, and the question whether
# it is one keeps a loop from being turned into vector instructions.
_INTS = (uint64,) * 4


@compiled(view(float32, 3), uint64, uint64, view(float32, 3), uint64, uint64, *_INTS, float32[:, :, ::1])
def _crop(map_, top, left, piece, piece_top, piece_left, y0, x0, y1, x1, out):
    channels, rows, columns = uint64(out.shape[0]), uint64(out.shape[1]), uint64(out.shape[2])
    start, stop = max(x0, left), min(x1, left + columns)
    width = stop - start if stop > start else uint64(0)
    there = start - left  # in `out`
    for c in range(channels):
        for row in range(rows):
            y = top + row
            for x in range(columns):
                out[c, row, x] = map_[c, y, left + x]
            if y0 <= y < y1:
                for x in range(width):
                    out[c, row, there + x] = piece[c, y - piece_top, start - piece_left + x]


@compiled(view(float32, 3), view(float32, 3), uint64, uint64, *_INTS, float64[::1])
def _change(map_, piece, top, left, y0, x0, y1, x1, out):
    # A row is summed in float32, four sums at a time that do not wait for each other; rows in float64.
    width, four = x1 - x0, uint64(4)
    for c in range(uint64(len(map_))):
        total = 0.0
        for y in range(y0, y1):
            a = b = d = e = np.float32(0)
            for k in range(width // four):
                x = x0 + four * k
                a += piece[c, y - top, x - left] - map_[c, y, x]
                b += piece[c, y - top, x + uint64(1) - left] - map_[c, y, x + uint64(1)]
                d += piece[c, y - top, x + uint64(2) - left] - map_[c, y, x + uint64(2)]
                e += piece[c, y - top, x + uint64(3) - left] - map_[c, y, x + uint64(3)]
            for x in range(x0 + width // four * four, x1):
                a += piece[c, y - top, x - left] - map_[c, y, x]
            total += (a + b) + (d + e)
        out[c] = total
