"""Eighteen exported gradients of small networks, with what is right of each: what the table runs elsewhere.

Six networks as they are deployed, three ways of asking: the gradient by the picture of a graph for one
picture, of one whose batch is free (two pictures are given), and that by a weight and by an inner value, for
two pictures. The weights are drawn anew each time, the same ones. What is right is what ONNX Runtime says to
the plain export, on a picture at which no rectifier is at its kink and no two pixels of a window are equal.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto

sys.path.insert(0, str(Path(__file__).parents[2]))
from oracles.networks import parsed
from runners import write_arrays

from onnxlens.engine.autodiff.gradient import training_graph
from onnxlens.engine.graph.graph import Graph
from onnxlens.engine.runtime.exports.checked import steady
from onnxlens.engine.runtime.exports.exported import exported
from onnxlens.models.network.zoo import resolve

SQUEEZE = """(float[N,3,32,32] image) => (float[N,10] probabilities) {
    c0 = Conv<strides = [2,2]>(image, w0, b0)  r0 = Relu(c0)
    p0 = MaxPool<kernel_shape = [3,3], strides = [2,2]>(r0)
    c1 = Conv(p0, w1, b1)  r1 = Relu(c1)
    c2 = Conv(r1, w2, b2)  r2 = Relu(c2)
    c3 = Conv<pads = [1,1,1,1]>(r1, w3, b3)  r3 = Relu(c3)
    fire0 = Concat<axis = 1>(r2, r3)
    p1 = MaxPool<kernel_shape = [3,3], strides = [2,2], ceil_mode = 1>(fire0)
    c4 = Conv(p1, w4, b4)  r4 = Relu(c4)
    c5 = Conv(r4, w5, b5)  r5 = Relu(c5)
    c6 = Conv<pads = [1,1,1,1]>(r4, w6, b6)  r6 = Relu(c6)
    fire1 = Concat<axis = 1>(r5, r6)
    c7 = Conv(fire1, w7, b7)  r7 = Relu(c7)
    pooled = GlobalAveragePool(r7)
    logits = Flatten(pooled)
    probabilities = Softmax(logits)
}"""
RESIDUAL = """(float[N,3,32,32] image) => (float[N,10] scores) {
    c0 = Conv<pads = [3,3,3,3], strides = [2,2]>(image, w0)
    n0 = BatchNormalization(c0, scale, shift, mean, variance)  r0 = Relu(n0)
    p0 = MaxPool<kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1]>(r0)
    c1 = Conv<pads = [1,1,1,1]>(p0, w1, b1)  r1 = Relu(c1)
    c2 = Conv<pads = [1,1,1,1]>(r1, w2, b2)
    s0 = Add(c2, p0)  block0 = Relu(s0)
    c3 = Conv<pads = [1,1,1,1], strides = [2,2]>(block0, w3, b3)  r3 = Relu(c3)
    c4 = Conv<pads = [1,1,1,1]>(r3, w4, b4)
    down = Conv<strides = [2,2]>(block0, w5, b5)
    s1 = Add(c4, down)  block1 = Relu(s1)
    pooled = GlobalAveragePool(block1)
    flat = Flatten(pooled)
    scores = Gemm<transB = 1>(flat, head, bias)
}"""
MOBILE = """(float[N,3,32,32] image) => (float[N,10] scores) {
    c0 = Conv<pads = [1,1,1,1], strides = [2,2]>(image, w0, b0)  h0 = HardSwish(c0)
    c1 = Conv<group = 8, pads = [1,1,1,1]>(h0, w1, b1)  k1 = Clip(c1, zero, six)
    m = ReduceMean(k1, axes)
    c2 = Conv(m, w2, b2)  r2 = Relu(c2)
    c3 = Conv(r2, w3, b3)  g = HardSigmoid<alpha = 0.16666667>(c3)
    gated = Mul(k1, g)
    c4 = Conv(gated, w4, b4)
    block0 = Add(c4, h0)
    c5 = Conv(block0, w5, b5)  h5 = HardSwish(c5)
    c6 = Conv<group = 16, pads = [2,2,2,2], strides = [2,2]>(h5, w6, b6)  h6 = HardSwish(c6)
    block1 = Conv(h6, w7, b7)
    pooled = GlobalAveragePool(block1)
    flat = Flatten(pooled)
    scores = Gemm<transB = 1>(flat, head, bias)
}"""
TRANSFORMER = """(float[N,3,32,32] image) => (float[N,10] scores) {
    c0 = Conv<strides = [8,8]>(image, w0, b0)
    flat = Reshape(c0, tokens)
    patches = Transpose<perm = [0,2,1]>(flat)
    size = Shape<end = 1>(image)
    whole = Concat<axis = 0>(size, one_one)
    first = Expand(token, whole)
    joined = Concat<axis = 1>(first, patches)
    x0 = Add(joined, places)
    n0 = LayerNormalization<axis = -1>(x0, scale0, shift0)
    mixed = MatMul(n0, qkv)  biased = Add(mixed, qkv_bias)
    q, k, v = Split<axis = 2, num_outputs = 3>(biased)
    qh = Reshape(q, heads)  qt = Transpose<perm = [0,2,1,3]>(qh)
    kh = Reshape(k, heads)  kt = Transpose<perm = [0,2,3,1]>(kh)
    vh = Reshape(v, heads)  vt = Transpose<perm = [0,2,1,3]>(vh)
    qk = MatMul(qt, kt)  scaled = Mul(qk, half)
    attention = Softmax<axis = -1>(scaled)
    taken = MatMul(attention, vt)
    back = Transpose<perm = [0,2,1,3]>(taken)  rows = Reshape(back, merged)
    projected = MatMul(rows, out)
    block0 = Add(projected, x0)
    n1 = LayerNormalization<axis = -1>(block0, scale1, shift1)
    up = MatMul(n1, w1)  b = Add(up, b1)
    scaled_b = Mul(b, root_half)  e = Erf(scaled_b)  e1 = Add(e, unit)
    be = Mul(b, e1)  gelu = Mul(be, half)
    dn = MatMul(gelu, w2)
    block1 = Add(dn, block0)
    n2 = LayerNormalization<axis = -1>(block1, scale2, shift2)
    cls = Gather<axis = 1>(n2, zero)
    scores = Gemm<transB = 1>(cls, head, bias)
}"""
LSTM = """(float[N,3,16,32] image) => (float[T,N,7] scores) {
    c0 = Conv<pads = [1,1,1,1]>(image, w0, b0)  r0 = Relu(c0)
    p0 = MaxPool<kernel_shape = [2,2], strides = [2,2]>(r0)
    c1 = Conv<pads = [1,1,1,1]>(p0, w1, b1)  r1 = Relu(c1)
    p1 = MaxPool<kernel_shape = [8,2], strides = [8,2]>(r1)
    row = Squeeze(p1, two)
    columns = Transpose<perm = [2,0,1]>(row)
    y = LSTM<hidden_size = 6, direction = "bidirectional">(columns, w, r, b)
    steps = Transpose<perm = [0,2,1,3]>(y)
    joined = Reshape(steps, merged)
    mixed = MatMul(joined, head)
    scores = Add(mixed, bias)
}"""


def drawn(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Random weights, scaled so that signals stay as large as they are; biases (of one axis) are small."""
    rng = np.random.default_rng(0)
    fans = {k: float(np.sqrt(np.prod(s[1:]) / 2)) if len(s) > 1 else 10 for k, s in shapes.items()}
    return {k: (rng.standard_normal(s) / fans[k]).astype(np.float32) for k, s in shapes.items()}


