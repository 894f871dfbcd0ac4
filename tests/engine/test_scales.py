"""Where values of several scales meet, behind windows larger than the picture: worked by hand."""

import numpy as np
import pytest

from onnxlens.engine.anatomy.maps import coordinates, view_of, why_not
from onnxlens.engine.canonical.canonical import canonical
from onnxlens.engine.graph.graph import Graph, op

SIDE = 64


def made(build, side=SIDE, batch=1):
    graph = Graph({"": 20})
    graph.output(op.Identity(build(graph.input("image", np.float32, [batch, 3, side, side]))), "y")
    return canonical(graph.to_model())


def centres(build, side=SIDE):
    """Those of the rows and columns of `y`, (2, n), after its view has been laid out by them."""
    graph = made(build, side)
    y0, x0, y1, x1 = view_of(graph, "y").place.cells
    h, w = view_of(graph, "y").grid
    return [y0 + (np.arange(h) + 0.5) * (y1 - y0) / h, x0 + (np.arange(w) + 0.5) * (x1 - x0) / w]


def assert_at(found, first, step):
    for line in found:
        np.testing.assert_allclose(line, first + step * np.arange(len(line)), atol=1e-3)


def conv(x, kernel=3, stride=1, begin=1, end=1):
    weight = np.random.default_rng(0).uniform(0.5, 1, (3, x.shape[1], kernel, kernel)).astype(np.float32)
    return op.Conv(x, weight, strides=[stride] * 2, pads=[begin, begin, end, end])


def everywhere(x):
    """Windows that see all of the picture from each place, around it."""
    return conv(x, 2 * x.shape[2] - 1, 1, x.shape[2] - 1, x.shape[2] - 1)


def halved(x, times, begin=1):
    for _ in range(times):
        x = conv(x, 3, 2, begin, 2 - begin)
    return x


def of_halved(times, begin=1, first=0.5, step=1):
    """The first centre and the step behind windows of 3 with stride 2 that begin so far outside."""
    for _ in range(times):
        first, step = first + step * (1 - begin), 2 * step
    return first, step


def resized(x, times, **how):
    side = x.shape[2] * 2**times
    return op.Resize(x, None, None, [1, x.shape[1], side, side], **how)


def transposed(x, times):
    for _ in range(times):
        x = op.ConvTranspose(x, np.ones((3, 3, 2, 2), np.float32), strides=[2, 2])
    return x


UP = {
    "floor": lambda x, n: resized(
        x, n, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
    ),
    "linear": lambda x, n: resized(x, n, mode="linear"),
    "corners": lambda x, n: resized(x, n, mode="linear", coordinate_transformation_mode="align_corners"),
    "transposed": transposed,
    "twice": lambda x, n: UP["linear"](UP["floor"](x, 1), n - 1) if n > 1 else UP["floor"](x, 1),
    "smoothed": lambda x, n: conv(UP["linear"](x, n)),
    "subpixel": lambda x, n: op.DepthToSpace(op.Concat(*[x] * 4**n, axis=1), blocksize=2**n),
}
MEET = {
    "added": lambda fine, coarse: fine + coarse,
    "gated": lambda fine, coarse: fine * op.Sigmoid(coarse),
    "joined": lambda fine, coarse: conv(op.Concat(fine, coarse, axis=1)),
    "greater": op.Max,
}


@pytest.mark.parametrize("begin", [0, 1, 2])
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("up", UP)
def test_a_coarse_map_enlarged_lies_where_the_fine_one_does(up, times, begin):
    def build(x, meet, turned):
        fine = everywhere(halved(x, 1, begin))
        both = fine, UP[up](everywhere(halved(fine, times, begin)), times)
        return meet(*(both[::-1] if turned else both))

    for meet in MEET.values():
        for turned in (False, True):
            found = centres(lambda x, meet=meet, turned=turned: build(x, meet, turned))
            assert_at(found, *of_halved(1, begin))


def test_branches_of_many_scales_lie_where_the_finest_does():
    def build(x):
        branches = [everywhere(halved(x, 1))]
        branches += [UP["floor"](everywhere(halved(branches[0], n)), n) for n in (1, 2, 3)]
        return conv(op.Relu(op.Sum(*branches[::-1])))

    assert_at(centres(build), *of_halved(1))


def test_a_pyramid_of_feature_maps_lies_where_each_lateral_one_does():
    def build(x, level):
        laterals = [everywhere(halved(x, n + 1)) for n in range(4)]
        top = laterals[3]
        for n in range(2, level - 1, -1):
            top = laterals[n] + UP["floor"](top, 1)
        return conv(top)

    for level in range(3):
        assert_at(centres(lambda x, level=level: build(x, level)), *of_halved(level + 1))


