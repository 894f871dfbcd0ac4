"""What stops a gradient is named, with what lies before it; what an image leaves dead is counted."""

import numpy as np
import onnx
import pytest
from onnx import helper
from oracles.networks import parsed, run

from onnxlens.engine.attribution.diagnose import losses
from onnxlens.engine.autodiff.doctor import examine, health, tried
from onnxlens.engine.autodiff.gradient import gradient
from onnxlens.engine.errors import BadRequest, NoRule
from onnxlens.engine.runtime.network import Network
from onnxlens.models import embedded

OPEN = """(float[1,2,4,4] x) => (float[1,2] y) {
    c = Conv (x, w) r = Relu (c) g = GlobalAveragePool (r) h = HardSwish (g) y = Flatten (h)
}"""
W = np.eye(2).reshape(2, 2, 1, 1)


def stopped(middle):
    """A net with something between its features r and its scores."""
    return parsed(
        f"""(float[1,2,4,4] x) => (float[1,2] y) {{
            c = Conv (x, w) r = Relu (c) {middle} g = GlobalAveragePool (m) y = Flatten (g)
        }}""",
        w=W,
    )


def test_an_open_model():
    found = examine(parsed(OPEN, w=W))
    assert (found.verdict, found.blocks, found.open) == ("open", [], ["x"])
    assert (found.of, found.wrt) == (["y"], ["x"])
    assert found.operators["rule"] == {"Conv": 1, "Relu": 1, "GlobalAveragePool": 1, "Flatten": 1}
    assert found.operators["function body"] == {"HardSwish": 1}


@pytest.mark.parametrize(
    ("middle", "operator", "why"),
    [
        ("i = Cast <to = 7> (r) m = Cast <to = 1> (i)", "Cast", "gives int64"),
        ("i = ArgMax <axis = 2> (r) m = Cast <to = 1> (i)", "ArgMax", "gives positions"),
        ("b = Greater (r, zero) m = Cast <to = 1> (b)", "Greater", "gives bool"),
        ("m = Round (r)", "Round", "is a step"),
    ],
)
def test_what_stops_a_gradient(middle, operator, why):
    model = stopped(middle)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0), "zero"))
    found = examine(model)
    assert (found.verdict, found.open) == ("blocked", [])
    (block,) = found.blocks
    assert block.operator == operator
    assert why in block.why
    assert block.instead == "r"
    assert f"{operator} node" in block.text
    assert "of='r'" in block.text
    assert found.operators["blocked"] == {operator: 1}
    assert examine(model, of=["r"]).verdict == "open"
    x = np.random.default_rng(0).standard_normal((1, 2, 4, 4)).astype("f")
    seeds = {"x": x, "seed/y": np.ones((1, 2), "f")}
    assert not run(gradient(model), seeds)["grad/x"].any()  # and the gradient is zero, as it says


def test_the_error_says_what_the_doctor_says():
    model = stopped("m = Odd (r)")
    model.graph.node[2].domain = "my.ops"
    model.opset_import.append(helper.make_opsetid("my.ops", 1))
    (block,) = examine(model, of=["y"]).blocks
    assert "my.ops:Odd has no rule" in block.text
    with pytest.raises(NoRule) as error:
        gradient(model, of="y")
    assert str(error.value) == block.text


