"""Forward mode and second derivatives: transposes of reverse mode, and differences of it."""

import numpy as np
import pytest
from oracles.cases import CASES, HAND_MADE, posed, redrawn
from oracles.differences import assert_curvature, assert_transposed, float_names, in_double
from oracles.networks import parsed, run

from onnxlens.engine.autodiff.forward import hvp, jvp
from onnxlens.engine.autodiff.gradient import gradient
from onnxlens.engine.errors import BadRequest, NoRule

ALL = {**CASES, **{name: (model, None) for name, model in HAND_MADE.items()}}
FIRST = {model.graph.node[0].op_type: name for name, (model, _) in reversed(ALL.items())}  # one an operator


def every(names, *marks):
    return [pytest.param(*ALL[name], id=name, marks=marks) for name in names]


@pytest.mark.parametrize(
    ("model", "data"),
    every(FIRST.values()) + every((n for n in ALL if n not in FIRST.values()), pytest.mark.slow),
)
def test_every_case_forwards_and_twice(model, data):
    if data is None:
        shapes = [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in model.graph.input]
        feeds, wrt = redrawn(model, [np.zeros(shape) for shape in shapes])
        of = float_names(model.graph.output)
    else:
        model, feeds, of, wrt = posed(model, data)
    if not of or not wrt:
        pytest.skip("no output is finite, or no input has a gradient")
    assert_transposed(model, feeds, of, wrt)
    assert_curvature(model, feeds, of, wrt)


SMOOTH = """(float[N,3,8,8] x, float[5] t) => (float[N,4] y) {
    c = Conv <pads = [1,1,1,1]> (x, w)  h = Tanh (c)  m = MaxPool <kernel_shape = [2,2], strides = [2,2]> (h)
    f = Flatten (m)  z = Gemm (f, v)  s = Softmax (z)  e = ReduceSum <keepdims = 0> (t)  y = Mul (s, e)
}"""


def smooth():
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((4, 3, 3, 3)) / 4, "v": rng.standard_normal((64, 4)) / 8}
    feeds = {"x": rng.standard_normal((2, 3, 8, 8)), "t": rng.standard_normal(5)}
    return parsed(SMOOTH, **weights), {name: value.astype(np.float32) for name, value in feeds.items()}


def drawn(*shape, seed=1):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_a_derivative_says_what_it_takes_and_gives():
    model, _ = smooth()
    graph = jvp(model, of=["y", "h"], wrt=["x", "w"]).graph
    assert [v.name for v in graph.input] == ["x", "t", "tangent/x", "tangent/w"]
    assert [v.name for v in graph.output] == ["y", "jvp/y", "jvp/h"]
    graph = hvp(model, of="y", wrt=["x", "t"]).graph
    assert [v.name for v in graph.input] == ["x", "t", "seed/y", "tangent/x", "tangent/t"]
    assert [v.name for v in graph.output] == ["y", "grad/x", "grad/t", "hvp/x", "hvp/t"]
    assert not [n for n in graph.node if n.domain]


def test_what_does_not_depend_on_it_does_not_change():
    model, feeds = smooth()
    found = run(jvp(model, of=["c", "y"], wrt="t"), feeds | {"tangent/t": drawn(5)})
    assert found["jvp/c"].shape == (2, 4, 8, 8)
    assert not found["jvp/c"].any()
    assert found["jvp/y"].any()


def test_a_value_and_what_it_is_made_of_change_together():
    """⟨u, Jv⟩ = ⟨Jᵀu, v⟩ where one of the values lies behind another."""
    model, feeds = smooth()
    vs = {"tangent/x": drawn(2, 3, 8, 8), "tangent/h": drawn(2, 4, 8, 8, seed=2)}
    u = drawn(2, 4, seed=3)
    forth = run(jvp(model, of="y", wrt=["x", "h"]), feeds | vs)["jvp/y"]
    back = run(gradient(model, of="y", wrt=["x", "h"]), feeds | {"seed/y": u})
    expected = sum(float((back[f"grad/{n}"] * vs[f"tangent/{n}"]).sum()) for n in "xh")
    np.testing.assert_allclose((u * forth).sum(), expected, rtol=1e-4)


def test_what_is_its_own_input_hands_the_tangent_on():
    model, feeds = smooth()
    v = drawn(2, 3, 8, 8)
    np.testing.assert_array_equal(run(jvp(model, of="x", wrt="x"), feeds | {"tangent/x": v})["jvp/x"], v)


