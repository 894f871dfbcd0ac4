"""Sizes that are only known by name, followed through shape arithmetic.

ONNX infers the type of one node from constants; where the batch is "N", Shape(x) is no constant and
Reshape(y, Shape(x)) would have no known shape. So for each small integer vector that is made of sizes we
keep what is known of it, a number, a symbol or None for each entry, and complete the inferred shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Dim = int | str | None
Vector = list[Dim]
Find = Callable[[str], Any]


def followed(
    op_type: str, inputs: Sequence[str], attrs: Mapping[str, Any], shape: Find, sizes: Find
) -> Vector | None:
    """The entries of a node's output, if it is a vector (or scalar) of sizes that can be followed.

    `shape(name)` gives a value's shape or None, `sizes(name)` the entries of an integer vector or None.
    """
    if op_type == "Shape":
        dims = shape(inputs[0])
        return None if dims is None else list(dims)[attrs.get("start", 0) : attrs.get("end")]
    parts = [sizes(i) for i in inputs if i]
    if not parts or any(p is None for p in parts):
        return None
    # Said here: the table of traits lies above this room, whose inference needs no more of it.
    if op_type in ("Identity", "Squeeze", "Unsqueeze", "Cast"):
        return parts[0]
    if op_type == "Concat":
        return [d for p in parts for d in p]
    if op_type == "Gather":
        where = parts[1]
        inside = all(isinstance(i, int) and -len(parts[0]) <= i < len(parts[0]) for i in where)
        return [parts[0][i] for i in where] if inside else None
    if op_type == "Slice" and len(parts) == 4 and all(len(p) == 1 for p in parts[1:]):
        (start,), (end,), _ = parts[1:]
        if isinstance(start, int) and isinstance(end, int):
            return parts[0][start:end]
    return None


WHOLE = 2**31 - 1  # the end of a Slice that goes up to the end, whatever the size; some say 2**63 - 1


def sliced(source: Sequence[Dim] | None, *where: Vector | None) -> Vector | None:
    """The shape that a Slice gives, None for each axis that it may cut; None if these are not known.

    `where`: its starts and ends, and perhaps axes and steps. Exporters write one for every `:` of an index.
    """
    if source is None or any(w is None for w in where):
        return None
    starts, ends, axes, steps = [*(w or [] for w in where), *[[]] * (4 - len(where))]
    found = list(source)
    for k, (start, end) in enumerate(zip(starts, ends, strict=False)):
        axis, step = axes[k] if axes else k, steps[k] if steps else 1
        if not isinstance(axis, int):
            return None
        if start != 0 or step != 1 or not isinstance(end, int) or end < WHOLE:
            found[axis] = None
    return found


def target(op_type: str, source: Sequence[Dim] | None, wish: Vector | None) -> Vector | None:
    """The shape that Reshape, Expand or ConstantOfShape give for a wish of this kind; None if not known."""
    if wish is None:
        return None
    if op_type == "ConstantOfShape":
        return wish
    if op_type == "Reshape":
        dims = [source[i] if d == 0 and source and i < len(source) else d for i, d in enumerate(wish)]
        return [_rest(source, dims) if d == -1 else d for d in dims]
    if op_type == "Expand" and source is not None:
        rank = max(len(source), len(wish))
        a, b = [1] * (rank - len(source)) + list(source), [1] * (rank - len(wish)) + wish
        return [y if x == 1 or x == y else x if y == 1 else None for x, y in zip(a, b, strict=True)]
    return None


def _rest(source: Sequence[Dim] | None, dims: Vector) -> Dim:
    """What -1 stands for: the sizes of the source that the others do not use up."""
    if source is None:
        return None
    left = list(source)
    for d in dims:
        if d in left and not isinstance(d, int):
            left.remove(d)
        elif not isinstance(d, int):
            return None
    if len(left) == 1 and all(d in (1, -1) for d in dims if isinstance(d, int)):
        return left[0]
    whole = [d for d in left if isinstance(d, int)]
    if len(whole) != len(left):
        return None
    used = _product(d for d in dims if isinstance(d, int) and d != -1)
    return _product(whole) // used if used else None


def _product(numbers: Any) -> int:
    result = 1
    for n in numbers:
        result *= n
    return result
