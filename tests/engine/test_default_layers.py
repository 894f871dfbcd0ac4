"""The layer that is looked at by default: what the head, or the attention that pools for it, reads."""

import numpy as np
import pytest
from onnx import numpy_helper, parser

from onnxlens.engine.anatomy.layers import last_features
from onnxlens.engine.anatomy.maps import views
from onnxlens.engine.anatomy.readouts.classes import score_name
from onnxlens.engine.attribution.explainer import Explainer
from onnxlens.engine.canonical.canonical import canonical
from onnxlens.engine.runtime.network import Network

RNG = np.random.default_rng(5)
WIDTH = 4
IMAGE = RNG.standard_normal((1, 3, 8, 8)).astype(np.float32)


def model(text, **constants):
    """A network of the text; names that it reads and nothing makes are weights, four by four at most."""
    imports = '"" : 23, "com.microsoft" : 1'
    proto = parser.parse_model(f"<ir_version: 10, opset_import: [{imports}]> net {text}")
    made = {o for n in proto.graph.node for o in n.output} | {i.name for i in proto.graph.input}
    for name in sorted({i for n in proto.graph.node for i in n.input if i} - made):
        shape = SHAPES.get(name[0], (WIDTH, WIDTH))
        value = constants[name] if name in constants else RNG.standard_normal(shape) / 2
        dtype = np.int64 if np.asarray(value).dtype.kind == "i" else np.float32
        proto.graph.initializer.append(numpy_helper.from_array(np.asarray(value, dtype), name))
    return proto


# By their first letter: kernels that halve the picture, bias, scale of a norm, queries, head.
SHAPES = {"K": (WIDTH, 3, 2, 2), "B": (WIDTH,), "S": (WIDTH,), "Q": (1, 1, WIDTH), "H": (WIDTH, 5)}
INTEGERS = {
    "rows": np.array([0, WIDTH, -1]),
    "two": np.array([1, -1, 2, WIDTH]),
    "heads": np.array([1, -1, 2, 2]),
}
INTEGERS |= {
    "zero": np.array(0),
    "one": np.array(1),
    "flat": np.array([1, 1, WIDTH]),
    "half": np.array([WIDTH, WIDTH]),
}


def chosen(proto):
    """The layer that is looked at by default."""
    graph = canonical(proto)
    return last_features(graph, score_name(graph))


def default_of(proto):
    """The same, where the score's gradient reaches it."""
    name = chosen(proto)
    (found,) = Explainer(Network(proto, "cpu"))({"x": IMAGE})
    assert found.map.shape == (4, 4)
    assert not found.problem
    return name


# -- attention that pools the patches -----------------------------------------------------------------------

PATCHES = "c = Conv <strides = [2,2]> (x, K) f = Reshape (c, rows) p = Transpose <perm = [0,2,1]> (f)"
BLOCK = """
    n1 = LayerNormalization (p, S1) m1 = MatMul (n1, W1) a1 = Gelu (m1) m2 = MatMul (a1, W2)
    block = Add (p, m2)
"""
NORM = "norm = LayerNormalization (block, S2)"
QUERY = "q0 = MatMul (Q, WQ) q = Add (q0, BQ)"
SOFTMAX = """
    kt = Transpose <perm = [0,2,1]> (k) qk = MatMul (q, kt) scores = Softmax (qk) pooled = MatMul (scores, v)
"""
HEADS = """
    qr = Reshape (q, heads) qh = Transpose <perm = [0,2,1,3]> (qr)
    kr = Reshape (k, heads) kh = Transpose <perm = [0,2,3,1]> (kr)
    vr = Reshape (v, heads) vh = Transpose <perm = [0,2,1,3]> (vr)
    qk = MatMul (qh, kh) scores = Softmax (qk) ph = MatMul (scores, vh)
    pt = Transpose <perm = [0,2,1,3]> (ph) pooled = Reshape (pt, flat)
"""
EINSUM = """
    qk = Einsum <equation = "bqd,bkd->bqk"> (q, k) scores = Softmax (qk)
    pooled = Einsum <equation = "bqk,bkd->bqd"> (scores, v)
"""
FUSED = "pooled = Attention <q_num_heads = 2, kv_num_heads = 2> (q, k, v)"
MICROSOFT = "pooled = com.microsoft.MultiHeadAttention <num_heads = 2> (q, k, v)"
HEAD = """
    out = MatMul (pooled, WO) n3 = LayerNormalization (out, S3) h1 = MatMul (n3, W3) h2 = Gelu (h1)
    h3 = MatMul (h2, W4) end = Add (out, h3) own = Gather <axis = 1> (end, zero) s = MatMul (own, H)
"""


