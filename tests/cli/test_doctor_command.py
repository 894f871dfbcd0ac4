"""`onnxlens doctor` as a person and as a program reads it."""

import shlex

import onnx
import pytest
from onnx import TensorProto, helper
from oracles.toys import UNIT, colours


@pytest.fixture
def whole(place):
    """A model that goes through whole numbers on its way."""
    model = colours(preprocess=UNIT)
    model.graph.node[3].input[0] = "back"
    model.graph.node.insert(3, helper.make_node("Cast", ["pool"], ["whole"], "whole", to=TensorProto.INT32))
    model.graph.node.insert(4, helper.make_node("Cast", ["whole"], ["back"], "back", to=TensorProto.FLOAT))
    onnx.save(model, "whole.onnx")
    return place


def test_a_sound_model(place, run):
    done = run("doctor", "model.onnx")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("gradients lead from scores to image\n")


def test_a_blocked_model_and_the_command_that_helps(whole, run):
    done = run("doctor", "whole.onnx")
    assert done.code == 1
    assert "no gradient leads from scores to image" in done.out
    assert "Cast node 'whole'" in done.out
    (line,) = (x.strip() for x in done.out.splitlines() if x.startswith("  onnxlens grad"))
    assert run(*shlex.split(line)[1:]).code == 0


def test_json_is_one_line(whole, run):
    done = run("doctor", "whole.onnx", "red.png", "--json")
    (record,) = done.records
    assert done.code == 1
    assert (record["schema"], record["verdict"], record["open"]) == (1, "blocked", [])
    assert record["blocks"][0]["node"] == "whole"
    assert record["blocks"][0]["instead"] == "pool"
    assert record["operators"]["blocked"] == {"Cast": 1}
    assert record["commands"] == ["onnxlens grad whole.onnx -o whole.grad.onnx --of pool"]
    assert set(record["health"]) == {"dead", "saturated", "not_finite"}


def test_what_an_image_leaves_dead(place, run):
    done = run("doctor", "model.onnx", "red.png")
    assert done.code == 0
    assert "relu" in done.out  # green and blue say nothing in a red picture
    assert "all values are finite" in done.out
    (record,) = run("doctor", "model.onnx", "red.png", "--json").records
    assert record["health"]["dead"]["relu"] == pytest.approx(2 / 3)


def test_a_name_that_is_not_there(place, run):
    done = run("doctor", "model.onnx", "--of", "scors")
    assert (done.code, done.out) == (2, "")
    assert "nearest: scores" in done.err
