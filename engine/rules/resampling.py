"""Resize: along each axis a matrix, whatever the mode, and the gradient its transpose."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import NoRule
from ..graph import Tensor, op

_MODES = (
    "mode", "coordinate_transformation_mode", "cubic_coeff_a", "exclude_outside", "nearest_mode", "antialias",
)  # fmt: skip


def resize(
    g: Tensor,
    y: Tensor,
    x: Tensor,
    roi: Tensor | None,
    scales: Tensor | None,
    sizes: Tensor | None,
    **attrs: Any,
) -> tuple[Tensor, ...]:
    """dx = Rᵀ g along each resized axis, where R = Resize(I): the runtime's own arithmetic in every mode.

    Nearest, linear and cubic interpolation are all separable, and linear in x.
    """
    axes = list(attrs.get("axes") or range(x.rank))
    policy = attrs.get("keep_aspect_ratio_policy", "stretch")
    if sizes is not None and attrs["mode"] != "nearest" and policy != "stretch":
        _refuse_rounded(x, y, axes)
    for i, axis in enumerate(axes):
        axis %= x.rank
        if _stays(x, y, axis, i, scales, attrs):
            continue
        matrix = _matrix(x, y, axis, i, len(axes), roi, scales, attrs)
        if axis == x.rank - 1:
            g = g @ matrix
        else:
            perm = list(range(x.rank))
            perm[axis], perm[-1] = perm[-1], perm[axis]
            g = op.Transpose(op.Transpose(g, perm=perm) @ matrix, perm=perm)
    return (g,)


def _refuse_rounded(x: Tensor, y: Tensor, axes: list[int]) -> None:
    """NoRule where one scale for all axes was rounded to whole sizes: R knows one axis and its size only."""
    pairs = [(x.shape[a], y.shape[a]) for a in axes] if x.shape and y.shape else []
    for n, m in pairs:
        if not all(isinstance(d, int) for d in (n, m, *pairs[0])) or n * pairs[0][1] != m * pairs[0][0]:  # type: ignore[operator]
            raise NoRule(
                f"the Resize that makes {y.name!r} keeps the aspect ratio and rounds its sizes; "
                "give it scales instead"
            )


def _stays(x: Tensor, y: Tensor, axis: int, i: int, scales: Tensor | None, attrs: dict[str, Any]) -> bool:
    """True where the axis keeps every element as it is."""
    if attrs["coordinate_transformation_mode"] == "tf_crop_and_resize" or x.shape is None or y.shape is None:
        return False
    scale = None if scales is None else scales.array
    kept = x.shape[axis] == y.shape[axis] and x.shape[axis] is not None
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
) -> Tensor:
    """R (m, n): the identity (n, n), resized as this axis is."""
    n, m = x.dim(axis), y.dim(axis)
    eye = op.EyeLike(op.Expand(x.graph.constant(0, x.dtype), op.Concat(n, n, axis=0)))
    image = op.Reshape(eye, op.Concat([1, 1], n, n, axis=0))
    modes = {k: attrs[k] for k in _MODES if k in attrs}
    region = None
    if attrs["coordinate_transformation_mode"] == "tf_crop_and_resize":
        if roi is None:
            raise NoRule(f"the Resize that makes {y.name!r} crops, but has no region")
        zeros, ones = x.graph.constant(np.zeros(2), roi.dtype), x.graph.constant(np.ones(2), roi.dtype)
        start, end = op.Gather(roi, [i]), op.Gather(roi, [count + i])
        zero, one = op.Gather(zeros, [0]), op.Gather(ones, [0])
        region = op.Concat(zeros, start, zero, ones, end, one, axis=0)
    if scales is not None:
        one = x.graph.constant([1.0], scales.dtype)
        factors = op.Concat(one, one, op.Gather(scales, [i]), one, axis=0)
        resized = op.Resize(image, region, factors, **modes)
    else:
        resized = op.Resize(image, region, None, op.Concat([1, 1], m, n, axis=0), **modes)
    return op.Reshape(resized, op.Concat(m, n, axis=0))


RULES = {"Resize": resize}
