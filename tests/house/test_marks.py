"""What tests/bench/marks.py finds: that a layer lies where it does, not a cell beside it or transposed."""

from dataclasses import replace

import numpy as np
import pytest
from bench.marks import PLACES, Photo, centred, found, off, reach_of
from oracles.networks import parsed

from onnxlens.engine.anatomy.grids import Place
from onnxlens.engine.anatomy.maps import view_of
from onnxlens.engine.graph.graph import Graph
from onnxlens.engine.runtime.network import Network
from onnxlens.engine.runtime.session import Session

RNG = np.random.default_rng(0)
BODY = """
s0 = Conv <strides = [4, 4], pads = [1, 1, 1, 1]> (x, a)
s1 = Relu (s0)
s = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (s1, b)
"""
# What mixes the whole picture, behind that.
MIXED = {
    "nothing": "y = Relu (s)",
    "a gate": "m = GlobalAveragePool (s) g = Sigmoid (m) y = Mul (s, g)",
    "a mean": "m = GlobalAveragePool (s) n = Mul (m, much) y = Add (s, n)",
    "a norm": "y = InstanceNormalization (s, ones, zeros)",
    "attention": """f = Reshape (s, tokens) t = Transpose <perm = [0, 2, 1]> (f) k = MatMul (t, f)
    k1 = Mul (k, little) w = Softmax <axis = -1> (k1) v = MatMul (w, t) v1 = Mul (v, much) r = Add (t, v1)
    u = Transpose <perm = [0, 2, 1]> (r) y = Reshape (u, grid)""",
}
WEIGHTS = {
    "a": RNG.standard_normal((16, 3, 5, 5)) / 5,
    "b": RNG.standard_normal((16, 16, 3, 3)) / 10,
    "much": np.array(4.0),
    "little": np.array(0.1),
    "ones": np.ones(16),
    "zeros": np.zeros(16),
    "tokens": np.array([1, 16, 144]),
    "grid": np.array([1, 16, 12, 12]),
}


@pytest.fixture(scope="module", params=MIXED)
def graph(request, tmp_path_factory) -> Graph:
    body = BODY + MIXED[request.param]
    words = body.replace(",", " ").replace("(", " ").replace(")", " ").split()
    weights = {k: v for k, v in WEIGHTS.items() if k in words}
    path = tmp_path_factory.mktemp("m") / "model.onnx"
    model = parsed(f"(float[1,3,96,96] x) => (float[1,16,12,12] y) {{ {body} }}", **weights)
    path.write_bytes(model.SerializeToString())
    return Network(centred(path)).graph


def measured(graph: Graph, place: Place) -> np.ndarray:
    """How far four marks are off, in cells, where the layer is said to lie at `place`."""
    view = replace(view_of(graph, "y"), place=place)
    photo, reach = Photo("x", (96, 96), False), reach_of(np.array([8.0, 8.0]), (96, 96))
    answers = found(Session(graph, ["y"], "cpu"), photo, reach, {"y": view})
    return np.array(off(answers["y"], photo.at(PLACES), view, (12, 12)))


def test_a_right_place_is_found_right_whatever_is_mixed(graph):
    place = view_of(graph, "y").place
    assert place is not None
    assert place.cells == (-2.5, -2.5, 93.5, 93.5)  # the first sees pixels around 1.5
    assert measured(graph, place).max() < 0.5


@pytest.mark.parametrize("away", [(1, 0), (-1, 0), (0, 1), (0, -1), (2, 2)])
def test_a_place_that_is_cells_off_is_found_out(graph, away):
    place = view_of(graph, "y").place
    assert place is not None
    box = np.array(place.cells) + 8 * np.array([*away, *away])
    found_off = measured(graph, Place(place.seen, tuple(box)))
    assert np.median(found_off) == pytest.approx(max(map(abs, away)), abs=0.35)


def test_a_transposed_place_is_found_out(graph):
    view = view_of(graph, "y")
    y, x = (view.perm.index(a) for a in (2, 3))
    turned = list(view.perm)
    turned[y], turned[x] = turned[x], turned[y]
    photo, reach = Photo("x", (96, 96), False), reach_of(np.array([8.0, 8.0]), (96, 96))
    wrong = replace(view, perm=tuple(turned))
    answers = found(Session(graph, ["y"], "cpu"), photo, reach, {"y": wrong})
    assert max(off(answers["y"], photo.at(PLACES), wrong, (12, 12))) > 2
