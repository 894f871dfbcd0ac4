"""Integer operators as what they stand for: dequantise, compute, quantise.

    QLinearX(x, s, z, ..., s', z') = Q(X(D(x, s, z), ...), s', z')

Values of a quantised model stay those of its integer kernels; the gradient goes through the real numbers
that the integers stand for, straight through the rounding (rules/quantisation.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto

from ...errors import NoRule
from ...graph.graph import Tensor, op
from .recurrent import lstm


def real(x: Tensor, scale: Tensor, zero: Tensor | None, axis: int = 1) -> Tensor:
    """D(x) = (x - zero) scale."""
    return op.DequantizeLinear(x, scale, zero, axis=axis)


def whole(y: Tensor, scale: Tensor, zero: Tensor | None) -> Tensor:
    """Q(y) = saturate(round(y / scale) + zero)."""
    return op.QuantizeLinear(y, scale, zero)


def centred(x: Tensor, zero: Tensor | None) -> Tensor:
    """x - zero, as float."""
    x = op.Cast(x, to=TensorProto.FLOAT)
    return x if zero is None else x - op.Cast(zero, to=TensorProto.FLOAT)


def counted(x: Tensor, zero: Tensor | None) -> Tensor:
    """x - zero, as float, of a value: to rules that share out a sum, the zero point is no part of one."""
    if zero is None or zero.shape not in ((), (1,)):
        return centred(x, zero)
    return op.DequantizeLinear(x, 1.0, zero if zero.shape == () else op.Squeeze(zero))


def unary(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """An operator of one tensor: (x, s, z, s', z')."""

    def body(
        x: Tensor, xs: Tensor, xz: Tensor | None, ys: Tensor, yz: Tensor | None = None, **attrs: Any
    ) -> Tensor:
        return whole(function(real(x, xs, xz), **attrs), ys, yz)

    return body


def binary(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """An operator of two tensors: (a, s, z, b, s, z, s', z')."""

    def body(
        a: Tensor, sa: Tensor, za: Tensor | None, b: Tensor, sb: Tensor, zb: Tensor | None, ys: Tensor,
        yz: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        return whole(function(real(a, sa, za), real(b, sb, zb)), ys, yz)

    return body


def channels_second(x: Tensor, channels_last: int) -> Tensor:
    """(N, ..., C) as (N, C, ...), where the channels are last; ONNX Runtime keeps integers so."""
    return op.Transpose(x, perm=[0, x.rank - 1, *range(1, x.rank - 1)]) if channels_last else x


def channels_last_again(y: Tensor, channels_last: int) -> Tensor:
    """(N, C, ...) as (N, ..., C), where the channels are to be last."""
    return op.Transpose(y, perm=[0, *range(2, y.rank), 1]) if channels_last else y


def max_pool(x: Tensor, **attrs: Any) -> Tensor:
    """The largest of each window of integers (N, ..., C)."""
    return channels_last_again(op.MaxPool(channels_second(x, 1), **attrs), 1)


def qlinear_conv(
    x: Tensor, xs: Tensor, xz: Tensor, w: Tensor, ws: Tensor, wz: Tensor, ys: Tensor, yz: Tensor,
    b: Tensor | None = None, channels_last: int = 0, **attrs: Any,
) -> Tensor:  # fmt: skip
    """A convolution; the bias is counted in steps of the product of the scales of x and w."""
    bias = None if b is None else op.Cast(b, to=TensorProto.FLOAT) * xs * ws
    y = op.Conv(channels_second(real(x, xs, xz), channels_last), real(w, ws, wz, axis=0), bias, **attrs)
    return whole(channels_last_again(y, channels_last), ys, yz)


def conv_integer(
    x: Tensor, w: Tensor, xz: Tensor | None = None, wz: Tensor | None = None, **attrs: Any
) -> Tensor:
    """A convolution of integers less their zero points."""
    if wz is not None and wz.shape not in ((), (1,)):
        wz = op.Reshape(wz, [-1] + [1] * (w.rank - 1))
    return op.Conv(counted(x, xz), centred(w, wz), **attrs)


def matmul_integer(a: Tensor, b: Tensor, az: Tensor | None = None, bz: Tensor | None = None) -> Tensor:
    """A matrix product of integers less their zero points."""
    if az is not None and az.shape not in ((), (1,)):
        az = op.Unsqueeze(az, [-1])
    return op.MatMul(counted(a, az), centred(b, bz))


def matmul_to_float(
    a: Tensor, b: Tensor, sa: Tensor, sb: Tensor, za: Tensor | None = None, zb: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """A matrix product of integers, as real numbers."""
    y = real(a, sa, za) @ real(b, sb, zb, axis=-1)
    return y if bias is None else y + bias


def dynamic_matmul(
    a: Tensor, b: Tensor, sb: Tensor, zb: Tensor | None = None, bias: Tensor | None = None
) -> Tensor:
    """A real matrix, quantised on the spot over its own range, times one of integers."""
    y = a @ real(b, sb, zb, axis=-1)
    return y if bias is None else y + bias


def dynamic_lstm(
    x: Tensor, w: Tensor, r: Tensor, b: Tensor | None, lengths: Tensor | None, h0: Tensor | None,
    c0: Tensor | None, peepholes: Tensor | None, ws: Tensor, wz: Tensor, rs: Tensor, rz: Tensor, **attrs: Any,
) -> tuple[Tensor, ...]:  # fmt: skip
    """An LSTM of integer weights, one matrix (I, 4H) and one (H, 4H) for each direction, on one scale or on
    one for each column; what they are multiplied by is quantised on the spot over its own range.
    """

    def turned(m: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
        scale, zero = (op.Reshape(t, [0, 1, -1]) for t in (scale, zero))
        return op.Transpose(centred(m, zero) * scale, perm=[0, 2, 1])

    return lstm(x, turned(w, ws, wz), turned(r, rs, rz), b, lengths, h0, c0, peepholes, **attrs)


def qgemm(
    a: Tensor, sa: Tensor, za: Tensor, b: Tensor, sb: Tensor, zb: Tensor, c: Tensor | None = None,
    ys: Tensor | None = None, yz: Tensor | None = None, alpha: float = 1.0, transA: int = 0, transB: int = 0,
) -> Tensor:  # fmt: skip
    """α A B + C, with C counted in steps of α times the product of the scales; float without `ys`."""
    bias = None if c is None else op.Cast(c, to=TensorProto.FLOAT) * sa * sb * alpha
    axis = 0 if transB else 1
    y = op.Gemm(real(a, sa, za), real(b, sb, zb, axis), bias, alpha=alpha, transA=transA, transB=transB)
    return y if ys is None else whole(y, ys, yz)


def qlinear_where(
    condition: Tensor, a: Tensor, sa: Tensor, za: Tensor, b: Tensor, sb: Tensor, zb: Tensor, ys: Tensor,
    yz: Tensor,
) -> Tensor:  # fmt: skip
    """Of two tensors, each on its own scale, one or the other in each place."""
    return whole(op.Where(condition, real(a, sa, za), real(b, sb, zb)), ys, yz)


def qlinear_concat(ys: Tensor, yz: Tensor, *parts: Tensor, axis: int) -> Tensor:
    """Parts (x, s, z), each on its own scale, joined on one."""
    reals = [real(*triple) for triple in zip(parts[::3], parts[1::3], parts[2::3], strict=True)]
    return whole(op.Concat(*reals, axis=axis), ys, yz)


def matmul_nbits(
    a: Tensor, b: Tensor, scales: Tensor, zeros: Tensor | None = None, groups: Tensor | None = None,
    bias: Tensor | None = None, *, K: int, N: int, bits: int = 4, block_size: int, weight_prepacked: int = 0,
    **_: Any,
) -> Tensor:  # fmt: skip
    """A Wᵀ + bias with W (N, K) of integers of a few bits, each block of a row on a scale of its own."""
    if weight_prepacked:
        raise NoRule("has its weights in the layout of one kind of hardware; take the model before that")
    if groups is not None and zeros is not None and zeros.dtype == np.uint8:
        raise NoRule("has g_idx and packed zero points, which ONNX Runtime leaves out beside it")
    which: Any = np.arange(K) // block_size if groups is None else groups  # the block of each column
    rows = op.Cast(op.Slice(_unpacked(b, bits, N), [0], [K], [1]), to=TensorProto.FLOAT)
    if zeros is None:
        middle: Any = 2.0 ** (bits - 1)
    else:
        packed = zeros.dtype == np.uint8
        middle = op.Gather(_unpacked(zeros, bits, N) if packed else op.Reshape(zeros, [N, -1]), which, axis=1)
        middle = op.Cast(middle, to=TensorProto.FLOAT)
    w = op.CastLike(rows - middle, a) * op.Gather(op.Reshape(scales, [N, -1]), which, axis=1)
    y = a @ op.Transpose(w, perm=[1, 0])
    return y if bias is None else y + bias


# What four bits stand for: Dettmers et al. 2023, "QLoRA", appendix E, and bitsandbytes' own FP4.
_FP4 = np.array([0, 1 / 192, 2 / 3, 1, 1 / 3, 1 / 2, 1 / 6, 1 / 4])
_NF4 = [
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023,
    1.0,
]  # fmt: skip
_LEVELS = np.stack([np.concatenate([_FP4, -_FP4]), _NF4])


def matmul_bnb4(
    a: Tensor, b: Tensor, largest: Tensor, *, K: int, N: int, block_size: int, quant_type: int,
    transB: int = 1, **_: Any,
) -> Tensor:  # fmt: skip
    """A Wᵀ with W (N, K) of levels between -1 and 1, each block of its numbers times the block's largest."""
    if not transB:
        raise NoRule("has its weights transposed, which ONNX Runtime does not compute either")
    high = op.BitShift(b, b.graph.constant(4, b.dtype), direction="RIGHT")
    low = op.BitwiseAnd(b, b.graph.constant(15, b.dtype))
    codes = op.Concat(*(op.Unsqueeze(op.Flatten(n, axis=0), [2]) for n in (high, low)), axis=2)
    codes = op.Slice(op.Reshape(codes, [-1]), [0], [N * K], [0])
    levels = op.Gather(a.graph.constant(_LEVELS[quant_type], a.dtype), op.Cast(codes, to=TensorProto.INT64))
    scales = op.Gather(op.Reshape(largest, [-1]), np.arange(N * K) // block_size)
    return a @ op.Transpose(op.Reshape(levels * scales, [N, K]), perm=[1, 0])


def _unpacked(x: Tensor, bits: int, rows: int) -> Tensor:
    """The integers of a few bits in the bytes of x, the lower ones first, row by row."""
    lowest = x.graph.constant(2**bits - 1, x.dtype)
    parts = [op.BitShift(x, x.graph.constant(n, x.dtype), direction="RIGHT") for n in range(0, 8, bits)]
    whole = op.Concat(*(op.Unsqueeze(op.BitwiseAnd(p, lowest), [-1]) for p in parts), axis=-1)
    return op.Reshape(whole, [rows, -1])


def average_pool(x: Tensor, channels_last: int = 0, **attrs: Any) -> Tensor:
    """The mean of each window."""
    return channels_last_again(op.AveragePool(channels_second(x, channels_last), **attrs), channels_last)


def _average(x: Tensor, channels_last: int = 0) -> Tensor:
    axes = range(1, x.rank - 1) if channels_last else range(2, x.rank)
    return x.mean(list(axes))


MS = "com.microsoft:"
BODIES = {
    "QLinearConv": qlinear_conv,
    MS + "QLinearConv": qlinear_conv,
    MS + "NhwcMaxPool": max_pool,
    "ConvInteger": conv_integer,
    "QLinearMatMul": binary(op.MatMul),
    "MatMulInteger": matmul_integer,
    MS + "MatMulIntegerToFloat": matmul_to_float,
    MS + "DynamicQuantizeMatMul": dynamic_matmul,
    MS + "DynamicQuantizeLSTM": dynamic_lstm,
    MS + "MatMulNBits": matmul_nbits,
    MS + "MatMulBnb4": matmul_bnb4,
    MS + "QGemm": qgemm,
    MS + "QLinearAdd": binary(op.Add),
    MS + "QLinearMul": binary(op.Mul),
    MS + "QLinearConcat": qlinear_concat,
    MS + "QLinearWhere": qlinear_where,
    MS + "QLinearGlobalAveragePool": unary(_average),
    MS + "QLinearSigmoid": unary(op.Sigmoid),
    MS + "QLinearLeakyRelu": unary(op.LeakyRelu),
    MS + "QLinearSoftmax": unary(lambda x, axis=-1, opset=13: op.Softmax(x, axis=axis)),
    MS + "QLinearAveragePool": unary(average_pool),
    MS + "QLinearReduceMean": unary(lambda x, axes=None, keepdims=1: x.mean(axes, keepdims)),
}
