"""Segmentation, masks and mattes: which outputs are read so, and where the regions lie."""

import numpy as np
import onnxruntime
import pytest
from oracles.networks import parsed

from onnxlens.engine.anatomy.maps import coordinates
from onnxlens.engine.anatomy.readouts import regions
from onnxlens.engine.anatomy.readouts.thing import Hints
from onnxlens.engine.canonical.canonical import canonical
from onnxlens.engine.errors import BadRequest, NoMap

RNG = np.random.default_rng(0)
SIZE = (16, 24)


def network(body, outputs, channels=3, **weights):
    """A network whose convolution of stride 4 gives five planes `s`, and what the body makes of them."""
    text = f"(float[1, {channels}, 16, 24] x) => ({outputs}) {{ s = Conv<strides=[4, 4]>(x, w) {body} }}"
    return parsed(text, w=RNG.normal(size=(5, channels, 4, 4)), **weights)


def read(proto, **hints):
    graph = canonical(proto)
    return regions.find(graph, Hints(coordinates(graph).size, **hints))


def answered(proto, found, x=None):
    """What the regions are of a picture, and the values that they are read from."""
    x = RNG.normal(size=(1, 3, *SIZE)).astype(np.float32) if x is None else x
    names = list(dict.fromkeys([*found.outputs, *found.parts]))
    proto = onnxruntime_with(proto, names)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    values = dict(zip(names, session.run(names, {"x": x}), strict=True))
    return values, found.things(values, SIZE)


def onnxruntime_with(proto, names):
    known = {o.name for o in proto.graph.output}
    for name in names:
        if name not in known:
            proto.graph.output.add(name=name)
    return proto


def number(seed, values):
    return sum(float(values[v].ravel()[w.indices] @ w.weights) for v, w in seed.of.items())


UP = 'q = Constant<value_floats=[1.0, 1.0, 4.0, 4.0]>() u = Resize<mode="linear">(s, , q)'
SECOND = "a = Constant<value_ints=[1]>() b = Constant<value_ints=[2]>() y = Slice(p, a, b, a)"
FIVE, ONE, LAST = "float[1, 5, 4, 6] y", "float[1, 1, 4, 6] y", "float[1, 4, 6, 5] y"
SEGFORMER = {"facts": {"architectures": "SegformerForSemanticSegmentation"}}
VITPOSE = {"facts": {"architectures": "VitPoseForPoseEstimation"}}


@pytest.mark.parametrize(
    ("body", "outputs", "hints", "of", "part"),
    [
        ("y = Softmax<axis=1>(s)", FIVE, {}, "classes", "s"),
        ("t = Transpose<perm=[0, 2, 3, 1]>(s) y = Softmax(t)", LAST, {}, "classes", "t"),
        ("p = Softmax<axis=1>(s) y = Transpose<perm=[0, 2, 3, 1]>(p)", LAST, {}, "classes", "s"),
        ("y = LogSoftmax<axis=1>(s)", FIVE, {}, "classes", "s"),
        ("y = ArgMax<axis=1, keepdims=0>(s)", "int64[1, 4, 6] y", {}, "classes", "s"),
        ("p = Softmax<axis=1>(s) y = ArgMax<axis=1>(p)", "int64[1, 1, 4, 6] y", {}, "classes", "s"),
        ("y = Sigmoid(s)", FIVE, {}, "labels", "s"),
        ("y = Identity(s)", FIVE, {"labels": list("abcde")}, "classes", "y"),
        ("logits = Identity(s)", "float[1, 5, 4, 6] logits", {}, "classes", "logits"),
        ("y = Identity(s)", FIVE, SEGFORMER, "classes", "y"),
        ("y = Identity(s)", FIVE, {"kind": "regions:labels"}, "labels", "y"),
        (UP.replace("u =", "y ="), "float[1, 5, 16, 24] y", {}, "classes", "y"),
        ("m = Conv(s, one) y = Sigmoid(m)", ONE, {}, "mask", "m"),
        ("m = Conv(s, one) matte = Identity(m)", "float[1, 1, 4, 6] matte", {}, "mask", "matte"),
        (f"p = Softmax<axis=1>(s) {SECOND}", ONE, {}, "mask", "y"),
    ],
)  # fmt: skip
def test_what_is_read_as_regions(body, outputs, hints, of, part):
    proto = network(body, outputs, one=RNG.normal(size=(1, 5, 1, 1)))
    found = read(proto, **hints)
    assert (found.of, found.parts) == (of, (part,))


