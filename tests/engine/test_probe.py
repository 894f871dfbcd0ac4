"""Marks planted in pictures: layers answer where they are said to lie, and a wrong place is noticed."""

import re
from dataclasses import replace

import numpy as np
import pytest
from oracles.networks import parsed

from onnxlens.engine.anatomy.grids import Place, View
from onnxlens.engine.anatomy.layers import checked_layer
from onnxlens.engine.anatomy.maps import view_of
from onnxlens.engine.anatomy.readouts.classes import score_name
from onnxlens.engine.features.probe import centre_of_mass, own_change, probe, spots
from onnxlens.engine.features.responses import STAGES, stages
from onnxlens.engine.runtime.network import Network

FAMILIES = [
    "resnet", "mobilenet_v3", "efficientnet", "convnext", "vit", "swin",
    "unet", "detr", "crnn_lstm", "crnn_gru", "super_resolution", "group_norms",
]  # fmt: skip
RNG = np.random.default_rng(0)
STEM = "s0 = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> ({x}, a) s = Relu (s0) "
TAIL = "l0 = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> ({s}, b) layer = Relu (l0) "
WHOLE = STEM.format(x="x") + TAIL.format(s="s")
# What networks do with the picture; each ends in `layer`.
NETWORKS = {
    "strided": ("float[N,3,48,64] x", WHOLE),
    "SAME": (
        "float[N,3,48,64] x",
        'l0 = Conv <strides = [4, 4], auto_pad = "SAME_UPPER"> (x, wide) layer = Relu (l0)',
    ),
    "channels last": (
        "float[N,48,64,3] x",
        "t = Transpose <perm = [0, 3, 1, 2]> (x)"
        + STEM.format(x="t")
        + TAIL.format(s="s").replace("layer", "u")
        + "layer = Transpose <perm = [0, 2, 3, 1]> (u)",
    ),
    "turned": (
        "float[N,3,48,64] x",
        "t = Transpose <perm = [0, 1, 3, 2]> (x)" + STEM.format(x="t") + TAIL.format(s="s"),
    ),
    "token behind": (
        "float[N,3,48,64] x",
        """p = Conv <strides = [4, 4]> (x, patch) r = Reshape <allowzero = 0> (p, flat)
        t = Transpose <perm = [0, 2, 1]> (r)
        n = Shape <start = 0, end = 1> (x) m = Concat <axis = 0> (n, ones)
        c = Expand (token, m) layer = Concat <axis = 1> (t, c)""",
    ),
    "crop": (
        "float[N,3,48,64] x",
        "t = Slice (x, begin, end, axes)" + STEM.format(x="t") + TAIL.format(s="s"),
    ),
    "flip": (
        "float[N,3,48,64] x",
        "t = Slice (x, last, first, across, back)" + STEM.format(x="t") + TAIL.format(s="s"),
    ),
    "fixed batch": ("float[3,3,48,64] x", WHOLE),
    "grey": ("float[N,1,48,64] x", "x3 = Expand (x, three)" + STEM.format(x="x3") + TAIL.format(s="s")),
    "whole numbers": (
        "uint8[N,3,48,64] x",
        "f = Cast <to = 1> (x)" + STEM.format(x="f") + TAIL.format(s="s"),
    ),
    "16-bit floats": (
        "float16[N,3,48,64] x",
        "f = Cast <to = 1> (x)" + STEM.format(x="f") + TAIL.format(s="s"),
    ),
}
WEIGHTS = {
    "a": RNG.standard_normal((24, 3, 3, 3)) / 5,
    "b": RNG.standard_normal((24, 24, 3, 3)) / 15,
    "wide": RNG.standard_normal((24, 3, 7, 7)) / 12,
    "patch": RNG.standard_normal((24, 3, 4, 4)) / 7,
    "token": RNG.standard_normal((1, 1, 24)),
    "flat": np.array([0, 24, -1]),
    "ones": np.array([1, 1]),
    "three": np.array([1, 3, 1, 1]),
    "begin": np.array([8, 24]),
    "end": np.array([40, 64]),
    "axes": np.array([2, 3]),
    "last": np.array([-1]),
    "first": np.array([-(2**31)]),
    "across": np.array([3]),
    "back": np.array([-1]),
}


def made(name: str) -> Network:
    """One of the networks."""
    given, body = NETWORKS[name]
    words = re.findall(r"\w+", body)
    weights = {k: v for k, v in WEIGHTS.items() if k in words}
    return Network(parsed(f"({given}) => (float layer) {{ {body} }}", **weights), "cpu", 1)


def planted(network, view, high=1.0):
    return probe(network, "layer", view, 0, high)


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_answer_where_they_lie(name):
    network = made(name)
    found = planted(network, view_of(network.graph, "layer"), 255 if name == "whole numbers" else 1)
    assert found.problem == ""
    assert found.cell == (4, 4)
    assert len(found.offsets) == len(found.planted) == 9
    assert found.cells.max() < 0.5
    assert not found.is_beyond
    np.testing.assert_allclose(found.pixels, 4 * found.cells)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("cells", [(0, 2), (-2, 0), (1.5, -1.5)])
def test_a_shifted_place_is_noticed(name, cells):
    network = made(name)
    view = view_of(network.graph, "layer")
    assert view.place is not None
    away = 4 * np.array([*cells, *cells])
    found = planted(
        network, replace(view, place=Place(*(tuple(box + away) for box in map(np.array, view.place))))
    )
    assert found.is_beyond
    np.testing.assert_allclose(np.median(found.offsets, 0), away[:2], atol=2)


