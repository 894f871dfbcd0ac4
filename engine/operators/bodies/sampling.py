"""Reading a picture at places between its pixels: GridSample, RoiAlign, MaxRoiPool, DeformConv.

All are written with one primitive, `pixels`: the values of (N, C, *size) at whole positions. Weights are
functions of the positions, so gradients with respect to grids, regions and offsets come along.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np

from ...errors import NoRule
from ...graph.graph import Tensor, op


def pixels(x: Tensor, at: Sequence[Tensor], size: Sequence[int]) -> Tensor:
    """x (N, C, *size) at whole positions, one tensor (N, P) of floats per axis: (N, C, P); 0 outside."""
    flat, inside = None, None
    for place, n in zip(at, size, strict=True):
        safe = op.Clip(place, 0, n - 1)
        hit = op.Equal(place, safe)
        inside = hit if inside is None else op.And(inside, hit)
        flat = safe if flat is None else flat * n + safe
    assert flat is not None
    assert inside is not None
    planes = op.Reshape(x, [0, 0, int(np.prod(size))])  # (N, C, HW), of which there may be none
    where = op.Expand(
        op.Unsqueeze(op.Cast(flat, to=7), [1]),
        op.Concat(op.Shape(planes, end=2), op.Shape(flat, start=1), axis=0),
    )
    values = op.GatherElements(planes, where, axis=2)
    return op.Where(op.Unsqueeze(inside, [1]), values, 0)


def linear(
    x: Tensor, at: Sequence[Tensor], size: Sequence[int], read: Callable[..., Tensor] = pixels
) -> Tensor:
    """x between pixels: the 2ᵈ neighbours, each weighted by how near it is. `at` as in `pixels`."""
    low = [op.Floor(a) for a in at]
    total = None
    for corner in itertools.product((0, 1), repeat=len(at)):
        weight = reduce(
            lambda w, v: v if w is None else w * v,
            [a - f if c else f + 1 - a for a, f, c in zip(at, low, corner, strict=True)],
            None,
        )
        part = read(x, [f + c if c else f for f, c in zip(low, corner, strict=True)], size)
        part = part * op.Unsqueeze(weight, [1])
        total = part if total is None else total + part
    assert total is not None
    return total


# -- GridSample ------------------------------------------------------------------------------------------


def grid_sample(x: Tensor, grid: Tensor, mode: str, padding_mode: str, align_corners: int) -> Tensor:
    """x (N, C, *size) at the places in grid (N, *out, axes), from -1 to 1, the last axis of x first."""
    size = known(x)
    axes = len(size)
    points = op.Reshape(grid, op.Concat(grid.dim(0), [-1, axes], axis=0))
    at = []
    for axis, n in enumerate(size):
        u = op.Gather(points, axes - 1 - axis, axis=2)  # (N, P)
        at.append((u + 1) * ((n - 1) / 2) if align_corners else ((u + 1) * n - 1) * 0.5)
    read = _reader(padding_mode, align_corners)
    if mode == "nearest":
        sampled = read(x, [op.Round(a) for a in at], size)
    elif mode in ("linear", "bilinear"):
        sampled = linear(x, at, size, read)
    else:
        sampled = _cubic(x, at, size, read)
    shape = op.Concat(op.Shape(x, end=2), op.Shape(grid, start=1, end=-1), axis=0)
    return op.Reshape(sampled, shape)


def _reader(padding_mode: str, align_corners: int) -> Callable[..., Tensor]:
    """`pixels`, with places outside the picture treated as the mode says."""
    if padding_mode == "zeros":
        return pixels

    def read(x: Tensor, at: Sequence[Tensor], size: Sequence[int]) -> Tensor:
        if padding_mode == "reflection":
            at = [_reflected(a, n, align_corners) for a, n in zip(at, size, strict=True)]
        return pixels(x, [op.Clip(a, 0, n - 1) for a, n in zip(at, size, strict=True)], size)

    return read


def _reflected(a: Tensor, n: int, align_corners: int) -> Tensor:
    """Whole positions mirrored at the borders: at pixel centres, or at pixel edges."""
    if n == 1:
        return a * 0
    low, span = (0.0, float(n - 1)) if align_corners else (-0.5, float(n))
    d = op.Abs(a - low)
    turns = op.Floor(d / span)
    rest = d - turns * span
    odd = turns - op.Floor(turns / 2) * 2
    return op.Where(op.Equal(odd, 1), span - rest, rest) + low


def _cubic(x: Tensor, at: Sequence[Tensor], size: Sequence[int], read: Callable[..., Tensor]) -> Tensor:
    """Cubic convolution with A = -0.75 over the 4ᵈ neighbours (Keys 1981)."""
    low = [op.Floor(a) for a in at]
    weights = [[_keys(a - (f + c)) for c in range(-1, 3)] for a, f in zip(at, low, strict=True)]
    total = None
    for corner in itertools.product(range(4), repeat=len(at)):
        weight = reduce(lambda w, v: w * v, [ws[c] for ws, c in zip(weights, corner, strict=True)])
        part = read(x, [f + (c - 1) for f, c in zip(low, corner, strict=True)], size) * op.Unsqueeze(
            weight, [1]
        )
        total = part if total is None else total + part
    assert total is not None
    return total


def _keys(t: Tensor, a: float = -0.75) -> Tensor:
    d = op.Abs(t)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((d - 5) * d + 8) * d * a - 4 * a
    return op.Where(d <= 1, near, op.Where(d < 2, far, 0))


def known(x: Tensor) -> list[int]:
    """The size of pictures; NoRule where it is open."""
    if x.spatial is None:
        raise NoRule(f"samples {x.name!r}, whose size is not known; bind the input's shape")
    return x.spatial


# -- regions ---------------------------------------------------------------------------------------------


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


# -- deformable convolution --------------------------------------------------------------------------------


def deform_conv(
    x: Tensor,
    w: Tensor,
    offset: Tensor,
    b: Tensor | None,
    mask: Tensor | None,
    group: int = 1,
    offset_group: int = 1,
    **attrs: Any,
) -> Tensor:
    """A convolution whose taps are moved by offsets and weighted by a mask (Zhu et al. 2019, DCNv2)."""
    size = known(x)
    kernel = w.spatial
    out = offset.spatial
    if kernel is None or out is None or len(size) != 2:
        raise NoRule("has a gradient over two axes of known sizes; bind the input's shape")
    strides = attrs.get("strides") or [1, 1]
    dilations = attrs.get("dilations") or [1, 1]
    pads = attrs.get("pads") or [0, 0, 0, 0]
    taps = [
        np.arange(o)[None] * s - p + np.arange(k)[:, None] * d
        for o, s, p, k, d in zip(out, strides, pads, kernel, dilations, strict=False)
    ]
    rows = np.broadcast_to(taps[0][:, None, :, None], (*kernel, *out)).reshape(1, 1, -1, *out)
    columns = np.broadcast_to(taps[1][None, :, None, :], (*kernel, *out)).reshape(1, 1, -1, *out)
    k = kernel[0] * kernel[1]
    batch = x.dim(0)
    moves = op.Reshape(offset, op.Concat(batch, [offset_group, k, 2, *out], axis=0))
    y = op.Gather(moves, 0, axis=3) + rows.astype(x.dtype)  # (N, og, k, Ho, Wo)
    z = op.Gather(moves, 1, axis=3) + columns.astype(x.dtype)
    flat = [-1, k * out[0] * out[1]]
    parts = op.Reshape(
        x, op.Concat([-1], op.Div(x.dim(1), [offset_group]), size, axis=0)
    )  # (N og, C/og, H, W)
    read = linear(parts, [op.Reshape(y, flat), op.Reshape(z, flat)], size)  # (N og, C/og, k Ho Wo)
    read = op.Reshape(read, op.Concat(batch, [offset_group, -1, k, *out], axis=0))
    if mask is not None:
        read = read * op.Reshape(mask, op.Concat(batch, [offset_group, 1, k, *out], axis=0))
    columns_ = op.Reshape(read, op.Concat(batch, [group, -1, out[0] * out[1]], axis=0))  # (N, g, C/g k, P)
    weights = op.Reshape(w, op.Concat([1, group, -1], w.dim(1) * k, axis=0))  # (1, g, O/g, C/g k)
    result = op.Reshape(weights @ columns_, op.Concat(batch, [-1, *out], axis=0))
    return result if b is None else result + op.Reshape(b, [-1, 1, 1])


BODIES = {
    "GridSample": grid_sample,
    "RoiAlign": roi_align,
    "MaxRoiPool": max_roi_pool,
    "DeformConv": deform_conv,
}