def projections(source):
    """Keys and values of some tokens, as the field writes them."""
    together = f"kv0 = MatMul ({source}, DOUBLE) kv = Add (kv0, TWICE)"
    return {
        "apart": f"k = MatMul ({source}, WK) v0 = MatMul ({source}, WV) v = Add (v0, BV)",
        "one of both": f"k = MatMul ({source}, WK) v = Identity (k)",
        "halves": f"{together} k, v = Split <axis = 2> (kv, half)",
        "pairs": f"""{together} pairs = Reshape (kv, two)
            k = Gather <axis = 2> (pairs, zero) v = Gather <axis = 2> (pairs, one)""",
        "keys normalised": f"{together} k0, v = Split <axis = 2> (kv, half) k = LayerNormalization (k0, SK)",
        "keys turned": f"""{together} k0, v = Split <axis = 2> (kv, half)
            k1 = Mul (k0, PLACES) k2 = Mul (k0, TURNED) k = Add (k1, k2)""",
        "values alone": f"k = Identity ({source}) v = MatMul ({source}, WV)",
    }


def pooled(source, keys, attention, query=QUERY, norm=NORM):
    return model(
        f"(float[1,3,8,8] x) => (float[1,5] s) {{ {PATCHES} {BLOCK} {norm} {query} "
        f"{projections(source)[keys]} {attention} {HEAD} }}",
        DOUBLE=RNG.standard_normal((WIDTH, 2 * WIDTH)),
        TWICE=RNG.standard_normal(2 * WIDTH),
        PLACES=RNG.standard_normal((1, 16, WIDTH)),
        TURNED=RNG.standard_normal((1, 16, WIDTH)),
        **INTEGERS,
    )


@pytest.mark.parametrize("attention", [SOFTMAX, HEADS, EINSUM, FUSED, MICROSOFT])
@pytest.mark.parametrize("keys", projections(""))
def test_keys_and_values_of_pooling_attention_are_its_inside(keys, attention):
    assert chosen(pooled("norm", keys, attention)) == "norm"


@pytest.mark.parametrize("keys", projections(""))
def test_without_a_norm_it_is_the_last_block(keys):
    assert default_of(pooled("block", keys, HEADS, norm="")) == "block"


@pytest.mark.parametrize(
    "product",
    [
        "e = Transpose <perm = [1,0]> (own) t = MatMul (texts, e) s = Transpose <perm = [1,0]> (t)",
        "e = Transpose <perm = [1,0]> (texts) s = MatMul (own, e)",
    ],
)
def test_the_head_reads_the_picture_where_it_is_compared_with_what_is_said(product):
    """As CLIP does, which has the features of the texts on the left."""
    head = HEAD.replace("s = MatMul (own, H)", f"own = Reshape (own0, row) texts = Gelu (H) {product}")
    head = head.replace("own = Gather", "own0 = Gather")
    proto = model(
        f"(float[1,3,8,8] x) => (float[1,5] s) {{ {PATCHES} {BLOCK} {NORM} {QUERY} "
        f"{projections('norm')['apart']} {HEADS} {head} }}",
        H=RNG.standard_normal((5, WIDTH)),
        row=np.array([1, WIDTH]),
        **INTEGERS,
    )
    assert chosen(proto) == "norm"


