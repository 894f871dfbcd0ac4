"""Factors that are known, and amounts of them."""

import numpy as np
import pytest

from onnxlens.engine.errors import BadRequest
from onnxlens.engine.features.concepts import amounts, factors

RNG = np.random.default_rng(0)


def test_planted_factors_are_found_again():
    pytest.importorskip("sklearn")
    made = np.zeros((3, 12))
    for k in range(3):
        made[k, 4 * k : 4 * k + 4] = RNG.random(4) + 0.5
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    planted = RNG.random((60, 3)) * (RNG.random((60, 3)) < 0.6)
    found, concepts = factors(planted @ made, 3)
    order = [int((concepts @ row).argmax()) for row in made]
    assert sorted(order) == [0, 1, 2]
    np.testing.assert_allclose(concepts[order], made, atol=0.02)
    np.testing.assert_allclose(found[:, order], planted, atol=0.03)
    np.testing.assert_allclose(amounts(planted @ made, concepts)[:, order], planted, atol=0.03)
    again = factors(planted @ made, 3)
    np.testing.assert_array_equal(concepts, again[1])


@pytest.mark.parametrize(
    ("values", "count", "said"),
    [
        (np.array([[1.0, -1.0], [0.0, 1.0]]), 1, "below zero"),
        (np.array([[1.0, np.nan], [0.0, 1.0]]), 1, "below zero"),
        (np.ones((5, 3)), 4, "at most 3"),
    ],
)
def test_what_cannot_be_taken_apart_is_said(values, count, said):
    pytest.importorskip("sklearn")
    with pytest.raises(BadRequest, match=said):
        factors(values, count)
