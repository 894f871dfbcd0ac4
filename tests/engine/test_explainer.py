"""Grad-CAM against what is known by hand, and the reasons that are given where there is no map."""

import gc
import re
import weakref

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from onnxlens.engine.attribution.explainer import Explainer
from onnxlens.engine.errors import BadRequest, NoRule
from onnxlens.engine.runtime.network import Network

RNG = np.random.default_rng(7)


def model(text: str, **weights: np.ndarray) -> onnx.ModelProto:
    proto = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}')
    proto.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(w, np.float32), name) for name, w in weights.items()
    )
    return proto


def gap_network(batch: str = "N") -> onnx.ModelProto:
    """Two convolutions, global average pooling, a linear head, a softmax."""
    return model(
        f"""net (float[{batch},3,16,16] x) => (float[{batch},5] p) {{
            a = Conv <pads = [1,1,1,1]> (x, w1, b1)
            r = Relu (a)
            m = MaxPool <kernel_shape = [2,2], strides = [2,2]> (r)
            c = Conv <pads = [1,1,1,1]> (m, w2, b2)
            f = Relu (c)
            g = GlobalAveragePool (f)
            v = Flatten (g)
            s = Gemm <transB = 1> (v, w3, b3)
            p = Softmax <axis = 1> (s)
        }}""",
        w1=RNG.standard_normal((6, 3, 3, 3)),
        b1=RNG.standard_normal(6),
        w2=RNG.standard_normal((4, 6, 3, 3)) * 0.3,
        b2=RNG.standard_normal(4),
        w3=RNG.standard_normal((5, 4)),
        b3=RNG.standard_normal(5),
    )


def test_grad_cam_is_cam_on_an_averaged_linear_head():
    """Selvaraju et al. 2017, section 3.1: there α_k is the weight of the head, up to the map's size."""
    proto = gap_network()
    network = Network(proto, provider="cpu")
    x = RNG.standard_normal((3, 3, 16, 16)).astype(np.float32)
    w3 = numpy_helper.to_array(next(t for t in proto.graph.initializer if t.name == "w3"))
    features = network.run({"x": x}, ["f"])["f"]
    explained = Explainer(network)({"x": x}, [0, 3, 4])
    for found, feature, target in zip(explained, features, [0, 3, 4], strict=True):
        cam = np.maximum(np.einsum("k,khw->hw", w3[target], feature), 0) / feature[0].size
        np.testing.assert_allclose(found.map, cam, rtol=1e-5, atol=1e-6)


def test_the_classes_of_any_output_are_explained():
    proto, x = gap_network(), RNG.standard_normal((1, 3, 16, 16)).astype(np.float32)
    (alone,) = Explainer(Network(proto, "cpu"))({"x": x}, 2)
    proto.graph.output.insert(0, helper.make_tensor_value_info("g", TensorProto.FLOAT, ["N", 4, 1, 1]))
    (found,) = Explainer(Network(proto, "cpu"), output="p")({"x": x}, 2)
    np.testing.assert_array_equal(found.map, alone.map)
    np.testing.assert_array_equal(found.output, alone.output)
    assert found.output.shape == (5,)


def test_a_network_worked_by_hand():
    """One image, two maps, two classes: every number can be checked with a pencil."""
    proto = model(
        """net (float[1,1,2,2] x) => (float[1,2] s) {
            f = Conv (x, w, b)
            g = GlobalAveragePool (f)
            v = Flatten (g)
            s = MatMul (v, h)
        }""",
        w=np.array([1, -1]).reshape(2, 1, 1, 1),
        b=[0, 4],
        h=[[1, 0], [0, 2]],
    )
    x = np.array([1, 2, 3, 4], np.float32).reshape(1, 1, 2, 2)
    explainer = Explainer(Network(proto, provider="cpu"), layer="f")
    (first,) = explainer({"x": x}, 0)
    assert first.score == 2.5
    np.testing.assert_allclose(first.map, [[0.25, 0.5], [0.75, 1.0]])  # α = (1/4, 0), A_0 = x
    (second,) = explainer({"x": x}, 1)
    assert second.score == 3.0
    np.testing.assert_allclose(second.map, [[1.5, 1.0], [0.5, 0.0]])  # α = (0, 2/4), A_1 = 4 - x


