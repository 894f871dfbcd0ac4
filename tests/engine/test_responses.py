import numpy as np
import pytest
from oracles.networks import parsed

from onnxlens.engine.anatomy.anatomy import bottlenecks
from onnxlens.engine.anatomy.layers import matching
from onnxlens.engine.errors import BadRequest
from onnxlens.engine.features import responses
from onnxlens.engine.features.responses import dead, order, read, stages, statistics, strengths
from onnxlens.engine.runtime.network import Network

RNG = np.random.default_rng(7)


def residual(batch=1):
    """conv -> relu -> [conv -> relu -> conv] + itself -> relu -> pool -> conv -> relu -> mean -> gemm."""
    w = {
        f"w{i}": 0.3 * RNG.standard_normal(s)
        for i, s in enumerate([(4, 3, 3, 3), (4, 4, 3, 3), (4, 4, 3, 3)])
    }
    return parsed(
        f"""(float[{batch},3,16,16] x) => (float[{batch},5] y) {{
            a = Conv<pads=[1,1,1,1]>(x, w0)
            "b*" = Relu(a)
            c = Conv<pads=[1,1,1,1]>("b*", w1)
            d = Relu(c)
            e = Conv<pads=[1,1,1,1]>(d, w2)
            f = Add(e, "b*")
            g = Relu(f)
            h = MaxPool<kernel_shape=[2,2], strides=[2,2]>(g)
            i = Conv(h, w3)
            j = Relu(i)
            k = GlobalAveragePool(j)
            l = Flatten(k)
            y = MatMul(l, w4)
        }}""",
        **w,
        w3=RNG.standard_normal((6, 4, 1, 1)),
        w4=RNG.standard_normal((6, 5)),
    )


def network(model=None, **options):
    return Network(model or residual(), "cpu", 1, **options)


# -- which layers -----------------------------------------------------------------------------------------


def test_a_network_is_cut_where_everything_passes_through_one_value():
    cuts = bottlenecks(network().graph, "y")
    assert cuts == ["a", "b*", "f", "g", "h", "i", "j", "k", "l"]  # not the branch: c, d, e


def test_stages_are_the_ends_of_blocks_and_the_last_of_each_resolution():
    assert stages(network().graph, "y") == ["b*", "g", "j"]
    assert stages(network().graph, "y", most=2) == ["g", "j"]


def test_layers_are_matched_by_name_and_by_glob_in_the_order_of_the_network():
    graph = network().graph
    assert matching(graph, ["j", "[ac]"]) == ["a", "c", "j"]
    assert matching(graph, ["*"]) == ["a", "b*", *"cdefghij"]
    assert matching(graph, ["?", "g"]) == list("acdefghij")


def test_a_name_with_a_star_is_taken_as_it_stands():
    assert matching(network().graph, ["b*"]) == ["b*"]


@pytest.mark.parametrize("pattern", ["conv9*", "", "[", "l", "w0", "A"])
def test_what_matches_nothing_is_said_with_the_nearest_names(pattern):
    with pytest.raises(BadRequest, match=r"nearest|there are"):
        matching(network().graph, [pattern])


# -- values -----------------------------------------------------------------------------------------------


def test_values_are_those_of_the_network(monkeypatch):
    net, x = network(), RNG.standard_normal((1, 3, 16, 16), np.float32)
    names = matching(net.graph, ["*"])
    whole = dict(read(net, {"x": x}, names))
    assert list(whole) == names
    for name, value in net.run({"x": x}, names).items():
        np.testing.assert_array_equal(whole[name], value)
    monkeypatch.setattr(responses, "MAX_BYTES", 3000)
    runs = []
    monkeypatch.setattr(net, "run", lambda f, n, run=net.run: runs.append(list(n)) or run(f, n))
    for name, value in read(net, {"x": x}, names):
        np.testing.assert_allclose(value, whole[name], atol=1e-5)
    assert len(runs) > 5  # no more at once than fits
    assert [name for run in runs for name in run] == names


