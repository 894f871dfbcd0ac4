"""Incremental occlusion answers as the plain batches do: on random networks, and whole architectures."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from onnx import helper
from oracles.networks import opened, randomised

from onnxlens.engine.attribution.perturbation import answerer, occlusion, plans
from onnxlens.engine.attribution.perturbation.answerer import answerer_of
from onnxlens.engine.attribution.perturbation.costs import chains, cut_points
from onnxlens.engine.attribution.perturbation.incremental import CACHE, Incremental
from onnxlens.engine.attribution.perturbation.occlusion import Hiding, answers, how
from onnxlens.engine.attribution.perturbation.places import places
from onnxlens.engine.attribution.perturbation.spans import spans
from onnxlens.engine.features.receptive import receptive_fields
from onnxlens.engine.graph.graph import Graph, emit, op
from onnxlens.engine.runtime.network import Network
from onnxlens.models import embedded

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
CLASSES = 4


class Random:
    """A random convolutional network on (N, 3, h, w), layer after layer, with branches and a random head."""

    def __init__(self, data):
        self.data = data
        self.rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
        self.graph = Graph({"": 20})
        self.x = self.graph.input("image", np.float32, ["N", 3, *self.rng.integers(18, 40, 2).tolist()])
        for _ in range(self.rng.integers(2, 7)):
            self.x = self.pick(self.conv, self.conv, self.pool, self.branches, self.residual)(self.x)
            if min(self.x.spatial) < 5:
                break
        self.graph.output(self.head(self.x), "scores")

    def pick(self, *choices):
        return choices[self.rng.integers(len(choices))]

    def pads(self, most):
        return [int(min(n, m)) for n, m in zip(self.rng.integers(0, 4, 4), [*most, *most], strict=True)]

    def weight(self, *shape):
        fan_in = max(1, int(np.prod(shape[1:])))
        return (self.rng.standard_normal(shape) * np.sqrt(2 / fan_in)).astype(np.float32)

    def conv(self, x, stride=None, same=False):
        channels, group = x.shape[1], self.pick(1, 1, x.shape[1])
        out = group * int(self.rng.integers(1, 3)) if group > 1 else int(self.rng.integers(2, 7))
        kernel = self.rng.choice([1, 3], 2) if same else self.rng.integers(1, 4, 2)
        dilation = self.rng.integers(1, 3, 2)
        reach = (kernel - 1) * dilation
        given = {"strides": self.rng.integers(1, 4, 2).tolist() if stride is None else [stride] * 2}
        if same:
            given["pads"] = [*(reach // 2).tolist()] * 2
        elif (dilation == 1).all() and self.rng.random() < 0.3:
            given["auto_pad"] = self.pick("SAME_UPPER", "SAME_LOWER", "VALID")
        else:
            given["pads"] = self.pads([3, 3])
        w = self.weight(out, channels // group, *kernel.tolist())
        y = op.Conv(x, w, self.weight(out, 1)[:, 0], group=group, dilations=dilation.tolist(), **given)
        return self.pointwise(y)

    def pointwise(self, x):
        k = x.shape[1]
        norm = op.BatchNormalization(
            x,
            self.weight(k, 1)[:, 0],
            self.weight(k, 1)[:, 0],
            self.weight(k, 1)[:, 0],
            np.ones(k, np.float32),
        )
        kind = self.rng.integers(7)
        if kind == 0:
            return op.PRelu(x, self.weight(k, 1, 1))
        if kind == 1:
            return op.LRN(op.Relu(x), size=3)
        return (x, op.Relu(x), op.Relu(norm), op.Clip(x, 0.0, 6.0), op.Sigmoid(x) * x)[kind - 2]

    def pool(self, x, stride=None):
        kernel = self.rng.integers(2, 4, 2).tolist()
        given = {"strides": self.rng.integers(1, 4, 2).tolist() if stride is None else [stride] * 2}
        given |= {"kernel_shape": kernel, "ceil_mode": int(self.rng.integers(2))}
        if self.rng.random() < 0.2:
            del given["ceil_mode"]
            given["auto_pad"] = self.pick("SAME_UPPER", "SAME_LOWER", "VALID")
        else:
            given["pads"] = self.pads([k - 1 for k in kernel])
        kinds = {
            "MaxPool": {},
            "AveragePool": {"count_include_pad": int(self.rng.integers(2))},
            "LpPool": {"p": 2},
        }
        name = self.pick(*kinds)
        y = emit(name, x, **given, **kinds[name])
        # Where a last window would begin behind the map, inference counts it and the runtime does not.
        begins = [(m - 1) * s for m, s in zip(y.spatial, given["strides"], strict=True)]
        pads = given.get("pads", [0, 0])
        inside = all(b - p < n for b, p, n in zip(begins, pads, x.spatial, strict=False))
        return y if inside else emit(name, x, **given | {"ceil_mode": 0}, **kinds[name])

    def padded(self, x):
        pads = [0, 0, *self.rng.integers(0, 3, 2).tolist(), 0, 0, *self.rng.integers(0, 3, 2).tolist()]
        return op.Pad(x, pads, 0.5)

    def branches(self, x):
        """Inception: ways of the same stride side by side; or two poolings of one size, added."""
        if self.rng.random() < 0.3:
            x = self.padded(x)
        ways = [self.conv(x, stride=1, same=True) for _ in range(self.rng.integers(1, 3))]
        ways.append(op.AveragePool(x, kernel_shape=[3, 3], pads=[1] * 4))
        y = op.Concat(*ways, axis=1)
        return op.MaxPool(y, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4) if min(y.spatial) > 8 else y

    def residual(self, x):
        y = self.conv(x, stride=1, same=True)
        k, stride = y.shape[1], int(self.rng.integers(1, 3))
        y = op.Conv(y, self.weight(k, k, 3, 3), strides=[stride] * 2, pads=[1] * 4)
        skip = op.Conv(x, self.weight(k, x.shape[1], 1, 1), strides=[stride] * 2)
        return op.Relu(y + skip)

    def head(self, x):
        k, (h, w) = x.shape[1], x.spatial
        kind = self.pick("mean", "pool", "flat", "class maps")
        if kind == "class maps":
            maps = op.Relu(op.Conv(x, self.weight(CLASSES, k, 1, 1)))
            return op.Flatten(op.GlobalAveragePool(maps))
        if kind == "flat":
            return op.Flatten(x) @ self.weight(k * h * w, CLASSES)
        mean = x.mean([2, 3], keepdims=False) if kind == "mean" else op.Flatten(op.GlobalAveragePool(x))
        return op.Gemm(mean, self.weight(k, CLASSES), self.weight(CLASSES, 1)[:, 0])


def both(network, layer, spots, cuts, at_once=7, random=0):
    """The answers of the plain batches and of a network cut at `cuts`."""
    image, filler = np.random.default_rng(random).standard_normal((2, 3, *spots.size)).astype(np.float32)
    made = answerer_of(network, layer)
    totals = {made.names[2]: made.layer} if made.layer else {}
    way = Incremental(network, made.graph, cuts, made.names, spots.ranges, totals)
    kept, numbers = way.keep(image), np.arange(len(spots))
    parts = [numbers[i : i + at_once] for i in range(0, len(spots), at_once)]
    got = [made.answer(way.answers(kept, filler, part)) for part in parts]
    wanted = list(plainly(network, layer, Hiding(image, filler, spots)))
    return [[np.concatenate(v) for v in zip(*found, strict=True)] for found in (wanted, got)]


def plainly(network, layer, hiding):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plans, "WORTH", np.inf)
        answerer_of(network, layer).plans.clear()
        yield from answers(network, layer, hiding)


def assert_same(wanted, got, tolerance=1e-5):
    for a, b in zip(wanted, got, strict=True):
        assert a.shape == b.shape
        assert np.abs(a - b).max(initial=0) <= tolerance * max(np.abs(a).max(initial=0), 1e-3)


@seed(5)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_random_networks_cut_anywhere(data):
    made = Random(data)
    network = Network(made.graph.to_model(), "cpu", threads=1)
    size = tuple(network.graph["image"].shape[2:])
    patch = tuple(data.draw(st.integers(1, n // 2)) for n in size)
    stride = tuple(data.draw(st.integers(max(1, n // 2), n)) for n in patch)
    spots = places(size, patch, stride)
    points = cut_points(network.graph, "image", "scores")
    if not points:
        return
    cuts = ["image", *sorted(data.draw(st.sets(st.sampled_from(points), min_size=1)), key=points.index)]
    seen = [n for n in spans(network.graph, "image", network.graph.nodes) if n != "image"]
    layers = [n for n in seen if min(network.graph[n].spatial) > 1]
    layer = data.draw(st.sampled_from([None, *layers])) if layers else None
    assert_same(*both(network, layer, spots, cuts))


def beside_fields(graph, image):
    """The boxes that spans say, and the receptive fields, of all maps of which both are known."""
    seen = spans(graph, image, graph.nodes)
    names = [n for n in seen if n != image and min(graph[n].spatial) > 1]
    for name, fields in receptive_fields(graph, names).items():
        down, across = seen[name]
        said = np.empty_like(fields)
        said[..., 0], said[..., 2] = down.first[:, None], down.last[:, None]
        said[..., 1], said[..., 3] = across.first, across.last
        yield said, fields


@seed(6)
@settings(max_examples=40, deadline=None)
@given(st.data())
def test_spans_hold_the_receptive_fields(data):
    network = Network(Random(data).graph.to_model(), "cpu", threads=1)
    for said, fields in beside_fields(network.graph, "image"):
        seen = (fields[..., :2] < fields[..., 2:]).all(-1)  # the others see padding alone
        assert (said[..., :2] <= fields[..., :2])[seen].all()
        assert (said[..., 2:] >= fields[..., 2:])[seen].all()


def test_spans_are_the_receptive_fields_where_nothing_is_left_out_between():
    network = Network(embedded.path(), "cpu", threads=1)
    found = list(beside_fields(network.graph, network.graph.inputs[0]))
    assert len(found) > 5
    for said, fields in found:
        np.testing.assert_array_equal(said, fields)


def assert_incremental(model, size, patch, stride, at_once=32):
    """Every number of cuts that pays gives the plain answers; there is one that is estimated to pay."""
    network = Network(model, "cpu", threads=1)
    spots = places(size, patch, stride)
    made = answerer_of(network, None)
    found = chains(made.graph, network.graph.inputs[0], made.names[1], spots.ranges, 8)
    assert found[-1][0] < 0.8
    for _, cuts in found[:: max(1, len(found) - 1)]:
        assert_same(*both(network, None, spots, cuts, at_once))


def test_the_embedded_model():
    assert_incremental(onnx.load(embedded.path()), (96, 96), (12, 12), (12, 12))


ARCHITECTURES = ["bvlc_alexnet", "densenet121", "inception_v1", "inception_v2", "resnet50"]
ARCHITECTURES += ["squeezenet", "vgg19", "zfnet512"]  # ShuffleNet moves channels by Reshape: plain batches


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_architectures(name):
    model = opened(randomised(onnx.load(LIGHT / f"light_{name}.onnx")))
    assert_incremental(model, (224, 224), (32, 48), (32, 48))


def toy(batch="N", last=False, half=False, excite=False):
    """early -> pool -> left and right, side by side -> late -> mean -> scores; `aside` is read by nothing."""
    rng = np.random.default_rng(8)
    graph = Graph({"": 20})
    kind = np.float16 if half else np.float32
    x = graph.input("image", kind, [batch, 40, 48, 3] if last else [batch, 3, 40, 48])
    x = op.Transpose(x, perm=[0, 3, 1, 2]) if last else x

    def conv(x, out, name):
        w = (rng.standard_normal((out, x.shape[1], 3, 3)) / 6).astype(kind)
        graph.add(helper.make_node("Relu", [op.Conv(x, w, pads=[1] * 4).name], [name]))
        return graph[name]

    early = conv(x, 8, "early")
    if excite:
        early = early * op.Sigmoid(op.GlobalAveragePool(early, name="squeeze"))
    pool = op.MaxPool(early, kernel_shape=[2, 2], strides=[2, 2])
    late = conv(op.Concat(conv(pool, 6, "left"), conv(pool, 4, "right"), axis=1), 8, "late")
    scores = op.Flatten(op.GlobalAveragePool(late)) @ rng.standard_normal((8, CLASSES)).astype(kind)
    graph.output(op.Softmax(scores, axis=1), "probabilities")
    conv(pool, 2, "aside")
    graph.outputs.append("aside")
    return Network(graph.to_model(), "cpu", threads=1)


SPOTS = places((40, 48), (6, 5), (3, 5))


@pytest.fixture
def eager(monkeypatch):
    """Cut whatever can be cut, and find that quicker."""
    monkeypatch.setattr(plans, "WORTH", 0)
    monkeypatch.setattr(plans, "GAIN", 1e-3)
    monkeypatch.setattr(plans, "_trial", lambda runs: [sum(run() for run in runs), 1])


@pytest.mark.parametrize("layer", [None, "early", "left", "right", "late"])
@pytest.mark.parametrize("given", [{}, {"batch": 1}, {"batch": 5}, {"last": True}], ids=str)
def test_answers_are_those_of_plain_batches(eager, given, layer):
    network, last = toy(**given), "last" in given
    image, filler = np.random.default_rng(1).standard_normal((2, 3, 40, 48)).astype(np.float32)
    if last:
        image, filler = (np.moveaxis(x, 0, 2) for x in (image, filler))
    run = network, layer, Hiding(image, filler, SPOTS, last)
    got = [np.concatenate(v) for v in zip(*answers(*run), strict=True)]
    assert how(network, layer, SPOTS).startswith("incremental: cut at ")
    wanted = [np.concatenate(v) for v in zip(*plainly(*run), strict=True)]
    assert how(network, layer, SPOTS) == "plain batches: there is little to compute"
    assert_same(wanted, got)
    assert wanted[2].shape[1] == {"early": 8, "left": 6, "right": 4}.get(layer, 8)


@pytest.mark.parametrize("given", [{}, {"batch": 1}, {"batch": 5}, {"last": True}], ids=str)
def test_patches_in_the_graph_hide_what_patches_in_a_buffer_do(given):
    network, last = toy(**given), "last" in given
    image, filler = np.random.default_rng(2).standard_normal((2, 3, 40, 48)).astype(np.float32)
    if last:
        image, filler = (np.moveaxis(x, 0, 2) for x in (image, filler))
    run, numbers = (network, None, Hiding(image, filler, SPOTS, last)), np.arange(len(SPOTS))[::-1]
    got = [np.concatenate(v) for v in zip(*occlusion.on_device(*run)(numbers), strict=True)]
    wanted = [np.concatenate(v) for v in zip(*plainly(*run), strict=True)]
    assert_same([w[::-1] for w in wanted], got)


def test_half_precision_is_rounded_as_before(eager):
    network = toy(half=True)
    image, filler = np.random.default_rng(1).standard_normal((2, 3, 40, 48)).astype(np.float32)
    got = [np.concatenate(v) for v in zip(*answers(network, None, Hiding(image, filler, SPOTS)), strict=True)]
    assert "incremental" in how(network, None, SPOTS)
    wanted = [
        np.concatenate(v) for v in zip(*plainly(network, None, Hiding(image, filler, SPOTS)), strict=True)
    ]
    assert_same(wanted[1:], got[1:])
    np.testing.assert_allclose(got[0], wanted[0], rtol=2**-10)  # which the model itself rounds to 11 bits


@pytest.mark.parametrize(
    ("network", "layer", "why"),
    [
        (toy(excite=True), "late", "from GlobalAveragePool node 'squeeze' on a patch changes everything"),
        (toy(), "aside", "layer 'aside' is not between the image and the score"),
    ],
)
def test_what_cannot_be_cut_is_run_in_plain_batches(eager, monkeypatch, network, layer, why):
    monkeypatch.setattr(plans, "GAIN", 1.2)
    image = np.zeros((3, 40, 48), np.float32)
    assert len(list(answers(network, layer, Hiding(image, image, SPOTS)))) == -(-len(SPOTS) // answerer.BATCH)
    assert how(network, layer, SPOTS).startswith(f"plain batches: {why}")


def test_a_plan_is_made_once(eager, monkeypatch):
    network, image = toy(), np.zeros((3, 40, 48), np.float32)
    list(answers(network, None, Hiding(image, image, SPOTS)))
    monkeypatch.setattr(plans, "chains", None)
    list(answers(network, None, Hiding(image + 1, image, SPOTS)))
    assert "incremental" in how(network, None, SPOTS)


def test_the_quicker_in_the_trial_is_taken(eager, monkeypatch):
    network, image = toy(), np.zeros((3, 40, 48), np.float32)
    monkeypatch.setattr(plans, "_trial", lambda runs: [1.0, 1.2])
    list(answers(network, None, Hiding(image, image, SPOTS)))
    assert how(network, None, SPOTS) == "plain batches: quicker in a trial than cutting the network"


def test_buffers_are_used_again(eager):
    network, image = toy(), np.zeros((3, 40, 48), np.float32)
    list(answers(network, None, Hiding(image, image, SPOTS)))
    (made,) = answerer_of(network, None).plans.values()
    before = made.way._buffers.last.__array_interface__["data"]
    list(answers(network, None, Hiding(image, image, SPOTS)))
    assert made.way._buffers.last.__array_interface__["data"] == before
    assert made.way._buffers.last.size <= max(CACHE, image.size)


def test_a_narrowed_change_lies_around_the_patch_and_within_the_exact_one():
    network = Network(embedded.path(), "cpu", threads=1)
    seen = spans(network.graph, network.graph.inputs[0], network.graph.nodes)
    start = np.arange(0, 85)
    for down, _ in seen.values():
        low, high = down.changed(start, start + 12)
        for share in (0.1, 0.3, 0.6):
            near, far = down.changed(start, start + 12, share)
            assert (low <= near).all()
            assert (near < far).all()
            assert (far <= high).all()
            assert (far - near <= max(1, round(share * len(down)))).all()
            inside = (high - low > far - near) & (start > 30) & (start < 50)
            assert (np.abs((low + high) / 2 - (near + far) / 2)[inside] <= 1.5).all()


def test_the_wider_a_change_may_be_the_nearer_the_answers_come(eager):
    network = Network(embedded.path(), "cpu", threads=1)
    image, filler = np.random.default_rng(1).random((2, 3, 96, 96)).astype(np.float32)
    spots = places((96, 96), (12, 12), (12, 12))
    exact = np.concatenate([a.scores for a in answers(network, None, Hiding(image, filler, spots))])
    errors = []
    for share in (0.2, 0.5, 1):
        _, ask = occlusion.asking(network, None, Hiding(image, filler, spots), share)
        found = np.concatenate([a.scores for a in ask(np.arange(len(spots)))])
        errors.append(np.abs(found - exact).max() / np.ptp(exact, axis=0).max())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-5


def test_any_number_of_cores_gives_the_same_answers(eager):
    rng = np.random.default_rng(5)
    image, filler = rng.standard_normal((2, 3, 40, 48)).astype(np.float32)
    for ask in (answers, plainly):
        found = []
        for threads in (1, 2, 5):
            network = toy()
            network.threads = threads
            parts = ask(network, None, Hiding(image, filler, SPOTS))
            found.append([np.concatenate(v) for v in zip(*parts, strict=True)])
        for others in found[1:]:
            for one, other in zip(found[0], others, strict=True):
                np.testing.assert_array_equal(one, other)


def test_threads_share_one_session_of_the_whole_network(monkeypatch):
    network, image = toy(), np.zeros((3, 40, 48), np.float32)
    network.threads, compiled = 4, []
    compile_ = network.compile
    monkeypatch.setattr(network, "compile", lambda *a, **k: compiled.append(a) or compile_(*a, **k))
    list(plainly(network, None, Hiding(image, image, SPOTS)))
    assert len(compiled) == 1


# What is asked early of the size of the image, or of a map before the cuts, and what the end makes of it.
EARLY = {
    "batch": lambda image, early: op.Concat(op.Shape(image, start=0, end=1), [8], axis=0),
    "gathered": lambda image, early: op.Concat(op.Gather(op.Shape(image), [0]), [-1], axis=0),
    "of a map": lambda image, early: op.Slice(op.Shape(early), [0], [2], [0]),
    "in all": lambda image, early: op.Concat(op.Unsqueeze(op.Size(early) / 3200, [0]), [8], axis=0),
}


@pytest.mark.parametrize("early", EARLY)
@pytest.mark.parametrize("batch", ["N", 1])
def test_sizes_asked_for_before_the_cuts(early, batch):
    rng = np.random.default_rng(4)
    graph = Graph({"": 20})
    image = graph.input("image", np.float32, [batch, 3, 40, 40])

    def conv(x, name):
        w = (rng.standard_normal((8, x.shape[1], 3, 3)) / 5).astype(np.float32)
        graph.add(helper.make_node("Relu", [op.Conv(x, w, pads=[1] * 4, strides=[2, 2]).name], [name]))
        return graph[name]

    first = conv(image, "first")
    shape = EARLY[early](image, first)
    last = conv(conv(first, "second"), "last")
    flat = op.Reshape(op.GlobalAveragePool(last), shape)
    graph.output(flat @ rng.standard_normal((8, CLASSES)).astype(np.float32), "scores")
    network = Network(graph.to_model(), "cpu", threads=1)
    assert_same(*both(network, None, places((40, 40), (8, 8), (8, 8)), ["image", "first", "last"]))


BETWEEN = {
    "com.microsoft:Gelu": {}, "com.microsoft:QuickGelu": {}, "com.microsoft:FastGelu": {}, "Gelu": {},
    "Sin": {}, "Tan": {}, "Cos": {}, "Atan": {}, "Softmax": {"axis": 1}, "LpNormalization": {"axis": 1},
    "Softsign": {},
}  # fmt: skip


def with_between(key, **attrs):
    """A convolution, an operator and another convolution, twice, and a head."""
    rng = np.random.default_rng(3)
    model = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Conv", ["image", "w"], ["a"], pads=[1] * 4),
                helper.make_node(
                    key.rpartition(":")[2], ["a"], ["b"], domain=key.rpartition(":")[0], **attrs
                ),
                helper.make_node("Conv", ["b", "v"], ["c"], pads=[1] * 4, strides=[2, 2]),
                helper.make_node(
                    key.rpartition(":")[2], ["c"], ["d"], domain=key.rpartition(":")[0], **attrs
                ),
                helper.make_node("GlobalAveragePool", ["d"], ["p"]),
                helper.make_node("Flatten", ["p"], ["f"]),
                helper.make_node("MatMul", ["f", "u"], ["scores"]),
            ],
            "between",
            [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["N", 3, 40, 48])],
            [helper.make_tensor_value_info("scores", onnx.TensorProto.FLOAT, ["N", CLASSES])],
            [
                onnx.numpy_helper.from_array((0.3 * rng.standard_normal(shape)).astype(np.float32), name)
                for name, shape in (("w", (8, 3, 3, 3)), ("v", (8, 8, 3, 3)), ("u", (8, CLASSES)))
            ],
        ),
        ir_version=10,
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)],
    )
    return Network(model, provider="cpu")


@pytest.mark.parametrize("key", BETWEEN)
def test_whatever_works_position_by_position_can_be_cut_behind(key):
    """And sees what the convolutions around it see."""
    network = with_between(key, **BETWEEN[key])
    graph = network.graph
    assert {"b", "d"} <= spans(graph, "image", graph.nodes).keys()
    assert {"a", "b"} & {*cut_points(graph, "image", "scores")}
    found = receptive_fields(graph, ["a", "b", "c", "d"])
    np.testing.assert_array_equal(found["b"], found["a"])
    np.testing.assert_array_equal(found["d"], found["c"])


@pytest.mark.parametrize("key", ["com.microsoft:Gelu", "Sin", "Tan"])
def test_answers_behind_any_elementwise_operator(eager, key):
    network = with_between(key, **BETWEEN[key])
    image, filler = np.random.default_rng(1).standard_normal((2, 3, 40, 48)).astype(np.float32)
    run = network, "d", Hiding(image, filler, SPOTS)
    got = [np.concatenate(v) for v in zip(*answers(*run), strict=True)]
    assert how(network, "d", SPOTS).startswith("incremental: cut at ")
    assert_same([np.concatenate(v) for v in zip(*plainly(*run), strict=True)], got)
