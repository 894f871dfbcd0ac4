import numpy as np
import pytest
from oracles.networks import parsed

from onnxlens.engine.attribution.perturbation.costs import (
    CARRYING,
    WRITING,
    chains,
    cut_points,
    multiplications,
    total_cost,
)
from onnxlens.engine.attribution.perturbation.places import places
from onnxlens.engine.attribution.perturbation.spans import spans
from onnxlens.engine.runtime.network import Network

RNG = np.random.default_rng(0)
WEIGHTS = {"a": RNG.standard_normal((8, 3, 3, 3)), "b": RNG.standard_normal((6, 4, 3, 3))}
BODY = """(float[N,3,40,44] image) => (float[N,6] y) {
    c = Conv<strides=[2, 2], pads=[1, 1, 1, 1]>(image, a)
    r = Relu(c)
    p = MaxPool<kernel_shape=[2, 2], strides=[2, 2]>(r)
    d = Conv<group=2>(p, b)
    m = GlobalAveragePool(d)
    y = Flatten(m)
}"""
NETWORK = Network(parsed(BODY, **WEIGHTS), "cpu", threads=1)
GRAPH = NETWORK.graph


def test_multiplications_are_those_of_the_loops():
    found = {n.output[0]: multiplications(GRAPH, n) for n in GRAPH.nodes}
    assert found["c"] == 8 * 20 * 22 * 3 * 9
    assert found["p"] == 8 * 10 * 11 * 4
    assert found["d"] == 6 * 8 * 9 * 4 * 9
    assert found["r"] == 8 * 20 * 22


@pytest.mark.parametrize(
    ("body", "weights", "wanted"),
    [
        ("(float[N,5,7] x) => (float[N,5,3] y) { y = MatMul(x, w) }", {"w": np.ones((7, 3))}, 5 * 3 * 7),
        ("(float[N,7] x) => (float[N,3] y) { y = Gemm<transB=1>(x, w) }", {"w": np.ones((3, 7))}, 3 * 7),
        (
            "(float[N,2,4,5] x) => (float[N,6,8,10] y) { y = ConvTranspose<strides=[2, 2]>(x, w) }",
            {"w": np.ones((2, 6, 2, 2))},
            4 * 5 * 2 * 6 * 4,
        ),
    ],
)
def test_multiplications_of_other_operators(body, weights, wanted):
    graph = Network(parsed(body, **weights), "cpu", threads=1).graph
    assert multiplications(graph, graph.nodes[-1]) == wanted


def test_points_to_cut_at_are_behind_what_is_computed_in_one():
    assert cut_points(GRAPH, "image", "y") == ["r", "p", "d"]


def test_the_estimate_is_the_mean_over_all_places():
    """Cut at r: the convolution on a crop for each place, all behind it whole."""
    spots = places((40, 44), (9, 9), (5, 6))
    found = chains(GRAPH, "image", "y", spots.ranges, 3)
    (share, cuts) = found[0]
    seen = spans(GRAPH, "image", GRAPH.nodes)
    costs = {n.output[0]: multiplications(GRAPH, n) for n in GRAPH.nodes}
    sizes = {"c": 8 * 20 * 22, "r": 8 * 20 * 22, "p": 8 * 10 * 11, "d": 6 * 8 * 9, "m": 6, "y": 6}
    costs = {name: costs[name] + WRITING * size for name, size in sizes.items()}
    assert sum(costs.values()) == total_cost(GRAPH, "y")
    order = list(costs)
    inside, behind = (order[: order.index(cuts[1]) + 1], order[order.index(cuts[1]) + 1 :])
    wanted = []
    for top, left in spots.corners(np.arange(len(spots))):
        areas, crop = dict.fromkeys(inside, 1.0), 3.0
        for axis, start in enumerate((top, left)):
            span = seen[cuts[1]][axis]
            low, high = span.changed(np.array([start]), np.array([start + 9]))
            begin, end = span.crop(low, high)
            for name in inside:
                step = seen[name][axis].step
                areas[name] *= (len(seen[name][axis]) - (span.size - (end - begin)[0]) / step) / len(
                    seen[name][axis]
                )
            crop *= (end - begin)[0]
        whole = sizes[cuts[1]] * CARRYING + sum(costs[name] for name in behind)
        wanted.append(sum(costs[name] * area for name, area in areas.items()) + CARRYING * crop + whole)
    assert share == pytest.approx(np.mean(wanted) / total_cost(GRAPH, "y"))


def test_one_more_cut_is_given_only_where_it_pays():
    spots = places((40, 44), (9, 9), (5, 6))
    found = chains(GRAPH, "image", "y", spots.ranges, 8)
    shares = [share for share, _ in found]
    assert shares == sorted(shares, reverse=True)
    assert [len(cuts) for _, cuts in found] == list(range(2, len(found) + 2))
