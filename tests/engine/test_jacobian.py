"""Whole Jacobians against PyTorch and against the products that they are made of."""

import numpy as np
import pytest
from oracles.networks import parsed, run

from onnxlens.engine.autodiff.gradient import gradient
from onnxlens.engine.autodiff.jacobian import jacobian
from onnxlens.engine.errors import BadRequest

LAYERS = """(float[{n},3,6,6] x) => (float[{n},4] y) {{
    c = Conv <pads = [1,1,1,1]> (x, w)  h = Tanh (c)  m = MaxPool <kernel_shape = [2,2], strides = [2,2]> (h)
    f = Flatten (m)  y = Gemm (f, v, b)
}}"""


def layers(n="2"):
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.standard_normal((4, 3, 3, 3)) / 4,
        "v": rng.standard_normal((36, 4)) / 8,
        "b": np.ones(4),
    }
    return parsed(LAYERS.format(n=n), **weights), rng.standard_normal((2, 3, 6, 6)).astype(np.float32)


def rows(model, feeds, of, wrt, shape):
    """Row by row, each a pass of its own."""
    one, units = gradient(model, of=of, wrt=wrt), np.eye(np.prod(shape), dtype=np.float32)
    found = [run(one, feeds | {f"seed/{of}": unit.reshape(shape)})[f"grad/{wrt}"] for unit in units]
    return np.reshape(found, (*shape, *found[0].shape))


@pytest.mark.parametrize("n", ["2", "N"])
@pytest.mark.parametrize(
    ("of", "wrt", "shape", "mode"),
    [("y", "x", (2, 4), "rows"), ("y", "b", (2, 4), "columns"), ("h", "b", (2, 4, 6, 6), "columns")],
)
def test_it_is_all_its_rows(n, of, wrt, shape, mode):
    model, x = layers(n)
    made = jacobian(model, of=of, wrt=wrt)
    found = run(made, {"x": x})[f"jacobian/{of}/{wrt}"]
    np.testing.assert_allclose(found, rows(model, {"x": x}, of, wrt, shape), rtol=1e-5, atol=1e-6)
    dims = made.graph.output[-1].type.tensor_type.shape.dim
    assert [d.dim_value or d.dim_param for d in dims][:1] == [2 if n == "2" else "N"]


def test_several_of_and_wrt():
    model, x = layers()
    made = jacobian(model, of=["y", "m"], wrt=["b", "w"])
    names = ["y", "jacobian/y/b", "jacobian/y/w", "jacobian/m/b", "jacobian/m/w"]
    assert [o.name for o in made.graph.output] == names
    found = run(made, {"x": x})
    assert found["jacobian/m/b"].shape == (2, 4, 3, 3, 4)
    assert not found["jacobian/m/b"].any()
    for of, shape in (("y", (2, 4)), ("m", (2, 4, 3, 3))):
        expected = rows(model, {"x": x}, of, "w", shape)
        np.testing.assert_allclose(found[f"jacobian/{of}/w"], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("wrt", ["x", "y"])
def test_scalars_have_one_too(wrt):
    model = parsed("(float x) => (float y) { y = Mul (x, x) }")
    found = run(jacobian(model, of="y", wrt=[wrt]), {"x": np.array(3, np.float32)})[f"jacobian/y/{wrt}"]
    assert found.shape == ()
    assert found == (6 if wrt == "x" else 1)


def test_the_forward_pass_is_computed_once_and_nodes_do_not_grow():
    model, _ = layers()
    graph = jacobian(model, of="y", wrt="x").graph
    assert sum(n.op_type == "Tanh" for n in graph.node) == 1
    assert len(graph.node) < 30


def test_one_that_does_not_fit_into_memory_is_refused():
    model = parsed("(float[1,64,4096,4096] x) => (float[1,64,4096,4096] y) { y = Tanh (x) }")
    with pytest.raises(
        BadRequest, match=r"'y' by 'x' has 1,152,921,504,606,846,976 numbers \(4,611,686,018 GB\)"
    ):
        jacobian(model)


@pytest.mark.reference
@pytest.mark.parametrize("wide", [True, False])
def test_it_is_that_of_torch(wide):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    n, m = (5, 40) if wide else (40, 5)
    a = rng.standard_normal((n, m)).astype(np.float32)
    x = rng.standard_normal((3, n)).astype(np.float32)
    model = parsed(
        f"(float[3,{n}] x) => (float[3,{m}] y) {{ z = MatMul (x, a)  s = Softmax (z)  y = Mul (s, z) }}", a=a
    )

    def torched(x):
        z = x @ torch.from_numpy(a)
        return torch.softmax(z, -1) * z

    expected = torch.func.jacrev(torched)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(run(jacobian(model), {"x": x})["jacobian/y/x"], expected, rtol=1e-4, atol=1e-5)
