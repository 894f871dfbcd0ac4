"""Rules of what looks at windows, or between pixels: the middle of what each element sees."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np

from ..traits import traits_of
from .at import At, Found, as_given, channels_second, is_last, slots
from .merging import joined, met
from .positions import Positions, elements, reshaped, sampled, taken


def conv(at: At) -> Found:
    """The window over the maps, in all channels of a group."""
    kernel = at.shape(slots(at))
    windows = at.attrs.get("kernel_shape") or kernel[2:]
    group = at.attrs.get("group", 1)
    transposed_ = traits_of(at.node).window == "transposed"
    channels = kernel[1] * group if transposed_ else kernel[0]
    p = _channels(channels_second(at, at[0]), group, channels)
    return as_given(at, _window(at, p, windows, transposed_))


def _channels(p: Positions, group: int, channels: int) -> Positions:
    """The channels of each group together."""
    n, c, *rest = p.shape
    if not p.varies(1):
        return p._replace(shape=(n, channels, *rest))
    if group == 1:
        return met(p, [1])._replace(shape=(n, channels, *rest))
    of_group = met(reshaped(p, [n, group, c // group, *rest]), [2])
    wide = of_group._replace(shape=(n, group, channels // group, *rest))
    return reshaped(wide, [n, channels, *rest])


def pool(at: At) -> Found:
    """The window over the map."""
    return as_given(at, _window(at, channels_second(at, at[0]), at.attrs["kernel_shape"]))


def _window(at: At, p: Positions, kernel: Sequence[int], transposed_: bool = False) -> Found:
    attrs, count = at.attrs, len(kernel)
    strides = attrs.get("strides") or [1] * count
    dilations = attrs.get("dilations") or [1] * count
    pads = attrs.get("pads") or [0] * 2 * count
    sizes = (at.declared() or ())[1:-1] if is_last(at) else (at.declared() or ())[-count:]
    if attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return None  # of an open size
    for i, (k, s, d) in enumerate(zip(kernel, strides, dilations, strict=True)):
        n, axis = p.shape[2 + i], 2 + i
        if sizes:
            m = sizes[i]
        elif transposed_:
            extra = (attrs.get("output_padding") or [0] * count)[i]
            m = s * (n - 1) + extra + (k - 1) * d + 1 - pads[i] - pads[count + i]
        else:
            room = n + pads[i] + pads[count + i] - (k - 1) * d - 1
            m = (-(-room // s) if attrs.get("ceil_mode") else room // s) + 1
        if k == s == 1 and not pads[i] and m == n and p.images.shape[1 + axis] == 1:
            continue  # each sees what is there
        elements([m, k])
        new = np.arange(m)
        if transposed_:
            p = _reached(p, axis, m, k, s, d, pads[i])
        else:
            first = new * s - pads[i]
            p = sampled(p, axis, first + (k - 1) * d / 2, first[:, None] + np.arange(k) * d)
    return p


def _reached(p: Positions, axis: int, m: int, k: int, s: int, d: int, pad: int) -> Positions:
    """What m new elements along an axis are reached by: element o by i where o = i s + tap d - pad."""
    new = np.arange(elements([m]))
    reach = new[:, None] + pad - np.arange(k) * d
    taps = np.where(reach % s == 0, reach // s, -1)
    return sampled(p, axis, (new + pad - (k - 1) * d / 2) / s, taps)


def col2im(at: At) -> Found:
    """Columns of channels laid out as blocks, side by side or over each other, around the place of each."""
    p, image, block = at[0], at.array(1), at.array(2)
    if image is None or block is None or p.varies(1):
        return None
    sides, kernel = image.tolist(), block.tolist()
    rank = len(sides)
    strides, pads, dilations = (
        at.attrs.get(name) or [default] * count
        for name, default, count in (("strides", 1, rank), ("pads", 0, 2 * rank), ("dilations", 1, rank))
    )
    windows = list(zip(sides, kernel, strides, dilations, pads, pads[rank:], strict=False))
    counts = [(side + a + b - (k - 1) * d - 1) // s + 1 for side, k, s, d, a, b in windows]
    p = reshaped(p, [*p.shape[:2], *counts])
    p = p._replace(shape=(p.shape[0], p.shape[1] // prod(kernel), *counts))
    for i, (side, k, s, d, before, _) in enumerate(windows):
        p = _reached(p, 2 + i, side, elements([k]), s, d, before)
    return p


def unpool(at: At) -> Found:
    """Where its window lies; where in it, moves with the input."""
    return _window(at, at[0], at.attrs["kernel_shape"], True)


def resize(at: At) -> Found:
    """By the coordinate transformation of the operator; copies of a pixel stand evenly around it."""
    p, attrs = at[0], at.attrs
    how = attrs.get("coordinate_transformation_mode")
    scales, sizes = at.array(2), at.array(3)
    axes = [int(a) % len(p.shape) for a in attrs.get("axes") or range(len(p.shape))]
    new = at.declared() or ()
    if sizes is not None and sizes.size and attrs.get("keep_aspect_ratio_policy", "stretch") == "stretch":
        new = list(p.shape)
        for axis, size in zip(axes, sizes.tolist(), strict=True):
            new[axis] = int(size)
    elif scales is not None and scales.size:
        new = list(p.shape)
        for axis, scale in zip(axes, scales.tolist(), strict=True):
            new[axis] = int(np.floor(p.shape[axis] * scale))
    is_cut = how == "tf_crop_and_resize"
    region = at.array(1) if is_cut else np.repeat([0, 1], len(axes))
    if not new or region is None or region.size != 2 * len(axes):
        return None
    parts = region.reshape(2, -1).T.tolist()
    if any(new[a] == p.shape[a] and part != [0, 1] for a, part in zip(axes, parts, strict=True)):
        return None  # ONNX Runtime, unlike the specification, cuts nothing along axes whose size stays
    for i, (axis, part) in enumerate(zip(axes, parts, strict=True)):
        n, m = p.shape[axis], new[axis]
        scale = float(scales[i]) if scales is not None and scales.size else m / n
        if n != m or scale != 1:
            elements([m, max(n, m) // min(n, m)])  # of a smaller picture each sees many
            p = sampled(p, axis, *_resized(n, m, scale, part, attrs))
    return p


def _resized(
    n: int, m: int, scale: float | np.float32, part: Sequence[float], attrs: dict[str, Any]
) -> tuple[np.ndarray, np.ndarray]:
    """Where m pixels made of n, or of a part of them, lie among these, and which they see (ONNX, Resize)."""
    mode, how = attrs.get("mode", "nearest"), attrs.get("coordinate_transformation_mode", "half_pixel")
    new, scale = (
        np.arange(m, dtype=np.float32),
        np.float32(scale),
    )  # as the runtime: it decides between pixels
    start, end = part if m > 1 else [sum(part) / 2] * 2  # of the first pixel and the last; 0 and 1 are all
    at = {
        "asymmetric": lambda: new / scale,
        "align_corners": lambda: new * (n - 1) / max(m - 1, 1),
        "tf_crop_and_resize": lambda: (n - 1) * (start + new * (end - start) / max(m - 1, 1)),
        "pytorch_half_pixel": lambda: (new + 0.5) / scale - 0.5 if m > 1 else new,
        "half_pixel_symmetric": lambda: n / 2 * (1 - m / (scale * n)) + (new + 0.5) / scale - 0.5,
    }.get(how, lambda: (new + 0.5) / scale - 0.5)().astype(float)
    outside = ((at < 0) | (at > n - 1)) if how == "tf_crop_and_resize" else np.zeros(m, bool)
    if mode == "nearest":
        rounded = {
            "round_prefer_ceil": np.floor(at + 0.5),
            "floor": np.floor(at),
            "ceil": np.ceil(at),
        }.get(attrs.get("nearest_mode", "round_prefer_floor"), np.ceil(at - 0.5))
        read = np.clip(rounded, 0, n - 1)
        inside = (rounded >= 0) & (rounded < n)
        bias = (rounded - at)[inside].mean() if inside.any() else 0.0
        return at + bias, np.where(outside, -1, read).astype(int)[:, None]
    reach = 2 if mode == "cubic" else 1
    wide = reach / scale if attrs.get("antialias") and scale < 1 else reach
    count = int(np.ceil(2 * wide))
    taps = np.floor(at - wide + 1).astype(int)[:, None] + np.arange(count)
    weightless = np.abs(taps - at[:, None]) >= wide
    return at, np.where(outside[:, None] | weightless, -1, taps)


def grid_sample(at: At) -> Found:
    """At the places of a grid that is known: each new pixel is taken from the rows, then from the columns."""
    p, grid = at[0], at.array(1)
    if grid is None or len(p.shape) != 4 or not at.depends(0):
        return None
    if not np.isfinite(grid).all():
        return None
    if (grid == grid[:1]).all():
        return _at_grid(at, p, grid[0])
    each = (taken(p, 0, np.array([i])) for i in range(elements([p.shape[0]])))
    return joined([_at_grid(at, image, own) for image, own in zip(each, grid, strict=True)], 0)


def _at_grid(at: At, p: Positions, grid: np.ndarray) -> Positions:
    """The elements (n, c, H, W) of images at the places (h, w, 2) of one grid: (n, c, h, w)."""
    n, c, height, width = p.shape
    (h, w), places = grid.shape[:2], []
    for xy, size in ((1, height), (0, width)):
        unit = (grid[..., xy].ravel().astype(float) + 1) / 2
        corners = bool(at.attrs.get("align_corners"))
        place = unit * (size - 1) if corners else unit * size - 0.5
        places.append(_beyond(place, size, at.attrs.get("padding_mode", "zeros"), corners))
    taps = [np.floor(place).astype(int)[:, None] + np.arange(2) for place in places]
    rows = sampled(p, 2, places[0], taps[0])  # (n, c, h w, width)
    pixels = _diagonal(sampled(rows, 3, places[1], taps[1]))
    return reshaped(pixels, [n, c, h, w])


def _beyond(place: np.ndarray, size: int, mode: str, corners: bool) -> np.ndarray:
    """Where what lies beyond `size` pixels is taken from: nowhere, the border, or as in a mirror there."""
    if mode == "reflection" and size > 1:
        low, span = (0.0, size - 1) if corners else (-0.5, size)
        there = np.abs(place - low) % (2 * span)
        place = low + np.minimum(there, 2 * span - there)
    if mode in ("border", "reflection"):
        return np.clip(place, 0, size - 1)
    return np.clip(place, -size - 1, 2 * size)  # what is further out sees nothing either


def _diagonal(p: Positions) -> Positions:
    """Of (n, c, k, k) where the last two axes agree, (n, c, k)."""

    def move(field: np.ndarray) -> np.ndarray:
        if field.shape[3] > 1 and field.shape[4] > 1:
            return np.moveaxis(np.diagonal(field, axis1=3, axis2=4), -1, 3)
        return field.reshape(*field.shape[:3], -1)

    return p.moved(p.shape[:3], move)