def layers(*shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Weights w0, w1, ... and biases b0, b1, ... of convolutions."""
    weights = {f"w{i}": s for i, s in enumerate(shapes)}
    return drawn(**weights, **{f"b{i}": s[:1] for i, s in enumerate(shapes)})


def ones(*names: str, size: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    return {name: rng.uniform(0.5, 1.5, size).astype(np.float32) for name in names}


def squeeze() -> ModelProto:
    fires = [(4, 8, 1, 1), (8, 4, 1, 1), (8, 4, 3, 3), (6, 16, 1, 1), (12, 6, 1, 1), (12, 6, 3, 3)]
    return parsed(SQUEEZE, **layers((8, 3, 3, 3), *fires, (10, 24, 1, 1)))


def residual() -> ModelProto:
    blocks = [(8, 8, 3, 3), (8, 8, 3, 3), (16, 8, 3, 3), (16, 16, 3, 3), (16, 8, 1, 1)]
    weights = layers((8, 3, 7, 7), *blocks) | drawn(head=(10, 16), bias=(10,), shift=(8,), mean=(8,))
    del weights["b0"]
    return parsed(RESIDUAL, **weights, **ones("scale", "variance", size=8))


def mobile() -> ModelProto:
    gate = [(4, 8, 1, 1), (8, 4, 1, 1)]
    rest = [(8, 8, 1, 1), (16, 8, 1, 1), (16, 1, 5, 5), (12, 16, 1, 1)]
    weights = layers((8, 3, 3, 3), (8, 1, 3, 3), *gate, *rest) | drawn(head=(10, 12), bias=(10,))
    return parsed(MOBILE, **weights, zero=np.float32(0), six=np.float32(6), axes=np.array([2, 3]))


def transformer() -> ModelProto:
    weights = layers((16, 3, 8, 8)) | drawn(
        token=(1, 1, 16), places=(1, 17, 16), qkv=(16, 48), qkv_bias=(48,), out=(16, 16),
        w1=(16, 32), b1=(32,), w2=(32, 16), head=(10, 16), bias=(10,),
        shift0=(16,), shift1=(16,), shift2=(16,),
    )  # fmt: skip
    sizes = {"tokens": [0, 16, 16], "heads": [0, 17, 4, 4], "merged": [0, 17, 16], "one_one": [1, 1]}
    numbers = {"half": 0.5, "unit": 1, "root_half": 2**-0.5}
    return parsed(
        TRANSFORMER,
        **weights,
        **ones("scale0", "scale1", "scale2", size=16),
        **{name: np.array(size) for name, size in sizes.items()},
        **{name: np.float32(number) for name, number in numbers.items()},
        zero=np.array(0),
    )


def lstm() -> ModelProto:
    weights = layers((6, 3, 3, 3), (8, 6, 3, 3)) | drawn(
        w=(2, 24, 8), r=(2, 24, 6), b=(2, 48), head=(12, 7), bias=(7,)
    )
    return parsed(LSTM, **weights, two=np.array([2]), merged=np.array([0, 0, -1]))


def embedded() -> ModelProto:
    return onnx.load(resolve("scenes"))


@dataclass(frozen=True)
class Export:
    """One gradient: of which network, for how many pictures (None: any number), by what."""

    network: str
    batch: int | None
    wrt: tuple[str, ...] = ("image",)


NETWORKS = {f.__name__: f for f in (embedded, squeeze, residual, mobile, transformer, lstm)}
INSIDE = {  # a weight and an inner value
    "embedded": ("conv5.weight", "relu4"),
    "squeeze": ("w3", "fire0"),
    "residual": ("w4", "block0"),
    "mobile": ("w6", "block0"),
    "transformer": ("qkv", "block0"),
    "lstm": ("w", "columns"),
}
EXPORTS: dict[str, Export] = {
    f"{name}-{way}": export
    for name in NETWORKS
    for way, export in {
        "one": Export(name, 1),
        "free": Export(name, None),
        "inside": Export(name, 2, INSIDE[name]),
    }.items()
}


@cache
def model_of(network: str, batch: int | None) -> ModelProto:
    """A network with its batch bound, as a file of its exporter would have it."""
    model = NETWORKS[network]()
    if batch is not None:
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = batch
        for value in model.graph.output:
            value.type.tensor_type.ClearField("shape")
        model = onnx.shape_inference.infer_shapes(model)
    return model


def graph_of(name: str, bound: bool) -> Graph:
    """The training graph; where `bound`, a free batch is bound as `--batch` does."""
    export = EXPORTS[name]
    batch = export.batch or (2 if bound else None)
    model = model_of(export.network, export.batch)
    value = model.graph.input[0]
    shape = [d.dim_value for d in value.type.tensor_type.shape.dim][1:]
    return training_graph(model, wrt=export.wrt, shapes={value.name: (batch, *shape)} if batch else None)


def write(name: str, folder: Path, runtime: str = "any", bound: bool = False) -> Path:
    """Write one export for a runtime, where it is not yet there. Raises BadRequest where that is refused."""
    path = folder / (f"{name}.{runtime}{'.bound' if bound else ''}.onnx")
    if not path.exists():
        onnx.save(exported(graph_of(name, bound), runtime).to_model(), path)
    return path


def write_model(name: str, folder: Path, bound: bool = False) -> Path:
    """Write the network that an export is of, alone."""
    export = EXPORTS[name]
    path = folder / f"{name}.model{'.bound' if bound else ''}.onnx"
    if not path.exists():
        onnx.save(model_of(export.network, export.batch or (2 if bound else None)), path)
    return path


def write_feeds(name: str, folder: Path) -> Path:
    """Write inputs by name, and right outputs as "right:NAME", where they are not yet there."""
    path = folder / f"{name}.npz"
    if not path.exists():
        probe = steady(graph_of(name, False))
        assert probe.moved < 3e-5, f"{name}: no picture without a kink, {probe.moved:.0e}"
        write_arrays(path, {**probe.feeds, **{f"right:{k}": a for k, a in probe.right.items()}})
    return path
