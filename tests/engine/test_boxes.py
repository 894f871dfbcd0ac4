"""Boxes of detectors: which layout a graph has, and what its numbers come to."""

import numpy as np
import pytest
from oracles.detectors import GRID, plain
from oracles.networks import parsed

from onnxlens.engine.anatomy.readouts.boxes import LAYOUTS, find
from onnxlens.engine.anatomy.readouts.detectors.candidates import (
    Candidates,
    overlaps,
    strides_of,
    suppressed,
)
from onnxlens.engine.anatomy.readouts.detectors.columns import columns, natures
from onnxlens.engine.anatomy.readouts.thing import Hints, Seed
from onnxlens.engine.errors import BadRequest
from onnxlens.engine.runtime.network import Network

rng = np.random.default_rng(0)
X = rng.normal(size=(1, 3, 32, 48)).astype(np.float32)
SIZE = (32, 48)


def weights(*shape):
    return rng.normal(size=shape).astype(np.float32) * 0.3


def read(model, **hints):
    """The boxes of a model, all values that they are read from, and the graph."""
    network = Network(model, provider="cpu", threads=1)
    found = find(network.graph, Hints(**{"size": SIZE, **hints}))
    assert found is not None
    return found, network.run({"x": X}, list(dict.fromkeys([*found.outputs, *found.parts])))


def layout(model, **hints):
    found = find(Network(model, provider="cpu", threads=1).graph, Hints(**{"size": SIZE, **hints}))
    return found and found.layout


def scores_of(found, values):
    """Of each thing its score, and the numbers that its seed lies on."""
    for thing in found.things(values, SIZE, 0):
        on = [values[n][:1].ravel()[w.indices] for n, w in thing.seed.of.items()]
        assert all((w.weights == 1).all() for w in thing.seed.of.values())
        yield thing, np.concatenate(on)


def centred(box):
    y0, x0, y1, x1 = box
    return [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]


# -- heads of the YOLO family ---------------------------------------------------------------------------


def test_a_plain_head_is_a_centre_a_size_and_classes():
    found, values = read(plain(3))
    assert (found.layout, found.outputs, found.parts) == ("yolov8", ("y",), ("y",))
    assert "3 classes" in found.why
    y = values["y"][0]
    things = list(scores_of(found, values))
    assert things
    for thing, on in things:
        (row,) = np.flatnonzero(y[4 + thing.label] == thing.score)
        np.testing.assert_allclose(centred(thing.box), y[:4, row], atol=1e-4)
        assert (thing.label, list(on)) == (y[4:, row].argmax(), [thing.score])
        numbers = [y.ravel()[s.of["y"].indices[0]] for s in thing.seeds.values()]
        assert list(thing.seeds) == ["x", "y", "w", "h"]
        assert numbers == list(y[:4, row])
    assert [t.score for t, _ in things] == sorted((t.score for t, _ in things), reverse=True)


def test_rows_may_come_before_columns():
    ends = "t = Concat <axis = 1> ({}) y = Transpose <perm = [0, 2, 1]> (t)"
    found, values = read(plain(3, ends=ends))
    assert found.layout == "yolov8"
    for thing, on in scores_of(found, values):
        (row,) = np.flatnonzero(values["y"][0][:, 4 + thing.label] == thing.score)
        np.testing.assert_allclose(centred(thing.box), values["y"][0][row, :4], atol=1e-4)
        assert on == [thing.score]


def test_nothing_above_the_threshold_is_nothing_but_the_likeliest_can_be_asked_for():
    found, values = read(plain(2))
    values = {"y": values["y"] * np.array([1, 1, 1, 1, 0.01, 0.01], np.float32)[None, :, None]}
    assert found.things(values, SIZE) == []
    best = found.things(values, SIZE, 0)
    assert best[0].score == values["y"][0, 4:].max()


def test_two_corners_are_not_taken_for_a_centre_and_a_size():
    model = plain(3, joined="ab, p", more="g = Concat <axis = 1> (a, b) ab = Mul (g, eight)")
    assert layout(model) is None
    with pytest.raises(BadRequest, match="is to be said: --readout boxes:NAME, one of yolov8, "):
        layout(model, kind="boxes")


def test_classes_that_are_not_between_0_and_1_are_none():
    assert layout(plain(3, joined="box, z")) is None


