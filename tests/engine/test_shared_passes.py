"""Several classes or units of one image: one forward pass, and what it is for one at a time."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from onnxlens.engine.attribution.compile import compiled
from onnxlens.engine.attribution.compiled import Intake
from onnxlens.engine.attribution.explainer import Explainer
from onnxlens.engine.attribution.methods import METHODS, options_given
from onnxlens.engine.attribution.projector import Projector
from onnxlens.engine.runtime.chain import Chain
from onnxlens.engine.runtime.network import Network
from onnxlens.models import embedded

SHARING = [m.name for m in METHODS.values() if m.family in ("cam", "backward")]


def built(text: str, shapes: dict[str, tuple[int, ...]]) -> onnx.ModelProto:
    rng = np.random.default_rng(3)
    proto = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}')
    for name, shape in shapes.items():
        scale = np.sqrt(2 / max(1, np.prod(shape[1:])))
        proto.graph.initializer.append(
            numpy_helper.from_array((rng.standard_normal(shape) * scale).astype(np.float32), name)
        )
    return proto


def convolutional(batch: str = "N") -> onnx.ModelProto:
    """Pooling, a residual and a joined branch: kernels of ours stand between its sessions."""
    return built(
        f"""net (float[{batch},3,16,16] x) => (float[{batch},6] p) {{
            a = Conv <pads = [1,1,1,1]> (x, w1)
            r = Relu (a)
            m = MaxPool <kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1]> (r)
            b = Conv <pads = [1,1,1,1]> (m, w2)
            c = Relu (b)
            d = Add (c, m)
            e = Conv (d, w3)
            j = Concat <axis = 1> (d, e)
            f = Relu (j)
            g = GlobalAveragePool (f)
            v = Flatten (g)
            s = Gemm <transB = 1> (v, w4)
            p = Softmax <axis = 1> (s)
        }}""",
        {"w1": (8, 3, 3, 3), "w2": (8, 8, 3, 3), "w3": (8, 8, 1, 1), "w4": (6, 16)},
    )


def transformer() -> onnx.ModelProto:
    """Patches, one block of attention and one of dense layers, the mean of the tokens."""
    proto = built(
        """net (float[1,3,16,16] x) => (float[1,6] p) {
            a = Conv <kernel_shape = [4,4], strides = [4,4]> (x, w)
            flat = Reshape (a, grid)
            t = Transpose <perm = [0,2,1]> (flat)
            n = LayerNormalization (t, one)
            q = MatMul (n, wq)
            k = MatMul (n, wk)
            v = MatMul (n, wv)
            kt = Transpose <perm = [0,2,1]> (k)
            qk = MatMul (q, kt)
            at = Softmax <axis = 2> (qk)
            o = MatMul (at, v)
            u = Add (t, o)
            m = LayerNormalization (u, one)
            h = MatMul (m, w1)
            e = Relu (h)
            i = MatMul (e, w2)
            z = Add (u, i)
            mean = ReduceMean <axes = [1], keepdims = 0> (z)
            s = Gemm (mean, wh)
            p = Softmax <axis = 1> (s)
        }""",
        {
            "w": (8, 3, 4, 4),
            "w1": (8, 16),
            "w2": (16, 8),
            "wh": (8, 6),
            "wq": (8, 8),
            "wk": (8, 8),
            "wv": (8, 8),
        },
    )
    constants = {"grid": np.array([0, 8, 16]), "one": np.ones(8, np.float32)}
    proto.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in constants.items())
    return proto


NETWORKS = {
    "convolutional": (convolutional, (1, 3, 16, 16)),
    "of two images": (lambda: convolutional("2"), (2, 3, 16, 16)),
    "transformer": (transformer, (1, 3, 16, 16)),
    "embedded": (lambda: str(embedded.path()), (1, 3, 96, 96)),
}


@pytest.fixture
def varying_of(monkeypatch):
    """For each time that a method's graph is compiled the inputs that vary."""
    compile, seen = Network.compile, []

    def noted(self, graph, outputs=None, threads=None, keep=False, varying=()):
        seen.append((graph, list(varying)))
        return compile(self, graph, outputs, threads, keep, varying)

    monkeypatch.setattr(Network, "compile", noted)
    return lambda method: [varying for graph, varying in seen if graph is method.graph]


def made(network: Network, method: str, several: bool):
    record = METHODS[method]
    intake = Intake((16, 16))
    return compiled(network, record, None, options_given(record, {}), intake, several)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize("method", SHARING)