@pytest.mark.parametrize(
    "query",
    [
        "q0 = ReduceMean <keepdims = 1> (norm, ones) q = MatMul (q0, WQ)",  # CLIP's
        "l = MatMul (norm, WQ) q = ReduceMax <keepdims = 1> (l, ones)",
    ],
)
def test_queries_of_the_patches_are_its_inside_too(query):
    proto = pooled("norm", "halves", HEADS, query)
    proto.graph.initializer.append(numpy_helper.from_array(np.array([1]), "ones"))
    assert default_of(proto) == "norm"


def test_keys_and_values_of_convolutions_of_one_pixel_are_its_inside():
    proto = model(
        f"""(float[1,3,8,8] x) => (float[1,5] s) {{
            c = Conv <strides = [2,2]> (x, K) r = Relu (c)
            kc = Conv (r, one_k) kt = Reshape (kc, rows) vc = Conv (r, one_v) vt = Reshape (vc, rows)
            v = Transpose <perm = [0,2,1]> (vt)
            qk = MatMul (Q, kt) scores = Softmax (qk) pooled = MatMul (scores, v) {HEAD} }}""",
        one_k=RNG.standard_normal((4, 4, 1, 1)),
        one_v=RNG.standard_normal((4, 4, 1, 1)),
        **INTEGERS,
    )
    assert default_of(proto) == "r"


@pytest.mark.parametrize(("last", "name"), [("r = Relu (c)", "r"), ("r = Identity (c)", "c")])
def test_what_attention_pools_as_it_is_is_the_layer_itself(last, name):
    proto = model(
        f"""(float[1,3,8,8] x) => (float[1,5] s) {{
            c = Conv <strides = [2,2]> (x, K) {last}
            kt = Reshape (r, rows) v = Transpose <perm = [0,2,1]> (kt)
            qk = MatMul (Q, kt) scores = Softmax (qk) pooled = MatMul (scores, v)
            {HEAD} }}""",
        **INTEGERS,
    )
    assert default_of(proto) in (name, "v", "kt")


def test_patches_weighed_by_scores_of_their_own_are_the_layer():
    """Attention-based multiple-instance pooling (Ilse et al. 2018): a gate scores each patch."""
    proto = model(
        f"""(float[1,3,8,8] x) => (float[1,5] s) {{ {PATCHES} {BLOCK} {NORM}
            t0 = MatMul (norm, W3) t = Tanh (t0) g0 = MatMul (norm, W4) g = Sigmoid (g0) tg = Mul (t, g)
            a0 = MatMul (tg, single) at = Transpose <perm = [0,2,1]> (a0) scores = Softmax (at)
            pooled = MatMul (scores, norm) own = Gather <axis = 1> (pooled, zero) s = MatMul (own, H) }}""",
        single=RNG.standard_normal((4, 1)),
        **INTEGERS,
    )
    assert default_of(proto) == "norm"


def test_the_only_features_are_the_layer_even_if_attention_alone_reads_them():
    proto = model(
        f"""(float[1,3,8,8] x) => (float[1,5] s) {{
            c = SpaceToDepth <blocksize = 2> (x) f = Reshape (c, pixels) p = Transpose <perm = [0,2,1]> (f)
            kv = MatMul (p, first)
            pooled = Attention <q_num_heads = 1, kv_num_heads = 1> (Q, kv, kv) {HEAD} }}""",
        first=RNG.standard_normal((12, WIDTH)),
        pixels=np.array([1, 12, 16]),
        **INTEGERS,
    )
    assert default_of(proto) == "kv"


def test_products_of_features_without_attention_are_no_inside():
    """Bilinear pooling (Lin et al. 2015)."""
    proto = model(
        """(float[1,3,8,8] x) => (float[1,5] s) {
            c = Conv <strides = [2,2]> (x, K) r = Relu (c) d = Conv (r, one_k)
            f = Reshape (d, rows) ft = Transpose <perm = [0,2,1]> (f) b = MatMul (f, ft) fb = Flatten (b)
            s = MatMul (fb, wide) }""",
        one_k=RNG.standard_normal((4, 4, 1, 1)),
        wide=RNG.standard_normal((16, 5)),
        **INTEGERS,
    )
    assert default_of(proto) == "d"