def test_pooled_bins_enlarged_lie_where_the_map_does():
    def build(x):
        fine = halved(x, 3)
        bins = [op.AveragePool(fine, kernel_shape=[k, k], strides=[k, k]) for k in (8, 4, 2)]
        wide = [op.Resize(conv(b, 1, 1, 0, 0), None, None, [1, 3, 8, 8], mode="linear") for b in bins]
        return conv(op.Concat(fine, *wide, axis=1))

    assert_at(centres(build), *of_halved(3))


@pytest.mark.parametrize("side", [32, 256])
def test_shortcuts_of_one_scale_share_a_place_whatever_the_size_of_the_picture(side):
    def build(x, turned):
        x = conv(x, 17, 1, 8, 8)
        ways = conv(x, 3, 2), op.AveragePool(x, kernel_shape=[2, 2], strides=[2, 2])
        ways = ways[::-1] if turned else ways
        return ways[0] + ways[1]

    for turned in (False, True):
        assert_at(centres(lambda x, turned=turned: build(x, turned), side), 0.75, 2)


def pixels(x, block):
    """The pixels of each block among the channels, by slices (YOLOv5's Focus)."""
    starts = [(i, j) for i in range(block) for j in range(block)]
    parts = [op.Slice(x, list(s), [SIDE, SIDE], [2, 3], [block, block]) for s in starts]
    return conv(op.Concat(*parts, axis=1), 1, 1, 0, 0)


@pytest.mark.parametrize(
    "coarse",
    [
        lambda x: UP["floor"](pixels(x, 4), 2),
        lambda x: UP["floor"](op.Slice(x, [3, 3], [SIDE, SIDE], [2, 3], [4, 4]), 2),
        lambda x: UP["floor"](conv(op.SpaceToDepth(x, blocksize=4), 1, 1, 0, 0), 2),
    ],
)
def test_what_stands_for_a_block_of_pixels_is_coarse(coarse):
    assert_at(centres(lambda x: x + coarse(x)), 0.5, 1)


def test_blocks_of_pixels_lie_in_their_middle():
    assert_at(centres(lambda x: pixels(x, 4)), 2, 4)


def rolled(x, by):
    return op.Concat(op.Slice(x, [by], [SIDE], [2]), op.Slice(x, [0], [by], [2]), axis=2)


def flipped(x):
    return op.Slice(x, [-1], [-SIDE - 1], [3], [-1])


TORN = {
    "a reflection": [flipped],
    "a roll": [lambda x: rolled(x, 5)],
    "two rolls": [lambda x: rolled(x, 3), lambda x: rolled(x, 7)],
}


@pytest.mark.parametrize("name", TORN)
def test_what_lies_equally_at_several_places_is_refused(name):
    def build(x, turned):
        x = everywhere(x)
        parts = [x, *(part(x) for part in TORN[name])]
        total, *rest = parts[::-1] if turned else parts
        for part in rest:
            total = total + part
        return op.Relu(total)

    for turned in (False, True):
        graph = made(lambda x, turned=turned: build(x, turned))
        assert coordinates(graph)["y"].nowhere
        assert "Add" in coordinates(graph).lost["y"]
        assert "Add" in why_not(graph, "y")


def test_a_gate_of_what_lies_at_several_places_takes_no_place():
    """Adaptive pools of uneven bins are exported as sums of elements, one by one."""

    def build(x):
        fine = everywhere(halved(x, 3))
        bins = [op.Gather(fine, np.array(i), axis=2) for i in ([0, 2, 5], [1, 3, 6], [2, 4, 7])]
        total = bins[0] + bins[1] + bins[2]
        wide = op.Resize(conv(total / 3, 1, 1, 0, 0), None, None, [1, 3, 8, 8], mode="linear")
        return fine * op.Sigmoid(wide)

    assert_at(centres(build), *of_halved(3))


def test_images_sampled_at_places_of_their_own_lie_there():
    grid = np.random.default_rng(0).uniform(-0.9, 0.9, (2, 1, 4, 2)).astype(np.float32)
    graph = made(lambda x: op.GridSample(x, grid), batch=2)
    found = coordinates(graph)["y"]
    for axis, field in ((1, found.rows), (0, found.columns)):
        expected = (grid[..., axis] + 1) / 2 * SIDE
        np.testing.assert_allclose(np.broadcast_to(field[0], found.shape)[:, 0], expected, atol=1e-3)
