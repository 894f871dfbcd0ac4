"""Operators that ONNX's reference evaluator gets wrong, anew in NumPy and in the type of their input."""

from __future__ import annotations

import math

import numpy as np
from onnx.reference.op_run import OpRun
from onnx.reference.ops import op_loop


class Erf(OpRun):
    """The reference rounds to float32."""

    def _run(self, x):
        return (np.vectorize(math.erf, otypes=[x.dtype])(x),)


class GatherElements(OpRun):
    """The reference gathers along long axes with a function that knows 64 choices."""

    def _run(self, x, indices, axis=None):
        axis = axis or 0
        part = tuple(slice(None if a == axis % x.ndim else n) for a, n in enumerate(indices.shape))
        return (np.take_along_axis(x[part], indices, axis),)


class GlobalLpPool(OpRun):
    """The reference does not know it."""

    def _run(self, x, p=2):
        return ((np.abs(x) ** p).sum(axis=tuple(range(2, x.ndim)), keepdims=True) ** (1 / p),)


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


class CastLike(OpRun):
    """The reference does not know its newest attributes."""

    def _run(self, x, like, saturate=None, round_mode=None):
        return (x.astype(like.dtype),)


class ConvTranspose(OpRun):
    """The reference knows no groups: every pixel of x lays the kernel, times its value, onto the output."""

    def _run(
        self, x, w, bias=None, auto_pad=None, dilations=None, group=1, kernel_shape=None,
        output_padding=None, output_shape=None, pads=None, strides=None,
    ):  # fmt: skip
        axes = x.ndim - 2
        strides, dilations = strides or [1] * axes, dilations or [1] * axes
        pads, extra = list(pads or [0] * 2 * axes), output_padding or [0] * axes
        sizes, kernel = x.shape[2:], w.shape[2:]
        rows = zip(sizes, kernel, strides, dilations, extra, strict=True)
        whole = [(n - 1) * s + (k - 1) * d + 1 + e for n, k, s, d, e in rows]
        same = auto_pad in ("SAME_UPPER", "SAME_LOWER")
        if output_shape or same:
            wanted = output_shape or [n * s for n, s in zip(sizes, strides, strict=True)]
            for a in range(axes):
                total = whole[a] - wanted[a]
                first = max(total, 0) // 2 if auto_pad == "SAME_UPPER" else -(-max(total, 0) // 2)
                pads[a], pads[axes + a] = first, total - first
            whole = [n + max(-pads[axes + a], 0) for a, n in enumerate(whole)]
            pads = [max(p, 0) for p in pads]
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


def _sigmoid(x):
    return 1 / (1 + np.exp(-x))


ACTIVATIONS = {  # of recurrent layers, with their default alpha and beta
    "sigmoid": lambda x, a, b: _sigmoid(x),
    "tanh": lambda x, a, b: np.tanh(x),
    "relu": lambda x, a, b: np.maximum(x, 0),
    "affine": lambda x, a, b: a * x + b,
    "leakyrelu": lambda x, a, b: np.where(x < 0, a * x, x),
    "thresholdedrelu": lambda x, a, b: np.where(x > a, x, 0),
    "scaledtanh": lambda x, a, b: a * np.tanh(b * x),
    "hardsigmoid": lambda x, a, b: np.clip(a * x + b, 0, 1),
    "elu": lambda x, a, b: np.where(x < 0, a * (np.exp(x) - 1), x),
    "softsign": lambda x, a, b: x / (1 + np.abs(x)),
    "softplus": lambda x, a, b: np.log1p(np.exp(x)),
}
DEFAULTS = {"leakyrelu": (0.01, 0), "thresholdedrelu": (1, 0), "hardsigmoid": (0.2, 0.5), "elu": (1, 0)}


def _recurrent(x, w, r, b, lengths, states, step, activations, alpha, beta, direction, layout, clip):
    """Sequence by sequence, direction by direction: y and the last states."""
    if layout:
        x, states = np.swapaxes(x, 0, 1), [None if s is None else np.swapaxes(s, 0, 1) for s in states]
    time, batch, _ = x.shape
    directions, hidden = len(w), r.shape[-1]
    alpha, beta, functions = list(alpha or []), list(beta or []), []
    for name in (n.lower() for n in activations):
        a, c = DEFAULTS.get(name, (1, 0 if name == "affine" else 1))
        takes = name in ("affine", "scaledtanh", "hardsigmoid")
        if takes or name in DEFAULTS:
            a = alpha.pop(0) if alpha else a
        c = beta.pop(0) if takes and beta else c
        functions.append(lambda v, f=ACTIVATIONS[name], a=a, c=c: f(v, a, c))
    each = len(functions) // directions
    bound = clip or np.inf
    y = np.zeros((time, directions, batch, hidden), x.dtype)
    ends = [np.zeros((directions, batch, hidden), x.dtype) for _ in states]
    for d in range(directions):
        f = functions[d * each : (d + 1) * each]
        for n in range(batch):
            length = time if lengths is None else lengths[n]
            now = [np.zeros(hidden, x.dtype) if s is None else s[d, n] for s in states]
            steps = range(length)
            for t in reversed(steps) if direction == "reverse" or d == 1 else steps:
                bias = np.zeros(2 * w.shape[1], x.dtype) if b is None else b[d]
                now = step(x[t, n], now, w[d], r[d], bias, f, lambda v: np.clip(v, -bound, bound), d)
                y[t, d, n] = now[0]
            for end, state in zip(ends, now, strict=True):
                end[d, n] = state
    if layout:
        return y.transpose(2, 0, 1, 3), *(np.swapaxes(e, 0, 1) for e in ends)
    return y, *ends


