"""Files that ONNX Runtime runs though the specification knows no such are read as it reads them."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from oracles.networks import parsed, run

from onnxlens.engine.anatomy.anatomy import bottlenecks
from onnxlens.engine.autodiff.gradient import gradient
from onnxlens.engine.canonical.canonical import canonical
from onnxlens.engine.errors import BadModel
from onnxlens.engine.graph.file import read_model
from onnxlens.engine.runtime.network import Network

RNG = np.random.default_rng(7)
X = RNG.standard_normal((2, 6)).astype("f")
W, V = (RNG.standard_normal(s).astype("f") for s in ((6, 5), (5, 4)))


def same_as_the_runtime(model, feeds, gradient_too=True):
    """The network answers as the runtime does; its gradient is that of central differences of the runtime."""
    expected = run(model, feeds)["y"]
    np.testing.assert_array_equal(Network(model, provider="cpu").run(feeds)["y"], expected)
    if gradient_too:
        way = RNG.standard_normal(X.shape).astype("f")
        up, down = (run(model, {**feeds, "x": X + s * way})["y"].astype("d") for s in (1e-2, -1e-2))
        seed = np.ones(expected.shape, "f")
        found = run(gradient(model, of="y", wrt="x"), {**feeds, "seed/y": seed})["grad/x"]
        assert np.vdot(found, way) == pytest.approx((up - down).sum() / 2e-2, rel=1e-2, abs=1e-2)


# -- nodes in any order ----------------------------------------------------------------------------

BODY = """{ a = MatMul (x, w) r = Tanh (a) c = Mul (r, two) y = MatMul (c, v)
           two = Constant <value_float = 2.0> () }"""


@pytest.mark.parametrize("opset", [13, 18, 21])
@pytest.mark.parametrize("seed", range(4))
def test_nodes_stand_in_any_order(opset, seed):
    model = parsed(f"(float[2,6] x) => (float[2,4] y) {BODY}", opset, w=W, v=V)
    order = np.random.default_rng(seed).permutation(len(model.graph.node))
    nodes = [model.graph.node[i] for i in order]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    before = model.SerializeToString(deterministic=True)
    same_as_the_runtime(model, {"x": X})
    assert model.SerializeToString(deterministic=True) == before


def test_the_order_of_the_file_stays_where_it_can():
    model = parsed(
        "(float[2] x) => (float[2] y) { b = Neg (x) a = Abs (x) d = Neg (a) c = Abs (b) y = Add (c, d) }"
    )
    names = [n.output[0] for n in read_model(model).graph.node]
    assert names == ["b", "a", "d", "c", "y"]
    model.graph.node.insert(0, model.graph.node.pop(4))
    assert [n.output[0] for n in read_model(model).graph.node] == names


@pytest.mark.parametrize("body", ["a = Add (x, b) b = Neg (a) y = Abs (x)", "b = Add (b, x) y = Abs (x)"])
def test_nodes_that_wait_for_each_other_are_named(body):
    with pytest.raises(BadModel, match=r"in a circle.*'b'"):
        canonical(parsed(f"(float[2] x) => (float[2] y) {{ {body} }}"))


# -- sizes of -1 -----------------------------------------------------------------------------------


def open_sizes(value):
    for dim in value.type.tensor_type.shape.dim:
        dim.dim_value = -1


@pytest.mark.parametrize("opset", [11, 18])
def test_sizes_below_zero_are_open(opset):
    model = parsed(
        "(float[2,6] x) => (float[2,4] y) <float[2,5] a> { a = MatMul (x, w) y = MatMul (a, v) }", opset
    )
    model.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in (("w", W), ("v", V)))
    for value in (*model.graph.value_info, *model.graph.output):
        open_sizes(value)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    same_as_the_runtime(model, {"x": X})
    graph = canonical(model)
    assert graph["x"].shape == ("x.0", 6)  # open, with a name to follow it by
    assert graph["y"].shape[1] == 4


def test_sizes_below_zero_in_bodies_are_open():
    model = parsed(
        """(float[2,6] x, bool b) => (float[2,6] y) {
        y = If (b) <then_branch = t () => (float[2,6] u) { u = Tanh (x) },
                    else_branch = e () => (float[2,6] q) { q = Neg (x) }> }"""
    )
    for a in model.graph.node[0].attribute:
        open_sizes(a.g.output[0])
    same_as_the_runtime(model, {"x": X, "b": np.array(True)}, gradient_too=False)


# -- what is declared of values is not always true ---------------------------------------------------


@pytest.mark.parametrize("opset", [11, 15, 18])
@pytest.mark.parametrize("dims", [(1, 5), (3, 5)])
def test_a_batch_that_was_freed_afterwards_is_free_inside(opset, dims):
    model = parsed(
        "(float[N,6] x) => (float[N,4] y) { a = MatMul (x, w) r = Relu (a) y = MatMul (r, v) }",
        opset,
        w=W,
        v=V,
    )
    model.graph.value_info.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, dims) for n in "ar")
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = dims[0]
    same_as_the_runtime(model, {"x": X})
    graph = canonical(model)
    assert graph["r"].shape == ("N", 5)
    assert graph["y"].shape == ("N", 4)


# -- sparse weights --------------------------------------------------------------------------------


def sparse(name, array, coordinates=False, kind=np.int64):
    at = np.argwhere(array) if coordinates else np.flatnonzero(array)
    values = numpy_helper.from_array(array[array != 0], name)
    return helper.make_sparse_tensor(
        values, numpy_helper.from_array(at.astype(kind), f"{name}_at"), array.shape
    )


THIN = W * (RNG.random(W.shape) < 0.3)


@pytest.mark.parametrize(("coordinates", "kind"), [(False, np.int64), (True, np.int64), (False, np.int32)])
@pytest.mark.parametrize("dtype", ["f", "e"])
def test_sparse_weights_are_written_out(coordinates, kind, dtype):
    type_ = {"f": "float", "e": "float16"}[dtype]
    model = parsed(f"({type_}[2,6] x) => ({type_}[2,5] y) {{ y = MatMul (x, w) }}")
    model.graph.sparse_initializer.append(sparse("w", THIN.astype(dtype), coordinates, kind))
    before = model.SerializeToString(deterministic=True)
    np.testing.assert_array_equal(canonical(model)["w"].array, THIN.astype(dtype))
    same_as_the_runtime(model, {"x": X.astype(dtype)}, gradient_too=False)
    assert model.SerializeToString(deterministic=True) == before


def test_sparse_weights_of_constants_and_bodies():
    model = parsed(
        """(float[2,6] x, bool b) => (float[2,5] y) { w = Constant <value = float {1}> ()
        y = If (b) <then_branch = t () => (float[2,5] u) { u = MatMul (x, w) },
                    else_branch = e () => (float[2,5] q) { q = MatMul (x, z) }> }"""
    )
    model.graph.node[0].attribute[0].CopyFrom(helper.make_attribute("sparse_value", sparse("w", THIN)))
    branch = next(a.g for a in model.graph.node[1].attribute if a.name == "else_branch")
    branch.sparse_initializer.append(sparse("z", -THIN))
    for b, sign in ((True, 1), (False, -1)):
        found = Network(model, provider="cpu").run({"x": X, "b": np.array(b)})["y"]
        np.testing.assert_allclose(found, sign * X @ THIN, rtol=1e-5, atol=1e-6)


def test_a_sparse_tensor_without_a_number():
    model = parsed("(float[2,6] x) => (float[2,5] y) { y = MatMul (x, w) }")
    model.graph.sparse_initializer.append(sparse("w", 0 * W))
    np.testing.assert_array_equal(canonical(model)["w"].array, 0 * W)


@pytest.mark.parametrize(
    ("dims", "at"),
    [
        ((6, 5), [30]), ((6, 5), [-1]), ((6, 5), [[6, 0]]), ((6, 5), [[0, -1]]), ((6, 5), [[0, 0, 0]]),
        ((6, 5), [0, 1]), ((-6, -5), [0]), ((-(2**62),) * 3, [[0] * 3]),
        ((2**40, 2**40), [0]), ((2**31, 1), [0]), ((2**62, 2), [[1, 1]]),
    ],
)  # fmt: skip
def test_sparse_tensors_that_are_none_are_refused(dims, at):
    model = parsed("(float[2,6] x) => (float[2,5] y) { y = MatMul (x, w) }")
    tensor = onnx.SparseTensorProto(dims=dims)
    tensor.values.CopyFrom(numpy_helper.from_array(np.float32([1]), "w"))
    tensor.indices.CopyFrom(numpy_helper.from_array(np.array(at, np.int64), "w_at"))
    model.graph.sparse_initializer.append(tensor)
    with pytest.raises(BadModel, match="sparse"):
        read_model(model)


def test_a_sparse_tensor_of_nothing_is_refused():
    model = parsed("(float[2] x) => (float[2] y) { y = Neg (x) }")
    model.graph.sparse_initializer.add()
    with pytest.raises(BadModel, match="the stored tensor '' is damaged"):
        read_model(model)


# -- what opset 11 had to say with empty tensors ------------------------------------------------------

IMAGE = RNG.standard_normal((1, 2, 4, 6)).astype("f")


@pytest.mark.parametrize("opset", [11, 12, 13, 19])
@pytest.mark.parametrize(
    ("attributes", "sizes"),
    [
        ('mode = "linear", coordinate_transformation_mode = "half_pixel"', (8, 9)),
        ('mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"', (8, 12)),
        ('mode = "cubic", coordinate_transformation_mode = "align_corners"', (3, 5)),
        ('mode = "linear", coordinate_transformation_mode = "tf_crop_and_resize"', (5, 5)),
    ],
)
def test_resize_with_empty_scales(opset, attributes, sizes):
    crop = "tf_crop" in attributes
    model = parsed(
        f"(float[1,2,4,6] x) => (float y) {{ y = Resize <{attributes}> (x, roi, none, sizes) }}",
        opset,
        roi=np.float32([0, 0, 0.1, 0.2, 1, 1, 0.9, 0.7]) if crop else np.zeros(0, "f"),
        none=np.zeros(0, "f"),
        sizes=np.array([1, 2, *sizes]),
    )
    model.graph.output[0].type.tensor_type.ClearField("shape")
    before = run(model, {"x": IMAGE})["y"]
    np.testing.assert_array_equal(Network(model, provider="cpu").run({"x": IMAGE})["y"], before)
    seed, way = RNG.standard_normal(before.shape).astype("f"), RNG.standard_normal(IMAGE.shape).astype("f")
    found = run(gradient(model, of="y", wrt="x"), {"x": IMAGE, "seed/y": seed})["grad/x"]
    expected = np.vdot(run(model, {"x": IMAGE + way})["y"].astype("d") - before, seed)  # linear in x
    assert np.vdot(found, way) == pytest.approx(expected, rel=1e-3, abs=1e-3)


# -- windows over what is of open size ---------------------------------------------------------------


def pool_of_open_size(operator, attributes, size):
    shape = ",".join("HWD"[: len(size)])
    model = parsed(f"(float[1,3,{shape}] x) => (float y) {{ y = {operator} <{attributes}> (x) }}")
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return model, RNG.permutation(3 * int(np.prod(size))).reshape(1, 3, *size).astype("f")


@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ("kernel_shape = [3,3], strides = [2,2]", (7, 10)),
        ("kernel_shape = [2,3]", (4, 5)),
        ("kernel_shape = [3], strides = [3]", (11,)),
        ("kernel_shape = [2,2,2], strides = [2,2,1]", (3, 4, 5)),
    ],
)
def test_max_pools_of_open_size(auto, attributes, size):
    model, x = pool_of_open_size("MaxPool", f'{attributes}, auto_pad = "{auto}"', size)
    y = run(model, {"x": x})["y"]
    seed = RNG.standard_normal(y.shape).astype("f")
    found = run(gradient(model, of="y", wrt="x"), {"x": x, "seed/y": seed})["grad/x"]
    way = RNG.standard_normal(x.shape).astype("f") * 0.1  # too little to change what the greatest are
    expected = np.vdot(run(model, {"x": x + way})["y"].astype("d") - y, seed)
    assert np.vdot(found, way) == pytest.approx(expected, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize(
    ("operator", "more"),
    [("AveragePool", ""), ("LpPool", ", p = 2")],
)
def test_other_pools_of_open_size_say_that_it_is_open(operator, more):
    attributes = f'kernel_shape = [3,3], strides = [2,2], auto_pad = "SAME_UPPER"{more}'
    model, x = pool_of_open_size(operator, attributes, (7, 10))
    np.testing.assert_array_equal(
        Network(model, provider="cpu").run({"x": x})["y"], run(model, {"x": x})["y"]
    )
    with pytest.raises(BadModel, match="'y' depend on a size that is not known"):
        gradient(model, of="y", wrt="x")


def test_a_shape_asked_for_at_the_end_reads_nothing_of_the_image():
    """As Paddle and PyTorch write flatten(1) for an open batch."""
    model = parsed(
        """(float[N,3,8,8] x) => (float[N,4] y) { c = Conv (x, w) r = Relu (c) g = GlobalAveragePool (r)
        s = Shape (x) n = Gather (s, zero) k = Concat <axis = 0> (n, rest) y = Reshape (g, k) }""",
        w=RNG.standard_normal((4, 3, 3, 3)),
        zero=np.array([0]),
        rest=np.array([-1]),
    )
    assert bottlenecks(canonical(model), "y")[:2] == ["c", "r"]
