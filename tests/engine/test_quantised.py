"""Integer operators: the gradient of the real numbers they stand for, cut where they saturate."""

import ml_dtypes
import numpy as np
import pytest
from onnx import ModelProto, numpy_helper, parser
from oracles.networks import NO_KERNEL, run

from onnxlens.engine.anatomy.layers import last_features
from onnxlens.engine.anatomy.maps import coordinates
from onnxlens.engine.anatomy.readouts.classes import score_name
from onnxlens.engine.autodiff.doctor import examine
from onnxlens.engine.autodiff.gradient import gradient
from onnxlens.engine.canonical.canonical import canonical
from onnxlens.engine.operators.places.positions import agree
from onnxlens.engine.runtime.network import Network

RANGES = {
    "int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767), "uint16": (0, 65535),
    "int4": (-8, 7), "uint4": (0, 15),
}  # fmt: skip


def drawn(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def model(body: str, opset: int = 18, **weights: np.ndarray) -> ModelProto:
    proto = parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : {opset}, "com.microsoft" : 1]> net {body}'
    )
    for name, array in weights.items():
        proto.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    return proto


def level(x, scale, zero):
    """Where x lies among the integers, before it is rounded."""
    return x.astype(np.float64) / scale + np.asarray(zero, np.float64)


def passes(x, scale, zero, kind):
    """1 where x is in the range of a type, 0 where it saturates."""
    low, high = RANGES[kind]
    steps = np.rint(level(x, scale, zero))
    return ((steps >= low) & (steps <= high)).astype(np.float32)


def number(value, kind):
    kinds = {"int4": ml_dtypes.int4, "uint4": ml_dtypes.uint4}
    return np.asarray(value).astype(kinds.get(kind, kind))


# -- quantising and dequantising --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "zero"),
    [("int8", 0), ("uint8", 120), ("int16", 5), ("uint16", 30000), ("int4", 1), ("uint4", 7)],
)
@pytest.mark.parametrize("layout", ["whole", "by channel", "in blocks"])
def test_quantising_passes_the_gradient_straight_through_and_cuts_it(kind, zero, layout):
    x, g = 3 * drawn(2, 3, 8), drawn(2, 3, 8, seed=1)
    low, high = RANGES[kind]
    reach = 4 / (high - low)  # about a quarter of the numbers saturate
    if layout == "whole":
        scale, attribute, wide = np.float32(reach), "", np.float32(reach)
    elif layout == "by channel":
        scale = (reach * np.array([0.5, 1, 2])).astype(np.float32)
        attribute, wide = "<axis = 1>", scale[:, None]
    else:
        scale = (reach * np.linspace(0.5, 2, 12)).astype(np.float32).reshape(2, 3, 2)
        attribute, wide = "<axis = 2, block_size = 4>", scale.repeat(4, 2)
    proto = model(
        f"""(float[2,3,8] x) => (float[2,3,8] y) {{
            q = QuantizeLinear {attribute} (x, s, z)
            d = DequantizeLinear {attribute} (q, s, z)
            y = Neg (d)
        }}""",
        opset=21,
        s=scale,
        z=number(np.full(scale.shape, zero), kind),
    )
    found = run(gradient(proto, of="y", wrt=["x", "d"]), {"x": x, "seed/y": g})
    inside = passes(x, wide, zero, kind)
    assert 0.05 < 1 - inside.mean() < 0.6
    np.testing.assert_allclose(found["grad/x"], -g * inside, rtol=1e-6)
    np.testing.assert_array_equal(found["grad/d"], -g)
    np.testing.assert_array_equal(found["y"], run(proto, {"x": x})["y"])


def test_a_weight_is_asked_for_by_the_name_of_its_real_value():
    x, w = drawn(4, 6), np.random.default_rng(0).integers(-128, 128, (6, 5), np.int8)
    scale = np.linspace(0.01, 0.03, 5).astype(np.float32)
    proto = model(
        """(float[4,6] x) => (float[4,5] y) {
            weight = DequantizeLinear <axis = 1> (w, s)
            y = MatMul (x, weight)
        }""",
        w=w,
        s=scale,
    )
    g = drawn(4, 5, seed=1)
    found = run(gradient(proto, wrt=["weight", "s"]), {"x": x, "seed/y": g})
    np.testing.assert_allclose(found["grad/weight"], x.T @ g, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["grad/s"], (w * (x.T @ g)).sum(0), rtol=1e-4)


# -- integer operators -------------------------------------------------------------------------------------

