"""Values that the graphs inside a node read by name: no way through them is ever dropped."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, parser
from oracles.differences import assert_slopes
from oracles.networks import parsed, run

from onnxlens.engine.anatomy.anatomy import between, bottlenecks
from onnxlens.engine.anatomy.axes import channel_axis
from onnxlens.engine.attribution.perturbation import plans
from onnxlens.engine.attribution.perturbation.occlusion import Hiding, answers
from onnxlens.engine.attribution.perturbation.places import places
from onnxlens.engine.autodiff.doctor import examine
from onnxlens.engine.autodiff.gradient import gradient
from onnxlens.engine.canonical.canonical import canonical
from onnxlens.engine.errors import BadModel, NoRule
from onnxlens.engine.features.receptive import receptive_fields
from onnxlens.engine.features.responses import stages
from onnxlens.engine.features.weights import fixed_values
from onnxlens.engine.graph.graph import Graph, op
from onnxlens.engine.graph.nodes import captured, reads, renamed
from onnxlens.engine.runtime.network import Network
from onnxlens.engine.runtime.optimise import optimised

X = np.random.default_rng(3).standard_normal((2, 4)).astype(np.float32)
IF = """t = If (flag) <
    then_branch = yes () => (float[2,4] a) { a = Tanh (f) },
    else_branch = no () => (float[2,4] b) { b = Mul (f, f) }