def test_a_quantised_score_changes_as_what_it_rounds():
    """Straight through, as in reverse mode: the seed enters before the rounding."""
    model = parsed(
        "(float[6] x) => (float[6] y) { q = QuantizeLinear (x, s, z) "
        "d = DequantizeLinear (q, s, z)  y = Mul (d, three) }",
        s=0.1, z=np.int8(3), three=3.0,
    )  # fmt: skip
    x = np.array([-20, -13.0, -1.23, 0.4, 12.3, 13], np.float32)
    v = np.arange(1, 7, dtype=np.float32)
    for of, expected in (("y", [0, 6, 9, 12, 15, 0]), ("d", v)):
        found = run(jvp(model, of=of, wrt="x"), {"x": x, "tangent/x": v})[f"jvp/{of}"]
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("count", [1, 3])
def test_several_seeds_in_one_pass_are_each_of_them_alone(count):
    model, feeds = smooth()
    many, one = drawn(count, 2, 4), gradient(model, of="y", wrt=["x", "w", "t"])
    found = run(gradient(model, of="y", wrt=["x", "w", "t"], seeds=count), feeds | {"seed/y": many})
    for name in ("x", "w", "t"):
        alone = [run(one, feeds | {"seed/y": u})[f"grad/{name}"] for u in many]
        np.testing.assert_allclose(found[f"grad/{name}"], alone, rtol=1e-5, atol=1e-7)
    tangents = drawn(count, 2, 3, 8, 8)
    found = run(jvp(model, of="y", seeds=count), feeds | {"tangent/x": tangents})["jvp/y"]
    alone = [run(jvp(model, of="y"), feeds | {"tangent/x": v})["jvp/y"] for v in tangents]
    np.testing.assert_allclose(found, alone, rtol=1e-5, atol=1e-7)
    u = {"seed/y": drawn(2, 4)}
    found = run(hvp(model, of="y", seeds=count), feeds | u | {"tangent/x": tangents})
    alone = [run(hvp(model, of="y"), feeds | u | {"tangent/x": v}) for v in tangents]
    np.testing.assert_allclose(found["hvp/x"], [a["hvp/x"] for a in alone], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["grad/x"], alone[0]["grad/x"], rtol=1e-5, atol=1e-7)


def test_several_seeds_take_no_more_nodes():
    model, _ = smooth()
    few, many = (gradient(model, seeds=count).ByteSize() for count in (2, 1000))
    assert many < few + 64
    assert sum(n.op_type == "Conv" for n in gradient(model, seeds=8).graph.node) == 1


@pytest.mark.parametrize("derivative", [gradient, jvp, hvp])
def test_less_than_one_seed_is_refused(derivative):
    with pytest.raises(BadRequest, match=r"0 seeds: say how many .* in one pass, 1 to 2,147,483,647"):
        derivative(smooth()[0], seeds=0)


def test_an_operator_without_a_gradient_is_refused_forwards():
    model = parsed("(float[3] x) => (float[3] y) { a = Exp (x)  b = Mish (a)  y = Unheard.Of (b) }")
    with pytest.raises(NoRule, match="no gradient leads through"):
        jvp(model, of="y", wrt="x")


def test_a_cubic_reads_pixels_themselves_as_smoothly_as_between_them():
    """The second derivative at a whole place: the distance to a pixel has a kink there, its weight none."""
    model = parsed(
        "(float[1,1,3,2] x, float[1,2,2,2] grid) => (float[1,1,2,2] y)"
        ' { y = GridSample <mode = "cubic"> (x, grid) }', 20,
    )  # fmt: skip
    grid = np.array([0.7, 0, 0.5, 0.2, -0.3, 0, -0.5, 0.1]).reshape(1, 2, 2, 2)
    feeds = {"x": drawn(1, 1, 3, 2).astype(float), "grid": grid}
    assert_curvature(in_double(model), feeds, ["y"], ["grid"])


@pytest.mark.parametrize("p", [1, 2])
def test_a_row_of_zeros_stays_when_it_is_normalised(p):
    model = parsed(f"(float[3,4] x) => (float[3,4] y) {{ y = LpNormalization <axis = 1, p = {p}> (x) }}")
    feeds = {"x": drawn(3, 4) * np.float32([[1], [0], [1]])}
    for made, given in ((gradient, "seed/y"), (jvp, "tangent/x")):
        found = run(made(model, of="y", wrt="x"), {**feeds, given: drawn(3, 4, seed=2)})
        assert all(np.isfinite(v).all() for v in found.values())
    assert not run(gradient(model), {**feeds, "seed/y": drawn(3, 4)})["grad/x"][1].any()
