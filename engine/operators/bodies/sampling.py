"""Reading a picture at places between its pixels: GridSample, DeformConv.

Both are written with one primitive, `pixels`: the values of (N, C, *size) at whole positions. Weights are
functions of the positions, so gradients with respect to grids and offsets come along.
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
    weights = [[keys(a - (f + c)) for c in range(-1, 3)] for a, f in zip(at, low, strict=True)]
    total = None
    for corner in itertools.product(range(4), repeat=len(at)):
        weight = reduce(lambda w, v: w * v, [ws[c] for ws, c in zip(weights, corner, strict=True)])
        part = read(x, [f + (c - 1) for f, c in zip(low, corner, strict=True)], size) * op.Unsqueeze(
            weight, [1]
        )
        total = part if total is None else total + part
    assert total is not None
    return total


def keys(t: Tensor, a: float = -0.75) -> Tensor:
    """The kernel of cubic convolution at distances t (Keys 1981)."""
    d = op.Abs(t)
    near = ((a + 2) * d - (a + 3)) * (t * t) + 1  # by t² where d has a kink, for the second derivative
    far = ((d - 5) * d + 8) * d * a - 4 * a
    return op.Where(d <= 1, near, op.Where(d < 2, far, 0))


def known(x: Tensor) -> list[int]:
    """The size of pictures; NoRule where it is open."""
    if x.spatial is None:
        raise NoRule(f"samples {x.name!r}, whose size is not known; bind the input's shape")
    return x.spatial


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
    "DeformConv": deform_conv,
}