class Pad(OpRun):
    """The reference cannot cut, which negative pads mean."""

    def _run(self, x, pads, value=None, axes=None, mode=None):
        axes = range(x.ndim) if axes is None else [int(a) % x.ndim for a in axes]
        both = [(0, 0)] * x.ndim
        for i, axis in enumerate(axes):
            both[axis] = (int(pads[i]), int(pads[len(pads) // 2 + i]))
        cut = x[tuple(slice(max(-a, 0), n - max(-b, 0)) for (a, b), n in zip(both, x.shape, strict=True))]
        rest = [(max(a, 0), max(b, 0)) for a, b in both]
        if mode in (None, "constant"):
            return (np.pad(cut, rest, constant_values=0 if value is None else value.item()),)
        return (np.pad(cut, rest, mode=mode),)


class RNN(OpRun):
    """The reference knows one direction and one activation."""

    def _run(
        self, x, w, r, b=None, lengths=None, h0=None, activation_alpha=None, activation_beta=None,
        activations=None, clip=None, direction=None, hidden_size=None, layout=None,
    ):  # fmt: skip
        def step(x, now, w, r, b, f, clipped, d):
            hidden = len(now[0])
            return [f[0](clipped(w @ x + r @ now[0] + b[:hidden] + b[hidden:]))]

        names = activations or ["Tanh"] * len(w)
        return _recurrent(
            x, w, r, b, lengths, [h0], step, names, activation_alpha, activation_beta, direction, layout, clip
        )


class GRU(OpRun):
    """The reference knows one direction, and no lengths."""

    def _run(
        self, x, w, r, b=None, lengths=None, h0=None, activation_alpha=None, activation_beta=None,
        activations=None, clip=None, direction=None, hidden_size=None, layout=None, linear_before_reset=0,
    ):  # fmt: skip
        def step(x, now, w, r, b, f, clipped, d):
            (h,) = now
            wz, wr, wh = np.split(w, 3)
            rz, rr, rh = np.split(r, 3)
            bz, br, bh, cz, cr, ch = np.split(b, 6)
            z = f[0](clipped(wz @ x + rz @ h + bz + cz))
            reset = f[0](clipped(wr @ x + rr @ h + br + cr))
            inner = reset * (rh @ h + ch) if linear_before_reset else rh @ (reset * h) + ch
            return [(1 - z) * f[1](clipped(wh @ x + bh + inner)) + z * h]

        names = activations or ["Sigmoid", "Tanh"] * len(w)
        return _recurrent(
            x, w, r, b, lengths, [h0], step, names, activation_alpha, activation_beta, direction, layout, clip
        )


class LSTM(OpRun):
    """The reference knows one direction, and no lengths."""

    def _run(
        self, x, w, r, b=None, lengths=None, h0=None, c0=None, p=None, activation_alpha=None,
        activation_beta=None, activations=None, clip=None, direction=None, hidden_size=None, input_forget=0,
        layout=None,
    ):  # fmt: skip
        def step(x, now, w, r, b, f, clipped, d):
            h, c = now
            half = len(b) // 2
            i, o, forget, g = np.split(w @ x + r @ h + b[:half] + b[half:], 4)
            pi, po, pf = np.split(p[d], 3) if p is not None else (0, 0, 0)
            i = f[0](clipped(i + pi * c))
            forget = 1 - i if input_forget else f[0](clipped(forget + pf * c))
            c = forget * c + i * f[1](clipped(g))
            return [f[0](clipped(o + po * c)) * f[2](c), c]

        names = activations or ["Sigmoid", "Tanh", "Tanh"] * len(w)
        states = [h0, c0]
        return _recurrent(
            x,
            w,
            r,
            b,
            lengths,
            states,
            step,
            names,
            activation_alpha,
            activation_beta,
            direction,
            layout,
            clip,
        )


class Loop(op_loop.Loop):
    """Collects what the rounds give along an axis of their own; ONNX's joins it along the first."""

    def _run(self, M, cond, *args, **more):
        inner, rounds = self._run_body, []

        def run_body(*given, **named):
            outputs = inner(*given, **named)
            rounds.append(outputs[len(outputs) - self.K :])
            return outputs

        self._run_body = run_body
        try:
            results = super()._run(M, cond, *args, **more)
        finally:
            self._run_body = inner
        return (*results[: self.N], *map(np.stack, zip(*rounds, strict=True))) if rounds else results


TWINS = [
    CastLike,
    ConvTranspose,
    Erf,
    GRU,
    GatherElements,
    GlobalLpPool,
    GlobalMaxPool,
    LRN,
    LSTM,
    Loop,
    Mean,
    Pad,
    RNN,
]
