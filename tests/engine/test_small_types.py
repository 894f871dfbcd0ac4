"""Weights of 4 and 2 bits and of float8: answers and gradients are those of the weights they stand for."""

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from oracles.networks import parsed, run

from onnxlens.engine.autodiff.doctor import examine
from onnxlens.engine.autodiff.gradient import gradient, training_graph
from onnxlens.engine.errors import BadModel, BadRequest
from onnxlens.engine.graph.export import split
from onnxlens.engine.runtime.network import Network

RNG = np.random.default_rng(11)
X = RNG.random((1, 3, 8, 8)).astype("f")
# What holds them, and the opset from which DequantizeLinear knows them.
TYPES = {
    "int4": (ml_dtypes.int4, 21),
    "uint4": (ml_dtypes.uint4, 21),
    "int2": (ml_dtypes.int2, 25),
    "uint2": (ml_dtypes.uint2, 25),
    "float8e4m3fn": (ml_dtypes.float8_e4m3fn, 19),
    "float8e4m3fnuz": (ml_dtypes.float8_e4m3fnuz, 19),
    "float8e5m2": (ml_dtypes.float8_e5m2, 19),
    "float8e5m2fnuz": (ml_dtypes.float8_e5m2fnuz, 19),
}
FORMS = ("tensor", "axis", "block", "cast")


def few(dtype, shape):
    """Random numbers of a type, more of them above zero than below."""
    if "int" in np.dtype(dtype).name:
        return RNG.integers(
            max(-1, int(ml_dtypes.iinfo(dtype).min)), int(ml_dtypes.iinfo(dtype).max) + 1, shape
        ).astype(dtype)
    return RNG.normal(0.2, 1, shape).astype(dtype)