def test_the_producers_words_are_enough():
    facts = {"author": "Ultralytics", "task": "detect", "names": "..."}
    model = plain(3, joined="box, z")  # as where a tool has written the Sigmoid otherwise
    found, _ = read(model, labels="abc", facts=facts)
    assert (found.layout, found.why.endswith("by the producer's words")) == ("yolov8", True)


def test_an_angle_turns_the_box():
    more = "k = Cos (r) h = Add (r, k)"  # some angle: what is looked for is a cosine
    facts = {"author": "Ultralytics", "task": "obb"}
    found, values = read(plain(2, more=more, joined="box, p, h", extra=1), labels="ab", facts=facts)
    for thing, _ in scores_of(found, values):
        (row,) = np.flatnonzero(values["y"][0, 4 + thing.label] == thing.score)
        assert thing.angle == pytest.approx(values["y"][0, 6, row])


def test_points_are_y_x_and_a_score():
    facts = {"author": "Ultralytics", "task": "pose", "kpt_shape": "[2, 3]"}
    found, values = read(plain(1, joined="box, p, r", extra=6), labels="a", facts=facts)
    for thing, _ in scores_of(found, values):
        (row,) = np.flatnonzero(values["y"][0, 4] == thing.score)
        x0, y0, s0, x1, y1, s1 = values["y"][0, 5:, row]
        np.testing.assert_array_equal(thing.points, [[y0, x0, s0], [y1, x1, s1]])


def test_masks_are_mixed_of_prototypes_and_cut_to_the_box():
    model = plain(1, joined="box, p, r", extra=4)
    other = parsed(
        "(float[1, 3, 32, 48] x) => (float protos) { protos = Conv <strides = [4, 4]> (x, v) }",
        v=weights(4, 3, 4, 4),
    )
    for mine, more in (("node", other.graph.node), ("initializer", other.graph.initializer)):
        getattr(model.graph, mine).extend(more)
    model.graph.output.extend(other.graph.output)
    found, values = read(model)
    assert (found.outputs, found.parts) == (("y", "protos"), ("y",))
    for thing, _ in scores_of(found, values):
        (row,) = np.flatnonzero(values["y"][0, 4] == thing.score)
        mixed = np.einsum("k,khw->hw", values["y"][0, 5:, row], values["protos"][0])
        (y0, x0, y1, x1), mask = np.divide(thing.box, 4), thing.mask
        for r, c in np.ndindex(mask.shape):
            inside = y0 <= r + 0.5 < y1 and x0 <= c + 0.5 < x1
            assert mask[r, c] == pytest.approx(inside / (1 + np.exp(-mixed[r, c])), abs=1e-5)


ANCHORS = """
    (float[1, 3, 32, 48] x) => (float y) {
    c = Conv <strides = [8, 8], kernel_shape = [8, 8]> (x, w)
    f = Reshape (c, five)
    t = Transpose <perm = [0, 1, 3, 4, 2]> (f)
    s = Sigmoid (t)
    xy, wh, p = Split <axis = 4> (s, parts)
    a = Mul (xy, two)
    b = Add (a, grid)
    d = Mul (b, eight)
    e = Mul (wh, two)
    g = Pow (e, two)
    h = Mul (g, anchors)
    j = Concat <axis = 4> (d, h, p)
    y = Reshape (j, rows) }
"""


def test_an_objectness_is_told_from_the_anchors():
    model = parsed(
        ANCHORS,
        w=weights(21, 3, 8, 8),
        five=np.array([1, 3, 7, 4, 6]),
        parts=np.array([2, 2, 3]),
        two=np.float32(2),
        eight=np.float32(8),
        grid=np.moveaxis(GRID.reshape(1, 1, 2, 4, 6), 2, -1) - 0.5,
        anchors=np.array([10, 13, 16, 30, 33, 23], np.float32).reshape(1, 3, 1, 1, 2),
        rows=np.array([1, 72, 7]),
    )
    found, values = read(model)
    assert (found.layout, "2 classes" in found.why) == ("yolov5", True)
    y = values["y"][0]
    for thing, on in scores_of(found, values):
        row = int(np.argmin(abs(y[:, 4] * y[:, 5 + thing.label] - thing.score)))
        np.testing.assert_allclose(centred(thing.box), y[row, :4], atol=1e-3)
        assert sorted(on) == sorted([y[row, 4], y[row, 5 + thing.label]])
        assert np.prod(on) == pytest.approx(thing.score)


