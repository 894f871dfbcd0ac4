"""Models of 16-bit floats: the answers of the original to the bit, gradients in float32."""

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from onnxlens.engine.autodiff.gradient import gradient
from onnxlens.engine.runtime.network import Network

RNG = np.random.default_rng(11)
W1, W2 = RNG.standard_normal((16, 3, 3, 3)) * 0.3, RNG.standard_normal((4, 16)) * 0.1
X = RNG.standard_normal((2, 3, 12, 12))
NARROW = {
    "float16": (TensorProto.FLOAT16, np.float16),
    "bfloat16": (TensorProto.BFLOAT16, ml_dtypes.bfloat16),
}


def net(kind: str, extra: str = "") -> onnx.ModelProto:
    proto = parser.parse_model(
        f"""<ir_version: 8, opset_import: ["" : 18]>
        net ({kind}[N,3,12,12] x) => ({kind}[N,4] y) {{
            c = Conv <pads = [1,1,1,1], strides = [2,2]> (x, w1)
            r = Relu (c)
            m = MaxPool <kernel_shape = [3,3], strides = [2,2]> (r)
            g = GlobalAveragePool (m)
            {extra or "q = Identity (g)"}
            v = Flatten (q)
            s = Gemm <transB = 1> (v, w2)
            y = Softmax (s)
        }}"""
    )
    dtype = NARROW[kind][1] if kind in NARROW else np.float32
    for name, w in (("w1", W1), ("w2", W2)):
        proto.graph.initializer.append(numpy_helper.from_array(w.astype(dtype), name))
    return proto


# Through float32 and back inside, as mixed-precision exports have it.
MIXED = f"h = Cast <to = 1> (g) i = Mul (h, h) j = Cast <to = {TensorProto.FLOAT16}> (i) q = Sigmoid (j)"


@pytest.mark.parametrize("extra", ["", MIXED])
def test_float16_answers_stay_the_same_to_the_bit(extra):
    proto, x = net("float16", extra), X.astype(np.float16)
    bare = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = bare.run(None, {"x": x})
    network = Network(proto, provider="cpu")
    found = network.run({"x": x}, ["y", "c", "r", "m"])
    assert found["y"].dtype == np.float16
    assert found["c"].dtype == np.float32
    np.testing.assert_array_equal(found["y"], expected)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_gradients_are_those_of_the_same_weights_in_float32(kind):
    elem, dtype = NARROW[kind]
    made = gradient(net(kind), wrt=["x", "w1", "r"])
    onnx.checker.check_model(made)
    assert [i.type.tensor_type.elem_type for i in made.graph.input] == [elem, TensorProto.FLOAT]
    assert [o.type.tensor_type.elem_type for o in made.graph.output] == [elem] + [TensorProto.FLOAT] * 3
    wide = net("float")
    for tensor in wide.graph.initializer:
        rounded = numpy_helper.to_array(tensor).astype(dtype).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(rounded, tensor.name))
    x, seed = X.astype(dtype), RNG.standard_normal((2, 4)).astype(np.float32)
    expected = Network(gradient(wide, wrt=["x", "w1", "r"]), provider="cpu")
    values = expected.run({"x": x.astype(np.float32), "seed/s": seed})
    found = Network(made, provider="cpu").run({"x": x, "seed/s": seed})
    for name in ("grad/x", "grad/w1", "grad/r"):
        np.testing.assert_allclose(found[name], values[name], rtol=1e-5, atol=1e-7)


def test_a_seed_too_small_for_float16_still_gives_a_gradient():
    made = gradient(net("float16"))
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    seed = np.full((1, 4), 1e-9, np.float32)
    _, grad = session.run(None, {"x": X[:1].astype(np.float16), "seed/s": seed})
    assert 0 < np.abs(grad).max() < 1e-7


def test_values_of_a_branch_are_widened_too():
    proto = net("float16", "q = Identity (g)")
    branch = parser.parse_graph("b () => (float16[N,16,1,1] o) { o = Identity (g) }")
    node = next(n for n in proto.graph.node if n.output[0] == "q")
    node.CopyFrom(helper.make_node("If", ["yes"], ["q"], then_branch=branch, else_branch=branch))
    proto.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    x = X.astype(np.float16)
    np.testing.assert_array_equal(
        Network(proto, provider="cpu").run({"x": x})["y"],
        Network(net("float16"), provider="cpu").run({"x": x})["y"],
    )
