"""Real architectures as PyTorch's two exporters write them: gradients against autograd.

And what older files and exporters wrote: Ifs on sizes, Upsample, Scatter, functions with attributes.
"""

import logging
import warnings

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper, parser
from oracles.networks import parsed, run

from onnxlens.engine.attribution.explainer import Explainer
from onnxlens.engine.autodiff.gradient import gradient
from onnxlens.engine.canonical.canonical import canonical
from onnxlens.engine.runtime.network import Network

torch = pytest.importorskip("torch")
from oracles import autograd  # noqa: E402
from oracles.architectures import ARCHITECTURES, made, picture  # noqa: E402

pytestmark = pytest.mark.reference
TOLERANCE = 1e-3  # of the norm of the gradient; what is measured lies below 1e-6


@pytest.fixture(autouse=True)
def one_quiet_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)
    torch.set_num_threads(before)


def exported(module, x, exporter, batch, path=None):
    if exporter == "dynamo":
        pytest.importorskip("onnxscript")
    return autograd.exported(module, x, exporter, batch, path)


def answer(model, feeds, level):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return session.run(["answer"], feeds)[0]


def assert_autograd_agrees(module, model, source=None, batch=2):
    _, name, _ = autograd.first_weights(module, model)
    result = gradient(model if source is None else source, of="answer", wrt=["image", name])
    assert {n.domain for n in result.graph.node} == {""}
    x = picture(seed=2, batch=batch)
    u = autograd.seed_of(module, x)
    feeds = {"image": x.numpy()}
    found = run(result, {**feeds, "seed/answer": u.numpy()})

    # Above this level the runtime fuses what nothing else reads, and a gradient reads much.
    level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    seeded = {**feeds, "seed/answer": u.numpy()}
    np.testing.assert_array_equal(answer(result, seeded, level), answer(model, feeds, level))
    np.testing.assert_allclose(found["answer"], run(model, feeds)["answer"], rtol=1e-4, atol=1e-5)

    for key, error in autograd.distances(found, autograd.by_module(module, model, x, u)).items():
        assert error < TOLERANCE, f"grad/{key} is off by {error:.1e} of its norm"


@pytest.mark.parametrize("batch", ["static", "dynamic"])
@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architecture(name, exporter, batch):
    module = made(name)
    model = exported(module, picture(), exporter, batch)
    assert_autograd_agrees(module, model, batch=2 if batch == "static" else 3)


def test_a_file_with_external_data(tmp_path):
    module = made("vit")
    path = tmp_path / "vit.onnx"
    model = exported(module, picture(), "dynamo", "dynamic", path)
    assert (tmp_path / "vit.onnx.data").is_file()
    assert_autograd_agrees(module, model, source=path)


@pytest.mark.parametrize("batch", ["static", "dynamic"])
@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_a_transformer_is_looked_at_where_patches_still_matter(exporter, batch):
    """With a free batch the sizes of the tokens go round their layers, which are layers all the same."""
    network = Network(exported(made("vit"), picture(), exporter, batch), provider="cpu", threads=1)
    explainer = Explainer(network)
    graph = network.graph
    (reader,) = [n for n in graph.nodes if n.op_type in ("Softmax", "Attention")][-1:]
    assert graph.producer(explainer.layer).op_type == "LayerNormalization"
    assert explainer.layer in {i for n in graph.ancestors(reader.input) for i in n.input}
    for explanation in explainer({"image": picture().numpy()}):
        assert explanation.problem == ""


def gradient_of_sum(model, x, wrt="x", **feeds):
    result = gradient(model, wrt=wrt)
    (seed,) = [i for i in result.graph.input if i.name.startswith("seed/")]
    plain = run(model, {"x": x, **feeds})
    ones = np.ones_like(plain[seed.name.removeprefix("seed/")])
    found = run(result, {"x": x, **feeds, seed.name: ones})
    for name, value in plain.items():
        np.testing.assert_array_equal(found[name], value)
    return found[f"grad/{wrt}"]


TWO_IFS = """(float[N,4] x) => (float[N,4] y) {
    size = Shape (x)
    one = Constant <value_int = 1> ()
    four = Constant <value_int = 4> ()
    last = Gather (size, one)
    yes = Equal (last, four)
    no = Not (yes)
    a = If (yes) <
        then_branch = squared () => (float[N,4] out) { t = Mul (x, x)  out = Mul (t, x) },
        else_branch = dropped () => (float[N,4] out) { out = Neg (x) }
    >
    y = If (no) <
        then_branch = never () => (float[N,4] out) { t = Neg (a)  out = Neg (t) },
        else_branch = nested () => (float[N,4] out) {
            t = Mul (a, two)
            out = If (yes) <
                then_branch = inner () => (float[N,4] z) { z = Add (t, x) },
                else_branch = other () => (float[N,4] z) { z = Identity (a) }
            >
        }
    >
}"""


def test_an_if_on_a_known_condition_is_its_branch():
    model = parsed(TWO_IFS, two=np.float32(2))
    assert "If" not in {n.op_type for n in canonical(model).nodes}
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    np.testing.assert_allclose(gradient_of_sum(model, x), 6 * x**2 + 1, rtol=1e-5)