CELLS = """
    (float[1, 3, 32, 48] x) => (float y) {
    b = Conv <strides = [8, 8], kernel_shape = [8, 8]> (x, wb)
    o = Conv <strides = [8, 8], kernel_shape = [8, 8]> (x, wo)
    k = Conv <strides = [8, 8], kernel_shape = [8, 8]> (x, wk)
    so = Sigmoid (o)
    sk = Sigmoid (k)
    j = Concat <axis = 1> (b, so, sk)
    f = Reshape (j, flat)
    y = Transpose <perm = [0, 2, 1]> (f) }
"""


def test_boxes_in_cells_are_laid_on_their_grid():
    model = parsed(
        CELLS,
        wb=weights(4, 3, 8, 8),
        wo=weights(1, 3, 8, 8),
        wk=weights(2, 3, 8, 8),
        flat=np.array([1, 7, 24]),
    )
    found, values = read(model)
    assert found.layout == "yolox"
    y = values["y"][0]
    for thing, on in scores_of(found, values):
        row = int(np.argmin(abs(y[:, 4] * y[:, 5 + thing.label] - thing.score)))
        (r, c), (dx, dy, w, h) = divmod(row, 6), y[row, :4]
        wanted = [(c + dx) * 8, (r + dy) * 8, np.exp(w) * 8, np.exp(h) * 8]
        np.testing.assert_allclose(centred(thing.box), wanted, rtol=1e-4)
        assert np.prod(on) == pytest.approx(thing.score)
    with pytest.raises(BadRequest, match="24 boxes of an input of 64 x 64"):
        found.things(values, (64, 64))


# -- queries --------------------------------------------------------------------------------------------


def queries(classes, names=("logits", "pred_boxes"), ends="{1} = Sigmoid (b)"):
    body = f"""
    (float[1, 3, 32, 48] x) => (float {names[0]}, float {names[1]}) {{
    c = Conv <strides = [8, 8], kernel_shape = [8, 8]> (x, w)
    f = Reshape (c, flat)
    t = Transpose <perm = [0, 2, 1]> (f)
    {names[0]} = MatMul (t, k)
    b = MatMul (t, v)
    {ends.format(*names)} }}"""
    return parsed(
        body, w=weights(8, 3, 8, 8), flat=np.array([1, 8, 24]), k=weights(8, classes) * 3, v=weights(8, 4)
    )


def test_what_a_score_of_a_query_is_has_to_be_known():
    assert layout(queries(4)) is None
    with pytest.raises(BadRequest, match="is to be said"):
        layout(queries(4), kind="boxes")
    assert layout(queries(4), labels="abcd") == "sigmoid"
    assert layout(queries(4), labels="abc") == "softmax"
    assert layout(queries(4), facts={"model_type": "detr"}) == "softmax"
    assert layout(queries(4), facts={"model_type": "rt_detr"}) == "sigmoid"
    assert layout(queries(4), facts={"model_type": "rt_detr", "use_focal_loss": "False"}) == "softmax"
    assert layout(queries(4), kind="boxes:softmax") == "softmax"
    assert layout(queries(4), kind="boxes:sigmoid") == "sigmoid"


def test_names_are_not_needed_where_boxes_are_parts_of_the_picture():
    assert layout(queries(4, ("a", "b2")), labels="abc") == "softmax"
    assert layout(queries(4, ("a", "b2"), "{1} = Identity (b)"), labels="abc") is None


def test_queries_by_softmax_are_the_best_class_but_the_last():
    found, values = read(queries(4), labels="abc")
    logits, boxes = values["logits"][0].astype(np.float64), values["pred_boxes"][0]
    each = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    things = found.things(values, SIZE, 0)
    assert len(things) == 24
    for thing in things:
        (row, column) = np.unravel_index(abs(each - thing.score).argmin(), each.shape)
        assert thing.label == column == each[row, :3].argmax()
        np.testing.assert_allclose(centred(thing.box), boxes[row] * [48, 32, 48, 32], rtol=1e-4)
        assert values["logits"].ravel()[thing.seed.of["logits"].indices] == values["logits"][0, row, column]


