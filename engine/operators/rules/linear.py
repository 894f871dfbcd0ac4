"""Convolutions and matrix products: linear in each of their inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from string import ascii_letters

import numpy as np

from ...errors import BadModel
from ...graph.graph import Tensor, op


def windows_adjoint(
    g: Tensor,
    w: Tensor,
    x: Tensor,
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[int],
    group: int = 1,
) -> Tensor:
    """The adjoint of sliding windows over x: each window gives its share back to where it lay.

    Window o starts at  o·stride - pad  and is  (k-1)·dilation + 1  long, so together they cover a line of
    L = (O-1)·stride + (k-1)·dilation + 1. From it `pad` is cut in front, and behind whatever makes the
    size of x; a rest of x that no window reached is filled with zeros.

        pad |<------------ x ------------>|
            [ window 0 ]
                [ window 1 ]
                    [ window 2 ]..........     <- the rest
    """
    axes = len(strides)
    size, out, kernel = x.spatial, g.spatial, w.spatial
    front = list(pads[:axes])
    if size and out and kernel:
        lengths = [
            (o - 1) * s + (k - 1) * d + 1 for o, s, k, d in zip(out, strides, kernel, dilations, strict=True)
        ]
        ends = [n - p - i for n, p, i in zip(lengths, front, size, strict=True)]
        return op.ConvTranspose(
            g,
            w,
            strides=list(strides),
            dilations=list(dilations),
            group=group,
            pads=front + [max(e, 0) for e in ends],
            output_padding=[max(-e, 0) for e in ends],
        )
    line = op.ConvTranspose(
        g, w, strides=list(strides), dilations=list(dilations), group=group, pads=front + [0] * axes
    )
    # Sizes known only at run time; a negative padding cuts.
    rest = op.Shape(x, start=2) - op.Shape(line, start=2)
    return op.Pad(line, op.Concat(np.zeros(axes + 4, np.int64), rest, axis=0))


def conv(
    g: Tensor,
    y: Tensor,
    x: Tensor,
    w: Tensor,
    b: Tensor | None,
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    group: int = 1,
    auto_pad: str = "NOTSET",
) -> tuple[Callable[[], Tensor], ...]:
    """y = w ∗ x + b (correlation). dx slides the kernel back; dw correlates x with g; db adds g up."""
    if auto_pad == "NOTSET":  # as a rule writes it that has no need to say more
        axes = x.rank - 2
        strides, dilations, pads = strides or [1] * axes, dilations or [1] * axes, pads or [0] * 2 * axes
    if strides is None or dilations is None or pads is None:
        raise BadModel(
            f"the padding ({auto_pad}) of the convolution that makes {y.name!r} depends on an image size "
            "that is not known; give the size"
        )
    axes = [0, *range(2, x.rank)]

    def dw() -> Tensor:
        return conv_weight(g, x, w, strides, dilations, pads, group)

    return (
        lambda: windows_adjoint(g, w, x, strides, dilations, pads, group),
        dw,
        lambda: g.sum(axes, keepdims=False),
    )


def conv_weight(
    g: Tensor,
    x: Tensor,
    w: Tensor,
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[int],
    group: int,
) -> Tensor:
    """dw[o,i,k] = Σ_n,p x[n, i, p·stride + k·dilation - pad] g[n, o, p].

    That is a convolution over p, of which the images n are the channels, the input channels i the batch,
    and g the kernel; stride and dilation change places. With groups, each group keeps its own images.
    """
    spatial = list(range(2, x.rank))
    if group == 1:
        batch = op.Transpose(x, perm=[1, 0, *spatial])  # (I, N, ...)
    else:
        grouped = op.Reshape(x, op.Concat(x.dim(0), [group, -1], op.Shape(x, start=2), axis=0))
        turned = op.Transpose(grouped, perm=[2, 1, 0, *(a + 1 for a in spatial)])  # (I, G, N, ...)
        shape = op.Concat(op.Shape(turned, end=1), op.Shape(turned, start=1, end=3), axis=0)
        merged = op.Concat(
            op.Gather(shape, [0]), op.Gather(shape, [1]) * op.Gather(shape, [2]), op.Shape(x, start=2), axis=0
        )
        batch = op.Reshape(turned, merged)  # (I, G·N, ...)
    kernel = op.Transpose(g, perm=[1, 0, *spatial])  # (O, N, ...)
    every = op.Conv(
        batch, kernel, strides=list(dilations), dilations=list(strides), pads=list(pads), group=group
    )
    # Where the windows leave a rest, there are more shifts than the kernel has.
    size = op.Shape(w, start=2)
    every = op.Slice(every, [0] * len(spatial), size, spatial)
    return op.Transpose(every, perm=[1, 0, *spatial])


def conv_transpose(
    g: Tensor,
    y: Tensor,
    x: Tensor,
    w: Tensor,
    b: Tensor | None,
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    pads: Sequence[int] | None = None,
    group: int = 1,
) -> tuple[Callable[[], Tensor], ...]:
    """The adjoint of a convolution, so its gradient is that convolution; g and x change places in dw."""
    if strides is None or dilations is None or pads is None:
        raise BadModel(
            f"the padding of the transposed convolution that makes {y.name!r} depends on an image size "
            "that is not known; give the size"
        )

    def dx() -> Tensor:
        back = op.Conv(g, w, strides=list(strides), dilations=list(dilations), pads=list(pads), group=group)
        return back if back.shape == x.shape else op.Slice(back, [0] * x.rank, x.dims)

    return (
        dx,
        lambda: conv_weight(x, g, w, strides, dilations, pads, group),
        lambda: g.sum([0, *range(2, x.rank)], keepdims=False),
    )


def einsum(g: Tensor, y: Tensor, *xs: Tensor, equation: str) -> Sequence[Callable[[], Tensor]]:
    """Each factor's gradient is an Einsum of g and the other factors, by letters.

    Letters that a factor alone has are summed over: their gradient is spread. A letter that it has twice
    (a diagonal) stands twice in its gradient too: ones on the diagonal take the place of the second.
    """
    left, _, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if "->" not in equation:  # by the specification: the letters that stand once, in alphabetical order
        once = sorted(c for c in set(left) - set(",.") if left.count(c) == 1)
        result = ("..." if "..." in left else "") + "".join(once)
    return [_factor(g, list(xs), terms, result, i) for i in range(len(xs))]


def _factor(g: Tensor, xs: list[Tensor], terms: list[str], result: str, i: int) -> Callable[[], Tensor]:
    def dx() -> Tensor:
        x = xs[i]
        factors, letters = [g], [result]
        for k, (term, other) in enumerate(zip(terms, xs, strict=True)):
            if k != i:
                factors.append(_numbers(other))
                letters.append(term)
        names, wanted = list(terms[i].replace("...", "\0")), []
        dots = x.rank - len(names) + 1
        unused = iter(c for c in ascii_letters if c not in "".join(terms))
        for position, name in enumerate(names):
            axis = position if "\0" not in names[:position] else position + dots - 1
            twin = next(unused) if name in wanted else name
            alone = name != "\0" and not any(name in term for term in letters)
            if twin != name:
                eye = op.EyeLike(
                    op.Expand(x.graph.constant(0, x.dtype), op.Concat(x.dim(axis), x.dim(axis), axis=0))
                )
                factors.append(eye)
                letters.append(name + twin)
            elif alone:
                factors.append(op.Expand(x.graph.constant(1, x.dtype), x.dim(axis)))
                letters.append(name)
            wanted.append(twin)
        own = "".join(wanted).replace("\0", "..." if any("..." in term for term in letters) else "")
        back = op.Einsum(*factors, equation=",".join(letters) + "->" + own)
        return back

    return dx


def gemm(
    g: Tensor,
    y: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor | None,
    alpha: float,
    beta: float,
    transA: int,
    transB: int,
) -> tuple[Tensor, Tensor, Tensor]:
    """Y = α A B + β C, where A and B may be taken transposed."""
    a, b = _numbers(a), _numbers(b)
    g_ab = g if alpha == 1 else g * alpha
    da = op.Gemm(b, g_ab, transA=transB, transB=1) if transA else op.Gemm(g_ab, b, transB=1 - transB)
    db = op.Gemm(g_ab, a, transA=1, transB=transA) if transB else op.Gemm(a, g_ab, transA=1 - transA)
    return da, db, g if beta == 1 else g * beta


def turned(x: Tensor) -> Tensor:
    """The transpose of each matrix in a stack."""
    return op.Transpose(x, perm=[*range(x.rank - 2), x.rank - 1, x.rank - 2])


_PASSING = {"Identity", "Cast", "Dropout", "Transpose", "Reshape", "Squeeze", "Unsqueeze"}


def matmul(g: Tensor, y: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """d(AB) = g Bᵀ, Aᵀ g; a vector counts as a row on the left and as a column on the right."""
    row, column = a.rank == 1, b.rank == 1
    if row and column:
        return g * b, g * a
    if row:
        a, g = op.Unsqueeze(a, [0]), op.Unsqueeze(g, [-2])
    if column:
        b, g = op.Unsqueeze(b, [1]), op.Unsqueeze(g, [-1])
    da, db = g @ turned(_numbers(b)), turned(_numbers(a)) @ g
    return (op.Squeeze(da, [-2]) if row else da), (op.Squeeze(db, [-1]) if column else db)


def _numbers(x: Tensor) -> Tensor:
    """A factor, of a softmax without what is not a number: the rows of a masked attention that have no key.

    So is what they are multiplied to, unless it is taken out behind that, and then their gradient is 0.
    """
    node = x.graph.producer(x.name)
    while node is not None and node.op_type in _PASSING:
        node = x.graph.producer(node.input[0])
    return x if node is None or node.op_type != "Softmax" else op.Where(op.IsNaN(x), 0, x)


def det(g: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """d det A = g cof A: the determinants of the minors, with alternating signs. Right for singular A too."""
    n = x.shape[-1] if x.shape is not None else None
    if not isinstance(n, int):
        raise BadModel(f"the determinant {y.name!r} is of a matrix of unknown size; bind the input's shape")
    g = op.Unsqueeze(g, [-1, -2])
    if n == 1:
        return op.Expand(g, x.dims)
    others = np.array([[k for k in range(n) if k != i] for i in range(n)])
    minors = op.Gather(op.Gather(x, others, axis=x.rank - 2), others, axis=x.rank)  # (..., i, n-1, j, n-1)
    lead = list(range(x.rank - 2))
    r = len(lead)
    minors = op.Transpose(minors, perm=[*lead, r, r + 2, r + 1, r + 3])
    sign = (-1.0) ** np.add.outer(np.arange(n), np.arange(n))
    return g * op.Det(minors) * x.graph.constant(sign, x.dtype)


RULES = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Det": det,
    "Einsum": einsum,
    "Gemm": gemm,
    "MatMul": matmul,
}
