"""Gradients written for the web, run by onnxruntime-web under Node (`npm ci --prefix tests/web`)."""

import numpy as np
import onnx
import pytest
from oracles import web
from oracles.networks import parsed

from onnxlens.engine.autodiff.forward import tangent_graph
from onnxlens.engine.autodiff.gradient import training_graph
from onnxlens.engine.runtime.exports.checked import distance, steady
from onnxlens.engine.runtime.exports.exported import exported

pytestmark = [
    pytest.mark.reference,
    pytest.mark.skipif(bool(web.missing()), reason=web.missing() or "all is there"),
]
NETWORKS = {
    "convolutions": (
        """(float[N,3,18,18] x) => (float[N,8] y) {
            a = Conv<pads = [1,1,1,1]>(x, w)  b = HardSwish(a)
            p = MaxPool<kernel_shape = [3,3], strides = [2,2], pads = [1,1,1,1]>(b)
            c = Conv<pads = [1,1,1,1]>(p, v)  r = Relu(c)  d = Add(r, p)
            q = Concat<axis = 1>(d, r)
            g = GlobalAveragePool(q)  f = Flatten(g)  y = MatMul(f, u)
        }""",
        {"w": (8, 3, 3, 3), "v": (8, 8, 3, 3), "u": (16, 8)},
    ),
    "attention": (
        """(float[N,5,8] x) => (float[N,5,8] y) {
            q = MatMul(x, w)  k = MatMul(x, v)  t = Transpose<perm = [0,2,1]>(k)
            d = MatMul(q, t)  s = Softmax(d)  a = MatMul(s, x)
            y = LayerNormalization(a, scale)
        }""",
        {"w": (8, 8), "v": (8, 8), "scale": (8,)},
    ),
    "recurrent": (
        """(float[N,6,4] x) => (float[6,1,N,3] y) {
            t = Transpose<perm = [1,0,2]>(x)  y = LSTM<hidden_size = 3>(t, w, r)
        }""",
        {"w": (1, 12, 4), "r": (1, 12, 3)},
    ),
}


def network(name):
    text, shapes = NETWORKS[name]
    rng = np.random.default_rng(0)
    return parsed(text, **{k: rng.standard_normal(s) / np.sqrt(np.prod(s[1:])) for k, s in shapes.items()})


@pytest.mark.parametrize("runtime", ["any", "web"])
@pytest.mark.parametrize("bound", [False, True], ids=["free", "bound"])
@pytest.mark.parametrize("make", [training_graph, tangent_graph], ids=["gradient", "tangent"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_web_is_right(tmp_path, name, make, bound, runtime):
    model = network(name)
    shape = [d.dim_value or 2 for d in model.graph.input[0].type.tensor_type.shape.dim]
    graph = make(model, shapes={"x": shape} if bound else None)
    probe = steady(graph)
    onnx.save(exported(graph, runtime).to_model(), tmp_path / "g.onnx")
    found = web.ran(tmp_path / "g.onnx", probe.feeds)
    assert {*found} == {*probe.right}
    assert max(distance(found[k], right) for k, right in probe.right.items()) <= max(1e-4, 10 * probe.moved)


def test_what_the_web_cannot_read_is_said(tmp_path):
    (tmp_path / "no.onnx").write_bytes(b"no")
    with pytest.raises(RuntimeError, match=r"\w"):
        web.ran(tmp_path / "no.onnx", {})