def test_queries_by_sigmoid_may_be_several_classes():
    found, values = read(queries(3), labels="abc")
    each = 1 / (1 + np.exp(-values["logits"][0].astype(np.float64)))
    things = found.things(values, SIZE)
    assert sorted(t.score for t in things) == pytest.approx(sorted(each[each > 0.5]))
    assert len({t.box for t in things}) < len(things)


# -- what the model has chosen --------------------------------------------------------------------------

CHOSEN = """
    (float[1, 3, 32, 48] x) => (float y) {
    c = Conv <strides = [8, 8], kernel_shape = [8, 8]> (x, w)
    f = Reshape (c, flat)
    t = Transpose <perm = [0, 2, 1]> (f)
    b, z = Split <axis = 2> (t, parts)
    p = Sigmoid (z)
    v = Reshape (p, line)
    s, i = TopK <axis = 1> (v, five)
    n = Mod (i, three)
    r = Div (i, three)
    ri = Unsqueeze (r, two)
    rr = Expand (ri, wide)
    g = GatherElements <axis = 1> (b, rr)
    su = Unsqueeze (s, two)
    nu = Unsqueeze (n, two)
    nf = Cast <to = 1> (nu)
    y = Concat <axis = 2> (g, su, nf) }
"""


def test_seeds_lie_before_the_choice():
    model = parsed(
        CHOSEN,
        w=weights(7, 3, 8, 8),
        flat=np.array([1, 7, 24]),
        parts=np.array([4, 3]),
        line=np.array([1, 72]),
        five=np.array([5]),
        three=np.array(3),
        two=np.array([2]),
        wide=np.array([1, 5, 4]),
    )
    found, values = read(model)
    assert (found.layout, found.outputs, found.parts) == ("end2end", ("y",), ("p",))
    things = list(scores_of(found, values))
    assert len(things) == 5
    for k, (thing, on) in enumerate(things):
        x0, y0, x1, y1, score, label = values["y"][0, k]
        assert (thing.box, thing.score, thing.label) == ((y0, x0, y1, x1), score, label)
        index = int(thing.seed.of["p"].indices[0])
        assert (list(on), index % 3) == ([score], label)


def apart(text, outputs, **constants):
    """Boxes (24, 4), scores (24, 2) of every cell, and what is chosen of them."""
    start = """
    c = Conv <strides = [8, 8], kernel_shape = [8, 8]> (x, w)
    f = Reshape (c, flat)
    t = Transpose <perm = [0, 2, 1]> (f)
    b, z = Split <axis = 2> (t, parts)
    p = Sigmoid (z)
    """
    known = {"w": weights(6, 3, 8, 8), "flat": np.array([1, 6, 24]), "parts": np.array([4, 2])}
    body = f"(float[1, 3, 32, 48] x) => ({outputs}) {{ {start} {text} }}"
    return parsed(body, **known, **constants)


SUPPRESSED = """
    q = Transpose <perm = [0, 2, 1]> (p)
    n = NonMaxSuppression (b, q, most, over, least)
    cls = Gather <axis = 1> (n, one)
    row = Gather <axis = 1> (n, two)
    line = Reshape (q, minus)
    at0 = Mul (cls, many)
    at = Add (at0, row)
    scores = Gather (line, at)
    bb = Reshape (b, four)
    boxes = Gather (bb, row)
    labels = Identity (cls)
"""
NMS = {
    "most": np.array([20]),
    "over": np.float32(0.5),
    "least": np.float32(0.1),
    "one": np.array(1),
    "two": np.array(2),
    "minus": np.array([-1]),
    "many": np.array(24),
    "four": np.array([-1, 4]),
}


def test_boxes_scores_and_labels_behind_a_suppression():
    found, values = read(apart(SUPPRESSED, "float boxes, float scores, int64 labels", **NMS))
    assert (found.layout, found.parts) == ("torchvision", ("p",))
    things = list(scores_of(found, values))
    assert len(things) == len(values["scores"])
    for thing, on in things:
        k = int(np.flatnonzero(values["scores"] == thing.score)[0])
        x0, y0, x1, y1 = values["boxes"][k]
        assert (thing.box, thing.label) == ((y0, x0, y1, x1), values["labels"][k])
        assert (list(on), thing.seed.of["p"].indices[0] % 2) == ([thing.score], thing.label)


