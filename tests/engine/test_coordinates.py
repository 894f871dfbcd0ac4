"""Where elements lie, against the operators themselves: run on a picture whose pixels hold their place."""

from math import prod

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from onnxlens.engine.anatomy.maps import coordinates, view_of, why_not
from onnxlens.engine.canonical.canonical import canonical
from onnxlens.engine.graph.graph import Graph, op
from onnxlens.engine.runtime.session import Session

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
ORDINARY = {"derandomize": True, "deadline": None, "database": None, "suppress_health_check": QUIET}
LAST = 2**31 - 1
MOST = 20_000  # elements of a value


# -- movements of values of any rank, whose first axis is the batch ------------------------------------------


def _axis(x, rng):
    return int(rng.integers(1, x.rank))


def _is_open(x):
    return isinstance(x.shape[0], str)


def reshaped(x, rng):
    """Some neighbouring axes become one, or one is cut into two."""
    shape = list(x.shape)
    axis = _axis(x, rng)
    n = shape[axis]
    parts = [d for d in range(2, n) if n % d == 0]
    if parts and rng.random() < 0.5:
        d = int(rng.choice(parts))
        shape[axis : axis + 1] = [d, n // d]
    elif axis + 1 < x.rank:
        shape[axis : axis + 2] = [-1]
    return op.Reshape(x, [0, *shape[1:]])


def laid_anew(x, rng):
    """The same elements in rows of another length."""
    rest = list(rng.permutation(x.shape[1:]))
    return op.Reshape(x, [0, *map(int, rest[:-1]), -1])


def turned(x, rng):
    return op.Transpose(x, perm=[0, *(1 + rng.permutation(x.rank - 1)).tolist()])


def cut(x, rng):
    n = x.shape[axis := _axis(x, rng)]
    step = int(rng.choice([-3, -2, -1, 1, 2]))
    start, end = (
        (rng.integers(-n, n), rng.integers(-n - 2, n))
        if rng.random() < 0.5
        else (n - 1, -LAST)[:: (1, -1)[step > 0]]
    )
    if step > 0 and end < start:
        start, end = end, LAST
    return op.Slice(x, [int(start)], [int(end)], [axis - x.rank], [step])


def picked(x, rng):
    n = x.shape[axis := _axis(x, rng)]
    sides = [(), (n,), (2, 2), (1, n)][rng.integers(4 if x.rank > 2 else 3)]
    if not sides and x.rank <= 2:
        sides = (n,)
    return op.Gather(x, np.asarray(rng.integers(-n, n, sides)), axis=axis)


def picked_one_by_one(x, rng):
    if _is_open(x):
        return None
    n = x.shape[axis := _axis(x, rng)]
    return op.GatherElements(x, rng.integers(-n, n, x.shape), axis=axis)


def picked_by_places(x, rng):
    if _is_open(x) or x.rank < 3:
        return None
    n = x.shape[0]
    index = rng.integers(0, x.shape[1], (n, 3, 1))
    return op.GatherND(x, index, batch_dims=1)


def split(x, rng):
    n = x.shape[axis := _axis(x, rng)]
    if n < 2:
        return None
    first = int(rng.integers(1, n))
    parts = op.Split(x, [first, n - first], axis=axis, outputs=2)
    return op.Concat(*parts[::-1], axis=axis) if rng.random() < 0.5 else parts[0]


def split_evenly(x, rng):
    axis = _axis(x, rng)
    parts = op.Split(x, axis=axis, num_outputs=2, outputs=2) if x.shape[axis] > 2 else None
    return parts and parts[int(rng.integers(2))]


def with_tokens(x, rng):
    """Constants before, behind or between."""
    if _is_open(x):
        return None
    shape, axis = list(x.shape), _axis(x, rng)
    shape[axis] = int(rng.integers(1, 3))
    extra = np.full(shape, np.nan, np.float32)
    parts = [[extra, x], [x, extra], [extra, x, extra]][rng.integers(3)]
    return op.Concat(*parts, axis=axis)


def tiled(x, rng):
    repeats = [1] * x.rank
    repeats[_axis(x, rng)] = 2
    return op.Tile(x, repeats)


def expanded(x, rng):
    axis = _axis(x, rng)
    sides = [1] * (x.rank + 1)
    sides[axis] = 2
    return op.Expand(op.Unsqueeze(x, [axis]), sides)


def squeezed(x, rng):
    ones = [a for a, d in enumerate(x.shape) if d == 1 and a]
    return op.Squeeze(x, ones[:1]) if ones and x.rank > 2 else op.Unsqueeze(x, [-1])


def flattened(x, rng):
    return op.Flatten(x, axis=1)


def to_blocks(x, rng):
    if x.rank != 4 or x.shape[2] % 2 or x.shape[3] % 2:
        return None
    return op.SpaceToDepth(x, blocksize=2)


def from_blocks(x, rng):
    if x.rank != 4 or x.shape[1] % 4:
        return None
    return op.DepthToSpace(x, blocksize=2, mode=str(rng.choice(["DCR", "CRD"])))


def overwritten(x, rng):
    if _is_open(x):
        return None
    axis = _axis(x, rng)
    n = x.shape[axis]
    rows = rng.permutation(n)[: max(n // 2, 1)]
    new = op.Gather(x, rng.integers(0, n, len(rows)), axis=axis)
    index = np.broadcast_to(rows.reshape([-1 if a == axis else 1 for a in range(x.rank)]), new.shape)
    return op.ScatterElements(x, np.ascontiguousarray(index), new, axis=axis)


def scattered(x, rng):
    if _is_open(x):
        return None
    rows = rng.permutation(x.shape[0])[:1, None]
    return op.ScatterND(x, rows, op.Slice(x, [0], [1], [0]))


def windowed(x, rng):
    """Windows among the images."""
    if x.rank != 4 or x.shape[2] % 2 or x.shape[3] % 2:
        return None
    _, c, h, w = x.shape
    cells = op.Reshape(x, [-1, c, h // 2, 2, w // 2, 2])
    return op.Reshape(op.Transpose(cells, perm=[0, 2, 4, 3, 5, 1]), [0, -1, 4, c])


def rolled(x, rng):
    n = x.shape[axis := _axis(x, rng)]
    by = int(rng.integers(n))
    return op.Concat(op.Slice(x, [by], [LAST], [axis]), op.Slice(x, [0], [by], [axis]), axis=axis)


def bordered(x, rng):
    axis, mode = _axis(x, rng), str(rng.choice(["edge", "reflect", "wrap", "constant"]))
    if x.shape[axis] < 3:
        return None
    pads = [0] * 2 * x.rank  # with axes, ONNX Runtime 1.31 moves a Transpose over it and then cannot run it
    pads[axis], pads[x.rank + axis] = 2, 1
    return op.Pad(x, pads, np.float32(np.nan) if mode == "constant" else None, mode=mode)


def centred(x, rng):
    shape = list(x.shape)
    axis = _axis(x, rng)
    shape[axis] = int(rng.integers(1, x.shape[axis] + 1))
    return op.Reshape(op.CenterCropPad(x, [shape[axis]], axes=[axis]), [0, *shape[1:]])


def compressed(x, rng):
    n = x.shape[axis := _axis(x, rng)]
    keep = rng.random(n) < 0.7
    keep[0] = True
    return op.Reshape(op.Compress(x, keep, axis=axis), [0, *x.shape[1:axis], -1, *x.shape[axis + 1 :]])


def reversed_(x, rng):
    if _is_open(x):
        return None
    lengths = rng.integers(1, x.shape[1] + 1, x.shape[0])
    return op.ReverseSequence(x, lengths, batch_axis=0, time_axis=1)


MOVES = [
    reshaped, reshaped, laid_anew, turned, turned, cut, picked, picked_one_by_one, picked_by_places, split,
    split_evenly, with_tokens, tiled, expanded, squeezed, flattened, to_blocks, from_blocks, overwritten,
    scattered, windowed, rolled, bordered, centred, compressed, reversed_,
]  # fmt: skip


@st.composite
def moved(draw):
    """A picture and one to eight movements: the names of these, and the graph, whose last value is `y`."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    batch = draw(st.sampled_from([1, 2, 3, "N"]))
    graph = Graph({"": 20})
    x = graph.input(
        "image", np.float32, [batch, draw(st.sampled_from([1, 3])), *rng.integers(4, 9, 2).tolist()]
    )
    names = draw(st.lists(st.sampled_from(MOVES), min_size=1, max_size=8))
    made = []
    for move in names:
        y = move(x, rng)
        if y is None or y.rank > 7 or 0 in y.shape or _count(y) > MOST:
            continue
        if any(isinstance(d, str) for d in y.shape[1:]):
            continue
        x = y
        made.append(move.__name__)
    graph.output(op.Identity(x), "y")
    return made, canonical(graph.to_model())


def _count(x):
    return prod(d if isinstance(d, int) else 2 for d in x.shape)


def run(graph, batch):
    """What holds its own row, column or number of the image: all values of `y`, (3, ...)."""
    shape = [batch, *graph["image"].shape[1:]]
    n, _, rows, columns = np.indices(shape).astype(np.float32)
    session = Session(graph, ["y"], "cpu", 1)
    return np.stack([session({"image": v})["y"] for v in (rows + 0.5, columns + 0.5, n)])


@settings(max_examples=400, **ORDINARY)
@given(moved())
def test_what_is_moved_lies_where_its_pixel_does(case):
    made, graph = case
    followed = coordinates(graph)
    p = followed["y"]
    expected = run(graph, followed.batch)
    assert p is not None, made
    assert p.shape == expected.shape[1:], made
    known, seen = ~np.isnan(expected[0]), True
    for field, right in ((p.rows, expected[0]), (p.columns, expected[1])):
        centre, first, end, _ = (np.broadcast_to(f, p.shape) for f in field)
        if not {"bordered", "from_blocks"} & set(made):  # whose centres go on evenly
            np.testing.assert_array_equal(centre, right, str(made))
        pixel = known & (end > first)
        np.testing.assert_array_equal(first[pixel] + end[pixel], 2 * right[pixel], str(made))
        seen &= end > first
    assert (seen >= known).all(), made
    if "bordered" not in made:  # where channels of nothing may be added
        assert (seen == known).all(), made
    images = np.broadcast_to(p.images[0], p.shape)
    assert (np.isnan(images) | np.isnan(expected[2]) | (images == expected[2])).all(), made


def seen(graph, view, batch):
    """The rows, columns and images of a value `y` as feature maps, by the graph: (3, N, K, h, w)."""
    graph = graph.copy()
    graph.output(op.Identity(view(graph["y"])), "seen")
    shape = [batch, *graph["image"].shape[1:]]
    n, _, rows, columns = np.indices(shape).astype(np.float32)
    session = Session(graph, ["seen", "y"], "cpu", 1)
    found = [session({"image": v}) for v in (rows + 0.5, columns + 0.5, n)]
    for f in found:
        np.testing.assert_array_equal(view.of_array(f["y"]), f["seen"])
    return np.stack([f["seen"] for f in found])


@settings(max_examples=400, **ORDINARY)
@given(moved())
def test_a_view_lays_each_element_in_the_cell_where_its_pixel_is(case):
    made, graph = case
    if why_not(graph, "y"):
        return
    view = view_of(graph, "y")
    for batch in [1, 3] if graph["image"].shape[0] == "N" else graph["image"].shape[:1]:
        rows, columns, images = seen(graph, view, batch)
        assert len(rows) == batch, made
        own = np.arange(batch)[:, None, None, None]
        assert ((images == own) | np.isnan(images)).all(), made
        assert view.grid == rows.shape[2:], made
        if {"bordered", "from_blocks"} & set(made):  # whose centres go on evenly
            continue
        y0, x0, y1, x1 = view.place.cells
        (h, w), (di, dj) = view.grid, ((y1 - y0) / view.grid[0], (x1 - x0) / view.grid[1])
        near = [np.ptp(v, 1).max() for v in (rows, columns)]  # channels that lie within a cell
        down = y0 + (np.arange(h)[:, None] + 0.5) * di
        across = x0 + (np.arange(w) + 0.5) * dj
        assert np.abs(rows - down).max() <= 0.51 * di + near[0], made
        assert np.abs(columns - across).max() <= 0.51 * dj + near[1], made


# -- blocks that repeat ------------------------------------------------------------------------------------

PICKED = np.arange(1200)  # more than small constants hold
TOLD_APART = {
    "Slice": lambda x, i: op.Slice(x, [i], [i + 8], [2]),
    "Gather": lambda x, i: op.Gather(x, list(range(i, i + 8)), axis=2),
    "Gather of many": lambda x, i: op.Gather(x, (PICKED + i) % 16, axis=2),
    "Pad": lambda x, i: op.Pad(x, [0, 0, i, 0, 0, 0, 4 - i, 0]),
    "Reshape": lambda x, i: op.Reshape(x, [0, 3, 16 >> i, 16 << i]),
    "Transpose": lambda x, i: op.Transpose(x, perm=[[0, 1, 2, 3], [0, 1, 3, 2]][i > 0]),
    "Conv": lambda x, i: op.Conv(x, np.ones((2, 3, 1 + 2 * i, 1), np.float32), pads=[i, 0, i, 0]),
    "MaxPool": lambda x, i: op.MaxPool(x, kernel_shape=[2, 2], strides=[1 + i, 2]),
    "Split": lambda x, i: op.Split(x, [4 + i, 12 - i], axis=2, outputs=2)[1],
    "If": lambda x, i: _either(x, [i, i + 8]),
}


def _either(x, rows):
    """One of two branches, which take the same rows of what stands around them."""
    branches = []
    for name in ("then", "else"):
        given = [numpy_helper.from_array(np.array([v]), f"{name}{k}") for k, v in enumerate([*rows, 2])]
        cut_ = helper.make_node("Slice", [x.name, *(t.name for t in given)], [f"{name}/y"])
        made = [helper.make_tensor_value_info(f"{name}/y", TensorProto.FLOAT, None)]
        branches.append(helper.make_graph([cut_], name, [], made, given))
    found = x.graph.fresh("If")
    is_first = op.Greater(op.ReduceMax(x, keepdims=0), np.float32(0))
    x.graph.add(
        helper.make_node("If", [is_first.name], [found], then_branch=branches[0], else_branch=branches[1])
    )
    return x.graph[found]


@pytest.mark.parametrize("name", TOLD_APART)
def test_equal_blocks_share_what_is_found_and_others_do_not(name):
    """Beside other nodes of its operator each lies where it does alone; a second one like it lies in the
    same object."""
    apply = TOLD_APART[name]

    def found(cases):
        graph = Graph({"": 18})
        x = graph.input("x", np.float32, ["N", 3, 16, 16])
        values = [apply(x, i) for i in cases]
        followed = coordinates(graph)
        return [followed[v.name] for v in values]

    together = found([0, 1, 2, 1])
    alone = [found([i])[0] for i in (0, 1, 2, 1)]
    for a, b in zip(together, alone, strict=True):
        assert not a.nowhere
        assert (a.shape, a.crossed) == (b.shape, b.crossed)
        for field, other in zip(a[1:4], b[1:4], strict=True):
            np.testing.assert_array_equal(field, other)
    assert together[1] is together[3]
    assert not np.array_equal(together[0].rows, together[1].rows)
