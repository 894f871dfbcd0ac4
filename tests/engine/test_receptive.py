"""Receptive fields: against the pixels whose gradient is not zero, on random networks and on real ones."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from oracles.networks import parsed, randomised

from onnxlens.engine.anatomy.maps import feature_map, map_names, why_not
from onnxlens.engine.autodiff.gradient import backpropagate
from onnxlens.engine.autodiff.variants import STRAIGHT_THROUGH
from onnxlens.engine.canonical.canonical import canonical
from onnxlens.engine.errors import BadModel, BadRequest
from onnxlens.engine.features.receptive import receptive_fields
from onnxlens.engine.graph.graph import Graph, op
from onnxlens.engine.runtime.session import Session
from onnxlens.models import embedded

NAMES = [
    "resnet", "mobilenet_v3", "efficientnet", "convnext", "vit", "swin",
    "unet", "detr", "crnn_lstm", "crnn_gru", "super_resolution", "group_norms",
]  # fmt: skip
LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"


def reached_by(graph, name, positions, rules=None, seed=0, count=1):
    """The bounding boxes of the pixels with a gradient, for some positions of a map, over random inputs."""
    graph = graph.copy()
    image = graph[graph.inputs[0]]
    # What lies on no grid (behind a wrap) has fields all the same, in its own axes.
    maps = graph[name] if why_not(graph, name) else feature_map(graph, name)
    where = graph.input("seed", np.float32, maps.shape)
    seeded = {maps.name: where}
    if maps.name != name and rules is not None:
        seeded = {name: backpropagate(graph, seeded, [name])[0]}
    (gradient,) = backpropagate(graph, seeded, [image.name], rules)
    if gradient is None:
        return np.zeros((len(positions), 4), int)
    out = graph.output(gradient, "gradient").name
    session = Session(graph, [out], "cpu", 1)
    rng = np.random.default_rng(seed)
    shape = [d if isinstance(d, int) else 1 for d in image.shape]
    sizes = Session(graph, [maps.name], "cpu", 1)({image.name: np.zeros(shape, np.float32)})[maps.name].shape
    boxes = []
    for y, x in positions:
        reached = np.zeros(shape[2:], bool)
        for _ in range(count):
            u = np.zeros(sizes, np.float32)
            u[:, :, y, x] = rng.uniform(0.5, 1.5, sizes[:2]) * rng.choice([-1, 1], sizes[:2])
            x_in = rng.standard_normal(shape).astype(np.float32)
            reached |= (session({image.name: x_in, "seed": u})[out] != 0).any((0, 1))
        ys, xs = (np.flatnonzero(reached.any(a)) for a in (1, 0))
        boxes.append([ys[0], xs[0], ys[-1] + 1, xs[-1] + 1] if ys.size else [0, 0, 0, 0])
    return np.array(boxes)


def spots(rng, h, w, count=6):
    """The corners, and some others."""
    inner = [(int(rng.integers(h)), int(rng.integers(w))) for _ in range(count - 2)]
    return [(0, 0), (h - 1, w - 1), *inner]


class Random:
    """A random network on (1, 3, h, w), layer after layer, with branches."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.graph = Graph({"": 20})
        self.x = self.graph.input("image", np.float32, [1, 3, *self.rng.integers(20, 34, 2).tolist()])

    def pick(self, *choices):
        return choices[self.rng.integers(len(choices))]

    def pair(self, low, high):
        return self.rng.integers(low, high, 2).tolist()

    def weight(self, *shape):
        """None near zero, and so small that nothing saturates."""
        size = self.rng.uniform(0.5, 1.5, shape) / np.sqrt(np.prod(shape[1:]))
        return (size * self.rng.choice([-1, 1], shape)).astype(np.float32)

    def windows(self):
        kernel = self.pair(1, 5)
        pads = [int(self.rng.integers(0, k)) for k in kernel * 2]
        return {"kernel_shape": kernel, "strides": self.pair(1, 3), "pads": pads}

    def conv(self, x):
        group = self.pick(1, 1, x.shape[1])
        out = x.shape[1] * self.pick(1, 2) if group > 1 else int(self.rng.integers(2, 7))
        sizes = self.windows()
        w = self.weight(out, x.shape[1] // group, *sizes["kernel_shape"])
        return op.Conv(x, w, group=group, dilations=self.pair(1, 3), **sizes)

    def conv_same(self, x):
        auto = self.pick("SAME_UPPER", "SAME_LOWER")
        return op.Conv(x, self.weight(4, x.shape[1], 3, 4), auto_pad=auto, strides=self.pair(1, 3))

    def transposed(self, x):
        sizes = {"kernel_shape": self.pair(1, 5), "strides": self.pair(1, 3), "pads": [0, 1, 1, 0]}
        sizes["kernel_shape"] = [
            max(k, s) for k, s in zip(sizes["kernel_shape"], sizes["strides"], strict=True)
        ]
        return op.ConvTranspose(x, self.weight(x.shape[1], 3, *sizes["kernel_shape"]), **sizes)

    def average(self, x):
        # With ceil_mode ONNX counts windows that begin beyond the image, where ONNX Runtime does not.
        sizes = self.windows()
        inside = {"ceil_mode": 1, "pads": [0, 0, 0, 0], "kernel_shape": [3, 2], "strides": self.pair(1, 3)}
        return op.AveragePool(x, count_include_pad=self.pick(0, 1), **self.pick(sizes, inside))

    def resize(self, x):
        mode = self.pick("linear", "nearest", "cubic")
        how = self.pick("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
        scales = [1.0, 1.0, *self.rng.choice([0.6, 1.5, 2.0], 2).tolist()]
        return op.Resize(x, None, np.float32(scales), mode=mode, coordinate_transformation_mode=how)

    def pad(self, x):
        mode = self.pick("constant", "reflect", "edge", "wrap")
        # Behind something: ONNX Runtime fuses a Pad into a pooling that it then refuses.
        return op.LeakyRelu(op.Pad(x, [0, 0, 1, 2, 0, 0, 0, 1], mode=mode), alpha=0.5)

    def slice(self, x):
        return op.Slice(x, [1, 0], [2**31 - 1, 2**31 - 1], [2, 3], [1, self.pick(1, 2)])

    def shuffle(self, x):
        wide = op.Conv(x, self.weight(8, x.shape[1], 1, 1))
        return op.DepthToSpace(wide, blocksize=2)

    def fold(self, x):
        h, w = x.shape[2:]
        cut = op.Slice(x, [0, 0], [h // 2 * 2, w // 2 * 2], [2, 3])
        return op.SpaceToDepth(cut, blocksize=2)

    def there_and_back(self, x):
        tokens = op.Transpose(op.Reshape(x, [0, 0, -1]), perm=[0, 2, 1])
        tokens = op.Sigmoid(tokens @ self.graph.constant(self.weight(x.shape[1], 4)))
        return op.Reshape(op.Transpose(tokens, perm=[0, 2, 1]), [0, 0, *x.shape[2:]])

    def branches(self, x):
        a = op.Conv(x, self.weight(3, x.shape[1], 3, 3), pads=[1, 1, 1, 1])
        b = op.Conv(x, self.weight(3, x.shape[1], 1, 5), pads=[0, 2, 0, 2])
        return self.pick(lambda: op.Concat(a, b, axis=1), lambda: (a + 3) * op.Sigmoid(b))()

    def split(self, x):
        wide = op.Conv(x, self.weight(4, x.shape[1], 1, 1))
        a, b = op.Split(wide, [1, 3], axis=1, outputs=2)
        return op.Add(op.AveragePool(a, kernel_shape=[3, 3], pads=[1, 1, 1, 1]), b)

    def squeeze(self, x):
        return (x + 3) * op.Sigmoid(op.GlobalAveragePool(x))

    def smooth(self, x):
        return self.pick(op.Tanh, op.Sigmoid, lambda v: op.LeakyRelu(v, alpha=0.1))(x)

    def network(self, layers=6, whole=False):
        kinds = [
            self.conv, self.conv, self.conv_same, self.transposed, self.average, self.resize, self.pad,
            self.slice, self.shuffle, self.fold, self.there_and_back, self.branches, self.smooth, self.split,
        ]  # fmt: skip
        x = self.x
        for _ in range(layers):
            grown = kinds[self.rng.integers(len(kinds))](x)
            if min(grown.shape[2:]) >= 3 and max(grown.shape[2:]) <= 80:
                x = grown
        x = self.squeeze(x) if whole else x
        self.graph.output(op.Conv(x, self.weight(3, x.shape[1], 1, 1)), "map")
        return canonical(self.graph.to_model())


@pytest.mark.parametrize(
    "seed", [pytest.param(i, marks=pytest.mark.slow if i >= 40 else ()) for i in range(300)]
)
def test_random_networks(seed):
    net = Random(seed)
    graph = net.network(whole=seed % 10 == 9)
    fields = receptive_fields(graph, ["map"])["map"]
    assert fields.shape[:2] == graph["map"].shape[2:]
    at = spots(net.rng, *fields.shape[:2])
    np.testing.assert_array_equal([fields[p] for p in at], reached_by(graph, "map", at, count=3))


def test_a_dead_path_shrinks_what_is_felt_and_not_the_field():
    net = parsed(
        """(float[1,1,16,16] x) => (float[1,1,14,14] map) {
            c = Conv <pads=[1,1,1,1]> (x, k)
            r = Relu(c)
            map = MaxPool <kernel_shape=[3,3]> (r)
        }""",
        k=np.ones((1, 1, 3, 3)),
    )
    graph = canonical(net)
    fields = receptive_fields(graph, ["map"])["map"]
    assert fields[5, 7].tolist() == [4, 6, 9, 11]
    (reached,) = reached_by(graph, "map", [(5, 7)])
    assert (reached[:2] >= fields[5, 7][:2]).all()
    assert (reached[2:] <= fields[5, 7][2:]).all()
    assert (reached != fields[5, 7]).any()


def test_hand_worked():
    """Three 3x3 convolutions, the second with stride 2: 3, 5, 9 pixels wide, 1, 2, 2 apart."""
    net = parsed(
        """(float[1,1,32,32] x) => (float[1,1,16,16] c) {
            a = Conv <pads=[1,1,1,1]> (x, k)
            b = Conv <pads=[1,1,1,1], strides=[2,2]> (a, k)
            c = Conv <pads=[1,1,1,1]> (b, k)
        }""",
        k=np.ones((1, 1, 3, 3)),
    )
    fields = receptive_fields(canonical(net), ["a", "b", "c"])
    assert [fields[n][8, 8].tolist() for n in "ab"] == [[7, 7, 10, 10], [14, 14, 19, 19]]
    assert [fields["c"][8, x].tolist() for x in (0, 1, 8, 15)] == [
        [12, 0, 21, 5], [12, 0, 21, 7], [12, 12, 21, 21], [12, 26, 21, 32],
    ]  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        "y = InstanceNormalization(a, s, s)",
        "m = ReduceMean <keepdims = 1> (a, space)\n y = Sub(a, m)",
        "y = Softmax <axis = 2> (a)\n",
        "i = ArgMax <axis=2> (a)\n e = Expand(i, s4)\n g = GatherElements <axis=2> (a, e)\n y = Conv(g, k)",
        "g = GlobalMaxPool(a)\n y = Mul(a, g)",
    ],
)
def test_what_sees_the_whole_map_or_what_it_may_choose(line):
    net = parsed(
        f"(float[1,2,8,8] x) => (y) {{ a = Conv <pads=[1,1,1,1]> (x, k)\n {line} }}",
        k=np.ones((2, 2, 3, 3)),
        s=np.ones(2),
        space=np.array([2, 3]),
        s4=np.array([1, 2, 8, 8]),
    )
    fields = receptive_fields(canonical(net), ["y"])["y"]
    assert (fields[..., [0, 2]] == [0, 8]).all()


NORMS = ["L1", "L2", "LogSum", "LogSumExp", "SumSquare", "Sum", "Prod", "Max"]


@pytest.mark.parametrize("opset", [18, 19, 20, 23, 26])
@pytest.mark.parametrize("kind", NORMS)
def test_a_normalisation_by_the_whole_map_sees_all_of_it(kind, opset):
    net = parsed(
        f"""(float[1,2,8,8] x) => (y) {{
            a = Conv <pads=[1,1,1,1]> (x, k) p = Relu(a)
            n = Reduce{kind} <keepdims = 1> (p, space) y = Div(p, n)
        }}""",
        opset,
        k=np.ones((2, 2, 3, 3)),
        space=np.array([2, 3]),
    )
    fields = receptive_fields(canonical(net), ["p", "y"])
    assert fields["p"][4, 4].tolist() == [3, 3, 6, 6]
    assert (fields["y"] == [0, 0, 8, 8]).all()


@pytest.mark.parametrize("cast", ["Cast <to = 1, saturate = 1> (a)", "CastLike <saturate = 0> (a, s)"])
def test_a_cast_sees_what_it_casts(cast):
    net = parsed(
        f"(float[1,2,8,8] x) => (y) {{ a = Conv <pads=[1,1,1,1]> (x, k)\n y = {cast} }}",
        20,
        k=np.ones((2, 2, 3, 3)),
        s=np.ones(1),
    )
    assert receptive_fields(canonical(net), ["y"])["y"][4, 4].tolist() == [3, 3, 6, 6]


def test_a_spatial_transformer_sees_what_turns_it():
    net = parsed(
        """(float[1,2,8,8] x) => (y) {
            m = GlobalAveragePool(x) f = Flatten(m) t = MatMul(f, w) a = Reshape(t, s23)
            g = AffineGrid(a, s4) y = GridSample(x, g)
        }""",
        20,
        w=np.ones((2, 6)),
        s23=np.array([1, 2, 3]),
        s4=np.array([1, 2, 8, 8]),
    )
    assert (receptive_fields(canonical(net), ["y"])["y"] == [0, 0, 8, 8]).all()


def test_attention_sees_everything_and_tokens_their_patch():
    net = parsed(
        """(float[1,3,32,32] x) => (float[1,16,6] z) {
            p = Conv <strides=[8,8]> (x, k)
            r = Reshape(p, shape)
            t = Transpose <perm=[0,2,1]> (r)
            u = LayerNormalization(t, w)
            v = Transpose <perm=[0,2,1]> (u)
            q = MatMul(u, v)
            s = Softmax(q)
            a = MatMul(s, u)
            z = LayerNormalization(a, w)
        }""",
        k=np.ones((6, 3, 8, 8)),
        shape=np.array([1, 6, 16]),
        w=np.ones(6),
    )
    fields = receptive_fields(canonical(net), ["u", "z"])
    assert fields["u"][1, 2].tolist() == [8, 16, 16, 24]
    assert (fields["z"] == [0, 0, 32, 32]).all()


def test_what_shows_nothing_of_the_image_has_an_empty_field():
    net = parsed(
        "(float[1,1,8,8] x) => (y) { a = Conv (x, k)\n y = Pad(a, pads) }",
        k=np.ones((1, 1, 3, 3)),
        pads=np.array([0, 0, 2, 0, 0, 0, 0, 0]),
    )
    fields = receptive_fields(canonical(net), ["y"])["y"]
    assert fields[0, 0].tolist() == [0, 0, 0, 0]
    assert fields[2, 0].tolist() == [0, 0, 3, 3]


def test_every_map_of_the_embedded_model():
    graph = canonical(onnx.load(embedded.path()))
    names = map_names(graph)
    rng = np.random.default_rng(0)
    for name, fields in receptive_fields(graph, names).items():
        at = spots(rng, *fields.shape[:2], count=4)
        # Through every ReLU; a maximum over 2x2 of random features falls everywhere in a few tries.
        reached = reached_by(graph, name, at, STRAIGHT_THROUGH, count=4)
        boxes = np.array([fields[p] for p in at])
        assert (reached[:, :2] >= boxes[:, :2]).all()
        assert (reached[:, 2:] <= boxes[:, 2:]).all()
        assert np.abs(reached - boxes).max() <= (0 if "pool" not in name and name[-1] == "1" else 4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["squeezenet", "resnet50", "shufflenet", "inception_v1", "densenet121"])
def test_the_architectures_that_onnx_carries(name):
    model = randomised(onnx.load(LIGHT / f"light_{name}.onnx"))
    graph = canonical(model)
    rng = np.random.default_rng(0)
    names = map_names(graph)
    names = [names[i] for i in np.linspace(0, len(names) - 1, 8).astype(int)]
    for layer, fields in receptive_fields(graph, names).items():
        at = spots(rng, *fields.shape[:2], count=3)
        reached = reached_by(graph, layer, at, STRAIGHT_THROUGH)
        boxes = np.array([fields[p] for p in at])
        assert (reached[:, :2] >= boxes[:, :2]).all(), layer
        assert (reached[:, 2:] <= boxes[:, 2:]).all(), layer


@pytest.mark.reference
@pytest.mark.parametrize("batch", ["fixed", "dynamic"])
@pytest.mark.parametrize("name", NAMES)
def test_the_families_of_vision_networks(name, batch):
    """Squeeze-and-excitation, shifted windows, attention, recurrence; sizes that the file leaves open."""
    pytest.importorskip("torch")
    from oracles import architectures, autograd

    module, x = architectures.made(name), architectures.picture(batch=1)
    graph = canonical(autograd.exported(module, x, "torchscript", batch))
    rng = np.random.default_rng(0)
    names = map_names(graph)
    equal = []
    for layer, fields in receptive_fields(graph, names[:: len(names) // 5 + 1]).items():
        at = spots(rng, *fields.shape[:2], count=3)
        reached = reached_by(graph, layer, at, STRAIGHT_THROUGH, count=2)
        boxes = np.array([fields[p] for p in at])
        within = (reached[:, :2] >= boxes[:, :2]).all(1) & (reached[:, 2:] <= boxes[:, 2:]).all(1)
        assert (within | (reached == 0).all(1)).all(), layer
        equal += (reached == boxes).all(1).tolist()
    assert np.mean(equal) > 0.75


def test_names_that_are_no_maps_and_images_without_a_size():
    net = parsed("(float[1,1,h,8] x) => (y) { y = Relu(x) }")
    with pytest.raises(BadModel, match="open"):
        receptive_fields(canonical(net), ["y"])
    with pytest.raises(BadRequest, match="conv1"):
        receptive_fields(canonical(onnx.load(embedded.path())), ["conv11"])


def test_the_batch_needs_no_name():
    model = parsed("(float[N,1,6,6] x) => (float[N,1,4,4] y) { y = Conv (x, w) }", w=np.ones((1, 1, 3, 3)))
    model.graph.input[0].type.tensor_type.shape.dim[0].Clear()
    boxes = receptive_fields(canonical(model), ["y"])["y"]
    np.testing.assert_array_equal(boxes[1, 2], [1, 2, 4, 5])


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_a_sum_that_goes_on_sees_along_its_axis(axis):
    graph = canonical(
        parsed(
            """(float[1,2,6,5] image) => (float[1,2,6,5] y) { y = CumSum (image, axis) }""",
            axis=np.array(axis),
        )
    )
    found = receptive_fields(graph, ["y"])["y"]
    rows, columns = np.indices((6, 5))
    alone = np.stack([rows, columns, rows + 1, columns + 1], -1)
    if axis > 1:
        alone[..., axis - 2], alone[..., axis] = 0, (6, 5)[axis - 2]
    np.testing.assert_array_equal(found, alone)
