"""Regions of a picture, each in as many bins: RoiAlign, MaxRoiPool.

Which pixels a bin reads, and with which weight, is a function of the region, whose gradient comes along.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from ...graph.graph import Tensor, op
from .sampling import known, pixels


def roi_align(
    x: Tensor,
    rois: Tensor,
    batch: Tensor,
    mode: str,
    output_height: int,
    output_width: int,
    sampling_ratio: int,
    spatial_scale: float,
    coordinate_transformation_mode: str = "half_pixel",
) -> Tensor:
    """The mean (or maximum) of samples in each bin of each region (He et al. 2017, Mask R-CNN).

    A region without samples, which is one without an extent where their number is left open, gives 0.
    """
    h, w = known(x)
    shift = 0.5 if coordinate_transformation_mode == "half_pixel" else 0.0
    edges = rois * spatial_scale - shift
    x1, y1, x2, y2 = (op.Gather(edges, i, axis=1) for i in range(4))  # (R,)
    least = None if shift else 1.0
    rows, row_counts = _samples(y1, y2, output_height, sampling_ratio, least)
    columns, column_counts = _samples(x1, x2, output_width, sampling_ratio, least)
    chosen = op.Gather(x, batch, axis=0)  # (R, C, H, W)
    down, across = _hats(rows, h), _hats(columns, w)  # (R, bins, S, H or W)
    if mode == "avg":
        a, b = _mean(down, row_counts), _mean(across, column_counts)
        return op.Unsqueeze(a, [1]) @ (chosen @ op.Transpose(op.Unsqueeze(b, [1]), perm=[0, 1, 3, 2]))
    alive = op.And(
        op.Unsqueeze(_counted(rows, row_counts), [1, 2, 4, 5]),
        op.Unsqueeze(_counted(columns, column_counts), [1, 2, 3, 4]),
    )  # (R, 1, 1, S, 1, S)
    return _largest(chosen, rows, columns, alive, (h, w))


def _largest(chosen: Tensor, rows: Tensor, columns: Tensor, alive: Tensor, size: tuple[int, int]) -> Tensor:
    """The largest of the weighted neighbours of all samples of a bin: mode "max", as the runtime has it."""
    grid = op.Concat(op.Shape(rows), op.Shape(columns, start=1), axis=0)  # (R, PH, S, PW, S)
    places = [op.Expand(op.Unsqueeze(p, axes), grid) for p, axes in ((rows, [3, 4]), (columns, [1, 2]))]
    # Up to one pixel outside, the border counts; beyond, nothing does.
    near = [op.And(p >= -1, p <= n) for p, n in zip(places, size, strict=True)]
    inside = op.CastLike(op.And(*near), rows)
    at = [op.Clip(p, 0, n - 1) for p, n in zip(places, size, strict=True)]
    low = [op.Clip(op.Floor(a), 0, max(n - 2, 0)) for a, n in zip(at, size, strict=True)]
    bins = op.Concat(op.Shape(chosen, end=2), op.Shape(rows, start=1), op.Shape(columns, start=1), axis=0)
    parts = []
    for corner in itertools.product((0, 1), repeat=2):
        weights = [a - f if c else f + 1 - a for a, f, c in zip(at, low, corner, strict=True)]
        weight = op.Unsqueeze(op.Flatten(weights[0] * weights[1] * inside), [1])
        read = pixels(chosen, [op.Flatten(f + c) for f, c in zip(low, corner, strict=True)], size)
        parts.append(op.Reshape(read * weight, bins))  # (R, C, PH, S, PW, S)
    found = op.ReduceMax(op.Where(alive, op.Max(*parts), float(np.finfo(np.float32).min)), [3, 5], keepdims=0)
    return op.Where(op.Squeeze(op.ReduceMax(op.Cast(alive, to=7), [3, 5]), [3, 5]) > 0, found, 0)


def _samples(low: Tensor, high: Tensor, bins: int, ratio: int, least: float | None) -> tuple[Tensor, Tensor]:
    """Where a side of each region is sampled, (R, bins, S), and how many samples count, (R,)."""
    length = high - low if least is None else op.Max(high - low, low.graph.constant(least, low.dtype))
    bin_size = length / bins
    if ratio > 0:
        counts = op.Expand(low.graph.constant(ratio, low.dtype), low.dims)
        most = low.graph.constant(np.arange(ratio), low.dtype)
    else:
        counts = op.Ceil(bin_size)
        least_of_all = low.graph.constant([1], low.dtype)
        whole = op.Cast(op.ReduceMax(op.Concat(counts, least_of_all, axis=0), keepdims=0), to=7)
        most = op.CastLike(op.Range(0, whole, 1), low)
    first = op.Unsqueeze(low, [1]) + op.Unsqueeze(bin_size, [1]) * low.graph.constant(
        np.arange(bins), low.dtype
    )
    step = op.Unsqueeze(bin_size / _at_least_one(counts), [1, 2])
    return op.Unsqueeze(first, [2]) + step * (op.Reshape(most, [1, 1, -1]) + 0.5), counts


def _hats(at: Tensor, n: int) -> Tensor:
    """Weights of the n pixels of an axis for linear reading at (R, bins, S): (R, bins, S, n).

    Up to one pixel outside, the border counts; beyond, nothing does.
    """
    inside = op.And(at >= -1, at <= n)
    clamped = op.Unsqueeze(op.Clip(at, 0, n - 1), [3])
    hat = op.Relu(1 - op.Abs(clamped - at.graph.constant(np.arange(n), at.dtype)))
    return op.Where(op.Unsqueeze(inside, [3]), hat, 0)


def _counted(at: Tensor, counts: Tensor) -> Tensor:
    """Which of the samples (R, bins, S, ...) are a region's own, (R, S) bool."""
    number = op.CastLike(op.Range(0, op.Squeeze(at.dim(2), [0]), 1), counts)
    return op.Unsqueeze(number, [0]) < op.Unsqueeze(counts, [1])