@pytest.mark.parametrize(
    ("body", "outputs", "hints"),
    [
        ("y = Identity(s)", FIVE, {}),  # heat maps end so too
        ("y = Conv(s, one)", ONE, {}),  # a depth does
        ("y = Softmax<axis=3>(s)", FIVE, {}),  # along a row of the picture
        ("d = Sigmoid(s) disp = Conv(d, one) ", "float[1, 1, 4, 6] disp", {}),
        ("d = Conv(s, one) disparity = Sigmoid(d)", "float[1, 1, 4, 6] disparity", {}),
        ("heatmap = Sigmoid(s)", "float[1, 5, 4, 6] heatmap", {}),
        ("y = Sigmoid(s)", FIVE, VITPOSE),
        ("p = GlobalAveragePool(s) y = Softmax<axis=1>(p)", "float[1, 5, 1, 1] y", {}),  # a classifier
        (f"{UP} c = Conv(u, three) y = Sigmoid(c)", "float[1, 3, 16, 24] y", {}),  # colours, perhaps
        (f"{UP} y = Conv(u, three)", "float[1, 3, 16, 24] y", {}),
    ],
)  # fmt: skip
def test_what_may_be_something_else_is_not(body, outputs, hints):
    weights = {"one": RNG.normal(size=(1, 5, 1, 1)), "three": RNG.normal(size=(3, 5, 1, 1))}
    proto = network(body, outputs, **weights)
    assert read(proto, **hints) is None
    if "GlobalAverage" not in body and "axis=3" not in body:
        assert read(proto, **{**hints, "kind": "regions"}) is not None


def test_a_grey_picture_that_a_grey_one_becomes_is_no_mask():
    one = RNG.normal(size=(1, 5, 1, 1))
    body, shape = f"{UP} c = Conv(u, one) y = Sigmoid(c)", "float[1, 1, 16, 24] y"
    assert read(network(body, shape, channels=1, one=one)) is None
    assert read(network(body, shape, channels=3, one=one)).of == "mask"


def test_each_pixel_is_of_the_class_that_is_greatest_after_enlarging():
    proto = network("logits = Identity(s)", "float[1, 5, 4, 6] logits")
    values, things = answered(proto, read(proto))
    grown = onnxruntime.InferenceSession(
        parsed(
            "(float[1, 5, 4, 6] s) => (float[1, 5, 16, 24] u) {" + UP + "}",
        ).SerializeToString()
    ).run(None, {"s": values["logits"]})[0][0]
    index = sum(t.label * t.mask for t in things)
    np.testing.assert_array_equal(index, grown.argmax(0))
    assert [t.mask.sum() for t in things] == sorted((t.mask.sum() for t in things), reverse=True)


def test_what_is_explained_is_the_mean_score_over_the_region():
    proto = network("y = Softmax<axis=1>(s)", FIVE)
    values, things = answered(proto, read(proto))
    scores, best = values["s"][0], values["s"][0].argmax(0)
    for thing in things:
        assert number(thing.seed, values) == pytest.approx(
            scores[thing.label][best == thing.label].mean(), rel=1e-5
        )
        inside = values["y"][0][thing.label][best == thing.label]
        assert thing.score == pytest.approx(inside.mean(), rel=1e-5)
        assert thing.kind == "region"


def test_of_channels_last_the_seed_lies_on_the_same_numbers():
    proto = network("t = Transpose<perm=[0, 2, 3, 1]>(s) y = Softmax(t)", LAST)
    values, things = answered(proto, read(proto))
    scores = values["t"][0].transpose(2, 0, 1)
    thing = things[0]
    assert number(thing.seed, values) == pytest.approx(
        scores[thing.label][scores.argmax(0) == thing.label].mean(), rel=1e-5
    )


def test_indices_of_classes_lie_on_the_cells():
    proto = network("y = ArgMax<axis=1, keepdims=0>(s)", "int64[1, 4, 6] y")
    values, things = answered(proto, read(proto))
    index = sum(t.label * t.mask for t in things)
    np.testing.assert_array_equal(index, values["y"][0].repeat(4, 0).repeat(4, 1))


def test_the_background_counts_where_it_is_alone():
    proto = network("y = Softmax<axis=1>(s)", FIVE)
    found = read(proto, labels=["background", *"abcd"])
    values, things = answered(proto, found)
    assert 0 not in [t.label for t in things]
    values = {"s": np.eye(5, dtype=np.float32)[:1, :, None, None] + np.zeros((1, 5, 4, 6), np.float32)}
    values["y"] = values["s"]
    assert [t.label for t in found.things(values, SIZE)] == [0]


