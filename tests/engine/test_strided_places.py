"""Where the cells of a map lie: strides, padding, dilation and cuts, composed by hand axis by axis."""

from dataclasses import dataclass, replace

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracles.strided import KINDS, network, places

from onnxlens.engine.anatomy.maps import coordinates, map_names, view_of
from onnxlens.engine.canonical.canonical import canonical
from onnxlens.engine.features.receptive import receptive_fields
from onnxlens.engine.graph.graph import Graph, op
from onnxlens.models import embedded

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
ORDINARY = {"derandomize": True, "deadline": None, "database": None, "suppress_health_check": QUIET}


def cells(centres):
    """The ends of the line over which cells with these centres are spread evenly."""
    (step,) = set(np.diff(centres).tolist())
    return centres[0] - step / 2, centres[-1] + step / 2


@pytest.mark.parametrize("stages", [1, 3, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_stages_of_stride_2(kind, stages):
    model, layer = network(kind, stages)
    graph = canonical(model)
    view = view_of(graph, layer)
    counts = view(graph[layer]).shape[2:]
    (y0, y1), (x0, x1) = (cells(places(kind, stages, n, axis)) for axis, n in enumerate(counts))
    np.testing.assert_allclose(view.place.cells, (y0, x0, y1, x1), atol=1e-3)


@dataclass
class Axis:
    """The centres of what elements see along an axis: of element 0, and how far apart they are."""

    first: float = 0.5
    step: float = 1.0

    def windows(self, kernel, stride, begin, dilation):
        """Element i looks from element `stride i - begin` on."""
        self.first += self.step * (dilation * (kernel - 1) / 2 - begin)
        self.step *= stride

    def spread(self, kernel, stride, begin):
        """Element o stands at (o + begin - the middle of the kernel) / stride: transposed convolutions."""
        self.step /= stride
        self.first += self.step * (begin - (kernel - 1) / 2)

    def resized(self, scale, half_pixel):
        self.first += self.step * (0.5 / scale - 0.5 if half_pixel else 0)
        self.step /= scale

    def ends(self, count):
        return self.first - self.step / 2, self.first + self.step * (count - 0.5)


def pairs(values):
    return st.tuples(values, values)


def weight(x, *sides):
    return np.random.default_rng(x.shape[1]).uniform(0.5, 1, (4, x.shape[1], *sides)).astype(np.float32)


def convolved(x, axes, draw):
    kernel, stride, dilation = (draw(pairs(st.integers(1, most))) for most in (5, 3, 2))
    begin, end = (tuple(draw(st.integers(0, k)) for k in kernel) for _ in "12")
    for axis, *how in zip(axes, kernel, stride, begin, dilation, strict=True):
        axis.windows(*how)
    return op.Conv(x, weight(x, *kernel), strides=[*stride], pads=[*begin, *end], dilations=[*dilation])


def convolved_same(x, axes, draw):
    kernel, stride = draw(pairs(st.integers(1, 5))), draw(pairs(st.integers(1, 3)))
    upper = draw(st.booleans())
    for axis, n, k, s in zip(axes, x.shape[2:], kernel, stride, strict=True):
        missing = max((-(-n // s) - 1) * s + k - n, 0)
        axis.windows(k, s, missing // 2 if upper else missing - missing // 2, 1)
    auto = "SAME_UPPER" if upper else "SAME_LOWER"
    return op.Conv(x, weight(x, *kernel), strides=[*stride], auto_pad=auto)


def transposed_convolution(x, axes, draw):
    stride, more, begin = draw(st.integers(2, 3)), draw(st.integers(0, 2)), draw(st.integers(0, 1))
    for axis in axes:
        axis.spread(stride + more, stride, begin)
    sizes = {"strides": [stride] * 2, "pads": [begin] * 4}
    return op.ConvTranspose(x, weight(x, *[stride + more] * 2).swapaxes(0, 1), **sizes)


def pooled(x, axes, draw):
    kind = draw(st.sampled_from([op.MaxPool, op.AveragePool]))
    kernel, stride, ceil = (
        draw(pairs(st.integers(2, 4))),
        draw(pairs(st.integers(1, 3))),
        draw(st.integers(0, 1)),
    )
    begin = draw(pairs(st.integers(0, 1)))
    for axis, k, s, b in zip(axes, kernel, stride, begin, strict=True):
        axis.windows(k, s, b, 1)
    sizes = {"kernel_shape": [*kernel], "strides": [*stride], "pads": [*begin, 1, 1]}
    return kind(x, ceil_mode=ceil, **sizes)


def padded(x, axes, draw):
    (top, left), (bottom, right) = draw(pairs(st.integers(0, 3))), draw(pairs(st.integers(0, 3)))
    for axis, begin in zip(axes, (top, left), strict=True):
        axis.windows(1, 1, begin, 1)
    return op.LeakyRelu(op.Pad(x, [0, 0, top, left, 0, 0, bottom, right]), alpha=0.5)


def cropped(x, axes, draw):
    start, step = draw(pairs(st.integers(0, 3))), draw(pairs(st.integers(1, 2)))
    for axis, first, apart in zip(axes, start, step, strict=True):
        axis.windows(1, apart, -first, 1)
    return op.Slice(x, [*start], [2**31 - 1] * 2, [2, 3], [*step])


def folded(x, axes, draw):
    """Blocks of 2 x 2 pixels of the image itself, as networks begin: its parts go in as channels."""
    if x.name != "image":
        return x
    for axis in axes:
        axis.windows(2, 2, 0, 1)
    even = op.Slice(x, [0, 0], [n // 2 * 2 for n in x.shape[2:]], [2, 3])
    return op.SpaceToDepth(even, blocksize=2)


def resized(x, axes, draw):
    scale, half_pixel = draw(st.sampled_from([0.5, 2.0])), draw(st.booleans())
    for axis in axes:
        axis.resized(scale, half_pixel)
    how = "half_pixel" if half_pixel else "asymmetric"
    even = op.Slice(x, [0, 0], [n // 2 * 2 for n in x.shape[2:]], [2, 3])
    scales = np.float32([1, 1, scale, scale])
    return op.Resize(even, None, scales, mode="linear", coordinate_transformation_mode=how)


HOW = ["half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"]
ROUNDED = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
STAGES = [
    convolved,
    convolved,
    convolved_same,
    transposed_convolution,
    pooled,
    padded,
    cropped,
    folded,
    resized,
]


@st.composite
def strided_networks(draw):
    """A network of one to five stages, and where the cells of its value `map` lie: (y0, x0, y1, x1)."""
    graph = Graph({"": 20})
    x = graph.input("image", np.float32, [1, 3, *draw(pairs(st.integers(60, 90)))])
    axes = [Axis(), Axis()]
    for stage in draw(st.lists(st.sampled_from(STAGES), min_size=1, max_size=5)):
        moved = [replace(a) for a in axes]
        made = stage(x, moved, draw)
        if min(made.shape[2:]) >= 6 and max(made.shape[2:]) <= 180:
            x, axes = made, moved
    map_ = graph.output(op.Conv(x, weight(x, 1, 1)), "map")
    (y0, y1), (x0, x1) = (a.ends(n) for a, n in zip(axes, map_.shape[2:], strict=True))
    return canonical(graph.to_model()), (y0, x0, y1, x1)


@settings(max_examples=200, **ORDINARY)
@given(strided_networks())
def test_stages_of_all_kinds(drawn):
    graph, expected = drawn
    np.testing.assert_allclose(view_of(graph, "map").place.cells, expected, atol=1e-2)


def assert_seen(graph, exactly=True):
    """What elements of `map` see, as far as it is of the picture, is their receptive field, or holds it."""
    fields = receptive_fields(graph, ["map"])["map"]
    followed = coordinates(graph)["map"]
    some = fields[..., 2] > 0
    for axis, (facts, size) in enumerate(
        zip((followed.rows, followed.columns), graph["image"].shape[2:], strict=True)
    ):
        first, end = np.clip(np.broadcast_to(facts, (len(facts), *followed.shape))[1:3, 0, 0], 0, size)
        seen = np.stack([first, -end])[:, some]
        right = np.stack([fields[..., axis], -fields[..., axis + 2]])[:, some]
        assert (seen <= right + 1e-3).all()
        if exactly:
            np.testing.assert_allclose(seen, right, atol=1e-3)


@settings(max_examples=100, **ORDINARY)
@given(strided_networks())
def test_elements_see_their_receptive_field(drawn):
    assert_seen(drawn[0])


@settings(max_examples=200, **ORDINARY)
@given(st.data())
def test_resized_elements_see_their_receptive_field(data):
    draw = data.draw
    mode, how = draw(st.sampled_from(["nearest", "linear", "cubic"])), draw(st.sampled_from(HOW))
    graph = Graph({"": 20})
    x = graph.input("image", np.float32, [1, 3, *draw(pairs(st.integers(4, 12)))])
    attrs = {"mode": mode, "coordinate_transformation_mode": how}
    if mode == "nearest":
        attrs["nearest_mode"] = draw(st.sampled_from(ROUNDED))
    elif draw(st.booleans()) and how != "align_corners":
        attrs["antialias"] = 1
    sizes = [1, 3, *draw(pairs(st.integers(2, 20)))]
    graph.output(op.Resize(x, None, None, sizes, **attrs), "map")
    assert_seen(canonical(graph.to_model()), exactly=mode == "nearest")


def test_maps_behind_centred_pools_lie_evenly_over_the_input():
    graph = canonical(onnx.load(embedded.path()))
    for name in map_names(graph):
        np.testing.assert_allclose(view_of(graph, name).place.cells, (0, 0, 96, 96), atol=1e-3)
