"""Gradients through If, Loop and Scan, held against central differences in float64."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, shape_inference
from oracles import control
from oracles.differences import assert_curvature, assert_slopes, assert_transposed, runner
from oracles.lists import LISTS
from oracles.networks import parsed, run

from onnxlens.engine.autodiff.doctor import examine
from onnxlens.engine.autodiff.forward import jvp
from onnxlens.engine.autodiff.gradient import gradient, training_graph
from onnxlens.engine.errors import NoRule
from onnxlens.engine.graph.nodes import bodies, every_node
from onnxlens.engine.runtime.optimise import optimised

RNG = np.random.default_rng(5)
X = RNG.standard_normal((2, 3))
W = RNG.standard_normal((3, 3))


def written(body, values="double[2,3] x, int64 trips", opset=18, **weights):
    """A model in float64 of what is written, with what loops begin with."""
    more = {
        "yes": np.array(True),
        "one": np.int64(1),
        "nought": np.zeros((2, 3), np.float64),
        "W": W,
        **weights,
    }
    model = parsed(f"({values}) => (double[N,M] y) {{ {body} }}", opset)
    for name, value in more.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return model


@pytest.mark.parametrize("seed", range(24))
def test_random_control_flow(seed):
    model, feeds = control.model(seed)
    assert_slopes(model, feeds, ["y"], ["x", "w"], directions=1, epsilon=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(24, 300))
def test_much_random_control_flow(seed):
    model, feeds = control.model(seed)
    assert_slopes(model, feeds, ["y"], ["x", "w"], directions=1, epsilon=1e-6)


@pytest.mark.parametrize("seed", [0, 2, 3, 4])
def test_gradients_of_gradients(seed):
    model, feeds = control.model(seed)
    first = gradient(model, of="y", wrt="x")
    seeded = {**feeds, "seed/y": np.random.default_rng(1).standard_normal(control.SHAPE)}
    assert_slopes(first, seeded, ["grad/x"], ["x", "w", "seed/y"], directions=1)


@pytest.mark.parametrize("seed", range(6))
def test_tangents_are_the_transpose_of_gradients(seed):
    """⟨Jᵀu, v⟩ = ⟨u, Jv⟩, to the last digits."""
    model, feeds = control.model(seed)
    u, v = np.random.default_rng(seed).standard_normal((2, *control.SHAPE))
    pulled = runner(gradient(model, of="y", wrt="x"))({**feeds, "seed/y": u})[-1]
    pushed = runner(jvp(model, of="y", wrt="x"))({**feeds, "tangent/x": v})[-1]
    np.testing.assert_allclose((pulled * v).sum(), (pushed * u).sum(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("kind", ["states", "a state that grows", "a name that comes again behind the loop"])
def test_several_seeds_in_one_pass(kind):
    model, feeds = written(LOOPS[kind], **MORE), {"x": X, "trips": np.array(3)}
    shape = run(model, feeds)["y"].shape
    us = RNG.standard_normal((3, *shape))
    each = [run(gradient(model, of="y", wrt="x"), {**feeds, "seed/y": u})["grad/x"] for u in us]
    found = run(gradient(model, of="y", wrt="x", seeds=3), {**feeds, "seed/y": us})["grad/x"]
    np.testing.assert_allclose(found, each, rtol=1e-12)


LOOPS = {
    "states": """t, c = Loop (trips, yes, x, one) <
        body = round (int64 i, bool go, double[2,3] s, int64 k) => (bool again, double[2,3] n, int64 k2) {
        m = MatMul (s, W) f = Cast <to = 11> (k) d = Div (m, f) n = Tanh (d)
        k2 = Add (k, one) again = Identity (go)
    }> y = Mul (t, x)""",
    "an early end": """t, c = Loop (trips, yes, x, one) <
        body = round (int64 i, bool go, double[2,3] s, int64 k) => (bool again, double[2,3] n, int64 k2) {
        n = Sin (s) k2 = Add (k, one) again = Less (k2, two)
    }> y = Mul (t, x)""",
    "an end that values decide": """t = Loop (trips, yes, x) <body = round (int64 i, bool go, double[2,3] s)
        => (bool again, double[2,3] n) {
        d = Mul (s, half) n = Add (s, d) a = Abs (n) l = ReduceMax <keepdims = 0> (a) again = Less (l, far)
    }> y = Identity (t)""",
    "no bound but the condition": """t = Loop ("", yes, x) <body = round (int64 i, bool go, double[2,3] s)
        => (bool again, double[2,3] n) { n = Sin (s) again = Less (i, two) }> y = Identity (t)""",
    "a name that comes again behind the loop": """r = ReduceSum <keepdims = 0> (x, front) g = Exp (r)
    f, all = Scan <num_scan_inputs = 1,
        body = step (double[3] s, double[3] e) => (double[3] s2, double[3] o) {
        h, m = Loop (three, yes, s) <body = round (int64 i, bool go, double[3] v)
            => (bool again, double[3] n, double[3] m) {
            l = ReduceSum <keepdims = 0> (v) c = Less (l, far) again = Identity (go)
            w = If (c) <then_branch = a () => (p) { p0 = Mul (v, e) p = Add (p0, r) },
                else_branch = b () => (q) { q0 = Mul (v, g) q = Sin (q0) }>
            n = Tanh (w) m = Mul (w, e)
        }>
        o = ReduceSum <keepdims = 0> (m, front) s2 = Mul (h, e)
    }> (g, x) q = ReduceSum <keepdims = 0> (all, front) k = Add (f, q) y = Mul (x, k)""",
    "what is collected": """t, all = Loop (trips, yes, x) <body = round (int64 i, bool go, double[2,3] s)
        => (bool again, double[2,3] n, double[2,3] m) {
        m = MatMul (s, W) n = Tanh (m) again = Identity (go)
    }> q = Mul (all, all) y = ReduceSum <keepdims = 0> (q, front)""",
    "a sequence from outside": """t = Loop (two, yes, nought) <body = round (int64 i, bool go, double[2,3] s)
        => (bool again, double[2,3] n) {
        e = Gather <axis = 0> (x, i) h = MatMul (e, W) p = Add (s, h) n = Tanh (p) again = Identity (go)
    }> y = Identity (t)""",
    "a state that grows": """t = Loop (trips, yes, x) <body = round (int64 i, bool go, double[R,3] s)
        => (bool again, double[Q,3] n) {
        a = Sin (s) b = ReduceMean (s, front) n = Concat <axis = 0> (a, b) again = Identity (go)
    }> y = Mul (t, t)""",
    "an integer state that grows": """t, l = Loop (trips, yes, x, zero) <
        body = round (int64 i, bool go, double[2,3] s, int64[K] k)
            => (bool again, double[2,3] n, int64[L] k2) {
        g = Gather <axis = 1> (s, k) r = ReduceSum (g, last) m = Mul (s, r) n = Sin (m)
        j = Reshape (i, front1) o = Mod (j, three) k2 = Concat <axis = 0> (k, o) again = Identity (go)
    }> y = Identity (t)""",
    "states that change places": """a, b = Loop (trips, yes, x, nought) <
        body = round (int64 i, bool go, double[2,3] s, double[2,3] r)
            => (bool again, double[2,3] r, double[2,3] n) {
        d = Sin (s) n = Add (d, x) again = Identity (go)
    }> y = Sub (a, b)""",
    "numbers with an axis": """t = Loop (trips, yes, x) <body = round (int64[1] i, bool go, double[2,3] s)
        => (bool again, double[2,3] n) {
        f = Cast <to = 11> (i) p = Add (s, f) n = Sin (p) again = Identity (go)
    }> y = Identity (t)""",
    "a step of it at a time": """t = Loop (trips, yes, front_row) <
        body = round (int64 i, bool go, double[2] s) => (bool again, double[2] n) {
        j = Mod (i, three) e = Gather <axis = 1> (x, j) p = Mul (s, e) n = Sin (p) again = Identity (go)
    }> l = Unsqueeze (t, last) y = Mul (x, l)""",
    "steps from the end, and all of it": """t = Loop (trips, yes, nought) <
        body = round (int64 i, bool go, double[2,3] s) => (bool again, double[2,3] n) {
        j = Mod (i, two) k = Neg (j) e = Gather (x, k) p = Add (s, e) q = Mul (p, x) n = Sin (q)
        again = Identity (go)
    }> y = Identity (t)""",
    "several steps at a time": """t = Loop (trips, yes, nought) <
        body = round (int64 i, bool go, double[2,3] s) => (bool again, double[2,3] n) {
        j = Mod (i, two) k = Neg (j) m = Reshape (k, front1) l = Concat <axis = 0> (m, m)
        e = Gather (x, l) f = Sin (e) n = Add (s, f) again = Identity (go)
    }> y = Identity (t)""",
    "an element at a time": """t = Loop (trips, yes, x) <body = round (int64 i, bool go, double[2,3] s)
        => (bool again, double[2,3] n) {
        j = Mod (i, two) k = Reshape (j, front1) l = Concat <axis = 0> (k, k)
        e = GatherND (x, l) p = Mul (s, e) n = Sin (p) again = Identity (go)
    }> y = Identity (t)""",
    "a step of what is turned around": """t = Loop (trips, yes, front_row) <
        body = round (int64 i, bool go, double[2] s) => (bool again, double[2] n) {
        h = Transpose <perm = [1, 0]> (x) g = Reshape (h, six) r = Reshape (g, across) j = Mod (i, three)
        e = Gather <axis = 0> (r, j) p = Mul (s, e) n = Sin (p) again = Identity (go)
    }> l = Unsqueeze (t, last) y = Mul (x, l)""",
    "weights handed on as states": """t, w = Loop (trips, yes, x, W) <
        body = round (int64 i, bool go, double[2,3] x, double[3,3] W)
            => (bool again, double[2,3] n, double[3,3] W) {
        m = MatMul (x, W) n = Tanh (m) again = Identity (go)
    }> s = ReduceSum (w) y = Mul (t, s)""",
}  # fmt: skip
MORE = {
    "two": np.int64(2), "three": np.int64(3), "half": np.float64(0.5), "far": np.float64(3.0),
    "front_row": np.array([0.5, -0.7]), "six": np.int64([6]), "across": np.int64([3, 2]),
    "front": np.int64([0]), "front1": np.int64([1]), "zero": np.int64([0]), "last": np.int64([1]),
}  # fmt: skip


@pytest.mark.parametrize("trips", [0, 1, 4])
@pytest.mark.parametrize("kind", LOOPS)
def test_loops(kind, trips):
    model = written(LOOPS[kind], "double[2,3] x, int64 trips", **MORE)
    assert_slopes(model, {"x": X, "trips": np.array(trips)}, ["y"], ["x"])


def test_weights_of_a_loop_as_inputs():
    model = written(LOOPS["weights handed on as states"], "double[2,3] x, int64 trips, double[3,3] W", **MORE)
    kept = [t for t in model.graph.initializer if t.name != "W"]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    assert_slopes(model, {"x": X, "trips": np.array(3), "W": W}, ["y"], ["x", "W"])


@pytest.mark.parametrize("rows", [1, 2])
def test_what_pytorch_writes_for_squeeze(rows):
    """An If whose branches differ in rank, on a size that is known at run time only."""
    model = written(
        """shape = Shape (x) n = Gather (shape, nil) one_row = Equal (n, one)
        t = If (one_row) <then_branch = a () => (double[K] s) { s = Squeeze (x, front) },
                          else_branch = b () => (double[K,L] i) { i = Identity (x) }>
        y = Mul (t, t)""",
        "double[R,3] x", front=np.int64([0]), nil=np.int64(0),
    )  # fmt: skip
    model.graph.output[0].type.tensor_type.ClearField("shape")
    assert_slopes(model, {"x": X[:rows]}, ["y"], ["x"])


def test_a_loop_of_many_steps_has_as_many_nodes():
    def nodes(steps):
        model = written(LOOPS["states"].replace("trips", "long"), "double[2,3] x", long=np.int64(steps))
        return len(list(every_node(gradient(model, of="y", wrt="x").graph.node)))

    assert nodes(10) == nodes(10_000) < 60


def test_what_steps_read_one_by_one_takes_no_room_in_each():
    """The gradient of a sequence is put together behind the loop; each step has that of its own part."""
    model = written(
        """m = Sin (x)
        t = Loop (long, yes, none) <
            body = round (int64 i, bool go, double[4] s) => (bool again, double[4] n) {
            start = Constant <value_ints = [0]> () end = Constant <value_ints = [9223372036854775807]> ()
            all = Slice (m, start, end) e = Gather (all, i) p = Mul (s, e) n = Tanh (p) again = Identity (go)
        }> y = Unsqueeze (t, front)""",
        "double[1000,4] x", long=np.int64(1000), none=np.ones(4), front=np.int64([0]),
    )  # fmt: skip
    made = gradient(model, of="y", wrt="x")
    assert_slopes(model, {"x": RNG.standard_normal((1000, 4))}, ["y"], ["x"])
    inferred = shape_inference.infer_shapes(made, data_prop=True)
    _, back = (b for n in inferred.graph.node if n.op_type == "Loop" for b in bodies(n))
    sizes = [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in back.value_info]
    assert max(map(np.prod, sizes)) <= 4
    assert not {n.op_type for n in back.node} & {"ScatterElements", "Expand", "Slice"}


def test_the_answers_stay_what_they_are():
    model, feeds = control.model(3)
    both = run(gradient(model, of="y", wrt="x"), {**feeds, "seed/y": np.ones(control.SHAPE)})
    np.testing.assert_array_equal(both["y"], run(model, feeds)["y"])


@pytest.mark.parametrize("kind", ["states", "what is collected", "an early end"])
def test_what_is_rewritten_for_speed_is_the_same(kind):
    graph = training_graph(written(LOOPS[kind], **MORE), "y", "x")
    feeds = {"x": X, "trips": np.array(3), "seed/y": np.ones((2, 3))}
    before, after = (run(g.to_model(), feeds) for g in (graph, optimised(graph, graph.outputs)))
    np.testing.assert_allclose(after["grad/x"], before["grad/x"], rtol=1e-12)


def test_a_sequence_whose_elements_a_step_reads_is_refused():
    model = written(
        """empty = SequenceEmpty <dtype = 11> ()
        t, l = Loop (trips, yes, x, empty) <body = round (int64 i, bool go, double[2,3] s, seq(double[2,3]) k)
            => (bool again, double[2,3] n, seq(double[2,3]) k2) {
            k2 = SequenceInsert (k, s) f = ConcatFromSequence <axis = 1> (k2)
            d = ReduceSum (f) g = Mul (s, d) n = Sin (g) again = Identity (go)
        }> y = Identity (t)""",
    )
    reason = "hands on a sequence from step to step, which its gradient would have to look into"
    with pytest.raises(NoRule, match=f"through Loop node 't': {reason}; ask for a value behind it by `wrt`$"):
        gradient(model, of="y", wrt="x")
    (block,) = examine(model, of=["y"], wrt=["x"]).blocks
    assert block.why == reason


@pytest.mark.parametrize("kind", LISTS)
def test_lists_of_tensors(kind):
    places = {
        "last_one": np.int64(-1),
        "last_but_one": np.int64(-2),
        "nil": np.int64(0),
    }
    values = f"h = Tanh (x) s = Slice (x, last, front2, last) {LISTS[kind]}"
    model = written(values, **places, **MORE, front2=np.int64([3]), parts=np.int64([1, 2]))
    feeds = {"x": X, "trips": np.array(3)}
    assert_slopes(model, feeds, ["y"], ["x"])
    if kind in ("read in a loop", "appended to a list"):
        with pytest.raises(NoRule, match="hands on a sequence from step to step"):
            jvp(model, of="y", wrt="x")
        return
    assert_transposed(model, feeds, ["y"], ["x"])
    assert_curvature(model, feeds, ["y"], ["x"])


@pytest.mark.parametrize("rows", [1, 2])
def test_a_rank_that_a_file_says_of_one_branch_only(rows):
    """PyTorch writes the output of a squeeze as it is in the branch for one row, and the values behind it."""
    model = written(
        """shape = Shape (x) n = Gather (shape, nil) one_row = Equal (n, one)
        t = If (one_row) <then_branch = a () => (double[3] s) { s = Squeeze (x, front) },
                          else_branch = b () => (double[R,3] i) { i = Identity (x) }>
        u = Sin (t) y = Mul (t, u)""",
        "double[R,3] x", front=np.int64([0]), nil=np.int64(0),
    )  # fmt: skip
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.DOUBLE, [3]))
    for name in "tu":
        model.graph.value_info.append(helper.make_tensor_value_info(name, TensorProto.DOUBLE, [3]))
    assert_slopes(model, {"x": X[:rows]}, ["y"], ["x"])


def test_a_slice_of_everything_keeps_an_open_size():
    """What exporters write for `:`. The state of a loop so has one shape, and its tape is no list."""
    model = written(
        """t = Loop (trips, yes, x) <body = round (int64 i, bool go, double[R,3] s)
            => (bool again, double[Q,3] n) {
            start = Constant <value_ints = [0, 0]> ()
            end = Constant <value_ints = [9223372036854775807, 2]> ()
            axes = Constant <value_ints = [0, 1]> ()
            c = Slice (s, start, end, axes) r = ReduceMean (c, last) p = Add (s, r) n = Sin (p)
            again = Identity (go)
        }> y = Identity (t)""",
        "double[R,3] x, int64 trips", **MORE,
    )  # fmt: skip
    made = gradient(model, of="y", wrt="x")
    assert not {"SequenceInsert", "SequenceAt"} & {n.op_type for n in every_node(made.graph.node)}
    for rows in (1, 2):
        assert_slopes(model, {"x": X[:rows], "trips": np.array(2)}, ["y"], ["x"])


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_a_recurrent_layer_of_any_length(kind):
    """The length is told when it runs, and a sequence ends before it; as many nodes as for a short one."""
    rng, gates = np.random.default_rng(2), {"RNN": 1, "GRU": 3, "LSTM": 4}[kind]

    def model(length):
        return parsed(
            f"""(float[{length},2,3] x, int32[2] lengths) => (float[T,D,2,4] y, float[D,2,4] last) {{
                y, last = {kind} <hidden_size = 4, direction = "bidirectional"> (x, w, r, b, lengths)
            }}""",
            w=rng.standard_normal((2, gates * 4, 3)) / 4,
            r=rng.standard_normal((2, gates * 4, 4)) / 4,
            b=rng.standard_normal((2, 2 * gates * 4)),
        )

    feeds = {"x": RNG.standard_normal((5, 2, 3)).astype(np.float32), "lengths": np.int32([3, 5])}
    assert_slopes(model("T"), feeds, ["y", "last"], ["x"])
    short, long = (len(gradient(model(n), of="y", wrt="x").graph.node) for n in (10, 10_000))
    assert short == long < 120
