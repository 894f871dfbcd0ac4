"""Graphs that a fusion of ONNX Runtime breaks are run without it, and nothing is printed."""

import numpy as np
import onnxruntime
import pytest
from oracles.differences import assert_slopes
from oracles.networks import parsed

from onnxlens.engine.canonical.canonical import canonical
from onnxlens.engine.errors import BadModel
from onnxlens.engine.runtime.network import Network
from onnxlens.engine.runtime.session import Session

RNG = np.random.default_rng(0)
FEEDS = {name: RNG.uniform(0.5, 1.5, (1, 2, 4, 4)).astype(np.float32) for name in ("x", "z")}
# What the runtime takes out between the maker of m and the product that DivMulFusion takes apart.
BETWEEN = {
    "Identity": "r = Identity(m)",
    "Dropout": "r = Dropout(m)",
    "a product with one": "r = Mul(m, one)",
    "a cast to the same": "r = Cast <to = 1> (m)",
}


def network(between, opset=22):
    return parsed(
        f"""(float[1,2,4,4] x, float[1,2,4,4] z) => (float[1,2,4,4] y) {{
            m = Sigmoid(x) {between} a = Div(one, z) y = Mul(a, r)
        }}""",
        opset,
        one=np.float32(1),
    )


@pytest.mark.parametrize("between", BETWEEN.values(), ids=BETWEEN)
def test_a_graph_that_a_fusion_breaks_is_run_without_it(between):
    model = network(between)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    bare = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (expected,) = bare.run(None, FEEDS)
    network_ = Network(model, "cpu", 1)
    found = network_.run(FEEDS, ["y", "m", "r", "a"])
    np.testing.assert_array_equal(Session(canonical(model))(FEEDS)["y"], expected)
    np.testing.assert_allclose(found["y"], expected, 1e-6)
    np.testing.assert_allclose(found["m"], 1 / (1 + np.exp(-FEEDS["x"])), 1e-5)
    np.testing.assert_array_equal(found["r"], found["m"])


@pytest.mark.parametrize("between", BETWEEN.values(), ids=BETWEEN)
def test_and_so_is_its_gradient(between):
    assert_slopes(network(between), FEEDS, ["y"], ["x", "z"])


def test_what_no_effort_loads_is_refused_with_the_first_reason_and_nothing_on_stdout(capfd):
    model = parsed("(float[1,2,4,4] x) => (y) { y = Celu (x) }", 12)
    model.graph.node[0].op_type = "NoSuchOperator"
    model.graph.node[0].domain = "com.example"
    model.opset_import.add(domain="com.example", version=1)
    with pytest.raises(BadModel, match="NoSuchOperator"):
        Session(canonical(model))
    assert capfd.readouterr().out == ""
