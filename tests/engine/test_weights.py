import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from oracles.networks import parsed
from oracles.toys import build

from onnxlens.engine.canonical.canonical import canonical
from onnxlens.engine.errors import BadModel, BadRequest
from onnxlens.engine.features.patterns import patterns
from onnxlens.engine.features.redundancy import doubles, faint, off
from onnxlens.engine.features.weights import kernels, layers
from onnxlens.engine.runtime.network import Network

RNG = np.random.default_rng(11)
WHOLE = RNG.integers(-20, 20, (6, 3, 4, 5)).astype(np.int8)  # what all wrappings below stand for
KERNELS = WHOLE.astype(np.float32) / 8


def only(model, name=None):
    """The kernels of the only layer, or of the one that computes `name`."""
    graph = canonical(model)
    return next(kernels(graph, [name] if name else list(layers(graph))))


def conv(wrapping="", opset=18, **weights):
    """A convolution whose weights `w` are made by some lines of ONNX from what is stored."""
    body = f"(float[1,3,8,9] x) => (float[1,6,5,5] y) {{ {wrapping}\n y = Conv(x, w) }}"
    return parsed(body, opset, **weights)


def scattered(channels):
    """Scales and zero points of their own for each output, and the integers that stand for KERNELS."""
    scale = (2.0 ** RNG.integers(-4, -2, channels)).astype(np.float32)
    zero = RNG.integers(-5, 5, channels).astype(np.int8)
    whole = KERNELS / scale[:, None, None, None] + zero[:, None, None, None]
    return whole.astype(np.int8), scale, zero


Q, SCALE, ZERO = scattered(6)
WRAPPED = {
    "stored": conv(w=KERNELS),
    "constant": build(
        [
            helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(KERNELS)),
            helper.make_node("Conv", ["x", "w"], ["y"]),
        ],
        {"x": (1, 3, 8, 9)},
        {"y": None},
    ),
    "identity": conv("w = Identity(s)", s=KERNELS),
    "half": conv("w = Cast<to=1>(s)", s=KERNELS.astype(np.float16)),
    "transposed": conv("w = Transpose<perm=[3,2,0,1]>(s)", s=KERNELS.transpose(2, 3, 1, 0)),
    "reshaped": conv(
        "shape = Constant<value_ints=[6,3,4,5]>() w = Reshape(s, shape)", s=KERNELS.reshape(6, 60)
    ),
    "quantised": conv("w = DequantizeLinear(s, f)", s=WHOLE, f=np.float32(1 / 8)),
    "quantised per output": conv("w = DequantizeLinear<axis=0>(s, f, z)", s=Q, f=SCALE, z=ZERO),
    "several": conv(
        """t = DequantizeLinear<axis=3>(s, f, z)
        u = Transpose<perm=[3,2,0,1]>(t)
        h = Cast<to=10>(u)
        w = Cast<to=1>(h)""",
        s=np.ascontiguousarray(Q.transpose(2, 3, 1, 0)),
        f=SCALE,
        z=ZERO,
    ),
    "scaled": conv("w = Mul(s, f)", s=KERNELS * 4, f=np.float32(0.25)),
}  # fmt: skip


@pytest.mark.parametrize("name", WRAPPED)
def test_kernels_are_found_behind_every_wrapping(name):
    found = only(WRAPPED[name])
    np.testing.assert_array_equal(found.values, KERNELS)
    assert found.values.dtype == np.float32
    assert (found.layer, found.operator, found.first) == ("y", "Conv", True)


def test_the_name_is_that_of_what_is_stored():
    assert only(WRAPPED["several"]).weight == "s"
    assert only(WRAPPED["stored"]).weight == "w"


def test_a_quantised_convolution_has_its_real_weights():
    model = parsed(
        "(uint8[1,3,8,9] x) => (uint8[1,6,5,5] y) { y = QLinearConv(x, xs, xz, w, ws, wz, ys, yz) }",
        xs=np.float32(0.1), xz=np.uint8(3), w=Q, ws=SCALE, wz=ZERO, ys=np.float32(0.2), yz=np.uint8(0),
    )  # fmt: skip
    np.testing.assert_array_equal(only(model).values, KERNELS)


