"""What an element sees is where its gradient is not zero, in networks that move what they compute with."""

import numpy as np
from hypothesis import HealthCheck, given, settings
from oracles.movements import networks

from onnxlens.engine.anatomy.maps import coordinates
from onnxlens.engine.autodiff.gradient import backpropagate
from onnxlens.engine.features.receptive import Walk
from onnxlens.engine.graph.graph import op
from onnxlens.engine.runtime.session import Session

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]
ORDINARY = {"derandomize": True, "deadline": None, "database": None, "suppress_health_check": QUIET}
# Where elements meet that are unlike fine, the extent is that of the finest.
MEETING = "attending", "added_to_a_roll", "to_channels", "unfolded"


def seen(graph, channels):
    """The box (y0, x0, y1, x1) that each position of `map` sees; channels are taken together."""
    graph = graph.copy()
    shape = graph["image"].shape
    place = graph.input("place", np.float32, shape)
    walk = Walk(graph, {"image": place})
    walk.through(graph.ancestors(["map"]))
    field = graph.output(op.ReduceMax(walk.fields["map"], [channels], keepdims=0), "field").name
    session = Session(graph, [field], "cpu", 1)
    ys, xs = np.indices(shape).astype(np.float32)[2:]
    bounds = [
        session({"place": p, "image": np.zeros(shape, np.float32)})[field] for p in (-ys, -xs, ys + 1, xs + 1)
    ]
    boxes = np.stack([-bounds[0], -bounds[1], *bounds[2:]], -1)
    return np.where(bounds[2][..., None] <= 0, 0, boxes)


def reached(graph, channels, positions, rng, tries=3):
    """The boxes of the pixels at which the gradient of a position is not zero, over a few random inputs."""
    graph = graph.copy()
    shape = graph["map"].shape
    (gradient,) = backpropagate(graph, {"map": graph.input("seed", np.float32, shape)}, ["image"])
    if gradient is None:
        return np.zeros((len(positions), 4))
    session = Session(graph, [graph.output(gradient, "gradient").name], "cpu", 1)
    boxes = []
    for position in positions:
        seed = np.zeros(shape, np.float32)
        where = (*position[:channels], slice(None), *position[channels:])
        touched = np.zeros(graph["image"].shape[2:], bool)
        for _ in range(tries):
            seed[where] = rng.uniform(0.5, 1.5, seed[where].shape)
            image = rng.standard_normal(graph["image"].shape).astype(np.float32)
            touched |= (session({"image": image, "seed": seed})["gradient"] != 0).any((0, 1))
        ys, xs = (np.flatnonzero(touched.any(axis)) for axis in (1, 0))
        boxes.append([ys[0], xs[0], ys[-1] + 1, xs[-1] + 1] if ys.size else [0, 0, 0, 0])
    return np.array(boxes)


@settings(max_examples=300, **ORDINARY)
@given(networks())
def test_the_receptive_field_is_the_support_of_the_gradient(moved):
    fields = seen(moved.graph, moved.channels)
    count = int(np.prod(fields.shape[:-1]))
    some = np.unique([0, count - 1, *moved.rng.integers(count, size=5)])
    positions = list(zip(*np.unravel_index(some, fields.shape[:-1]), strict=True))
    found = reached(moved.graph, moved.channels, positions, moved.rng)
    np.testing.assert_array_equal([fields[p] for p in positions], found)


@settings(max_examples=300, **ORDINARY)
@given(networks(without=MEETING))
def test_the_extent_of_what_has_a_place_holds_its_receptive_field(moved):
    graph, axis = moved.graph, 1 + moved.channels
    fields = seen(graph, moved.channels)
    followed = coordinates(graph)["map"]
    assert followed is not None
    rows, columns = (np.broadcast_to(f, (4, *followed.shape)) for f in (followed.rows, followed.columns))
    placed = np.isfinite(rows[0] + columns[0]).all(axis - 1) & (fields[..., 2] > 0)
    for facts, first in ((rows, 0), (columns, 1)):
        low, high = facts[1].min(axis - 1), facts[2].max(axis - 1)
        assert (low <= fields[..., first] + 1e-3)[placed].all()
        assert (high >= fields[..., first + 2] - 1e-3)[placed].all()