def test_cells_over_the_whole_input_are_off_by_the_phase_of_the_padding():
    network = made("strided")
    view, whole = view_of(network.graph, "layer"), (0.0, 0.0, 48.0, 64.0)
    found = planted(network, replace(view, place=Place(whole, whole)))
    np.testing.assert_allclose(np.median(found.offsets, 0), 1.5, atol=0.5)  # centres at 4 i + 1/2, not + 2


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("turned", {"perm": (0, 1, 2, 3), "grid": (16, 12)}),
        ("flip", {"index": None}),
        ("token behind", {"index": tuple(range(1, 193))[::-1]}),
        ("crop", {"place": Place((0.0, 0.0, 48.0, 64.0), (0.0, 0.0, 48.0, 64.0))}),
    ],
)
def test_a_wrong_view_is_noticed(name, wrong):
    network = made(name)
    assert planted(network, replace(view_of(network.graph, "layer"), **wrong)).is_beyond


def test_what_does_not_answer_is_said_and_not_scored():
    body = "(float[N,3,32,32] x) => (float y) { c = Conv <pads = [1, 1, 1, 1]> (x, a, low) y = Relu (c) }"
    network = Network(parsed(body, a=WEIGHTS["a"], low=np.full(24, -1e3)), "cpu", 1)
    found = probe(network, "y", view_of(network.graph, "y"), 0, 1)
    assert found.problem == "answers to no mark"
    assert not len(found.cells)
    assert not found.is_beyond


def test_what_answers_alike_everywhere_is_said_and_not_scored():
    body = "(float[N,3,32,32] x) => (float[N,3,8,8] y) { g = GlobalAveragePool (x) y = Expand (g, to) }"
    network = Network(parsed(body, to=np.array([1, 1, 8, 8])), "cpu", 1)
    whole = (0.0, 0.0, 32.0, 32.0)
    found = probe(network, "y", View(1, (0, 1, 2, 3), (8, 8), place=Place(whole, whole)), 0, 1)
    assert found.problem == "changes alike in all its cells, wherever the mark is"


def test_an_open_size_is_said():
    body = "(float[N,3,H,W] x) => (float y) { y = Relu (x) }"
    network = Network(parsed(body), "cpu", 1)
    assert "sizes are open" in probe(network, "y", view_of(network.graph, "y"), 0, 1).problem


def test_marks_are_in_the_middle_of_what_is_seen():
    found = spots(Place((0, 32, 64, 96), (-4, 32, 44, 96)), (6, 1))
    assert sorted(set(found[:, 0])) == [16, 24, 32]  # a quarter from the start, a cell from the last middle
    assert set(found[:, 1]) == {64}


def test_the_centre_of_mass_is_of_what_stands_out():
    change = np.full((5, 6), 0.5)
    change[1:4, 2:5] = 1
    assert centre_of_mass(change, np.arange(5) * 8.0, np.arange(6) * 4.0) == pytest.approx((16, 12))
    assert np.isnan(centre_of_mass(np.full((3, 3), 0.7), np.arange(3.0), np.arange(3.0))).all()


def test_what_all_cells_of_a_channel_share_is_no_change_of_their_own():
    before = RNG.standard_normal((5, 12, 9))
    mixed = before * RNG.uniform(0.2, 3, (5, 1, 1)) + RNG.standard_normal((5, 1, 1))
    np.testing.assert_allclose(own_change(before, mixed), 0, atol=1e-12)
    mixed[:, 3, 7] += 20
    change = np.abs(own_change(before, mixed)).sum(0)
    assert np.unravel_index(change.argmax(), change.shape) == (3, 7)
    assert np.sort(change.ravel())[-2] < change.max() / 5


def test_few_cells_are_compared_as_they_are():
    before, after = RNG.standard_normal((2, 5, 2, 3))
    np.testing.assert_array_equal(own_change(before, after), after - before)


def test_a_gate_that_a_mark_opens_hides_no_place():
    """What a corner holds by itself is multiplied with a gate that a mark anywhere opens."""
    corner = np.zeros((1, 24, 12, 16))
    corner[..., :2, :2] = 300
    body = f"""{STEM.format(x="x")} {TAIL.format(s="s").replace("layer", "u")} e = Add (u, corner)
    m = GlobalAveragePool (u) g = Sigmoid (m) layer = Mul (e, g)"""
    weights = {"a": WEIGHTS["a"], "b": WEIGHTS["b"], "corner": corner}
    network = Network(parsed(f"(float[N,3,48,64] x) => (float layer) {{ {body} }}", **weights), "cpu", 1)
    assert planted(network, view_of(network.graph, "layer")).cells.max() < 0.5


@pytest.mark.reference
@pytest.mark.parametrize("batch", ["fixed", "dynamic"])
@pytest.mark.parametrize("name", FAMILIES)
def test_the_families_of_vision_networks_answer_where_they_lie(name, batch):
    """The default layer and all stages."""
    pytest.importorskip("torch")
    from oracles import architectures, autograd

    model = autograd.exported(architectures.made(name), architectures.picture(), "torchscript", batch)
    network = Network(model, "cpu", 1)
    graph = network.graph
    score = score_name(graph)
    for layer in {checked_layer(graph, None, score), *stages(graph, score, STAGES)}:
        found = probe(network, layer, view_of(graph, layer), -2, 2)
        assert found.problem == "", layer
        assert found.cells.max() < 0.75, layer


def test_every_family_is_probed():
    pytest.importorskip("torch")
    from oracles import architectures

    assert set(FAMILIES) == set(architectures.ARCHITECTURES)
