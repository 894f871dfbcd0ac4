"""Every rule and every body against central differences, in float64: the conformance run.

Most cases are ONNX's own, one node each; see oracles/cases.py.
"""

import re

import numpy as np
import pytest
from onnx import TensorProto, defs, helper
from oracles.cases import CASES, DISAGREEMENTS, HAND_MADE, SCOPE, posed, redrawn
from oracles.differences import assert_slopes, float_names
from oracles.fused import alone
from oracles.lists import LISTS
from oracles.networks import NO_KERNEL, parsed, run

from onnxlens.engine.autodiff.blocks import STEPS
from onnxlens.engine.autodiff.gradient import gradient
from onnxlens.engine.graph.nodes import is_differentiable
from onnxlens.engine.operators.bodies import BODIES
from onnxlens.engine.operators.rules import VJP
from onnxlens.engine.operators.traits import TRAITS, has_gradient


def parametrised(cases):
    return pytest.mark.parametrize(("model", "data"), [pytest.param(*c, id=n) for n, c in cases.items()])


@parametrised(CASES)
def test_onnx_case(model, data):
    model, feeds, of, wrt = posed(model, data)
    if not of:
        pytest.skip("no output is finite")
    assert_slopes(model, feeds, of, wrt)


def types_of(model):
    return {v.name: v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.output)}


# In 16 bits the inside is made float32 (test_widen.py), where kernels may round otherwise.
AS_THEY_ARE = {
    name: (model, data)
    for name, (model, data) in CASES.items()
    if not {TensorProto.FLOAT16, TensorProto.BFLOAT16} & {*types_of(model).values()}
}


@parametrised(AS_THEY_ARE)
def test_onnx_case_on_onnx_runtime(model, data):
    """In its own types: the runtime takes the gradient graph, and answers what it answered before."""
    feeds, wrt = redrawn(model, data)
    types = {name: helper.tensor_dtype_to_np_dtype(elem) for name, elem in types_of(model).items()}
    feeds = {name: value.astype(types[name]) for name, value in feeds.items()}
    try:
        expected = run(model, feeds)
    except NO_KERNEL:
        pytest.skip("ONNX Runtime has no kernel for the case itself")
    of = [name for name in float_names(model.graph.output) if np.isfinite(expected[name]).all()]
    if not of:
        pytest.skip("no output is finite")
    found = run(
        gradient(model, of=of, wrt=wrt),
        feeds | {f"seed/{name}": np.ones(expected[name].shape, types[name]) for name in of},
    )
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value)
    for name in wrt:
        assert found[f"grad/{name}"].shape == feeds[name].shape
        assert found[f"grad/{name}"].dtype == feeds[name].dtype
        assert np.isfinite(found[f"grad/{name}"]).all()


@pytest.mark.parametrize("model", [pytest.param(m, id=name) for name, m in HAND_MADE.items()])
def test_hand_made_case(model):
    shapes = [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.input]
    feeds, wrt = redrawn(model, [np.zeros(shape) for shape in shapes])
    assert_slopes(model, feeds, float_names(model.graph.output), wrt)


# Held against the smooth operator that they stand for instead: rounding has no slope of its own.
ROUNDING = {"QuantizeLinear", "DynamicQuantizeLinear"}
INTEGER = {key for key in BODIES if key.startswith(("QLinear", "MatMulInteger", "ConvInteger"))}


def test_every_rule_and_body_is_held_against_differences():
    models = [model for model, _ in CASES.values()] + list(HAND_MADE.values())
    plain = {key for key in (*VJP, *BODIES) if defs.has(key)}
    of_lists = {word for body in LISTS.values() for word in re.findall(r"= (\w+)", body)}
    assert plain <= {model.graph.node[0].op_type for model in models} | of_lists | ROUNDING | INTEGER


