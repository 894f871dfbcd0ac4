"""The way back through max pooling: each window hands its gradient to its maximum."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numba import float32, int32, int64

from .jit import compiled, view


def unpool(
    x: np.ndarray,
    g: np.ndarray,
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[int],
    dilations: Sequence[int],
    rectified: bool,
    out: np.ndarray,
) -> None:
    """Write the gradient of a max pooling of `x` to `out`, given the gradient `g` of its result.

    `x` and `out` (N, C, H, W) and `g` (N, C, h, w), float32; all else in pixels, (rows, columns), `pads` from
    the top and the left. Window (i, j) reads the pixels (i, j)·strides - pads + (0 .. kernel-1)·dilations
    that lie in x; the first maximum in reading order takes its whole gradient, and where windows overlap
    these add up. With `rectified` only a positive maximum takes any, which is the gradient of a ReLU before
    the pooling as well. A window without a number in it (NaN, padding) gives nothing.

    Raises ValueError where shapes or dtypes do not fit.
    """
    arrays = (x, g, out)
    if any(a.ndim != 4 or a.dtype != np.float32 for a in arrays) or out.shape != x.shape:
        raise ValueError(f"{[(a.shape, str(a.dtype)) for a in arrays]} are no maps (N, C, H, W) of float32")
    if g.shape[:2] != x.shape[:2] or not out.flags.c_contiguous:
        raise ValueError(f"cannot take the gradient {g.shape} back to {x.shape}")
    if min(*kernel, *strides, *dilations) < 1:
        raise ValueError(f"windows {kernel} with strides {strides} and dilations {dilations} are no windows")
    n, c, *size = x.shape
    planes = [np.ascontiguousarray(a).reshape(n * c, *a.shape[2:]) for a in (x, g)]
    geometry = np.array([kernel, strides, pads[:2], dilations], np.int64)
    _unpool(*planes, geometry, bool(rectified), out.reshape(n * c, *size))


@compiled(view(float32, 3), view(float32, 3), view(int64, 2), int64, float32[:, :, ::1])
def _unpool(x, g, geometry, rectified, out):
    # Each plane is laid out with its padding as one line, where windows are the same few shifts everywhere:
    # the maximum is found along the rows and then down the columns, and the gradient goes back the same way.
    # All loops run over neighbours without branches, which the compiler turns into vector instructions; the
    # windows between those that count get no gradient.
    planes, height, width = x.shape
    kernel_y, kernel_x = geometry[0]
    stride_y, stride_x = geometry[1]
    pad_y, pad_x = geometry[2]
    step_y, step_x = geometry[3]
    rows, columns = g.shape[1:]
    reach_y, reach_x = (kernel_y - 1) * step_y, (kernel_x - 1) * step_x
    whole_y = max(pad_y + height, (rows - 1) * stride_y + reach_y + 1)
    whole_x = max(pad_x + width, (columns - 1) * stride_x + reach_x + 1)
    wide = whole_y * whole_x - reach_x
    tall = wide - reach_y * whole_x
    lowest = float32(0) if rectified else float32(-np.inf)
    values, back = np.full(whole_y * whole_x, -np.inf, np.float32), np.empty(whole_y * whole_x, np.float32)
    best, column = np.empty(wide, np.float32), np.empty(wide, np.int32)  # along the row that starts here
    most, row = np.empty(tall, np.float32), np.empty(tall, np.int32)  # in the window that starts here
    taken, given = np.empty(wide, np.float32), np.zeros(tall, np.float32)
    for p in range(planes):
        for y in range(height):
            start = (pad_y + y) * whole_x + pad_x
            line, source = values[start : start + width], x[p, y]
            for k in range(width):
                line[k] = source[k]
        best[:] = lowest
        column[:] = -1
        for b in range(kernel_x):
            shifted = values[b * step_x : b * step_x + wide]
            for k in range(wide):
                higher = shifted[k] > best[k]
                best[k] = shifted[k] if higher else best[k]
                column[k] = int32(b) if higher else column[k]
        most[:] = lowest
        row[:] = -1
        for a in range(kernel_y):
            shifted = best[a * step_y * whole_x : a * step_y * whole_x + tall]
            for k in range(tall):
                higher = shifted[k] > most[k]
                most[k] = shifted[k] if higher else most[k]
                row[k] = int32(a) if higher else row[k]
        for i in range(rows):
            line = given[i * stride_y * whole_x :]
            for j in range(columns):
                line[j * stride_x] = g[p, i, j]
        taken[:] = 0
        for a in range(kernel_y):
            shifted = taken[a * step_y * whole_x : a * step_y * whole_x + tall]
            for k in range(tall):
                shifted[k] += given[k] if row[k] == a else float32(0)
        back[:] = 0
        for b in range(kernel_x):
            shifted = back[b * step_x : b * step_x + wide]
            for k in range(wide):
                shifted[k] += taken[k] if column[k] == b else float32(0)
        for y in range(height):
            start = (pad_y + y) * whole_x + pad_x
            line, target = back[start : start + width], out[p, y]
            for k in range(width):
                target[k] = line[k]
