"""Feature maps in every order of axes: the same network, the same maps."""

import numpy as np
import pytest
from onnx import numpy_helper, parser

from onnxlens.engine.anatomy.layers import last_features, matching
from onnxlens.engine.anatomy.maps import feature_map, is_map, map_names, views
from onnxlens.engine.anatomy.readouts.classes import score_name
from onnxlens.engine.attribution.explainer import Explainer
from onnxlens.engine.canonical.canonical import canonical
from onnxlens.engine.errors import BadRequest
from onnxlens.engine.runtime.network import Network

RNG = np.random.default_rng(3)


def model(text, opset=18, **weights):
    proto = parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> {text}')
    proto.graph.initializer.extend(
        numpy_helper.from_array(
            np.asarray(w, np.int64 if np.asarray(w).dtype.kind == "i" else np.float32), name
        )
        for name, w in weights.items()
    )
    return proto


KERNELS = {"w1": RNG.standard_normal((6, 3, 3, 3)), "w2": RNG.standard_normal((4, 6, 3, 3))}
HEAD = RNG.standard_normal((4, 5))


def channels_first():
    return model(
        """net (float[N,3,12,10] x) => (float[N,5] s) {
            a = Conv <pads = [1,1,1,1]> (x, w1)
            r = Relu (a)
            c = Conv <pads = [1,1,1,1], strides = [2,2]> (r, w2)
            f = Relu (c)
            g = ReduceMean <keepdims = 0> (f, axes)
            s = MatMul (g, h)
        }""",
        **KERNELS,
        h=HEAD,
        axes=np.array([2, 3]),
    )


def channels_last():
    """As exporters from TensorFlow leave it: transposed around each convolution."""
    return model(
        """net (float[N,12,10,3] x) => (float[N,5] s) {
            x1 = Transpose <perm = [0,3,1,2]> (x)
            a1 = Conv <pads = [1,1,1,1]> (x1, w1)
            a = Transpose <perm = [0,2,3,1]> (a1)
            r = Relu (a)
            r1 = Transpose <perm = [0,3,1,2]> (r)
            c1 = Conv <pads = [1,1,1,1], strides = [2,2]> (r1, w2)
            c = Transpose <perm = [0,2,3,1]> (c1)
            f = Relu (c)
            g = ReduceMean <keepdims = 0> (f, axes)
            s = MatMul (g, h)
        }""",
        **KERNELS,
        h=HEAD,
        axes=np.array([1, 2]),
    )


def as_tokens():
    """The last features as a sequence, behind a token of the class that the head does not read."""
    return model(
        """net (float[N,3,12,10] x) => (float[N,5] s) {
            a = Conv <pads = [1,1,1,1]> (x, w1)
            r = Relu (a)
            c = Conv <pads = [1,1,1,1], strides = [2,2]> (r, w2)
            flat = Reshape (c, rows)
            patches = Transpose <perm = [0,2,1]> (flat)
            n = Shape <start = 0, end = 1> (x)
            one = Concat <axis = 0> (n, ending)
            extra = Expand (token, one)
            tokens = Concat <axis = 1> (extra, patches)
            f = Relu (tokens)
            own = Slice (f, first, last, axis)
            g = ReduceMean <keepdims = 0> (own, axis)
            s = MatMul (g, h)
        }""",
        **KERNELS,
        h=HEAD,
        rows=np.array([0, 0, -1]),
        token=RNG.standard_normal((1, 1, 4)),
        ending=np.array([1, 4]),
        first=np.array([1]),
        last=np.array([1000]),
        axis=np.array([1]),
    )


IMAGE = RNG.standard_normal((2, 3, 12, 10)).astype(np.float32)


@pytest.mark.parametrize("build", [channels_last, as_tokens])
def test_a_layer_shows_the_same_maps_in_every_order_of_axes(build):
    expected = Network(channels_first(), "cpu").run({"x": IMAGE}, ["f"])["f"]
    network = Network(build(), "cpu")
    graph = network.graph.copy()
    shown = feature_map(graph, "f")
    x = np.ascontiguousarray(IMAGE.transpose(0, 2, 3, 1)) if build is channels_last else IMAGE
    found = network.compile(graph, [shown.name])({"x": x})[shown.name]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("build", [channels_last, as_tokens])
def test_grad_cam_is_the_same_in_every_order_of_axes(build):
    expected = Explainer(Network(channels_first(), "cpu"))({"x": IMAGE}, [1, 3])
    explainer = Explainer(Network(build(), "cpu"))
    assert explainer.layer == "f"
    x = np.ascontiguousarray(IMAGE.transpose(0, 2, 3, 1)) if build is channels_last else IMAGE
    for found, right in zip(explainer({"x": x}, [1, 3]), expected, strict=True):
        np.testing.assert_allclose(found.map, right.map, rtol=1e-4, atol=1e-6)


def test_every_value_of_the_channels_last_network_is_seen_with_its_own_axis():
    graph = canonical(channels_last())
    axes = {name: view.channels for name, view in views(graph).items()}
    assert axes["x"] == axes["a"] == axes["r"] == axes["f"] == 3
    assert axes["x1"] == axes["a1"] == axes["r1"] == 1


