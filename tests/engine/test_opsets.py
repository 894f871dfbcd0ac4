"""What we append to a graph is said in the words of its opset, whichever that is; what stands there stays."""

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper
from onnx.defs import onnx_opset_version
from oracles.cases import CASES, redrawn
from oracles.differences import assert_slopes, float_names
from oracles.fused import CASES as FUSED
from oracles.fused import alone, drawn
from oracles.networks import NO_KERNEL, parsed, run

from onnxlens.engine.autodiff.gradient import gradient
from onnxlens.engine.autodiff.variants import TABLES
from onnxlens.engine.canonical.canonical import OPSET, RUN, canonical
from onnxlens.engine.errors import BadModel
from onnxlens.engine.graph.nodes import attributes
from onnxlens.engine.runtime.provider import newest_opset
from onnxlens.engine.runtime.session import Session

WORKING = range(OPSET, newest_opset() + 1)
NARROW = {TensorProto.FLOAT16, TensorProto.BFLOAT16}
RNG = np.random.default_rng(0)


def at(model, opset):
    """The same nodes in a file of another opset."""
    other = ModelProto()
    other.CopyFrom(model)
    next(o for o in other.opset_import if o.domain in ("", "ai.onnx")).version = opset
    return other


def test_the_newest_opset_of_the_runtime_is_no_older_than_we_say():
    assert newest_opset() >= RUN


def types_of(model):
    return {v.name: v.type.tensor_type.elem_type for v in model.graph.input}


def operator(model):
    return model.graph.node[0].op_type


def tried():
    """A case of each operator, and the others as slow ones; without 16 bits, which are computed in 32."""
    seen = set()
    for name, (model, data) in CASES.items():
        if NARROW.isdisjoint(types_of(model).values()):
            marks = [pytest.mark.slow] * (operator(model) in seen)
            yield pytest.param(model, data, id=name, marks=marks)
            seen.add(operator(model))


def differ(inferred, shape):
    """Whether inference and runtime count differently, as far as inference knows."""
    if inferred is None:
        return False
    known = [d if isinstance(d, int) else s for d, s in zip(inferred, shape, strict=False)]
    return len(inferred) != len(shape) or known != list(shape)


def differing(model, feeds):
    """The opsets that take the nodes as they are, and those where gradients are not those of the first."""
    of, wrt = float_names(model.graph.output), float_names(model.graph.input)
    taken, wrong = {}, []
    for opset in WORKING:
        other = at(model, opset)
        try:
            y = run(other, feeds)
        except NO_KERNEL:  # the operator has other words there, or the runtime no kernel for it
            continue
        graph = canonical(other)
        if any(differ(graph[name].shape, y[name].shape) for name in of):
            continue
        seeds = {f"seed/{name}": np.ones_like(y[name]) for name in of}
        taken[opset] = run(gradient(other, of=of, wrt=wrt), feeds | seeds)
        first = next(iter(taken.values()))
        near = (np.allclose(v, first[name], 1e-5, 1e-6, equal_nan=True) for name, v in taken[opset].items())
        wrong += [] if all(near) else [opset]
    return list(taken), wrong


@pytest.mark.parametrize(("model", "data"), list(tried()))
def test_rules_and_bodies_speak_every_opset(model, data):
    types = types_of(model)
    feeds = {
        name: value.astype(helper.tensor_dtype_to_np_dtype(types[name]))
        for name, value in redrawn(model, data)[0].items()
    }
    taken, wrong = differing(model, feeds)
    assert not wrong
    if not taken:
        pytest.skip("ONNX Runtime has no kernel for the case itself")


@pytest.mark.parametrize("case", FUSED)
def test_bodies_of_fused_operators_speak_every_opset(case):
    taken, wrong = differing(*alone(*FUSED[case]))
    assert not wrong
    assert taken


@pytest.mark.parametrize("rules", TABLES)
def test_variants_speak_every_opset(rules):
    text = """(float[1,2,6,6] x) => (float[1,3] y) {
        c = Conv <pads = [1,1,1,1]> (x, k) b = BatchNormalization (c, s, s, s, s) r = Relu (b)
        p = MaxPool <kernel_shape = [2,2], strides = [2,2]> (r) q = QuantizeLinear (p, t, z)
        d = DequantizeLinear (q, t, z) l = LRN <size = 3> (d) v = Clip (l, , t) g = GlobalAveragePool (v)
        f = Flatten (g) y = Gemm (f, w)
    }"""
    weights = {
        "k": drawn(4, 2, 3, 3),
        "s": np.ones(4),
        "w": drawn(4, 3),
        "t": np.float32(0.1),
        "z": np.uint8(0),
    }
    feeds, found = {"x": drawn(1, 2, 6, 6), "seed/y": np.ones((1, 3), np.float32)}, []
    for opset in WORKING:
        found.append(run(gradient(parsed(text, opset, **weights), ["y"], ["x"], rules), feeds)["grad/x"])
    np.testing.assert_allclose(found, [found[0]] * len(found), 1e-5, 1e-6)