IN, OUT = 0.03, 0.02  # scales; both saturate for some of the numbers
ZERO_IN, ZERO_OUT = 110, 140
WEIGHT = np.random.default_rng(1).integers(-100, 100, (6, 2, 3, 3), np.int8)
CHANNELS = np.linspace(0.002, 0.004, 6).astype(np.float32)
MATRIX = np.random.default_rng(2).integers(0, 255, (8, 5), np.uint8)
OTHER = np.random.default_rng(3).integers(0, 255, (2, 4, 6, 8), np.uint8)
BIAS = np.arange(-5, 1) * 1000
WIDE = np.random.default_rng(5).integers(-100, 100, (4, 8, 3, 3), np.int8)
FIRST, LAST = "t = Transpose <perm = [0,3,1,2]> (x)", "r = Transpose <perm = [0,2,3,1]> (c)"
C = "com.microsoft."
# The integer operator, the operator of reals that it stands for, and their constants.
CASES = {
    "QLinearConv": (
        "q = QLinearConv <pads = [1,1,1,1], group = 2> (x8, xs, xz, w8, ws, wz, ys, yz, b32)",
        "r = Conv <pads = [1,1,1,1], group = 2> (x, w, b)",
        {"w8": WEIGHT, "ws": np.float32(0.003), "wz": np.int8(3), "b32": BIAS.astype(np.int32)},
        {
            "w": (WEIGHT.astype(np.float32) - 3) * np.float32(0.003),
            "b": (BIAS * IN * 0.003).astype(np.float32),
        },
    ),
    "QLinearConv by channel": (
        "q = QLinearConv <auto_pad = \"SAME_UPPER\", strides = [2,2], group = 2> "
        "(x8, xs, xz, w8, ws, wz, ys, yz)",
        "r = Conv <auto_pad = \"SAME_UPPER\", strides = [2,2], group = 2> (x, w)",
        {"w8": WEIGHT, "ws": CHANNELS, "wz": np.zeros(6, np.int8)},
        {"w": WEIGHT.astype(np.float32) * CHANNELS[:, None, None, None]},
    ),
    "QLinearMatMul": (
        "q = QLinearMatMul (x8, xs, xz, w8, ws, wz, ys, yz)",
        "r = MatMul (x, w)",
        {"w8": MATRIX, "ws": np.float32(0.01), "wz": np.uint8(128)},
        {"w": (MATRIX.astype(np.float32) - 128) * np.float32(0.01)},
    ),
    "QLinearAdd": (
        f"q = {C}QLinearAdd (x8, xs, xz, w8, ws, wz, ys, yz)",
        "r = Add (x, w)",
        {"w8": OTHER, "ws": np.float32(0.01), "wz": np.uint8(128)},
        {"w": (OTHER.astype(np.float32) - 128) * np.float32(0.01)},
    ),
    "QLinearMul": (
        f"q = {C}QLinearMul (x8, xs, xz, w8, ws, wz, ys, yz)",
        "r = Mul (x, w)",
        {"w8": OTHER, "ws": np.float32(0.01), "wz": np.uint8(128)},
        {"w": (OTHER.astype(np.float32) - 128) * np.float32(0.01)},
    ),
    "QLinearConcat": (
        f"q = {C}QLinearConcat <axis = 1> (ys, yz, x8, xs, xz, w8, ws, wz)",
        "r = Concat <axis = 1> (x, w)",
        {"w8": OTHER, "ws": np.float32(0.01), "wz": np.uint8(128)},
        {"w": (OTHER.astype(np.float32) - 128) * np.float32(0.01)},
    ),
    "QLinearWhere": (
        f"q = {C}QLinearWhere (choice, x8, xs, xz, w8, ws, wz, ys, yz)",
        "r = Where (choice, x, w)",
        {"w8": OTHER, "ws": np.float32(0.01), "wz": np.uint8(128), "choice": OTHER % 3 > 0},
        {"w": (OTHER.astype(np.float32) - 128) * np.float32(0.01), "choice": OTHER % 3 > 0},
    ),
    "QLinearGlobalAveragePool": (
        f"q = {C}QLinearGlobalAveragePool <channels_last = 0> (x8, xs, xz, ys, yz)",
        "r = GlobalAveragePool (x)", {}, {},
    ),
    "QLinearAveragePool": (
        f"q = {C}QLinearAveragePool <kernel_shape = [3,2], strides = [2,1], pads = [1,0,1,0]> "
        "(x8, xs, xz, ys, yz)",
        "r = AveragePool <kernel_shape = [3,2], strides = [2,1], pads = [1,0,1,0]> (x)", {}, {},
    ),
    "QLinearConv channels last": (
        f"q = {C}QLinearConv <channels_last = 1, auto_pad = \"SAME_LOWER\", strides = [2,1]> "
        "(x8, xs, xz, w8, ws, wz, ys, yz, b32)",
        f"{FIRST} c = Conv <auto_pad = \"SAME_LOWER\", strides = [2,1]> (t, w, b) {LAST}",
        {"w8": WIDE, "ws": np.float32(0.002), "wz": np.int8(0), "b32": BIAS[:4].astype(np.int32)},
        {"w": WIDE * np.float32(0.002), "b": (BIAS[:4] * IN * 0.002).astype(np.float32)},
    ),
    "QLinearAveragePool channels last": (
        f"q = {C}QLinearAveragePool <channels_last = 1, kernel_shape = [3,2], strides = [2,1], "
        "pads = [1,0,1,0]> (x8, xs, xz, ys, yz)",
        f"{FIRST} c = AveragePool <kernel_shape = [3,2], strides = [2,1], pads = [1,0,1,0]> (t) {LAST}",
        {}, {},
    ),
    "QLinearGlobalAveragePool channels last": (
        f"q = {C}QLinearGlobalAveragePool <channels_last = 1> (x8, xs, xz, ys, yz)",
        f"{FIRST} c = GlobalAveragePool (t) {LAST}", {}, {},
    ),
    "NhwcMaxPool": (
        f"q = {C}NhwcMaxPool <kernel_shape = [3,2], strides = [2,1], pads = [1,0,1,0]> (x8)",
        f"{FIRST} c = MaxPool <kernel_shape = [3,2], strides = [2,1], pads = [1,0,1,0]> (t) {LAST}", {}, {},
    ),
    "QLinearSigmoid": (f"q = {C}QLinearSigmoid (x8, xs, xz, ys, yz)", "r = Sigmoid (x)", {}, {}),
    "QLinearLeakyRelu": (
        f"q = {C}QLinearLeakyRelu <alpha = 0.2> (x8, xs, xz, ys, yz)", "r = LeakyRelu <alpha = 0.2> (x)",
        {}, {},
    ),
    "QLinearSoftmax": (
        f"q = {C}QLinearSoftmax <axis = -1, opset = 13> (x8, xs, xz, ys, yz)", "r = Softmax <axis = -1> (x)",
        {}, {},
    ),
    "MaxPool": (
        "q = MaxPool <kernel_shape = [2,2], strides = [2,2]> (x8)",
        "r = MaxPool <kernel_shape = [2,2], strides = [2,2]> (x)", {}, {},
    ),
    "Transpose": ("q = Transpose <perm = [0,2,3,1]> (x8)", "r = Transpose <perm = [0,2,3,1]> (x)", {}, {}),
}  # fmt: skip
MOVING = {"MaxPool", "NhwcMaxPool", "Transpose"}  # the scale stays what it was
SCALES = {
    "QLinearGlobalAveragePool": 0.002,
    "QLinearGlobalAveragePool channels last": 0.002,
    "QLinearAveragePool channels last": 0.01,
    "QLinearSigmoid": 0.003,
    "QLinearSoftmax": 0.001,
    "QLinearMul": 0.01,
}


