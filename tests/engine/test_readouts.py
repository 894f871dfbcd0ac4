"""What outputs say of classes: the graph decides, and what is printed is what the model says."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxlens.engine.anatomy.intervals import INTERVALS, interval
from onnxlens.engine.anatomy.readouts.classes import readout, score_name
from onnxlens.engine.canonical.canonical import canonical
from onnxlens.engine.errors import BadRequest
from onnxlens.engine.graph.nodes import reads
from onnxlens.engine.runtime.network import Network

N = helper.make_node
rng = np.random.default_rng(0)
X = rng.normal(size=(2, 3, 8, 8)).astype(np.float32)
CONSTANTS = {
    "w": rng.normal(size=(6, 3, 3, 3)),
    "D": rng.normal(size=(6, 3)) * 3,
    "D1": rng.normal(size=(6, 1)) * 3,
    "E": rng.normal(size=(6, 6)),
    "B": rng.normal(size=(6, 4)),
    "one": np.float32(1),
    "half": np.float32(0.5),
    "zero": np.float32(0),
    "hundred": np.float32(100),
    "s": np.float32(1 / 255),
    "g": rng.normal(size=6),
    "mean6": np.zeros(6),
    "var6": np.ones(6),
    "k": rng.normal(size=(3, 6, 1, 1)),
    "k3": rng.normal(size=(6, 6, 3, 3)),
    "v": rng.normal(size=(6, 6, 1, 1)),
    "text": rng.normal(size=(5, 6)),
}
WHOLE = {
    "last": [-1],
    "first": [0],
    "best": [2],
    "steps": [-1, 1, 6],
    "n1c": [0, 1, -1],
    "n11c": [0, 1, 1, -1],
    "two": [2, 3],
}
BODY = [
    N("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
    N("Relu", ["c"], ["r"]),
    N("GlobalAveragePool", ["r"], ["p"]),
    N("Flatten", ["p"], ["f"]),
    N("MatMul", ["f", "D"], ["z"]),
    N("MatMul", ["f", "D1"], ["z1"]),
]


def model(nodes, *outputs, opset=18, batch="N"):
    """A network of the nodes behind BODY; what is read by nothing is left out."""
    wanted, kept = {name for name, _ in outputs}, []
    for node in reversed(BODY + nodes):
        if wanted.intersection(node.output):
            wanted.update(reads(node))
            kept.append(node)
    tensors = [numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in CONSTANTS.items()]
    tensors += [numpy_helper.from_array(np.int64(v), k) for k, v in WHOLE.items()]
    tensors.append(numpy_helper.from_array(np.uint8(0), "zq"))
    graph = helper.make_graph(
        kept[::-1],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 8, 8])],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs],
        [t for t in tensors if t.name in wanted],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def answered(proto, read):
    """What the runtime gives for the output, and what the readout makes of what our network gives."""
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    y = session.run([read.output], {"x": X})[0].reshape(2, -1)
    ours = Network(proto, "cpu").run({"x": X}, [read.value])[read.value].reshape(2, -1)
    return y, read.answers(ours)


def inside(op, read, given=None):
    """A graph that one operator makes, of what is around it or given."""
    outputs = [helper.make_tensor_value_info("made", TensorProto.FLOAT, None)]
    inputs = [helper.make_tensor_value_info(given, TensorProto.FLOAT, None)] if given else []
    return helper.make_graph([N(op, [read], ["made"])], "inside", inputs, outputs)


SOFT = [N("Softmax", ["z"], ["y"], axis=-1)]
QUANTISED = [
    N("Softmax", ["z"], ["q0"]),
    N("QuantizeLinear", ["q0", "s", "zq"], ["q1"]),
    N("DequantizeLinear", ["q1", "s", "zq"], ["y"]),
]
GIVEN = {  # nodes, shape of y, kind, scores
    "softmax": (SOFT, ["N", 3], "classes", "z"),
    "sigmoid": ([N("Sigmoid", ["z"], ["y"])], ["N", 3], "labels", "z"),
    "one sigmoid": ([N("Sigmoid", ["z1"], ["y"])], ["N", 1], "labels", "z1"),
    "hard sigmoid": ([N("HardSigmoid", ["z"], ["y"])], ["N", 3], "labels", "z"),
    "reshaped": (
        [N("Softmax", ["z"], ["a"]), N("Reshape", ["a", "n1c"], ["y"])],
        ["N", 1, 3],
        "classes",
        "z",
    ),
    "cast": (
        [N("Softmax", ["z"], ["a"]), N("Cast", ["a"], ["b"], to=10), N("Cast", ["b"], ["y"], to=1)],
        ["N", 3],
        "classes",
        "z",
    ),
    "transposed": (
        [
            N("Reshape", ["z", "n11c"], ["a"]),
            N("Softmax", ["a"], ["b"], axis=3),
            N("Transpose", ["b"], ["y"], perm=[0, 3, 1, 2]),
        ],
        ["N", 3, 1, 1],
        "classes",
        "a",
    ),
    "clipped": (
        [N("Sigmoid", ["z"], ["a"]), N("Clip", ["a", "zero", "one"], ["y"])],
        ["N", 3],
        "labels",
        "z",
    ),
    "exp of log": ([N("LogSoftmax", ["z"], ["a"]), N("Exp", ["a"], ["y"])], ["N", 3], "classes", "z"),
    "in operators": (
        [
            N("ReduceMax", ["z", "last"], ["m"]),
            N("Sub", ["z", "m"], ["d"]),
            N("Exp", ["d"], ["e"]),
            N("ReduceSum", ["e", "last"], ["t"]),
            N("Div", ["e", "t"], ["y"]),
        ],
        ["N", 3],
        "classes",
        "z",
    ),
    "mean of two": (
        [
            N("Softmax", ["z"], ["a"]),
            N("Neg", ["z"], ["n"]),
            N("Softmax", ["n"], ["b"]),
            N("Add", ["a", "b"], ["t"]),
            N("Mul", ["t", "half"], ["y"]),
        ],
        ["N", 3],
        "labels",
        "y",
    ),
    "yes and no": (
        [
            N("Sigmoid", ["z1"], ["p1"]),
            N("Sub", ["one", "p1"], ["p0"]),
            N("Concat", ["p0", "p1"], ["y"], axis=1),
        ],
        ["N", 2],
        "labels",
        "y",
    ),
    "quantised": (QUANTISED, ["N", 3], "classes", "z"),
    "unbatched": ([N("Sigmoid", ["z1"], ["a"]), N("Squeeze", ["a", "last"], ["y"])], ["N"], "labels", "z1"),
    "in a branch": (
        [
            N("ReduceMax", ["z"], ["m"], keepdims=0),
            N("Greater", ["m", "zero"], ["b"]),
            N("If", ["b"], ["y"], then_branch=inside("Softmax", "z"), else_branch=inside("Sigmoid", "z")),
        ],
        ["N", 3],
        "labels",
        "y",
    ),
    "in a scan": (
        [
            N("Unsqueeze", ["z", "first"], ["a"]),
            N("Scan", ["a"], ["b"], num_scan_inputs=1, body=inside("Softmax", "each", "each")),
            N("Squeeze", ["b", "first"], ["y"]),
        ],
        ["N", 3],
        "labels",
        "y",
    ),
    "yes or no": (
        [N("Greater", ["z", "zero"], ["a"]), N("Cast", ["a"], ["y"], to=1)], ["N", 3], "labels", "y"
    ),
}  # fmt: skip
SPELLINGS = {  # of each function, in elementary operators
    "1 / (1 + exp -z)": [
        N("Neg", ["z"], ["a"]),
        N("Exp", ["a"], ["b"]),
        N("Add", ["b", "one"], ["c1"]),
        N("Reciprocal", ["c1"], ["y"]),
    ],
    "exp z / (1 + exp z)": [
        N("Exp", ["z"], ["a"]),
        N("Add", ["one", "a"], ["b"]),
        N("Div", ["a", "b"], ["y"]),
    ],
    "tanh": [
        N("Mul", ["z", "half"], ["a"]),
        N("Tanh", ["a"], ["b"]),
        N("Mul", ["b", "half"], ["d"]),
        N("Add", ["d", "half"], ["y"]),
    ],
    "exp z / sum": [
        N("Exp", ["z"], ["a"]),
        N("ReduceSum", ["a", "last"], ["b"], keepdims=0),
        N("Unsqueeze", ["b", "last"], ["d"]),
        N("Reciprocal", ["d"], ["e"]),
        N("Mul", ["e", "a"], ["y"]),
    ],
    "exp (z - log sum)": [
        N("ReduceLogSumExp", ["z", "last"], ["a"]),
        N("Sub", ["z", "a"], ["b"]),
        N("Exp", ["b"], ["y"]),
    ],
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_squashing_is_known_by_what_its_operators_compute(name):
    proto = model(SPELLINGS[name], ("y", ["N", 3]))
    read = readout(canonical(proto))
    assert (read.kind, read.form, read.scores) == ("classes" if "sum" in name else "labels", "given", "z")
    y, p = answered(proto, read)
    np.testing.assert_array_equal(p, y)


def test_the_logarithm_of_a_softmax_is_known_as_well():
    nodes = [N("ReduceLogSumExp", ["z", "last"], ["a"]), N("Sub", ["z", "a"], ["y"])]
    read = readout(canonical(model(nodes, ("y", ["N", 3]))))
    assert (read.kind, read.form, read.scores) == ("classes", "logarithms", "z")


@pytest.mark.parametrize("shape", [[3], [1, 1, 3]])
def test_a_single_image_may_lose_its_axis(shape):
    nodes = [N("Softmax", ["z"], ["a"]), N("Reshape", ["a", "last" if len(shape) == 1 else "n1c"], ["y"])]
    read = readout(canonical(model(nodes, ("y", shape), batch=1)))
    assert (read.kind, read.count, read.scores) == ("classes", 3, "z")


@pytest.mark.parametrize("name", GIVEN)
def test_what_a_model_says_is_what_is_printed(name):
    nodes, shape, kind, scores = GIVEN[name]
    proto = model(nodes, ("y", shape))
    read = readout(canonical(proto))
    assert (read.kind, read.count, read.scores) == (kind, max([1, *shape[1:]]), scores)
    y, p = answered(proto, read)
    np.testing.assert_array_equal(p, y)


@pytest.mark.parametrize(
    ("nodes", "kind", "expected"),
    [
        ([N("LogSoftmax", ["z"], ["y"])], "classes", np.exp),
        ([N("Softmax", ["z"], ["a"]), N("Log", ["a"], ["y"])], "classes", np.exp),
        ([N("Identity", ["z"], ["y"])], "classes", lambda y: np.exp(y) / np.exp(y).sum(1, keepdims=True)),
        ([N("Identity", ["z1"], ["y"])], "labels", lambda y: 1 / (1 + np.exp(-y))),
    ],
    ids=["logarithms", "log of softmax", "raw", "one raw score"],
)
def test_what_is_no_probability_yet_is_made_one(nodes, kind, expected):
    proto = model(nodes, ("y", ["N", 1 if "z1" in nodes[0].input else 3]))
    read = readout(canonical(proto))
    assert read.kind == kind
    y, p = answered(proto, read)
    np.testing.assert_allclose(p, expected(y.astype(np.float64)), rtol=1e-6)


def test_old_softmax_is_behind_what_the_converter_writes():
    proto = model([N("Softmax", ["z"], ["y"], axis=1)], ("y", ["N", 3]), opset=11)
    read = readout(canonical(proto))
    assert (read.kind, read.scores, read.form) == ("classes", "z", "given")


def test_a_quantised_softmax_needs_no_sum_of_one():
    nodes = [
        N("QuantizeLinear", ["z", "s", "zq"], ["zi"]),
        N("QLinearSoftmax", ["zi", "s", "zq", "s", "zq"], ["q"], domain="com.microsoft", axis=-1, opset=13),
        N("DequantizeLinear", ["q", "s", "zq"], ["y"]),
    ]
    proto = model(nodes, ("y", ["N", 3]))
    read = readout(canonical(proto))
    assert (read.kind, read.form) == ("classes", "given")
    y, p = answered(proto, read)
    np.testing.assert_array_equal(p, y)


ENDS = {  # in integers
    "quantised": QUANTISED[:2],
    "quantised scores": [N("QuantizeLinear", ["z", "half", "zq"], ["q1"])],
    "integers alone": [
        N("QuantizeLinear", ["z", "half", "zq"], ["zi"]),
        N(
            "QLinearSoftmax",
            ["zi", "half", "zq", "s", "zq"],
            ["q1"],
            domain="com.microsoft",
            axis=-1,
            opset=13,
        ),
    ],
}


@pytest.mark.parametrize("name", ENDS)
def test_integers_that_a_model_ends_in_are_the_reals_that_they_stand_for(name):
    proto = model(ENDS[name], ("q1", ["N", 3]))
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.UINT8
    read = readout(canonical(proto))
    y, p = answered(proto, read)
    if "scores" in name:
        e = np.exp(y * 0.5)
        np.testing.assert_allclose(p, e / e.sum(1, keepdims=True))
    else:
        np.testing.assert_allclose(p, y / 255, rtol=1e-6)
    assert (read.kind, canonical(proto)[read.scores].dtype) == ("classes", np.float32)


RESIDUAL = [
    N("Conv", ["r", "v"], ["b"]),
    N("Add", ["r", "b"], ["a"]),
    N("Relu", ["a"], ["t"]),
    N("GlobalAveragePool", ["t"], ["q"]),
    N("Flatten", ["q"], ["y"]),
]
EMBEDDINGS = {
    "headless": (RESIDUAL, 6),
    "silu": (
        [
            N("Sigmoid", ["c"], ["a"]),
            N("Mul", ["a", "c"], ["t"]),
            N("ReduceMean", ["t", "two"], ["y"], keepdims=0),
        ],
        6,
    ),
    "unit length": ([N("ReduceL2", ["z", "last"], ["l"]), N("Div", ["z", "l"], ["y"])], 3),
    "LpNormalization": ([N("LpNormalization", ["z"], ["y"])], 3),
    "VGG": (
        [
            N("Conv", ["r", "k3"], ["a"], pads=[1] * 4),
            N("Relu", ["a"], ["b"]),
            N("GlobalAveragePool", ["b"], ["y"]),
        ],
        6,
    ),
    "a map": ([N("Conv", ["r", "k3"], ["a"]), N("Flatten", ["a"], ["y"])], 216),
    "a ReLU last": ([N("MatMul", ["f", "E"], ["a"]), N("Relu", ["a"], ["y"])], 6),
    "an age": ([N("Softplus", ["z1"], ["y"])], 1),
    "percent": ([N("Softmax", ["z"], ["a"]), N("Mul", ["a", "hundred"], ["y"])], 3),
    "one over the length": (
        [
            N("Mul", ["z", "z"], ["a"]),
            N("ReduceSum", ["a", "last"], ["b"]),
            N("Sqrt", ["b"], ["d"]),
            N("Reciprocal", ["d"], ["e"]),
            N("Mul", ["z", "e"], ["y"]),
        ],
        3,
    ),
    "normed": ([N("LayerNormalization", ["f", "g"], ["y"])], 6),
    "ArcFace": (
        [
            N("MatMul", ["f", "E"], ["a"]),
            N("BatchNormalization", ["a", "g", "mean6", "mean6", "var6"], ["y"]),
        ],
        6,
    ),
}


@pytest.mark.parametrize("name", EMBEDDINGS)
def test_an_embedding_is_values_and_no_probabilities(name):
    nodes, count = EMBEDDINGS[name]
    proto = model(nodes, ("y", ["N", count]))
    read = readout(canonical(proto))
    assert (read.kind, read.sure) == ("values", False)
    y, values = answered(proto, read)
    np.testing.assert_array_equal(values, y)
    said = "classes" if count > 1 else "labels"
    assert readout(canonical(proto), labels=count).kind == said  # whoever names them says that they are


def test_a_convolution_may_be_the_head():
    nodes = [
        N("Conv", ["r", "k"], ["h"]),
        N("Relu", ["h"], ["hr"]),
        N("GlobalAveragePool", ["hr"], ["y"]),
    ]
    read = readout(canonical(model(nodes, ("y", ["N", 3, 1, 1]))))
    assert (read.kind, read.form, read.count) == ("classes", "softmax", 3)


BOXES = N("MatMul", ["f", "B"], ["boxes"])
FEATURES = N("Identity", ["f"], ["embedding"])


@pytest.mark.parametrize(
    ("nodes", "outputs", "options", "expected"),
    [
        ([BOXES, *SOFT], [("boxes", 4), ("y", 3)], {}, "y"),
        ([BOXES, FEATURES], [("boxes", 4), ("embedding", 6), ("z", 3)], {"labels": 3}, "z"),
        ([*SOFT], [("z", 3), ("y", 3)], {}, "y"),  # the same scores, once with their Softmax
        ([N("Transpose", ["z"], ["a"]), N("Transpose", ["a"], ["b"]), *SOFT[:-1]], [("b", 3), ("z", 3)], {},
         "b"),  # the same numbers in other axes
        ([N("Identity", ["z"], ["a"]), BOXES], [("a", 3), ("boxes", 4)], {"output": "boxes"}, "boxes"),
        ([N("Identity", ["z"], ["a"]), N("Identity", ["f"], ["logits"])], [("a", 3), ("logits", 6)], {},
         "logits"),
    ],
)  # fmt: skip
def test_which_of_several_outputs(nodes, outputs, options, expected):
    graph = canonical(model(nodes, *((n, ["N", c]) for n, c in outputs)))
    assert readout(graph, **options).output == expected


def test_where_several_would_do_it_is_a_question():
    other = N("Softmax", ["f"], ["age"])
    graph = canonical(model([*SOFT, other], ("y", ["N", 3]), ("age", ["N", 6])))
    with pytest.raises(BadRequest, match=r"y \(3: behind a Softmax\), age \(6: .*--output NAME"):
        readout(graph)
    assert readout(graph, labels=6).output == "age"
    assert readout(graph, "y").output == "y"
    assert score_name(graph) == "z"  # for what needs a layer alone


@pytest.mark.parametrize(
    ("nodes", "outputs", "reason"),
    [
        ([N("Softmax", ["r"], ["y"], axis=1)], [("y", ["N", 6, 8, 8])], r"'y' of shape \['N', 6, 8, 8\]"),
        ([N("Identity", ["text"], ["y"])], [("y", [5, 6])], "does not depend on the picture"),
        ([N("Reshape", ["z", "last"], ["y"])], [("y", ["M"])], r"of shape \['M'\]"),
        ([N("Unsqueeze", ["z", "last"], ["a"]), N("Sigmoid", ["a"], ["y"])], [("y", ["N", 3, 1])], "3, 1"),
        ([N("Transpose", ["f"], ["ft"]), N("MatMul", ["text", "ft"], ["y"])], [("y", [5, "N"])],
         r"of shape \[5, 'N'\]"),
        ([N("Softmax", ["z"], ["a"]), N("TopK", ["a", "best"], ["y", "i"])], [("y", ["N", 2])],
         "that were found or ranked"),
        ([N("Reshape", ["r", "steps"], ["y"])], [("y", ["T", 1, 6])], r"'T', 1, 6"),
    ],
)  # fmt: skip
def test_what_has_no_scores_of_classes_says_what_it_has(nodes, outputs, reason):
    graph = canonical(model(nodes, *outputs))
    with pytest.raises(BadRequest, match=reason) as refused:
        readout(graph)
    assert "activations" in str(refused.value)  # and what can be done


def test_clip_with_its_text_folded_in_is_a_classifier():
    nodes = [
        N("ReduceL2", ["f", "last"], ["l"]),
        N("Div", ["f", "l"], ["image_embeds"]),
        N("Transpose", ["text"], ["tt"]),
        N("MatMul", ["image_embeds", "tt"], ["logits_per_image"]),
        N("Transpose", ["logits_per_image"], ["logits_per_text"]),
        N("Identity", ["text"], ["text_embeds"]),
    ]
    outputs = [
        ("logits_per_text", [5, "N"]),
        ("text_embeds", [5, 6]),
        ("image_embeds", ["N", 6]),
        ("logits_per_image", ["N", 5]),
    ]
    read = readout(canonical(model(nodes, *outputs)))
    assert (read.output, read.kind, read.form) == ("logits_per_image", "classes", "softmax")


def test_a_table_of_names_and_numbers_is_read_before_it_is_made():
    names = ["cat", "dög", "bird"]
    zipped = N("ZipMap", ["y"], ["losses"], domain="ai.onnx.ml", classlabels_strings=names)
    proto = model([*SOFT], ("y", ["N", 3]))
    proto.graph.node.append(zipped)
    proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 2))
    del proto.graph.output[:]
    made = helper.make_map_type_proto(
        TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    )
    proto.graph.output.append(helper.make_value_info("losses", helper.make_sequence_type_proto(made)))
    read = readout(canonical(proto))
    assert (read.output, read.value, read.scores, read.kind) == ("losses", "y", "z", "classes")
    assert read.names == tuple(names)
    (tables,) = onnxruntime.InferenceSession(proto.SerializeToString()).run(None, {"x": X})
    ours = Network(proto, "cpu").run({"x": X}, [read.value])[read.value]
    np.testing.assert_allclose(read.answers(ours), [[t[n] for n in names] for t in tables], rtol=1e-6)


def test_a_person_may_say_what_it_is():
    graph = canonical(model([N("Identity", ["z"], ["y"])], ("y", ["N", 3])))
    y = np.array([0.0, 2.0, -1000.0])
    np.testing.assert_allclose(readout(graph, kind="labels").answers(y), [0.5, 1 / (1 + np.exp(-2)), 0])
    np.testing.assert_array_equal(readout(graph, kind="values").answers(y), y)
    with pytest.raises(BadRequest, match="no readout 'clases'; nearest: classes"):
        readout(graph, kind="clases")
    with pytest.raises(BadRequest, match="no output 'yy'; nearest: y"):
        readout(graph, "yy")


def test_large_scores_do_not_overflow():
    graph = canonical(model([N("Identity", ["z"], ["y"])], ("y", ["N", 3])))
    np.testing.assert_allclose(readout(graph).answers(np.array([2000.0, 0.0, -2000.0])), [1, 0, 0])


# -- intervals -------------------------------------------------------------------------------------------

UNARY = {
    "Softmax", "Sigmoid", "HardSigmoid", "LogSoftmax", "Tanh", "Relu", "Softplus", "Abs", "Exp", "Neg",
    "Identity", "Flatten", "Transpose", "ReduceMean", "ReduceMax", "ReduceMin", "Clip",
}  # fmt: skip


@pytest.mark.parametrize("op", sorted(UNARY))
@pytest.mark.parametrize("before", ["Sigmoid", "Tanh", "Relu", "Neg"])
def test_an_interval_holds_every_value(op, before):
    assert op in INTERVALS
    proto = model([N(before, ["z"], ["a"]), N(op, ["a"], ["y"])], ("y", None))
    y = Network(proto, "cpu").run({"x": X * 10})["y"]
    bounds = interval(canonical(proto), "y")
    assert bounds.low - 1e-6 <= y.min()
    assert y.max() <= bounds.high + 1e-6


@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div", "Max", "Min", "Mean", "Sum"])
@pytest.mark.parametrize(("a", "b"), [("Sigmoid", "Tanh"), ("Tanh", "Softplus"), ("Relu", "Neg")])
def test_an_interval_of_two_holds_every_value(op, a, b):
    nodes = [N(a, ["z"], ["a"]), N(b, ["z"], ["b"]), N(op, ["a", "b"], ["y"])]
    proto = model(nodes, ("y", ["N", 3]))
    y = Network(proto, "cpu").run({"x": X})["y"]
    bounds = interval(canonical(proto), "y")
    assert bounds.low - 1e-6 <= y.min()
    assert y.max() <= bounds.high + 1e-6


@pytest.mark.parametrize(
    ("op", "of"), [("Sqrt", "Sigmoid"), ("Pow", "Sigmoid"), ("Pow", "Softplus"), ("Pow", "Tanh")]
)
def test_an_interval_of_a_power_holds_every_value(op, of):
    nodes = [N(of, ["z"], ["a"]), N(op, ["a", "power"] if op == "Pow" else ["a"], ["y"])]
    for power in (0.5, 2.0, 0.0):
        proto = model(nodes, ("y", ["N", 3]))
        proto.graph.initializer.append(numpy_helper.from_array(np.float32(power), "power"))
        y = Network(proto, "cpu").run({"x": X})["y"]
        bounds = interval(canonical(proto), "y")
        assert bounds.low - 1e-6 <= np.nanmin(y)
        assert np.nanmax(y) <= bounds.high + 1e-6
        assert of != "Sigmoid" or bounds.within(0, 1)