# -- what stands in the file ---------------------------------------------------------------------------


def attention(opset, heads=2):
    model = parsed(
        f"""(float[1,5,8] x) => (float[1,5,8] y) {{
            y = Attention <q_num_heads = {heads}, kv_num_heads = {heads}> (x, x, x)
        }}""",
        opset,
    )
    return model, {"x": RNG.standard_normal((1, 5, 8)).astype(np.float32)}


@pytest.mark.parametrize("opset", [o for o in WORKING if o >= 23])
@pytest.mark.parametrize("heads", [1, 4])
def test_attention_runs_as_it_is_and_has_its_slope(opset, heads):
    model, feeds = attention(opset, heads)
    assert_slopes(model, feeds, ["y"], ["x"])
    grown = gradient(model, of=["y"], wrt=["x"])
    answers = run(grown, feeds | {"seed/y": np.ones((1, 5, 8), np.float32)})
    np.testing.assert_array_equal(answers["y"], run(model, feeds)["y"])


@pytest.mark.parametrize(
    ("opset", "node"),
    [
        (25, "Attention <q_num_heads = 2, kv_num_heads = 2> (x, x, x)"),
        (18, "LRN <size = 3> (x)"),
        (19, 'Resize <mode = "linear"> (x, , s)'),
        (19, "Cast <to = 11> (x)"),
        (24, "LayerNormalization (x, s)"),
    ],
)
def test_nothing_is_written_into_a_node_that_has_no_window(opset, node):
    model = parsed(f"(float[1,5,8] x) => (y) {{ y = {node} }}", opset, s=np.ones(8 if "Layer" in node else 3))
    (found,) = canonical(model).nodes
    assert attributes(found) == attributes(model.graph.node[0])


# -- newer than the runtime ------------------------------------------------------------------------------


def test_a_newer_model_of_old_operators_runs():
    model = parsed("(float[2] x) => (float[2] y) { y = Relu (x) }", onnx_opset_version())
    graph = canonical(model)
    assert graph.opsets[""] == RUN
    x = np.array([-1, 2], np.float32)
    np.testing.assert_array_equal(Session(graph)({"x": x})["y"], [0, 2])
    assert_slopes(model, {"x": x}, ["y"], ["x"])


@pytest.mark.parametrize(
    "body",
    [
        "y = Celu (x)",
        """c = ReduceMax (x) d = Cast <to = 9> (c) y = If (d) <
            then_branch = a () => (float[2] p) { p = Celu (x) },
            else_branch = b () => (float[2] q) { q = Relu (x) }>""",
    ],
)
def test_a_newer_operator_is_said_to_be_too_new(body):
    model = parsed(f"(float[2] x) => (float[2] y) {{ {body} }}", 28)
    with pytest.raises(BadModel, match=r"is of opset 28, ONNX Runtime [\d.]+ runs \d\d: install a newer one"):
        Session(canonical(model))


def test_a_range_of_rows_of_one_number_runs_as_in_the_runtime():
    """ONNX asks for scalars, ONNX Runtime takes what the function of AffineGrid gives."""
    model = parsed(
        "(float[N,3] x) => (float[N] y) { s = Shape (x)  n = Slice (s, zero, one)  i = Range (start, n, step)"
        "  f = CastLike (i, x)  e = Unsqueeze (f, one)  m = Mul (x, e) "
        "y = ReduceSum <keepdims = 0> (m, one) }",
        zero=np.array([0]), one=np.array([1]), start=np.array(0), step=np.array([1]),
    )  # fmt: skip
    x = RNG.standard_normal((4, 3)).astype(np.float32)
    np.testing.assert_allclose(
        Session(canonical(model))({"x": x})["y"], (x.T * np.arange(4)).sum(0), rtol=1e-5
    )
    assert_slopes(model, {"x": x}, ["y"], ["x"])