>"""
LOOP = """t = Loop (three, on, start) <
    body = round (int64 i, bool go, float[2,4] s) => (bool again, float[2,4] n) {
    h = Tanh (f)
    n = Add (s, h)
    again = Identity (go)
}>"""
SCAN = """t = Scan <num_scan_inputs = 1, body = step (float[2,4] s, float[2,4] e) => (float[2,4] n) {
    h = Mul (e, f)
    n = Add (s, h)
}> (start, steps)"""
NESTED = """t = Loop (three, on, start) <
    body = round (int64 i, bool go, float[2,4] s) => (bool again, float[2,4] n) {
    h = If (go) <
        then_branch = yes () => (float[2,4] a) { a = Tanh (f) },
        else_branch = no () => (float[2,4] b) { b = Identity (s) }
    >
    n = Add (s, h)
    again = Identity (go)
}>"""
COLLECTED = """t = Loop (three, on) <body = round (int64 i, bool go) => (bool again, float[2,4] n) {
    n = Tanh (f)
    again = Identity (go)
}>"""
KINDS = {"If": IF, "Loop": LOOP, "Scan": SCAN, "Loop around an If": NESTED, "Loop that collects": COLLECTED}


def with_body(kind, end="y = Identity (t)", values="f = Mul (x, half)", opset=18):
    return parsed(
        f"(float[2,4] x, bool flag) => (float[N,M] y) {{ {values} {KINDS.get(kind, kind)} {end} }}",
        opset,
        half=np.float32(0.5),
        start=np.zeros((2, 4)),
        steps=np.ones((3, 2, 4)),
        on=np.array(True),
        three=np.array(3),
        head=np.ones((4, 4)),
    )


@pytest.mark.parametrize("flag", [True, False])
@pytest.mark.parametrize("end", ["y = Identity (t)", "y = Add (t, f)", "z = Add (t, f) y = MatMul (z, head)"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_gradient_leads_through_what_a_body_reads(kind, end, flag):
    assert_slopes(with_body(kind, end), {"x": X, "flag": np.array(flag)}, ["y"], ["x"])
    found = examine(with_body(kind, end))
    assert (found.verdict, found.operators["graphs inside"]) == ("open", {kind.split()[0]: 1})


@pytest.mark.parametrize("kind", KINDS)
def test_a_body_is_no_matter_where_nothing_leads_through_it(kind):
    """Behind it, before it, and where what it reads does not depend on what is asked for."""
    model = with_body(kind, "z = Mul (t, t) y = Mul (z, x)", "f = Mul (half, steps_of)")
    model.graph.initializer.append(numpy_helper.from_array(np.ones((2, 4), np.float32), "steps_of"))
    feeds = {"x": X, "flag": np.array(True)}
    out = run(model, feeds)["y"]
    found = run(gradient(model, of="y", wrt="x"), {**feeds, "seed/y": np.ones_like(out)})["grad/x"]
    again = run(model, {**feeds, "x": np.ones_like(X)})["y"]
    np.testing.assert_allclose(found, again.reshape(-1, 2, 4).sum(0), rtol=1e-6)
    found = run(gradient(with_body(kind), of="f", wrt="x"), {**feeds, "seed/f": np.ones_like(X)})["grad/x"]
    np.testing.assert_array_equal(found, np.full_like(X, 0.5))


@pytest.mark.parametrize(
    ("body", "inside"),
    [
        ("k = Shape (f) n = ConstantOfShape (k)", "of the size alone"),
        ("c = Greater (f, half) n = Where (c, start, ones)", "of a step"),
        ("k = ArgMax <keepdims = 0> (f) n = Gather (start, k)", "of positions"),
    ],
)
def test_a_body_that_only_steps_with_what_it_reads_is_no_obstacle(body, inside):
    model = with_body(
        f"t = If (flag) <then_branch = yes () => (float[2,4] n) {{ {body} }},"
        " else_branch = no () => (float[2,4] m) { m = Identity (start) }>",
        "y = Add (t, f)",
    )
    model.graph.initializer.append(numpy_helper.from_array(np.ones((2, 4), np.float32), "ones"))
    assert_slopes(model, {"x": X, "flag": np.array(False)}, ["y"], ["x"])


def test_an_if_on_sizes_that_are_known_is_its_branch():
    model = with_body(
        IF, values="f = Mul (x, half) n = Size (x) flag2 = Greater (n, three)".replace("flag2", "known")
    )
    next(n for n in model.graph.node if n.op_type == "If").input[0] = "known"
    assert_slopes(model, {"x": X, "flag": np.array(False)}, ["y"], ["x"])


def test_a_function_whose_loop_reads_an_argument():
    """Range is a Loop in the specification, which reads the step by name."""
    model = parsed(
        "(float[] x) => (float[N] y) { s = Mul (x, x) y = Range (zero, ten, s) }",
        zero=np.float32(0),
        ten=np.float32(10),
    )
    assert_slopes(model, {"x": np.float32(1.35)}, ["y"], ["x"])


def test_what_a_node_reads():
    node = with_body(NESTED).graph.node[1]
    assert reads(node) == ["three", "on", "start", "f"]
    assert captured(node) == ["f"]
    other = renamed(node, {"f": "g", "s": "wrong", "start": "begin", "a": "wrong"})
    assert reads(other) == ["three", "on", "begin", "g"]
    assert reads(node)[-1] == "f"  # the node itself is left alone


def test_a_body_that_reads_what_nothing_computes():
    model = with_body(IF, values="e = Mul (x, half)")
    with pytest.raises(BadModel, match="reads 'f'"):
        canonical(model)


def test_an_input_that_only_a_body_reads():
    model = with_body(
        IF.replace("Tanh (f)", "Tanh (x)").replace("Mul (f, f)", "Mul (x, x)"), values="f = Mul (half, half)"
    )
    feeds = {"x": X, "flag": np.array(True)}
    np.testing.assert_allclose(Network(model).run(feeds)["y"], np.tanh(X), rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_where_a_network_can_be_cut(kind):
    """Where all passes through one value; the flag of an If comes by another way."""
    body = "e = Mul (x, half) f = Tanh (e) k = Abs (f)"
    late = canonical(with_body(kind, "u = Relu (t) y = Add (u, k)", body))
    assert "f" in between(late, "e", "y")
    assert bottlenecks(late, "y") == ([] if kind == "If" else ["e", "f"])
    alone = canonical(with_body(kind, "u = Relu (t) y = Add (u, half)", body))
    assert [n for n in bottlenecks(alone, "y") if n in "tu"] == ["t", "u"]


def test_positions_pass_on_what_sizes_do_not():
    """A late value is read at where the largest of an early one are: it alone is no place to cut."""
    graph = canonical(
        parsed(
            """(float[2,4] x) => (float[2,2] y) {
                e = Tanh (x) v, at = TopK (e, two) d = Relu (e) l = Sigmoid (d)
                p = GatherElements <axis = 1> (l, at) n = Shape (e) y = Reshape (p, shape)
            }""",
            two=np.array([2]),
            shape=np.array([2, 2]),
        )
    )
    assert bottlenecks(graph, "y") == ["e", "p"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_body_reads_is_neither_fixed_nor_passed_over(kind):
    graph = canonical(
        with_body(kind, "u = MatMul (t, head) y = Add (u, g)", "f = Mul (x, half) g = Tanh (half)")
    )
    assert between(graph, "f", "y") == ["f", "t", "u", "y"]
    assert "t" not in fixed_values(graph)


def test_sixteen_bits_are_widened_in_what_a_body_reads():
    model = parsed(
        """(float16[2,4] x, bool flag) => (float16[2,4] y) { y = If (flag) <
            then_branch = yes () => (float16[2,4] a) { a = Tanh (x) },
            else_branch = no () => (float16[2,4] b) { b = Add (x, w) }
        > }""",
        w=np.ones((2, 4), np.float16),
    )
    x = X.astype(np.float16)
    for flag in (True, False):
        found = Network(model).run({"x": x, "flag": np.array(flag)})["y"]
        np.testing.assert_array_equal(found, run(model, {"x": x, "flag": np.array(flag)})["y"])
        grad = run(gradient(model), {"x": x, "flag": np.array(flag), "seed/y": np.ones((2, 4), np.float32)})[
            "grad/x"
        ]
        slope = 1 - np.tanh(x.astype(np.float32)) ** 2 if flag else np.ones((2, 4))
        np.testing.assert_allclose(grad, slope, rtol=1e-5)


def test_integers_that_a_body_reads_stand_for_reals():
    """What reads a quantised value reads its integers, through a body too; the way through it is not lost."""
    model = parsed(
        """(float[1,3,8,8] x, bool flag) => (float[1,2,8,8] y) {
            xq = QuantizeLinear (x, step, zero)
            q = QLinearConv (xq, step, zero, w, step, wzero, step, zero)
            t = If (flag) <
                then_branch = yes () => (uint8[1,2,8,8] a) { a = Identity (q) },
                else_branch = no () => (uint8[1,2,8,8] b) { b = Identity (q) }
            >
            y = DequantizeLinear (t, step, zero)
        }""",
        step=np.float32(0.02),
        zero=np.uint8(128),
        wzero=np.int8(0),
        w=np.random.default_rng(0).integers(-90, 90, (2, 3, 1, 1)).astype(np.int8),
    )
    graph = canonical(model)
    assert "q" in captured(next(n for n in graph.nodes if n.op_type == "If"))
    assert "q/real" not in graph  # a layer that only a part of the network reads
    feeds = {"x": np.random.default_rng(0).random((1, 3, 8, 8)).astype(np.float32), "flag": np.array(True)}
    np.testing.assert_array_equal(Network(model).run(feeds)["y"], run(model, feeds)["y"])
    straight = parser.parse_model("""<ir_version: 8, opset_import: ["" : 18]>
        net (uint8[1,2,8,8] q) => (uint8[1,2,8,8] t) { t = Identity (q) }""").graph.node[0]
    other = type(model)()
    other.CopyFrom(model)
    at = next(i for i, n in enumerate(other.graph.node) if n.op_type == "If")
    other.graph.node[at].CopyFrom(straight)
    seeded = {**feeds, "seed/y": np.ones((1, 2, 8, 8), np.float32)}
    grads = [run(gradient(m, of="y", wrt="x"), seeded)["grad/x"] for m in (model, other)]
    assert np.abs(grads[0]).max() > 0
    np.testing.assert_array_equal(*grads)


def test_a_local_function_with_a_branch():
    model = parser.parse_model("""<ir_version: 10, opset_import: ["" : 18, "own" : 1]>
        net (float[2,4] x, bool flag) => (float[2,4] y) { f = Tanh (x) y = own.choice (f, flag) }
        <opset_import: ["" : 18], domain: "own"> choice (v, which) => (r) {
            w = Mul (v, v)
            r = If (which) <
                then_branch = yes () => (float[2,4] a) { a = Add (w, v) },
                else_branch = no () => (float[2,4] b) { b = Identity (w) }
            >
        }""")
    feeds = {"x": X, "flag": np.array(True)}
    np.testing.assert_array_equal(Network(model).run(feeds)["y"], run(model, feeds)["y"])
    assert_slopes(model, feeds, ["y"], ["x"])


def test_a_rewritten_value_is_read_under_its_new_name():
    """What rewrites put in place of a value, a body reads too."""
    graph = Graph({"": 20})
    x = graph.input("x", np.float32, [1, 4, 6, 6])
    y = op.ConvTranspose(
        x, np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32), pads=[1] * 4
    )
    branch = helper.make_graph(
        [helper.make_node("Relu", [y.name], ["r"])],
        "b",
        [],
        [helper.make_tensor_value_info("r", TensorProto.FLOAT, None)],
    )
    flag = graph.input("flag", np.bool_, [])
    graph.add(helper.make_node("If", [flag.name], ["z"], then_branch=branch, else_branch=branch))
    graph.outputs = ["z"]
    new = optimised(graph, ["z"])
    assert new is not graph
    assert not any(n.op_type == "ConvTranspose" for n in new.nodes)
    feeds = {
        "x": np.random.default_rng(1).standard_normal((1, 4, 6, 6)).astype(np.float32),
        "flag": np.array(True),
    }
    np.testing.assert_allclose(
        run(new.to_model(), feeds)["z"], run(graph.to_model(), feeds)["z"], rtol=1e-5, atol=1e-6
    )


def picture(body, pooled="r4"):
    """A convolutional network in which a body near the end reads an early map."""
    rng = np.random.default_rng(0)
    layers, name, weights = [], "x", {}
    for i in range(5):
        weights[f"w{i}"] = rng.standard_normal((16, 3 if i == 0 else 16, 3, 3)) * (0.4 if i == 0 else 0.12)
        layers.append(
            f"c{i} = Conv <pads = [1,1,1,1], strides = [{1 + (i == 1)},{1 + (i == 1)}]> ({name}, w{i})"
            f" r{i} = Relu (c{i})"
        )
        name = f"r{i}"
    return parsed(
        f"""(float[1,3,64,64] x) => (float[1,4] y) {{ {" ".join(layers)}
            g = GlobalAveragePool ({pooled}) v = Flatten (g)
            total = ReduceSum <keepdims = 0> (v) flag = Greater (total, none)
            {body}
            z = Add (v, t) y = MatMul (z, head) }}""",
        head=rng.standard_normal((16, 4)),
        none=np.float32(0),
        sides=np.array([2, 3]),
        start=np.zeros((1, 16)),
        three=np.array(3),
        **weights,
    )


MEANS = {
    "If": """t = If (flag) <
        then_branch = yes () => (float[1,16] a) { a = ReduceMax <keepdims = 0> (r0, sides) },
        else_branch = no () => (float[1,16] b) { b = ReduceMean <keepdims = 0> (r0, sides) }
    >""",
    "Loop": """t = Loop (three, flag, start) <
        body = round (int64 i, bool go, float[1,16] s) => (bool again, float[1,16] n) {
        m = If (go) <
            then_branch = yes () => (float[1,16] a) { a = ReduceMean <keepdims = 0> (r0, sides) },
            else_branch = no () => (float[1,16] b) { b = Identity (s) }
        >
        n = Add (s, m)
        again = Identity (go)
    }>""",
}


@pytest.mark.parametrize("kind", MEANS)
def test_occlusion_answers_what_the_model_says(kind, monkeypatch):
    monkeypatch.setattr(plans, "WORTH", 0)
    monkeypatch.setattr(plans, "GAIN", 1e-3)
    monkeypatch.setattr(plans, "_trial", lambda runs: [sum(run() for run in runs), 1])
    network = Network(picture(MEANS[kind]), "cpu", threads=1)
    image = np.random.default_rng(1).random((3, 64, 64)).astype(np.float32)
    spots = places((64, 64), (16, 16), (16, 16))
    run = Hiding(image, np.zeros_like(image), spots)
    found = np.concatenate([a.output for a in answers(network, None, run)])
    for (row, column), scores in zip(spots.corners(np.arange(len(spots))), found, strict=True):
        there = image.copy()
        there[:, row : row + 16, column : column + 16] = 0
        np.testing.assert_allclose(scores, network.run({"x": there[None]})["y"][0], rtol=1e-4, atol=1e-5)


def test_a_receptive_field_behind_a_body():
    """It sees all that what the body reads does, and that is not nothing."""
    model = parsed(
        """(float[1,3,16,16] x, bool flag) => (float[1,2,8,8] y) {
            c = Conv <strides = [2,2], pads = [1,1,1,1]> (x, w)
            t = If (flag) <
                then_branch = yes () => (float[1,2,8,8] a) { a = Relu (c) },
                else_branch = no () => (float[1,2,8,8] b) { b = Identity (c) }
            >
            y = Conv (t, v)
        }""",
        w=np.ones((2, 3, 3, 3)),
        v=np.ones((2, 2, 1, 1)),
    )
    fields = receptive_fields(canonical(model), ["c", "t"])
    assert fields["c"][4, 4].tolist() == [7, 7, 10, 10]
    assert (fields["t"] == [0, 0, 16, 16]).all()
    assert channel_axis(canonical(model), "x") == 1


def test_the_stages_of_a_network_whose_body_reads_the_image():
    """Nothing but the image is passed by all, so the stages are all of its maps."""
    body = MEANS["If"].replace(
        "ReduceMean <keepdims = 0> (r0, sides)", "i = Conv (x, w0) b = ReduceMean <keepdims = 0> (i, sides)"
    )
    graph = canonical(picture(body.replace("b = i =", "i =")))
    assert stages(graph, "y") == ["r0", "r4"]


def test_what_stops_a_gradient_inside_a_body_is_named():
    model = with_body(
        "t = If (flag) <then_branch = yes () => (float[2,4] n)"
        " { k = RandomNormal <shape = [2, 4]> () n = Mul (k, f) },"
        " else_branch = no () => (float[2,4] m) { m = Identity (f) }>"
    )
    with pytest.raises(NoRule, match="through If node 't': draws random numbers in a graph inside it"):
        gradient(model, of="y", wrt="x")
    model = with_body(IF.replace("Mul (f, f)", "Det (f)"))
    model.graph.node[1].attribute[1].g.node[0].domain = "own"
    model.opset_import.append(helper.make_opsetid("own", 1))
    with pytest.raises(
        NoRule, match=r"own:Det has no rule, and ONNX does not define it \(Det node 'b' inside\)"
    ):
        gradient(model, of="y", wrt="x")
