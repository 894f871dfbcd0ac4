"""Recurrent layers as a Scan over time: as many nodes for ten steps as for ten thousand.

What comes from the inputs alone, W x + b, is one product for all steps. Shapes as in the specification (RNN,
GRU, LSTM): time T, batch N, directions D, hidden size H.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from onnx import TensorProto, helper

from ...errors import NoRule
from ...graph.graph import Graph, Tensor, op

Function = Callable[[Tensor], Tensor]


def _functions(names: Sequence[Any], alphas: Sequence[float], betas: Sequence[float]) -> list[Function]:
    """Activation functions by their names in the specification; those with parameters take the next ones."""
    alphas, betas, found = list(alphas), list(betas), []

    def take(numbers: list[float], default: float) -> float:
        return numbers.pop(0) if numbers else default

    for name in names:
        name = name.decode("utf-8", "replace") if isinstance(name, bytes) else name
        kind = name.lower()
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
    """One direction of a layer, as a step sees it."""

    r: Tensor  # (gates H, H)
    b: Tensor | None  # (gates H,), of the recurrence
    peepholes: Tensor | None  # (3 H,)
    functions: Sequence[Function]
    attrs: dict[str, Any]

    def clipped(self, x: Tensor) -> Tensor:
        """What goes into a function, within the layer's bounds."""
        clip = self.attrs.get("clip")
        return op.Clip(x, -clip, clip) if clip else x

    def inside(self, graph: Graph) -> Layer:
        """The layer as it is read in a graph inside a node."""
        r, b, p = (t and Tensor(graph, t.name) for t in self[:3])
        assert r is not None
        return Layer(r, b, p, self.functions, self.attrs)


# (layer, W x + b at a time (N, gates H), *states (N, H)) to the next states, the hidden one first
Step = Callable[..., list[Tensor]]


def _layer(step: Step, defaults: Sequence[str], count: int) -> Callable[..., tuple[Tensor, ...]]:
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
        weights = (w, r, b, peepholes)
        return _run(step, weights, _functions(names, alphas, betas), attrs, x, lengths, [h0, c0][:count])

    return body


def _directions(attrs: dict[str, Any]) -> int:
    return 2 if attrs.get("direction") == "bidirectional" else 1


def _run(
    step: Step,
    weights: Sequence[Tensor | None],
    functions: Sequence[Function],
    attrs: dict[str, Any],
    x: Tensor,
    lengths: Tensor | None,
    states: Sequence[Tensor | None],
) -> tuple[Tensor, ...]:
    """Do `step` over time in each direction; the outputs Y, Y_h (and Y_c) of the operator."""
    if attrs.get("layout"):
        x = op.Transpose(x, perm=[1, 0, 2])
        states = [None if s is None else op.Transpose(s, perm=[1, 0, 2]) for s in states]
    recurrence = weights[1]
    hidden = attrs.get("hidden_size") or ((recurrence and recurrence.shape) or (None,))[-1]
    if not isinstance(hidden, int):
        raise NoRule("has a state of a size that is not known")
    alive = None if lengths is None else _alive(x, lengths)
    ys, lasts, count = [], [], _directions(attrs)
    for d in range(count):
        of, each = _of_direction(d), len(functions) // count
        w, r, b, peepholes = (None if t is None else of(t) for t in weights)
        assert w is not None
        assert r is not None
        wb, rb = (None, None) if b is None else op.Split(b, axis=0, num_outputs=2, outputs=2)
        given = op.MatMul(x, op.Transpose(w, perm=[1, 0]))
        layer = Layer(r, rb, peepholes, functions[d * each : (d + 1) * each], attrs)
        first = [_first(s and of(s), x, hidden) for s in states]
        backward = attrs.get("direction") == "reverse" or d == 1
        *now, y = _scanned(step, layer, given if wb is None else given + wb, first, alive, backward)
        ys.append(y)
        lasts.append(now)
    y = op.Concat(*(op.Unsqueeze(o, [1]) for o in ys), axis=1)  # (T, D, N, H)
    ends = [op.Concat(*(op.Unsqueeze(s, [0]) for s in s_d), axis=0) for s_d in zip(*lasts, strict=True)]
    if attrs.get("layout"):
        return op.Transpose(y, perm=[2, 0, 1, 3]), *(op.Transpose(e, perm=[1, 0, 2]) for e in ends)
    return y, *ends


def _alive(x: Tensor, lengths: Tensor) -> Tensor:
    """Where a sequence has not ended, (T, N, 1)."""
    times = op.Range(x.graph.constant(np.int64(0)), op.Squeeze(x.dim(0), [0]), x.graph.constant(np.int64(1)))
    ends = op.Cast(lengths, to=TensorProto.INT64)
    return op.Less(op.Unsqueeze(times, [1, 2]), op.Unsqueeze(ends, [0, 2]))


