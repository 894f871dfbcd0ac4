"""Objectives: each term against NumPy and central differences, and text that is no objective."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from oracles.differences import runner
from oracles.toys import build

from onnxlens.engine.autodiff.gradient import backpropagate
from onnxlens.engine.canonical.canonical import canonical
from onnxlens.engine.dreams.objective import objective, parse
from onnxlens.engine.dreams.terms import TERMS
from onnxlens.engine.errors import BadRequest
from onnxlens.engine.graph.graph import Graph, op
from onnxlens.engine.sums import MAX_CHARACTERS

RNG = np.random.default_rng(3)
LABELS = ["cat", "dog, hound", "(sic)"]
AWKWARD = "block/conv-1:0"
VECTORS = {"up": RNG.standard_normal(4), "photo": RNG.standard_normal((4, 7))}


def class_of(name: str) -> int:
    return LABELS.index(name) if name in LABELS else int(name)


def network(batch: int | str = "N") -> Graph:
    """Smooth, in float64: a convolution, a Tanh, a mean, a linear head, a softmax."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["conv"], pads=[1, 1, 1, 1]),
        helper.make_node("Tanh", ["conv"], [AWKWARD]),
        helper.make_node("GlobalAveragePool", [AWKWARD], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "head"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["p"], axis=1),
    ]
    weights = {"w": np.random.default_rng(1).standard_normal((4, 3, 3, 3)) * 0.4}
    weights["head"] = np.random.default_rng(2).standard_normal((4, 3))
    return canonical(
        build(nodes, {"x": (batch, 3, 5, 6)}, {"p": (batch, 3)}, weights, dtype=TensorProto.DOUBLE)
    )


