"""Classical models of ai.onnx.ml: held against the runtime's kernels, and differences of them."""

import numpy as np
import pytest
from onnx import helper
from oracles.networks import run

from onnxlens.engine.autodiff.gradient import gradient
from onnxlens.engine.errors import NoRule

ML = "ai.onnx.ml"
RNG = np.random.default_rng(0)
X = RNG.standard_normal((3, 4)).astype(np.float32)
HOLES = np.where(np.arange(12).reshape(3, 4) % 5 == 1, np.nan, X).astype(np.float32)
ROWS = RNG.standard_normal((3, 4)).astype(np.float32)
BIAS = [0.1, -0.2, 0.3]


def weights(rows):
    return {"coefficients": ROWS[:rows].ravel().tolist(), "intercepts": BIAS[:rows]}


CASES = {
    **{f"Normalizer {n}": ("Normalizer", {"norm": n}, X) for n in ("MAX", "L1", "L2")},
    "Normalizer of zeros": ("Normalizer", {"norm": "L2"}, np.stack([X[0], 0 * X[1]])),
    "Scaler": ("Scaler", {"offset": [1.0, 2, 3, 4], "scale": [2.0, 1, 0.5, -1]}, X),
    "Scaler by one": ("Scaler", {"offset": [1.0], "scale": [2.0]}, X),
    "Imputer": ("Imputer", {"imputed_value_floats": [1.0, 2, 3, 4], "replaced_value_float": np.nan}, HOLES),
    "Imputer by one": ("Imputer", {"imputed_value_floats": [5.0], "replaced_value_float": float(X[0, 1])}, X),
    **{
        f"LinearRegressor {rows} {post}": (
            "LinearRegressor", {**weights(rows), "targets": rows, "post_transform": post}, X
        )
        for rows in (1, 2)
        for post in ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO")
    },
    **{
        f"SVMRegressor {kernel}": (
            "SVMRegressor",
            {"coefficients": [0.5, -1.0, 0.7], "support_vectors": ROWS.ravel().tolist(), "rho": [0.3],
             "kernel_params": [0.4, 0.2, 3.0], "n_supports": 3, "kernel_type": kernel}, X,
        )
        for kernel in ("LINEAR", "POLY", "RBF", "SIGMOID")
    },
    "SVMRegressor without vectors": (
        "SVMRegressor",
        {"coefficients": [0.5, -1.0, 0.7, 0.1], "rho": [0.3], "kernel_params": [1.0, 0.0, 1.0]}, X,
    ),
    **{
        f"LinearClassifier {rows} of {labels} {post}": (
            "LinearClassifier",
            {**weights(rows), "classlabels_ints": [*range(labels)], "post_transform": post}, X,
        )
        for rows, labels in ((3, 3), (2, 2), (1, 2))
        for post in ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO")
    },
}  # fmt: skip


def made(key, attrs, x):
    outputs = ["label", "y"] if key == "LinearClassifier" else ["y"]
    node = helper.make_node(key, ["x"], outputs, domain=ML, **attrs)
    y = helper.make_tensor_value_info("y", 1, [None, None])
    graph = helper.make_graph([node], "rows", [helper.make_tensor_value_info("x", 1, ["N", x.shape[1]])], [y])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(ML, 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


@pytest.mark.parametrize("name", CASES)
def test_it_has_the_slope_of_the_kernel(name):
    key, attrs, x = CASES[name]
    model, known = made(key, attrs, x), np.isfinite(x)
    u = RNG.standard_normal(run(model, {"x": x})["y"].shape).astype(np.float32)
    found = run(gradient(model, of="y", wrt="x"), {"x": x, "seed/y": u})["grad/x"]
    assert found.shape == x.shape
    assert not found[~known].any()
    assert np.isfinite(found).all()
    for place in zip(*np.nonzero(known if "by one" not in name else X[0, 1] != X), strict=True):
        if name == "Normalizer of zeros" and place[0] == 1:
            continue
        v = np.zeros_like(x)
        v[place] = 2e-3
        ahead, behind = (run(model, {"x": x + s * v})["y"].astype(float) for s in (1, -1))
        np.testing.assert_allclose(found[place], ((ahead - behind) * u).sum() / 4e-3, rtol=5e-3, atol=5e-3)


def test_columns_side_by_side():
    node = helper.make_node(
        "FeatureVectorizer", ["a", "b"], ["y"], domain="ai.onnx.ml", inputdimensions=[4, 2]
    )
    values = [helper.make_tensor_value_info(n, 1, [3, w]) for n, w in (("a", 4), ("b", 2))]
    graph = helper.make_graph([node], "columns", values, [helper.make_tensor_value_info("y", 1, [3, 6])])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(ML, 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    u = RNG.standard_normal((3, 6)).astype(np.float32)
    found = run(gradient(model, wrt=["a", "b"]), {"a": X, "b": X[:, :2], "seed/y": u})
    np.testing.assert_array_equal(found["y"], np.hstack([X, X[:, :2]]))
    np.testing.assert_array_equal(np.hstack([found["grad/a"], found["grad/b"]]), u)


def test_quantiles_are_refused():
    model = made("LinearRegressor", {**weights(2), "targets": 2, "post_transform": "PROBIT"}, X)
    with pytest.raises(NoRule, match="quantiles of a normal distribution"):
        gradient(model, of="y", wrt="x")
