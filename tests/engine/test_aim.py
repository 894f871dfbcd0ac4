"""A network that answers with sums of its values."""

import numpy as np
from oracles.networks import parsed

from onnxlens.engine.anatomy.readouts.classes import is_of_all
from onnxlens.engine.anatomy.readouts.thing import Seed
from onnxlens.engine.runtime.network import Network
from onnxlens.engine.targets.aim import Aim


def test_what_an_answer_is_too_short_for_counts_as_nothing():
    """As a text, which has fewer characters where half of it is hidden."""
    model = parsed(
        """(float[1,4] x) => (float[1,K] y) {
            none = Constant <value_ints = [0]> ()
            axis = Constant <value_ints = [1]> ()
            seen = Sign (x)
            count = ReduceSum <keepdims = 0> (seen)
            end = Cast <to = 7> (count)
            ends = Reshape (end, axis)
            y = Slice (x, none, ends, axis)
        }"""
    )
    x = np.array([[1.0, 2.0, 4.0, 8.0]], np.float32)
    aim = Aim(Network(model, "cpu"), ["y"])
    aim.at([Seed.on("y", [0, 3], [10.0, 1.0])], {"y": x})
    name = aim.network.graph.head.value
    for shown, expected in (([1, 2, 4, 8], 18), ([3, 2, 0, 0], 30), ([5, 0, 0, 0], 50)):
        found = aim.network.run({"x": np.array([shown], np.float32)}, [name])[name]
        assert found.ravel().tolist() == [expected]


def test_a_loop_over_the_picture_takes_one_picture_at_a_time():
    """It goes on until all pictures of a batch are done."""
    text = """(float[N,3,8,8] x) => (float[N,3,8,8] y) {
        more = Constant <value_int = 2> ()
        yes = Cast <to = 9> (more)
        y = Loop (more, yes, x) <body = b (int64 i, bool before, float[N,3,8,8] a) =>
            (bool after, float[N,3,8,8] c) { after = Identity (before) c = Relu (a) }>
    }"""
    looped = Network(parsed(text), "cpu").graph
    plain = Network(parsed("(float[N,3,8,8] x) => (float[N,3,8,8] y) { y = Relu (x) }"), "cpu").graph
    assert is_of_all(looped)
    assert not is_of_all(plain)


def test_where_no_axis_is_known_to_count_the_pictures_there_is_one():
    """As in files of Paddle, whose sizes are computed on the way: none of them is said to be the batch."""
    text = """(float[N,3,8,8] x) => (float[A,B,C,D] y) {
        sizes = Shape (x)
        signs = Sign (sizes)
        same = Mul (sizes, signs)
        y = Reshape (x, same)
    }"""
    network = Network(parsed(text), "cpu")
    x = np.arange(192, dtype=np.float32).reshape(1, 3, 8, 8)
    aim = Aim(network, ["y"], one=False)
    aim.at([Seed.on("y", 5), Seed.on("y", [1, 2])], {"y": x})
    name = aim.network.graph.head.value
    assert aim.network.graph[name].shape[0] == 1
    assert aim.network.run({"x": x}, [name])[name].tolist() == [[5, 3]]
