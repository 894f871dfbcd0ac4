"""One spelling of every model: the answers stay, and no file is too strange for a plain error."""

import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from oracles.networks import parsed, run

from onnxlens.engine.canonical.canonical import canonical, read_model
from onnxlens.engine.errors import BadModel
from onnxlens.engine.graph.nodes import attributes

RNG = np.random.default_rng(3)


def node_of(graph, op_type):
    (node,) = [n for n in graph.nodes if n.op_type == op_type]
    return node


# -- the answers stay ------------------------------------------------------------------------------


OLD = {
    7: """c = Conv <pads = [1,1,1,1]> (x, w) b = BatchNormalization (c, s, s, m, s) r = Relu (b)
          p = MaxPool <kernel_shape = [2,2]> (r) d = Dropout (p) f = Flatten (d) y = Softmax (f)""",
    9: """c = Conv <auto_pad = "SAME_UPPER", strides = [2,2]> (x, w) r = Clip <min = 0.0, max = 0.9> (c)
          t = Slice <axes = [2], starts = [1], ends = [-1]> (r) u = Squeeze <axes = [0]> (t)
          y = Softmax (u)""",
    11: """c = Conv (x, w) a = ReduceMean <axes = [2,3], keepdims = 0> (c) u = Unsqueeze <axes = [1]> (a)
           q, y = Split <axis = 2> (u)""",
    13: """c = Conv (x, w) a = ReduceMax <axes = [-1]> (c) y = ReduceL2 <axes = [2], keepdims = 0> (a)""",
}


@pytest.mark.parametrize("opset", OLD)
def test_conversion_keeps_the_answers(opset):
    model = parsed(
        f"(float[1,3,9,8] x) => (float[K,L] y) {{ {OLD[opset]} }}",
        opset,
        w=RNG.standard_normal((4, 3, 3, 3)),
        s=np.array([0.5, 1, 2, 3]),
        m=np.array([0.1, 0.2, 0.3, 0.4]),
    )
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    model.graph.output[0].type.tensor_type.ClearField("shape")
    x = RNG.standard_normal((1, 3, 9, 8)).astype(np.float32)
    graph = canonical(model)
    assert graph.opsets[""] >= 18
    np.testing.assert_array_equal(run(graph.to_model(), {"x": x})["y"], run(model, {"x": x})["y"])


def test_the_callers_model_is_untouched():
    model = parsed(
        """(float[1,3,9,8] x) => (float[1,4,5,4] y) {
            y = Conv <auto_pad = "SAME_LOWER", strides = [2,2]> (x, w)
        }""",
        11,
        w=np.ones((4, 3, 3, 3)),
    )
    before = model.SerializeToString(deterministic=True)
    canonical(model, shapes={"x": (1, 3, 4, 4)})
    assert model.SerializeToString(deterministic=True) == before


@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize(
    ("op_type", "extra"),
    [("Conv", ""), ("MaxPool", "kernel_shape = [3,4],"), ("AveragePool", "kernel_shape = [3,4],")],
)
@pytest.mark.parametrize("strides", [[1, 1], [2, 3]])
def test_automatic_padding_becomes_numbers(auto, op_type, extra, strides):
    inputs = "x, w" if op_type == "Conv" else "x"
    model = parsed(
        f"""(float[2,3,9,8] x) => (float[A,B,C,D] y) {{
            y = {op_type} <{extra} auto_pad = "{auto}", strides = {strides}> ({inputs})
        }}""",
        w=RNG.standard_normal((4, 3, 3, 4)),
    )
    if op_type != "Conv":
        del model.graph.initializer[:]
    graph = canonical(model)
    found = attributes(node_of(graph, op_type))
    assert "auto_pad" not in found or found["auto_pad"] == "NOTSET"
    assert len(found["pads"]) == 4
    x = RNG.standard_normal((2, 3, 9, 8)).astype(np.float32)
    np.testing.assert_allclose(
        run(graph.to_model(), {"x": x})["y"], run(model, {"x": x})["y"], rtol=1e-5, atol=1e-6
    )


# -- the spelling ----------------------------------------------------------------------------------