def test_names_of_outputs_say_the_order_of_coordinates():
    text = """
    best = ReduceMax <keepdims = 0> (p, last)
    label = ArgMax <axis = 2, keepdims = 0> (p)
    bu = Sigmoid (b)
    {boxes} = Identity ({of})
    {scores} = Identity (best)
    {labels} = Identity (label)
    """
    last = np.array([2])
    names = {"boxes": "detection_boxes", "scores": "detection_scores", "labels": "detection_classes"}
    outputs = "float {boxes}, float {scores}, int64 {labels}"
    found, values = read(apart(text.format(**names, of="bu"), outputs.format(**names), last=last))
    assert found.layout == "tensorflow"
    thing = found.things(values, SIZE, 0)[0]
    k = values["detection_scores"][0].argmax()
    np.testing.assert_allclose(thing.box, values["detection_boxes"][0, k] * [32, 48, 32, 48], rtol=1e-5)
    names = {"boxes": "det_boxes", "scores": "det_scores", "labels": "det_classes"}
    found, values = read(apart(text.format(**names, of="b"), outputs.format(**names), last=last))
    assert found.layout == "efficientnms"
    thing = found.things(values, SIZE, 0)[0]
    k = values["det_scores"][0].argmax()
    np.testing.assert_allclose(thing.box, values["det_boxes"][0, k][[1, 0, 3, 2]], rtol=1e-5)


def test_dets_and_labels():
    text = """
    best = ReduceMax (p, last)
    labels = ArgMax <axis = 2, keepdims = 0> (p)
    dets = Concat <axis = 2> (b, best)
    """
    found, values = read(apart(text, "float dets, int64 labels", last=np.array([2])))
    assert found.layout == "mmdet"
    thing = found.things(values, SIZE, 0)[0]
    k = values["dets"][0, :, 4].argmax()
    assert (thing.label, thing.score) == (values["labels"][0, k], values["dets"][0, k, 4])
    np.testing.assert_array_equal(thing.box, values["dets"][0, k][[1, 0, 3, 2]].astype(float))


def test_class_score_and_corners():
    text = """
    best = ReduceMax (p, last)
    label = ArgMax <axis = 2> (p)
    real = Cast <to = 1> (label)
    j = Concat <axis = 2> (real, best, b)
    y = Reshape (j, rows)
    """
    found, values = read(apart(text, "float y", last=np.array([2]), rows=np.array([24, 6])))
    assert found.layout == "paddle"
    thing = found.things(values, SIZE, 0)[0]
    row = values["y"][values["y"][:, 1].argmax()]
    assert (thing.label, thing.score) == (row[0], row[1])
    np.testing.assert_array_equal(thing.box, row[[3, 2, 5, 4]].astype(float))


# -- levels of a pyramid --------------------------------------------------------------------------------


def levels(*outputs, size=SIZE):
    """A model of these outputs (name, rows, columns, operator), each of what the picture comes to."""
    lines, constants = ["m = GlobalAveragePool (x)", "r = Reshape (m, row)"], {"row": np.array([1, 1, 3])}
    for i, (name, rows, width, operator) in enumerate(outputs):
        constants |= {f"w{i}": weights(3, rows * width), f"shape{i}": np.array([1, rows, width])}
        lines.append(f"a{i} = MatMul (r, w{i}) b{i} = Reshape (a{i}, shape{i}) {name} = {operator} (b{i})")
    outputs = ", ".join(f"float {name}" for name, *_ in outputs)
    return parsed(
        f"(float[1, 3, {size[0]}, {size[1]}] x) => ({outputs}) {{ {' '.join(lines)} }}", **constants
    )


def zeros(found, model):
    graph = Network(model, provider="cpu", threads=1).graph
    return {o: np.zeros(graph[o].shape, np.float32) for o in found.outputs}


def test_distributions_of_distances():
    model = levels(
        ("s8", 24, 3, "Sigmoid"),
        ("s16", 6, 3, "Sigmoid"),
        ("d8", 24, 32, "Identity"),
        ("d16", 6, 32, "Identity"),
    )
    found, _ = read(model)
    assert found.layout == "picodet"
    values = zeros(found, model)
    values["s16"][0, 4, 1] = 0.9  # row 1, column 1 of the grid of stride 16
    sides = values["d16"][0, 4].reshape(4, 8)
    for side, at in enumerate((1, 2, 3, 0)):
        sides[side, at] = 100
    (thing,) = found.things(values, SIZE)
    x, y = 24, 24
    assert (thing.label, thing.score) == (1, pytest.approx(0.9))
    assert thing.box == pytest.approx((y - 32, x - 16, y + 0, x + 48))
    assert thing.seed.of["s16"].indices == [4 * 3 + 1]