def _mean(hats: Tensor, counts: Tensor) -> Tensor:
    """The mean weight of each pixel in a region's own samples, (R, bins, S, n) to (R, bins, n)."""
    own = op.Where(op.Unsqueeze(_counted(hats, counts), [1, 3]), hats, 0)
    return own.sum([2], keepdims=False) / op.Reshape(_at_least_one(counts), [-1, 1, 1])


def _at_least_one(counts: Tensor) -> Tensor:
    return op.Max(counts, counts.graph.constant(1, counts.dtype))


def max_roi_pool(x: Tensor, rois: Tensor, pooled_shape: Sequence[int], spatial_scale: float) -> Tensor:
    """The maximum of each bin of each region (batch, x1, y1, x2, y2), in whole pixels; 0 in empty bins."""
    h, w = known(x)
    batch = op.Cast(op.Gather(rois, 0, axis=1), to=7)
    x1, y1, x2, y2 = (op.Round(op.Gather(rois, i, axis=1) * spatial_scale) for i in range(1, 5))
    chosen = op.Gather(x, batch, axis=0)  # (R, C, H, W)
    across = _bins(x1, x2, pooled_shape[1], w)  # (R, PW, W)
    down = _bins(y1, y2, pooled_shape[0], h)  # (R, PH, H)
    lowest = float(np.finfo(np.float32).min)
    wide = op.Where(op.Unsqueeze(across, [1, 3]), op.Unsqueeze(chosen, [2]), lowest)  # (R, C, PW, H, W)
    rows = op.ReduceMax(wide, [4], keepdims=0)  # (R, C, PW, H)
    tall = op.Where(op.Unsqueeze(down, [1, 3]), op.Unsqueeze(rows, [2]), lowest)  # (R, C, PH, PW, H)
    pooled = op.ReduceMax(tall, [4], keepdims=0)
    return op.Where(op.Equal(pooled, lowest), 0, pooled)


def _bins(low: Tensor, high: Tensor, bins: int, n: int) -> Tensor:
    """Which of the n pixels each bin covers, (R, bins, n) bool."""
    size = op.Unsqueeze(op.Max(high - low + 1, low.graph.constant(1, low.dtype)) / bins, [1])
    number = low.graph.constant(np.arange(bins), low.dtype)
    start = op.Unsqueeze(op.Floor(number * size) + op.Unsqueeze(low, [1]), [2])
    end = op.Unsqueeze(op.Ceil((number + 1) * size) + op.Unsqueeze(low, [1]), [2])
    pixel = low.graph.constant(np.arange(n), low.dtype)
    return op.And(pixel >= start, pixel < end)


BODIES = {
    "RoiAlign": roi_align,
    "MaxRoiPool": max_roi_pool,
}