def test_a_branch_may_be_a_weight_or_an_outer_value():
    out = [helper.make_tensor_value_info("out", TensorProto.FLOAT, [4])]
    weight = numpy_helper.from_array(np.arange(4, dtype=np.float32), "w")
    stored = helper.make_graph([helper.make_node("Identity", ["w"], ["out"])], "stored", [], out, [weight])
    outer = helper.make_graph([helper.make_node("Identity", ["x"], ["out"])], "outer", [], out)
    model = parsed(
        "(float[4] x) => (float[4] y) { y = Identity (x) }", yes=np.array(True), no=np.array(False)
    )
    del model.graph.node[:]
    model.graph.node.extend([
        helper.make_node("If", ["yes"], ["a"], then_branch=stored, else_branch=outer),
        helper.make_node("If", ["no"], ["b"], then_branch=stored, else_branch=outer),
        helper.make_node("Mul", ["a", "b"], ["y"]),
    ])  # fmt: skip
    onnx.checker.check_model(model)
    x = np.ones(4, np.float32)
    np.testing.assert_array_equal(gradient_of_sum(model, x), np.arange(4))


def test_upsample_of_opset_7():
    model = parser.parse_model(
        '<ir_version: 3, opset_import: ["" : 7]> net (float[1,2,3,3] x) => (float[1,2,6,6] y)'
        '{ t = Upsample <mode = "nearest", scales = [1.0, 1.0, 2.0, 2.0]> (x)  y = Mul (t, t) }'
    )
    x = np.random.default_rng(1).standard_normal((1, 2, 3, 3)).astype(np.float32)
    np.testing.assert_allclose(gradient_of_sum(model, x), 8 * x, rtol=1e-5)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_upsample_of_opset_9(mode):
    model = parsed(
        f'(float[1,2,3,3] x) => (float[1,2,6,9] y) {{ y = Upsample <mode = "{mode}"> (x, scales) }}',
        opset=9,
        scales=np.array([1, 1, 2, 3], np.float32),
    )
    rng = np.random.default_rng(2)
    x = rng.standard_normal((1, 2, 3, 3)).astype(np.float32)
    u = rng.standard_normal((1, 2, 6, 9)).astype(np.float32)
    found = run(gradient(model), {"x": x, "seed/y": u})
    # The operator is linear: ⟨Jᵀu, v⟩ = ⟨u, Jv⟩ with Jv the operator itself.
    v = rng.standard_normal(x.shape).astype(np.float32)
    assert float((found["grad/x"] * v).sum()) == pytest.approx(
        float((u * run(model, {"x": v})["y"]).sum()), 1e-4
    )


def test_scatter_of_opset_9():
    model = parsed(
        "(float[2,3] x, float[1,3] z) => (float[2,3] y)"
        "{ t = Scatter <axis = 0> (x, rows, z)  y = Mul (t, t) }",
        opset=9,
        rows=np.array([[1, 0, 1]]),
    )
    x = np.arange(1, 7, dtype=np.float32).reshape(2, 3)
    z = np.array([[10, 20, 30]], np.float32)
    np.testing.assert_array_equal(gradient_of_sum(model, x, z=z), [[2, 0, 6], [0, 10, 0]])
    np.testing.assert_array_equal(gradient_of_sum(model, x, z=z, wrt="z"), 2 * z)


def test_functions_with_attributes():
    model = parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 18, "mine" : 1]>
        net (float[2,3] x) => (float[2,3] y) {
            a = mine.twice <alpha = 0.5> (x)
            y = mine.twice (a)
        }
        <opset_import: ["" : 18, "mine" : 1], domain: "mine">
        leaky <slope> (v) => (w) { w = LeakyRelu <alpha : float = @slope> (v) }
        <opset_import: ["" : 18, "mine" : 1], domain: "mine">
        twice <alpha : float = 0.25> (v) => (w) {
            t = mine.leaky <slope : float = @alpha> (v)
            w = Add (t, t)
        }
    """)
    x = np.array([[-1, 2, -3], [4, -5, 6]], np.float32)
    np.testing.assert_allclose(gradient_of_sum(model, x), np.where(x > 0, 4, 0.5), rtol=1e-6)


class Smooth(torch.nn.Module):
    """Nothing in it has a kink, so it has second derivatives."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(2, 4, 3, 2, 1)
        self.norm = torch.nn.LayerNorm(4)
        self.mix, self.head = torch.nn.Linear(4, 6), torch.nn.Linear(6, 3)

    def forward(self, x):
        x = self.conv(x).tanh().flatten(2).transpose(1, 2)
        x = self.mix(self.norm(x)).softmax(-1)
        return self.head(x.mean(1)).sin()


@pytest.mark.parametrize("exporter", ["torchscript", "dynamo"])
def test_the_gradient_of_a_gradient_is_a_hessian_vector_product(exporter):
    torch.manual_seed(5)
    module = Smooth().eval()
    x, v, u = torch.randn(2, 2, 6, 6), torch.randn(2, 2, 6, 6), torch.randn(2, 3)
    model = exported(module, x, exporter, "static")
    second = gradient(gradient(model, of="answer", wrt="image"), of="grad/image", wrt="image")
    feeds = {"image": x.numpy(), "seed/answer": u.numpy(), "seed/grad/image": v.numpy()}
    found = run(second, feeds)
    _, wanted = torch.autograd.functional.hvp(lambda x: (module(x) * u).sum(), x, v)
    (taken,) = {o.name for o in second.graph.output} - {"answer", "grad/image"}
    assert np.linalg.norm(found[taken] - wanted.numpy()) < 1e-4 * np.linalg.norm(wanted)
    first = run(gradient(model, of="answer", wrt="image"), {k: feeds[k] for k in ("image", "seed/answer")})
    np.testing.assert_array_equal(found["grad/image"], first["grad/image"])