def test_windows_are_written_out_and_defaults_told_beside_the_node():
    graph = canonical(
        parsed(
            """(float[1,3,6,6] x) => (float[1,4,4,4] y) {
                c = Conv (x, w) l = LeakyRelu (c) y = LRN <size = 3> (l)
            }""",
            w=np.ones((4, 3, 3, 3)),
        )
    )
    conv = attributes(node_of(graph, "Conv"))
    assert conv["strides"] == conv["dilations"] == [1, 1]
    assert conv["pads"] == [0, 0, 0, 0]
    assert conv["kernel_shape"] == [3, 3]
    assert graph.attributes(node_of(graph, "Conv"))["group"] == 1
    assert attributes(node_of(graph, "LeakyRelu")) == {}
    assert graph.attributes(node_of(graph, "LeakyRelu"))["alpha"] == pytest.approx(0.01)
    assert graph.attributes(node_of(graph, "LRN"))["beta"] == pytest.approx(0.75)


def test_constant_nodes_become_initializers():
    model = parsed(
        """(float[2,3] x) => (float[2,3] y) {
            c = ConstantOfShape <value = float[1] {0.5}> (shape) a = Add (x, c) y = Mul (a, k)
        }""",
        shape=np.array([2, 3]),
    )
    large = numpy_helper.from_array(np.full((2, 3), 2, np.float32), "k")
    model.graph.node.insert(0, helper.make_node("Constant", [], ["k"], value=large))
    graph = canonical(model)
    assert [n.op_type for n in graph.nodes] == ["Add", "Mul"]
    np.testing.assert_array_equal(graph["c"].array, np.full((2, 3), 0.5, np.float32))
    np.testing.assert_array_equal(graph["k"].array, np.full((2, 3), 2, np.float32))


def test_padding_that_pytorch_puts_together_is_folded():
    """What torch.onnx.export made of `F.pad`: filled up, in twos, upside down, turned around."""
    graph = canonical(
        parsed(
            """(float[N,3,6,6] x) => (float[N,3,a,b] y) {
                two = Constant <value = int64[1] {4}> ()  fill = ConstantOfShape <value = int64[1] {0}> (two)
                said = Constant <value = int64[4] {1, 2, 3, 4}> ()  all = Concat <axis = 0> (said, fill)
                pairs = Reshape (all, by_two)  turned = Slice (pairs, last, first, zero, last)
                rows = Transpose <perm = [1, 0]> (turned)  flat = Reshape (rows, last)
                p = Cast <to = 7> (flat)  y = Pad (x, p)
            }""",
            by_two=np.array([-1, 2]), last=np.array([-1]), first=np.array([-(2**63) + 1]), zero=np.array([0]),
        )
    )  # fmt: skip
    assert [n.op_type for n in graph.nodes] == ["Pad"]
    assert graph["y"].shape == ("N", 3, 13, 9)


def test_sizes_without_a_name_are_followed_too():
    """As old exporters of Paddle leave the batch."""
    model = parsed(
        """(float[N,3,8,8] x) => (float[M,3,4,4] y) {
            m = MaxPool <kernel_shape = [2,2], strides = [2,2]> (x) y = Relu (m)
        }"""
    )
    model.graph.input[0].type.tensor_type.shape.dim[0].Clear()
    model.graph.output[0].type.tensor_type.shape.dim[0].Clear()
    graph = canonical(model)
    assert isinstance(graph["x"].shape[0], str)
    assert graph["y"].shape == (*graph["x"].shape[:2], 4, 4)
    assert not model.graph.input[0].type.tensor_type.shape.dim[0].dim_param


def test_shape_arithmetic_is_folded():
    model = parsed(
        """(float[2,3,4] x) => (float[2,12] y) {
            s = Shape (x) n = Gather (s, zero) u = Unsqueeze (n, zero)
            r = Concat <axis = 0> (u, rest) y = Reshape (x, r)
        }""",
        zero=np.array(0),
        rest=np.array([-1]),
    )
    model.graph.node[2].input[1] = "axis"
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "axis"))
    graph = canonical(model)
    assert [n.op_type for n in graph.nodes] == ["Reshape"]
    np.testing.assert_array_equal(graph[graph.nodes[0].input[1]].array, [2, -1])
    assert graph["y"].shape == (2, 12)


@pytest.mark.parametrize("opset", [18, 21, 23, 25])
def test_shape_arithmetic_is_folded_through_casts(opset):
    if opset > onnx.defs.onnx_opset_version():
        pytest.skip("newer than the installed onnx")
    model = parsed(
        """(float[2,3,4] x) => (float[A,B] y) {
            s = Shape (x) f = Cast <to = 1> (s) i = Cast <to = 7> (f) n = Slice (i, a, b)
            r = Concat <axis = 0> (n, rest) y = Reshape (x, r)
        }""",
        opset,
        a=np.array([0]),
        b=np.array([1]),
        rest=np.array([-1]),
    )
    assert [n.op_type for n in canonical(model).nodes] == ["Reshape"]