def steps(form, shape, axis):
    """The scale of a weight in this form, what it is for each element, and the attributes that say so."""
    if form == "tensor":
        scale = np.float32(0.3)
        return scale, scale, {}
    if form == "axis":
        scale = RNG.random(shape[axis]).astype("f")
        return scale, np.expand_dims(scale, [a for a in range(len(shape)) if a != axis]), {"axis": axis}
    scale = RNG.random([d // 2 if a == axis else d for a, d in enumerate(shape)]).astype("f")
    return scale, scale.repeat(2, axis), {"axis": axis, "block_size": 2}


def networks(kind, form):
    """A network of weights in few bits, and the same with the weights they stand for."""
    dtype, opset = TYPES[kind]
    nodes, small, real = [], [], []
    for name, shape, axis in (("w", (40, 3, 4, 4), 0), ("v", (40, 6), 1)):
        q = few(dtype, shape)
        small.append(numpy_helper.from_array(q, f"{name}_few"))
        if form == "cast":
            nodes.append(helper.make_node("Cast", [f"{name}_few"], [name], to=TensorProto.FLOAT))
            each = 1
        else:
            scale, each, attributes = steps(form, shape, axis)
            small.append(numpy_helper.from_array(scale, f"{name}_scale"))
            names = [f"{name}_few", f"{name}_scale"]
            nodes.append(helper.make_node("DequantizeLinear", names, [name], **attributes))
        real.append(numpy_helper.from_array(np.float32(q.astype("f") * each), name))
    rest = [
        helper.make_node("Conv", ["x", "w"], ["c"], strides=[4, 4]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("ReduceMean", ["r", "hw"], ["m"], keepdims=0),
        helper.make_node("MatMul", ["m", "v"], ["y"]),
    ]
    ends = (
        [helper.make_tensor_value_info("x", 1, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", 1, [1, 6])],
    )
    hw = numpy_helper.from_array(np.array([2, 3]), "hw")
    opsets = [helper.make_opsetid("", max(opset, 21) if form == "block" else opset)]
    return (
        helper.make_model(helper.make_graph(n, "g", *ends, [*w, hw]), opset_imports=opsets, ir_version=13)
        for n, w in (([*nodes, *rest], small), (rest, real))
    )


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", TYPES)
def test_answers_and_gradients(kind, form):
    model, twin = networks(kind, form)
    answer = Network(model, provider="cpu").run({"x": X})["y"]
    np.testing.assert_allclose(answer, run(twin, {"x": X})["y"], rtol=1e-5, atol=1e-5 * np.abs(answer).max())
    feeds = {"x": X, "seed/y": RNG.standard_normal((1, 6)).astype("f")}
    for name in ("x", "r", "w"):
        found, expected = (run(gradient(m, of="y", wrt=name), feeds)[f"grad/{name}"] for m in (model, twin))
        assert np.abs(expected).max() > 0
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize(("rows", "columns", "block"), [(64, 41, 16), (256, 40, 32), (48, 7, 16)])
@pytest.mark.parametrize("kind", ["int8", "uint8", "int4", "uint4", "int2", "uint2"])
@pytest.mark.parametrize("operator", ["MatMul", "Gemm"])
def test_products_in_blocks_are_not_rounded(kind, rows, columns, block, operator):
    dtype, opset = TYPES.get(kind, (kind, 21))
    q, zero = few(dtype, (rows, columns)), few(dtype, (rows // block, columns))
    scale = RNG.random((rows // block, columns)).astype("f")
    model = parsed(
        f"""(float[1,{rows}] x) => (float[1,{columns}] y) {{
            w = DequantizeLinear <axis = 0, block_size = {block}> (q, scale, zero)
            y = {operator} (x, w) }}""",
        opset,
        q=q,
        scale=scale,
        zero=zero,
    )
    model.ir_version = 13
    x = RNG.standard_normal((1, rows)).astype("f")
    real = (q.astype("f") - zero.astype("f").repeat(block, 0)) * scale.repeat(block, 0)
    np.testing.assert_allclose(
        Network(model, provider="cpu").run({"x": x})["y"], x @ real, rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize("kind", ["int4", "uint2", "float8e5m2"])
def test_a_training_graph_is_written_with_its_weights_beside_it(tmp_path, kind):
    model, _ = networks(kind, "tensor")
    light, pieces = split(training_graph(model, of="y", wrt="x"), "g.data")
    (tmp_path / "g.data").write_bytes(b"".join(pieces))
    onnx.save(light, tmp_path / "g.onnx")
    feeds = {"x": X, "seed/y": np.ones((1, 6), "f")}
    session = onnxruntime.InferenceSession(tmp_path / "g.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(
        session.run(["grad/x"], feeds)[0], run(gradient(model, of="y"), feeds)["grad/x"]
    )


def test_types_without_a_kernel_are_named():
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("DequantizeLinear", ["q", "s"], ["w"], block_size=2, axis=0),
                helper.make_node("MatMul", ["x", "w"], ["y"]),
            ],
            "g",
            [helper.make_tensor_value_info("x", 1, [1, 64])],
            [helper.make_tensor_value_info("y", 1, [1, 4])],
            [
                numpy_helper.from_array(RNG.normal(0, 1, (64, 4)).astype(ml_dtypes.float4_e2m1fn), "q"),
                numpy_helper.from_array(np.ones((32, 4), "f"), "s"),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 23)],
        ir_version=11,
    )
    with pytest.raises(
        BadModel, match="no kernel for the DequantizeLinear node 'w' of opset 23 on float4_e2m1fn"
    ):
        Network(model, provider="cpu").run({"x": np.ones((1, 64), "f")})


def rounded(dtype, domain, opset):
    """A network whose map is rounded to a type on the way, and the same without the rounding."""
    body = """(float[1,3,8,8] x) => (float[1,5] y) {{
        c = Conv <strides = [4,4]> (x, w)  r = Tanh (c)  {}
        g = GlobalAveragePool ({}) m = Flatten (g)  y = MatMul (m, v) }}"""
    weights = {
        "w": np.random.default_rng(0).normal(0, 0.2, (8, 3, 4, 4)),
        "v": np.random.default_rng(1).normal(0, 1, (8, 5)),
        "step": np.float32(0.5 if dtype == ml_dtypes.int4 else 0.01),
        "zero": np.array(2000 if dtype == np.uint16 else 0, dtype),
    }
    model = parsed(
        body.format(
            f"q = {domain}QuantizeLinear (r, step, zero)  d = {domain}DequantizeLinear (q, step, zero)", "d"
        ),
        opset,
        **weights,
    )
    model.ir_version = 11
    if domain:
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model, parsed(body.format("", "r"), opset, **weights)


ROUNDINGS = [
    *((kind, "", 21) for kind in ("int16", "uint16", "int4", "float8_e4m3fn", "float8_e5m2")),
    *((kind, "com.microsoft.", opset) for kind in ("int16", "uint16", "int8", "int4") for opset in (13, 22)),
]


@pytest.mark.parametrize(("kind", "domain", "opset"), ROUNDINGS)
def test_maps_that_are_rounded(kind, domain, opset):
    """By ONNX's operators, and by ONNX Runtime's own, which its tools write for 16 bits before opset 21."""
    model, twin = rounded(np.dtype(getattr(ml_dtypes, kind, kind)), domain, opset)
    network = Network(model, provider="cpu")
    np.testing.assert_array_equal(network.run({"x": X})["y"], run(model, {"x": X})["y"])
    feeds = {"x": X, "seed/y": RNG.standard_normal((1, 5)).astype("f")}
    found, expected = (run(gradient(m, of="y", wrt="r"), feeds)["grad/r"] for m in (model, twin))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert not examine(model).blocks
    assert network.graph.twins["q"] == "r"


def test_a_cast_to_8_bits_only_stores():
    """What is asked of it is said of the value before."""
    model = parsed(
        "(float[2,3] x) => (float[2,3] y) { r = Tanh (x) q = Cast <to = 17> (r) y = Cast <to = 1> (q) }", 21
    )
    with pytest.raises(BadRequest, match=r"'q' is of type float8_e4m3fn: .* of 16 bits or more; .* 'r'"):
        gradient(model, of="q", wrt="x")
