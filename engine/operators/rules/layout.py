"""Operators that move elements about: each is undone by moving the gradient back.

The general case is `moved`: run the operator on the positions 0, 1, 2, ... of its input; where it puts a
position, it puts that element, so its gradient is added up there. Where ONNX has the backward pass as one
operator, that is the rule.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from onnx import TensorProto

from ...graph.graph import Tensor, op


def positions(x: Tensor) -> Tensor:
    """0, 1, 2, ... in the shape of x, int64."""
    return op.Reshape(op.Range(0, op.Size(x), 1), x.dims)


def scatter(g: Tensor, where: Tensor, x: Tensor) -> Tensor:
    """Zeros of the shape of x with g added at flat positions `where`.

    Sums of 16-bit floats are added up in float32: runtimes lack the kernel, and sums the precision.
    """
    wide = op.Cast(g, to=TensorProto.FLOAT) if g.dtype is not None and g.dtype.itemsize < 4 else g
    zeros = op.Expand(x.graph.constant(0, wide.dtype), op.Reshape(op.Size(x), [1]))
    added = op.ScatterElements(
        zeros, op.Reshape(where, [-1]), op.Reshape(wide, [-1]), axis=0, reduction="add"
    ).like(x)
    return added if wide is g else op.CastLike(added, g)


def moved(move: Callable[..., Tensor]) -> Callable[..., Any]:
    """The rule of an operator that moves the elements of its first input."""
    return lambda g, y, x, *rest, **attrs: scatter(g, move(positions(x), *rest, **attrs), x)


def concat(g: Tensor, y: Tensor, *xs: Tensor, axis: int) -> Sequence[Tensor]:
    """Cut the gradient into the pieces that were joined."""
    if len(xs) == 1:
        return [g]
    sizes = [x.shape[axis] if x.shape is not None else None for x in xs]
    if all(isinstance(s, int) for s in sizes):
        return op.Split(g, sizes, axis=axis, outputs=len(xs))
    return op.Split(g, op.Concat(*(x.dim(axis) for x in xs), axis=0), axis=axis, outputs=len(xs))


def pad(
    g: Tensor, y: Tensor, x: Tensor, pads: Tensor, value: Tensor | None, axes: Tensor | None, mode: str
) -> tuple[Any, ...]:
    """Constant padding is cut off again; other modes add the gradient of each copy to its original."""
    if mode == "constant":

        def d_value() -> Tensor:
            padding = op.Pad(op.Expand(x.graph.constant(0, g.dtype), x.dims), pads, 1, axes)
            return (g * padding).sum(keepdims=False)

        return op.Pad(g, op.Neg(pads), None, axes), None, d_value
    return scatter(g, op.Pad(positions(x), pads, None, axes, mode=mode), x), None


def depth_to_space(g: Tensor, y: Tensor, x: Tensor, blocksize: int, mode: str) -> Tensor:
    """SpaceToDepth; in the CRD order the channels are put back behind their blocks."""
    back = op.SpaceToDepth(g, blocksize=blocksize)
    if mode == "DCR":
        return back
    blocks = op.Reshape(back, op.Concat(back.dim(0), [blocksize**2, -1], op.Shape(back, start=2), axis=0))
    return op.Transpose(blocks, perm=[0, 2, 1, 3, 4]).like(x)


def transpose(g: Tensor, y: Tensor, x: Tensor, perm: Sequence[int] | None = None) -> Tensor:
    """The inverse permutation; the default permutation, a reversal, is its own."""
    return op.Transpose(g, perm=None if perm is None else sorted(range(len(perm)), key=perm.__getitem__))


def reshaped(g: Tensor, y: Tensor, x: Tensor, *_: Tensor | None) -> Tensor:
    """Whatever the new shape was, the old one is back."""
    return g.like(x)


def col2im(
    g: Tensor, y: Tensor, x: Tensor, image_shape: Tensor, block_shape: Tensor, **windows: Any
) -> tuple[Tensor, None, None]:
    """The blocks of g, cut out again: a convolution with a kernel for each element of a block.

    Kernel k is 1 at element k and 0 elsewhere; together they are the identity matrix.
    """
    size = op.ReduceProd(block_shape, keepdims=1)
    eye = op.EyeLike(op.Expand(x.graph.constant(0, x.dtype), op.Concat(size, size, axis=0)))
    kernels = op.Reshape(eye, op.Concat([-1, 1], block_shape, axis=0))
    planes = op.Reshape(g, op.Concat([-1, 1], op.Shape(g, start=2), axis=0))
    return op.Conv(planes, kernels, **windows).like(x), None, None


RULES = {
    "Col2Im": col2im,
    "Reshape": reshaped,
    "Flatten": reshaped,
    "Squeeze": reshaped,
    "Unsqueeze": reshaped,
    "Expand": lambda g, y, x, shape: (g, None),
    "Transpose": transpose,
    "Concat": concat,
    "Split": lambda gs, ys, x, split, axis: op.Concat(*gs, axis=axis),
    "Pad": pad,
    "Slice": moved(op.Slice),
    "Gather": moved(op.Gather),
    "GatherElements": moved(op.GatherElements),
    "GatherND": moved(op.GatherND),
    "Tile": moved(op.Tile),
    "ai.onnx.ml:ArrayFeatureExtractor": moved(lambda at, indices: op.Gather(at, indices, axis=-1)),
    "DepthToSpace": depth_to_space,
    "SpaceToDepth": lambda g, y, x, blocksize, mode="DCR": op.DepthToSpace(g, blocksize=blocksize, mode=mode),
}
