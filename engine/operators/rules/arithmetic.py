"""Arithmetic on elements, with broadcasting (undone by the walker)."""

from __future__ import annotations

from ...graph.graph import Tensor, op
from ...graph.types import is_float


def extremum(g: Tensor, y: Tensor, *xs: Tensor) -> tuple[Tensor, ...]:
    """Max and Min: the gradient goes to the inputs that reach the value, shared where they tie."""
    hits = [op.CastLike(op.Equal(x, y), g) for x in xs]
    share = g / (op.Sum(*hits) if len(hits) > 1 else hits[0])
    return tuple(share * hit for hit in hits)


def power(g: Tensor, y: Tensor, x: Tensor, n: Tensor) -> tuple[Tensor, Tensor | None]:
    """d xⁿ = n xⁿ⁻¹ dx + xⁿ ln x dn; the exponent may be of another type than the base."""
    exponent = op.CastLike(n, x)
    whole = n.dtype is not None and n.dtype.kind in "iu"
    # ln x is finite only for x > 0; elsewhere xⁿ is not differentiable in n.
    log = None if whole else op.Where(x > 0, op.Log(op.Where(x > 0, x, 1)), 0)
    return g * exponent * x ** (exponent - 1), None if log is None else op.CastLike(g * y * log, n)


RULES = {
    "Identity": lambda g, y, x: g,
    "Cast": lambda g, y, x: op.CastLike(g, x) if x.dtype is not None and is_float(x.dtype) else g,
    "CastLike": lambda g, y, x, like: (op.CastLike(g, x), None),
    "Add": lambda g, y, a, b: (g, g),
    "Sub": lambda g, y, a, b: (g, -g),
    "Mul": lambda g, y, a, b: (g * b, g * a),
    "Div": lambda g, y, a, b: (g / b, -g * y / b),
    "Pow": power,
    "Mod": lambda g, y, a, b: (g, -g * op.CastLike((a - y) / b, g)),
    "Neg": lambda g, y, x: -g,
    "Abs": lambda g, y, x: g * op.Sign(x),
    "Reciprocal": lambda g, y, x: -g * y * y,
    "Sqrt": lambda g, y, x: g / (2 * y),
    "Exp": lambda g, y, x: g * y,
    "Log": lambda g, y, x: g / x,
    "Sin": lambda g, y, x: g * op.Cos(x),
    "Cos": lambda g, y, x: -g * op.Sin(x),
    "Tan": lambda g, y, x: g * (1 + y * y),
    "Asin": lambda g, y, x: g / op.Sqrt(1 - x * x),
    "Acos": lambda g, y, x: -g / op.Sqrt(1 - x * x),
    "Atan": lambda g, y, x: g / (1 + x * x),
    "Sinh": lambda g, y, x: g * op.Cosh(x),
    "Cosh": lambda g, y, x: g * op.Sinh(x),
    "Asinh": lambda g, y, x: g / op.Sqrt(x * x + 1),
    "Acosh": lambda g, y, x: g / op.Sqrt(x * x - 1),
    "Atanh": lambda g, y, x: g / (1 - x * x),
    "Floor": lambda g, y, x: None,
    "Ceil": lambda g, y, x: None,
    "Round": lambda g, y, x: None,
    "Sign": lambda g, y, x: None,
    "Sum": lambda g, y, *xs: [g] * len(xs),
    "Mean": lambda g, y, *xs: [g / len(xs)] * len(xs),
    "Max": extremum,
    "Min": extremum,
    "Where": lambda g, y, c, a, b: (None, op.Where(c, g, 0), op.Where(c, 0, g)),
}
