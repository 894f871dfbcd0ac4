"""The backward pass through max pooling: each window hands its gradient to its maximum."""

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


@compiled(float32[::1], int64, int64, float32[::1], int32[::1])
def _highest(values, kernel, step, best, which):
    # The first of values[k + b·step], b < kernel, that is higher than best[k] and all others; to `which` its
    # b, or -1. Three are looked at in one pass over memory; where fewer are left the last is seen again, and
    # is no higher than itself. No loop has a branch, so that the compiler makes vector instructions of them.
    size, last = best.size, (kernel - 1) * step
    which[:] = -1
    for b in range(0, kernel, 3):
        first = values[b * step :][:size]
        second = values[min((b + 1) * step, last) :][:size]
        third = values[min((b + 2) * step, last) :][:size]
        for k in range(size):
            value, at = best[k], which[k]
            higher = first[k] > value
            value, at = first[k] if higher else value, int32(b) if higher else at
            higher = second[k] > value
            value, at = second[k] if higher else value, int32(b + 1) if higher else at
            higher = third[k] > value
            value, at = third[k] if higher else value, int32(b + 2) if higher else at
            best[k], which[k] = value, at


@compiled(float32[::1], int32[::1], int64, int64, float32[::1])
def _handed(given, which, kernel, step, out):
    # `_highest` backwards: to out[k] what is given at each k - b·step from where b was the highest.
    # Before and behind `given` and `which` lie (kernel - 1)·step elements more.
    size = out.size
    out[:] = 0
    for b in range(0, kernel, 3):
        places = (kernel - 1 - b) * step, max(kernel - 2 - b, 0) * step, max(kernel - 3 - b, 0) * step
        first, second, third = given[places[0] :], given[places[1] :], given[places[2] :]
        at, after, last = which[places[0] :], which[places[1] :], which[places[2] :]
        b0, b1, b2 = int32(b), int32(b + 1), int32(b + 2)
        for k in range(size):
            total = out[k]
            total += first[k] if at[k] == b0 else float32(0)
            total += second[k] if after[k] == b1 else float32(0)
            total += third[k] if last[k] == b2 else float32(0)
            out[k] = total


@compiled(view(float32, 3), view(float32, 3), view(int64, 2), int64, float32[:, :, ::1])
def _unpool(x, g, geometry, rectified, out):
    # Each plane is laid out with its padding as one line, where windows are the same few shifts everywhere:
    # the maximum is found along the rows and then down the columns, and the gradient goes back the same way.
    # The windows between those that count get no gradient; beside the lines lies nothing that is looked for.
    planes, height, width = x.shape
    kernel_y, kernel_x = geometry[0]
    stride_y, stride_x = geometry[1]
    pad_y, pad_x = geometry[2]
    step_y, step_x = geometry[3]
    rows, columns = g.shape[1:]
    whole_y = max(pad_y + height, (rows - 1) * stride_y + (kernel_y - 1) * step_y + 1)
    whole_x = max(pad_x + width, (columns - 1) * stride_x + (kernel_x - 1) * step_x + 1)
    across, down = (kernel_x - 1) * step_x, (kernel_y - 1) * step_y * whole_x
    wide = whole_y * whole_x - across
    tall = wide - down
    lowest = float32(0) if rectified else float32(-np.inf)
    values, back = np.full(whole_y * whole_x, -np.inf, np.float32), np.empty(whole_y * whole_x, np.float32)
    best, column = np.empty(wide, np.float32), np.full(wide + 2 * across, -1, np.int32)  # along a row
    most, row = np.empty(tall, np.float32), np.full(tall + 2 * down, -1, np.int32)  # in the whole window
    taken, given = np.zeros(wide + 2 * across, np.float32), np.zeros(tall + 2 * down, np.float32)
    lines, length = (1, height * width) if width == whole_x else (height, width)
    for p in range(planes):
        source, target = x[p].reshape(height * width), out[p].reshape(height * width)
        for y in range(lines):
            start = (pad_y + y) * whole_x + pad_x
            line, part = values[start : start + length], source[y * length : (y + 1) * length]
            for k in range(length):
                line[k] = part[k]
        best[:] = lowest
        _highest(values, kernel_x, step_x, best, column[across : across + wide])
        most[:] = lowest
        _highest(best, kernel_y, step_y * whole_x, most, row[down : down + tall])
        for i in range(rows):
            line = given[down + i * stride_y * whole_x :]
            for j in range(columns):
                line[j * stride_x] = g[p, i, j]
        _handed(given, row, kernel_y, step_y * whole_x, taken[across : across + wide])
        _handed(taken, column, kernel_x, step_x, back)
        for y in range(lines):
            start = (pad_y + y) * whole_x + pad_x
            line, part = back[start : start + length], target[y * length : (y + 1) * length]
            for k in range(length):
                part[k] = line[k]
