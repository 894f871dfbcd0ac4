import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from oracles.toys import build

from onnxlens.engine.attribution.perturbation import answerer
from onnxlens.engine.attribution.perturbation.answerer import answerer_of
from onnxlens.engine.attribution.perturbation.occlusion import Hiding, answers, summed_layer
from onnxlens.engine.attribution.perturbation.places import places
from onnxlens.engine.errors import BadRequest
from onnxlens.engine.runtime.network import Network
from onnxlens.engine.runtime.session import Session

SIZE, CLASSES = (7, 9), 4
RNG = np.random.default_rng(0)
LINEAR = RNG.standard_normal((3 * 7 * 9, CLASSES)).astype(np.float32)


def linear(batch="N", layout="nchw"):
    """Scores = pixels @ LINEAR: a patch costs the sum over it of LINEAR * (image - filler)."""
    shape = (3, *SIZE) if layout == "nchw" else (*SIZE, 3)
    weight = LINEAR
    if layout == "nhwc":
        weight = LINEAR.reshape(3, *SIZE, CLASSES).transpose(1, 2, 0, 3).reshape(-1, CLASSES)
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["p"]),
    ]
    return build(nodes, {"x": (batch, *shape)}, {"p": (batch, CLASSES)}, {"w": np.ascontiguousarray(weight)})


