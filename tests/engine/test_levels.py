"""The layers that the map of a thing is made of: the levels of a pyramid, of others the last features."""

import numpy as np
import pytest
from oracles.networks import parsed

from onnxlens.engine.anatomy.levels import levels, ranked
from onnxlens.engine.canonical.canonical import canonical

RNG = np.random.default_rng(0)
SIZES = {"p3": 8, "p4": 4}


def kernel(out, into, size=1):
    return RNG.normal(size=(out, into, size, size))


# Two levels of a pyramid, of strides 4 and 8: features "p3" and "p4".
BACKBONE = """
    c2 = Conv <strides = [4, 4], kernel_shape = [4, 4]> (x, w0) p3 = Relu (c2)
    c3 = Conv <strides = [2, 2], kernel_shape = [2, 2]> (p3, w1) p4 = Relu (c3)
"""
WEIGHTS = {"w0": kernel(4, 3, 4), "w1": kernel(4, 4, 2)}


def graph(body, output="y", **weights):
    text = f"(float[1, 3, 32, 32] x) => (float {output}) {{ {BACKBONE} {body} }}"
    return canonical(parsed(text, **WEIGHTS, **weights))


def branch(level, name, out, depth=1):
    """A branch of a head: `depth` convolutions with a Relu, then one that gives the numbers."""
    text, at = "", level
    for i in range(depth):
        text += f"{name}{level}c{i} = Conv ({at}, h) {name}{level}r{i} = Relu ({name}{level}c{i}) "
        at = f"{name}{level}r{i}"
    text += f"{name}{level} = Conv ({at}, {out}) "
    return text + f"{name}{level}f = Reshape ({name}{level}, {out}flat) "


HEAD = {
    "h": kernel(4, 4),
    "wc": kernel(3, 4),
    "wb": kernel(8, 4),
    "wcflat": np.int64([1, 3, -1]),
    "wbflat": np.int64([1, 8, -1]),
}


def two_branches(more="y = Concat <axis = 1> (boxes, classes)"):
    body = "".join(branch(p, n, w) for p in SIZES for n, w in (("cls", "wc"), ("box", "wb")))
    body += "boxes = Concat <axis = 2> (boxp3f, boxp4f) classes = Concat <axis = 2> (clsp3f, clsp4f) "
    return body + more


def test_branches_of_one_grid_begin_at_its_level():
    """As YOLO v8: for each level a branch of boxes and one of classes."""
    assert levels(graph(two_branches(), **HEAD), ["y"]) == ["p3", "p4"]


def test_what_is_read_of_one_output_alone_still_has_all_levels():
    net = graph(two_branches("y = Concat <axis = 1> (boxes, classes)"), **HEAD)
    assert levels(net, ["classes"], beside=["boxes"]) == levels(net, ["y"])


def test_a_layer_that_decodes_boxes_behind_the_levels_is_none_of_them():
    """The expectation of a distribution of distances as a convolution over all levels side by side."""
    more = """
        d = Reshape (boxes, bins) t = Transpose <perm = [0, 2, 1, 3]> (d) s = Softmax <axis = 1> (t)
        e = Conv (s, dfl) q = Reshape (e, four) y = Concat <axis = 1> (q, classes)
    """
    extra = {
        "bins": np.int64([1, 4, 2, -1]),
        "dfl": np.arange(2.0).reshape(1, 2, 1, 1),
        "four": np.int64([1, 4, -1]),
    }
    assert levels(graph(two_branches(more), **HEAD, **extra), ["y"]) == ["p3", "p4"]


def test_one_branch_for_each_level_is_the_layer_before_its_last():
    """As YOLO v5: one convolution for each level, whose numbers are laid side by side."""
    body = "".join(f"o{p} = Conv ({p}, wb) o{p}f = Reshape (o{p}, wbflat) " for p in SIZES)
    net = graph(body + "y = Concat <axis = 2> (op3f, op4f)", wb=HEAD["wb"], wbflat=HEAD["wbflat"])
    assert levels(net, ["y"]) == ["p3", "p4"]


