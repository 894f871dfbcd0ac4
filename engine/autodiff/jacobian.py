"""Whole Jacobians: one pass for each row or for each column, whichever are fewer, behind one forward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from onnx import ModelProto, TensorProto, helper

from ...host import memory_size
from ..errors import BadRequest
from ..graph.file import Source
from ..graph.graph import Graph, Tensor, op
from ..graph.sizes import Dim
from .forward import pushforward
from .gradient import backpropagate, check_real, inside, opened
from .vectors import inner, over

INDEX = helper.make_tensor_type_proto(TensorProto.INT64, [])


def jacobian(
    model: Source, of: str | Sequence[str] | None = None, wrt: str | Sequence[str] | None = None
) -> ModelProto:
    """The model and the derivative of every element of `of` by every element of `wrt`.

    It is computed row by row in reverse mode where `of` has no more elements than `wrt`, and else column by
    column in forward mode, all behind one forward pass. Sizes that are open count as 1 for that.

    Parameters
    ----------
    model, of, wrt
        As of `gradient`.

    Returns
    -------
    ModelProto
        A model of plain ai.onnx operators (besides those that it had). Its inputs are the model's own. Its
        outputs are the model's own, unchanged, and then `jacobian/<of>/<wrt>` for each `of` and each `wrt`,
        of the shape of the one followed by the shape of the other, the images of a batch included.

    Raises
    ------
    BadModel
        For a file that is no usable model.
    BadRequest
        For a name that is not there, and for a Jacobian that is larger than the memory of this machine.
    NoRule
        For an operator without a gradient.

    Examples
    --------
    >>> graph = onnxlens.jacobian("model.onnx", of="head", wrt="head.bias").graph
    >>> graph.output[-1].name, len(graph.output[-1].type.tensor_type.shape.dim)
    ('jacobian/head/head.bias', 3)
    """
    return jacobian_graph(model, of, wrt).to_model()


def jacobian_graph(
    model: Source,
    of: str | Sequence[str] | None = None,
    wrt: str | Sequence[str] | None = None,
    output: str | None = None,
    shapes: Mapping[str, Sequence[Dim]] | None = None,
) -> Graph:
    """As `jacobian`, as a Graph; `output` and `shapes` as of `training_graph`."""
    graph, ofs, wrts = opened(model, of, wrt, output, shapes)
    check_real(graph, (*ofs, *wrts))
    ys, xs = [inside(graph, name) for name in ofs], [inside(graph, name) for name in wrts]
    _check_fits(dict(zip(ofs, ys, strict=True)), dict(zip(wrts, xs, strict=True)))
    if sum(map(_least, ys)) <= sum(map(_least, xs)):
        parts = [_by_rows(graph, y, xs) for y in ys]
    else:
        parts = list(zip(*[_by_columns(graph, ys, x) for x in xs], strict=True))
    for of_name, row in zip(ofs, parts, strict=True):
        for wrt_name, part in zip(wrts, row, strict=True):
            graph.output(part, graph.unused(f"jacobian/{of_name}/{wrt_name}"))
    return graph


def _by_rows(graph: Graph, y: Tensor, xs: Sequence[Tensor]) -> list[Tensor]:
    """∂y/∂x for each x: the gradient of each element of y, (n, *x), as (*y, *x)."""
    which, every, unit = _units(graph, y)
    grads = backpropagate(graph, {y.name: unit}, [x.name for x in xs])
    made = [g for g in grads if g is not None]
    rows = iter(over(graph, [which], [every], made) if made else ())
    return [_zeros(y, x) if g is None else _shaped(next(rows), y, x) for g, x in zip(grads, xs, strict=True)]


def _by_columns(graph: Graph, ys: Sequence[Tensor], x: Tensor) -> list[Tensor]:
    """∂y/∂x for each y: its change by each element of x, (n, *y), as (*y, *x)."""
    which, every, unit = _units(graph, x)
    tangents = pushforward(graph, {x.name: unit}, [y.name for y in ys])
    made = [t for t in tangents if t is not None]
    columns = iter(over(graph, [which], [every], made) if made else ())
    return [
        _zeros(y, x)
        if t is None
        else _shaped(op.Transpose(next(columns), perm=[*range(1, y.rank + 1), 0]), y, x)
        for t, y in zip(tangents, ys, strict=True)
    ]


def _units(graph: Graph, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A number i, all of them from 0 on, and what is 1 at element i of x and else 0."""
    which = inner(graph, "index", INDEX)
    every = op.Range(0, op.Squeeze(op.ReduceProd(x.dims)), 1)
    return which, every, op.CastLike(op.Equal(op.Reshape(every, x.dims), which), x)


def _shaped(part: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """A part of the Jacobian with the axes of y and then those of x."""
    certain = all(isinstance(d, int) and d > 0 for d in (*(y.shape or ()), *(x.shape or ())))
    return op.Reshape(part, _both(y, x), allowzero=None if certain else 1)


def _zeros(y: Tensor, x: Tensor) -> Tensor:
    """The Jacobian of a value that does not depend on another."""
    return op.Expand(x.graph.constant(0, x.dtype), _both(y, x))


def _both(y: Tensor, x: Tensor) -> Tensor:
    """The sizes of y and then those of x."""
    known = (*(y.shape or (None,)), *(x.shape or (None,)))
    if all(isinstance(d, int) for d in known):
        return y.graph.constant(list(known), "int64")
    return op.Concat(y.dims, x.dims, axis=0)


def _least(x: Tensor) -> int:
    """How many elements a value has, those of open sizes counted once."""
    return prod(d for d in x.shape or () if isinstance(d, int))


def _check_fits(ys: Mapping[str, Tensor], xs: Mapping[str, Tensor]) -> None:
    """Raises BadRequest for a Jacobian that does not fit into memory."""
    size, memory = 0, memory_size()
    for of, y in ys.items():
        for wrt, x in xs.items():
            count = _least(y) * _least(x)
            size += count * (x.dtype.itemsize if x.dtype is not None else 1)
            if memory is not None and size > memory:
                raise BadRequest(
                    f"the Jacobian of {of!r} by {wrt!r} has {count:,} numbers ({size / 1e9:,.0f} GB), and "
                    f"this machine has {memory / 1e9:,.0f} GB of memory: ask for products with it (jvp, or "
                    "gradient with seeds; grad --mode forward or reverse), or for fewer values"
                )
