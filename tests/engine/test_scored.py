"""Maps made of answers: each against its formula in loops, and a network in two pieces against whole ones."""

import numpy as np
import pytest
from oracles.networks import parsed

from onnxlens.engine.attribution.compile import compiled
from onnxlens.engine.attribution.compiled import Intake
from onnxlens.engine.attribution.methods import METHODS, options_given
from onnxlens.engine.attribution.perturbation.answerer import answerer_of
from onnxlens.engine.attribution.scored.masks import enlarged, stretched
from onnxlens.engine.errors import BadRequest
from onnxlens.engine.runtime.network import Network

RNG = np.random.default_rng(21)
SIZE, CELLS = (12, 10), (6, 5)
WEIGHTS = {
    "w1": RNG.standard_normal((7, 3, 3, 3)).astype(np.float32),
    "w2": RNG.standard_normal((4, 7, 3, 3)).astype(np.float32),
    "v": RNG.standard_normal((4, 5)).astype(np.float32),
    "b": RNG.standard_normal(5).astype(np.float32),
}
IMAGE = RNG.standard_normal((3, *SIZE)).astype(np.float32)
FIRST = "c = Conv <pads = [1,1,1,1], strides = [2,2]> (x, w1) a = Relu (c)"
REST = """d = Conv <pads = [1,1,1,1]> ({}, w2) t = Tanh (d) p = GlobalAveragePool (t) f = Flatten (p)
    y = Gemm (f, v, b)"""
NAMES = "scorecam", "sscam", "iscam", "ablationcam", "reciprocam"


def network(batch="N", first=FIRST, rest=REST, layer="a", **more):
    body = f"(float[{batch},3,12,10] x) => (float[{batch},5] y) {{ {first} {rest.format(layer)} }}"
    return Network(parsed(body, **WEIGHTS, **more), provider="cpu", threads=1)


def tail(rest=REST, shape="7,6,5", **more):
    """What follows the layer, as a network of its own: from values (n, ...) to scores (n, 5)."""
    body = f"(float[N,{shape}] a) => (float[N,5] y) {{ {rest.format('a')} }}"
    of = Network(parsed(body, **WEIGHTS, **more), provider="cpu", threads=1)
    return lambda values: of.run({"a": values.astype(np.float32)}, ["y"])["y"].astype(np.float64)


def explained(of, method, wishes=(0, 3), layer="a", **options):
    record = METHODS[method]
    intake = Intake(SIZE, labels=[str(i) for i in range(5)])
    made = compiled(of, record, layer, options_given(record, options), intake)
    return made.explained(IMAGE[None], wishes)[0]


def maps_of(found):
    return np.stack([e.map for e in found])


def values(of, image, *names):
    found = of.run({"x": image[None]}, names)
    return [found[name][0].astype(np.float64) for name in names]


