"""Fused operators of 16 and 64 bits: they load, answer as they did, and have the gradient of 32 bits."""

import ml_dtypes
import numpy as np
import pytest
from onnx import TensorProto, numpy_helper, parser
from oracles.fused import CASES, alone
from oracles.networks import NO_KERNEL, run

from onnxlens.engine.autodiff.gradient import gradient
from onnxlens.engine.runtime.network import Network

FLOAT = np.dtype(np.float32)
TYPES = {
    np.dtype(np.float16): TensorProto.FLOAT16,
    np.dtype(ml_dtypes.bfloat16): TensorProto.BFLOAT16,
    np.dtype(np.float64): TensorProto.DOUBLE,
}
# ONNX Runtime infers no type of MultiHeadAttention's fourth output where it is no output of the model.
NAMES = [name for name in CASES if name != "MultiHeadAttention, scores"]


def of_type(dtype, name):
    """A case and its feeds with floats of a type, and the same numbers in 32 bits."""
    key, inputs, *more = CASES[name]
    given = [None if x is None else x.astype(dtype) if x.dtype == FLOAT else x for x in inputs]
    model, same = alone(key, [x.astype(FLOAT) if is_of(dtype, x) else x for x in given], *more)
    plain = type(model).FromString(model.SerializeToString())
    for value in (*model.graph.input, *model.graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            value.type.tensor_type.elem_type = TYPES[dtype]
    return model, {f"x{i}": x for i, x in enumerate(given) if x is not None}, plain, same


def is_of(dtype, x):
    return x is not None and x.dtype == dtype


def slopes(model, wrt, feeds, seed):
    """The outputs of a model and its gradients."""
    return Network(gradient(model, of="y0", wrt=wrt), provider="cpu").run(feeds | {"seed/y0": seed})


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_a_type_has_the_gradient_of_32_bits(dtype, name):
    model, feeds, plain, same = of_type(dtype, name)
    try:
        before = run(model, feeds)["y0"]
    except NO_KERNEL:
        before = None
    if dtype == np.float64 and before is None:
        pytest.skip("ONNX Runtime has no kernel of 64 bits")
    wrt = [n for n, x in feeds.items() if x.dtype == dtype]
    seed = np.ones(run(plain, same)["y0"].shape, FLOAT)
    expected = slopes(plain, wrt, same, seed)
    found = slopes(model, wrt, feeds, seed.astype(dtype) if dtype == np.float64 else seed)
    step = float(max(np.finfo(FLOAT).eps, ml_dtypes.finfo(dtype).eps))
    close = {"rtol": 2 * step, "atol": 2 * step * float(np.abs(expected["y0"]).max())}
    if before is not None:  # in 16 bits a kernel may round inside
        np.testing.assert_allclose(found["y0"].astype(FLOAT), before.astype(FLOAT), **close)
    assert found["y0"].dtype == dtype
    np.testing.assert_allclose(found["y0"].astype(FLOAT), expected["y0"], **close)
    for n in wrt:
        bound = 1e-4 * np.abs(expected[f"grad/{n}"]).max() + 1e-6
        np.testing.assert_allclose(
            found[f"grad/{n}"], expected[f"grad/{n}"], rtol=1e-4, atol=bound, err_msg=n
        )


QDQ = """(KIND[2,4] x) => (KIND[2,3] y0) {
    q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z)
    e = DequantizeLinear <axis = 1> (w, t) y0 = MatMul (d, e)
}"""


@pytest.mark.parametrize("dtype", [d for d in TYPES if d.itemsize == 2], ids=str)
def test_a_quantised_model_of_16_bits_has_the_gradient_of_32(dtype):
    """Scales of 16 bits make integers stand for reals of 16 bits."""
    rng = np.random.default_rng(0)
    w, z = rng.integers(-100, 100, (4, 3), np.int8), np.uint8(130)
    x, s, t = (np.asarray(v, dtype) for v in (rng.standard_normal((2, 4)) * 12, 0.0625, [0.25, 0.5, 0.125]))
    models = []
    for kind in (dtype, FLOAT):
        text = QDQ.replace("KIND", "float" if kind == FLOAT else kind.name)
        model = parser.parse_model(f'<ir_version: 10, opset_import: ["" : 21]> net {text}')
        for name, value in {"w": w, "z": z, "s": s.astype(kind), "t": t.astype(kind)}.items():
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        models.append(model)
    seed = rng.standard_normal((2, 3)).astype(FLOAT)
    found = slopes(models[0], ["x", "t"], {"x": x}, seed)
    expected = slopes(models[1], ["x", "t"], {"x": x.astype(FLOAT)}, seed)
    assert (expected["grad/x"] == 0).any()  # some saturate
    np.testing.assert_array_equal(found["grad/x"], expected["grad/x"])
    np.testing.assert_array_equal(found["grad/t"], expected["grad/t"])
    step = float(ml_dtypes.finfo(dtype).eps)
    np.testing.assert_allclose(found["y0"].astype(FLOAT), expected["y0"], rtol=step)