def test_weights_in_a_file_of_their_own(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(conv(w=KERNELS), path, save_as_external_data=True, location="weights", size_threshold=0)
    np.testing.assert_array_equal(only(path).values, KERNELS)


DENSE = RNG.standard_normal((5, 12)).astype(np.float32)


@pytest.mark.parametrize(
    ("line", "w"),
    [
        ("y = MatMul(x, w)", DENSE.T),
        ("y = Gemm(x, w)", DENSE.T),
        ("y = Gemm<transB=1>(x, w)", DENSE),
        ("y = Gemm<transB=1, alpha=0.5>(x, w)", 2 * DENSE),
        ("t = Transpose(w) y = MatMul(x, t)", DENSE),
    ],
)
def test_dense_layers_have_a_row_for_each_output(line, w):
    found = only(parsed(f"(float[1,12] x) => (float[1,5] y) {{ {line} }}", w=w), "y")
    np.testing.assert_array_equal(found.values[:, :, 0, 0], DENSE)


def test_a_dense_layer_that_reads_a_flattened_map_has_maps():
    w = RNG.standard_normal((3, 24)).astype(np.float32)
    first = parsed(
        """(float[1,2,3,4] x) => (float[1,3] y) { r = Relu(x) d = Identity(r) f = Flatten(d)
        y = Gemm<transB=1>(f, w) }""",
        w=w,
    )
    np.testing.assert_array_equal(only(first).values, w.reshape(3, 2, 3, 4))
    last = parsed(
        """(float[1,3,4,2] x) => (float[1,3] y) { t = Transpose<perm=[0,3,1,2]>(x) c = Conv(t, one)
        u = Transpose<perm=[0,2,3,1]>(c) s = Constant<value_ints=[1,24]>() f = Reshape(u, s)
        y = Gemm<transB=1>(f, w) }""",
        w=w,
        one=np.eye(2).reshape(2, 2, 1, 1),
    )
    np.testing.assert_array_equal(only(last, "y").values, w.reshape(3, 3, 4, 2).transpose(0, 3, 1, 2))
    assert not only(last, "y").first


def test_transposed_convolutions_have_a_kernel_for_each_output():
    w = RNG.standard_normal((4, 3, 2, 2)).astype(np.float32)  # (C, K / group, h, w)
    found = only(parsed("(float[1,4,3,3] x) => (float[1,6,4,4] y) { y = ConvTranspose<group=2>(x, w) }", w=w))
    for k in range(6):
        for c in range(2):
            np.testing.assert_array_equal(found.values[k, c], w[k // 3 * 2 + c, k % 3])


def test_one_and_three_dimensions():
    w = RNG.standard_normal((4, 3, 2, 3, 5)).astype(np.float32)
    deep = only(parsed("(float[1,3,4,4,5] x) => (float[1,4,3,2,1] y) { y = Conv(x, w) }", w=w))
    assert deep.values.shape == (4, 3, 6, 5)
    flat = only(parsed("(float[1,3,9] x) => (float[1,4,5] y) { y = Conv(x, w) }", w=w[:, :, 0, 0]))
    assert flat.values.shape == (4, 3, 1, 5)


def test_what_is_computed_from_the_input_is_no_weight():
    graph = canonical(
        parsed(
            "(float[1,4,4] x, float[1,4,4] z) => (float[1,4,4] y) { s = MatMul(x, z) y = MatMul(s, w) }",
            w=np.eye(4),
        )
    )
    assert list(layers(graph)) == ["y"]


def test_a_weight_that_a_file_only_claims_is_not_computed():
    model = parsed(
        """(float[1,3,8,8] x) => (float[1,N,H,W] y) { shape = Constant<value_ints=[100000,3,1000,1000]>()
        w = Expand(s, shape) y = Conv(x, w) }""",
        s=np.ones((1, 1, 1, 1)),
    )
    assert layers(canonical(model)) == {}


# -- what is odd ------------------------------------------------------------------------------------------


def naive_doubles(values, groups=1, least=0.95):
    found = []
    for i in range(len(values)):
        for j in range(i + 1, len(values)):
            a, b = values[i].ravel().astype(float), values[j].ravel().astype(float)
            if i * groups // len(values) == j * groups // len(values) and (a @ a) * (b @ b) > 0:
                cosine = a @ b / np.sqrt((a @ a) * (b @ b))
                if abs(cosine) > least:
                    found.append((i, j, cosine))
    return sorted(found)


@pytest.mark.parametrize("groups", [1, 2])
def test_planted_doubles_are_found_with_their_sign(groups, monkeypatch):
    monkeypatch.setattr("onnxlens.engine.features.redundancy.BLOCK", 3)
    w = RNG.standard_normal((12, 4 // groups, 3, 3)).astype(np.float32)
    w[4] = 3 * w[1] + 0.01 * RNG.standard_normal(w[1].shape)
    w[5], w[11], w[2] = -0.5 * w[3], w[0], 0
    body = f"(float[1,4,8,8] x) => (float[1,12,6,6] y) {{ y = Conv<group={groups}>(x, w) }}"
    found = doubles(only(parsed(body, w=w)))
    expected = naive_doubles(w, groups)
    assert [p[:2] for p in sorted(found)] == [p[:2] for p in expected]
    assert [p[:2] for p in expected] == ([(0, 11), (1, 4), (3, 5)] if groups == 1 else [(1, 4), (3, 5)])
    np.testing.assert_allclose([p[2] for p in sorted(found)], [p[2] for p in expected], atol=1e-5)
    assert [abs(p[2]) for p in found] == sorted((abs(p[2]) for p in found), reverse=True)


def test_no_more_pairs_than_can_be_listed():
    w = np.ones((100, 2, 3, 3))
    assert (
        len(doubles(only(parsed("(float[1,2,8,8] x) => (float[1,100,6,6] y) { y = Conv(x, w) }", w=w))))
        == 1000
    )


def test_kernels_next_to_nothing_and_normalised_away():
    w = RNG.standard_normal((8, 3, 3, 3))
    w[2] *= 1e-4  # made large again behind
    w[5], w[6] = 1e-4 * w[5], 0
    gain = np.ones(8)
    gain[2], gain[7] = 1e4, 1e-4
    model = parsed(
        """(float[1,3,8,8] x) => (float[1,8,6,6] y)
        { c = Conv(x, w) y = BatchNormalization(c, gain, zero, zero, one) }""",
        w=w, gain=gain, zero=np.zeros(8), one=np.ones(8),
    )  # fmt: skip
    graph = canonical(model)
    layer = only(model, "c")
    assert np.flatnonzero(faint(graph, layer)).tolist() == [5, 6, 7]


def test_outputs_that_a_rectifier_never_lets_through():
    w = np.abs(RNG.standard_normal((5, 2, 3, 3)))
    w[1] *= -1  # nothing raises it, and its bias holds it down
    w[2] *= -1  # nothing raises it, but its bias does
    w[3] = 0
    w[4] *= -1
    w[4, 0, 0, 0] = 1e-3  # one weight may raise it
    b = np.array([-100, -0.1, 0.1, -0.1, -100])
    model = parsed(
        """(float[1,2,8,8] x) => (float[1,5,6,6] y) { p = Relu(x) q = MaxPool<kernel_shape=[1,1]>(p)
        c = Conv(q, w, b) y = Relu(c) }""",
        w=w,
        b=b,
    )
    assert np.flatnonzero(off(canonical(model), only(model))).tolist() == [1, 3]
    anything = parsed("(float[1,2,8,8] x) => (float[1,5,6,6] y) { c = Conv(x, w, b) y = Relu(c) }", w=w, b=b)
    assert np.flatnonzero(off(canonical(anything), only(anything))).tolist() == [3]
    free = parsed("(float[1,2,8,8] x) => (float[1,5,6,6] y) { y = Conv(x, w, b) }", w=w, b=b)
    assert not off(canonical(free), only(free)).any()


def test_a_bias_and_a_normalisation_behind_count():
    w = -np.abs(RNG.standard_normal((4, 2, 1, 1)))
    gain, shift = np.array([1, -1, 1, 1.0]), np.array([-1, -1, 1, -1.0])
    model = parsed(
        """(float[1,2,8,8] x) => (float[1,4,8,8] y) { p = Relu(x) c = Conv(p, w)
        n = BatchNormalization(c, gain, shift, zero, one) a = Add(n, extra)
        low = Constant<value=float {0.0}>() high = Constant<value=float {6.0}>() y = Clip(a, low, high) }""",
        w=w, gain=gain, shift=shift, zero=np.zeros(4), one=np.ones(4),
        extra=np.array([0, 0, 0, 2.0]).reshape(4, 1, 1),
    )  # fmt: skip
    assert np.flatnonzero(off(canonical(model), only(model))).tolist() == [0]


# -- patterns ---------------------------------------------------------------------------------------------


def shown(network, layer, outputs):
    return np.stack(list(patterns(network, layer, outputs)))


def test_the_pattern_of_a_first_convolution_is_its_kernel():
    net = Network(WRAPPED["quantised"], "cpu", 1)
    np.testing.assert_allclose(shown(net, "y", [4, 0]), KERNELS[[4, 0]], atol=1e-6)


def test_the_pattern_of_a_second_is_the_sum_of_the_first_ones_shifted():
    v, w = RNG.standard_normal((4, 3, 3, 3)), RNG.standard_normal((5, 4, 2, 2))
    model = parsed(
        """(float[N,3,20,20] x) => (float[N,5,8,8] y) {
        a = Conv<strides=[2,2]>(x, v) b = Relu(a) y = Conv(b, w) }""",
        v=v,
        w=w,
    )
    expected = np.zeros((5, 3, 5, 5))
    for k in range(5):
        for j in range(4):
            for dy in range(2):
                for dx in range(2):
                    expected[k, :, 2 * dy : 2 * dy + 3, 2 * dx : 2 * dx + 3] += w[k, j, dy, dx] * v[j]
    np.testing.assert_allclose(shown(Network(model, "cpu", 1), "y", range(5)), expected, atol=1e-5)


def test_a_max_pool_counts_as_an_average():
    v = RNG.standard_normal((2, 3, 1, 1))
    model = parsed(
        "(float[1,3,8,8] x) => (float[1,2,4,4] y) "
        "{ a = Conv(x, v) y = MaxPool<kernel_shape=[2,2], strides=[2,2]>(a) }",
        v=v,
    )
    expected = np.broadcast_to(v / 4, (2, 3, 2, 2))
    np.testing.assert_allclose(shown(Network(model, "cpu", 1), "y", [0, 1]), expected, atol=1e-6)


def test_patterns_of_channels_last_and_of_classes():
    w = RNG.standard_normal((4, 60)).astype(np.float32)
    model = parsed("(float[1,5,4,3] x) => (float[1,4] y) { f = Flatten(x) y = Gemm<transB=1>(f, w) }", w=w)
    found = shown(Network(model, "cpu", 1), "y", [3, 1])
    np.testing.assert_allclose(found, w.reshape(4, 5, 4, 3).transpose(0, 3, 1, 2)[[3, 1]], atol=1e-6)


def test_without_an_image_there_is_no_pattern():
    vector = parsed("(float[1,12] x) => (float[1,5] y) { y = MatMul(x, w) }", w=DENSE.T)
    deep = parsed("(float[1,4,5,5] x) => (float[1,2,5,5] y) { y = Conv(x, w) }", w=np.ones((2, 4, 1, 1)))
    for model in (vector, deep):
        with pytest.raises(BadRequest, match="no image"):
            patterns(Network(model, "cpu", 1), "y", [0])


def test_the_pattern_of_a_layer_inside_windows_is_that_of_the_position_in_the_middle_of_the_photo():
    weights = RNG.standard_normal((3, 5))
    model = parsed(
        """(float[1,4,4,3] x) => (float[4,4,5] y) { s = Constant<value_ints=[4,4,3]>() r = Reshape(x, s)
        y = MatMul(r, w) }""",
        w=weights,
    )
    (found,) = patterns(Network(model, "cpu", 1), "y", [2])
    np.testing.assert_allclose(found, weights[:, 2, None, None], rtol=1e-6)


SILU = "s{0} = Sigmoid(c{0}) r{0} = Mul(c{0}, s{0})"
ENDS = {
    "strides": f"c1 = Conv<strides=[2,2], pads=[1,1,1,1]>(p0, v1) {SILU.format(1)} y = Conv(r1, v2)",
    "pooling": (
        "m = MaxPool<kernel_shape=[3,3], strides=[2,2], pads=[1,1,1,1]>(p0) t = Tanh(m) "
        "y = Conv<strides=[3,3]>(t, v1)"
    ),
    "branches": (
        "n = Constant<value_ints=[1,3]>() a, rest = Split<axis=1>(p0, n) c1 = Conv<pads=[1,1,1,1]>(a, vs) "
        "k = Concat<axis=1>(rest, c1) y = Conv<dilations=[4,4], pads=[4,4,4,4]>(k, v1)"
    ),
    "up": (
        "c1 = Conv<strides=[2,2], pads=[1,1,1,1]>(p0, v1) f = Constant<value_floats=[1.0,1.0,2.0,2.0]>() "
        'u = Resize<mode="linear">(c1, , f) y = Conv(u, v2)'
    ),
    "far": "c1 = Conv<dilations=[50,50], pads=[50,50,50,50]>(p0, v1) y = Conv<dilations=[20,20]>(c1, v2)",
}


@pytest.mark.parametrize("end", ENDS)
def test_a_pattern_does_not_depend_on_the_size_of_the_image(end):
    """Of large images it is computed on smaller ones: the same numbers, borders and biases included."""
    sizes = {"v0": (4, 3, 3, 3), "v1": (4, 4, 3, 3), "v2": (4, 4, 3, 3), "vs": (1, 1, 3, 3), "b": (4,)}
    weights = {name: RNG.standard_normal(shape) for name, shape in sizes.items()}

    def found(size, line):
        text = (
            f"(float[1,3,{size},{size + 64}] x) => (float[1,4,h,w] y) "
            f"{{ c0 = Conv<pads=[1,1,1,1]>(x, v0, b) {SILU.format(0)} {line} {ENDS[end]} }}"
        )
        return shown(Network(parsed(text, **weights), "cpu", 1), "y", [2, 0])

    # A size among the constants: this one is computed as it is.
    expected = found(256, "n0 = Constant<value_ints=[1,4,256,320]>() p0 = Reshape(r0, n0)")
    assert max(expected.shape) < 160
    for size in (448, 640):
        np.testing.assert_allclose(found(size, "p0 = Identity(r0)"), expected, atol=1e-4)


def test_what_sees_the_whole_image_has_a_pattern_of_that_size():
    w = RNG.standard_normal((2, 3, 1, 1))
    model = parsed(
        """(float[1,3,200,300] x) => (float[1,2,200,300] y) { c = Conv(x, w) g = GlobalAveragePool(c)
        y = Add(c, g) }""",
        w=w,
    )
    assert shown(Network(model, "cpu", 1), "y", [0]).shape == (1, 3, 200, 300)


def test_patterns_that_would_take_much_memory_are_refused():
    body = """(float[1,3,4096,4096] x) => (float[1,2,4096,4096] y) { c = Conv(x, w) g = GlobalAveragePool(c)
        y = Add(c, g) }"""
    network = Network(parsed(body, w=RNG.standard_normal((2, 3, 1, 1))), "cpu", 1)
    with pytest.raises(BadRequest, match="MB at this size of image"):
        patterns(network, "y", [0])
    assert shown(network, "c", [0]).shape == (1, 3, 1, 1)


def test_rows_of_tokens_are_places_of_one_image():
    weights = RNG.standard_normal((3, 5))
    model = parsed(
        """(float[1,3,4,4] x) => (float[16,5] y) { t = Transpose<perm=[0,2,3,1]>(x)
        s = Constant<value_ints=[16,3]>() r = Reshape(t, s) y = MatMul(r, w) }""",
        w=weights,
    )
    (found,) = patterns(Network(model, "cpu", 1), "y", [2])
    np.testing.assert_allclose(found, weights[:, 2, None, None], rtol=1e-6)


def test_the_image_need_not_be_the_first_input():
    model = parsed(
        "(float[1,2] z, float[1,3,8,9] x) => (float[1,6,5,5] y, float[1,2] a) { y = Conv(x, w) a = Neg(z) }",
        w=KERNELS,
    )
    np.testing.assert_allclose(shown(Network(model, "cpu", 1), "y", [5]), KERNELS[[5]], atol=1e-6)


def test_weights_that_do_not_fit_are_said():
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[6, 3, 4, 5], raw_data=b"\0" * 8)
    model = conv()
    model.graph.initializer.append(tensor)
    with pytest.raises(BadModel, match="w"):
        only(model)
