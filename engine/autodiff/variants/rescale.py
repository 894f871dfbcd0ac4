"""The rescale rule of DeepLIFT (Shrikumar, Greenside & Kundaje 2017, section 3.5.2).

The walker carries multipliers in place of gradients: by how much a score differs from that of a baseline for
each step that a value differs. All the values of the baseline lie in the graph beside those of the image, and
a rule reads both. Then multipliers times differences sum to the difference of the scores, exactly, through
all that has a rule here; through what has none goes the gradient at the image.

    y = f(x), number by number    Δy / Δx; where Δx is next to nothing, the slope in the middle
    linear                        its gradient
    products a b                  Δa times the mean of b, Δb times the mean of a
    maxima                        Δy comes from where the image or the baseline has its maximum, as far as it
                                  is above what the other has there
    softmax                       exp(x - log Σ exp x): the first as above, the sum by slopes between those at
                                  both ends, mixed so that they sum to its difference
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ...errors import NoRule
from ...graph.graph import Graph, Tensor, op
from ...graph.nodes import reads, renamed
from ...operators.rules import VJP
from ...operators.traits import Traits, having
from .lrp import again, vjp

Beside = Callable[[Tensor], Tensor]  # from a value of the image to that of the baseline
Rule = Callable[..., Any]
CLOSE = 1e-3  # of the size of two numbers: nearer to each other their difference is rounding


def _bends(traits: Traits) -> bool:
    """Whether an operator is a function of each number of its first input alone, and not a line."""
    if traits.elementwise == "together":
        return traits.activates or (traits.infinities == "makes" and not traits.linear)
    jumps = traits.truth or traits.step or traits.quantises or traits.reshapes
    return traits.elementwise == "alone" and traits.linear != "sum" and not jumps


BENDING = tuple(key for key in having(_bends) if key != "OptionalGetElement")
PRODUCTS = having(lambda t: t.linear == "product")
QUOTIENTS = having(lambda t: t.linear == "product" and t.infinities == "makes")
EXTREMES = having(lambda t: t.hull and not t.linear and not t.moves)
SOFTMAXES = having(lambda t: t.squashes == "classes")


def beside(graph: Graph, start: Mapping[str, str]) -> Beside:
    """What is there in place of a value where some values are others, by name as in `start`.

    The nodes between are computed once more; what does not depend on these values is itself.
    """
    found = dict(start)

    def other(x: Tensor) -> Tensor:
        if x.graph is not graph:
            raise NoRule("has no rule against a baseline inside a Loop, a Scan or an If")
        for node in () if x.name in found else graph.ancestors([x.name]):
            made = [o for o in node.output if o]
            if made[0] in found:
                continue
            if all(found.get(i, i) == i for i in reads(node)):
                found.update(zip(made, made, strict=True))
                continue
            found.update((o, graph.fresh(node.op_type)) for o in made)
            copy = renamed(node, found)
            copy.name = ""
            graph.add(copy, {found[o]: graph.types[o] for o in made if o in graph.types})
        return Tensor(graph, found.get(x.name, x.name))

    return other


def rescale(other: Beside) -> dict[str, Rule]:
    """The table for a network whose values at the baseline are those that `other` gives."""
    rules = {
        BENDING: _bent,
        PRODUCTS: _product,
        QUOTIENTS: _quotient,
        EXTREMES: _extreme,
        SOFTMAXES: _softmax,
    }
    own: dict[str, Rule] = {"ReduceL2": partial(_norm, other)}
    own |= {key: partial(rule, other) for keys, rule in rules.items() for key in keys if ":" not in key}
    return {**VJP, **own}


def _bent(other: Beside, g: Tensor, y: Tensor, x: Tensor, *rest: Tensor | None) -> Any:
    """g Δy / Δx; of a power with an exponent of the image's own the gradient."""
    if any(r is not None and other(r).name != r.name for r in rest):
        return [partial(vjp, g, y, x, *rest, index=i) for i in range(1 + len(rest))]
    start = other(x)
    rise, close = _apart(x, start)
    return op.Where(close, _slope(g, y, (x + start) * 0.5, *rest), g * ((y - other(y)) / rise))