def test_maps_of_several_classes_are_those_of_each(method, kind, varying_of):
    build, shape = NETWORKS[kind]
    network = Network(build(), provider="cpu", threads=1)
    x = np.random.default_rng(5).normal(size=shape).astype(np.float32)
    shared, alone = (made(network, method, several) for several in (True, False))
    together = shared.explained(x, [-4, 2])
    for image, of_image in zip(x, together, strict=True):
        assert len({found.target for found in of_image}) == len(of_image) in (4, 5)
        assert 2 in [found.target for found in of_image]
        for found in of_image:
            ((right,),) = alone.explained(image[None], [found.target])
            assert (found.target, found.at) == (right.target, right.at)
            assert np.abs(right.values).max() > 0 or right.problem
            np.testing.assert_allclose(found.values, right.values, atol=1e-5 * np.abs(right.values).max())
            np.testing.assert_allclose(found.score, right.score, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(found.output, right.output, rtol=1e-5, atol=1e-6)
    assert varying_of(shared) == [shared.varying]  # nothing is compiled that is not run
    assert varying_of(alone) == [[]]


@pytest.mark.parametrize("method", [m.name for m in METHODS.values() if m.family == "backward"])
@pytest.mark.parametrize(("layer", "position"), [("d", None), ("d", (2, 3)), ("f", None)])
def test_units_of_a_layer_are_those_of_each(method, layer, position, varying_of):
    network = Network(convolutional(), provider="cpu", threads=1)
    x = np.random.default_rng(6).normal(size=(1, 3, 16, 16)).astype(np.float32)
    projector = Projector(network, method, layer, several=True)
    named = projector.of_units(x, [3, 0, 5], position)
    strongest = projector.of_units(x, [], position, top=4)
    assert varying_of(projector) == [projector.varying]
    assert [e.target for e in named] == [3, 0, 5]
    assert len(strongest) == 4
    alone = Projector(network, method, layer)
    for found in named + strongest:
        (right,) = alone({"x": x}, found.target, position)
        assert (found.target, found.position, found.problem) == (right.target, right.position, right.problem)
        np.testing.assert_allclose(found.values, right.values, atol=1e-5 * np.abs(right.values).max())


@pytest.mark.parametrize("make", [Explainer, lambda network: Projector(network, "saliency")])
def test_one_map_is_one_pass_through_one_session(make, varying_of):
    method = make(Network(convolutional(), provider="cpu", threads=1))
    x = np.random.default_rng(7).normal(size=(2, 3, 16, 16)).astype(np.float32)
    (first,), _ = method.explained(x, [-1])
    ((again,), _) = method.explained(x, [first.target])
    np.testing.assert_array_equal(first.values, again.values)
    assert varying_of(method) == [[]]


def test_what_does_not_vary_is_computed_before_the_first_of_them():
    """The square is of the image as it was; only what is multiplied with it may still change."""
    proto = built("net (float[2] x, float[2] v) => (float[2] y) { s = Mul (x, x) y = Mul (s, v) }", {})
    graph = Network(proto, provider="cpu").graph
    x = np.array([2, 3], np.float32)
    run = Chain(graph, threads=1, varying=["v"]).begun({"x": x})
    x[:] = 100
    for v in ([1, 1], [1, -2], [0, 1]):
        found = run({"v": np.array(v, np.float32)})
        assert list(found) == ["y"]
        np.testing.assert_array_equal(found["y"], np.array([4, 9]) * v)


def test_pieces_of_both_kinds_are_kept_for_the_next_process(tmp_path, monkeypatch):
    monkeypatch.setenv("ONNXLENS_CACHE", str(tmp_path / "home"))
    monkeypatch.delenv("ONNXLENS_CACHE_SIZE", raising=False)
    x = np.random.default_rng(8).normal(size=(1, 3, 96, 96)).astype(np.float32)
    maps = []
    for _ in range(2):
        for several in (True, False):
            network = Network(str(embedded.path()), provider="cpu", threads=1)
            found = Projector(network, "guided", several=several).explained(x, [-3] if several else [-1])
            maps.append(found[0][0].values)
    assert len(list((tmp_path / "home" / "graphs").iterdir())) == 2
    for values in maps:
        np.testing.assert_allclose(values, maps[0], atol=1e-5 * np.abs(maps[0]).max())
