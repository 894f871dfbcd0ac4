"""The loop of a table recogniser, as Paddle's exporter writes it: its picture decides how many steps run."""

import numpy as np
import pytest
from onnx import helper, numpy_helper
from oracles import table_loop
from oracles.differences import assert_slopes, assert_transposed, in_double
from oracles.networks import run

from onnxlens.engine.autodiff.gradient import gradient

MODEL = table_loop.model()
ENDS = ["structure", "places"]


def widened():
    """In float64, for which ONNX Runtime has no OneHot: rows of the identity are the same."""
    model = in_double(MODEL)
    (loop,) = (node for node in model.graph.node if node.op_type == "Loop")
    (hot,) = (node for node in loop.attribute[0].g.node if node.op_type == "OneHot")
    hot.CopyFrom(helper.make_node("Gather", ["identity", hot.input[0]], list(hot.output)))
    model.graph.initializer.append(numpy_helper.from_array(np.eye(table_loop.TOKENS), "identity"))
    return model


@pytest.mark.parametrize(("seed", "rows"), [(0, 3), (2, 4), (4, 5), (3, 7)])
def test_as_many_steps_as_the_picture_has_tokens(seed, rows):
    x, model = np.random.default_rng(seed).standard_normal((2, 4, 2, 3)), widened()
    assert_slopes(model, {"x": x}, ENDS, ["x"], epsilon=1e-6)
    assert_transposed(model, {"x": x}, ENDS, ["x"])
    us = {f"seed/{end}": np.ones((2, rows, n)) for end, n in zip(ENDS, (table_loop.TOKENS, 4), strict=True)}
    us["seed/structure"][..., 0] = 0
    right = run(gradient(model, of=ENDS, wrt="x"), {"x": x, **us})["grad/x"]
    single = {name: value.astype(np.float32) for name, value in {"x": x, **us}.items()}
    found = run(gradient(MODEL, of=ENDS, wrt="x"), single)["grad/x"]
    assert np.linalg.norm(found - right) <= 1e-4 * np.linalg.norm(right)
