"""Damaged model files: seeded mutations of small models, and a process that tries them.

Run as `python mutants.py FIRST LAST`, it prints a line before and after each file, so that one that kills or
hangs the process is known by its number.
"""

from __future__ import annotations

import random
import signal
import sys
from collections.abc import Callable

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper, parser

BODIES = {
    "convolutional": """(float[N,3,8,8] x, float[4,3,3,3] w, float[4] b, float[5,4] f) => (float[N,5] y) {
        c = Conv <kernel_shape=[3,3], pads=[1,1,1,1], strides=[2,2]> (x, w, b)
        r = Relu (c)
        p = MaxPool <kernel_shape=[2,2], strides=[1,1]> (r)
        a = AveragePool <kernel_shape=[2,2], auto_pad="SAME_UPPER"> (p)
        m = GlobalAveragePool (a)
        v = Flatten <axis=1> (m)
        y = Gemm <transB=1> (v, f) }""",
    "shapes": """(float[2,3,4,4] x, int64[4] s) => (float[n,c] y) {
        shape = Shape (x)
        first = Constant <value_ints=[1]> ()
        t = Transpose <perm=[0,1,3,2]> (x)
        d = Resize <mode="linear"> (t, , , s)
        g = Gather <axis=1> (d, first)
        e = Expand (g, room)
        q = Concat <axis=1> (e, d)
        j = Slice (q, zero, first)
        u = Pad <mode="reflect"> (j, padding)
        z = Reshape (u, flat)
        y = Softmax <axis=-1> (z) }""",
    "attention": """(float[2,4,6] x, float[6,6] q, float[6,6] k, float[6] scale, float[6] bias)
        => (float[2,6] y) {
        n = LayerNormalization <axis=-1> (x, scale, bias)
        a = MatMul (n, q)
        b = MatMul (n, k)
        t = Transpose <perm=[0,2,1]> (b)
        m = MatMul (a, t)
        p = Softmax <axis=-1> (m)
        o = MatMul (p, n)
        h = Gelu (o)
        i, j = TopK <axis=1> (h, two)
        y = ReduceMean <keepdims=0> (i, one) }""",
    "recurrent": """(float[3,2,4] x, float[1,9,4] w, float[1,9,3] r) => (float[2,3] y) {
        k, h = GRU <hidden_size=3> (x, w, r)
        u = Squeeze (h, zero)
        c = Transpose <perm=[1,2,0]> (x)
        t = ConvTranspose <strides=[2]> (c, up)
        e = Einsum <equation="tnc,tdnh->nh"> (x, k)
        f = ReduceMax <keepdims=0> (t, last)
        y = Add (u, e) }""",
}
OPSETS = {"convolutional": 13, "shapes": 18, "attention": 20, "recurrent": 22}
WHOLE = {
    "s": [2, 3, 8, 6], "room": [2, 4, 8, 6], "padding": [0, 0, 1, 1, 0, 0, 1, 1], "flat": [1, -1],
    "two": [2], "one": [1], "zero": [0], "last": [-1],
}  # fmt: skip
WEIGHTS = {"up": (4, 3, 2)}


def seeds() -> list[ModelProto]:
    """The models before the damage; their weights are initializers."""
    rng, models = np.random.default_rng(0), []
    for name, body in BODIES.items():
        model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : {OPSETS[name]}]> net {body}')
        read = {i for n in model.graph.node for i in n.input}
        for value in list(model.graph.input)[1:]:
            shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
            if value.name not in WHOLE:
                array = rng.standard_normal(shape).astype(np.float32)
                model.graph.initializer.append(numpy_helper.from_array(array, value.name))
            model.graph.input.remove(value)
        for known, values in WHOLE.items():
            if known in read:
                model.graph.initializer.append(numpy_helper.from_array(np.array(values), known))
        for known, shape in WEIGHTS.items():
            if known in read:
                array = rng.standard_normal(shape).astype(np.float32)
                model.graph.initializer.append(numpy_helper.from_array(array, known))
        models.append(model)
    return models


# -- mutations: each changes the model that it gets, or gives other bytes ---------------------------------

NUMBERS = [-1, 0, 1, 2, 3, 7, 100, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1, -(2**63), -7]


def _node(model: ModelProto, rng: random.Random) -> NodeProto:
    return rng.choice(list(model.graph.node))


