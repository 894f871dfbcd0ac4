"""Random networks: operators put together at random, with fan-out, broadcasting and shared weights.

`models()` is a hypothesis strategy of (model, feeds), all in float64. Each value has a bound on its size,
and what grows too large goes through a Tanh, so that central differences stay sharp.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from onnx import ModelProto, TensorProto, helper, numpy_helper

LARGEST = 20.0
SIZES = (1, 2, 3)
Shape = tuple[int, ...]


class Net:
    """A model under construction: shapes of its values, bounds on their elements, and who has read them."""

    def __init__(self, draw: Any, smooth: bool):
        self.draw = draw
        self.operators = {**SMOOTH, **({} if smooth else KINKED)}
        self.shapes: dict[str, Shape] = {}
        self.bounds: dict[str, float] = {}
        self.nodes: list[Any] = []
        self.inputs: list[str] = []
        self.constants: dict[str, np.ndarray] = {}
        self.read: set[str] = set()

    def new(self, shape: Shape, bound: float, hint: str = "v") -> str:
        name = f"{hint}{len(self.shapes)}"
        self.shapes[name], self.bounds[name] = tuple(int(d) for d in shape), bound
        return name

    def weight(self, shape: Shape) -> str:
        """An old weight of this shape or a new one; one that is fed, or stored."""
        old = [n for n in (*self.inputs, *self.constants) if self.shapes.get(n) == shape and n[0] == "w"]
        if old and self.draw(st.booleans()):
            return self.draw(st.sampled_from(old))
        name = self.new(shape, 1.0, "w")
        if self.draw(st.booleans()):
            self.inputs.append(name)
        else:
            self.constants[name] = np.random.default_rng(len(self.shapes)).uniform(-1, 1, shape)
        return name

    def add(self, op_type: str, *inputs: str | np.ndarray, shape: Shape, bound: float, **attrs: Any) -> str:
        names = []
        for given in inputs:
            if isinstance(given, np.ndarray):
                name = f"c{len(self.constants)}"
                self.constants[name] = given
                given = name
            names.append(given)
        self.read.update(names)
        result = self.new(shape, bound)
        self.nodes.append(helper.make_node(op_type, names, [result], f"n{len(self.nodes)}", **attrs))
        if bound > LARGEST:
            return self.add("Tanh", result, shape=shape, bound=1.0)
        return result

    def partner(self, shape: Shape) -> str:
        """A value or weight that broadcasts with a shape, and never makes it large."""
        fits = [n for n in self.shapes if self.values(n) and _broadcast(self.shapes[n], shape) is not None]
        if fits and self.draw(st.booleans()):
            return self.draw(st.sampled_from(fits))
        rank = self.draw(st.integers(0, len(shape)))
        tail = shape[len(shape) - rank :]
        return self.weight(tuple(self.draw(st.sampled_from((1, d))) for d in tail))

    def values(self, name: str) -> bool:
        return name[0] in "xv"


def _broadcast(a: Shape, b: Shape) -> Shape | None:
    try:
        both = np.broadcast_shapes(a, b)
    except ValueError:
        return None
    return both if len(both) <= 4 and np.prod(both) <= 64 else None


def _unary(op_type: str, bound: Any, **attrs: Any) -> Any:
    def build(net: Net, x: str) -> str:
        size = net.bounds[x]
        return net.add(
            op_type, x, shape=net.shapes[x], bound=bound(size) if callable(bound) else bound, **attrs
        )

    return build


def _binary(op_type: str, bound: Any) -> Any:
    def build(net: Net, x: str) -> str:
        other = net.partner(net.shapes[x])
        shape = _broadcast(net.shapes[x], net.shapes[other])
        pair = (x, other) if net.draw(st.booleans()) else (other, x)
        return net.add(op_type, *pair, shape=shape, bound=bound(net.bounds[x], net.bounds[other]))

    return build


def _positive(net: Net, x: str) -> str:
    """1 + x²."""
    shape, size = net.shapes[x], net.bounds[x]
    square = net.add("Mul", x, x, shape=shape, bound=size**2)
    size = net.bounds[square]
    if size < 1.5:  # it may have gone through a Tanh, and is still above -1
        return net.add("Add", square, np.array(1.5), shape=shape, bound=size + 1.5)
    return net.add("Add", square, np.array(1.0), shape=shape, bound=size + 1)


def _of_positive(op_type: str, bound: Any) -> Any:
    def build(net: Net, x: str) -> str:
        y = _positive(net, x)
        return net.add(op_type, y, shape=net.shapes[x], bound=bound)

    return build


def _divide(net: Net, x: str) -> str:
    below = _positive(net, net.partner(net.shapes[x]))
    shape = _broadcast(net.shapes[x], net.shapes[below])
    return net.add("Div", x, below, shape=shape, bound=2 * net.bounds[x])


def _power(net: Net, x: str) -> str:
    base = _positive(net, net.add("Tanh", x, shape=net.shapes[x], bound=1.0))
    exponent = net.partner(net.shapes[x])
    exponent = net.add("Tanh", exponent, shape=net.shapes[exponent], bound=1.0)
    shape = _broadcast(net.shapes[base], net.shapes[exponent])
    return net.add("Pow", base, exponent, shape=shape, bound=4.0)


def _exp(net: Net, x: str) -> str:
    return net.add("Exp", net.add("Tanh", x, shape=net.shapes[x], bound=1.0), shape=net.shapes[x], bound=3.0)


def _matmul(net: Net, x: str) -> str:
    shape = net.shapes[x]
    if not shape:
        return _exp(net, x)
    inner, out = shape[-1], net.draw(st.sampled_from(SIZES))
    w = net.weight((inner, out))
    return net.add("MatMul", x, w, shape=(*shape[:-1], out), bound=inner * net.bounds[x])


def _gram(net: Net, x: str) -> str:
    """x xᵀ: the same value on both sides."""
    shape = net.shapes[x]
    if len(shape) < 2:
        return _matmul(net, x)
    perm = [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2]
    turned = net.add("Transpose", x, shape=tuple(shape[i] for i in perm), bound=net.bounds[x], perm=perm)
    return net.add("MatMul", x, turned, shape=(*shape[:-1], shape[-2]), bound=shape[-1] * net.bounds[x] ** 2)


def _gemm(net: Net, x: str) -> str:
    x = _as_rank(net, x, 2)
    rows, inner = net.shapes[x]
    turned, out = net.draw(st.booleans()), net.draw(st.sampled_from(SIZES))
    w = net.weight((out, inner) if turned else (inner, out))
    bias = net.weight(net.draw(st.sampled_from([(out,), (1, out), (rows, 1)])))
    return net.add(
        "Gemm", x, w, bias, shape=(rows, out), bound=inner * net.bounds[x] + 1, transB=int(turned), alpha=0.5
    )


def _conv(net: Net, x: str) -> str:
    x = _as_rank(net, x, 3)
    batch, channels, length = net.shapes[x]
    out = net.draw(st.sampled_from(SIZES))
    w, bias = net.weight((out, channels, 2)), net.weight((out,))
    bound = 2 * channels * net.bounds[x] + 1
    return net.add("Conv", x, w, bias, shape=(batch, out, length), bound=bound, pads=[1, 0])


def _as_rank(net: Net, x: str, rank: int) -> str:
    shape = net.shapes[x]
    if len(shape) == rank:
        return x
    wanted = (*([1] * (rank - len(shape))), *shape) if len(shape) < rank else None
    wanted = wanted or (*shape[: rank - 1], int(np.prod(shape[rank - 1 :])))
    return net.add("Reshape", x, np.array(wanted), shape=wanted, bound=net.bounds[x])


def _softmax(op_type: str) -> Any:
    def build(net: Net, x: str) -> str:
        rank = len(net.shapes[x])
        if rank == 0:
            return _exp(net, x)
        bound = 1.0 if op_type == "Softmax" else 2 * net.bounds[x] + 2
        return net.add(
            op_type, x, shape=net.shapes[x], bound=bound, axis=net.draw(st.integers(-rank, rank - 1))
        )

    return build


def _layer_norm(net: Net, x: str) -> str:
    shape = net.shapes[x]
    if not shape or shape[-1] == 1:
        return _exp(net, x)
    w, b = net.weight(shape[-1:]), net.weight(shape[-1:])
    attrs = {"axis": -1, "epsilon": 0.1}
    return net.add("LayerNormalization", x, w, b, shape=shape, bound=3.0, **attrs)


def _reduce(op_type: str) -> Any:
    def build(net: Net, x: str) -> str:
        shape = net.shapes[x]
        if not shape:
            return _exp(net, x)
        axes = net.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1))
        keep = net.draw(st.booleans())
        left = tuple(1 if i in axes else d for i, d in enumerate(shape) if keep or i not in axes)
        bound = net.bounds[x] * (np.prod([shape[i] for i in axes]) if op_type == "ReduceSum" else 1)
        return net.add(op_type, x, np.array(sorted(axes)), shape=left, bound=float(bound), keepdims=int(keep))

    return build


def _transpose(net: Net, x: str) -> str:
    perm = net.draw(st.permutations(range(len(net.shapes[x]))))
    shape = tuple(net.shapes[x][i] for i in perm)
    return net.add("Transpose", x, shape=shape, bound=net.bounds[x], perm=perm) if perm else _exp(net, x)


def _concat(net: Net, x: str) -> str:
    shape = net.shapes[x]
    if not shape or np.prod(shape) > 24:
        return _exp(net, x)
    same = [n for n in net.shapes if net.shapes[n] == shape]
    parts = [x, *net.draw(st.lists(st.sampled_from(same), min_size=1, max_size=2))]
    axis = net.draw(st.integers(0, len(shape) - 1))
    joined = tuple(d * len(parts) if i == axis else d for i, d in enumerate(shape))
    return net.add("Concat", *parts, shape=joined, bound=max(net.bounds[p] for p in parts), axis=axis)


def _slice(net: Net, x: str) -> str:
    shape = net.shapes[x]
    axis = net.draw(st.integers(0, len(shape) - 1)) if shape else 0
    if not shape or shape[axis] < 2:
        return _exp(net, x)
    start = net.draw(st.integers(0, shape[axis] - 1))
    left = tuple(d - start if i == axis else d for i, d in enumerate(shape))
    where = [np.array([v]) for v in (start, 2**31, axis)]
    return net.add("Slice", x, *where, shape=left, bound=net.bounds[x])


def _gather(net: Net, x: str) -> str:
    """Rows picked, some more than once."""
    shape = net.shapes[x]
    if not shape:
        return _exp(net, x)
    rows = net.draw(st.lists(st.integers(-shape[0], shape[0] - 1), min_size=1, max_size=3))
    return net.add("Gather", x, np.array(rows), shape=(len(rows), *shape[1:]), bound=net.bounds[x])


def _expand(net: Net, x: str) -> str:
    shape = net.shapes[x]
    wanted = tuple(2 if d == 1 else d for d in shape)
    if np.prod(wanted) > 48:
        return _exp(net, x)
    return net.add("Expand", x, np.array(wanted, np.int64), shape=wanted, bound=net.bounds[x])


def _where(net: Net, x: str) -> str:
    shape = net.shapes[x]
    mask = np.asarray(np.random.default_rng(len(net.shapes)).random(shape) < 0.5)
    other = net.partner(shape)
    both = _broadcast(shape, net.shapes[other])
    return net.add("Where", mask, x, other, shape=both, bound=max(net.bounds[x], net.bounds[other]))


SMOOTH = {
    "Add": _binary("Add", lambda a, b: a + b),
    "Sub": _binary("Sub", lambda a, b: a + b),
    "Mul": _binary("Mul", lambda a, b: a * b),
    "Div": _divide,
    "Pow": _power,
    "Sum": _binary("Sum", lambda a, b: a + b),
    "Exp": _exp,
    "Log": _of_positive("Log", 4.0),
    "Sqrt": _of_positive("Sqrt", 5.0),
    "Reciprocal": _of_positive("Reciprocal", 2.0),
    "Neg": _unary("Neg", lambda a: a),
    "Tanh": _unary("Tanh", 1.0),
    "Sigmoid": _unary("Sigmoid", 1.0),
    "Sin": _unary("Sin", 1.0),
    "Softplus": _unary("Softplus", lambda a: a + 1),
    "Erf": _unary("Erf", 1.0),
    "MatMul": _matmul,
    "Gram": _gram,
    "Gemm": _gemm,
    "Conv": _conv,
    "Softmax": _softmax("Softmax"),
    "LogSoftmax": _softmax("LogSoftmax"),
    "LayerNormalization": _layer_norm,
    "ReduceSum": _reduce("ReduceSum"),
    "ReduceMean": _reduce("ReduceMean"),
    "Transpose": _transpose,
    "Concat": _concat,
    "Slice": _slice,
    "Gather": _gather,
    "Expand": _expand,
    "Where": _where,
}
KINKED = {
    "Relu": _unary("Relu", lambda a: a),
    "LeakyRelu": _unary("LeakyRelu", lambda a: a, alpha=0.25),
    "Abs": _unary("Abs", lambda a: a),
    "Max": _binary("Max", max),
    "Min": _binary("Min", max),
    "ReduceMax": _reduce("ReduceMax"),
}


@st.composite
def models(
    draw: Any, least: int = 3, most: int = 30, smooth: bool = False
) -> tuple[ModelProto, dict[str, np.ndarray]]:
    """A model of `least` to `most` operators and values for its inputs; what nothing reads is an output."""
    net = Net(draw, smooth)
    for _ in range(draw(st.integers(1, 2))):
        shape = tuple(draw(st.lists(st.sampled_from(SIZES), min_size=1, max_size=3)))
        net.inputs.append(net.new(shape, 1.5, "x"))
    count = draw(st.integers(least, most - 2))  # the last may bring two more
    while len(net.nodes) < count:
        values = [n for n in net.shapes if net.values(n)]
        recent = values[-3:] if draw(st.booleans()) else values
        net.operators[draw(st.sampled_from(sorted(net.operators)))](net, draw(st.sampled_from(recent)))
    computed = [n.output[0] for n in net.nodes]
    outputs = [n for n in computed if n not in net.read]
    used = net.read
    inputs = [n for n in net.inputs if n in used]
    kind = TensorProto.DOUBLE
    graph = helper.make_graph(
        net.nodes,
        "random",
        [helper.make_tensor_value_info(n, kind, net.shapes[n]) for n in inputs],
        [helper.make_tensor_value_info(n, kind, net.shapes[n]) for n in outputs],
        [numpy_helper.from_array(a, n) for n, a in net.constants.items() if n in used],
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    feeds = {n: rng.uniform(-1, 1, net.shapes[n]) for n in inputs}
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
    return model, feeds
