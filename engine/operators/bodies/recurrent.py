"""Recurrent layers, unrolled over a length that is known.

Shapes as in the specification (RNN, GRU, LSTM): time T, batch N, directions D, hidden size H.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ...errors import NoRule
from ...graph.graph import Tensor, op

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
            raise NoRule(f"has the activation {name!r}, which has no rule")
        found.append(function)
    return found


def _affine(alpha: float, beta: float) -> Function:
    return lambda x: x * alpha + beta


def _scaled_tanh(alpha: float, beta: float) -> Function:
    return lambda x: op.Tanh(x * beta) * alpha


def _with(operator: Callable[..., Tensor], **attrs: float) -> Function:
    return lambda x: operator(x, **attrs)


class Layer(NamedTuple):
    """One direction of a layer."""

    w: Tensor  # (gates H, I)
    r: Tensor  # (gates H, H)
    b: Tensor | None  # (2 gates H,)
    peepholes: Tensor | None  # (3 H,)
    functions: Sequence[Function]
    attrs: dict[str, Any]

    def clipped(self, x: Tensor) -> Tensor:
        """What goes into a function, within the layer's bounds."""
        clip = self.attrs.get("clip")
        return op.Clip(x, -clip, clip) if clip else x


Step = Callable[..., list[Tensor]]  # (layer, x_t, *states) to the next states, the hidden one first


def _unrolled(step: Step, defaults: Sequence[str], count: int) -> Callable[..., tuple[Tensor, ...]]:
    """The body of a layer that does `step` over time, with `count` states and these functions by default."""

    def body(
        x: Tensor,
        w: Tensor,
        r: Tensor,
        b: Tensor | None,
        lengths: Tensor | None,
        h0: Tensor | None,
        c0: Tensor | None = None,
        peepholes: Tensor | None = None,
        **attrs: Any,
    ) -> tuple[Tensor, ...]:
        names = attrs.get("activations") or list(defaults) * _directions(attrs)
        alphas, betas = attrs.get("activation_alpha") or (), attrs.get("activation_beta") or ()
        layer = Layer(w, r, b, peepholes, _functions(names, alphas, betas), attrs)
        return _run(step, layer, x, lengths, [h0, c0][:count])

    return body


def _directions(attrs: dict[str, Any]) -> int:
    return 2 if attrs.get("direction") == "bidirectional" else 1


def _one_way(layer: Layer, d: int) -> Layer:
    """Direction `d` of a layer whose weights lie direction by direction."""
    w, r, b, peepholes, functions, attrs = layer
    of, each = _of_direction(d), len(functions) // _directions(attrs)
    return Layer(
        of(w),
        of(r),
        None if b is None else of(b),
        None if peepholes is None else of(peepholes),
        functions[d * each : (d + 1) * each],
        attrs,
    )


def _run(
    step: Step, layer: Layer, x: Tensor, lengths: Tensor | None, states: Sequence[Tensor | None]
) -> tuple[Tensor, ...]:
    """Do `step` over time in each direction; the outputs Y, Y_h (and Y_c) of the operator."""
    attrs = layer.attrs
    if attrs.get("layout"):
        x = op.Transpose(x, perm=[1, 0, 2])
        states = [None if s is None else op.Transpose(s, perm=[1, 0, 2]) for s in states]
    length = x.shape[0] if x.shape is not None else None
    if not isinstance(length, int):
        raise NoRule("runs over a length that is not known; bind the input's shape")
    hidden = attrs.get("hidden_size") or (layer.r.shape or (None,))[-1]
    if not isinstance(hidden, int):
        raise NoRule("has a state of a size that is not known")
    ys, lasts = [], []
    for d in range(_directions(attrs)):
        backward = attrs.get("direction") == "reverse" or d == 1
        of, mine = _of_direction(d), _one_way(layer, d)
        now = [_first(s and of(s), x, hidden) for s in states]
        outputs: list[Any] = [None] * length
        for t in reversed(range(length)) if backward else range(length):
            new = step(mine, op.Gather(x, t, axis=0), *now)
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