def convolutional(batch="N", head=(0, -1)):
    """conv (1x1, MIX) -> relu -> mean -> Gemm; `head` is the shape to which a Reshape flattens the means."""
    nodes = [
        helper.make_node("Conv", ["x", "mix"], ["conv"]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("GlobalAveragePool", ["relu"], ["mean"]),
        helper.make_node("Reshape", ["mean", "head"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["scores"]),
    ]
    weights = {
        "mix": MIX[:, :, None, None],
        "w": np.random.default_rng(1).standard_normal((5, CLASSES)).astype(np.float32),
        "head": np.array(head),
    }
    return build(nodes, {"x": (batch, 3, *SIZE)}, {"scores": (batch, CLASSES)}, weights)


MIX = np.random.default_rng(2).standard_normal((5, 3)).astype(np.float32)


def pair(seed=3):
    return np.random.default_rng(seed).standard_normal((2, 3, *SIZE)).astype(np.float32)


def answer(network, layer, feeds):
    return answerer_of(network, layer).whole(network, feeds)


def all_of(network, layer, image, filler, spots, last=False):
    found = list(answers(network, layer, Hiding(image, filler, spots, last)))
    return [np.concatenate(values) for values in zip(*found, strict=True)]


def occluded(image, filler, spots):
    """The slow twin of what the network is shown."""
    for top in spots.tops:
        for left in spots.lefts:
            hidden = image.copy()
            at = (slice(None), slice(top, top + spots.patch[0]), slice(left, left + spots.patch[1]))
            hidden[at] = filler[at]
            yield hidden


def test_the_drop_of_a_linear_model_is_known():
    image, filler = pair()
    spots = places(SIZE, (3, 2), (2, 1))
    network = Network(linear(), "cpu", threads=1)
    assert summed_layer(network) is None
    clean = answer(network, None, {"x": image[None]})
    _, scores, totals = all_of(network, None, image, filler, spots)
    weight = LINEAR.reshape(3, *SIZE, CLASSES).astype(np.float64)
    share = weight * (image.astype(np.float64) - filler)[..., None]  # what each pixel is worth
    for (top, left), drop in zip(spots.corners(np.arange(len(spots))), clean.scores - scores, strict=True):
        np.testing.assert_allclose(drop, share[:, top : top + 3, left : left + 2].sum((0, 1, 2)), atol=1e-4)
    assert totals.shape == (len(spots), 0)


def test_with_patches_side_by_side_the_drops_add_up_to_the_whole():
    image, filler = pair()
    network = Network(linear(), "cpu", threads=1)
    spots = places(SIZE, (7, 3), (7, 3))
    _, scores, _ = all_of(network, None, image, filler, spots)
    clean, hidden = (answer(network, None, {"x": x[None]}).scores for x in (image, filler))
    np.testing.assert_allclose((clean - scores).sum(0), (clean - hidden)[0], atol=1e-4)


def test_scores_are_taken_before_the_softmax_and_the_output_behind_it():
    image, filler = pair()
    network = Network(linear(), "cpu", threads=1)
    output, scores, _ = all_of(network, None, image, filler, places(SIZE, (3, 3), (3, 3)))
    e = np.exp(scores - scores.max(1, keepdims=True))
    np.testing.assert_allclose(output, e / e.sum(1, keepdims=True), atol=1e-6)


def test_totals_are_the_feature_maps_of_the_occluded_images():
    image, filler = pair()
    network = Network(convolutional(), "cpu", threads=1)
    spots = places(SIZE, (2, 3), (1, 3))
    for layer, kept in (("conv", lambda v: v), (None, lambda v: np.maximum(v, 0))):
        totals = all_of(network, layer, image, filler, spots)[2]
        wanted = [kept(np.einsum("kc,chw->khw", MIX, x)).sum((1, 2)) for x in occluded(image, filler, spots)]
        np.testing.assert_allclose(totals, wanted, atol=1e-4)
    assert summed_layer(network) == "relu"


def test_channels_last_agrees_with_channels_second():
    image, filler = pair()
    spots = places(SIZE, (3, 4), (2, 2))
    wanted = all_of(Network(linear(), "cpu", threads=1), None, image, filler, spots)
    network = Network(linear(layout="nhwc"), "cpu", threads=1)
    image, filler = (np.moveaxis(x, 0, 2) for x in (image, filler))
    got = all_of(network, None, image, filler, spots, last=True)
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("size", [1, 2, 5, 10**6])
def test_a_batch_is_its_singles(size, monkeypatch):
    monkeypatch.setattr(answerer, "BATCH", size)
    image, filler = pair()
    spots = places(SIZE, (3, 3), (2, 2))
    network = Network(convolutional(), "cpu", threads=1)
    got = all_of(network, None, image, filler, spots)
    for i, x in enumerate(occluded(image, filler, spots)):
        for values, single in zip(got, answer(network, None, {"x": x[None]}), strict=True):
            np.testing.assert_allclose(values[i], single[0], atol=1e-5)


@pytest.mark.parametrize(
    ("model", "batch"),
    [(convolutional(batch=4), 4), (convolutional(batch=1), 1), (convolutional(head=(1, 5)), 1)],
)
def test_a_model_of_one_batch_size_gets_it(model, batch, monkeypatch):
    image, filler = pair()
    spots = places(SIZE, (3, 3), (2, 2))
    wanted = all_of(Network(convolutional(), "cpu", threads=1), None, image, filler, spots)
    fed = watch_feeds(monkeypatch)
    got = all_of(Network(model, "cpu", threads=1), None, image, filler, spots)
    assert {len(x) for x in fed} == {batch}
    for a, b in zip(got, wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def watch_feeds(monkeypatch):
    """What the sessions are fed from now on."""
    fed, run = [], Session.__call__

    def watched_run(self, feeds):
        fed.append(feeds["x"])
        return run(self, feeds)

    monkeypatch.setattr(Session, "__call__", watched_run)
    return fed


def test_one_buffer_serves_any_number_of_positions(monkeypatch):
    image, filler = pair()
    network = Network(convolutional(), "cpu", threads=1)
    summed_layer(network)
    fed = watch_feeds(monkeypatch)
    for stride in (3, 1):
        fed.clear()
        spots = places(SIZE, (3, 3), (stride, stride))
        for found in answers(network, None, Hiding(image, filler, spots)):
            assert len(found.scores) <= answerer.BATCH
        assert sum(len(x) for x in fed) == len(spots)
        assert max(len(x) for x in fed) <= answerer.BATCH
        assert len({x.__array_interface__["data"][0] for x in fed}) == 1


def test_results_come_as_they_are_made(monkeypatch):
    image, filler = pair()
    network = Network(convolutional(), "cpu", threads=1)
    fed = watch_feeds(monkeypatch)
    stream = answers(network, None, Hiding(image, filler, places(SIZE, (1, 1), (1, 1))))
    next(stream)
    assert len(fed) == 1


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_patches_cover_every_pixel_and_nothing_beyond(data):
    size = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 30))
    patch = tuple(data.draw(st.integers(1, n)) for n in size)
    spots = places(size, patch, tuple(data.draw(st.integers(1, n)) for n in patch))
    covered = np.zeros(size, bool)
    numbers = np.arange(len(spots))
    for top, left in spots.corners(numbers):
        assert top + patch[0] <= size[0]
        assert left + patch[1] <= size[1]
        covered[top : top + patch[0], left : left + patch[1]] = True
    assert covered.all()
    np.testing.assert_array_equal(spots.corners(numbers[::-2]), spots.corners(numbers)[::-2])


def test_the_last_patch_ends_at_the_edge():
    spots = places((10, 12), (4, 4), (3, 4))
    assert spots.tops.tolist() == [0, 3, 6]
    assert spots.lefts.tolist() == [0, 4, 8]
    assert places((10, 12), (4, 5), (4, 3)).tops.tolist() == [0, 4, 6]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_values_lie_at_the_centres_of_the_patches(data):
    size = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 30))
    patch = tuple(data.draw(st.integers(1, n)) for n in size)
    spots = places(size, patch, tuple(data.draw(st.integers(1, n)) for n in patch))
    values = np.random.default_rng(0).standard_normal(spots.shape).astype(np.float32)
    ys, xs = spots.tops + patch[0] / 2, spots.lefts + patch[1] / 2
    np.testing.assert_array_equal(spots.at(values, ys, xs), values)
    np.testing.assert_array_equal(spots.at(values, ys, xs, exact=True), values)
    beyond = spots.at(values, np.array([0.0, size[0]]), np.array([0.0, size[1]]))
    np.testing.assert_array_equal(beyond, values[[0, -1]][:, [0, -1]])
    middle = spots.at(values, (ys[1:] + ys[:-1]) / 2, xs)
    np.testing.assert_allclose(middle, (values[1:] + values[:-1]) / 2, atol=1e-6)


@pytest.mark.parametrize(
    ("patch", "stride", "text"),
    [
        ((0, 3), (1, 1), "a patch is at least 1 pixel, not 0x3"),
        ((3, 3), (0, 1), "a stride is at least 1 pixel, not 0x1"),
        ((3, 3), (1, -1), "a stride is at least 1 pixel, not 1x-1"),
        ((8, 3), (1, 1), "a patch of 8x3 is larger than the model's input of 7x9"),
        ((3, 10), (1, 1), "a patch of 3x10 is larger than the model's input of 7x9"),
        ((3, 3), (2, 4), "a stride of 2x4 leaves gaps between patches of 3x3"),
    ],
)
def test_places_that_cannot_be(patch, stride, text):
    with pytest.raises(BadRequest, match=text):
        places(SIZE, patch, stride)


def test_layers_that_cannot_be_followed():
    network = Network(convolutional(), "cpu", threads=1)
    with pytest.raises(BadRequest, match="no layer 'rely'; nearest: relu"):
        summed_layer(network, "rely")
    with pytest.raises(BadRequest, match="is no feature map"):
        summed_layer(network, "scores")
