"""Resize: along each axis a matrix, whatever the mode, and the gradient its transpose; AffineGrid."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from onnx import TensorProto

from ...errors import NoRule
from ...graph.graph import Tensor, op

_MODES = (
    "mode", "coordinate_transformation_mode", "cubic_coeff_a", "exclude_outside", "nearest_mode", "antialias",
)  # fmt: skip


def resize(g: Tensor, y: Tensor, x: Tensor, *given: Tensor | None, **attrs: Any) -> tuple[Any, ...]:
    """dx = Rᵀ g along each resized axis, where R = Resize(I): the runtime's own arithmetic in every mode.

    Nearest, linear and cubic interpolation are all separable, and linear in x. What the region and the scales
    change of R is left to the body; the nearest pixel stays the same.
    """
    others = None if attrs.get("mode", "nearest") == "nearest" else NotImplemented
    return lambda: _transposed(g, y, x, *given, attrs=attrs), others, others, None


def _transposed(
    g: Tensor,
    y: Tensor,
    x: Tensor,
    roi: Tensor | None,
    scales: Tensor | None,
    sizes: Tensor | None,
    attrs: dict[str, Any],
) -> Tensor:
    """Rᵀ g."""
    axes = list(attrs.get("axes") or range(x.rank))
    ratio = kept_ratio(x, sizes, axes, attrs)
    for i, axis in enumerate(axes):
        axis %= x.rank
        if _stays(x, y, axis, i, scales, attrs, ratio):
            continue
        matrix = _matrix(x, y, axis, i, len(axes), roi, scales, attrs, ratio)
        if axis == x.rank - 1:
            g = g @ matrix
        else:
            perm = list(range(x.rank))
            perm[axis], perm[-1] = perm[-1], perm[axis]
            g = op.Transpose(op.Transpose(g, perm=perm) @ matrix, perm=perm)
    return g


def kept_ratio(
    x: Tensor, sizes: Tensor | None, axes: list[int], attrs: dict[str, Any]
) -> tuple[Tensor, Tensor] | None:
    """The one scale of all axes of a Resize that keeps the aspect ratio, as a fraction (p, q); else None.

    The sizes of the output are rounded, but where its points lie in the input is told by the scale.
    """
    policy = attrs.get("keep_aspect_ratio_policy", "stretch")
    if sizes is None or policy == "stretch":
        return None
    old = [x.shape[a] if x.shape is not None else None for a in axes]
    if sizes.array is not None and all(isinstance(n, int) for n in old):
        scales = [Fraction(int(m), n) for m, n in zip(sizes.array, old, strict=True)]  # type: ignore[arg-type]
        scale = min(scales) if policy == "not_larger" else max(scales)
        return x.graph.constant([scale.numerator]), x.graph.constant([scale.denominator])
    before = op.Gather(op.Shape(x), axes)
    ratios = op.Cast(sizes, to=TensorProto.FLOAT) / op.Cast(before, to=TensorProto.FLOAT)
    which = (op.ArgMin if policy == "not_larger" else op.ArgMax)(ratios, axis=0)
    return op.Gather(sizes, which), op.Gather(before, which)


def _stays(
    x: Tensor,
    y: Tensor,
    axis: int,
    i: int,
    scales: Tensor | None,
    attrs: dict[str, Any],
    ratio: tuple[Tensor, Tensor] | None,
) -> bool:
    """True where the axis keeps every element as it is."""
    if attrs["coordinate_transformation_mode"] == "tf_crop_and_resize" or x.shape is None or y.shape is None:
        return False
    scale = None if scales is None else scales.array
    kept = x.shape[axis] == y.shape[axis] and x.shape[axis] is not None and ratio is None
    return kept and (scales is None or (scale is not None and float(scale[i]) == 1.0))


def _matrix(
    x: Tensor,
    y: Tensor,
    axis: int,
    i: int,
    count: int,
    roi: Tensor | None,
    scales: Tensor | None,
    attrs: dict[str, Any],
    ratio: tuple[Tensor, Tensor] | None,
) -> Tensor:
    """R (m, n): the identity (n, n), resized as this axis is."""
    n, m = x.dim(axis), y.dim(axis)
    eye = op.EyeLike(op.Expand(x.graph.constant(0, x.dtype), op.Concat(n, n, axis=0)))
    image = op.Reshape(eye, op.Concat([1, 1], n, n, axis=0))
    modes = {k: attrs[k] for k in _MODES if k in attrs}
    region = None
    if attrs["coordinate_transformation_mode"] == "tf_crop_and_resize":
        if roi is None:
            raise NoRule("crops, but has no region")
        zeros, ones = x.graph.constant(np.zeros(2), roi.dtype), x.graph.constant(np.ones(2), roi.dtype)
        start, end = op.Gather(roi, [i]), op.Gather(roi, [count + i])
        zero, one = op.Gather(zeros, [0]), op.Gather(ones, [0])
        region = op.Concat(zeros, start, zero, ones, end, one, axis=0)
    if scales is not None:
        one = x.graph.constant([1.0], scales.dtype)
        factors = op.Concat(one, one, op.Gather(scales, [i]), one, axis=0)
        resized = op.Resize(image, region, factors, **modes)
    elif ratio is not None:
        return _at_ratio(
            eye, ratio, region, **modes, keep_aspect_ratio_policy=attrs["keep_aspect_ratio_policy"]
        )
    else:
        resized = op.Resize(image, region, None, op.Concat([1, 1], m, n, axis=0), **modes)
    return op.Reshape(resized, op.Concat(m, n, axis=0))


def _at_ratio(eye: Tensor, ratio: tuple[Tensor, Tensor], region: Tensor | None, **modes: Any) -> Tensor:
    """The identity with its rows resized by a ratio, which a last axis of the image imposes on the sizes."""
    (p, q), n = ratio, eye.dim(0)
    image = op.Expand(op.Unsqueeze(eye, [0, 3]), op.Concat([1], n, n, q, axis=0))
    least: Any = [1] if modes["keep_aspect_ratio_policy"] == "not_smaller" else n * p
    region = None if region is None else op.Gather(region, [2, 3, 6, 7])
    resized = op.Resize(image, region, None, op.Concat(least, p, axis=0), axes=[2, 3], **modes)
    return op.Transpose(op.Squeeze(op.Slice(resized, [0], [1], [3]), [0, 3]), perm=[1, 0])


def affine_grid(g: Tensor, y: Tensor, theta: Tensor, size: Tensor, align_corners: int = 0) -> Tensor:
    """dθ = gᵀ [p, 1] over all points p of the grid, which are what the identity makes of it."""
    axes = y.rank - 2
    eye = theta.graph.constant(np.eye(axes, axes + 1)[None], theta.dtype)
    one = op.Concat([1], op.Slice(size, [1], op.Shape(size)), axis=0)
    points = op.Reshape(op.AffineGrid(eye, one, align_corners=align_corners), [-1, axes])
    by_axis = op.Transpose(op.Reshape(g, op.Concat(theta.dim(0), [-1, axes], axis=0)), perm=[0, 2, 1])
    return by_axis @ op.Pad(points, [0, 0, 0, 1], 1)


RULES = {"AffineGrid": affine_grid, "Resize": resize}