def test_behind_attention_there_is_one_layer():
    """As DETR: queries that attend to all features have no levels."""
    body = """
        f = Reshape (p4, tokens) k = Transpose <perm = [0, 2, 1]> (f)
        a = MatMul (queries, f) s = Softmax <axis = -1> (a) v = MatMul (s, k)
        c = MatMul (v, wd) b = MatMul (v, we) y = Concat <axis = 2> (c, b)
    """
    net = graph(
        body,
        tokens=np.int64([1, 4, -1]),
        queries=RNG.normal(size=(1, 5, 4)),
        wd=RNG.normal(size=(4, 3)),
        we=RNG.normal(size=(4, 4)),
    )
    assert levels(net, ["y"]) == ["p4"]


ROW = "f3 = Reshape (p3, tokens) f4 = Reshape (p4, tokens) "
ASKED = """
    k = Transpose <perm = [0, 2, 1]> (f) a = MatMul (queries, f) s = Softmax <axis = -1> (a) v = MatMul (s, k)
    c = MatMul (v, wd) b = MatMul (v, we) y = Concat <axis = 2> (c, b)
"""
DECODER = {
    "tokens": np.int64([1, 4, -1]),
    "queries": RNG.normal(size=(1, 5, 4)),
    "wd": RNG.normal(size=(4, 3)),
    "we": RNG.normal(size=(4, 4)),
}


@pytest.mark.parametrize(
    "row",
    [
        "f = Concat <axis = 2> (f3, f4)",
        "f = Concat <axis = 2> (f4, f3)",
        "t3 = Transpose <perm = [0, 2, 1]> (f3) t4 = Transpose <perm = [0, 2, 1]> (f4) "
        "t = Concat <axis = 1> (t3, t4) e = MatMul (t, wm) r = Relu (e) f = Transpose <perm = [0, 2, 1]> (r)",
    ],
    ids=["finest first", "coarsest first", "projected together"],
)
def test_levels_whose_tokens_queries_ask_in_one_row_are_all_looked_at(row):
    """As RT-DETR and Deformable DETR: a row of several grids is no map, but each of them is."""
    net = graph(ROW + row + ASKED, **DECODER, **({"wm": RNG.normal(size=(4, 4))} if "wm" in row else {}))
    assert levels(net, ["y"]) == ["p3", "p4"]


def test_tokens_of_one_grid_beside_one_that_is_learned_are_one_layer():
    net = graph("f4 = Reshape (p4, tokens) f = Concat <axis = 2> (class, f4)" + ASKED,
                **DECODER, **{"class": RNG.normal(size=(1, 4, 1))})  # fmt: skip
    assert len(levels(net, ["y"])) == 1


def test_rows_of_one_map_put_in_another_order_are_no_levels():
    """As a Swin rolls its windows: both parts are maps, and so is what is put together."""
    body = """
        top = Slice (p4, nought, one, two) rest = Slice (p4, one, four, two) p = Concat <axis = 2> (rest, top)
        f = Reshape (p, tokens)
    """
    ends = {"nought": np.int64([0]), "one": np.int64([1]), "two": np.int64([2]), "four": np.int64([4])}
    assert len(levels(graph(body + ASKED, **DECODER, **ends), ["y"])) == 1


def test_residual_blocks_are_no_levels():
    body = """
        a = Conv (p4, h) b = Relu (a) c = Add (p4, b) d = Conv (c, h) e = Relu (d) y = Add (c, e)
    """
    found = levels(graph(body, h=HEAD["h"]), ["y"])
    assert len(found) == 1


@pytest.mark.parametrize(
    ("more", "is_ranked"),
    [
        ("y = Concat <axis = 1> (boxes, classes)", False),
        ("best = ReduceMax (classes, one) y, i = TopK <axis = 2> (best, three)", True),
    ],
)
def test_what_is_ranked_is_another_for_every_photo(more, is_ranked):
    net = graph(two_branches(more), **HEAD, one=np.int64([1]), three=np.int64([3]))
    assert ranked(net, ["y"]) is is_ranked
