"""Maps that ask something of the head: CAM, that it is linear, and Finer-CAM, that it has several classes."""

import numpy as np
import pytest
from oracles.networks import parsed

from onnxlens.engine.attribution.explainer import Explainer
from onnxlens.engine.errors import BadRequest
from onnxlens.engine.runtime.network import Network

RNG = np.random.default_rng(3)
HEAD = RNG.standard_normal((6, 5)).astype(np.float32)
BIAS = RNG.standard_normal(5).astype(np.float32)
IMAGES = RNG.standard_normal((2, 3, 8, 8)).astype(np.float32)
FIRST = {"w1": RNG.standard_normal((6, 3, 3, 3)).astype(np.float32), "v": HEAD, "b": BIAS}

HEADS = {
    "pool, flatten, gemm": "p = GlobalAveragePool (a) f = Flatten (p) y = Gemm (f, v, b)",
    "mean without its axes": "p = ReduceMean <keepdims = 0> (a, axes) y = Gemm (p, v, b)",
    "one window": "p = AveragePool <kernel_shape = [8, 8]> (a) f = Flatten (p) y = Gemm (f, v, b)",
    "channels last": """t = Transpose <perm = [0, 2, 3, 1]> (a) p = ReduceMean <keepdims = 0> (t, last)
        m = MatMul (p, v) y = Add (m, b)""",
    "no weights of its own position": """d = Dropout (a) p = GlobalAveragePool (d) c2 = Conv (p, k, b)
        y = Flatten (c2)""",
}
OTHERS = {
    "weights for each position": "f = Flatten (a) y = MatMul (f, wide)",
    "an activation behind the mean": "p = GlobalAveragePool (a) t = Exp (p) f = Flatten (t) y = Gemm (f, v)",
    "the greatest value": "p = GlobalMaxPool (a) f = Flatten (p) y = Gemm (f, v, b)",
    "an activation before the mean": "r = Exp (a) p = GlobalAveragePool (r) f = Flatten (p) y = Gemm (f, v)",
    "means of parts": """p = AveragePool <kernel_shape = [4, 4], strides = [4, 4]> (a)
        f = Flatten (p) y = MatMul (f, parts)""",
    "a mean and the rest": """p = GlobalAveragePool (a) f = Flatten (p) y1 = MatMul (f, v)
        g = Flatten (a) y2 = MatMul (g, wide) y = Add (y1, y2)""",
    "a window that leaves some out": """p = AveragePool <kernel_shape = [7, 7], strides = [7, 7]> (a)
        f = Flatten (p) y = MatMul (f, v)""",
}


