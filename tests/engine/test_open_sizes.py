"""One file for pictures of any size: its gradient at each size is that of the file made for this size."""

import numpy as np
import pytest
from oracles.networks import parsed, run

from onnxlens.engine.autodiff.gradient import gradient, training_graph
from onnxlens.engine.errors import BadModel, NoRule

RNG = np.random.default_rng(0)
WEIGHTS = {
    "w": RNG.standard_normal((4, 3, 3, 3)) / 4, "t": RNG.standard_normal((4, 4, 2, 2)) / 2,
    "q": RNG.standard_normal((4, 4)), "k": RNG.standard_normal((4, 4)),
    "lw": RNG.standard_normal((2, 16, 4)) / 2, "lr": RNG.standard_normal((2, 16, 4)) / 2,
    "gw": RNG.standard_normal((1, 12, 4)) / 2, "gr": RNG.standard_normal((1, 12, 4)) / 2,
    "g": np.ones(4), "b": np.zeros(4), "mean": np.zeros(4), "var": np.ones(4), "sc": np.float32([1, 1, 2, 2]),
    "nil": np.int64([0]), "one": np.int64([1]), "two": np.int64([2]), "three": np.int64([3]),
    "four": np.int64([4]), "heads": np.int64([2]), "half": np.int64([2]), "m1": np.int64([-1]),
    "ax": np.int64([2, 3]), "pads": np.int64([0, 0, 1, 1, 0, 0, 1, 1]), "st": np.int64([1, 1]),
    "ends": np.int64([-1, -1]), "rep": np.int64([1, 1, 2, 1]),
}  # fmt: skip
# Behind a = tanh(c), (N, 4, H, W), which is a convolution of x, (N, 3, H, W).
OPEN = {
    "convolution": "y = GlobalAveragePool (a)",
    "a stride": "c = Conv <pads=[1,1,1,1], strides=[2,2]> (x, w) a = Tanh (c) y = Mul (a, a)",
    "max pooling": "p = MaxPool <kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]> (a) y = Mul (p, p)",
    "MaxPool, ceil": "p = MaxPool <kernel_shape=[2,2], strides=[2,2], ceil_mode=1> (a) y = Mul (p, p)",
    "transposed convolution": "p = ConvTranspose <strides=[2,2]> (a, t) y = Tanh (p)",
    "resized by a factor": 'p = Resize <mode="linear"> (a, "", sc) y = Mul (p, p)',
    "resized to another map": "p = MaxPool <kernel_shape=[2,2], strides=[2,2]> (a) s = Shape (a) u = Resize "
    '<mode="nearest"> (p, "", "", s) y = Mul (u, a)',
    "halved": "s = Shape (a) h = Slice (s, two, four) d = Div (h, two) n = Slice (s, nil, two) z = "
    'Concat <axis=0> (n, d) u = Resize <mode="linear"> (a, "", "", z) y = Mul (u, u)',
    "instance normalisation": "n = InstanceNormalization (a, g, b) y = Mul (n, a)",
    "batch normalisation": "n = BatchNormalization (a, g, b, mean, var) y = Mul (n, a)",
    "LRN": "n = LRN <size=3> (a) y = Mul (n, a)",
    "reflected padding": 'n = Pad <mode="reflect"> (a, pads) y = Mul (n, n)',
    "a border cut off": "n = Slice (a, st, ends, ax) y = Mul (n, n)",
    "tiled": "n = Tile (a, rep) y = Mul (n, n)",
    "LpPool": "n = LpPool <kernel_shape=[2,2], strides=[1,1], p=2> (a) y = Mul (n, n)",
    "global max pooling": "n = GlobalMaxPool (a) y = Mul (n, n)",
    "LSTM over columns": "r = ReduceMean <keepdims=0> (a, two) p = Transpose <perm=[2,0,1]> (r) y = LSTM "
    '<hidden_size=4, direction="bidirectional"> (p, lw, lr)',
    "GRU over columns": "r = ReduceMean <keepdims=0> (a, two) p = Transpose <perm=[2,0,1]> (r) y = GRU "
    "<hidden_size=4> (p, gw, gr)",
    "attention": "s = Shape (a) n = Slice (s, nil, one) f = Concat <axis=0> (n, four, m1) r = Reshape (a, "
    "f) o = Transpose <perm=[0,2,1]> (r) qq = MatMul (o, q) kk = MatMul (o, k) hs = Concat "
    "<axis=0> (n, m1, heads, half) qh = Reshape (qq, hs) kh = Reshape (kk, hs) vh = Reshape "
    "(o, hs) qt = Transpose <perm=[0,2,1,3]> (qh) kt = Transpose <perm=[0,2,3,1]> (kh) vt = "
    "Transpose <perm=[0,2,1,3]> (vh) e = MatMul (qt, kt) w2 = Softmax (e) z = MatMul (w2, vt)"
    " zt = Transpose <perm=[0,2,1,3]> (z) os = Concat <axis=0> (n, m1, four) y = Reshape (zt,"
    " os)",
    "einsum": 'r = Einsum <equation="nchw,nchw->nhw"> (a, a) y = Tanh (r)',
    "running sums": "i = Squeeze (two) r = CumSum (a, i) y = Tanh (r)",
    "top-k": "s = Shape (a) h = Slice (s, three, four) vv, ii = TopK (a, one) y = Mul (vv, vv)",
    "depth to space": "r = DepthToSpace <blocksize=2> (a) y = Tanh (r)",
    "softmax over rows": "y = Softmax <axis=2> (a)",
    "layer normalisation": "o = Transpose <perm=[0,2,3,1]> (a) y = LayerNormalization (o, g, b)",
    "group normalisation": "y = GroupNormalization <num_groups=2> (a, g, b)",
    "expanded to another map": "r = ReduceMean (a, ax) s = Shape (a) e = Expand (r, s) y = Mul (e, a)",
    "channels split": "p, o = Split <axis=1, num_outputs=2> (a) y = Mul (p, o)",
    "rows split": "p, o = Split <axis=2, num_outputs=2> (a) y = Tanh (p)",
    "joined": "p = Concat <axis=3> (a, a, c) y = Tanh (p)",
}
REFUSED = {
    "AveragePool, ceil": "p = AveragePool <kernel_shape=[2,2], strides=[2,2], ceil_mode=1> (a)"
    " y = Mul (p, p)",
    "SAME padding": 'c = Conv <auto_pad="SAME_UPPER", strides=[2,2]> (x, w) a = Tanh (c) y = Mul (a, a)',
    "GridSample": "r = ReduceMean (a, one) p = Concat <axis=1> (r, r) gg = Transpose <perm=[0,2,3,1]> (p) y"
    " = GridSample (a, gg)",
    "DeformConv": "oo = ReduceMean(a, one) o8 = Concat <axis=1> (oo,oo,oo,oo,oo,oo,oo,oo) y = DeformConv "
    "<kernel_shape=[2,2], pads=[0,0,1,1]> (a, t, o8)",
}
SAID = {
    "AveragePool, ceil": "depend on a size that is not known; give it",
    "SAME padding": "depends on an image size that is not known; give the size",
    "GridSample": "whose size is not known; bind the input's shape",
    "DeformConv": "whose size is not known; bind the input's shape",
}