def test_a_mask_is_as_soft_as_it_is():
    proto = network("m = Conv(s, one) y = Sigmoid(m)", ONE, one=np.ones((1, 5, 1, 1)))
    values, (thing,) = answered(proto, read(proto))
    assert (thing.label, thing.words) == (None, "mask")
    inside = values["y"] >= 0.5
    assert number(thing.seed, values) == pytest.approx(values["m"][inside].mean(), rel=1e-5)
    assert thing.score == pytest.approx(values["y"][inside].mean(), rel=1e-5)
    np.testing.assert_allclose(thing.mask[1::4, 1::4].min(), values["y"].min(), atol=0.2)


def test_where_there_is_nothing_nothing_is_found():
    proto = network("m = Conv(s, one) y = Sigmoid(m)", ONE, one=np.ones((1, 5, 1, 1)))
    found = read(proto)
    empty = {name: np.full((1, 1, 4, 6), 0.01, np.float32) for name in ("m", "y")}
    assert found.things(empty, SIZE) == []


def test_of_several_masks_the_finest_and_first():
    body = f"m = Conv(s, one) a = Sigmoid(m) {UP} n = Conv(u, one) b = Sigmoid(n) c = Sigmoid(n)"
    outputs = "float[1, 1, 4, 6] a, float[1, 1, 16, 24] b, float[1, 1, 16, 24] c"
    proto = network(body, outputs, one=np.ones((1, 5, 1, 1)))
    assert read(proto).outputs == ("b",)
    assert read(proto, output="c").outputs == ("c",)


def test_a_part_of_the_picture_and_a_pixel():
    proto = network("y = Softmax<axis=1>(s)", FIVE)
    found = read(proto)
    values, things = answered(proto, found)
    part = found.region(values, 2, (4, 12), (0, 8))
    assert number(part.seed, values) == pytest.approx(values["s"][0, 2, 1:3, 0:2].mean(), rel=1e-5)
    assert part.box == (4, 0, 12, 8)
    pixel = found.pixel(values, 13, 9)
    assert pixel.label == values["s"][0, :, 3, 2].argmax()
    assert number(pixel.seed, values) == pytest.approx(values["s"][0, :, 3, 2].max(), rel=1e-5)
    assert number(found.pixel(values, 13, 9, 4).seed, values) == pytest.approx(values["s"][0, 4, 3, 2])
    whole = found.region(values, things[0].label)
    np.testing.assert_array_equal(whole.mask, things[0].mask)
    with pytest.raises(BadRequest, match="no class 5: the model has classes 0 to 4"):
        found.region(values, 5)
    values["s"][0, 3] = values["y"][0, 3] = -9
    with pytest.raises(NoMap, match="no pixel of the picture is of class 3; there are: 0"):
        found.region(values, 3)


def test_without_padding_the_regions_lie_in_the_middle():
    body = "a = Conv(x, k) b = Conv(a, k) y = Softmax<axis=1>(b)"
    text = f"(float[1, 3, 16, 24] x) => (float[1, 3, 12, 20] y) {{ {body} }}"
    proto = parsed(text, k=RNG.normal(size=(3, 3, 3, 3)))
    values, things = answered(proto, read(proto))
    index = sum((1 + t.label) * t.mask for t in things)
    np.testing.assert_array_equal(index[2:-2, 2:-2], 1 + values["y"][0].argmax(0))
    assert not index[:2].any()
    assert not index[:, -2:].any()


def test_masks_of_queries():
    body = """e = Identity(q) masks = Einsum<equation="qc,bchw->bqhw">(e, s)
        p = GlobalAveragePool(s) f = Flatten(p) d = MatMul(f, k) logits = Reshape(d, shape)"""
    weights = {"q": RNG.normal(size=(3, 5)), "k": RNG.normal(size=(5, 9)), "shape": np.int64([1, 3, 3])}
    found = read(network(body, "float[1, 3, 3] logits, float[1, 3, 4, 6] masks", **weights))
    logits = np.float32([[[12, 0, 0], [0, 3, 0], [0, 0, 9]]])  # the third says that it found nothing
    masks = np.full((1, 3, 4, 6), -9, np.float32)
    masks[0, 0, :2, :3] = masks[0, 1, 2:, 3:] = masks[0, 2] = 9
    values = {"logits": logits, "masks": masks}
    first, second = found.things(values, SIZE)
    assert [t.label for t in (first, second)] == [0, 1]
    assert first.box == (0, 0, 8, 12)
    assert number(first.seed, values) == pytest.approx(21)
    assert found.region(values, 1).box == second.box
    with pytest.raises(NoMap, match="no mask of class 2 was found; there are: 0, 1"):
        found.region(values, 2)
    with pytest.raises(BadRequest, match="a mask of its own"):
        found.region(values, 1, (0, 4), (0, 4))
