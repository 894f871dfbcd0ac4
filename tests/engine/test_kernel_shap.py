"""Kernel SHAP against what is known: linear models, and Shapley values added up over all orders."""

from itertools import permutations

import numpy as np
from oracles.networks import parsed

from onnxlens.engine.attribution.compile import compiled
from onnxlens.engine.attribution.compiled import Intake
from onnxlens.engine.attribution.methods import METHODS, options_given
from onnxlens.engine.runtime.network import Network

RNG = np.random.default_rng(3)
W = RNG.standard_normal((3, 1, 4, 6)).astype(np.float32) / 4
IMAGE = RNG.standard_normal((1, 1, 4, 6)).astype(np.float32)


def shap(end: str, **options):
    text = f"(float[N,1,4,6] x) => (float[N,3] y) {{ c = Conv (x, w) f = Flatten (c) {end} }}"
    network = Network(parsed(text, w=W), provider="cpu", threads=1)
    intake = Intake((4, 6), False, lambda image, name: np.full_like(image, 0.25), ["a", "b", "c"])
    made = compiled(
        network, METHODS["kernel-shap"], None, options_given(METHODS["kernel-shap"], options), intake
    )
    return network, made.explained(IMAGE, [1])[0][0].values


def test_they_are_shapley_values_of_the_cells():
    network, found = shap("y = Softmax <axis = 1> (f)", cells=2, samples=600)

    def answer(seen):
        mask = np.kron(np.reshape(seen, (2, 2)), np.ones((2, 3)))
        return network.run({"x": (IMAGE * mask + 0.25 * (1 - mask)).astype(np.float32)})["y"][0, 1]

    expected = np.zeros(4)
    for order in permutations(range(4)):
        seen = np.zeros(4)
        for cell in order:
            before = answer(seen)
            seen[cell] = 1
            expected[cell] += (answer(seen) - before) / 24
    cells = found[::2, ::3].ravel()
    np.testing.assert_allclose(cells, expected, atol=0.02 * abs(expected).max())
    np.testing.assert_allclose(cells.sum(), answer(np.ones(4)) - answer(np.zeros(4)), rtol=1e-4)
    np.testing.assert_array_equal(found, np.kron(cells.reshape(2, 2), np.ones((2, 3))))