def network(body):
    before = "" if "(x, w)" in body else "c = Conv <pads = [1,1,1,1]> (x, w) a = Tanh (c)"
    model = parsed(f"(float[N,3,H,W] x) => (float y) {{ {before} {body} }}", opset=22, **WEIGHTS)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return model


@pytest.mark.parametrize("kind", OPEN)
def test_one_file_is_right_at_each_size(kind):
    model = network(OPEN[kind])
    made = gradient(model, of="y", wrt="x")
    for shape in ((1, 3, 6, 8), (2, 3, 4, 10), (2, 3, 7, 5)):
        x = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
        u = np.random.default_rng(4).standard_normal(run(model, {"x": x})["y"].shape).astype(np.float32)
        found = run(made, {"x": x, "seed/y": u})["grad/x"]
        bound = training_graph(model, "y", "x", shapes={"x": shape}).to_model()
        expected = run(bound, {"x": x, "seed/y": u})["grad/x"]
        assert np.abs(expected).max() > 0
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("kind", REFUSED)
def test_what_needs_the_size_says_so(kind):
    model = network(REFUSED[kind])
    with pytest.raises((BadModel, NoRule), match=SAID[kind]):
        gradient(model, of="y", wrt="x")
    training_graph(model, "y", "x", shapes={"x": (1, 3, 6, 8)})