def test_channels_last_is_seen_with_its_channels_first():
    w = RNG.standard_normal((4, 3, 1, 1))
    net = network(
        parsed(
            """(float[1,6,8,3] x) => (float[1,6,8,4] y) {
                t = Transpose<perm=[0,3,1,2]>(x)
                c = Conv(t, w)
                u = Transpose<perm=[0,2,3,1]>(c)
                y = Relu(u)
            }""",
            w=w,
        )
    )
    x = RNG.standard_normal((1, 6, 8, 3), np.float32)
    (name, maps), *_ = read(net, {"x": x}, ["y"])
    assert name == "y"
    expected = np.maximum(np.einsum("nhwc,kc->nkhw", x, w[:, :, 0, 0].astype(np.float32)), 0)
    np.testing.assert_allclose(maps, expected, atol=1e-5)


def test_tokens_are_laid_out_on_their_grid():
    w, token = RNG.standard_normal((4, 3, 2, 2)), RNG.standard_normal((1, 1, 4))
    net = network(
        parsed(
            """(float[1,3,6,8] x) => (float[1,13,4] y) {
                c = Conv<strides=[2,2]>(x, w)
                shape = Constant<value_ints=[1,4,12]>()
                r = Reshape(c, shape)
                t = Transpose<perm=[0,2,1]>(r)
                s = Concat<axis=1>(token, t)
                y = LayerNormalization(s, one)
            }""",
            w=w,
            token=token,
            one=np.ones(4),
        )
    )
    x = RNG.standard_normal((1, 3, 6, 8), np.float32)
    tokens, conv = (net.run({"x": x}, ["s", "c"])[n] for n in "sc")
    ((_, maps),) = read(net, {"x": x}, ["s"])
    np.testing.assert_array_equal(maps, conv)
    assert tokens.shape == (1, 13, 4)
    ((_, maps),) = read(net, {"x": x}, ["y"])
    assert maps.shape == (1, 4, 3, 4)


# -- statistics -------------------------------------------------------------------------------------------


def naive(maps):
    """The statistics, one number after the other."""
    values, zeros, silent = [], 0, 0
    for channel in maps.tolist():
        flat = [v for row in channel for v in row]
        values += flat
        zeros += sum(v == 0 for v in flat)
        silent += len(set(flat)) == 1
    mean = sum(values) / len(values)
    spread = (sum((v - mean) ** 2 for v in values) / len(values)) ** 0.5
    return mean, spread, min(values), max(values), zeros / len(values), silent / len(maps)


def test_statistics_are_what_they_are_called():
    maps = np.maximum(RNG.standard_normal((5, 3, 4)), 0).astype(np.float32)
    maps[1], maps[3] = 0, 0.25
    found = statistics(maps)
    assert (found.channels, found.height, found.width) == (5, 3, 4)
    numbers = found.mean, found.std, found.least, found.most, found.sparsity, found.dead
    np.testing.assert_allclose(numbers, naive(maps), rtol=1e-6)
    assert dead(maps).tolist() == [False, True, False, True, False]


def test_what_is_not_finite_is_left_out():
    maps = np.array([[[np.nan, 1, -np.inf]], [[3, 0, np.nan]]], np.float32)
    found = statistics(maps)
    assert (found.mean, found.least, found.most) == (pytest.approx(4 / 3), 0, 3)
    assert found.sparsity == pytest.approx(1 / 3)
    assert set(statistics(np.full((2, 1, 1), np.nan, np.float32)).to_dict().values()) == {2, 1, None}


def test_strength_is_the_largest_value_and_orders_the_channels():
    maps = np.array([[[1, 5]], [[7, 2]], [[np.nan, np.nan]], [[5, np.nan]], [[-1, -2]]], np.float32)
    assert strengths(maps).tolist() == [5, 7, -np.inf, 5, -1]
    assert order(strengths(maps)).tolist() == [1, 0, 3, 4, 2]  # equal ones by index
    assert order(strengths(maps), sort="index").tolist() == [0, 1, 2, 3, 4]
    assert order(strengths(maps), [4, 3, 3, 1]).tolist() == [1, 3, 4]
