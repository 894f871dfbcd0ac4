"""Backward variants on a net that can be worked by hand."""

import numpy as np
import pytest
from oracles.networks import parsed, run

from onnxlens.engine.autodiff.gradient import gradient
from onnxlens.engine.autodiff.variants import GUIDED
from onnxlens.engine.graph.graph import op
from onnxlens.engine.operators.rules import VJP

# y = c . relu(x), one unit for each way in which a unit may be open and its gradient positive.
X = np.array([[2.0, 2.0, -1.0, -1.0]], np.float32)
C = np.array([[3.0], [-5.0], [7.0], [-11.0]])


def toy(name=""):
    model = parsed("(float[1,4] x) => (float[1,1] y) { h = Relu (x) y = MatMul (h, c) }", c=C)
    model.graph.node[0].name = name
    return model


def backward(model, x, rules):
    return run(gradient(model, rules=rules), {"x": x, "seed/y": np.ones((1, 1), np.float32)})


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ("gradient", [3, -5, 0, 0]),  # the forward gate: where x > 0
        ("deconvnet", [3, 0, 7, 0]),  # the backward gate: where the gradient > 0
        ("guided", [3, 0, 0, 0]),  # both
    ],
)
def test_the_three_gates(rules, expected):
    found = backward(toy(), X, rules)
    np.testing.assert_array_equal(found["grad/x"][0], expected)
    np.testing.assert_array_equal(found["y"], [[-4]])


# Two layers: h1 = relu(x A), h2 = relu(h1 B), y = h2 . d
A = np.array([[1.0, -1.0], [2.0, 1.0]])
B = np.array([[1.0, -2.0], [1.0, 1.0]])
D = np.array([[1.0], [-1.0]])


@pytest.mark.parametrize(
    ("x", "rules", "expected"),
    [
        # x A = (5, 1), h1 B = (6, -9): only the first unit above is open; its gradient below is (1, 1).
        ([1, 2], "gradient", [0, 3]),
        ([1, 2], "guided", [0, 3]),
        # Above, (1, -1) becomes (1, 0), whatever is open; below, (1, 1) is positive.
        ([1, 2], "deconvnet", [0, 3]),
        # x A = (1, 2), h1 B = (3, 0); the second is not open. The first hands down (1, 1).
        ([-1, 1], "gradient", [0, 3]),
        # x A = (1, 5), h1 B = (6, 3): both open. (1, -1) B^T = (3, 0); A (3, 0) = (3, 6).
        ([-3, 2], "gradient", [3, 6]),
        # (1, 0) B^T = (1, 1); A (1, 1) = (0, 3).
        ([-3, 2], "guided", [0, 3]),
        ([-3, 2], "deconvnet", [0, 3]),
        # x A = (-1, 1), h1 B = (1, 1): both above open, below the second only. (3, 0) is shut: nothing.
        ([-1, 0], "gradient", [0, 0]),
        # (1, 1), of which the second passes: A (0, 1) = (-1, 1).
        ([-1, 0], "guided", [-1, 1]),
        # (1, 1) passes whole: A (1, 1) = (0, 3).
        ([-1, 0], "deconvnet", [0, 3]),
    ],
)
def test_two_layers_by_hand(x, rules, expected):
    model = parsed(
        """(float[1,2] x) => (float[1,1] y) {
            a = MatMul (x, A) h1 = Relu (a) b = MatMul (h1, B) h2 = Relu (b) y = MatMul (h2, D)
        }""",
        A=A,
        B=B,
        D=D,
    )
    found = backward(model, np.array([x], np.float32), rules)
    np.testing.assert_array_equal(found["grad/x"][0], expected)


def test_where_all_gates_are_open_guided_is_the_gradient():
    model = parsed(
        "(float[1,3] x) => (float[1,1] y) { a = MatMul (x, w) h = Relu (a) y = MatMul (h, c) }",
        w=np.abs(np.random.default_rng(0).standard_normal((3, 5))),
        c=np.arange(1.0, 6).reshape(5, 1),
    )
    x = np.array([[1, 2, 3]], np.float32)
    np.testing.assert_array_equal(
        backward(model, x, "guided")["grad/x"], backward(model, x, "gradient")["grad/x"]
    )


