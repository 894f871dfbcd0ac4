"""Resize as matrices along each axis, whose entries change smoothly with the regions and the scales."""

from __future__ import annotations

from typing import Any

from onnx import TensorProto

from ...errors import NoRule
from ...graph.graph import Tensor, op
from ..rules.resampling import kept_ratio
from .sampling import keys


def resize(
    x: Tensor, roi: Tensor | None, scales: Tensor | None, sizes: Tensor | None = None, **attrs: Any
) -> Tensor:
    """x, resized along each axis by weights that ONNX Runtime gives its pixels; 0 outside of a picture.

    What stands outside in its place is a constant, so no gradient depends on it. Sizes follow from the scales
    by rounding down, and are constant between its jumps.
    """
    axes = [a % x.rank for a in attrs.get("axes") or range(x.rank)]
    ratio = kept_ratio(x, sizes, axes, attrs)
    for i, axis in enumerate(axes):
        n = x.dim(axis)
        scale, m = _scale(n, i, scales, sizes, ratio)
        region = None
        if attrs["coordinate_transformation_mode"] == "tf_crop_and_resize":
            if roi is None:
                raise NoRule("crops, but has no region")
            region = (_single(op.Gather(roi, [i])), _single(op.Gather(roi, [len(axes) + i])))
        matrix = op.CastLike(_weights(n, m, scale, region, **attrs), x)
        perm = list(range(x.rank))
        perm[axis], perm[-1] = perm[-1], perm[axis]
        x = op.Transpose(op.Transpose(x, perm=perm) @ op.Transpose(matrix, perm=[1, 0]), perm=perm)
    return x


def _single(x: Tensor) -> Tensor:
    return op.Cast(x, to=TensorProto.FLOAT)


def _scale(
    n: Tensor,
    i: int,
    scales: Tensor | None,
    sizes: Tensor | None,
    ratio: tuple[Tensor, Tensor] | None,
) -> tuple[Tensor, Tensor]:
    """The scale of the i-th axis, of n pixels, and how many it gets (both of shape (1,))."""
    if scales is not None:
        scale = op.Gather(scales, [i])
        return scale, op.Cast(op.Floor(scale * _single(n)), to=TensorProto.INT64)
    if ratio is not None:
        scale = _single(ratio[0]) / _single(ratio[1])
        return scale, op.Cast(op.Floor(scale * _single(n) + 0.5), to=TensorProto.INT64)
    if sizes is None:
        raise NoRule("has neither scales nor sizes")
    m = op.Gather(sizes, [i])
    return _single(m) / _single(n), m


def _weights(
    n: Tensor,
    m: Tensor,
    scale: Tensor,
    region: tuple[Tensor, Tensor] | None,
    mode: str,
    coordinate_transformation_mode: str,
    cubic_coeff_a: float = -0.75,
    exclude_outside: int = 0,
    antialias: int = 0,
    **_: Any,
) -> Tensor:
    """R (m, n): how much of each pixel is in each new one. Those at the borders stand for all behind."""
    places = op.Unsqueeze(_places(n, m, scale, region, coordinate_transformation_mode), [1])  # (m, 1)
    inside = None
    if region is not None:
        inside = op.And(places >= 0, places <= _single(n) - 1)
        places = op.Where(inside, places, 0)
    narrow = op.Min(scale, 1) if antialias else None  # a filter as wide as what becomes one pixel
    beyond = 3 if narrow is None else op.Cast(op.Ceil(2 / narrow), to=TensorProto.INT64) + 1
    pixels = _up_to(n + 2 * beyond) - _single(op.Identity(n) * 0 + beyond)
    distance = pixels - places if narrow is None else (pixels - places) * narrow  # (m, n and those beyond)
    weights = _hat(distance) if mode == "linear" else keys(distance, cubic_coeff_a)
    if exclude_outside:
        weights = op.Where(op.And(pixels >= 0, pixels <= _single(n) - 1), weights, 0)
    weights = weights / weights.sum([1])
    nearest = op.Unsqueeze(op.Clip(pixels, 0, op.Squeeze(_single(n) - 1)), [1])
    matrix = weights @ op.Cast(op.Equal(nearest, _up_to(n)), to=TensorProto.FLOAT)
    return matrix if inside is None else op.Where(inside, matrix, 0)


def _places(n: Tensor, m: Tensor, scale: Tensor, region: tuple[Tensor, Tensor] | None, mode: str) -> Tensor:
    """Where in a row of n pixels each of m new ones lies, as ONNX Runtime has it: (m,)."""
    k, last, alone = _up_to(m), _single(n) - 1, op.Equal(m, 1)
    gaps = op.Max(_single(m) - 1, 1)
    half = (k + 0.5) / scale - 0.5
    if region is not None:
        start, end = region
        return op.Where(alone, (start + end) * last * 0.5, start * last + k * (end - start) * last / gaps)
    if mode == "align_corners":  # by the whole size, where the specification's text has scale times n
        return k * last / gaps
    if mode == "asymmetric":
        return k / scale
    if mode == "pytorch_half_pixel":
        return op.Where(alone, 0, half)
    if mode == "half_pixel_symmetric":
        return (1 - _single(m) / (scale * _single(n))) * _single(n) * 0.5 + half
    return half


def _up_to(n: Tensor) -> Tensor:
    """0, 1, ..., n - 1, of shape (n,), as floats."""
    return _single(op.Range(0, op.Squeeze(n), 1))


def _hat(distance: Tensor) -> Tensor:
    """1 at 0 and 0 from 1 on; at its corners the slope to the one side, so that sums of them have a slope."""
    rising = op.And(distance > -1, distance <= 0)
    falling = op.And(distance > 0, distance < 1)
    return op.Where(rising, distance + 1, op.Where(falling, 1 - distance, 0))


BODIES = {"Resize": resize}
