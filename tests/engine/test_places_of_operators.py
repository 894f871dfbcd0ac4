"""What operators do to places: worked by hand, complete, and bounded whatever a file asks for."""

from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator
from oracles.networks import parsed

from onnxlens.engine.anatomy.maps import coordinates, view_of, views, why_not
from onnxlens.engine.canonical.canonical import canonical
from onnxlens.engine.graph.graph import Graph, op
from onnxlens.engine.operators.bodies import BODIES
from onnxlens.engine.operators.places.placing import RULES
from onnxlens.engine.operators.traits import having

HUGE = 2**40
NO_RULE = {
    "OneHot": "what it makes stands for classes",
    "ai.onnx.ml:ArrayFeatureExtractor": "columns of a table are no pixels",
    "Shape": "sizes are no pixels",
    "Upsample": "the canonical form has Resize in its place",
}


def test_every_operator_that_moves_or_mixes_elements_has_a_rule_or_a_reason():
    facts = ("elementwise", "window", "moves", "mixes", "weights", "attends", "normalises")
    known = having(lambda t: any(getattr(t, fact) for fact in facts))
    assert set(known) - set(RULES) == set(NO_RULE)


# Written by ONNX Runtime's tools for networks of text and diffusion; what is behind them lies nowhere.
NOT_PLACED = {f"com.microsoft:{name}" for name in ("BiasSplitGelu", "CDist", "EmbedLayerNormalization")}
TABLES = {key for key in BODIES if key.startswith("ai.onnx.ml:")}  # columns are no pixels


def test_every_operator_with_a_body_has_a_rule_but_those_that_cut_regions_out():
    regions, over_all = {"MaxRoiPool", "RoiAlign"}, {"LinearAttention", "STFT"}
    assert set(BODIES) - set(RULES) == regions | over_all | NOT_PLACED | TABLES


def made(build, shape=(1, 3, 8, 8)):
    graph = Graph({"": 20})
    graph.output(op.Identity(build(graph.input("image", np.float32, list(shape)))), "y")
    return canonical(graph.to_model())


def rows(build, shape=(1, 3, 8, 8)):
    """The centre, the first and the end of what the rows of `y` see, and their grain."""
    return coordinates(made(build, shape))["y"].rows.reshape(4, -1).tolist()


CUT: dict[str, Any] = {"mode": "linear", "coordinate_transformation_mode": "tf_crop_and_resize"}


def cut_out(x, height, part):
    """A part of the rows, from one end to the other in parts of the whole, as TensorFlow resizes it."""
    return op.Resize(x, part, None, [height], axes=[2], **CUT)


KERNEL, TALL = np.ones((4, 3, 3, 1)), np.ones((4, 3, 4, 1))


@pytest.mark.parametrize(
    ("build", "centres"),
    [
        (lambda x: op.Conv(x, KERNEL, strides=[2, 1], pads=[1, 0, 1, 0]), [0.5, 2.5, 4.5, 6.5]),
        (lambda x: op.Conv(x, KERNEL, strides=[2, 1], auto_pad="SAME_UPPER"), [1.5, 3.5, 5.5, 7.5]),
        (lambda x: op.Conv(x, KERNEL, strides=[2, 1], auto_pad="SAME_LOWER"), [0.5, 2.5, 4.5, 6.5]),
        (lambda x: op.Conv(x, KERNEL, dilations=[2, 1]), [2.5, 3.5, 4.5, 5.5]),
        (lambda x: op.AveragePool(x, kernel_shape=[4, 1], strides=[4, 1]), [2, 6]),
        (lambda x: op.MaxPool(x, kernel_shape=[3, 1], strides=[3, 1], ceil_mode=1), [1.5, 4.5, 7.5]),
        (lambda x: op.Resize(x, None, None, [1, 3, 4, 8], mode="linear"), [1, 3, 5, 7]),
        (
            lambda x: op.Resize(
                x, None, None, [1, 3, 3, 8], mode="linear", coordinate_transformation_mode="align_corners"
            ),
            [0.5, 4, 7.5],
        ),
        (lambda x: cut_out(x, 4, [0.5, 1.0]), [4, 5 + 1 / 6, 6 + 1 / 3, 7.5]),
        (lambda x: cut_out(x, 3, [1.0, 0.0]), [7.5, 4, 0.5]),
        (lambda x: cut_out(x, 1, [0.5, 1.0]), [5.75]),
        (
            lambda x: op.DepthToSpace(op.Conv(x, TALL, strides=[4, 1]), blocksize=2),
            [1, 3, 5, 7],
        ),
        (
            lambda x: op.ConvTranspose(
                op.MaxPool(x, kernel_shape=[4, 1], strides=[4, 1]), np.ones((3, 2, 2, 1)), strides=[2, 1]
            ),
            [1, 3, 5, 7],
        ),
        (
            lambda x: op.Col2Im(
                op.Reshape(op.Conv(x, TALL, strides=[4, 1]), [1, 4, 16]),
                [4, 16],
                [2, 2],
                strides=[2, 2],
            ),
            [1, 3, 5, 7],
        ),
    ],
)
def test_centres_worked_by_hand(build, centres):
    assert rows(build)[0] == pytest.approx(centres)