def test_a_decoder_of_queries_reads_what_the_encoder_hands_on():
    """Many of its layers see no picture; each of them reads keys and values of its own."""
    read = "".join(
        f"""k{i} = MatMul (memory, WK{i}) kt{i} = Transpose <perm = [0,2,1]> (k{i})
        v{i} = MatMul (memory, WV{i}) u{i} = MatMul (q{i}, WQ{i}) qk{i} = MatMul (u{i}, kt{i})
        a{i} = Softmax (qk{i}) o{i} = MatMul (a{i}, v{i})
        z{i} = MatMul (o{i}, WO{i}) y{i} = Add (q{i}, z{i}) m{i} = MatMul (y{i}, W5{i}) j{i} = Relu (m{i})
        w{i} = MatMul (j{i}, W6{i}) q{i + 1} = Add (y{i}, w{i}) """
        for i in range(3)
    )
    proto = model(
        f"""(float[1,3,8,8] x) => (float[1,3,5] s) {{ {PATCHES} memory = LayerNormalization (p, S)
            q0 = Identity (seeds) {read} s = MatMul (q3, H) }}""",
        seeds=RNG.standard_normal((1, 3, WIDTH)),
        **INTEGERS,
    )
    assert chosen(proto) == "memory"


def test_scales_in_one_row_that_are_sampled_have_no_picture_but_those_before_them_have():
    """Deformable attention (Zhu et al. 2021): values of two scales, taken where each query says."""
    sample = "".join(
        f"""u{i} = MatMul (memory, W{i}) w{i} = Add (u{i}, B{i})
        fine{i}, coarse{i} = Split <axis = 1> (w{i}, scales)
        ft{i} = Transpose <perm = [0,2,1]> (fine{i}) fm{i} = Reshape (ft{i}, fine)
        ct{i} = Transpose <perm = [0,2,1]> (coarse{i}) cm{i} = Reshape (ct{i}, coarse)
        g{i} = MatMul (q{i}, offsets) at{i} = Reshape (g{i}, points) fs{i} = GridSample (fm{i}, at{i})
        cs{i} = GridSample (cm{i}, at{i}) both{i} = Concat <axis = 3> (fs{i}, cs{i})
        l{i} = MatMul (q{i}, levels) a{i} = Softmax (l{i}) ar{i} = Reshape (a{i}, shares)
        t{i} = Mul (both{i}, ar{i}) sum{i} = ReduceSum <keepdims = 0> (t{i}, third)
        st{i} = Transpose <perm = [0,2,1]> (sum{i})
        o{i} = MatMul (st{i}, WO{i}) y{i} = Add (q{i}, o{i}) q{i + 1} = LayerNormalization (y{i}, S{i}) """
        for i in range(2)
    )
    proto = model(
        f"""(float[1,3,8,8] x) => (float[1,3,5] s) {{
            c = Conv <strides = [2,2]> (x, K) r = Relu (c) d = Conv <strides = [2,2]> (r, down) e = Relu (d)
            rp = Conv (r, one1) ep = Conv (e, one2) rf = Reshape (rp, rows) ef = Reshape (ep, rows)
            all = Concat <axis = 2> (rf, ef) p = Transpose <perm = [0,2,1]> (all)
            memory = LayerNormalization (p, S) q0 = Identity (seeds) {sample}
            s = MatMul (q2, H) }}""",
        down=RNG.standard_normal((4, 4, 2, 2)),
        one1=RNG.standard_normal((4, 4, 1, 1)),
        one2=RNG.standard_normal((4, 4, 1, 1)),
        seeds=RNG.standard_normal((1, 3, WIDTH)),
        offsets=RNG.standard_normal((WIDTH, 4)),
        levels=RNG.standard_normal((WIDTH, 4)),
        scales=np.array([16, 4]),
        fine=np.array([1, WIDTH, 4, 4]),
        coarse=np.array([1, WIDTH, 2, 2]),
        points=np.array([1, 3, 2, 2]),
        shares=np.array([1, 1, 3, 4]),
        third=np.array([3]),
        **INTEGERS,
    )
    assert chosen(proto) == "ep"


