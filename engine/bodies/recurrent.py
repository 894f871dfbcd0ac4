"""Recurrent layers, unrolled over a length that is known.

Shapes as in the specification (RNN, GRU, LSTM): time T, batch N, directions D, hidden size H.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..errors import NoRule
from ..graph import Tensor, op

Function = Callable[[Tensor], Tensor]


def _functions(names: Sequence[Any], alphas: Sequence[float], betas: Sequence[float]) -> list[Function]:
    """Activation functions by their names in the specification; those with parameters take the next ones."""
    alphas, betas, found = list(alphas), list(betas), []

    def take(numbers: list[float], default: float) -> float:
        return numbers.pop(0) if numbers else default

    for name in names:
        kind = (name.decode() if isinstance(name, bytes) else name).lower()
        if kind in ("sigmoid", "tanh", "relu", "softsign", "softplus"):
            function = getattr(op, kind.capitalize())
        elif kind == "affine":
            function = _affine(take(alphas, 1.0), take(betas, 0.0))
        elif kind == "scaledtanh":
            function = _scaled_tanh(take(alphas, 1.0), take(betas, 1.0))
        elif kind == "hardsigmoid":
            function = _with(op.HardSigmoid, alpha=take(alphas, 0.2), beta=take(betas, 0.5))
        elif kind in ("leakyrelu", "thresholdedrelu", "elu"):
            default = {"leakyrelu": 0.01, "thresholdedrelu": 1.0, "elu": 1.0}[kind]
            operator = {"leakyrelu": op.LeakyRelu, "thresholdedrelu": op.ThresholdedRelu, "elu": op.Elu}[kind]
            function = _with(operator, alpha=take(alphas, default))
        else:
            raise NoRule(f"no gradient for the recurrent activation {name!r}")
        found.append(function)
    return found


def _affine(alpha: float, beta: float) -> Function:
    return lambda x: x * alpha + beta


def _scaled_tanh(alpha: float, beta: float) -> Function:
    return lambda x: op.Tanh(x * beta) * alpha


def _with(operator: Callable[..., Tensor], **attrs: float) -> Function:
    return lambda x: operator(x, **attrs)


def _unrolled(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None,
    lengths: Tensor | None,
    states: Sequence[Tensor | None],
    step: Callable[..., Sequence[Tensor]],
    attrs: dict[str, Any],
    defaults: Sequence[str],
) -> tuple[Tensor, ...]:
    """Run `step` over time in each direction; the outputs Y, Y_h (and Y_c) of the operator.

    `step(x_t, states, w, r, b, functions, direction)` gives the next states, the hidden one first.
    """
    if attrs.get("layout"):
        x = op.Transpose(x, perm=[1, 0, 2])
        states = [None if s is None else op.Transpose(s, perm=[1, 0, 2]) for s in states]
    length = x.shape[0] if x.shape is not None else None
    if not isinstance(length, int):
        raise NoRule(
            "a recurrent layer has a gradient only over a length that is known; bind the input's shape"
        )
    direction = attrs.get("direction", "forward")
    count = 2 if direction == "bidirectional" else 1
    names = attrs.get("activations") or list(defaults) * count
    functions = _functions(names, attrs.get("activation_alpha") or (), attrs.get("activation_beta") or ())
    hidden = attrs.get("hidden_size") or (r.shape or (None,))[-1]
    ys, lasts = [], []
    for d in range(count):
        backward = direction == "reverse" or d == 1
        of = _of_direction(d)
        now = [
            op.Expand(x.graph.constant(0, x.dtype), op.Concat(x.dim(1), [hidden], axis=0))
            if s is None
            else of(s)
            for s in states
        ]
        each = len(functions) // count
        outputs: list[Any] = [None] * length
        for t in reversed(range(length)) if backward else range(length):
            x_t = op.Gather(x, t, axis=0)
            mine = functions[d * each : (d + 1) * each]
            new = list(step(x_t, now, of(w), of(r), None if b is None else of(b), mine, d))
            if lengths is not None:  # past its end a sequence keeps its state and puts out zeros
                alive = op.Unsqueeze(op.Greater(lengths, op.CastLike(x.graph.constant(t), lengths)), [1])
                now = [op.Where(alive, n, o) for n, o in zip(new, now, strict=True)]
                outputs[t] = op.Where(alive, new[0], 0)
            else:
                now, outputs[t] = new, new[0]
        ys.append(op.Concat(*(op.Unsqueeze(h, [0]) for h in outputs), axis=0))  # (T, N, H)
        lasts.append(now)
    y = op.Concat(*(op.Unsqueeze(o, [1]) for o in ys), axis=1)  # (T, D, N, H)
    ends = [op.Concat(*(op.Unsqueeze(s, [0]) for s in s_d), axis=0) for s_d in zip(*lasts, strict=True)]
    if attrs.get("layout"):
        return op.Transpose(y, perm=[2, 0, 1, 3]), *(op.Transpose(e, perm=[1, 0, 2]) for e in ends)
    return y, *ends


def _of_direction(d: int) -> Function:
    return lambda t: op.Gather(t, d, axis=0)


def _gates(x: Tensor, h: Tensor, w: Tensor, r: Tensor, b: Tensor | None, parts: int) -> Sequence[Tensor]:
    """W x + R h + Wb + Rb, cut into its gates."""
    pre = op.Gemm(x, w, transB=1) + op.Gemm(h, r, transB=1)
    if b is not None:
        wb, rb = op.Split(b, axis=0, num_outputs=2, outputs=2)
        pre = pre + wb + rb
    return (pre,) if parts == 1 else op.Split(pre, axis=1, num_outputs=parts, outputs=parts)


def _clipped(x: Tensor, clip: float | None) -> Tensor:
    return op.Clip(x, -clip, clip) if clip else x


def rnn(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None,
    lengths: Tensor | None,
    h0: Tensor | None,
    **attrs: Any,
) -> tuple[Tensor, ...]:
    """H = f(W x + R H' + b)."""

    def step(x_t: Tensor, now: Sequence[Tensor], w: Tensor, r: Tensor, b: Any, f: Sequence[Function], _: int):
        (pre,) = _gates(x_t, now[0], w, r, b, 1)
        return [f[0](_clipped(pre, attrs.get("clip")))]

    return _unrolled(x, w, r, b, lengths, [h0], step, attrs, ["Tanh"])


def gru(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None,
    lengths: Tensor | None,
    h0: Tensor | None,
    **attrs: Any,
) -> tuple[Tensor, ...]:
    """z, r = f(...); h = g(W x + R (r ∘ H') + b) or, linear before reset, g(W x + r ∘ (R H' + Rb) + Wb);
    H = (1 - z) ∘ h + z ∘ H'.
    """

    def step(x_t: Tensor, now: Sequence[Tensor], w: Tensor, r: Tensor, b: Any, f: Sequence[Function], _: int):
        h = now[0]
        w_z, w_r, w_h = op.Split(w, axis=0, num_outputs=3, outputs=3)
        r_z, r_r, r_h = op.Split(r, axis=0, num_outputs=3, outputs=3)
        bias = [0.0] * 6 if b is None else op.Split(b, axis=0, num_outputs=6, outputs=6)
        clip = attrs.get("clip")

        def times(a: Tensor, m: Tensor) -> Tensor:
            return op.Gemm(a, m, transB=1)

        z = f[0](_clipped(times(x_t, w_z) + times(h, r_z) + bias[0] + bias[3], clip))
        reset = f[0](_clipped(times(x_t, w_r) + times(h, r_r) + bias[1] + bias[4], clip))
        if attrs.get("linear_before_reset"):
            inner = times(x_t, w_h) + reset * (times(h, r_h) + bias[5]) + bias[2]
        else:
            inner = times(x_t, w_h) + times(reset * h, r_h) + bias[5] + bias[2]
        new = f[1](_clipped(inner, clip))
        return [(1 - z) * new + z * h]

    return _unrolled(x, w, r, b, lengths, [h0], step, attrs, ["Sigmoid", "Tanh"])


def lstm(
    x: Tensor,
    w: Tensor,
    r: Tensor,
    b: Tensor | None,
    lengths: Tensor | None,
    h0: Tensor | None,
    c0: Tensor | None,
    peepholes: Tensor | None,
    **attrs: Any,
) -> tuple[Tensor, ...]:
    """i, o, f from x and H' (and through peepholes C); C = f ∘ C' + i ∘ g(...); H = o ∘ h(C)."""

    def step(x_t: Tensor, now: Sequence[Tensor], w: Tensor, r: Tensor, b: Any, f: Sequence[Function], d: int):
        h, c = now
        clip = attrs.get("clip")
        i, o, forget, cell = _gates(x_t, h, w, r, b, 4)
        p_i, p_o, p_f = (
            (None, None, None)
            if peepholes is None
            else op.Split(op.Gather(peepholes, d, axis=0), axis=0, num_outputs=3, outputs=3)
        )
        i = f[0](_clipped(i if p_i is None else i + p_i * c, clip))
        if attrs.get("input_forget"):
            forget = 1 - i
        else:
            forget = f[0](_clipped(forget if p_f is None else forget + p_f * c, clip))
        c = forget * c + i * f[1](_clipped(cell, clip))
        o = f[0](_clipped(o if p_o is None else o + p_o * c, clip))
        return [o * f[2](c), c]

    return _unrolled(x, w, r, b, lengths, [h0, c0], step, attrs, ["Sigmoid", "Tanh", "Tanh"])


BODIES = {"RNN": rnn, "GRU": gru, "LSTM": lstm}
