"""Relevance in networks of another kind: attention, gates, time, integers, normalisation."""

import re

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from oracles.networks import parsed, run

from onnxlens.engine.autodiff.gradient import gradient
from onnxlens.engine.autodiff.variants import (
    attnlrp,
    composite,
    lrp_0,
    lrp_alpha_beta,
    lrp_epsilon,
    lrp_gamma,
    lrp_w_square,
    lrp_z_box,
    merged,
)
from onnxlens.engine.canonical.canonical import canonical

RNG = np.random.default_rng(7)
T, D, H = 6, 8, 2  # tokens, their width, heads
EPSILON = lrp_epsilon(1e-7)


def relevance(model, x, rules, wrt="x"):
    """The relevance of a value for the largest score; and the score."""
    made = gradient(model, of="y", wrt=wrt, rules=rules)
    y = run(model, {"x": x})["y"]
    seed = np.where(y == y.max(), y, 0)
    return run(made, {"x": x, "seed/y": seed})[f"grad/{wrt}"], y.max()


def normal(*shape):
    return RNG.standard_normal(shape) / np.sqrt(shape[-2] if len(shape) > 1 else 1)


# -- transformers --------------------------------------------------------------------------------------

GELUS = {
    "gelu": "g = Gelu (m1)",
    "erf": "s = Mul (m1, isqrt2) e = Erf (s) o = Add (e, one) p = Mul (m1, o) g = Mul (p, half)",
    "tanh": "c = Mul (m1, m1) d = Mul (m1, c) k = Mul (d, cubic) s = Add (m1, k) u = Mul (s, slope) "
    "e = Tanh (u) o = Add (e, one) h = Mul (m1, half) g = Mul (h, o)",
    "swish": "s = Sigmoid (m1) g = Mul (m1, s)",
}
BLOCK = """(float[1,6,8] x) => (float[1,3] y) {
    n1 = LayerNormalization <axis = -1> (x, gamma1)
    q0 = MatMul (n1, wq) q1 = Reshape (q0, heads) q = Transpose <perm = [0,2,1,3]> (q1)
    k0 = MatMul (n1, wk) k1 = Reshape (k0, heads) kt = Transpose <perm = [0,2,3,1]> (k1)
    v0 = MatMul (n1, wv) v1 = Reshape (v0, heads) v = Transpose <perm = [0,2,1,3]> (v1)
    l = MatMul (q, kt) ls = Mul (l, scale) a = Softmax <axis = -1> (ls)
    z = MatMul (a, v) zt = Transpose <perm = [0,2,1,3]> (z) zr = Reshape (zt, flat) w = MatMul (zr, wo)
    r1 = Add (x, w)
    n2 = LayerNormalization <axis = -1> (r1, gamma2)
    m1 = MatMul (n2, w1) GELU m2 = MatMul (g, w2)
    r2 = Add (r1, m2)
    t = ReduceMean <keepdims = 0> (r2, tokens) y = MatMul (t, head)
}"""
WEIGHTS = {
    **{name: normal(D, D) for name in ("wq", "wk", "wv", "wo")},
    "w1": normal(D, 4 * D),
    "w2": normal(4 * D, D),
    "head": normal(D, 3),
    "gamma1": RNG.uniform(0.5, 2, D),
    "gamma2": RNG.uniform(0.5, 2, D),
}
SETTINGS = {
    "heads": np.array([1, T, H, D // H]),
    "flat": np.array([1, T, D]),
    "tokens": np.array([1]),
    "scale": np.float32((D // H) ** -0.5),
    "isqrt2": np.float32(0.5**0.5),
    "one": np.float32(1),
    "half": np.float32(0.5),
    "cubic": np.float32(0.044715),
    "slope": np.float32((2 / np.pi) ** 0.5),
}


def block(kind="gelu"):
    model = parsed(BLOCK.replace("GELU", GELUS[kind]), opset=20, **WEIGHTS)
    used = {i for n in model.graph.node for i in n.input}
    for name, value in SETTINGS.items():
        if name in used:
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return model


def share(r, z, x, w):
    """z = x w: each x gets its part of every z, in proportion."""
    return x * ((r / z) @ w.T)


def centred(shares, z, x, axes=-1):
    """z = (x - mean) · scale, which is held constant; `shares` are r by what z and a shift come to."""
    back = shares * z / (x - x.mean(axes, keepdims=True))
    return x * (back - back.mean(axes, keepdims=True))


def by_hand(x, values):
    """LRP-0 of the block, attention weights and scales held constant; from its values by name."""
    v, W = {k: a[0].astype(float) for k, a in values.items()}, WEIGHTS
    r = np.where(v["y"] == v["y"].max(), v["y"], 0)
    r = share(r[None], v["y"][None], v["t"][None], W["head"])
    r2 = v["r2"] / v["r2"].sum(0) * r  # the mean over tokens
    r_m = share(v["m2"] / v["r2"] * r2, v["m2"], v["g"], W["w2"])  # and Gelu hands on
    r_n = share(r_m, v["m1"], v["n2"], W["w1"])
    r1 = v["r1"] / v["r2"] * r2 + centred(r_n / v["n2"], v["n2"], v["r1"])
    r_z = share(v["w"] / v["r1"] * r1, v["w"], v["zr"], W["wo"]).reshape(T, H, D // H).swapaxes(0, 1)
    r_v = v["v"] * (v["a"].swapaxes(1, 2) @ (r_z / v["z"]))
    r_v = r_v.swapaxes(0, 1).reshape(T, D)
    r_n = share(r_v, v["v0"], v["n1"], W["wv"])
    return x / v["r1"] * r1 + centred(r_n / v["n1"], v["n1"], x)


def test_a_transformer_block_as_worked_out_by_hand():
    model, x = block(), RNG.standard_normal((1, T, D)).astype("f")
    names = ["y", "t", "r2", "m2", "g", "m1", "n2", "r1", "w", "zr", "z", "a", "v", "v0", "n1"]
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    shown.graph.output.extend(helper.make_empty_tensor_value_info(n) for n in names[1:])
    found, _ = relevance(model, x, lrp_0())
    expected = by_hand(x[0].astype(float), run(shown, {"x": x}))
    np.testing.assert_allclose(found[0], expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def attended(x, v):
    """AttnLRP of the block with LRP-0 in its layers; from its values by name. Achtibat et al. 2024."""
    W = WEIGHTS
    r = np.where(v["y"] == v["y"].max(), v["y"], 0)
    r = share(r[None], v["y"][None], v["t"][None], W["head"])
    r2 = v["r2"] / v["r2"].sum(0) * r
    r_m = share(v["m2"] / v["r2"] * r2, v["m2"], v["g"], W["w2"])
    r1 = v["r1"] / v["r2"] * r2
    r1 = r1 + centred(share(r_m, v["m1"], v["n2"], W["w1"]) / v["n2"], v["n2"], v["r1"])
    r_z = share(v["w"] / v["r1"] * r1, v["w"], v["zr"], W["wo"]).reshape(T, H, D // H).swapaxes(0, 1)
    turned = lambda m: m.swapaxes(-1, -2)
    flat = lambda m: m.swapaxes(0, 1).reshape(T, D)
    half = r_z / (2 * v["z"])  # z = a v
    r_a, r_v = v["a"] * (half @ turned(v["v"])), v["v"] * (turned(v["a"]) @ half)
    r_l = v["ls"] * (r_a - v["a"] * r_a.sum(-1, keepdims=True))
    half = r_l / (2 * v["l"])  # l = q kt
    r_q, r_k = v["q"] * (half @ turned(v["kt"])), v["kt"] * (turned(v["q"]) @ half)
    ways = ("q0", "wq", flat(r_q)), ("k0", "wk", flat(turned(r_k))), ("v0", "wv", flat(r_v))
    r_n = sum(share(r, v[name], v["n1"], W[w]) for name, w, r in ways)
    return x / v["r1"] * r1 + centred(r_n / v["n1"], v["n1"], x)


@pytest.mark.parametrize("kind", GELUS)
def test_attnlrp_of_a_transformer_block_as_worked_out_by_hand(kind):
    model, x = block(kind), RNG.standard_normal((1, T, D)).astype("f")
    names = ["t", "r2", "m2", "g", "m1", "n2", "r1", "w", "zr", "z", "a", "v", "v0", "n1"]
    names += ["ls", "l", "q", "q0", "kt", "k0"]
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    shown.graph.output.extend(helper.make_empty_tensor_value_info(n) for n in names)
    values = {k: a[0].astype(float) for k, a in run(shown, {"x": x}).items()}
    expected = attended(x[0].astype(float), values)
    found, _ = relevance(model, x, attnlrp(epsilon=1e-9))
    np.testing.assert_allclose(found[0], expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    plain, _ = relevance(model, x, lrp_0())
    assert np.abs(plain - found).max() > 0.01 * np.abs(expected).max()  # attention is no constant


def test_what_attention_may_not_see_gets_nothing():
    """Of a softmax over masked scores, -inf, relevance is zero there and a number everywhere."""
    model = parsed(
        """(float[1,2,3] x) => (float[1,4] y) {
            s = MatMul (x, w) m = Add (s, mask) a = Softmax <axis = -1> (m)
            t = Transpose <perm = [0,2,1]> (x) z = MatMul (t, a) f = Flatten (z) y = MatMul (f, head)
        }""",
        w=normal(3, 2), mask=np.array([[0, -np.inf], [0, 0]]), head=normal(6, 4),
    )  # fmt: skip
    for rules in (attnlrp(), attnlrp(0.05)):
        found, _ = relevance(model, RNG.standard_normal((1, 2, 3)).astype("f"), rules)
        assert np.isfinite(found).all()
        assert found.any()


@pytest.mark.parametrize("kind", GELUS)
@pytest.mark.parametrize("wrt", ["x", "n1", "r1", "n2", "m1", "r2", "t"])
def test_a_transformer_block_conserves_at_every_cut(kind, wrt):
    """One value alone is a cut where no other way leads past it; else what passes it is added."""
    past = {"n1": "x", "n2": "r1", "m1": "r1"}
    model, x = block(kind), RNG.standard_normal((1, T, D)).astype("f")
    total, score = relevance(model, x, EPSILON, wrt)
    if wrt in past:  # beside it runs the skip connection
        whole, _ = relevance(model, x, EPSILON, past[wrt])
        skip, _ = relevance(model, x, EPSILON, {"n1": "r1", "n2": "r2", "m1": "r2"}[wrt])
        assert abs(total.sum()) < 10 * np.abs(skip).sum()
        total = whole
    np.testing.assert_allclose(total.sum(), score, rtol=2e-3)


def test_nothing_goes_to_queries_and_keys():
    x = RNG.standard_normal((1, T, D)).astype("f")
    for name in ("q", "kt", "ls", "a"):
        assert not relevance(block(), x, EPSILON, name)[0].any()
    assert relevance(block(), x, EPSILON, "v")[0].any()


def test_the_attention_operator_is_as_its_parts():
    body = """(float[1,6,8] x) => (float[1,3] y) {
        q = MatMul (x, wq) k = MatMul (x, wk) v = MatMul (x, wv)
        z = Attention <q_num_heads = 2, kv_num_heads = 2> (q, k, v)
        r = Add (x, z) t = ReduceMean <keepdims = 0> (r, tokens) y = MatMul (t, head)
    }"""
    names = ("wq", "wk", "wv", "head")
    model = parsed(body, opset=23, tokens=np.array([1]), **{n: WEIGHTS[n] for n in names})
    x = RNG.standard_normal((1, T, D)).astype("f")
    found, score = relevance(model, x, EPSILON)
    np.testing.assert_allclose(found.sum(), score, rtol=2e-3)
    assert not relevance(model, x, EPSILON, "q")[0].any()


# What is made of x (2, 4, 6) with its mean taken off, over which axes, and the shift that is added.
ROWS = "m = ReduceMean (x, last) c = Sub (x, m) s = Mul (c, c) v = ReduceMean (s, last) w = Add (v, tiny) "
SKIP = "y = com.microsoft.SkipLayerNormalization (x, none, g, b)"
CENTRING = {
    "LayerNormalization": ("y = LayerNormalization <axis = -1> (x, g, b)", -1, "b"),
    "of two axes": ("y = LayerNormalization <axis = 1> (x, gs, bs)", (1, 2), "bs"),
    "without a shift": ("y = LayerNormalization <axis = -1> (x, g)", -1, ""),
    "SkipLayerNormalization": (SKIP, -1, "b"),
    "divided": (ROWS + "d = Sqrt (w) n = Div (c, d) k = Mul (n, g) y = Add (k, b)", -1, "b"),
    "reciprocal": (ROWS + "d = Sqrt (w) i = Reciprocal (d) n = Mul (i, c) y = Mul (n, g)", -1, ""),
    "one by": (ROWS + "d = Sqrt (w) i = Div (one, d) f = Mul (i, g) k = Mul (c, f) y = Add (k, b)", -1, "b"),
    "a power": (ROWS + "i = Pow (w, less) n = Mul (c, i) k = Mul (n, g) y = Add (k, b)", -1, "b"),
    "InstanceNormalization": ("y = InstanceNormalization (x, g4, b4)", -1, "b4"),
    "GroupNormalization": ("y = GroupNormalization <num_groups = 2> (x, g4, b4)", (2, 3), "b4"),
    "MeanVarianceNormalization": ("y = MeanVarianceNormalization <axes = [0, 2]> (x)", (0, 2), ""),
}
OWN = np.random.default_rng(8)
SCALES = {
    **{name: OWN.uniform(0.5, 2, shape) for name, shape in {"g": 6, "gs": (4, 6), "g4": 4}.items()},
    **{name: OWN.uniform(-1, 1, shape) for name, shape in {"b": 6, "bs": (4, 6), "b4": 4}.items()},
    **{"none": np.zeros((2, 4, 6)), "tiny": np.array(1e-5), "one": np.array(1.0), "less": np.array(-0.5)},
    "last": np.array([-1]),
}


@pytest.mark.parametrize("kind", CENTRING)
def test_a_normalisation_is_linear_with_its_scale_held_constant(kind):
    """The mean that is taken off and the shift take part, whether it is one operator or many."""
    body, axes, shift = CENTRING[kind]
    used = {name: value for name, value in SCALES.items() if re.search(rf"\b{name}\b", body)}
    model = parsed(f"(float[2,4,6] x) => (float[2,4,6] y) {{ {body} }}", opset=21, **used)
    x = OWN.standard_normal((2, 4, 6)).astype("f")
    y = run(model, {"x": x})["y"]
    shares = OWN.standard_normal(x.shape)
    seed = (y * shares).astype("f")
    found = run(gradient(model, of="y", wrt="x", rules=EPSILON), {"x": x, "seed/y": seed})["grad/x"]
    added = np.asarray(SCALES.get(shift, 0.0))
    z = y - (added[:, None] if shift == "b4" else added)
    grid = (2, 2, 2, 6) if kind == "GroupNormalization" else x.shape  # two channels are one group
    expected = centred(*(np.reshape(part, grid).astype(float) for part in (shares, z, x)), axes)
    np.testing.assert_allclose(found.reshape(grid), expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())


def test_a_gate_of_channels_takes_nothing():
    """Squeeze and excitation: what the gate lets through is the evidence, not how far it is open."""
    body = """(float[1,4,5,5] x) => (float[1,3] y) {
        p = GlobalAveragePool (x) c = Conv (p, w) s = Sigmoid (c) m = Mul (x, s)
        g = GlobalAveragePool (m) f = Flatten (g) y = MatMul (f, head)
    }"""
    model = parsed(body, w=normal(4, 4, 1, 1), head=normal(4, 3))
    x = RNG.standard_normal((1, 4, 5, 5)).astype("f")
    assert not relevance(model, x, EPSILON, "c")[0].any()
    found, score = relevance(model, x, EPSILON)
    np.testing.assert_allclose(found.sum(), score, rtol=2e-3)


# -- recurrent layers ----------------------------------------------------------------------------------

RECURRENT = {"RNN": 1, "GRU": 3, "LSTM": 4}


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("kind", RECURRENT)
def test_recurrent_layers_conserve(kind, direction):
    """Without biases, and from a start of zeros, all that the score holds comes from the sequence."""
    count = 2 if direction == "bidirectional" else 1
    ends = "r, last" + (", cell" if kind == "LSTM" else "")
    body = f"""(float[5,1,4] x) => (float[1,3] y) {{
        {ends} = {kind} <hidden_size = 6, direction = "{direction}"> (x, w, u)
        t = Transpose <perm = [1,0,2]> (last) f = Flatten (t) y = MatMul (f, head)
    }}"""
    gates = RECURRENT[kind]
    model = parsed(
        body,
        w=normal(count, gates * 6, 4),
        u=normal(count, gates * 6, 6),
        head=normal(count * 6, 3),
    )
    x = RNG.standard_normal((5, 1, 4)).astype("f")
    found, score = relevance(model, x, EPSILON)
    assert all(np.abs(found[t]).max() > 0 for t in range(5))
    np.testing.assert_allclose(found.sum(), score, rtol=5e-3)


# -- quantised networks --------------------------------------------------------------------------------


def quantised(form):
    """Two convolutions in eight bits, in either spelling, or with scales that are found on the spot."""
    w1, w2 = (RNG.integers(-100, 100, s).astype(np.int8) for s in ((5, 2, 3, 3), (4, 5, 3, 3)))
    start = "xq = QuantizeLinear (x, sx, zero)"
    end = "g = GlobalAveragePool (d) f = Flatten (g) y = MatMul (f, head)"
    if form == "QDQ":
        middle = """xd = DequantizeLinear (xq, sx, zero) w1d = DequantizeLinear (w1, sw, zero)
            a = Conv (xd, w1d) ar = Relu (a) aq = QuantizeLinear (ar, sa, zero)
            ad = DequantizeLinear (aq, sa, zero) w2d = DequantizeLinear (w2, sw, zero)
            b = Conv (ad, w2d) bq = QuantizeLinear (b, sb, zero) d = DequantizeLinear (bq, sb, zero)"""
    elif form == "dynamic":
        start = "xq, dx, zx = DynamicQuantizeLinear (x)"
        middle = """ai = ConvInteger (xq, w1, zx, zero) ac = Cast <to = 1> (ai) as = Mul (dx, sw)
            a = Mul (ac, as) ar = Relu (a) aq, da, za = DynamicQuantizeLinear (ar)
            bi = ConvInteger (aq, w2, za, zero) bc = Cast <to = 1> (bi) bs = Mul (da, sw) d = Mul (bc, bs)"""
    else:
        middle = """aq = QLinearConv (xq, sx, zero, w1, sw, zero, sa, zero)
            bq = QLinearConv (aq, sa, zero, w2, sw, zero, sb, zero) d = DequantizeLinear (bq, sb, zero)"""
    scales = {"sx": 0.03, "sw": 0.004, "sa": 0.05, "sb": 0.06}
    return parsed(
        f"(float[1,2,9,9] x) => (float[1,3] y) {{ {start} {middle} {end} }}",
        w1=w1,
        w2=w2,
        zero=np.int8(0),
        head=normal(4, 3),
        **{name: np.float32(s) for name, s in scales.items()},
    )


@pytest.mark.parametrize("form", ["QDQ", "QOperator", "dynamic"])
@pytest.mark.parametrize("rules", [EPSILON, lrp_0(), lrp_gamma()], ids=["epsilon", "0", "gamma"])
def test_quantised_networks_conserve_but_for_rounding(form, rules):
    model, x = quantised(form), RNG.uniform(0, 3, (1, 2, 9, 9)).astype("f")
    if form == "dynamic":  # a range with both signs, so that zero is no 0
        x -= 1
    found, score = relevance(model, x, rules)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(), score, rtol=0.02)


@pytest.mark.parametrize("rules", ["lrp-epsilon", "lrp-composite"])
def test_relevance_of_a_dynamically_quantised_network_is_that_of_its_floats(rules):
    """A zero point is where counting starts: no part of a sum, and no share goes to a scale."""
    model, x = quantised("dynamic"), RNG.uniform(-1, 2, (1, 2, 9, 9)).astype("f")
    weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    floats = parsed(
        """(float[1,2,9,9] x) => (float[1,3] y) { a = Conv (x, w1) r = Relu (a) b = Conv (r, w2)
        g = GlobalAveragePool (b) f = Flatten (g) y = MatMul (f, head) }""",
        head=weights["head"], **{n: weights[n] * weights["sw"] for n in ("w1", "w2")},
    )  # fmt: skip
    found, expected = relevance(model, x, rules)[0], relevance(floats, x, rules)[0]
    assert np.linalg.norm(found - expected) < 0.1 * np.linalg.norm(expected)


# -- batch normalisation -------------------------------------------------------------------------------

W1, B1, W2 = normal(6, 3, 3, 3), normal(6), normal(5, 6, 3, 3)
NORMS = [(RNG.uniform(-2, 2, n), normal(n), normal(n), RNG.uniform(0.1, 2, n)) for n in (6, 5)]
NORMALISED = """(float[1,3,9,9] x) => (float[1,4] y) {
    a = Conv (x, w1, b1) n = BatchNormalization <epsilon = 0.001> (a, g1, s1, m1, v1) r = Relu (n)
    b = Conv <pads = [1,1,1,1]> (r, w2) o = BatchNormalization <epsilon = 0.001> (b, g2, s2, m2, v2)
    q = Relu (o) p = GlobalAveragePool (q) f = Flatten (p) y = MatMul (f, head)
}"""
FOLDED = """(float[1,3,9,9] x) => (float[1,4] y) {
    n = Conv (x, w1, b1) r = Relu (n) o = Conv <pads = [1,1,1,1]> (r, w2, b2)
    q = Relu (o) p = GlobalAveragePool (q) f = Flatten (p) y = MatMul (f, head)
}"""
HEAD = normal(5, 4)


def with_norms(body=NORMALISED):
    return parsed(
        body, w1=W1, b1=B1, w2=W2, head=HEAD,
        **{f"{n}{i + 1}": a for i, norm in enumerate(NORMS) for n, a in zip("gsmv", norm, strict=True)},
    )  # fmt: skip


def folded_by_hand():
    made = []
    for w, b, (gamma, beta, mean, variance) in ((W1, B1, NORMS[0]), (W2, 0, NORMS[1])):
        factor = gamma / np.sqrt(variance + 0.001)
        made += [w * factor[:, None, None, None], (b - mean) * factor + beta]
    return parsed(FOLDED, head=HEAD, **dict(zip(("w1", "b1", "w2", "b2"), made, strict=True)))


@pytest.mark.parametrize(
    "rules",
    [
        lrp_0(),
        lrp_gamma(),
        lrp_alpha_beta(),
        lrp_w_square(),
        composite(lrp_z_box(-2, 2), lrp_gamma(), lrp_epsilon()),
    ],
    ids=["0", "gamma", "alpha-beta", "w-square", "composite"],
)
def test_a_merged_normalisation_is_one_folded_by_hand(rules):
    x = RNG.uniform(-2, 2, (1, 3, 9, 9)).astype("f")
    found, score = relevance(with_norms(), x, merged(rules))
    expected, other = relevance(folded_by_hand(), x, rules)
    np.testing.assert_allclose(score, other, rtol=1e-4)
    np.testing.assert_allclose(found, expected, rtol=5e-3, atol=1e-3 * np.abs(expected).max())


def test_lrp_0_needs_no_merging():
    x = RNG.uniform(-2, 2, (1, 3, 9, 9)).astype("f")
    found, _ = relevance(with_norms(), x, lrp_0())
    expected, _ = relevance(folded_by_hand(), x, lrp_0())
    np.testing.assert_allclose(found, expected, rtol=5e-3, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("rules", ["lrp-epsilon", "lrp-gamma", "lrp-composite"])
def test_a_normalisation_without_shifts_conserves(rules):
    model = with_norms(NORMALISED.replace("(x, w1, b1)", "(x, w1)"))
    for tensor in model.graph.initializer:
        if tensor.name[0] in "sm":
            tensor.CopyFrom(numpy_helper.from_array(np.zeros(tensor.dims, "f"), tensor.name))
    found, score = relevance(model, RNG.uniform(0, 1, (1, 3, 9, 9)).astype("f"), rules)
    np.testing.assert_allclose(found.sum(), score, rtol=5e-3)


def test_a_convolution_that_something_else_reads_stays_alone():
    body = NORMALISED.replace("q = Relu (o)", "j = Relu (b) k = Relu (o) q = Add (j, k)")
    x = RNG.uniform(-2, 2, (1, 3, 9, 9)).astype("f")
    own = merged(lrp_gamma())
    table = own(canonical(with_norms(body)), ["y"])
    assert {"a", "n"} <= table.keys()
    assert not {"b", "o"} & table.keys()
    assert np.isfinite(relevance(with_norms(body), x, own)[0]).all()