def _apart(x: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """x - start, 1 where the two are close; and where that is."""
    close = op.LessOrEqual(op.Abs(x - start), (op.Abs(x) + op.Abs(start)) * CLOSE)
    return op.Where(close, 1, x - start), close


def _slope(g: Tensor, y: Tensor, x: Tensor, *rest: Tensor | None) -> Tensor:
    """The gradient of the operator that made y at another x; where it has no rule, that of a small step."""
    node = y.graph.producer(y.name)
    assert node is not None
    if node.op_type in VJP:
        return vjp(g, again(y, x, *rest), x, *rest)
    step = (op.Abs(x) + 1) * CLOSE
    return g * ((again(y, x + step, *rest) - again(y, x - step, *rest)) / (step * 2))


def _product(other: Beside, g: Tensor, y: Tensor, *xs: Tensor | None) -> Any:
    """The gradient where each factor is the mean of its two values."""
    means = [x if x is None or other(x).name == x.name else (x + other(x)) * 0.5 for x in xs]
    return [partial(vjp, g, y, *means, index=i) for i in range(len(xs))]


def _quotient(other: Beside, g: Tensor, y: Tensor, a: Tensor, b: Tensor) -> Any:
    """a times 1 / b, of which Δ(1 / b) = -Δb / (b b')."""
    first, under = other(a), other(b)
    half = g * 0.5
    return lambda: half / b + half / under, lambda: -half * (a + first) / (b * under)


def _norm(
    other: Beside,
    g: Tensor,
    y: Tensor,
    x: Tensor,
    axes: Tensor | None,
    keepdims: int,
    noop_with_empty_axes: int,
) -> Any:
    """The gradient at the means of x and of y: of y² = Σ x² the difference is Δy (y + y') = Σ Δx (x + x')."""
    means = (y + other(y)) * 0.5, (x + other(x)) * 0.5
    return VJP["ReduceL2"](g, *means, axes, keepdims, noop_with_empty_axes)


def _extreme(other: Beside, g: Tensor, y: Tensor, *xs: Tensor | None) -> Any:
    """From the image's maxima what they are above the baseline's, from the baseline's what those are above
    the image's; of least numbers the same below.
    """
    node = y.graph.producer(y.name)
    assert node is not None
    end, starts = other(y), [None if x is None else other(x) for x in xs]
    far = (op.Min if "Min" in node.op_type else op.Max)(y, end)

    def of(i: int, x: Tensor, start: Tensor) -> Tensor:
        rise, same = x - start, op.Equal(x, start)
        up = vjp(g * (far - end), y, *xs, index=i)
        down = vjp(g * (y - far), again(y, *starts), *starts, index=i)
        return op.Where(same, vjp(g, y, *xs, index=i), (up + down) / op.Where(same, 1, rise))

    each = zip(xs, starts, strict=True)
    return [None if x is None or s is None else partial(of, i, x, s) for i, (x, s) in enumerate(each)]


def _softmax(other: Beside, g: Tensor, y: Tensor, x: Tensor, axis: int) -> Tensor:
    """Through z = x - log Σ exp x, and of a Softmax through exp z before."""
    node = y.graph.producer(y.name)
    assert node is not None
    start = other(x)
    z, end = op.LogSoftmax(x, axis=axis), op.LogSoftmax(start, axis=axis)
    if node.op_type == "Softmax":
        rise, close = _apart(z, end)
        g = g * op.Where(close, op.Exp((z + end) * 0.5), (y - other(y)) / rise)
    return g - _mixed(x, start, axis) * g.sum([axis])


def _mixed(x: Tensor, start: Tensor, axis: int) -> Tensor:
    """Slopes of log Σ exp between x and start: between those at both ends, which are its softmaxes, and so
    that they sum to its difference, which is convex: there is one such mixture.
    """
    p, q = op.Softmax(x, axis=axis), op.Softmax(start, axis=axis)
    rise = op.Where(op.Equal(x, start), 0, x - start)  # of what is masked with -inf none
    most, least = (p * rise).sum([axis]), (q * rise).sum([axis])
    logs = (op.ReduceLogSumExp(v, [axis], keepdims=1) for v in (x, start))
    whole, straight = next(logs) - next(logs), most - least <= CLOSE * CLOSE * (p * op.Abs(rise)).sum([axis])
    share = op.Where(straight, 0.5, (most - whole) / op.Where(straight, 1, most - least))
    share = op.Clip(share, 0, 1)
    return p + share * (q - p)