LENGTHS = "(float[T,2,3] x, float[1,4,3] w, float[1,4,4] r) => (float[T,1,2,4] y)"
REFUSED = {
    "RNN": (
        LENGTHS + ' { y = RNN <hidden_size = 4, activations = ["Odd"]> (x, w, r) }',
        "has the activation 'Odd'",
    ),
    "GridSample": (
        "(float[1,1,H,W] x, float[1,2,2,2] g) => (float[1,1,2,2] y) { y = GridSample (x, g) }",
        "whose size is not known",
    ),
    "FusedConv": (
        '(float[1,1,2,2] x, float[1,1,1,1] w) => (float[1,1,2,2] y) '
        '{ y = com.microsoft.FusedConv <activation = "Odd"> (x, w) }',
        "the fused activation 'Odd'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("operator", REFUSED)
def test_what_a_rule_or_a_body_refuses_is_foreseen_in_the_same_words(operator):
    text, why = REFUSED[operator]
    model = onnx.parser.parse_model(
        f'<ir_version: 8, opset_import: ["" : 20, "com.microsoft" : 1]> net {text}'
    )
    (block,) = examine(model, of=["y"]).blocks
    assert block.operator.endswith(operator)
    assert why in block.why
    with pytest.raises(NoRule) as error:
        gradient(model, of="y")
    assert str(error.value) == block.text
    assert f"{operator} node 'y': {block.why}; ask for" in block.text


def test_another_way_may_be_open():
    found = examine(stopped("i = Cast <to = 7> (r) f = Cast <to = 1> (i) m = Add (f, r)"))
    assert (found.verdict, found.open) == ("partial", ["x"])
    assert [b.operator for b in found.blocks] == ["Cast"]


@pytest.mark.parametrize(
    "middle",
    [
        "q = IsNaN (r) m = Where (q, zero, r)",
        "p = Greater (r, zero) n = Not (p) m = Where (n, zero, r)",
        "p = Greater (r, zero) q = IsInf (r) n = And (p, q) m = Where (n, r, r)",
        "f = Flatten (r) i = ArgMax <axis = 1> (f) t = Gather (f, i) u = ReduceMax (t) m = Mul (u, r)",
        "d, k = TopK <axis = 3> (r, four) m = GatherElements <axis = 3> (r, k)",
    ],
    ids=["isnan", "not", "and", "gather", "topk"],
)
def test_what_only_decides_needs_no_gradient(middle):
    model = stopped(middle)
    for name, value in (("zero", np.float32(0)), ("four", np.array([4]))):
        model.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    found = examine(model)
    assert (found.verdict, found.blocks, found.open) == ("open", [], ["x"])
    assert "blocked" not in found.operators


def test_where_only_a_decision_leads_there_it_is_named():
    model = stopped("q = Greater (r, zero) m = Where (q, zero, one)")
    for name, value in (("zero", 0), ("one", 1)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(value), name))
    found = examine(model)
    assert found.verdict == "blocked"
    assert [b.operator for b in found.blocks] == ["Greater"]


def test_blocks_of_a_kind_stand_together():
    found = examine(
        stopped("a = Round (r) b = Add (a, r) k = Round (b) d = Floor (r) e = Add (k, d) m = Add (e, r)")
    )
    assert found.verdict == "partial"
    assert [[b.output for b in kind] for kind in found.kinds] == [["a", "k"], ["d"]]


def test_constants_are_not_proposed():
    """Of what a node reads, only what an input has a part in says anything of the way before it."""
    model = parsed(
        """(float[1,2,4,4] x) => (float[1,2,4,4] y) {
            u = Transpose <perm = [0, 1, 3, 2]> (w) q = Cast <to = 7> (x) i = Cast <to = 7> (u) s = Add (q, i)
            y = Cast <to = 1> (s)
        }""",
        w=np.ones((1, 2, 4, 4)),
    )
    (block,) = examine(model).blocks
    assert (block.operator, block.instead) == ("Cast", None)
    assert "ask for a value behind it" in block.text


def test_what_lies_behind_another_block_is_not_proposed():
    found = examine(stopped("a = Round (r) b = Exp (a) k = Mul (b, r) m = Floor (k)"))
    assert {b.operator: b.instead for b in found.blocks} == {"Round": "r", "Floor": "k"}


@pytest.mark.parametrize(
    "inputs", ["float[1,2] z, float[1,2,4,4] x", "int64[1] n, float[1,2] z, float[1,2,4,4] x, float[1] t"]
)
def test_the_image_need_not_be_the_first_input(inputs):
    text = (
        OPEN.replace("float[1,2,4,4] x", inputs)
        .replace("y = Flatten", "f = Flatten")
        .replace("}", " y = Add (f, z) }")
    )
    model = parsed(text.replace("(h) f", "(h) f"), w=W)
    found = examine(model)
    assert (found.verdict, found.wrt) == ("open", ["x"])
    assert [v.name for v in gradient(model).graph.output][-1] == "grad/x"


def test_the_runtime_loads_what_is_said_to_be_fine():
    network = Network(parsed(OPEN, w=W), provider="cpu")
    finding = examine(network.graph)
    assert tried(network, finding) == finding
    unknown = parsed(
        OPEN.replace("(float[1,2] y)", "(float[1,2] y, float[1,2] o)").replace("}", "o = Odd (y) }"), w=W
    )
    unknown.graph.node[-1].domain = "my.ops"
    unknown.opset_import.append(helper.make_opsetid("my.ops", 1))
    network = Network(unknown, provider="cpu")
    found = tried(network, examine(network.graph))
    assert (found.verdict, found.open) == ("refused", ["x"])
    assert "Odd" in found.refused


def test_where_the_gradient_of_an_image_gets_lost():
    body = "c = Conv (x, w) r = Relu (c) s = Sigmoid (r) g = GlobalAveragePool (s) y = Flatten (g)"
    network = Network(parsed(f"(float[1,2,4,4] x) => (float[1,2] y) {{ {body} }}", w=W), provider="cpu")
    lost = losses(network, "y", "x")
    assert lost({"x": np.ones((1, 2, 4, 4), "f")}) == ""
    assert "zero from 'c' on" in lost({"x": -np.ones((1, 2, 4, 4), "f")})
    assert "zero from 'r' on" in lost({"x": np.full((1, 2, 4, 4), 1000, "f")})
    assert "not finite" in lost({"x": np.full((1, 2, 4, 4), np.nan, "f")})


def test_one_of_several_wrt():
    model = stopped("m = Round (r)")
    found = examine(model, wrt=["x", "m"])
    assert (found.verdict, found.open) == ("blocked", ["m"])


def test_a_block_before_wrt_does_not_matter():
    assert examine(stopped("m = Round (r)"), wrt=["m"]).verdict == "open"


def test_what_does_not_depend_on_it():
    model = parsed("(float[1,2] x, float[1,2] z) => (float[1,2] y) { y = Relu (x) }")
    assert examine(model, wrt=["z"]).verdict == "apart"


def test_names_that_are_not_there():
    with pytest.raises(BadRequest, match="nearest: "):
        examine(parsed(OPEN, w=W), of=["yy"])


def test_the_embedded_model_is_open():
    found = examine(embedded.path())
    assert (found.verdict, found.of) == ("open", ["head"])
    assert set(found.operators) == {"rule"}


def test_dead_channels_and_saturated_outputs():
    model = parsed(
        """(float[1,3,2,2] x) => (float[1,3] y) {
            r = Relu (x) s = Sigmoid (x) g = GlobalAveragePool (s) f = Flatten (g) y = Softmax <axis = 1> (f)
        }"""
    )
    x = np.zeros((1, 3, 2, 2), "f")
    x[0, 0], x[0, 1], x[0, 2] = 5, -100, 100
    network = Network(model, provider="cpu")
    found = health(network, [{"x": x}])
    assert found.dead == {"r": pytest.approx(1 / 3)}
    assert found.saturated == {"s": pytest.approx(2 / 3), "y": 0}
    assert found.not_finite == []
    other = x.copy()
    other[0, 1] = 1  # alive in one image is alive
    assert health(network, [{"x": x}, {"x": other}]).dead == {"r": 0}
    other[0, 1, 0, 0] = np.nan
    assert health(network, [{"x": other}]).not_finite[-1] == "y"


def test_values_that_hold_no_real_numbers_are_refused():
    model = stopped("i = ArgMax <axis = 2> (r) m = Cast <to = 1> (i)")
    for names in ({"of": ["i"]}, {"wrt": ["i"]}):
        with pytest.raises(BadRequest, match=r"'i' is of type int64: only floating.*'r'"):
            examine(model, **names)
        with pytest.raises(BadRequest, match=r"'i' is of type int64: only floating.*'r'"):
            gradient(model, **names)


def test_a_model_that_ends_in_whole_numbers_is_examined():
    """Nobody asked for them by name: what stops the gradient there is what there is to say."""
    found = examine(parsed("(float[1,2,4] x) => (int64[1,1,4] y) { r = Relu (x) y = ArgMax <axis = 1> (r) }"))
    assert (found.verdict, [b.instead for b in found.blocks]) == ("blocked", ["r"])


def test_of_a_picture_of_whole_numbers_it_is_what_they_are_made():
    model = parsed("(uint8[1,2,4] x) => (float[1,2,4] y) { r = Cast <to = 1> (x) y = Relu (r) }")
    found = examine(model)
    assert (found.verdict, found.wrt) == ("open", ["r"])
    with pytest.raises(BadRequest, match=r"'x' is of type uint8.*behind it is 'r'"):
        examine(model, wrt=["x"])


def test_grad_cam_may_be_open_where_the_input_is_not():
    body = OPEN.replace("c = Conv (x, w)", "q = Round (x) c = Conv (q, w)")
    found = examine(parsed(body, w=W))
    assert (found.verdict, found.layer) == ("blocked", "q")
    assert examine(parsed(OPEN, w=W)).layer is None


def test_a_way_beside_a_body_that_reads_what_matters_is_none():
    """The gradient would lack a part, so none is given; what stops it is said once, and not what decides."""
    model = parsed(
        """(float[2,4] x, float[2,4] none) => (float[2,4] y) { f = Tanh (x)
            m = ReduceMax <keepdims = 0> (f) o = ReduceMax <keepdims = 0> (none) flag = Greater (m, o)
            t = If (flag) <
            then_branch = yes () => (float[2,4] a) { d = RandomNormal <shape = [2, 4]> () a = Mul (d, f) },
            else_branch = no () => (float[2,4] b) { b = Identity (f) }
        > y = Add (t, f) }"""
    )
    network = Network(model, "cpu", 1)
    found = tried(network, examine(network.graph))
    assert (found.verdict, [b.output for b in found.blocks]) == ("blocked", ["t"])
    assert "draws random numbers" in found.blocks[0].why