def _scanned(
    step: Step, layer: Layer, given: Tensor, states: Sequence[Tensor], alive: Tensor | None, backward: bool
) -> list[Tensor]:
    """A Scan that does `step` over time: the last states, and the hidden one at each time (T, N, H)."""
    graph, inner = given.graph, given.graph.inner()
    sequences = [given] if alive is None else [given, alive]
    sequences = [_turned(s) for s in sequences] if backward else sequences
    now = [inner.input(inner.fresh("state"), s.dtype, s.shape) for s in states]
    x, *still = (inner.input(inner.fresh("at"), s.dtype, (s.shape or (None,))[1:]) for s in sequences)
    new = step(layer.inside(inner), x, *now)
    made = new[0]
    if still:  # past its end a sequence keeps its state and puts out zeros
        made = op.Where(still[0], new[0], 0)
        new = [op.Where(still[0], n, o) for n, o in zip(new, now, strict=True)]
    body, names = inner.closed(graph, [*new, made]), [graph.fresh("Scan") for _ in (*new, made)]
    types = [graph.types[s.name] for s in states]
    elem, rank = types[0].tensor_type.elem_type, states[0].shape or ()
    types.append(helper.make_tensor_type_proto(elem, [(given.shape or (None,))[0], *rank]))
    inputs = [t.name for t in (*states, *sequences)]
    node = helper.make_node("Scan", inputs, names, body=body, num_scan_inputs=len(sequences))
    graph.add(node, dict(zip(names, types, strict=True)))
    *ends, y = (Tensor(graph, name) for name in names)
    return [*ends, _turned(y) if backward else y]


def _turned(x: Tensor) -> Tensor:
    """From the end to the beginning: not every runtime has a Scan that goes backwards."""
    return op.Slice(x, [-1], [np.iinfo(np.int64).min], [0], [-1])


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


def _recurred(layer: Layer, h: Tensor) -> Tensor:
    """R h + Rb."""
    return op.Gemm(h, layer.r, layer.b, transB=1)


def _rnn(layer: Layer, x: Tensor, h: Tensor) -> list[Tensor]:
    """H = f(W x + R H' + b)."""
    return [layer.functions[0](layer.clipped(x + _recurred(layer, h)))]


def _gru(layer: Layer, x: Tensor, h: Tensor) -> list[Tensor]:
    """z, r = f(...); h = g(W x + R (r ∘ H') + b) or, linear before reset, g(W x + r ∘ (R H' + Rb) + Wb);
    H = (1 - z) ∘ h + z ∘ H'.
    """
    f, g = layer.functions
    x_z, x_r, x_h = op.Split(x, axis=1, num_outputs=3, outputs=3)
    r_z, r_r, r_h = op.Split(layer.r, axis=0, num_outputs=3, outputs=3)
    b_z, b_r, b_h = (None,) * 3 if layer.b is None else op.Split(layer.b, axis=0, num_outputs=3, outputs=3)
    z = f(layer.clipped(x_z + op.Gemm(h, r_z, b_z, transB=1)))
    reset = f(layer.clipped(x_r + op.Gemm(h, r_r, b_r, transB=1)))
    if layer.attrs.get("linear_before_reset"):
        inner = x_h + reset * op.Gemm(h, r_h, b_h, transB=1)
    else:
        inner = x_h + op.Gemm(reset * h, r_h, b_h, transB=1)
    return [(1 - z) * g(layer.clipped(inner)) + z * h]


def _lstm(layer: Layer, x: Tensor, h: Tensor, c: Tensor) -> list[Tensor]:
    """i, o, f from x and H' (and through peepholes C); C = f ∘ C' + i ∘ g(...); H = o ∘ h(C)."""
    f, g, out = layer.functions
    i, o, forget, cell = op.Split(x + _recurred(layer, h), axis=1, num_outputs=4, outputs=4)
    p_i = p_o = p_f = None
    if layer.peepholes is not None:
        p_i, p_o, p_f = op.Split(layer.peepholes, axis=0, num_outputs=3, outputs=3)

    def gate(pre: Tensor, peephole: Tensor | None, c: Tensor) -> Tensor:
        return f(layer.clipped(pre if peephole is None else pre + peephole * c))

    i = gate(i, p_i, c)
    c = (1 - i if layer.attrs.get("input_forget") else gate(forget, p_f, c)) * c + i * g(layer.clipped(cell))
    return [gate(o, p_o, c) * out(c), c]


lstm = _layer(_lstm, ["Sigmoid", "Tanh", "Tanh"], 2)
BODIES = {
    "RNN": _layer(_rnn, ["Tanh"], 1),
    "GRU": _layer(_gru, ["Sigmoid", "Tanh"], 1),
    "LSTM": lstm,
}