def test_where_we_and_the_specification_disagree():
    """Each such input is listed with its reason, and held against differences like any other."""
    found = {(name, "input") for name in SCOPE.intersection(STEPS)}
    for schema in defs.get_all_schemas():
        for index, slot in enumerate(schema.inputs):
            if schema.domain == "" and has_gradient(schema, index) and not is_differentiable(slot):
                found.add((schema.name, slot.name))
    assert found == set(DISAGREEMENTS)
    smooth = {name: set(traits.smooth) for name, traits in TRAITS.items() if traits.smooth}
    assert {name: {slot for n, slot in found if n == name} for name in smooth} == smooth
    tried = set()
    for model in (*(model for model, _ in CASES.values()), *HAND_MADE.values()):
        node, given = model.graph.node[0], float_names(model.graph.input)
        if any(node.op_type == name for name, _ in found):
            slots = defs.get_schema(node.op_type).inputs
            tried |= {(node.op_type, slots[k].name) for k, i in enumerate(node.input) if i in given}
    assert found <= tried


def test_the_bound_of_a_clip_has_a_gradient_wherever_it_comes_from():
    """Alone, behind operators, beside the input; where the bounds have changed places, the upper has it."""
    model = parsed(
        """(float[5] x, float low, float high) => (float[5] y) {
            a = Neg (low)  b = Neg (a)  y = Clip (x, b, high)
        }"""
    )
    feeds = {"x": np.array([-3, -1, 0, 1, 3], np.float32), "seed/y": 2.0 ** np.arange(5, dtype=np.float32)}
    for low, high, expected in [(-0.5, 0.5, {"x": [0, 0, 4, 0, 0], "low": 3, "high": 24}),
                                (2, -2, {"x": [0] * 5, "low": 0, "high": 31})]:  # fmt: skip
        bounds = {"low": np.array(low, np.float32), "high": np.array(high, np.float32)}
        for wrt in (["low"], ["high"], ["x", "low", "high"], ["b"]):
            found = run(gradient(model, wrt=wrt), feeds | bounds)
            for name in wrt:
                value = expected["low" if name == "b" else name]
                np.testing.assert_array_equal(found[f"grad/{name}"], value)


def test_quantisation_is_passed_straight_through():
    """Q then D: the identity where it does not saturate, and nothing where it does."""
    model = parsed(
        "(float[6] x) => (float[6] y) { q = QuantizeLinear (x, s, z) "
        "d = DequantizeLinear (q, s, z)  y = Neg (d) }",
        s=0.1, z=np.int8(3),
    )  # fmt: skip
    x = np.array([-20, -13.0, -1.23, 0.4, 12.3, 13], np.float32)
    found = run(gradient(model), {"x": x, "seed/y": np.arange(1, 7, dtype=np.float32)})["grad/x"]
    np.testing.assert_allclose(found, [0, -2, -3, -4, -5, 0], atol=1e-6)


def test_a_dynamic_range_never_saturates():
    model = parsed(
        "(float[6] x) => (float[6] y) { q, s, z = DynamicQuantizeLinear (x)  y = DequantizeLinear (q, s, z) }"
    )
    feeds = {"x": np.linspace(-2, 3, 6, dtype=np.float32), "seed/y": np.arange(6, dtype=np.float32)}
    np.testing.assert_allclose(run(gradient(model), feeds)["grad/x"], np.arange(6), atol=1e-5)


def test_the_number_of_cases_is_what_it_was(record_property):
    """A suite that shrinks in silence would test nothing."""
    record_property("cases", len(CASES) + len(HAND_MADE))
    print(f"{len(CASES)} cases of ONNX, {len(HAND_MADE)} of our own")
    assert len(CASES) >= 800
    assert len(HAND_MADE) >= 350


