"""Of what ONNX Runtime says, the half that helps."""

import numpy as np
import onnxruntime
import pytest
from oracles.networks import parsed

from onnxlens.engine.errors import OnnxlensError
from onnxlens.engine.runtime.complaint import one_line
from onnxlens.engine.runtime.network import Network

X = np.zeros((1, 3, 8, 8), "f")


@pytest.mark.parametrize(
    ("body", "constants", "said"),
    [
        ("y = Reshape (x, s)", {"s": np.array([5, 7])}, "Input shape:{1,3,8,8}, requested shape:{5,7}"),
        ("y = Conv (x, w)", {"w": np.zeros((4, 5, 3, 3))}, "C: 3 kernel channels: 5 group: 1"),
        (
            "y = Add (x, w)",
            {"w": np.zeros((4, 5))},
            "broadcast an axis by a dimension other than 1",
        ),
        ("y = Gather (x, s)", {"s": np.array([44])}, "idx=44 must be within the inclusive range"),
    ],
)
def test_the_cause_is_kept_and_the_rest_is_not(body, constants, said):
    model = parsed(f"(float[A,B,C,D] x) => (float y) {{ {body} }}", **constants)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    with pytest.raises(OnnxlensError) as error:
        Network(model, provider="cpu").run({"x": X})
    assert said in str(error.value)
    assert not any(w in str(error.value) for w in ("ONNXRuntimeError", "/onnxruntime_src", "Non-zero", "::"))


def test_an_ir_version_that_is_too_new():
    model = parsed("(float[2] x) => (float[2] y) { y = Relu (x) }")
    model.ir_version = 99
    with pytest.raises(Exception) as error:  # noqa: PT011 - the binding has kinds of its own
        onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    assert one_line(error.value).startswith("Unsupported model IR version: 99")


def test_of_a_long_text_the_end_is_kept():
    text = one_line(
        RuntimeError("[ONNXRuntimeError] : 1 : FAIL : in the graph " + 300 * "x" + "\n the cause")
    )
    assert text.startswith("in the graph")
    assert text.endswith("the cause")
    assert len(text) == 300


def test_a_missing_kernel_is_named_by_its_types():
    model = parsed("(int32[1,1,5,5] x) => (int32[1,1,5,5] y) { a = Neg (x) y = Elu (a) }")
    with pytest.raises(OnnxlensError) as error:
        Network(model, provider="cpu").run({"x": np.zeros((1, 1, 5, 5), np.int32)})
    assert "Elu" in str(error.value)