def test_anchors_with_distances_and_points():
    kinds = [("s", 1, "Sigmoid"), ("b", 4, "Identity"), ("k", 10, "Identity")]
    model = levels(*((f"{n}{s}", rows, w, op) for n, w, op in kinds for s, rows in ((8, 48), (16, 12))))
    found, _ = read(model)
    assert found.layout == "scrfd"
    values = zeros(found, model)
    values["s8"][0, 2 * 7 + 1] = 0.8  # the second anchor of row 1, column 1
    values["b8"][0, 15] = [0.5, 1, 1.5, 2]
    values["k8"][0, 15] = np.arange(10)
    (thing,) = found.things(values, SIZE)
    assert thing.box == pytest.approx((8 - 8, 8 - 4, 8 + 16, 8 + 12))
    np.testing.assert_allclose(thing.points[1], [8 + 3 * 8, 8 + 2 * 8, 1])
    assert thing.seed.of["s8"].indices == [15]
    assert thing.seeds["h"].of["b8"].indices == [15 * 4 + 3]


def test_faces_by_the_names_of_the_outputs():
    kinds = [("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)]
    model = levels(*((f"{n}_{s}", rows, w, "Identity") for n, w in kinds for s, rows in ((8, 24), (16, 6))))
    found, _ = read(model)
    assert found.layout == "yunet"
    values = zeros(found, model)
    values["cls_8"][0, 8], values["obj_8"][0, 8] = 0.9, 0.8
    values["bbox_8"][0, 8] = [0.5, 0.25, np.log(2), np.log(3)]
    (thing,) = found.things(values, SIZE)
    assert thing.score == pytest.approx(np.sqrt(0.72))
    assert centred(thing.box) == pytest.approx([20, 10, 16, 24])
    assert {n: list(w.indices) for n, w in thing.seed.of.items()} == {"cls_8": [8], "obj_8": [8]}


@pytest.mark.parametrize("side", [128, 256])
def test_anchors_of_blazeface(side):
    rows = [("s0", 512, 1), ("s1", 384, 1), ("r0", 512, 16), ("r1", 384, 16)]
    model = levels(*((*row, "Identity") for row in rows), size=(side, side))
    found = find(Network(model, provider="cpu", threads=1).graph, Hints(size=(side, side)))
    assert found.layout == "blazeface"
    values = zeros(found, model) | {"s0": np.full((1, 512, 1), -9.0), "s1": np.full((1, 384, 1), -9.0)}
    values["s1"][0, 6 * 9 + 2] = 2  # row 1, column 1 of 8 by 8, the third of its six anchors
    values["r1"][0, 56] = [1, 2, 10, 20, *range(12)]
    (thing,) = found.things(values, (side, side))
    at = 1.5 * side / 8
    assert thing.score == pytest.approx(1 / (1 + np.exp(-2)))
    assert centred(thing.box) == pytest.approx([at + 1, at + 2, 10, 20])
    np.testing.assert_allclose(thing.points[1], [at + 3, at + 2, 1])
    assert thing.seed.of["s1"].indices == [56]


# -- what is none ---------------------------------------------------------------------------------------

NONE = {
    "classes": "p = GlobalAveragePool (c) f = Flatten (p) y = Softmax (f)",
    "six classes": "p = GlobalAveragePool (d) f = Flatten (p) y = Sigmoid (f)",
    "a map of classes": "y = Sigmoid (d)",
    "tokens": "f = Reshape (c, flat) y = Transpose <perm = [0, 2, 1]> (f)",
    "characters": "f = Reshape (d, flat6) t = Transpose <perm = [0, 2, 1]> (f) y = Softmax <axis = 2> (t)",
    "steps first": "f = Reshape (d, flat6) t = Transpose <perm = [2, 0, 1]> (f) y = LogSoftmax (t)",
    "numbers and signs": "f = Reshape (d, flat6) t = Transpose <perm = [0, 2, 1]> (f) y = Tanh (t)",
    "a vector": "p = GlobalAveragePool (c) f = Flatten (p) y = LpNormalization <axis = 1> (f)",
}


@pytest.mark.parametrize("name", NONE)
def test_other_answers_are_no_boxes(name):
    start = "c = Conv <strides = [8, 8]> (x, w) d = Conv <strides = [8, 8]> (x, v)"
    model = parsed(
        f"(float[1, 3, 32, 48] x) => (float y) {{ {start} {NONE[name]} }}",
        w=weights(16, 3, 8, 8),
        v=weights(6, 3, 8, 8),
        flat=np.array([1, 16, 24]),
        flat6=np.array([1, 6, 24]),
    )
    assert layout(model) is None
    assert layout(model, labels="ab") is None


def test_a_layout_that_is_not_there_or_does_not_fit_is_refused():
    with pytest.raises(BadRequest, match="there is no layout of boxes 'yolo8'; nearest: yolov8"):
        layout(plain(3), kind="boxes:yolo8")
    with pytest.raises(BadRequest, match=r"no boxes are laid out as picodet in the outputs y \[1, 7, 24\]"):
        layout(plain(3), kind="boxes:picodet")
    assert layout(plain(3), output="y") == "yolov8"


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_that_is_said_finds_boxes_or_says_that_there_are_none(name):
    for model in (plain(3), queries(4)):
        try:
            found, values = read(model, kind=f"boxes:{name}")
            found.things(values, SIZE, 0)
        except BadRequest:
            continue


# -- candidates -----------------------------------------------------------------------------------------


def test_of_boxes_that_overlap_the_best_is_kept():
    boxes = np.array([[0, 0, 10, 10], [0, 1, 10, 11], [0, 5, 10, 15], [0, 0, 10, 10]], float)
    np.testing.assert_allclose(overlaps(boxes[0], boxes), [1, 9 / 11, 1 / 3, 1])
    same = np.zeros(4)
    assert list(suppressed(boxes, same, 0.7)) == [0, 2]
    assert list(suppressed(boxes, same, 0.3)) == [0]
    assert list(suppressed(boxes, np.array([0, 0, 0, 1]), 0.7)) == [0, 2, 3]
    assert list(suppressed(boxes[:0], same[:0], 0.7)) == []


def test_turned_boxes_overlap_by_how_they_lie():
    boxes = np.array([[45, 0, 55, 100], [45, 0, 55, 100], [45, 0, 55, 100]], float)
    assert list(suppressed(boxes, np.zeros(3), 0.5, np.array([0, np.pi / 2, np.pi]))) == [0, 1]


def test_rows_without_numbers_are_left_out():
    boxes = np.array([[0, 0, 1, 1], [0, 0, np.inf, 1], [0, np.nan, 1, 1], [0, 0, 2, 2]])
    scores = np.array([0.9, 0.8, 0.7, np.nan])
    found = Candidates(boxes, scores, lambda row, column: Seed.on("y", row), labels=np.arange(4))
    assert [t.label for t in found.things(0.25, None)] == [0]
    assert [t.label for t in found.things(0, 0.5)] == [0]


@pytest.mark.parametrize("columns", [(), (3,)])
def test_no_rows_are_no_boxes(columns):
    found = Candidates(np.zeros((0, 4)), np.zeros((0, *columns)), lambda row, column: Seed())
    assert found.things(0, None) == found.things(0, 0.5) == []
    box = Candidates(np.ones((1, 4)), np.ones(1), lambda row, column: Seed()).things(0, None)[0]
    assert found.again(box) == 0


def test_grids_of_a_size():
    assert strides_of(3549, (416, 416)) == (8, 16, 32)
    assert strides_of(25200, (640, 640), 3) == (8, 16, 32)
    assert strides_of(7600, (800, 608)) == (8,)
    assert strides_of(130, (800, 608)) == (64,)
    assert strides_of(3550, (416, 416)) is None


def test_columns_are_followed_to_what_computes_them():
    graph = Network(plain(3), provider="cpu", threads=1).graph
    found = columns(graph, "y", 1)
    assert [c.value for c in found] == ["box"] * 4 + ["p"] * 3
    assert [c.place for c in found] == [0, 1, 2, 3, 0, 1, 2]
    assert natures(graph, found) == "nnnnuuu"