@pytest.mark.parametrize("mode", ["border", "reflection"])
@pytest.mark.parametrize("corners", [0, 1])
def test_what_a_grid_takes_from_beyond_the_border_lies_where_it_is_taken_from(mode, corners):
    grid = np.stack(np.meshgrid([-0.25, 0.5], np.linspace(-2.3, 2.6, 9)), -1)[None].astype(np.float32)
    sample = lambda x: op.GridSample(x, grid, mode="linear", padding_mode=mode, align_corners=corners)
    picture = np.broadcast_to(np.arange(8)[:, None] + 0.5, (1, 3, 8, 8)).astype(np.float32)
    (taken,) = ReferenceEvaluator(made(sample).to_model()).run(None, {"image": picture})
    np.testing.assert_allclose(rows(sample)[0], taken[0, 0, :, 0], atol=1e-5)


def test_a_part_that_the_runtime_does_not_cut_out_is_said_to_be_lost():
    """Of as many rows as before ONNX Runtime hands on all, whatever becomes of the columns."""
    wide = lambda x: op.Resize(x, [0.5, 0.0, 1.0, 1.0], None, [8, 9], axes=[2, 3], **CUT)
    assert "lost its places in the picture at Resize" in why_not(made(wide), "y")
    assert "lost its places in the picture at Resize" in why_not(
        made(lambda x: cut_out(x, 8, [0.5, 1.0])), "y"
    )
    assert rows(lambda x: cut_out(x, 8, [0.0, 1.0]))[0] == pytest.approx(np.arange(8) + 0.5)