def test_features_that_are_picked_or_made_steps_of():
    x, g = np.float32([[1, -2, 3], [4, 5, -6]]), np.float32([[1, 2, 4], [8, 16, 32]])
    picked, feeds = alone("ai.onnx.ml:ArrayFeatureExtractor", [x, np.array([[2, 0, 2]])], {})
    found = run(gradient(picked, of="y0", wrt="x0"), feeds | {"seed/y0": g})["grad/x0"]
    np.testing.assert_array_equal(found, [[2, 0, 5], [16, 0, 40]])
    steps, feeds = alone("ai.onnx.ml:Binarizer", [x], {"threshold": 0.5})
    found = run(gradient(steps, of="y0", wrt="x0"), feeds | {"seed/y0": g})["grad/x0"]
    np.testing.assert_array_equal(found, np.zeros((2, 3)))


DROPPING = [
    ("y = Dropout (x, ratio, yes)", {"ratio": 0.3, "yes": True}, 0.3),
    ("y, mask = Dropout <seed = 3> (x, ratio, yes)", {"ratio": 0.75, "yes": True}, 0.75),
    ("y = Dropout (x, , yes)", {"yes": True}, 0.5),
    ("yes = Not (no)  y = Dropout (x, ratio, yes)", {"ratio": 0.3, "no": False}, 0.3),
    ("yes = Not (no)  y = Dropout (x, ratio, yes)", {"ratio": 0.3, "no": True}, 0),
    ("y = Dropout (x, ratio, yes)", {"ratio": 0.3, "yes": False}, 0),
    ("y = Dropout (x, ratio, yes)", {"ratio": 0.0, "yes": True}, 0),
]


@pytest.mark.parametrize(("text", "constants", "ratio"), DROPPING)
def test_dropout_in_training(text, constants, ratio):
    """What was kept in this very run is told by its own answer, for a zero among the inputs too."""
    inputs, given = "float[40,50] x", {}
    if "no" in constants:
        inputs, given = f"{inputs}, bool no", {"no": np.array(constants["no"])}
    constants = {name: value for name, value in constants.items() if name != "no"}
    proto = parsed(f"({inputs}) => (float[40,50] y) {{ {text} }}", **constants)
    x = np.random.default_rng(0).uniform(0.5, 2, (40, 50)).astype(np.float32)
    seed = np.random.default_rng(1).standard_normal((40, 50)).astype(np.float32)
    found = run(gradient(proto, of="y", wrt="x"), given | {"x": x, "seed/y": seed})
    kept = found["y"] != 0
    assert abs(kept.mean() - (1 - ratio)) < 0.05
    np.testing.assert_allclose(found["y"], x * kept / (1 - ratio), rtol=1e-5)
    np.testing.assert_allclose(found["grad/x"], seed * kept / (1 - ratio), rtol=1e-5)
    zeros = run(gradient(proto, of="y", wrt="x"), given | {"x": 0 * x, "seed/y": seed})["grad/x"]
    assert abs((zeros != 0).mean() - (1 - ratio)) < 0.05


@pytest.mark.parametrize("shape", ["3,C,4,2", "N,7,3", "N,C,H,W,2,2"])
def test_a_window_of_channels_of_which_the_number_is_open(shape):
    proto = parsed(f"(float[{shape}] x) => (float y) {{ y = LRN <size = 4, alpha = 0.3> (x) }}")
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    sizes = [int(d) if d.isdigit() else 5 for d in shape.split(",")]
    x = np.random.default_rng(0).standard_normal(sizes).astype(np.float32)
    assert_slopes(proto, {"x": x}, ["y"], ["x"])


def test_the_scale_of_a_dynamic_range_has_the_slope_of_its_ends():
    proto = parsed("(float[5] x) => (float s) { q, s, z = DynamicQuantizeLinear (x) }")
    for x, expected in ([-2, 0, 1, 3, 3], [-1, 0, 0, 0.5, 0.5]), ([1, 2, 4, 3, 0], [0, 0, 1, 0, 0]):
        feeds = {"x": np.float32(x), "seed/s": np.array(255, np.float32)}
        found = run(gradient(proto, of="s", wrt="x"), feeds)["grad/x"]
        np.testing.assert_allclose(found, expected, atol=1e-6)