def softmax(scores, axis=-1):
    e = np.exp(scores - scores.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def bilinear(plane, size):
    """As torch.nn.functional.interpolate without aligned corners, in loops."""
    out = np.zeros(size)
    for y, x in np.ndindex(*size):
        (i, u), (j, w) = (
            ((at := min(max((p + 0.5) * n / m - 0.5, 0), n - 1)) // 1, at % 1)
            for p, n, m in zip((y, x), plane.shape, size, strict=True)
        )
        i, j = int(i), int(j)
        k, m = min(i + 1, plane.shape[0] - 1), min(j + 1, plane.shape[1] - 1)
        out[y, x] = (1 - u) * ((1 - w) * plane[i, j] + w * plane[i, m])
        out[y, x] += u * ((1 - w) * plane[k, j] + w * plane[k, m])
    return out


def masks_of(maps):
    large = np.stack([bilinear(plane, SIZE) for plane in maps])
    low, high = large.min((1, 2), keepdims=True), large.max((1, 2), keepdims=True)
    return (large - low) / np.where(high > low, high - low, 1)


def weighed(of, maps, copies, target):
    """The map of Score-CAM with the mean of the scores through some copies of each mask."""
    scores = [
        np.mean([values(of, (IMAGE * mask).astype(np.float32), "y")[0][target] for mask in copies(k)])
        for k in range(len(maps))
    ]
    return np.maximum(np.einsum("k,khw->hw", softmax(np.array(scores)), maps), 0)


@pytest.mark.parametrize("target", [0, 3])
def test_score_cam_is_its_formula(target):
    of = network()
    (maps,) = values(of, IMAGE, "a")
    masks = masks_of(maps)
    expected = weighed(of, maps, lambda k: [masks[k]], target)
    (found,) = explained(of, "scorecam", [target])
    np.testing.assert_allclose(found.map, expected, rtol=1e-4)
    assert (found.at, found.layer, found.target, found.problem) == ("a", "a", target, "")


def test_is_cam_averages_over_shares_of_the_mask():
    of = network()
    (maps,) = values(of, IMAGE, "a")
    masks = masks_of(maps)
    expected = weighed(of, maps, lambda k: [i / 4 * masks[k] for i in (1, 2, 3, 4)], 3)
    (found,) = explained(of, "iscam", [3], steps=4)
    np.testing.assert_allclose(found.map, expected, rtol=1e-4)


def test_ss_cam_averages_over_noise_on_the_masks():
    of = network()
    (maps,) = values(of, IMAGE, "a")
    masks, rng = masks_of(maps), np.random.default_rng(0)
    noise = [0.5 * rng.standard_normal(masks.shape, np.float32) for _ in range(3)]
    expected = weighed(of, maps, lambda k: [masks[k] + n[k] for n in noise], 3)
    (found,) = explained(of, "sscam", [3], steps=3, noise=0.5)
    np.testing.assert_allclose(found.map, expected, rtol=1e-4)
    quiet, plain = (explained(of, m, **o) for m, o in (("sscam", {"noise": 0, "steps": 2}), ("scorecam", {})))
    np.testing.assert_allclose(maps_of(quiet), maps_of(plain), rtol=1e-5)


def test_only_the_channels_that_vary_most_are_looked_at():
    of = network()
    (maps,) = values(of, IMAGE, "a")
    masks = masks_of(maps)
    chosen = np.sort(np.argsort(-np.ptp(maps, (1, 2)))[:3])
    expected = weighed(of, maps[chosen], lambda k: [masks[chosen][k]], 0)
    (found,) = explained(of, "scorecam", [0], strongest=3)
    np.testing.assert_allclose(found.map, expected, rtol=1e-4)


def ablated(scores, maps, target):
    (whole,) = scores(maps[None])
    weights = []
    for k in range(len(maps)):
        without = maps.copy()
        without[k] = 0
        weights.append((whole[target] - scores(without[None])[0, target]) / abs(whole[target]))
    return np.maximum(np.einsum("k,khw->hw", np.array(weights), maps), 0)


@pytest.mark.parametrize("batch", ["N", "1", "3"])
def test_ablation_cam_is_its_formula_whatever_batch_the_model_takes(batch):
    of, scores = network(batch), tail()
    (maps,) = values(network(), IMAGE, "a")
    found = explained(of, "ablationcam")
    assert {np.sign(e.score) for e in found} == {-1, 1}  # a score below zero turns no weight around
    for e, target in zip(found, (0, 3), strict=True):
        np.testing.assert_allclose(e.map, ablated(scores, maps, target), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("alone", [False, True])
def test_recipro_cam_is_its_formula(alone):
    of, scores = network(), tail()
    (maps,) = values(of, IMAGE, "a")
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
    expected = np.zeros((5, *CELLS))
    for y, x in np.ndindex(*CELLS):
        mask = np.zeros((CELLS[0] + 2, CELLS[1] + 2))
        mask[y : y + 3, x : x + 3] = kernel
        if alone:
            mask = np.zeros_like(mask)
            mask[y + 1, x + 1] = 1
        expected[:, y, x] = softmax(scores((maps * mask[1:-1, 1:-1])[None])[0])
    found = explained(of, "reciprocam", alone=alone)
    expected -= expected.min((1, 2), keepdims=True)
    np.testing.assert_allclose(maps_of(found), expected[[0, 3]], rtol=1e-4, atol=1e-7)


TOKENS = """c = Conv <pads = [1,1,1,1], strides = [2,2]> (x, w1) r = Reshape (c, flat)
    turned = Transpose <perm = [0, 2, 1]> (r) many = Expand (token, like)
    a = Concat <axis = 1> (many, turned)"""
OF_TOKENS = """q = MatMul ({}, m) k = Tanh (q) class = Gather <axis = 1> (k, zero)
    rest = ReduceMean <keepdims = 0> (k, one)
    both = Add (class, rest) s = Tanh (both) y = Gemm (s, v, b)"""
MORE = {
    "flat": np.array([0, 7, 30]),
    "like": np.array([1, 1, 1]),
    "token": RNG.standard_normal((1, 1, 7)).astype(np.float32),
    "m": RNG.standard_normal((7, 4)).astype(np.float32),
    "zero": np.array(0),
    "one": np.array([1]),
}


def test_of_tokens_the_class_token_stays_as_it_is():
    of, scores = network("1", TOKENS, OF_TOKENS, **MORE), tail(OF_TOKENS, "31,7", **MORE)
    (tokens,) = values(of, IMAGE, "a")
    (whole,), maps = scores(tokens[None]), tokens[1:].T.reshape(7, *CELLS)
    weights = []
    for k in range(7):
        without = tokens.copy()
        without[1:, k] = 0
        weights.append((whole[0] - scores(without[None])[0, 0]) / abs(whole[0]))
    expected = np.maximum(np.einsum("k,khw->hw", np.array(weights), maps), 0)
    (found,) = explained(of, "ablationcam", [0])
    np.testing.assert_allclose(found.map, expected, rtol=1e-4, atol=1e-5)


def test_with_channels_last_it_is_the_same():
    first = f"{FIRST} l = Transpose <perm = [0, 2, 3, 1]> (a)"
    rest = f"back = Transpose <perm = [0, 3, 1, 2]> (l) {REST.format('back')}"
    other = network("N", first, rest)
    for method in ("ablationcam", "reciprocam"):
        found, same = explained(other, method, layer="l"), explained(network(), method)
        np.testing.assert_allclose(maps_of(found), maps_of(same), rtol=1e-5, atol=1e-6)


def test_what_goes_around_a_layer_is_computed_from_the_image():
    """A residual block: the layer is inside, and its input is added behind it."""
    first = """c = Conv <pads = [1,1,1,1], strides = [2,2]> (x, w1)
        i = Conv <pads = [1,1,1,1]> (c, w3) a = Relu (i)"""
    more = {"w3": RNG.standard_normal((7, 7, 3, 3)).astype(np.float32)}
    of = network("N", first, "sum = Add (c, a) " + REST.format("sum"), **more)
    around, maps = values(of, IMAGE, "c", "a")
    plain = tail()
    (found,) = explained(of, "ablationcam", [3])
    expected = ablated(lambda v: plain(v + around), maps, 3)
    np.testing.assert_allclose(found.map, expected, rtol=1e-4, atol=1e-5)


def test_only_what_follows_the_layer_is_computed():
    of = network()
    explained(of, "ablationcam")
    graph = answerer_of(of, None, "a").graph
    assert graph.inputs == ["a"]
    assert [n.op_type for n in graph.nodes].count("Conv") == 1


@pytest.mark.parametrize("method", NAMES)
def test_classes_and_layers_at_once_are_what_they_are_alone(method):
    few = {k: v for k, v in {"steps": 2}.items() if k in METHODS[method].options._fields}
    of = network()
    both = explained(of, method, [1, 4], ["t", "a"], **few)
    assert [(e.target, e.at) for e in both] == [(1, "t"), (1, "a"), (4, "t"), (4, "a")]
    for e in both:
        (alone,) = explained(of, method, [e.target], e.at, **few)
        np.testing.assert_allclose(e.map, alone.map, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("method", NAMES)
def test_what_the_answer_does_not_hang_on_shows_nothing(method):
    few = {k: v for k, v in {"steps": 2}.items() if k in METHODS[method].options._fields}
    of = network(rest="z = Mul ({}, none) " + REST.format("z"), none=np.zeros((), np.float32))
    (found,) = explained(of, method, [2], **few)
    assert found.problem or method not in ("ablationcam", "reciprocam")


def test_a_layer_that_cannot_be_changed_is_refused():
    of = network(rest=REST + " side = Relu (c)")
    for method in ("ablationcam", "reciprocam"):
        with pytest.raises(BadRequest, match="nothing of what the model answers follows from layer 'side'"):
            explained(of, method, layer="side")
    with pytest.raises(BadRequest, match="no feature map"):
        explained(of, "scorecam", layer="f")


def test_masks_are_enlarged_between_the_middles_of_cells():
    maps = RNG.standard_normal((3, 4, 7)).astype(np.float32)
    expected = np.stack([bilinear(plane, (13, 5)) for plane in maps])
    np.testing.assert_allclose(enlarged(maps, (13, 5)), expected, rtol=1e-5, atol=1e-6)
    flat = stretched(np.ones((1, 3, 3), np.float32))
    assert not flat.any()


@pytest.mark.reference
@pytest.mark.parametrize("size", [(12, 10), (31, 9), (4, 4)])
def test_masks_are_those_of_torch(size):
    torch = pytest.importorskip("torch")
    maps = RNG.standard_normal((3, 6, 5)).astype(np.float32)
    theirs = torch.nn.functional.interpolate(torch.from_numpy(maps)[None], size, mode="bilinear")[0]
    np.testing.assert_allclose(enlarged(maps, size), theirs.numpy(), rtol=1e-4, atol=1e-5)