HOSTILE = {
    "expanded": lambda x: op.Flatten(op.Expand(op.Unsqueeze(x, [1]), [1, 2**31, 1, 1, 1])),
    "tiled": lambda x: op.Tile(x, [1, 1, 2**20, 2**20]),
    "resized": lambda x: op.Resize(x, None, np.float32([1, 1, 1e8, 1e8])),
    "with a border": lambda x: op.Pad(x, [0, 0, HUGE, 0, 0, 0, HUGE, 0]),
    "by a window": lambda x: op.MaxPool(x, kernel_shape=[2**30, 2**30], pads=[2**29] * 4),
    "in a wide frame": lambda x: op.CenterCropPad(x, [HUGE], axes=[2]),
    "in blocks": lambda x: op.DepthToSpace(op.Expand(x.mean([1]), [1, HUGE, 1, 1]), blocksize=2**20),
    "each with each": lambda x: op.Reshape(x, [-1, 1]) + op.Reshape(x, [1, -1]),
    "by an index beyond": lambda x: op.Gather(x, 99, axis=2),
    "at no place": lambda x: op.GridSample(x, np.full((1, 4, 4, 2), np.nan, np.float32)),
    "in many axes": lambda x: op.Transpose(op.Reshape(x, [1] * 40 + [1, 3, 8, 8])),
    "off the edge": lambda x: op.Pad(x, [0, 0, -20, 0, 0, 0, 0, 0]),
    "reversed beyond": lambda x: op.ReverseSequence(x, [99], batch_axis=0, time_axis=1),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("shape", [(1, 3, 8, 8), ("N", 3, 8, 8), (1, 3, 4096, 4096)])
@pytest.mark.filterwarnings("error")
def test_what_a_file_asks_for_is_bounded(name, shape):
    graph = made(HOSTILE[name], shape)
    views(graph)
    assert isinstance(why_not(graph, "y"), str)


def test_thousands_of_nodes_in_a_row_are_followed():
    graph = Graph({"": 20})
    y = graph.input("image", np.float32, [1, 3, 8, 8])
    for _ in range(1500):
        y = op.Sigmoid(op.Transpose(y, perm=[0, 1, 3, 2])) + 0.5
    graph.output(y, "y")
    assert view_of(canonical(graph.to_model()), "y").grid == (8, 8)


WINDOW = "pads = [1,0,1,0], strides = [2,1], kernel_shape = [3,3]"
LAST, FIRST = "l = Transpose <perm = [0,2,3,1]> (x)", "y = Transpose <perm = [0,3,1,2]> (m)"
TOKEN = f"{LAST} t = Reshape (l, rows)"
ALIKE = {  # with channels last, as ONNX Runtime writes them, and what does the same to places
    "NhwcConv": (
        f"{LAST} m = com.microsoft.NhwcConv <{WINDOW}> (l, w) {FIRST}", f"y = Conv <{WINDOW}> (x, w)"
    ),
    "NhwcFusedConv": (
        f'{LAST} m = com.microsoft.NhwcFusedConv <{WINDOW}, activation = "Relu"> (l, w) {FIRST}',
        f"y = Conv <{WINDOW}> (x, w)",
    ),
    "GroupNorm": (f"{LAST} m = com.microsoft.GroupNorm <groups = 3> (l, g, g) {FIRST}", "y = Identity (x)"),
    "SkipGroupNorm": (
        f"{LAST} m = com.microsoft.SkipGroupNorm <groups = 3> (l, g, g, l) {FIRST}", "y = Identity (x)"
    ),
    "SkipGroupNorm of one skip a channel": (
        f"{LAST} m = com.microsoft.SkipGroupNorm <groups = 3> (l, g, g, k) {FIRST}", "y = Identity (x)"
    ),
    "BiasAdd": (f"{TOKEN} y = com.microsoft.BiasAdd (t, g, t)", f"{TOKEN} y = Identity (t)"),
    "GemmFastGelu": (f"{TOKEN} y = com.microsoft.GemmFastGelu (t, v)", f"{TOKEN} y = MatMul (t, v)"),
    "ExpandDims": ("y = com.microsoft.ExpandDims (x, one)", "y = Unsqueeze (x, ones)"),
    "RotaryEmbedding": (
        f"{TOKEN} y = com.microsoft.RotaryEmbedding <num_heads = 1, rotary_embedding_dim = 2> "
        "(t, zero, c, c)",
        f"{TOKEN} y = Identity (t)",
    ),
    "GroupQueryAttention": (
        f"{TOKEN} y, a, b = com.microsoft.GroupQueryAttention <num_heads = 3, kv_num_heads = 1>"
        " (t, u, u, , , last, total)",
        f"{TOKEN} y, a, b, d = com.microsoft.MultiHeadAttention <num_heads = 3> (t, t, t)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ALIKE)
def test_operators_of_the_runtime_put_things_where_those_do_that_they_stand_for(name):
    weights = {
        "w": np.ones((6, 3, 3, 3)), "g": np.ones(3), "k": np.ones((1, 3)), "v": np.ones((3, 3)),
        "rows": np.array([1, 64, 3]), "one": np.int32(1), "ones": np.array([1]), "zero": np.array([0]),
        "c": np.ones((64, 1)), "u": np.ones((1, 64, 1)), "last": np.int32([63]), "total": np.int32(64),
    }  # fmt: skip
    head = "(float[1,3,8,8] x) => (float y)"
    models = [parsed(f"{head} {{ {text} }}", 20, **weights) for text in ALIKE[name]]
    for model in models:
        model.graph.output[0].type.tensor_type.ClearField("shape")
    found, expected = (coordinates(canonical(model))["y"] for model in models)
    assert not found.nowhere
    assert found.shape == expected.shape
    for axis in ("rows", "columns"):
        a, b = (np.broadcast_to(getattr(p, axis), (4, *p.shape)) for p in (found, expected))
        np.testing.assert_array_equal(a, b)
