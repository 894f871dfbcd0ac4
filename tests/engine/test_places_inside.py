"""Where values lie that an If, a Loop or a Scan makes: as the graphs inside them put them, or nowhere."""

import numpy as np
import pytest
from oracles.networks import parsed

from onnxlens.engine.anatomy.maps import coordinates, views, why_not
from onnxlens.engine.canonical.canonical import canonical
from onnxlens.engine.runtime.session import Session

IF = "y = If (flag) <then_branch = yes () => (MAP a) {{ {} }}, else_branch = no () => (MAP b) {{ {} }}>"
LOOP = """{} = Loop (three, on, {}) <body = round (int64 i, bool go, MAP s) => (bool again, MAP n{}) {{
    {} again = Identity (go)
}}>"""
SCAN = """end, y = Scan <
    num_scan_inputs = 1, scan_input_axes = [{0}], scan_output_axes = [{0}],
    body = step (float[N,8,10] s, float[N,8,10] e) => (float[N,8,10] n, float[N,8,10] c) {{
        n = Add (s, e) c = Tanh (n)
    }}
> (start, f)"""
DEEP = """a = If (flag) <
    then_branch = yes () => (MAP a) { BODY }, else_branch = no () => (MAP b) { b = Tanh (f) }
>"""


def made(text, batch):
    text = text.replace("MAP", "float[N,3,8,10]").replace("N,", f"{batch},")
    n = 1 if batch == "N" else batch
    model = parsed(
        f"(float[{batch},3,8,10] image, bool flag) => (float[a,b,c,d] y) {{ f = Relu (image) {text} }}",
        20,
        three=np.array(3),
        on=np.array(True),
        zeros=np.zeros((n, 3, 8, 10)),
        start=np.zeros((n, 8, 10)),
        row=np.zeros((n, 3, 10)),
        one=np.zeros((3, 8, 10)),
        down=np.array([0, 0, 1, 0, 0, 0, -1, 0]),
        last=np.array([-1]),
        far=np.array([-99]),
        across=np.array([3]),
        kernel=np.ones((3, 3, 3, 3)),
        first=np.array([0]),
    )
    return canonical(model)


STAYS = {
    "branches of one place": IF.format("a = Tanh (f)", "b = Mul (f, f)"),
    "a branch of no picture": IF.format("a = Tanh (f)", "b = Identity (zeros)"),
    "names of one branch in the other": IF.format("h = Tanh (f) a = Neg (h)", "h = Abs (f) b = Identity (h)"),
    "an If in an If": IF.format(DEEP.replace("BODY", "a = Neg (f)"), "b = Identity (f)"),
    "a state changed one by one": LOOP.format("y", "f", "", "h = Tanh (s) n = Add (s, h)"),
    "a state that begins with nothing": LOOP.format("y", "zeros", "", "n = Add (s, f)"),
    "what a Scan gives for each channel": SCAN.format(1),
}
MOVES = {
    "unlike branches": ("If", IF.format("a = Tanh (f)", "b = Pad (f, down)")),
    "what sees more in one": ("If", IF.format("a = Tanh (f)", "b = Conv <pads = [1, 1, 1, 1]> (f, kernel)")),
    "a state that is moved": ("Loop", LOOP.format("y", "f", "", "n = Pad (s, down)")),
    "one that sees more each round": (
        "Loop",
        LOOP.format("y", "f", "", "n = Conv <pads = [1, 1, 1, 1]> (s, kernel)"),
    ),
    "one that begins with nothing": (
        "Loop",
        LOOP.format("y", "zeros", "", "h = Pad (s, down) n = Add (h, f)"),
    ),
    "what is collected of it": (
        "Loop",
        LOOP.format("e, all", "zeros", ", MAP c", "n = Pad (s, down) c = Add (n, f)")
        + " y = ReduceMean <keepdims = 0> (all, first)",
    ),
    "rows one by one": ("Scan", SCAN.format(2).replace("8,10]", "3,10]").replace("start", "row")),
    "images one by one": ("Scan", SCAN.format(0).replace("N,8,10]", "3,8,10]").replace("start", "one")),
}


@pytest.mark.parametrize("batch", ["N", 1, 2])
@pytest.mark.parametrize("name", STAYS)
def test_what_stays_where_it_was(name, batch):
    graph = made(STAYS[name], batch)
    assert views(graph)["y"] == views(graph)["f"]


@pytest.mark.parametrize("batch", ["N", 2])
@pytest.mark.parametrize("name", MOVES)
def test_what_is_moved_somewhere_lies_nowhere(name, batch):
    node, text = MOVES[name]
    graph = made(text, batch)
    assert f"lost its places in the picture at {node} node" in why_not(graph, "y")


@pytest.mark.parametrize("batch", ["N", 2])
def test_branches_that_move_alike(batch):
    turned = "= Slice (f, last, far, across, last)"
    graph = made(IF.format(f"a {turned}", f"h {turned} b = Neg (h)"), batch)
    columns = np.broadcast_to(np.arange(10, dtype=np.float32) + 0.5, (2, 3, 8, 10))
    found = Session(graph, ["y"], "cpu", 1)({"image": columns, "flag": np.array(True)})["y"]
    followed = coordinates(graph)["y"]
    assert followed is not None
    np.testing.assert_array_equal(np.broadcast_to(followed.columns[0], found.shape), found)


def test_graphs_deep_inside_others_are_not_followed():
    text = "a = Neg (f)"
    for _ in range(8):
        text = DEEP.replace("BODY", text)
    assert "lost its places in the picture at If node" in why_not(
        made(IF.format(text, "b = Neg (f)"), 1), "y"
    )
