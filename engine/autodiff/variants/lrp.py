"""Layer-wise relevance propagation (Bach et al. 2015; Montavon et al. 2019, "LRP: an overview").

The walker carries relevance in place of gradients: the seed is the relevance of the score (the score
itself), and what arrives at a value says how much of it that value holds. With z = x w what an input adds
to an output, every rule has one shape, and the adjoint of the layer does the sum over outputs:

    R_x  =  Σ_y  z_xy / Σ_x z_xy · R_y   =   x · VJP(R_y / y)

Rules differ in what they take for x and w. A bias keeps its share, so relevance is conserved where there
is none. Each function here gives a whole table for its rule and its parameters.

- Gates. Where a sigmoid, a softmax or what divides weighs another value, that value takes all (Arras et al.
  2017 for recurrent networks; Ali et al. 2022, "XAI for Transformers", for attention): attention weights and
  gates count as constants, nothing goes to queries and keys. Other factors of a product share alike.
- Normalisation by what is computed from the picture (LayerNormalization, RMSNormalization, LRN, ...): its
  scale counts as constant. What is left, the mean that is taken off and the shift, is linear and shares in
  proportion (Ali et al. 2022, section 3.2; Achtibat et al. 2024, "AttnLRP", proposition 3.4): handed on as it
  is, relevance would grow without bound where a value lies near zero and far from the mean.
- BatchNormalization is a linear layer, in proportion to what it adds up. For the rules that tell signs
  apart, `merged.py` takes it into the convolution before it.
- Quantising hands on: relevance is shared by the real values that the integers stand for. Layers of integers
  are told apart by depth as those of reals are. Scales and zero points get none: they say how it is counted,
  also where they are found on the spot (dynamic quantisation).
- A bias, a constant that is added and a time step's start take their share; what a layer makes of them is
  lost to the sum. Nothing is refused that has a gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from onnx import NodeProto

from ...graph.graph import Graph, Tensor, emit, op
from ...graph.nodes import attributes, key_of, named, reads
from ...operators.rules import VJP, activation
from ...operators.traits import Traits, having, traits_of

Rule = Callable[..., Any]
Table = dict[str, Rule]


def _adds_up(traits: Traits) -> bool:
    """Whether a result is the sum of what each input adds to it, of several or by weights."""
    several = traits.elementwise != "alone" or traits.normalises
    return bool(traits.linear and several and not (traits.moves or traits.reshapes))


def _hands_on(traits: Traits) -> bool:
    by_neighbours = traits.normalises and traits.mixes == "channels"
    return bool(by_neighbours) or (traits.elementwise == "alone" and not traits.truth)


# With weights, of real numbers: rules differ here. Fused and integer ones are made of these.
LAYERS = having(lambda t: t.weights and t.linear)
# Linear without weights, or with those that are no detectors: always in proportion to what is added up.
SUMS = having(lambda t: _adds_up(t) and not t.weights)
# Element by element, or normalised by their own neighbours (Binder et al. 2016): handed on as it is. Other
# normalisations are made of these and of sums.
PASSING = (*activation.RULES, "Pow", *having(lambda t: _hands_on(t) and not _adds_up(t)))
# Products of values over axes that the node names; and the softmax in the middle of an attention.
SUMS_OF_PRODUCTS = having(lambda t: t.linear == "product" and t.mixes == "any")
ATTENDING = tuple(k for k in having(lambda t: t.attends and t.squashes) if ":" not in k)
REACH = 8  # steps back to see that a value is made of constants, or of a gate


def lrp_0() -> Table:
    """R_x = x · VJP(R / y); where y is 0 there is nothing to share. Montavon et al. 2019, LRP-0."""
    return _table(_proportional(0))


def lrp_epsilon(epsilon: float = 1e-6) -> Table:
    """R_x = x · VJP(R / (y + ε sign y)): ε takes up what is weak or contradictory. LRP-ε.

    `epsilon` is in units of the layers' values.
    """
    return _table(_proportional(epsilon))


def lrp_gamma(gamma: float = 0.25) -> Table:
    """LRP-0 with w + γ w⁺ and b + γ b⁺ for w and b: evidence for counts more. LRP-γ, for layers of x ≥ 0."""

    def rule(r: Tensor, y: Tensor, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        w = w + gamma * op.Relu(w)
        b = None if b is None else b + gamma * op.Relu(b)
        return x * vjp(_share(r, again(y, x, w, b)), y, x, w)

    return _table(rule)


def lrp_alpha_beta(alpha: float = 2.0, beta: float = 1.0) -> Table:
    """R_x = Σ (α z⁺ / Σ z⁺ - β z⁻ / Σ z⁻) R: what speaks for and what speaks against, each shared alone.

    Bach et al. 2015, equation 60. Raises ValueError unless α - β = 1.
    """
    if not np.isclose(alpha - beta, 1):
        raise ValueError(f"alpha - beta is {alpha - beta:g}; relevance is conserved where it is 1")

    def rule(r: Tensor, y: Tensor, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        up, down, for_, against = op.Relu(x), -op.Relu(-x), op.Relu(w), -op.Relu(-w)

        def shared(one: Tensor, other: Tensor, bias: Tensor | None) -> Tensor:
            s = _share(r, again(y, up, one, bias) + again(y, down, other))
            return up * vjp(s, y, x, one) + down * vjp(s, y, x, other)

        total = alpha * shared(for_, against, None if b is None else op.Relu(b))
        if beta == 0:
            return total
        return total - beta * shared(against, for_, None if b is None else -op.Relu(-b))

    return _table(rule)


def lrp_general_gamma(gamma: float = 0.25) -> Table:
    """LRP-γ also where inputs are below zero: what speaks for the sign of an output counts more.

    Andéol et al. 2021, on domain invariant representations, as zennit has it.
    """
    return _table(_general_gamma(gamma))


def attnlrp(gamma: float = 0.0, epsilon: float = 1e-6) -> Table:
    """AttnLRP (Achtibat et al. 2024): attention is shared out too, and no constant.

    A product of two values shares half and half (proposition 3.3), a softmax by its Taylor expansion, R_x =
    x (R - y Σ R) (3.1); all else as in this file. Layers go by LRP-ε, or with a `gamma` by LRP-γ.
    """
    halves = _proportional(epsilon, gates=False)
    rule = _general_gamma(gamma) if gamma else _proportional(epsilon)
    return {
        **_table(rule, halves),
        **dict.fromkeys(SUMS_OF_PRODUCTS, halves),
        **dict.fromkeys(ATTENDING, _taylor),
    }


def _taylor(r: Tensor, y: Tensor, x: Tensor, axis: int) -> Tensor:
    return op.Where(op.Equal(y, 0), 0, x) * (r - y * r.sum([axis]))  # what is masked is -inf


def _general_gamma(gamma: float) -> Rule:
    def rule(r: Tensor, y: Tensor, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        up, down = op.Relu(x), -op.Relu(-x)
        more, less = w + gamma * op.Relu(w), w - gamma * op.Relu(-w)

        def shared(r: Tensor, one: Tensor, other: Tensor, bias: Tensor | None) -> Tensor:
            s = _share(r, again(y, up, one, bias) + again(y, down, other))
            return up * vjp(s, y, x, one) + down * vjp(s, y, x, other)

        for_ = shared(op.Where(y > 0, r, 0), more, less, None if b is None else b + gamma * op.Relu(b))
        against = shared(op.Where(y < 0, r, 0), less, more, None if b is None else b - gamma * op.Relu(-b))
        return for_ + against

    return rule


def lrp_z_box(low: Any, high: Any) -> Table:
    """z = x w - l w⁺ - h w⁻, for the layer that reads pixels between l and h. Montavon et al. 2017, zᴮ.

    `low`, `high`: the bounds of x as the network gets it (after preprocessing), numbers or arrays that
    broadcast to it, such as (1, 3, 1, 1) for three channels.
    """

    def rule(r: Tensor, y: Tensor, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        for_, against = op.Relu(w), -op.Relu(-w)
        floor, roof = (op.Expand(x.graph.constant(v, x.dtype), x.dims) for v in (low, high))
        s = _share(r, again(y, x, w) - again(y, floor, for_) - again(y, roof, against))
        return x * vjp(s, y, x, w) - floor * vjp(s, y, x, for_) - roof * vjp(s, y, x, against)

    return _table(rule)


def lrp_w_square() -> Table:
    """R_x = Σ w² / Σ w² · R, whatever x is: for a first layer of real values without bounds. w²-rule."""

    def rule(r: Tensor, y: Tensor, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        ones = op.Expand(x.graph.constant(1, x.dtype), x.dims)
        return vjp(_share(r, again(y, ones, w * w)), y, x, w * w)

    return _table(rule)


def lrp_flat() -> Table:
    """Each R shared alike among all inputs of its window, whatever they and the weights are: a first layer.

    Lapuschkin et al. 2019, "Unmasking Clever Hans predictors", supplementary note 2.
    """

    def rule(r: Tensor, y: Tensor, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
        ones, even = (op.Expand(v.graph.constant(1, v.dtype), v.dims) for v in (x, w))
        return vjp(_share(r, again(y, ones, even)), y, x, even)

    return _table(rule)


def composite(
    first: Mapping[str, Rule], middle: Mapping[str, Rule], head: Mapping[str, Rule]
) -> Callable[[Graph, Collection[str]], Mapping[str, Rule]]:
    """Different rules by depth: `rules=composite(lrp_z_box(0, 1), lrp_gamma(), lrp_epsilon())`.

    `first` is for the layers that no other layer with weights lies before, `head` for the last one and
    for all that are fully connected, `middle` for the rest (Montavon et al. 2019, section 10.3).
    """

    def table(graph: Graph, of: Collection[str]) -> Mapping[str, Rule]:
        own: dict[str, Any] = {}
        last = None
        for node, deep in _layers(graph, of):
            last = node
            rules = first if not deep else head if traits_of(node).mixes == "last" else middle
            own[node.output[0]] = _of_layer(node, rules)
        if last is not None:
            own[last.output[0]] = _of_layer(last, head)
        return {**middle, **own}

    return table


def by_kind(
    dense: Mapping[str, Rule], windows: Mapping[str, Rule], first: Mapping[str, Rule] | None = None
) -> Callable[[Graph, Collection[str]], Mapping[str, Rule]]:
    """Different rules by kind: `dense` for layers that are fully connected, `windows` for convolutions, and
    `first` for the layers that no other layer with weights lies before; None: as their kind.

    So are the composites of zennit (Anders et al. 2021), of which most have Epsilon for what is dense.
    """

    def table(graph: Graph, of: Collection[str]) -> Mapping[str, Rule]:
        own: dict[str, Any] = {}
        for node, deep in _layers(graph, of):
            kind = dense if traits_of(node).mixes == "last" else windows
            own[node.output[0]] = _of_layer(node, kind if deep or first is None else first)
        return {**windows, **own}

    return table


def _layers(graph: Graph, of: Collection[str]) -> Iterator[tuple[NodeProto, bool]]:
    """The layers with weights, in order, each with whether one lies before it."""
    behind: set[str] = set()  # values with a layer before them
    for node in graph.ancestors(of):
        is_layer = (traits_of(node).made_of or key_of(node)) in LAYERS
        deep = bool(behind.intersection(reads(node)))
        if is_layer:
            yield node, deep
        if is_layer or deep:
            behind.update(node.output)


def _of_layer(node: NodeProto, rules: Mapping[str, Rule]) -> Rule | Mapping[str, Rule]:
    """The rule of a layer, or the table for what it is made of."""
    return rules if traits_of(node).made_of else rules[node.op_type]


def _table(rule: Rule, products: Rule | None = None) -> Table:
    """The table in which layers with weights follow a rule and everything else does what it always does.

    `products`: what those of two values follow instead.
    """
    plain = _proportional(1e-6)
    return {
        **VJP,
        **dict.fromkeys(PASSING, _handed_on),
        "DynamicQuantizeLinear": lambda rs, ys, x: rs[0],
        **dict.fromkeys(SUMS, plain),
        **{name: _for_weights(rule, products or plain) for name in LAYERS},
    }


def _handed_on(r: Tensor, y: Tensor, *xs: Tensor | None) -> Tensor:
    return r


def _for_weights(rule: Rule, otherwise: Rule) -> Rule:
    """The rule where the second factor is a weight; a product of two values is shared in proportion."""

    def chosen(r: Tensor, y: Tensor, x: Tensor, w: Tensor, *bias: Tensor | None) -> Any:
        return (rule if _is_weight(w) and not _is_weight(x) else otherwise)(r, y, x, w, *bias)

    return chosen


def _proportional(epsilon: float, gates: bool = True) -> Rule:
    """Each input gets x · VJP(R / (y + ε sign y)); the factors of a product of values share alike, but for
    `gates`, which get nothing.
    """

    def rule(r: Tensor, y: Tensor, *xs: Tensor | None) -> list[partial[Tensor] | None]:
        node = y.graph.producer(y.name)
        s = _share(r, y, epsilon)
        values = [i for i, x in enumerate(xs) if x is not None and not _is_weight(x)]
        if node is not None and node.op_type == "Div" and 0 in values:  # a divisor scales, it adds nothing
            values = [0]
        if node is not None and _is_product(node) and len(values) > 1:
            values = [i for i in values if not (gates and _is_gate(xs[i]))] or values
            s = s / len(values)
        return [partial(_times, s, y, xs, i) if i in values else None for i in range(len(xs))]

    return rule


def _is_product(node: NodeProto) -> bool:
    """Whether a node multiplies values with each other, and adds no bias."""
    traits = traits_of(node)
    return traits.linear == "product" and (traits.weights is None or traits.weights.bias is None)


def _times(s: Tensor, y: Tensor, xs: Sequence[Any], i: int) -> Tensor:
    return xs[i] * vjp(s, y, *xs, index=i)


def _share(r: Tensor, z: Tensor, epsilon: float = 0) -> Tensor:
    """R / (z + ε sign z), and 0 where that would divide by 0."""
    if epsilon:
        return r / op.Where(z < 0, z - epsilon, z + epsilon)
    return op.Where(op.Equal(z, 0), 0, r / op.Where(op.Equal(z, 0), 1, z))


def again(y: Tensor, *inputs: Tensor | None) -> Tensor:
    """The operator that made y, on other inputs."""
    node = y.graph.producer(y.name)
    assert node is not None
    return emit(node.op_type, *inputs, **attributes(node))


def vjp(s: Tensor, y: Tensor, *inputs: Tensor | None, index: int = 0) -> Tensor:
    """The gradient rule of the operator that made y, for its first input or another."""
    node = y.graph.producer(y.name)
    assert node is not None
    rule = VJP[node.op_type]
    slots = traits_of(node).weights
    if slots is not None and slots.bias is not None:
        inputs += (None,) * (slots.bias + 1 - len(inputs))
    result: Any = rule(s, y, *inputs, **named(y.graph.attributes(node), rule))
    entry = result[index] if isinstance(result, tuple | list) else result
    return entry if isinstance(entry, Tensor) else entry()


def _is_weight(x: Tensor | None, reach: int = REACH) -> bool:
    """True for a constant or what is given, also turned, picked from, scaled or dequantised first.

    The scale and the zero point that a value is quantised with on the spot count as constants.
    """
    if x is None:
        return True
    node = x.graph.producer(x.name)
    if node is None:
        return x.name in x.graph.constants or x.name in x.graph.given
    if node.op_type == "DynamicQuantizeLinear":
        return x.name in node.output[1:]
    told = node.input[:1] if node.op_type == "CastLike" else reads(node)  # of the other only its type
    return reach > 0 and all(_is_weight(Tensor(x.graph, i), reach - 1) for i in told)


def _is_gate(x: Tensor | None, reach: int = REACH, shifted: bool = False) -> bool:
    """True for a sigmoid, a softmax, what divides, also if moved, scaled, taken from 1; and 1 + tanh."""
    node = None if x is None else x.graph.producer(x.name)
    if x is None or node is None or reach == 0:
        return False
    traits = traits_of(node)
    if (traits.squashes and traits.range == (0, 1)) or (shifted and traits.rises and traits.range == (-1, 1)):
        return True  # it weighs what it is multiplied with; as 1 + tanh does
    if _divides(x.graph, node):
        return True
    inputs = (Tensor(x.graph, i) for i in node.input if i)
    values = [i for i in inputs if i.dtype == x.dtype and not _is_weight(i)]
    moves = traits.reshapes or (traits.moves and traits.moves != "joins")
    moves = moves or (traits.elementwise == "together" and traits.linear)
    shifted = shifted or (traits.elementwise == "together" and traits.linear == "sum")
    return bool(moves) and len(values) == 1 and _is_gate(values[0], reach - 1, shifted)


def _divides(graph: Graph, node: NodeProto) -> bool:
    """Whether a value is a constant by another one: 1 / z, z to the power of -1/2."""
    if node.op_type == "Pow":
        exponent = graph[node.input[1]].array
        return exponent is not None and bool((exponent < 0).all())
    return node.op_type == "Reciprocal" or (node.op_type == "Div" and _is_weight(graph[node.input[0]]))