def swap_names(model: ModelProto, rng: random.Random) -> None:
    """An input or output of a node becomes another value: also its own output, a cycle."""
    names = [n for node in model.graph.node for n in (*node.input, *node.output)]
    node = _node(model, rng)
    side = rng.choice([node.input, node.output])
    if side:
        side[rng.randrange(len(side))] = rng.choice([*names, "", "nowhere", "x" * 5000, "é\n\t"])


def swap_operators(model: ModelProto, rng: random.Random) -> None:
    operators = [n.op_type for n in model.graph.node] + [
        "Loop", "If", "Scan", "LSTM", "NonZero", "Nothing", "Det", "GridSample", "Split", "Tile", "Range",
        "ConstantOfShape", "Col2Im", "ScatterND", "OneHot", "Unsqueeze", "BatchNormalization", "DeformConv",
        "MaxUnpool", "RoiAlign", "LRN", "DepthToSpace", "Upsample", "Scatter", "QuantizeLinear",
        "DequantizeLinear", "SequenceConstruct", "Optional", "Attention", "",
    ]  # fmt: skip
    _node(model, rng).op_type = rng.choice(operators)


def other_domain(model: ModelProto, rng: random.Random) -> None:
    node = _node(model, rng)
    node.domain = rng.choice(["com.microsoft", "ai.onnx.ml", "nowhere", "ai.onnx"])
    node.op_type = rng.choice(["FusedConv", "QuickGelu", "QLinearAdd", "MultiHeadAttention", node.op_type])


def move_nodes(model: ModelProto, rng: random.Random) -> None:
    nodes = list(model.graph.node)
    rng.shuffle(nodes)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def drop(model: ModelProto, rng: random.Random) -> None:
    """A node, an initializer, an input, an output, an operator set or an attribute is gone."""
    node, graph = _node(model, rng), model.graph
    parts = [graph.node, graph.initializer, graph.input, graph.output, node.input, node.output]
    parts = [p for p in [*parts, node.attribute, node.attribute, model.opset_import] if p]
    part = rng.choice(parts)
    del part[rng.randrange(len(part))]


def double(model: ModelProto, rng: random.Random) -> None:
    """Something is there twice."""
    graph, node = model.graph, _node(model, rng)
    part = rng.choice(
        [p for p in (graph.node, graph.initializer, graph.input, graph.output, node.attribute) if p]
    )
    part.add().CopyFrom(rng.choice(list(part)))


def wrong_shapes(model: ModelProto, rng: random.Random) -> None:
    """Declared shapes of inputs and outputs are removed or changed."""
    value = rng.choice([*model.graph.input, *model.graph.output])
    tensor = value.type.tensor_type
    what = rng.randrange(4)
    if what == 0:
        tensor.ClearField("shape")
    elif what == 1 and tensor.shape.dim:
        tensor.shape.dim[rng.randrange(len(tensor.shape.dim))].dim_value = rng.choice(NUMBERS)
    elif what == 2:
        tensor.shape.dim.add().dim_value = rng.choice(NUMBERS)
    else:
        value.type.Clear()


def wrong_types(model: ModelProto, rng: random.Random) -> None:
    elem = rng.choice([*TensorProto.DataType.values(), 99, -1])
    target = rng.choice([*model.graph.input, *model.graph.output, *model.graph.initializer])
    if isinstance(target, TensorProto):
        target.data_type = elem
    else:
        target.type.tensor_type.elem_type = elem


def wrong_weights(model: ModelProto, rng: random.Random) -> None:
    """The dimensions or the data of a weight: negative, huge, too short."""
    tensor = rng.choice(list(model.graph.initializer))
    what = rng.randrange(5)
    if what == 0 and tensor.dims:
        tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(NUMBERS)
    elif what == 1:
        tensor.dims.append(rng.choice(NUMBERS))
    elif what == 2:
        tensor.raw_data = tensor.raw_data[: rng.randrange(len(tensor.raw_data) + 1)]
    elif what == 3 and tensor.data_type == TensorProto.INT64:
        count = len(tensor.raw_data) // 8
        tensor.raw_data = np.array([rng.choice(NUMBERS) for _ in range(count)], np.int64).tobytes()
    else:
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=rng.choice(["../../etc/passwd", "/dev/zero", "", "a"]))