def test_a_batch_gives_what_its_images_give_alone():
    network = Network(gap_network(), provider="cpu")
    explainer = Explainer(network)
    x = RNG.standard_normal((4, 3, 16, 16)).astype(np.float32)
    together = explainer({"x": x})
    for i, one in enumerate(together):
        (alone,) = explainer({"x": x[i : i + 1]})
        assert alone.target == one.target
        np.testing.assert_allclose(alone.map, one.map, rtol=1e-5, atol=1e-6)


def test_the_predicted_class_is_the_default():
    network = Network(gap_network(), provider="cpu")
    x = RNG.standard_normal((2, 3, 16, 16)).astype(np.float32)
    p = network.run({"x": x})["p"]
    explained = Explainer(network)({"x": x})
    assert [e.target for e in explained] == p.argmax(1).tolist()
    np.testing.assert_array_equal([e.output for e in explained], p)
    scores = network.run({"x": x}, ["s"])["s"]
    np.testing.assert_allclose([e.score for e in explained], scores.max(1), rtol=1e-6)


def test_an_explainer_is_an_onnx_model():
    network = Network(gap_network(), provider="cpu")
    explainer = Explainer(network)
    x = RNG.standard_normal((2, 3, 16, 16)).astype(np.float32)
    exported = explainer.to_model()
    onnx.checker.check_model(exported, full_check=True)
    assert {n.domain for n in exported.graph.node} == {""}
    session = onnxruntime.InferenceSession(exported.SerializeToString(), providers=["CPUExecutionProvider"])
    heat, target, _, _ = session.run(None, {"x": x, "target": np.array([2, -1])})
    assert target[0] == 2
    np.testing.assert_allclose(heat[0], explainer({"x": x[:1]}, 2)[0].map, rtol=1e-5, atol=1e-6)


def test_several_layers_are_each_one_alone():
    network = Network(gap_network(), provider="cpu")
    x = RNG.standard_normal((3, 3, 16, 16)).astype(np.float32)
    together = Explainer(network, layer=["f", "r"])({"x": x}, [2, 0, 1])
    assert [e.layer for e in together] == ["f", "r"] * 3
    for layer, found in (("f", together[::2]), ("r", together[1::2])):
        alone = Explainer(network, layer=layer)({"x": x}, [2, 0, 1])
        for one, two in zip(found, alone, strict=True):
            np.testing.assert_allclose(one.map, two.map, rtol=1e-5, atol=1e-7)
            assert (one.target, one.score, one.problem) == (two.target, two.score, two.problem)


def test_layers_by_name_and_by_itself():
    network = Network(gap_network(), provider="cpu")
    assert Explainer(network).layer == "f"
    assert Explainer(network, layer="r")({"x": np.ones((1, 3, 16, 16), np.float32)})[0].map.shape == (16, 16)
    with pytest.raises(BadRequest, match=r"no layer 'ff'.*f"):
        Explainer(network, layer="ff")
    with pytest.raises(BadRequest, match="no feature map"):
        Explainer(network, layer="s")
    with pytest.raises(BadRequest, match="there is no class 5: the model has classes 0 to 4"):
        Explainer(network)({"x": np.ones((1, 3, 16, 16), np.float32)}, 5)
    with pytest.raises(BadRequest, match=r"no method 'gradcan'.*gradcam"):
        Explainer(network, "gradcan")