def test_weights_are_not_folded():
    """A gradient may be wanted for them."""
    model = parsed(
        "(float[2,3] x) => (float[2,4] y) { t = Transpose (w) y = MatMul (x, t) }", w=np.ones((4, 3))
    )
    assert [n.op_type for n in canonical(model).nodes] == ["Transpose", "MatMul"]


def test_kept_values_stay_computed():
    model = parsed(
        "(float[2] x) => (float[2] y) { c = Constant <value_floats = [1.0, 2.0]> () y = Add (x, c) }"
    )
    assert canonical(model).producer("c") is None
    kept = canonical(model, keep=["c"])
    assert "c" in kept
    assert run(kept.to_model(), {"x": np.zeros(2, np.float32)})["y"].tolist() == [1, 2]


def test_a_free_image_size_can_be_bound():
    model = parsed("(float[N,3,H,W] x) => (float[N,4,H2,W2] y) { y = Conv (x, w) }", w=np.ones((4, 3, 3, 3)))
    assert canonical(model, shapes={"x": ("N", 3, 10, 8)})["y"].shape == ("N", 4, 8, 6)


def test_values_keep_their_names():
    body = """(float[1,3,6,6] x) => (float[1,4] y) {
        c = Conv (x, w) r = Relu (c) g = GlobalAveragePool (r) f = Flatten (g) y = Softmax (f)
    }"""
    for opset in (7, 11, 13, 18):
        graph = canonical(parsed(body, opset, w=np.ones((4, 3, 3, 3))))
        assert {"x", "w", "c", "r", "g", "f", "y"} <= {*graph.value_names(), *graph.constants}


# -- what is no model ------------------------------------------------------------------------------


def assert_refused(source, words):
    with pytest.raises(BadModel, match=words) as error:
        canonical(source)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("(float[2] x) => (float[2] y) { y = Add (x, w) }", r"\bw\b"),
        ("(float[2] x) => (float[2] y) { a = Neg (b) b = Neg (a) y = Add (x, a) }", r"\bb\b"),
        ("(float[2] x) => (float[2] y) { y = Neg (x) y = Exp (x) }", r"\by\b"),
        ("(float[2] x) => (float[2] y, float[2] z) { y = Neg (x) }", r"\bz\b"),
        ("(float[2,3] x) => (float[2,3] y) { y = MatMul (x, x) }", "MatMul|shape"),
        ("(float[2,3] x) => (float[2,3] y) { a = Reshape (x, s) y = Add (a, x) }", r"\bs\b"),
    ],
    ids=["weight", "cycle", "duplicate", "output", "mismatch", "shape"],
)
@pytest.mark.parametrize("opset", [11, 18])
def test_broken_graphs_are_refused(body, words, opset):
    assert_refused(parsed(body, opset), words)


def valid_bytes():
    return parsed(
        "(float[2,3] x) => (float[2,4] y) { y = MatMul (x, w) }", w=np.ones((3, 4))
    ).SerializeToString()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello, this is no model\n",
        b"\x00" * 100,
        b"\xff" * 100,
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
        b"PK\x03\x04" + b"\x00" * 60,
        b'{"ir_version": 8}',
    ],
    ids=["empty", "text", "zeros", "ones", "png", "zip", "json"],
)
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert_refused(path, "model.onnx")


def opens_or_is_refused(path):
    try:
        canonical(path)
    except BadModel as error:
        return str(error).count("\n") == 0
    return True


def test_a_cut_file_is_refused_wherever_it_is_cut(tmp_path):
    path, content = tmp_path / "model.onnx", valid_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        assert opens_or_is_refused(path)


@pytest.mark.parametrize("mask", [0x01, 0x80, 0xFF])
def test_damaged_bytes_raise_nothing_else(tmp_path, mask):
    path, content = tmp_path / "model.onnx", valid_bytes()
    for i in range(len(content)):
        path.write_bytes(content[:i] + bytes([content[i] ^ mask]) + content[i + 1 :])
        assert opens_or_is_refused(path)


def test_missing_files_and_folders_are_refused(tmp_path):
    assert_refused(tmp_path / "none.onnx", "no such file")
    assert_refused(tmp_path, "folder")


def test_missing_external_weights_are_refused(tmp_path):
    model = parsed("(float[2,300] x) => (float[2,4] y) { y = MatMul (x, w) }", w=np.ones((300, 4)))
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    np.testing.assert_array_equal(canonical(path)["w"].array, np.ones((300, 4)))
    (tmp_path / "weights.bin").unlink()
    assert_refused(path, "weights.bin|model.onnx")