def _first(state: Tensor | None, x: Tensor, hidden: int) -> Tensor:
    """What a direction starts from, (N, H): zeros, unless it is given.

    A given one is of that shape whatever is known of how it came about; were that left open, the gradient of
    each step would look up at run time what was broadcast.
    """
    batch = x.shape[1] if x.shape else None
    if state is not None and state.shape == (batch, hidden):
        return state
    shape = op.Concat(x.dim(1), [hidden], axis=0)
    return op.Expand(x.graph.constant(0, x.dtype), shape) if state is None else op.Reshape(state, shape)


def _of_direction(d: int) -> Function:
    return lambda t: op.Gather(t, d, axis=0)


def _gates(layer: Layer, x: Tensor, h: Tensor, parts: int) -> Sequence[Tensor]:
    """W x + R h + Wb + Rb, cut into its gates."""
    pre = op.Gemm(x, layer.w, transB=1) + op.Gemm(h, layer.r, transB=1)
    if layer.b is not None:
        wb, rb = op.Split(layer.b, axis=0, num_outputs=2, outputs=2)
        pre = pre + wb + rb
    return (pre,) if parts == 1 else op.Split(pre, axis=1, num_outputs=parts, outputs=parts)


def _rnn(layer: Layer, x: Tensor, h: Tensor) -> list[Tensor]:
    """H = f(W x + R H' + b)."""
    (pre,) = _gates(layer, x, h, 1)
    return [layer.functions[0](layer.clipped(pre))]


def _gru(layer: Layer, x: Tensor, h: Tensor) -> list[Tensor]:
    """z, r = f(...); h = g(W x + R (r ∘ H') + b) or, linear before reset, g(W x + r ∘ (R H' + Rb) + Wb);
    H = (1 - z) ∘ h + z ∘ H'.
    """
    f, g = layer.functions
    w_z, w_r, w_h = op.Split(layer.w, axis=0, num_outputs=3, outputs=3)
    r_z, r_r, r_h = op.Split(layer.r, axis=0, num_outputs=3, outputs=3)
    bias = [0.0] * 6 if layer.b is None else op.Split(layer.b, axis=0, num_outputs=6, outputs=6)

    def times(a: Tensor, m: Tensor) -> Tensor:
        return op.Gemm(a, m, transB=1)

    z = f(layer.clipped(times(x, w_z) + times(h, r_z) + bias[0] + bias[3]))
    reset = f(layer.clipped(times(x, w_r) + times(h, r_r) + bias[1] + bias[4]))
    if layer.attrs.get("linear_before_reset"):
        inner = times(x, w_h) + reset * (times(h, r_h) + bias[5]) + bias[2]
    else:
        inner = times(x, w_h) + times(reset * h, r_h) + bias[5] + bias[2]
    return [(1 - z) * g(layer.clipped(inner)) + z * h]


def _lstm(layer: Layer, x: Tensor, h: Tensor, c: Tensor) -> list[Tensor]:
    """i, o, f from x and H' (and through peepholes C); C = f ∘ C' + i ∘ g(...); H = o ∘ h(C)."""
    f, g, out = layer.functions
    i, o, forget, cell = _gates(layer, x, h, 4)
    p_i = p_o = p_f = None
    if layer.peepholes is not None:
        p_i, p_o, p_f = op.Split(layer.peepholes, axis=0, num_outputs=3, outputs=3)

    def gate(pre: Tensor, peephole: Tensor | None, c: Tensor) -> Tensor:
        return f(layer.clipped(pre if peephole is None else pre + peephole * c))

    i = gate(i, p_i, c)
    c = (1 - i if layer.attrs.get("input_forget") else gate(forget, p_f, c)) * c + i * g(layer.clipped(cell))
    return [gate(o, p_o, c) * out(c), c]


lstm = _unrolled(_lstm, ["Sigmoid", "Tanh", "Tanh"], 2)
BODIES = {
    "RNN": _unrolled(_rnn, ["Tanh"], 1),
    "GRU": _unrolled(_gru, ["Sigmoid", "Tanh"], 1),
    "LSTM": lstm,
}