def test_a_class_token_alone_in_the_head_sends_the_layer_before_the_attention():
    """Behind the last attention patches no longer reach the score: their gradient would be zero."""
    width = {"ln": np.ones(4), "wq": RNG.standard_normal((4, 4)), "wk": RNG.standard_normal((4, 4))}
    proto = model(
        """net (float[1,3,8,8] x) => (float[1,5] s) {
            c = Conv <strides = [2,2]> (x, w)
            flat = Reshape (c, rows)
            patches = Transpose <perm = [0,2,1]> (flat)
            tokens = Concat <axis = 1> (token, patches)
            n = LayerNormalization (tokens, ln)
            q = MatMul (n, wq)
            k = MatMul (n, wk)
            kt = Transpose <perm = [0,2,1]> (k)
            qk = MatMul (q, kt)
            p = Softmax (qk)
            mixed = MatMul (p, n)
            sum = Add (tokens, mixed)
            out = LayerNormalization (sum, ln)
            own = Gather <axis = 1> (out, zero)
            s = MatMul (own, h)
        }""",
        w=RNG.standard_normal((4, 3, 2, 2)),
        rows=np.array([0, 0, -1]),
        token=RNG.standard_normal((1, 1, 4)),
        zero=np.array(0),
        h=HEAD,
        **width,
    )
    graph = canonical(proto)
    assert last_features(graph, score_name(graph)) == "n"
    assert views(graph)["n"].grid == (4, 4)
    assert views(graph)["n"].index == tuple(range(1, 17))
    (found,) = Explainer(Network(proto, "cpu"))({"x": IMAGE[:1, :, :8, :8]})
    assert found.map.shape == (4, 4)
    assert not found.problem


def test_attention_between_tokens_windows_and_scores_are_no_feature_maps():
    graph = canonical(as_tokens())
    assert is_map(graph, "patches")
    assert not is_map(graph, "g")
    assert not is_map(graph, "s")
    names = map_names(graph)
    assert names[:3] == ["a", "r", "c"]
    assert "x" not in names


def test_what_is_no_feature_map_is_said_with_the_nearest_names():
    graph = canonical(channels_first())
    with pytest.raises(BadRequest, match="no layer 'ff'; nearest: f"):
        feature_map(graph, "ff")
    with pytest.raises(BadRequest, match="'s' of shape"):
        feature_map(graph, "s")


def test_layers_are_matched_by_name_and_by_pattern_in_the_order_of_the_network():
    graph = canonical(channels_first())
    assert matching(graph, ["f", "[ar]"]) == ["a", "r", "f"]
    assert matching(graph, ["*"]) == ["a", "r", "c", "f"]
    with pytest.raises(BadRequest, match="no layer matches 'conv"):
        matching(graph, ["a", "conv*"])


def test_integers_between_operators_are_named_for_what_they_are():
    proto = model(
        """net (float[N,1,6,6] x) => (float[N,1,4,4] y) {
            q, s, z = DynamicQuantizeLinear (x) v, t, u = DynamicQuantizeLinear (w)
            c = ConvInteger (q, v, z, u) y = Cast <to = 1> (c)
        }""",
        w=np.ones((1, 1, 3, 3)),
    )
    graph = canonical(proto)
    with pytest.raises(BadRequest, match=r"layer 'c' of shape .* is no feature map: it holds int32"):
        feature_map(graph, "c")


def views_of_the_photo(second):
    """Several views of the photo as a batch, through a convolution, their scores averaged."""
    return model(
        f"""net (float[1,3,8,8] x) => (float[1,5] s) {{
            {second}
            views = Concat <axis = 0> (a, b)
            c = Conv <strides = [2,2]> (views, w)
            r = Relu (c)
            g = ReduceMean <keepdims = 0> (r, maps)
            m = ReduceMean <keepdims = 1> (g, zero)
            s = MatMul (m, h)
        }}""",
        w=RNG.standard_normal((4, 3, 2, 2)),
        h=HEAD,
        maps=np.array([2, 3]),
        zero=np.array([0]),
        halves=np.array([4, 4]),
        one=np.array([1]),
        last=np.array([-1]),
        end=np.array([-100]),
        width=np.array([3]),
    )


def test_halves_in_the_batch_are_one_picture_and_the_pooling_of_each_is_stepped_over():
    graph = canonical(views_of_the_photo("a, b = Split <axis = 3> (x, halves)"))
    view = views(graph)["r"]
    assert view.grid == (4, 4)
    assert view.place.cells == (0, 0, 8, 8)
    assert last_features(graph, "s") == "r"


def test_views_over_each_other_are_no_picture_and_the_photo_itself_is_no_layer():
    graph = canonical(views_of_the_photo("a = Identity (x) b = Slice (x, last, end, width, last)"))
    with pytest.raises(BadRequest, match="before its head: 'c' has 32 positions that fall into no grid"):
        last_features(graph, "s")


def test_heads_and_steps_of_one_axis_are_laid_out_as_the_grid():
    """(N, T, heads, C) has the rank of a picture, and its tokens along one axis."""
    proto = model(
        """net (float[1,3,8,8] x) => (float[1,5] s) {
            c = Conv <strides = [2,2]> (x, w)
            flat = Reshape (c, rows)
            tokens = Transpose <perm = [0,2,1]> (flat)
            heads = Reshape (tokens, sizes)
            r = Relu (heads)
            g = ReduceMean <keepdims = 0> (r, axes)
            s = MatMul (g, h)
        }""",
        w=RNG.standard_normal((4, 3, 2, 2)),
        rows=np.array([0, 0, -1]),
        sizes=np.array([1, 16, 1, 4]),
        axes=np.array([1, 2]),
        h=HEAD,
    )
    network = Network(proto, "cpu")
    graph = network.graph.copy()
    shown = feature_map(graph, "r").name
    found = network.compile(graph, [shown, "c"])({"x": IMAGE[:1, :, :8, :8]})
    np.testing.assert_array_equal(found[shown], np.maximum(found["c"], 0))