def test_an_operator_without_gradient_on_the_way_is_named():
    proto = model(
        """net (float[1,1,4,4] x) => (float[1,2] s) {
            f = Conv (x, w)
            t = NonMaxLike (f)
            g = GlobalAveragePool (t)
            s = Flatten (g)
        }""",
        w=np.ones((2, 1, 1, 1)),
    )
    proto.graph.node[1].domain = "my.domain"
    proto.graph.node[1].name = "odd one"
    proto.opset_import.append(helper.make_opsetid("my.domain", 1))
    proto.graph.value_info.extend(
        helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2, 4, 4]) for n in ("f", "t")
    )
    with pytest.raises(NoRule, match=r"NonMaxLike node 'odd one'.*of='f'"):
        Explainer(Network(proto, provider="cpu"), layer="f")


# -- reasons ---------------------------------------------------------------------------------------------


def head(head_weights: list[list[float]], bias: float = 0, gate: str = "Relu") -> Explainer:
    proto = model(
        f"""net (float[N,1,4,4] x) => (float[N,2] s) {{
            f = Conv (x, w)
            z = {gate} (f)
            g = GlobalAveragePool (z)
            v = Flatten (g)
            u = Add (v, b)
            r = Relu (u)
            s = MatMul (r, h)
        }}""",
        w=np.ones((2, 1, 1, 1)),
        b=[bias, bias],
        h=head_weights,
    )
    return Explainer(Network(proto, provider="cpu"), layer="f")


RAMP = np.arange(1, 17, dtype=np.float32).reshape(1, 1, 4, 4)


@pytest.mark.parametrize(
    ("explainer", "x", "reason"),
    [
        (head([[-1, 1], [-1, 1]]), RAMP, "all of layer 'f' speaks against class 0"),
        (head([[0, 1], [0, 1]]), RAMP, "gradient of class 0 is zero from 'r' on.*lost in MatMul"),
        (head([[1, 1], [1, 1]], bias=-1000), RAMP, "gradient of class 0 is zero from 'u' on.*lost in Relu"),
        (head([[1, 1], [1, 1]]), 0 * RAMP, "all activations of layer 'f' are zero"),
        (head([[1, 1], [1, 1]]), 0 * RAMP + 2, "the same everywhere"),
        (head([[1, 1], [1, 1]]), RAMP * np.nan, "input 'x' is not"),
        (head([[1, 1], [1, 1]], gate="Sqrt"), -RAMP, "gradient of class 0 is not finite|zero from"),
    ],
)
def test_a_map_that_shows_nothing_says_why(explainer, x, reason):
    (found,) = explainer({"x": x}, 0)
    assert re.search(reason, found.problem), found.problem
    assert "\n" not in found.problem


def test_a_sound_map_has_no_problem():
    (found,) = head([[1, 0], [0, 1]])({"x": RAMP}, 0)
    assert found.problem == ""
    assert found.map.argmax() == 15


def test_only_the_bad_image_of_a_batch_has_a_problem():
    x = np.concatenate([RAMP, 0 * RAMP, RAMP])
    problems = [e.problem for e in head([[1, 0], [0, 1]])({"x": x}, 0)]
    assert problems[0] == problems[2] == ""
    assert "zero" in problems[1]


def test_many_blank_maps_of_two_classes_are_explained_by_one_session_that_goes_with_the_network(monkeypatch):
    compiled, real = [], Network.compile
    monkeypatch.setattr(Network, "compile", lambda *a, **k: compiled.append(1) or real(*a, **k))
    x = np.zeros((4, 1, 4, 4), np.float32)
    explainer = head([[1, 0], [0, 1]])
    alone = [explainer({"x": x[:1]}, target)[0].problem for target in (0, 1)]
    assert alone[0]
    assert [e.problem for e in explainer({"x": x}, [0, 1, 0, 1])] == 2 * alone
    assert len(compiled) == 2  # the explainer itself, and what says why
    network = weakref.ref(explainer.network)
    del explainer
    gc.collect()
    assert network() is None