@pytest.mark.parametrize("name", CASES)
def test_an_integer_operator_has_the_gradient_of_its_reals(name):
    integer, real, weights, reals = CASES[name]
    out = np.float32(IN if name in MOVING else SCALES.get(name, OUT))
    zero = ZERO_IN if name in MOVING else ZERO_OUT
    shared = {"xs": np.float32(IN), "xz": np.uint8(ZERO_IN), "ys": out, "yz": np.uint8(zero)}
    proto = model(
        f"""(float[2,4,6,8] x) => (float[a,b,c,d] y) {{
            x8 = QuantizeLinear (x, xs, xz)
            {integer}
            d = DequantizeLinear (q, ys, yz)
            y = Neg (d)
        }}""",
        **shared,
        **weights,
    )
    x = 2 * drawn(2, 4, 6, 8)
    inside = passes(x, IN, ZERO_IN, "uint8")
    steps = np.clip(np.rint(level(x, IN, ZERO_IN)), 0, 255)
    grid = ((steps - ZERO_IN) * np.float64(np.float32(IN))).astype(np.float32)

    plain = model(f"(float[2,4,6,8] x) => (float[a,b,c,d] r) {{ {real} }}", **reals)
    value = run(plain, {"x": grid})["r"]
    g = drawn(*value.shape, seed=1)
    cut = passes(value, out, zero, "uint8")
    if name not in MOVING | {"QLinearSoftmax"}:
        assert 0.005 < 1 - cut.mean() < 0.7
    expected = run(gradient(plain, of="r", wrt="x"), {"x": grid, "seed/r": -g * cut})["grad/x"] * inside

    before = run(proto, {"x": x})["y"]
    held = np.clip(value, (0 - zero) * out, (255 - zero) * out)
    np.testing.assert_allclose(before, -held, atol=1.01 * out)
    found = run(gradient(proto, of="y", wrt="x"), {"x": x, "seed/y": g})
    np.testing.assert_array_equal(found["y"], before)
    close = np.isclose(found["grad/x"], expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    assert close.mean() > 0.99, f"{(~close).sum()} of {close.size} differ"  # where a rounding is a tie


@pytest.mark.parametrize("name", CASES)
def test_an_integer_operator_lies_where_its_reals_do(name):
    integer, real, weights, reals = CASES[name]
    scales = {"xs": np.float32(IN), "xz": np.uint8(ZERO_IN), "ys": np.float32(OUT), "yz": np.uint8(ZERO_OUT)}
    proto = model(
        f"""(float[2,4,6,8] x) => (float[a,b,c,d] y) {{
            x8 = QuantizeLinear (x, xs, xz)
            {integer}
            y = DequantizeLinear (q, ys, yz)
        }}""",
        **scales,
        **weights,
    )
    plain = model(f"(float[2,4,6,8] x) => (float[a,b,c,d] r) {{ {real} }}", **reals)
    found, expected = coordinates(canonical(proto))["y"], coordinates(canonical(plain))["r"]
    is_last = "channels last" in name and "auto_pad" in integer  # not spelt out in numbers there: it is said
    assert found.nowhere if is_last else agree(found, expected)


# Operators that keep the steps of the integers X, which they move, choose among or mix.
LEVELS = np.random.default_rng(4).integers(90, 140, (2, 4, 6, 8))
STEPPING = {
    "Resize nearest": ("Resize <mode = \"nearest\"> (X, , f)", {"f": np.float32([1, 1, 2, 1.5])}),
    "Resize linear": ("Resize <mode = \"linear\"> (X, , f)", {"f": np.float32([1, 1, 2, 2])}),
    "Resize linear to sizes": (
        "Resize <mode = \"linear\", coordinate_transformation_mode = \"align_corners\"> (X, , , n)",
        {"n": np.int64([2, 4, 9, 5])},
    ),
    "Resize antialias": (
        "Resize <mode = \"linear\", antialias = 1> (X, , f)", {"f": np.float32([1, 1, 0.5, 0.5])}
    ),
    "MaxPool": ("MaxPool <kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1]> (X)", {}),
    "Concat": ("Concat <axis = 1> (X, k, X)", {"k": LEVELS}),
    "Pad constant": ("Pad (X, p)", {"p": np.int64([0, 0, 1, 2, 0, 0, 0, 1])}),
    "Pad reflect": ("Pad <mode = \"reflect\"> (X, p)", {"p": np.int64([0, 0, 1, 2, 0, 0, 0, 1])}),
    "Pad edge": ("Pad <mode = \"edge\"> (X, p)", {"p": np.int64([0, 0, -1, 2, 0, 0, 0, 1])}),
    "Slice": ("Slice (X, a, e, i, t)", {"a": [1], "e": [6], "i": [3], "t": [2]}),
    "Gather": ("Gather <axis = 3> (X, i)", {"i": np.int64([5, 0, 0, 2])}),
    "GatherND": ("GatherND (X, i)", {"i": np.int64([[1, 2, 3], [0, 0, 0]])}),
    "GatherElements": ("GatherElements <axis = 3> (X, i)", {"i": np.int64(LEVELS % 8)}),
    "Tile": ("Tile (X, r)", {"r": np.int64([1, 2, 1, 1])}),
    "Expand": ("Expand (X, r)", {"r": np.int64([3, 2, 4, 6, 8])}),
    "Compress": ("Compress <axis = 2> (X, m)", {"m": np.array([1, 0, 0, 1, 1, 0], bool)}),
    "Reshape": ("Reshape (X, r)", {"r": np.int64([2, -1])}),
    "DepthToSpace": ("DepthToSpace <blocksize = 2> (X)", {}),
    "SpaceToDepth": ("SpaceToDepth <blocksize = 2> (X)", {}),
    "Where": ("Where (c, X, k)", {"c": LEVELS % 3 > 0, "k": LEVELS}),
    "Max": ("Max (X, k)", {"k": LEVELS}),
    "Min": ("Min (k, X)", {"k": LEVELS}),
    "Clip": ("Clip (X, l, h)", {"l": 90, "h": 130}),
    "ReduceMax": ("ReduceMax <keepdims = 0> (X, i)", {"i": np.int64([2, 3])}),
    "ReverseSequence": ("ReverseSequence <batch_axis = 0, time_axis = 1> (X, i)", {"i": np.int64([3, 4])}),
    "CenterCropPad": ("CenterCropPad <axes = [2,3]> (X, n)", {"n": np.int64([3, 7])}),
    "Identity": ("Identity (X)", {}),
    "Flatten": ("Flatten <axis = 2> (X)", {}),
}  # fmt: skip
IN_STEPS = {"k", "l", "h"}  # constants that are counted in steps too


@pytest.mark.parametrize("kind", ["uint8", "int8"])
@pytest.mark.parametrize("name", STEPPING)
def test_what_keeps_the_steps_has_the_gradient_of_its_reals(name, kind):
    text, constants = STEPPING[name]
    zero, low = (ZERO_IN, 0) if kind == "uint8" else (ZERO_IN - 128, -128)
    scale = np.float32(IN)
    wholes = {
        k: (np.asarray(v) + low).astype(kind) if k in IN_STEPS else np.asarray(v)
        for k, v in constants.items()
    }
    reals = {k: (v.astype(np.float32) - zero) * scale if k in IN_STEPS else v for k, v in wholes.items()}
    proto = model(
        f"""(float[2,4,6,8] x) => (y) {{
            x8 = QuantizeLinear (x, s, z) q = {text.replace("X", "x8")}
            d = DequantizeLinear (q, s, z) y = Neg (d)
        }}""",
        s=scale,
        z=number(zero, kind),
        **wholes,
    )
    x = 2 * drawn(2, 4, 6, 8)
    grid = (np.clip(np.rint(level(x, scale, zero)), low, low + 255) - zero).astype(np.float32) * scale
    plain = model(f"(float[2,4,6,8] x) => (r) {{ r = {text.replace('X', 'x')} }}", **reals)
    try:
        before, value = run(proto, {"x": x})["y"], run(plain, {"x": grid})["r"]
    except NO_KERNEL:
        pytest.skip("ONNX Runtime has no kernel for these integers")
    # Padding is with the integer 0; and with antialias ONNX Runtime cuts int8 off at 0.
    if name != "Pad constant" and (name, kind) != ("Resize antialias", "int8"):
        np.testing.assert_allclose(before, -value, atol=1.01 * IN)
    g = drawn(*value.shape, seed=1)
    expected = run(gradient(plain, of="r", wrt="x"), {"x": grid, "seed/r": -g})["grad/x"]
    expected = expected * passes(x, scale, zero, kind)
    found = run(gradient(proto, of="y", wrt="x"), {"x": x, "seed/y": g})
    np.testing.assert_array_equal(found["y"], before)
    np.testing.assert_allclose(found["grad/x"], expected, rtol=1e-4, atol=1e-5)
    assert examine(proto, ["y"], ["x"]).verdict == "open"


@pytest.mark.parametrize("kind", ["uint8", "float"])
@pytest.mark.parametrize("turned", [0, 1])
def test_qgemm_has_the_gradient_of_its_reals(kind, turned):
    w8 = np.random.default_rng(4).integers(-100, 100, (5, 8) if turned else (8, 5), np.int8)
    ws = np.linspace(0.002, 0.01, 5).astype(np.float32)
    bias = np.array([5, -300, 200, 0, 90], np.int32)
    ending = ", ys, yz) d = DequantizeLinear (q, ys, yz) y = Neg (d)" if kind == "uint8" else ") y = Neg (q)"
    proto = model(
        f"""(float[3,8] x) => (float[3,5] y) {{
            x8 = QuantizeLinear (x, xs, xz)
            q = com.microsoft.QGemm <transB = {turned}, alpha = 0.5> (x8, xs, xz, w8, ws, wz, b32{ending}
        }}""",
        xs=np.float32(IN),
        xz=np.uint8(ZERO_IN),
        w8=w8,
        ws=ws,
        wz=np.zeros(5, np.int8),
        b32=bias,
        ys=np.float32(0.006),
        yz=np.uint8(ZERO_OUT),
    )
    x, g = drawn(3, 8), drawn(3, 5, seed=1)
    grid = (np.rint(x / np.float32(IN)) * IN).astype(np.float32)
    w = (w8 if turned else w8.T) * ws[:, None]
    value = 0.5 * (grid @ w.T + bias * IN * ws)
    cut = passes(value, 0.006, ZERO_OUT, "uint8") if kind == "uint8" else np.ones_like(g)
    found = run(gradient(proto, of="y", wrt="x"), {"x": x, "seed/y": g})
    bound = 1.01 * 0.006 if kind == "uint8" else 1e-4
    low, high = (-ZERO_OUT * 0.006, (255 - ZERO_OUT) * 0.006) if kind == "uint8" else (-np.inf, np.inf)
    np.testing.assert_allclose(found["y"], -np.clip(value, low, high), atol=bound)
    np.testing.assert_allclose(found["grad/x"], 0.5 * (-g * cut) @ w, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("integer", "real", "weight"),
    [
        ("MatMulInteger (x8, w8, xz, wz)", "MatMul (x, w)", MATRIX),
        ("ConvInteger <pads = [1,1,1,1], group = 2> (x8, w8, xz, wz)",
         "Conv <pads = [1,1,1,1], group = 2> (x, w)", WEIGHT.view(np.uint8)),
    ],
    ids=["MatMulInteger", "ConvInteger"],
)  # fmt: skip
def test_dynamic_quantisation_has_the_gradient_of_its_reals(integer, real, weight):
    proto = model(
        f"""(float[2,4,6,8] x) => (float[a,b,c,d] y) {{
            x8, xs, xz = DynamicQuantizeLinear (x)
            i = {integer}
            f = Cast <to = 1> (i)
            s = Mul (xs, ws)
            y = Mul (f, s)
        }}""",
        w8=weight,
        ws=np.float32(0.01),
        wz=np.uint8(128),
    )
    plain = model(
        f"(float[2,4,6,8] x) => (float[a,b,c,d] y) {{ y = {real} }}",
        w=(weight.astype(np.float32) - 128) * np.float32(0.01),
    )
    x = drawn(2, 4, 6, 8)
    before = run(proto, {"x": x})["y"]
    g = drawn(*before.shape, seed=1)
    found = run(gradient(proto, wrt="x"), {"x": x, "seed/y": g})
    expected = run(gradient(plain, wrt="x"), {"x": x, "seed/y": g})
    np.testing.assert_array_equal(found["y"], before)
    np.testing.assert_allclose(found["y"], expected["y"], atol=0.05 * np.abs(before).max())
    np.testing.assert_allclose(found["grad/x"], expected["grad/x"], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("scale", [np.float32(0.01), np.linspace(0.005, 0.02, 5).astype(np.float32)])
@pytest.mark.parametrize(
    "fused",
    [
        "y = com.microsoft.DynamicQuantizeMatMul (x, w8, ws, wz, bias)",
        "x8, xs, xz = DynamicQuantizeLinear (x) "
        "y = com.microsoft.MatMulIntegerToFloat (x8, w8, xs, ws, xz, wz, bias)",
    ],
    ids=["DynamicQuantizeMatMul", "MatMulIntegerToFloat"],
)
def test_fused_dynamic_products_have_the_gradient_of_their_reals(fused, scale):
    zero, bias = np.full(scale.shape, 128, np.uint8), drawn(5)
    proto = model(
        f"(float[3,4,8] x) => (float[3,4,5] y) {{ {fused} }}", w8=MATRIX, ws=scale, wz=zero, bias=bias
    )
    w = (MATRIX.astype(np.float32) - 128) * scale
    x, g = drawn(3, 4, 8), drawn(3, 4, 5, seed=1)
    found = run(gradient(proto, wrt="x"), {"x": x, "seed/y": g})
    np.testing.assert_array_equal(found["y"], run(proto, {"x": x})["y"])
    np.testing.assert_allclose(found["y"], x @ w + bias, atol=0.05 * np.abs(x @ w).max())
    np.testing.assert_allclose(found["grad/x"], g @ w.T, rtol=1e-4, atol=1e-5)
    assert canonical(proto)["y"].shape == (3, 4, 5)


@pytest.mark.parametrize("columns", [(), (16,)], ids=["a scale for each direction", "one for each column"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_a_quantised_lstm_has_the_gradient_of_its_reals(direction, columns):
    """As in the text recogniser of ddddocr 1.6.1, with a first state and a bias."""
    rng, ways = np.random.default_rng(7), 1 + (direction == "bidirectional")
    w8, r8 = (rng.integers(0, 255, (ways, size, 16), np.uint8) for size in (6, 4))
    ws, rs = (rng.uniform(0.002, 0.006, (ways, *columns)).astype(np.float32) for _ in range(2))
    wz, rz = np.full(ws.shape, 128, np.uint8), np.full(rs.shape, 120, np.uint8)
    shared = {"b": drawn(ways, 32), "h": drawn(ways, 2, 4)}
    head = f"(float[3,2,6] x) => (float[3,{ways},2,4] y, float[{ways},2,4] last) "
    attrs = f'<hidden_size = 4, direction = "{direction}">'
    states = "h, , , {}" if columns else "h, h, , {}"
    inputs = f"x, w8, r8, b, , {states.format('ws, wz, rs, rz')}"
    proto = model(
        f"{head} {{ y, last = com.microsoft.DynamicQuantizeLSTM {attrs} ({inputs}) }}",
        w8=w8, r8=r8, ws=ws, wz=wz, rs=rs, rz=rz, **shared,
    )  # fmt: skip

    def turned(m, scale, zero):
        scale, zero = (v.reshape(ways, 1, -1) for v in (scale, zero.astype(np.float32)))
        return ((m - zero) * scale).transpose(0, 2, 1).astype(np.float32)

    plain = model(
        f"{head} {{ y, last = LSTM {attrs} (x, w, r, b, , {states.format('')}) }}".replace(", , )", ")"),
        w=turned(w8, ws, wz), r=turned(r8, rs, rz), **shared,
    )  # fmt: skip
    x, g = drawn(3, 2, 6), drawn(3, ways, 2, 4, seed=1)
    found = run(gradient(proto, of="y", wrt=["x", "h"]), {"x": x, "seed/y": g})
    expected = run(gradient(plain, of="y", wrt=["x", "h"]), {"x": x, "seed/y": g})
    np.testing.assert_array_equal(found["y"], run(proto, {"x": x})["y"])
    np.testing.assert_allclose(found["y"], expected["y"], atol=0.05)
    for name in ("grad/x", "grad/h"):
        np.testing.assert_allclose(found[name], expected[name], atol=0.1 * np.abs(expected[name]).max())
    assert canonical(proto)["y"].shape == (3, ways, 2, 4)


def test_quantised_attention_has_the_gradient_of_its_reals():
    """Masked and behind a cache, with weights on a scale for each column."""
    rng = np.random.default_rng(6)
    w8, ws = rng.integers(0, 255, (8, 24), np.uint8), np.linspace(0.004, 0.008, 24, dtype=np.float32)
    shared = {"b": drawn(24), "m": np.array([7, 4], np.int32), "past": drawn(2, 2, 2, 3, 4)}
    attrs = "<num_heads = 2, unidirectional = 1>"
    proto = model(
        f"""(float[2,5,8] x) => (float[2,5,8] y) {{
            x8 = QuantizeLinear (x, xs, xz)
            y, p = com.microsoft.QAttention {attrs} (x8, w8, b, xs, ws, m, xz, wz, past)
        }}""",
        xs=np.float32(IN), xz=np.uint8(ZERO_IN), w8=w8, ws=ws, wz=np.full(24, 128, np.uint8), **shared,
    )  # fmt: skip
    plain = model(
        f"""(float[2,5,8] x) => (float[2,5,8] y) {{
            y, p = com.microsoft.Attention {attrs} (x, w, b, m, past)
        }}""",
        w=(w8.astype(np.float32) - 128) * ws, **shared,
    )  # fmt: skip
    x, g = 2 * drawn(2, 5, 8), drawn(2, 5, 8, seed=1)
    inside = passes(x, IN, ZERO_IN, "uint8")
    assert 0 < 1 - inside.mean() < 0.3
    grid = ((np.clip(np.rint(level(x, IN, ZERO_IN)), 0, 255) - ZERO_IN) * IN).astype(np.float32)
    found = run(gradient(proto, wrt=["x", "past"]), {"x": x, "seed/y": g})
    expected = run(gradient(plain, wrt=["x", "past"]), {"x": grid, "seed/y": g})
    np.testing.assert_allclose(found["y"], expected["y"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found["grad/x"], expected["grad/x"] * inside, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found["grad/past"], expected["grad/past"], rtol=1e-3, atol=1e-4)


# -- networks of integers ----------------------------------------------------------------------------------


def classifier(scale=0.05):
    """Integers from the picture to the score."""
    return model(
        """(float[N,2,8,8] x) => (float[N,5] p) {
            x8 = QuantizeLinear (x, xs, xz)
            c8 = QLinearConv <pads = [1,1,1,1], group = 2> (x8, xs, xz, w8, ws, wz, cs, cz)
            m8 = MaxPool <kernel_shape = [2,2], strides = [2,2]> (c8)
            g8 = com.microsoft.QLinearGlobalAveragePool <channels_last = 0> (m8, cs, cz, cs, cz)
            f8 = Flatten (g8)
            s8 = com.microsoft.QGemm (f8, cs, cz, h8, ws, wz, b32, ss, xz)
            p8 = com.microsoft.QLinearSoftmax <axis = -1, opset = 13> (s8, ss, xz, ps, cz)
            p = DequantizeLinear (p8, ps, cz)
        }""",
        xs=np.float32(IN), xz=np.uint8(ZERO_IN), w8=WEIGHT[:, :1], ws=np.float32(0.01), wz=np.int8(0),
        cs=np.float32(0.02), cz=np.uint8(0), ss=np.float32(scale), ps=np.float32(1 / 256),
        h8=np.random.default_rng(5).integers(-100, 100, (6, 5), np.int8), b32=np.zeros(5, np.int32),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("joined", "features"),
    [("y = Relu(d)", "f"), ("e = Add(d, f)  y = Relu(e)", "y")],
    ids=["head", "inside a block"],
)
def test_a_layer_whose_scale_is_found_on_the_spot_can_be_the_head(joined, features):
    written = model(
        f"""(float[N,2,8,8] x) => (float[N,6] s) {{
            c = Conv <pads = [1,1,1,1]> (x, w)
            f = Relu (c)
            q, qs, qz = DynamicQuantizeLinear (f)
            i = ConvInteger (q, h8, qz, wz)
            r = Cast <to = 1> (i)
            m = Mul (qs, ws)
            d = Mul (r, m)
            {joined}
            g = GlobalAveragePool (y)
            s = Flatten (g)
        }}""",
        w=np.random.default_rng(4).standard_normal((6, 2, 3, 3), np.float32),
        h8=np.random.default_rng(5).integers(-100, 100, (6, 6, 1, 1), np.int8),
        ws=np.float32(0.01), wz=np.int8(0),
    )  # fmt: skip
    assert last_features(canonical(written), "s") == features


def test_layers_and_scores_of_integers_are_their_real_numbers():
    graph = canonical(classifier())
    assert score_name(graph) == "s8/real"
    assert last_features(graph, "s8/real") == "c8/real"
    assert (graph["c8/real"].dtype, graph["c8/real"].shape) == (np.float32, ("N", 6, 8, 8))
    network = Network(classifier(), provider="cpu")
    x = drawn(3, 2, 8, 8)
    found = network.run({"x": x}, ["c8", "c8/real", "p"])
    np.testing.assert_array_equal(found["c8/real"], found["c8"] * np.float32(0.02))
    np.testing.assert_array_equal(found["p"], run(classifier(), {"x": x})["p"])


def test_the_name_of_the_integers_stands_for_the_real_numbers():
    x, g = drawn(2, 2, 8, 8), drawn(2, 5)
    made = gradient(classifier(), of="s8", wrt=["c8", "c8/real"])
    found = run(made, {"x": x, "seed/s8": g})
    assert np.abs(found["grad/c8"]).max() > 0
    np.testing.assert_array_equal(found["grad/c8"], found["grad/c8/real"])


def test_a_score_that_saturates_has_the_slope_of_what_it_is_made_of():
    x, g = drawn(2, 2, 8, 8), drawn(2, 5)
    grads = []
    for scale in (0.05, 1e-5):  # in the second all scores saturate
        made = gradient(classifier(scale), of="s8", wrt=["c8", "s8"])
        found = run(made, {"x": x, "seed/s8": g})
        np.testing.assert_array_equal(found["grad/s8"], g)
        grads.append(found["grad/c8"])
    np.testing.assert_array_equal(*grads)


def test_a_gradient_graph_of_integers_can_be_taken_up_again():
    made = gradient(classifier(), of="s8", wrt="c8")
    graph = canonical(made)
    assert [n.op_type for n in graph.nodes].count("DequantizeLinear") == [
        n.op_type for n in made.graph.node
    ].count("DequantizeLinear")


def test_names_that_a_file_uses_are_left_alone():
    proto = classifier()
    for node in proto.graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = "c8/real" if name == "m8" else name
    assert canonical(proto).twins["c8"] == "c8/real/2"
