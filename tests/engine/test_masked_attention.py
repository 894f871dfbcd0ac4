"""Rows of attention that see no key at all: their answer depends on nothing, and their gradient is 0."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from oracles.differences import assert_slopes
from oracles.networks import parsed, run

from onnxlens.engine.autodiff.gradient import gradient
from onnxlens.engine.runtime.network import Network

RNG = np.random.default_rng(6)
SEEN = RNG.random((4, 5)) < 0.6
SEEN[[1, 3]] = False  # two queries without a key
SEEN[[0, 2], [0, 2]] = True
ADDED = np.where(SEEN, 0.0, -np.inf)
MASKS = {
    "added": "m = Add (s, added)",
    "in place of the scores": "m = Where (seen, s, lowest)",
    "below": "m = Sub (s, negated)",
}
GUARDS = {
    "Where (IsNaN)": "p = Softmax (m) n = IsNaN (p) a = Where (n, zero, p) y = MatMul (a, v)",
    "Where by the mask": "p = Softmax (m) a = Where (any, p, zero) y = MatMul (a, v)",
    "behind the product": "p = Softmax (m) o = MatMul (p, v) n = IsNaN (o) y = Where (n, zero, o)",
    "behind a cast and the product": (
        "p = Softmax (m) c = Identity (p) o = MatMul (c, v) y = Where (any, o, zero)"
    ),
    "transposed": (
        "mt = Transpose <perm = [0,2,1]> (m) p = Softmax <axis = 1> (mt) vt = Transpose <perm = [0,2,1]> (v)"
        " ot = MatMul (vt, p) o = Transpose <perm = [0,2,1]> (ot) y = Where (any, o, zero)"
    ),
    "behind a sum by letters": (
        'p = Softmax (m) o = Einsum <equation = "bqk,bkd->bqd"> (p, v) n = IsNaN (o) y = Where (n, zero, o)'
    ),
    "behind a reshape": "p = Softmax (m) r = Reshape (p, flat) o = MatMul (r, v) y = Where (any, o, zero)",
    "of logarithms": "p = LogSoftmax (m) a = Where (seen, p, zero) y = MatMul (a, v)",
}


def written_out(mask, guard):
    """Attention in float64, as exporters write it."""
    model = parsed(
        f"""(double[2,4,3] q, double[2,5,3] k, double[2,5,2] v) => (double[2,4,2] y) {{
            kt = Transpose <perm = [0,2,1]> (k)  s = MatMul (q, kt)  {MASKS[mask]}  {GUARDS[guard]}
        }}""",
        seen=SEEN,
        any=SEEN.any(1, keepdims=True),
        flat=np.array([2, 4, 5]),
    )
    for name, value in {"added": ADDED, "negated": -ADDED, "zero": 0.0, "lowest": -np.inf}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.float64), name))
    return model


def drawn(model):
    shapes = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in model.graph.input}
    kind = np.float64 if model.graph.input[0].type.tensor_type.elem_type == TensorProto.DOUBLE else np.float32
    return {name: RNG.standard_normal(shape).astype(kind) for name, shape in shapes.items()}


@pytest.mark.parametrize("guard", GUARDS)
@pytest.mark.parametrize("mask", MASKS)
def test_written_out(mask, guard):
    model = written_out(mask, guard)
    feeds = drawn(model)
    assert_slopes(model, feeds, ["y"], ["q", "k", "v"])
    grads = run(gradient(model, of="y", wrt=["q", "k", "v"]), {**feeds, "seed/y": np.ones((2, 4, 2))})
    assert not grads["grad/q"][:, [1, 3]].any()
    assert grads["grad/q"][:, [0, 2]].any()


def test_of_two_matrices():
    """As Gemm, which exporters write where there is no batch."""
    model = parsed(
        """(float[4,3] q, float[5,3] k, float[5,2] v) => (float[4,2] y) {
            s = Gemm <transB = 1> (q, k)  m = Where (seen, s, lowest)  p = Softmax (m)
            o = Gemm (p, v)  n = IsNaN (o)  y = Where (n, zero, o)
        }""",
        seen=SEEN,
        zero=np.float32(0),
        lowest=np.float32(-np.inf),
    )
    assert_slopes(model, drawn(model), ["y"], ["q", "k", "v"])


def fused(op_type, inputs, constants, end="", domain="", opset=23, **attributes):
    node = helper.make_node(op_type, inputs, ["o" if end else "y"], domain=domain, **attributes)
    rank = [2, 4, 4] if domain else [2, 2, 4, 3]
    other = [2, 5, 4] if domain else [2, 2, 5, 3]
    nodes = [node]
    if end:
        nodes += [
            helper.make_node("IsNaN", ["o"], ["n"]),
            helper.make_node("Where", ["n", "zero", "o"], ["y"]),
        ]
    tensors = [
        numpy_helper.from_array(np.asarray(v), n) for n, v in {**constants, "zero": np.float32(0)}.items()
    ]
    values = [
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s)
        for n, s in zip("qkv", (rank, other, other), strict=True)
    ]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, rank)
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(
        helper.make_graph(nodes, "g", values, [y], tensors), ir_version=10, opset_imports=opsets
    )


NARROW = ADDED.astype(np.float32)
LOWEST = np.where(SEEN, 0, np.finfo(np.float32).min).astype(np.float32)  # as transformers has it
MIXED = ["q", "k", "v", "", "", "mask"]
FUSED = {
    "Attention": fused("Attention", ["q", "k", "v", "mask"], {"mask": SEEN}),
    "Attention, -inf added": fused("Attention", ["q", "k", "v", "mask"], {"mask": NARROW}),
    "Attention, the lowest number added": fused("Attention", ["q", "k", "v", "mask"], {"mask": LOWEST}),
    "Attention of opset 24": fused("Attention", ["q", "k", "v", "mask"], {"mask": SEEN}, opset=24),
    "Attention, softcap": fused("Attention", ["q", "k", "v", "mask"], {"mask": SEEN}, softcap=2.0),
    "MultiHeadAttention": fused(
        "MultiHeadAttention", MIXED, {"mask": NARROW[None, None]}, "Where", "com.microsoft", num_heads=2
    ),
}


@pytest.mark.parametrize("name", FUSED)
def test_fused(name):
    model = FUSED[name]
    feeds = drawn(model)
    answer = run(model, feeds)["y"]
    assert np.isfinite(answer).all()
    assert_slopes(model, feeds, ["y"], ["q", "k", "v"])
    found = run(gradient(model, of="y", wrt=["q", "k", "v"]), {**feeds, "seed/y": np.ones_like(answer)})
    np.testing.assert_array_equal(found["y"], answer)
    rows = found["grad/q"] if found["grad/q"].ndim == 3 else found["grad/q"].swapaxes(0, 2)
    assert not (rows[:, [1, 3]] if found["grad/q"].ndim == 3 else rows[[1, 3]]).any()


@pytest.mark.parametrize("lowest", [-np.inf, np.finfo(np.float16).min])
@pytest.mark.parametrize("opset", [23, 24])
def test_of_16_bits(lowest, opset):
    """The lowest number of 16 bits hides a key in float32 too, in which such a model is computed."""
    model = fused(
        "Attention", ["q", "k", "v", "mask"], {"mask": np.where(SEEN, 0, lowest).astype("e")}, opset=opset
    )
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    feeds = {name: value.astype("e") for name, value in drawn(model).items()}
    answer = Network(model, "cpu", 1).run(feeds)["y"]
    np.testing.assert_allclose(answer, run(model, feeds)["y"], rtol=0, atol=2e-3)
    assert not answer[:, :, [1, 3]].any()
    seed = {"seed/y": np.ones(answer.shape, np.float32)}
    grads = run(gradient(model, of="y", wrt=["q", "v"]), {**feeds, **seed})
    assert not grads["grad/q"][:, :, [1, 3]].any()
    np.testing.assert_allclose(grads["grad/v"].sum((2, 3)), 2 * 3, rtol=1e-3)  # two queries, of weight 1 each


def test_all_keys_masked_for_all_queries():
    model = fused("Attention", ["q", "k", "v", "mask"], {"mask": np.zeros_like(SEEN)})
    feeds = drawn(model)
    found = run(
        gradient(model, of="y", wrt=["q", "k", "v"]), {**feeds, "seed/y": np.ones((2, 2, 4, 3), np.float32)}
    )
    assert not any(found[f"grad/{n}"].any() for n in "qkv")


@pytest.mark.parametrize("operator", ["Softmax", "LogSoftmax"])
def test_what_is_no_number_and_is_asked_for_stays_none(operator):
    """Nobody takes the row out: the answer is no number, and a gradient of 0 would say that all is well."""
    model = parsed(
        f"(float[2,3] x) => (float[2,3] y) {{ m = Add (x, added) y = {operator} (m) }}", added=ADDED[:2, :3]
    )
    found = run(
        gradient(model, of="y"), {"x": np.ones((2, 3), np.float32), "seed/y": np.eye(2, 3, dtype=np.float32)}
    )
    assert np.isnan(found["y"][1]).all()
    assert np.isnan(found["grad/x"][1]).all()
    assert np.isfinite(found["grad/x"][0]).all()


@pytest.mark.reference
def test_as_autograd_says():
    """PyTorch's attention answers 0 for such rows as well."""
    torch = pytest.importorskip("torch")
    model = written_out("in place of the scores", "Where (IsNaN)")
    feeds = drawn(model)
    q, k, v = (torch.from_numpy(feeds[n]).requires_grad_() for n in "qkv")
    y = torch.nn.functional.scaled_dot_product_attention(q, k, v, torch.from_numpy(SEEN), scale=1.0)
    u = RNG.standard_normal(y.shape)
    (y * torch.from_numpy(u)).sum().backward()
    found = run(gradient(model, of="y", wrt=["q", "k", "v"]), {**feeds, "seed/y": u})
    np.testing.assert_allclose(found["y"], y.detach().numpy(), rtol=1e-6, atol=1e-8)
    for name, value in zip("qkv", (q, k, v), strict=True):
        np.testing.assert_allclose(found[f"grad/{name}"], value.grad.numpy(), rtol=1e-6, atol=1e-8)