# -- convolutions --------------------------------------------------------------------------------------------

BORDER = {"around": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "one_k": RNG.standard_normal((5, 4, 3, 3))}


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge"])
@pytest.mark.parametrize(
    "head",
    [
        "k = Conv (b, one_k) g = GlobalAveragePool (k) s = Flatten (g)",
        "k = MaxPool <kernel_shape = [3,3]> (b) m = ReduceMean (k, maps) g = Flatten (m) s = MatMul (g, H)",
        "k = AveragePool <kernel_shape = [6,6]> (b) g = Flatten (k) s = MatMul (g, H)",
    ],
)
def test_a_border_before_the_head_is_stepped_over(head, mode):
    proto = model(
        f"""(float[1,3,8,8] x) => (float[1,5] s) {{
            c = Conv <strides = [2,2]> (x, K) r = Relu (c) b = Pad <mode = "{mode}"> (r, around) {head} }}""",
        maps=np.array([2, 3]),
        **BORDER,
    )
    assert default_of(proto) == "r"


def test_each_head_of_a_segmenter_has_the_layer_before_it():
    """The answer reads context of the whole picture too; the auxiliary head reads an earlier block."""
    proto = model(
        """(float[1,3,8,8] x) => (float[1,5,8,8] s, float[1,5,8,8] aux) {
            c = Conv <strides = [2,2]> (x, K) r = Relu (c)
            d = Conv <pads = [1,1,1,1]> (r, mid1) e = Relu (d)
            g = GlobalAveragePool (e) gc = Conv (g, one1) gr = Relu (gc) gx = Expand (gr, sizes)
            j = Concat <axis = 1> (e, gx) k = Conv <pads = [1,1,1,1]> (j, both) last = Relu (k)
            y = Conv (last, one2) s = Resize <mode = "linear"> (y, , scales)
            h = Conv <pads = [1,1,1,1]> (r, mid2) early = Relu (h)
            z = Conv (early, one2) aux = Resize <mode = "linear"> (z, , scales) }""",
        mid1=RNG.standard_normal((4, 4, 3, 3)),
        mid2=RNG.standard_normal((4, 4, 3, 3)),
        both=RNG.standard_normal((4, 8, 3, 3)),
        one1=RNG.standard_normal((4, 4, 1, 1)),
        one2=RNG.standard_normal((5, 4, 1, 1)),
        scales=np.array([1.0, 1.0, 2.0, 2.0]),
        sizes=np.array([1, 4, 4, 4]),
    )
    graph = canonical(proto)
    assert last_features(graph, "s") == "last"
    assert last_features(graph, "aux") == "early"
    assert score_name(graph) == "s"


def test_a_line_of_text_is_looked_at_in_columns():
    """Recurrent layers read a strip: what they read is finer along it than a square picture would be."""
    proto = model(
        """(float[1,3,8,32] x) => (float[16,1,5] s) {
            c = Conv <strides = [2,2]> (x, K) r = Relu (c)
            d = Conv (r, tall) e = Relu (d) strip = Squeeze (e, third)
            columns = Transpose <perm = [2,0,1]> (strip)
            l, lh = LSTM <hidden_size = 4> (columns, gates, again)
            f = Squeeze (l, second) s = MatMul (f, H) }""",
        tall=RNG.standard_normal((4, 4, 4, 1)),
        gates=RNG.standard_normal((1, 16, 4)),
        again=RNG.standard_normal((1, 16, 4)),
        third=np.array([2]),
        second=np.array([1]),
    )
    graph = canonical(proto)
    assert last_features(graph, "s") == "columns"
    place = views(graph)["columns"].place
    assert place is not None
    assert place.cells == (0, 0, 8, 32)