def network(head, score="float[N,5] y", **more):
    model = parsed(
        f"(float[N,3,8,8] x) => ({score}) {{ c = Conv <pads = [1,1,1,1]> (x, w1) a = Relu (c) {head} }}",
        **FIRST,
        axes=np.array([2, 3]),
        last=np.array([1, 2]),
        k=np.ascontiguousarray(HEAD.T[:, :, None, None]),
        wide=RNG.standard_normal((384, 5)).astype(np.float32),
        parts=RNG.standard_normal((24, 5)).astype(np.float32),
        **more,
    )
    return Network(model, provider="cpu", threads=1)


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
def test_cam_is_the_weights_of_the_class_times_the_maps(head):
    of = network(head)
    features = of.run({"x": IMAGES}, ["a"])["a"].astype(np.float64)
    for target in (0, 4):
        for e, maps in zip(Explainer(of, "cam", "a")({"x": IMAGES}, target), features, strict=True):
            expected = np.einsum("k,khw->hw", HEAD[:, target], maps)
            np.testing.assert_allclose(e.map, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
            assert e.map.mean() + BIAS[target] == pytest.approx(e.score, rel=1e-4)


@pytest.mark.parametrize("head", OTHERS.values(), ids=OTHERS)
def test_cam_says_where_the_head_does_not_allow_it(head):
    with pytest.raises(BadRequest, match="cam needs a linear layer on the means of 'a'"):
        Explainer(network(head), "cam", "a")


def test_cam_of_an_earlier_layer_is_refused():
    head = """c2 = Conv <pads = [1,1,1,1]> (a, w2) r = Relu (c2) p = GlobalAveragePool (r)
        f = Flatten (p) y = MatMul (f, v)"""
    of = network(head, w2=RNG.standard_normal((6, 6, 3, 3)).astype(np.float32))
    assert Explainer(of, "cam").layer == "r"
    with pytest.raises(BadRequest, match="take gradcam, or name the layer that a global mean reads"):
        Explainer(of, "cam", "a")


def test_cam_looks_by_default_at_what_the_means_are_of():
    """Where Grad-CAM steps over a pooling, for the finer map; and of a single channel."""
    of = network(
        "m = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (a) "
        + HEADS["pool, flatten, gemm"].replace("(a)", "(m)")
    )
    assert (Explainer(of, "cam").layer, Explainer(of, "gradcam").layer) == ("m", "a")
    head = "o = Conv (a, one) p = GlobalAveragePool (o) f = Flatten (p) y = MatMul (f, row)"
    single = network(head, one=HEAD.T[:1, :, None, None].copy(), row=HEAD[:1])
    (found,) = Explainer(single, "cam")({"x": IMAGES[:1]}, 1)
    (maps,) = single.run({"x": IMAGES[:1]}, ["o"])["o"]
    np.testing.assert_allclose(found.map, HEAD[0, 1] * maps[0], rtol=1e-4, atol=1e-6)


def finer(of, target, alpha, similar):
    """The seed written out from the scores, on the gradient of a linear head on means."""
    (scores,) = of.run({"x": IMAGES[:1]}, ["y"])["y"].astype(np.float64)
    apart = np.abs(scores - scores[target])
    near = [c for c in np.argsort(apart, kind="stable") if c != target][:similar]
    weights = np.exp(scores[near]) / np.exp(scores[near]).sum()
    (maps,) = of.run({"x": IMAGES[:1]}, ["a"])["a"].astype(np.float64)
    seed = HEAD[:, target] - alpha * HEAD[:, near] @ weights
    return np.maximum(np.einsum("k,khw->hw", seed / 64, maps), 0)


@pytest.mark.parametrize(("alpha", "similar"), [(1.0, 3), (0.6, 1), (0.0, 2), (2.0, 4), (1.0, 9)])
@pytest.mark.parametrize("target", [0, 3])
def test_finer_cam_tells_a_class_from_those_with_the_nearest_scores(alpha, similar, target):
    of = network(HEADS["pool, flatten, gemm"])
    made = Explainer(of, "finercam", "a", against=alpha, similar=similar)
    (found,) = made({"x": IMAGES[:1]}, target)
    expected = finer(of, target, alpha, min(similar, 4))
    np.testing.assert_allclose(found.map, expected, rtol=1e-4, atol=1e-5 * max(expected.max(), 1e-9))
    assert found.score == pytest.approx(of.run({"x": IMAGES[:1]}, ["y"])["y"][0, target], rel=1e-6)


def test_finer_cam_without_others_is_grad_cam():
    of = network(HEADS["pool, flatten, gemm"])
    for e, other in zip(
        Explainer(of, "finercam", "a", against=0.0)({"x": IMAGES}),
        Explainer(of, "gradcam", "a")({"x": IMAGES}),
        strict=True,
    ):
        np.testing.assert_allclose(e.map, other.map, rtol=1e-6)


def test_finer_cam_of_one_class_is_refused():
    head = "p = GlobalAveragePool (a) f = Flatten (p) y = MatMul (f, one)"
    of = network(head, "float[N,1] y", one=HEAD[:, :1])
    with pytest.raises(BadRequest, match="finercam tells a class from others, and here there is one alone"):
        Explainer(of, "finercam", "a")


def test_an_option_that_a_method_does_not_have_is_refused():
    with pytest.raises(BadRequest, match="'against' is no option of gradcam: it is one of finercam"):
        Explainer(network(HEADS["pool, flatten, gemm"]), "gradcam", against=1.0)


RESTATED = {
    "elementwisecam": lambda torch, a, g, w: torch.relu(g * a).sum(0),
    "finercam": lambda torch, a, g, w: (g.mean((1, 2))[:, None, None] * a).sum(0),
    "cam": lambda torch, a, g, w: (w[:, None, None] * a).sum(0),
    "eigencam": lambda torch, a, g, w: principal(torch, a),
    "eigengradcam": lambda torch, a, g, w: principal(torch, g * a),
}


@pytest.mark.reference
@pytest.mark.parametrize("method", RESTATED)
def test_maps_are_those_of_torch(method):
    """The formulas of pytorch-grad-cam, restated on the same weights; of Finer-CAM the weights held still."""
    torch = pytest.importorskip("torch")
    of = network(HEADS["pool, flatten, gemm"])
    for image, found in zip(IMAGES, Explainer(of, method, "a")({"x": IMAGES}, 2), strict=True):
        weights = {name: torch.from_numpy(w) for name, w in FIRST.items()}
        maps = torch.relu(torch.conv2d(torch.from_numpy(image)[None], weights["w1"], padding=1))[0]
        maps = maps.detach().requires_grad_()
        scores = maps.mean((1, 2)) @ weights["v"] + weights["b"]
        near = torch.argsort((scores - scores[2]).abs())[1:4]
        share = torch.softmax(scores, 0)[near].detach()
        told = sum(p * (scores[2] - scores[d]) for p, d in zip(share, near, strict=True)) / share.sum()
        (told if method == "finercam" else scores[2]).backward()
        expected = RESTATED[method](torch, maps.detach(), maps.grad, weights["v"][:, 2]).numpy()
        expected = expected if method == "cam" else np.maximum(expected, 0)
        np.testing.assert_allclose(found.map, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def principal(torch, maps):
    rows = maps.reshape(len(maps), -1).T
    rows = rows - rows.mean(0)
    found = (rows @ torch.linalg.svd(rows)[2][0]).reshape(maps.shape[1:])
    return found * torch.sign((found * maps.mean(0)).sum())