def of(text: str, x: np.ndarray, graph: Graph | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The objective, the feature map and the scores for images x."""
    graph = graph or network()
    value = objective(graph, text, class_of, VECTORS)
    assert value.shape is not None
    assert len(value.shape) == 1
    names = [value.name, AWKWARD, "scores"]
    return tuple(runner(graph.to_model(names))({"x": x}))  # type: ignore[return-value]


def gram_likeness(a: np.ndarray) -> np.ndarray:
    flat = a.reshape(len(a), a.shape[1], -1)
    grams = [f @ f.T for f in flat]
    grams = [g / np.linalg.norm(g) for g in grams]
    others = [[(g * h).sum() for h in grams if h is not g] for g in grams]
    return np.array([-np.mean(o) if o else 0.0 for o in others])


MEANING = {
    "class(1)": lambda a, s: s[:, 1],
    'class("dog, hound")': lambda a, s: s[:, 1],
    "class( cat )": lambda a, s: s[:, 0],
    "class('(sic)')": lambda a, s: s[:, 2],
    "odds(1)": lambda a, s: s[:, 1] - np.log(np.exp(s[:, 0]) + np.exp(s[:, 2])),
    "odds('(sic)')": lambda a, s: s[:, 2] - np.log(np.exp(s[:, :2]).sum(1)),
    f"element({AWKWARD}, 3, 1, 2)": lambda a, s: a[:, 3, 1, 2],
    "0.5*element(scores, 2)": lambda a, s: s[:, 2] / 2,
    f"layer({AWKWARD})": lambda a, s: (a**2).sum((1, 2, 3)) / 2,
    f"channel({AWKWARD}, 3)": lambda a, s: a[:, 3].mean((1, 2)),
    f"peak('{AWKWARD}', 0)": lambda a, s: a[:, 0].max((1, 2)),
    f"neuron({AWKWARD}, 2)": lambda a, s: a[:, 2, 2, 3],
    f"neuron({AWKWARD}, 2, 4)": lambda a, s: a[:, 2, 4, 3],
    f"neuron({AWKWARD}, 2, 0, 5)": lambda a, s: a[:, 2, 0, 5],
    f"direction({AWKWARD}, up)": lambda a, s: np.einsum("nkhw,k->nhw", a, VECTORS["up"]).mean((1, 2)),
    f"guide({AWKWARD}, photo)": lambda a, s: (
        np.einsum("nkhw,kj->njhw", a, VECTORS["photo"]).max(1).sum((1, 2))
    ),
    f"diversity({AWKWARD})": lambda a, s: gram_likeness(a),
    "neuron(flat, 1)": lambda a, s: a.mean((2, 3))[:, 1],
    f"0.8*channel({AWKWARD},1) + .2 * channel({AWKWARD}, 2)": lambda a, s: (
        0.8 * a[:, 1].mean((1, 2)) + 0.2 * a[:, 2].mean((1, 2))
    ),
    " - class(0)-2e-1*class(1)+class(2) ": lambda a, s: -s[:, 0] - 0.2 * s[:, 1] + s[:, 2],
}


@pytest.mark.parametrize("text", MEANING)
@pytest.mark.parametrize("count", [1, 3])
def test_a_term_is_what_it_says(text: str, count: int):
    x = RNG.standard_normal((count, 3, 5, 6))
    value, features, scores = of(text, x)
    np.testing.assert_allclose(value, MEANING[text](features, scores), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("text", MEANING)
def test_slopes_are_central_differences(text: str):
    graph = network(2)
    value = objective(graph, text, class_of, VECTORS)
    one = graph.constant(np.ones(2))
    (slope,) = backpropagate(graph, {value.name: one}, ["x"])
    assert slope is not None
    f = runner(graph.to_model([value.name]))
    x, v = RNG.standard_normal((2, 2, 3, 5, 6))
    (g,) = runner(graph.to_model([slope.name]))({"x": x})
    h = 1e-6
    expected = (f({"x": x + h * v})[0].sum() - f({"x": x - h * v})[0].sum()) / (2 * h)
    np.testing.assert_allclose((g * v).sum(), expected, rtol=1e-6, atol=1e-8)


def test_the_gradient_of_a_layer_is_its_activation():
    graph = network(1)
    value = objective(graph, f"layer({AWKWARD})")
    (slope,) = backpropagate(graph, {value.name: graph.constant(np.ones(1))}, [AWKWARD])
    assert slope is not None
    found, features = runner(graph.to_model([slope.name, AWKWARD]))({"x": RNG.standard_normal((1, 3, 5, 6))})
    np.testing.assert_allclose(found, features, rtol=1e-12)


WRONG = {
    "": "position 1, at the end: expected a term",
    "   ": "expected a term",
    "channel": "expected a term",
    "__import__('os').system('true')": "no term '__import__'",
    "chanel(conv, 1)": "no term 'chanel'; nearest: channel",
    "(lambda: 0)()": "expected a term",
    "class(1) class(2)": r"position 9 \('class\(2\)'\): expected \+ or -",
    "class(1) * 2": "expected \\+ or -",
    "class(1) + ": "expected a term",
    "2": "expected a term",
    "1..2*class(0)": "'1..2' is no number",
    "1e999*class(0)": "'1e999' is no number",
    "class(1": "expected , or \\)",
    "class(0)(1)": "expected \\+ or -",
    'class("cat': "expected , or \\)",
    "class()": r"it is class\(label\)",
    "class(0,1)": r"it is class\(label\)",
    "class(9)": "class 9 is not there: they go from 0 to 2",
    "class(-1)": "class -1 is not there",
    "channel(conv)": r"it is channel\(layer, channel\)",
    "channel(conv,)": r"it is channel",
    "channel(conv, 4)": "channel 4 is not there: they go from 0 to 3",
    "channel(conv, -1)": "channel '-1' is no index",
    "channel(conv, ٣)": "is no index",
    "neuron(conv, 0, 5)": "row 5 is not there: they go from 0 to 4",
    "neuron(conv, 0, 0, 6)": "column 6 is not there: they go from 0 to 5",
    "neuron(conv, 0, 0, 0, 0)": r"it is neuron\(layer, channel, \[row\], \[column\]\)",
    "channel(block/conv-1, 0)": "nearest: block/conv-1:0",
    "layer(w)": "is no feature map",
    "direction(conv, down)": "no vector 'down' was given; there are: up, photo",
    "class(0) + class(7)": "position 12",
    "element(scores, 1, 1)": r"element\(scores, \.\.\.\) with an index for each axis of \[3\]",
    "element(scores, 3)": "axis 1 index 3 is not there: they go from 0 to 2",
    "element(scoers, 3)": "no value 'scoers'; nearest: scores",
    "a" * 5000: f"ends at {MAX_CHARACTERS}",
    "(" * 3000: "expected a term",
    "-" * 3000: "expected a term",
}


@pytest.mark.parametrize("text", WRONG, ids=lambda t: t[:30])
def test_what_is_no_objective_is_said_in_a_line(text: str):
    with pytest.raises(BadRequest, match=WRONG[text]) as error:
        objective(network(), text, class_of, VECTORS)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("vector", [np.ones(5), np.ones((4, 1)), np.full(4, np.nan), np.array(["a"] * 4)])
def test_a_vector_that_does_not_fit(vector: np.ndarray):
    with pytest.raises(BadRequest, match="not 4 finite numbers"):
        objective(network(), "direction(conv, v)", vectors={"v": vector})


def test_without_labels_a_class_is_its_index():
    with pytest.raises(BadRequest, match="'cat' is no class index"):
        objective(network(), "class(cat)")


@given(st.text("channelyr()*+-.,'\"0e1 \n\\{}_", max_size=60))
def test_any_text_is_parsed_or_refused(text: str):
    with contextlib.suppress(BadRequest):
        assert all(p.name in TERMS and np.isfinite(p.weight) for p in parse(text))


def test_an_open_size_has_a_middle():
    nodes = [helper.make_node("Conv", ["x", "w"], ["conv"])]
    graph = canonical(
        build(nodes, {"x": ("N", 3, "h", "w")}, {"conv": ("N", 2, "h", "w")}, {"w": np.ones((2, 3, 1, 1))},
              dtype=TensorProto.DOUBLE)
    )  # fmt: skip
    value = objective(graph, "neuron(conv, 1)")
    middle = op.Identity(value)
    x = RNG.standard_normal((2, 3, 7, 4))
    (found,) = runner(graph.to_model([middle.name]))({"x": x})
    np.testing.assert_allclose(found, x.sum(1)[:, 3, 2])
