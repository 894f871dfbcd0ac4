"""What the operators behind an input take for granted of the sizes that it leaves open."""

import ml_dtypes
import numpy as np
import pytest
from onnx import numpy_helper
from oracles.networks import parsed

from onnxlens.engine.canonical.given import given_sizes
from onnxlens.engine.errors import BadModel
from onnxlens.engine.graph.file import read_model

RNG = np.random.default_rng(2)
W3, W1, W12 = (RNG.standard_normal((8, c, 4, 4)).astype("f") for c in (3, 1, 12))


def sizes(body, opset=18, rank=4, **weights):
    shape = ",".join("NABC"[:rank])
    model = read_model(parsed(f"(float[{shape}] x) => (float[P,Q,R,S] y) {{ {body} }}", opset, **weights))
    return given_sizes(model.graph, "x", rank)


CONV = "y = Conv <strides = [4,4]> ({}, w)"


@pytest.mark.parametrize(
    ("start", "weights", "expected"),
    [
        (CONV.format("x"), {"w": W3}, {1: 3}),
        (CONV.format("x"), {"w": W1}, {1: 1}),
        ("y = Conv <group = 3> (x, w)", {"w": RNG.standard_normal((6, 1, 3, 3))}, {1: 3}),
        ("t = Transpose <perm = [0,3,1,2]> (x) " + CONV.format("t"), {"w": W3}, {3: 3}),
        ("s = Sub (x, m) d = Div (s, m) " + CONV.format("d"), {"w": W3, "m": np.ones((1, 1, 1, 1))}, {1: 3}),
        ("s = Sub (x, m) r = ReduceMean (s) y = Identity (s)", {"m": np.ones((3, 1, 1))}, {1: 3}),
        ("s = Sub (x, m) y = Identity (s)", {"m": np.ones(3)}, {3: 3}),
        ("s = Sub (x, m) y = Identity (s)", {"m": np.ones((3, 20, 30))}, {1: 3, 2: 20, 3: 30}),
        ("m = Constant <value = float[1,3,1,1] {1.0, 2.0, 3.0}> () s = Sub (m, x) y = Neg (s)", {}, {1: 3}),
        ("c = Cast <to = 10> (x) d = Cast <to = 1> (c) q = Clip (d) " + CONV.format("q"), {"w": W3}, {1: 3}),
        ("p = Pad (x, k) " + CONV.format("p"), {"w": W3, "k": np.array([0, 0, 1, 1, 0, 0, 1, 1])}, {1: 3}),
        ("p = Pad (x, k) " + CONV.format("p"), {"w": W3, "k": np.array([0, 1, 1, 1, 0, 0, 1, 1])}, {}),
        ("b = BatchNormalization (x, g, g, g, g) y = Relu (b)", {"g": np.ones(3)}, {1: 3}),
        ("u = Gather <axis = 1> (x, i) " + CONV.format("u"), {"w": W3, "i": np.array([2, 1, 0])}, {1: 3}),
        ("u = Gather <axis = 1> (x, i) " + CONV.format("u"), {"w": W3, "i": np.array([0, 0, 0])}, {}),
        ("a, b, c = Split <axis=1, num_outputs=3> (x) u = Concat <axis=1> (c, b, a) " + CONV.format("u"),
         {"w": W3}, {1: 3}),
        ("a, b = Split <axis = 1> (x, k) y = Relu (a)", {"k": np.array([1, 3])}, {1: 4}),
        ("u = Concat <axis = 1> (x, x, x) " + CONV.format("u"), {"w": W3}, {1: 1}),
        ("s = Shape (x) u = SpaceToDepth <blocksize = 2> (x) " + CONV.format("u"), {"w": W12}, {1: 3}),
        ("a = Slice (x, o, e, h, t) b = Slice (x, l, e, h, t) u = Concat <axis=1> (a, b, a, b) "
         + CONV.format("u"),
         {"w": W12, "o": np.array([0, 0]), "l": np.array([1, 1]), "e": np.array([2**60, 2**60]),
          "h": np.array([2, 3]), "t": np.array([2, 2])}, {1: 3}),
        ("u = Slice (x, o, e, h, t) " + CONV.format("u"),
         {"w": W3, "o": np.array([-1]), "e": np.array([-(2**62)]), "h": np.array([1]), "t": np.array([-1])},
         {1: 3}),
        ("u = Slice (x, o, e, h) " + CONV.format("u"),
         {"w": W3, "o": np.array([0]), "e": np.array([3]), "h": np.array([1])}, {}),
        ("v = Transpose <perm = [3,2,0,1]> (w) " + CONV.format("x").replace("w)", "v)"),
         {"w": RNG.standard_normal((4, 4, 3, 8))}, {1: 3}),  # H, W, I, O as TensorFlow has them
        ("n = Mul (w, k) v = Reshape (n, s) " + CONV.format("x").replace("w)", "v)"),
         {"w": RNG.standard_normal((8, 48)), "k": np.ones((8, 1)), "s": np.array([8, 3, 4, 4])}, {1: 3}),
        ("y = ConvTranspose <group = 3> (x, w)", {"w": RNG.standard_normal((3, 4, 2, 2))}, {1: 3}),
        ("y = ReduceMean (x)", {}, {}),
        ("y = MatMul (x, w)", {"w": np.ones((4, 4))}, {}),
    ],
)  # fmt: skip
def test_sizes_are_followed_to_what_says_them(start, weights, expected):
    assert sizes(start, **weights) == expected


@pytest.mark.parametrize("dtype", [np.int8, ml_dtypes.int4])
def test_quantised_weights_and_inputs(dtype):
    body = """q = QuantizeLinear (x, s) d = DequantizeLinear (q, s) v = DequantizeLinear (u, s)
              y = Conv (d, v)"""
    assert sizes(body, 21, u=np.ones((8, 3, 4, 4)).astype(dtype), s=np.float32(0.1)) == {1: 3}
    body = "q = QuantizeLinear (x, s, z) y = QLinearConv (q, s, z, u, s, k, s, z)"
    kind = {"u": np.ones((8, 3, 4, 4), np.int8), "z": np.uint8(3), "k": np.int8(0)}
    assert sizes(body, 18, s=np.float32(0.1), **kind) == {1: 3}


def test_attributes_of_older_opsets():
    body = "p = Pad <pads = [0,0,1,1,0,0,1,1]> (x) a, b = Split <axis = 1, split = [1,2]> (p) y = Relu (a)"
    assert sizes(body, 9) == {1: 3}


def test_a_damaged_node_is_named():
    model = parsed('(float[N,A,B,C] x) => (float[P,Q,R,S] y) { y = Conv <group = "a"> (x, w) }', w=W3)
    with pytest.raises(BadModel, match="Conv node 'y'"):
        given_sizes(model.graph, "x", 4)


def test_a_weight_of_another_rank_says_nothing():
    model = parsed("(float[N,A,B,C] x) => (float[P,Q,R,S] y) { y = Conv (x, w) }")
    model.graph.initializer.append(numpy_helper.from_array(np.ones((8, 3, 4), "f"), "w"))
    assert given_sizes(model.graph, "x", 4) == {}