def test_external_weights_outside_the_folder_are_refused(tmp_path):
    (tmp_path / "inside").mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(4800))
    model = parsed("(float[2,300] x) => (float[2,4] y) { y = MatMul (x, w) }", w=np.ones((300, 4)))
    path = tmp_path / "inside/model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    path.write_bytes(path.read_bytes().replace(b"weights.bin", b"../secret.x"))
    assert_refused(path, "model.onnx")


def test_an_opset_of_the_future_is_refused():
    model = parsed("(float[2] x) => (float[2] y) { y = Neg (x) }")
    model.opset_import[0].version = 999
    assert_refused(model, "999")


def test_a_proto_is_read_as_it_is():
    model = parsed("(float[2] x) => (float[2] y) { y = Neg (x) }")
    assert read_model(model) is model


BOMBS = [
    "c = ConstantOfShape (s) y = Add (x, c)",
    "c = ConstantOfShape (s) d = Relu (c) y = Add (x, d)",
    "e = Expand (x, s) y = ReduceSum <keepdims = 0> (e)",
    "e = Tile (x, s) y = ReduceSum <keepdims = 0> (e)",
    "c = ConstantOfShape <value = int64[1] {1}> (s) e = Expand (x, c) y = ReduceSum <keepdims = 0> (e)",
    "r = Range (zero, many, one) c = Cast <to = 1> (r) d = ReduceSum <keepdims = 0> (c) y = Add (x, d)",
]
OPENED = """
import resource, sys
from pathlib import Path
from onnxlens.engine.canonical.canonical import canonical
from onnxlens.engine.errors import BadModel
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
try:
    canonical(sys.argv[1])
except BadModel:
    pass
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux does")
@pytest.mark.parametrize("size", [10**9, 10**12])
@pytest.mark.parametrize("body", BOMBS)
def test_a_small_file_does_not_take_a_large_memory(tmp_path, body, size):
    model = parsed(
        f"(float[1] x) => (float[K] y) {{ {body} }}",
        s=np.array([size]),
        zero=np.array(0),
        many=np.array(size),
        one=np.array(1),
    )
    model.graph.output[0].type.tensor_type.ClearField("shape")
    path = tmp_path / "bomb.onnx"
    onnx.save(model, path)
    done = subprocess.run(
        [sys.executable, "-c", OPENED, str(path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert float(done.stdout) < 100, f"{float(done.stdout):.0f} MB for a file of {path.stat().st_size} bytes"


def test_a_model_without_outputs_is_refused():
    model = parsed("(float[2] x) => (float[2] y) { y = Neg (x) }")
    del model.graph.output[:]
    assert_refused(model, "output")


def test_weights_are_not_copied():
    """A model of n bytes is read in little more: converters never see the weights."""
    weight = np.ones((2000, 2000))
    model = parsed("(float[2,2000] x) => (float[2,2000] y) { y = MatMul (x, w) }", 11, w=weight)
    graph = canonical(model)
    assert graph.constants["w"] is not None
    assert graph.constants["w"].data_type == TensorProto.FLOAT
    assert graph.to_model(weights=False).ByteSize() < 10_000


def test_an_operator_of_onnx_runtime_in_the_domain_of_onnx_is_carried_to_a_newer_opset():
    model = parsed(
        "(float[2,4] x) => (float[2,4] y) { t = SimplifiedLayerNormalization (x, s)  y = Neg (t) }",
        opset=17,
        s=np.ones(4),
    )
    graph = canonical(model)
    assert [(n.domain, n.op_type) for n in graph.nodes] == [("", "SimplifiedLayerNormalization"), ("", "Neg")]
    assert graph.opsets == {"": 18}


def test_a_scan_with_a_batch_of_its_own_is_refused():
    body = helper.make_graph(
        [helper.make_node("Add", ["s", "e"], ["t"]), helper.make_node("Identity", ["t"], ["o"])],
        "body",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "se"],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in "to"],
    )
    scan = helper.make_node("Scan", ["", "s0", "x"], ["y", "z"], body=body, num_scan_inputs=1)
    shapes = {"s0": [1, 2], "x": [1, 3, 2], "y": [1, 2], "z": [1, 3, 2]}
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()]
    graph = helper.make_graph([scan], "g", values[:2], values[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 8)], ir_version=8)
    with pytest.raises(BadModel, match="a Scan of opset 8 goes through a batch of its own"):
        canonical(model)
