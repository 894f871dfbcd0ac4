"""The maps of all classes at once: each is what HiResCAM and CAM give for that class, with its sign."""

import numpy as np
import onnxruntime
import pytest
from oracles.networks import parsed

from onnxlens.engine.attribution.explainer import Explainer
from onnxlens.engine.attribution.scored.every import EveryClass
from onnxlens.engine.errors import BadRequest
from onnxlens.engine.runtime.network import Network
from onnxlens.models.lens import Lens

RNG = np.random.default_rng(8)
WEIGHTS = {
    "w1": RNG.standard_normal((6, 3, 3, 3)).astype(np.float32),
    "v": RNG.standard_normal((6, 5)).astype(np.float32),
    "b": RNG.standard_normal(5).astype(np.float32),
    "axes": np.array([1, 2]),
}
IMAGES = RNG.standard_normal((2, 3, 8, 8)).astype(np.float32)
HEADS = {
    "channels first": "p = GlobalAveragePool (a) f = Flatten (p) y = Gemm (f, v, b)",
    "channels last": """t = Transpose <perm = [0, 2, 3, 1]> (a) p = ReduceMean <keepdims = 0> (t, axes)
        m = MatMul (p, v) y = Add (m, b)""",
    "in two layers": """p = GlobalAveragePool (a) f = Flatten (p) h = MatMul (f, square) z = Mul (h, h2)
        y = Gemm (z, v, b)""",
}


def network(head, batch="N", side="8"):
    body = f"""(float[{batch},3,{side},{side}] x) => (float[{batch},5] y) {{
        c = Conv <pads = [1,1,1,1]> (x, w1) a = Relu (c) {head} }}"""
    more = {"square": RNG.standard_normal((6, 6)).astype(np.float32), "h2": np.full(6, 2, np.float32)}
    return Network(parsed(body, **WEIGHTS, **more), provider="cpu", threads=1)


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_each_map_is_that_of_its_class(head):
    of = network(head)
    every = EveryClass(of)
    found = every({"x": IMAGES})
    assert found.shape == (2, 5, 8, 8)
    scores = of.run({"x": IMAGES}, ["y"])["y"]
    np.testing.assert_allclose(found.sum((2, 3)), scores - WEIGHTS["b"], rtol=1e-4, atol=1e-4)
    for target in range(5):
        maps = found[:, target]
        for e, values in zip(
            Explainer(of, "hirescam", every.layer)({"x": IMAGES}, target), maps, strict=True
        ):
            np.testing.assert_allclose(np.maximum(values, 0), e.map, rtol=1e-4, atol=1e-5 * abs(maps).max())
        for e, values in zip(Explainer(of, "cam", every.layer)({"x": IMAGES}, target), maps, strict=True):
            np.testing.assert_allclose(64 * values, e.map, rtol=1e-4, atol=1e-5 * abs(e.map).max())


@pytest.mark.parametrize(("batch", "side"), [("1", "8"), ("2", "8"), ("N", "s")])
def test_it_takes_whatever_batch_and_size_the_model_does(batch, side):
    head = HEADS["channels first"]
    whole = EveryClass(network(head))({"x": IMAGES})
    count = int(batch) if batch.isdigit() else 2
    found = EveryClass(network(head, batch, side))({"x": IMAGES[:count]})
    np.testing.assert_allclose(found, whole[:count], rtol=1e-5, atol=1e-6)


def test_it_is_a_model_of_its_own():
    every = EveryClass(network(HEADS["channels first"]))
    session = onnxruntime.InferenceSession(every.to_model().SerializeToString())
    (found,) = session.run(None, {"x": IMAGES})
    np.testing.assert_allclose(found, every({"x": IMAGES}), rtol=1e-5, atol=1e-6)


def test_it_says_where_the_head_does_not_allow_it():
    wide = "t = Tanh (a) p = GlobalAveragePool (t) f = Flatten (p) y = Gemm (f, v, b)"
    assert EveryClass(network(wide)).layer == "t"
    with pytest.raises(BadRequest, match="every class at once needs a linear layer on the means of 'a'"):
        EveryClass(network(wide), "a")


def test_of_the_embedded_model_each_sums_to_the_score_but_for_the_bias():
    lens = Lens("scenes", provider="cpu", threads=1)
    x = RNG.standard_normal((1, 3, 96, 96)).astype(np.float32)
    found = EveryClass(lens.network)({"image": x})
    scores = lens.network.run({"image": x}, ["head"])["head"]
    bias = lens.network.graph["head.bias"].array
    np.testing.assert_allclose(found.sum((2, 3)), scores - bias, rtol=1e-3, atol=1e-3)