def wrong_attributes(model: ModelProto, rng: random.Random) -> None:
    nodes = [n for n in model.graph.node if n.attribute]
    if not nodes:
        return
    node = rng.choice(nodes)
    attribute = rng.choice(list(node.attribute))
    value = rng.choice([
        rng.choice(NUMBERS), [rng.choice(NUMBERS) for _ in range(rng.randrange(1, 5))], 0.5, [0.5, 1e38], "", "nonsense",  # noqa: E501
        ["a", "b"], float("nan"), numpy_helper.from_array(np.zeros(3)),
    ])  # fmt: skip
    same = helper.get_attribute_value(attribute)
    if isinstance(same, list) and rng.random() < 0.6:
        value = [rng.choice(NUMBERS) for _ in same]
    elif isinstance(same, int) and rng.random() < 0.6:
        value = rng.choice(NUMBERS)
    attribute.CopyFrom(helper.make_attribute(attribute.name, value))


def wrong_versions(model: ModelProto, rng: random.Random) -> None:
    if rng.random() < 0.5:
        model.ir_version = rng.choice([*NUMBERS[:10], 3, 12])
    elif model.opset_import:
        model.opset_import[0].version = rng.choice([*NUMBERS, 6, 9, 11, 17, 21, 24])


MUTATIONS: list[Callable[[ModelProto, random.Random], None]] = [
    swap_names, swap_operators, other_domain, move_nodes, drop, double, wrong_shapes, wrong_types,
    wrong_weights, wrong_attributes, wrong_versions,
]  # fmt: skip


def mutant(number: int, models: list[ModelProto]) -> bytes:
    """The file of this number: one to three mutations, and of every fifth the bytes."""
    rng = random.Random(number)
    model = ModelProto()
    model.CopyFrom(rng.choice(models))
    if number % 5 == 0:
        data = bytearray(model.SerializeToString())
        for _ in range(rng.choice([1, 1, 2, 8, 40])):
            data[rng.randrange(len(data))] = rng.randrange(256)
        return bytes(data[: rng.choice([len(data)] * 3 + [rng.randrange(len(data))])])
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        if model.graph.node:
            try:
                rng.choice(MUTATIONS)(model, rng)
            except IndexError:  # nothing left to change
                continue
    return model.SerializeToString()


class Late(BaseException):
    """A file has had its time; not an Exception, so that nothing on the way takes it for a damaged node."""


def attempt(path: str) -> str:
    """What happens to a file: "result", or the refusal; raises what should not happen."""
    from onnxlens.engine.attribution.explainer import Explainer
    from onnxlens.engine.autodiff.gradient import gradient
    from onnxlens.engine.errors import OnnxlensError
    from onnxlens.engine.runtime.network import Network

    outcomes = []

    def explain() -> None:
        network = Network(path, provider="cpu", threads=1)
        feeds = {}
        for name, tensor in network.inputs.items():
            shape = [d if isinstance(d, int) else 2 for d in tensor.shape or ()]
            if any(d < 0 for d in shape) or np.prod([float(d) for d in shape]) > 1e6:
                return
            feeds[name] = np.ones(shape, tensor.dtype or np.float32)
        for x in Explainer(network)(feeds):
            assert "\n" not in x.problem

    for act in (lambda: gradient(path), explain):
        try:
            act()
            outcomes.append("result")
        except OnnxlensError as error:
            text = str(error)
            if "\n" in text or not text:
                raise AssertionError(f"not one line: {text!r}") from error
            outcomes.append(type(error).__name__)
    return " ".join(outcomes)


def main(first: int, last: int, folder: str, seconds: int = 10) -> None:
    """Try the mutants from first to last, one line each before and after."""
    models = seeds()

    def late(*_: object) -> None:
        raise Late(f"took more than {seconds} s")

    signal.signal(signal.SIGALRM, late)
    for number in range(first, last):
        path = f"{folder}/{number}.onnx"
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(mutant(number, models))
        print(number, end=" ", flush=True)
        signal.alarm(seconds)
        try:
            print(attempt(path), flush=True)
        except (Exception, Late) as error:
            place = error.__traceback__
            while place is not None and place.tb_next is not None:
                place = place.tb_next
            where = f"{place.tb_frame.f_code.co_filename}:{place.tb_lineno}" if place is not None else "?"
            print(
                f"FAULT {type(error).__name__}: {' '.join(str(error).split())[:200]} at {where}", flush=True
            )
        finally:
            signal.alarm(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
