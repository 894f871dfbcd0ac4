"""Operators that ONNX's reference evaluator gets wrong, anew in NumPy and in the type of their input."""

from __future__ import annotations

import math

import numpy as np
from onnx.reference.op_run import OpRun


class Erf(OpRun):
    """The reference rounds to float32."""

    def _run(self, x):
        return (np.vectorize(math.erf, otypes=[x.dtype])(x),)


class GlobalMaxPool(OpRun):
    """The reference knows images only."""

    def _run(self, x):
        return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)


class LRN(OpRun):
    """The reference takes the batch for the channels."""

    def _run(self, x, alpha, beta, bias, size):
        before, after = (size - 1) // 2, size // 2
        squares = [(x[:, max(c - before, 0) : c + after + 1] ** 2).sum(1) for c in range(x.shape[1])]
        return (x / (bias + alpha / size * np.stack(squares, 1)) ** beta,)


class Mean(OpRun):
    """The reference does not broadcast."""

    def _run(self, *xs):
        return (np.asarray(sum(xs) / len(xs)),)


class ConvTranspose(OpRun):
    """The reference knows no groups: every pixel of x lays the kernel, times its value, onto the output."""

    def _run(
        self, x, w, bias=None, auto_pad=None, dilations=None, group=1, kernel_shape=None,
        output_padding=None, output_shape=None, pads=None, strides=None,
    ):  # fmt: skip
        axes = x.ndim - 2
        strides, dilations = strides or [1] * axes, dilations or [1] * axes
        pads, extra = pads or [0] * 2 * axes, output_padding or [0] * axes
        sizes, kernel = x.shape[2:], w.shape[2:]
        rows = zip(sizes, kernel, strides, dilations, extra, strict=True)
        whole = [(n - 1) * s + (k - 1) * d + 1 + e for n, k, s, d, e in rows]
        y = np.zeros((len(x), group, w.shape[1], *whole), x.dtype)
        grouped = x.reshape(len(x), group, -1, *sizes)
        weights = w.reshape(group, -1, *w.shape[1:])
        for tap in np.ndindex(*kernel):
            reached = tuple(
                slice(t * d, t * d + (n - 1) * s + 1, s)
                for t, d, n, s in zip(tap, dilations, sizes, strides, strict=True)
            )
            share = np.einsum("bgi...,gio->bgo...", grouped, weights[(..., *tap)])
            y[(slice(None),) * 3 + reached] += share
        y = y.reshape(len(x), -1, *whole)
        cut = tuple(slice(pads[a], whole[a] - pads[axes + a]) for a in range(axes))
        y = y[(slice(None),) * 2 + cut]
        return (y if bias is None else y + bias.reshape(-1, *[1] * axes),)


TWINS = [ConvTranspose, Erf, GlobalMaxPool, LRN, Mean]