@pytest.mark.parametrize(
    ("body", "x", "gradient_of", "guided", "deconvnet"),
    [
        ("h = Clip (x, low, high)", [0.5, 0.5, 7, 7], [3, -5, 0, 0], [3, 0, 0, 0], [3, 0, 7, 0]),
        (
            "h = ThresholdedRelu <alpha = 1.0> (x)",
            [2, 2, 0.5, 0.5],
            [3, -5, 0, 0],
            [3, 0, 0, 0],
            [3, 0, 7, 0],
        ),
    ],
)
def test_other_rectifiers(body, x, gradient_of, guided, deconvnet):
    model = parsed(
        f"(float[1,4] x) => (float[1,1] y) {{ {body} y = MatMul (h, c) }}",
        c=C,
        low=np.array(0.0),
        high=np.array(6.0),
    )
    x = np.array([x], np.float32)
    for rules, expected in (("gradient", gradient_of), ("guided", guided), ("deconvnet", deconvnet)):
        np.testing.assert_array_equal(backward(model, x, rules)["grad/x"][0], expected)


@pytest.mark.parametrize(
    ("zero", "rules", "expected"),
    [
        # Integers that begin at zero are the ReLU of a quantised network, and gate like one.
        (np.uint8(0), "gradient", [3, -5, 0, 0]),
        (np.uint8(0), "guided", [3, 0, 0, 0]),
        (np.uint8(0), "deconvnet", [3, 0, 7, 0]),
        (np.int8(-128), "guided", [3, 0, 0, 0]),
        (np.int8(-128), "deconvnet", [3, 0, 7, 0]),
        # Others only round.
        (np.uint8(128), "guided", [3, -5, 7, -11]),
        (np.int8(0), "deconvnet", [3, -5, 7, -11]),
    ],
)
def test_quantisations_that_rectify(zero, rules, expected):
    model = parsed(
        """(float[1,4] x) => (float[1,1] y) {
            q = QuantizeLinear (x, scale, zero) h = DequantizeLinear (q, scale, zero) y = MatMul (h, c)
        }""",
        c=C,
        scale=np.float32(0.5),
        zero=zero,
    )
    np.testing.assert_array_equal(backward(model, X, rules)["grad/x"][0], expected)


def test_the_deconvnet_leaves_contrast_normalisation_out():
    """Zeiler & Fergus 2014, section 2.1."""
    model = parsed(
        """(float[1,2,1,1] x) => (float[1,1] y) {
            n = LRN <size = 3, alpha = 1.0, beta = 1.0> (x) f = Flatten (n) y = MatMul (f, c)
        }""",
        c=np.array([[3.0], [-5.0]]),
    )
    x = np.ones((1, 2, 1, 1), np.float32)
    np.testing.assert_array_equal(backward(model, x, "deconvnet")["grad/x"].ravel(), [3, -5])
    assert backward(model, x, "guided")["grad/x"].ravel()[0] != 3


def test_variants_by_name_and_by_table_are_one():
    found = backward(toy(), X, GUIDED)["grad/x"]
    np.testing.assert_array_equal(found, backward(toy(), X, "guided")["grad/x"])


def test_a_rule_for_one_node_goes_before_that_for_its_operator():
    table = GUIDED | {"gate": VJP["Relu"]}
    np.testing.assert_array_equal(backward(toy("gate"), X, table)["grad/x"][0], [3, -5, 0, 0])
    np.testing.assert_array_equal(backward(toy("other"), X, table)["grad/x"][0], [3, 0, 0, 0])


def test_a_rule_of_ones_own():
    table = VJP | {"Relu": lambda g, y, x: op.Abs(g)}
    np.testing.assert_array_equal(backward(toy(), X, table)["grad/x"][0], [3, 5, 7, 11])


def test_the_table_of_the_gradient_is_not_changed_by_variants():
    assert VJP["Relu"] is not GUIDED["Relu"]
    assert VJP["Conv"] is GUIDED["Conv"]
