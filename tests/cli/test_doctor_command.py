"""`onnxlens doctor` as a person and as a program reads it."""

import shlex
from itertools import pairwise

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from oracles.networks import parsed
from oracles.toys import SIDE, UNIT, colours, metadata_of

from onnxlens.engine.runtime.network import Network


def sampler():
    """A model whose gradient needs to know the size that it leaves open."""
    return parsed(
        """(float[N,3,H,W] x) => (float[N,3] y) {
            at = ConstantOfShape <value = float[1] {0.1}> (grid) s = GridSample (x, at)
            g = GlobalAveragePool (s) y = Flatten (g)
        }""",
        20,
        grid=np.array([1, 8, 8, 2]),
    )


def sizes(path):
    return list(Network(onnx.load(path)).graph["x" if path[0] in "sb" else "image"].shape)


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
    lines = [x.strip() for x in done.out.splitlines() if x.startswith("  onnxlens ")]
    assert [shlex.split(line)[1] for line in lines] == ["gradcam", "grad"]
    assert run(*shlex.split(lines[1])[1:]).code == 0


def test_grad_cam_helps_where_the_input_alone_is_cut_off(place, run):
    model = colours(preprocess=UNIT)
    model.graph.node[0].input[0] = "levels"
    for name, before, after in (("level", "many", "whole"), ("Mul", "image", "many")):
        operator = "Round" if name == "level" else name
        model.graph.node.insert(0, helper.make_node(operator, [before], [after], name))
    model.graph.node[0].input.append("count")
    model.graph.node.insert(2, helper.make_node("Div", ["whole", "count"], ["levels"], "Div"))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(255), "count"))
    onnx.save(model, "levels.onnx")
    done = run("doctor", "levels.onnx")
    assert done.code == 1
    (line,) = (x.strip() for x in done.out.splitlines() if x.startswith("  onnxlens gradcam"))
    assert run(*shlex.split(line.replace("IMAGE", "red.png"))[1:]).code == 0


def test_grad_cam_is_only_proposed_where_it_works(whole, run):
    model = onnx.load("whole.onnx")
    model.graph.node[-1].input[0] = "whole/last"
    node = helper.make_node("Round", [model.graph.node[-2].output[0]], ["whole/last"], "last")
    model.graph.node.insert(len(model.graph.node) - 1, node)
    onnx.save(model, "last.onnx")
    (record,) = run("doctor", "last.onnx", "--json").records
    assert record["layer"] is None
    assert record["commands"]
    assert all(line.startswith("onnxlens grad ") for line in record["commands"])
    (record,) = run("doctor", "whole.onnx", "--wrt", "conv.weight", "--json").records
    assert record["layer"] is None  # Grad-CAM is no answer to that question
    assert record["commands"][0].endswith("--wrt conv.weight")


def test_a_way_that_is_open_in_part_is_no_failure(place, run):
    model = colours(preprocess=UNIT)
    name = model.graph.node[0].output[0]
    for node in list(model.graph.node)[1:]:
        node.input[:] = ["sum" if i == name else i for i in node.input]
    model.graph.node.insert(1, helper.make_node("Round", [name], ["round"], "step"))
    model.graph.node.insert(2, helper.make_node("Add", [name, "round"], ["sum"], "sum"))
    onnx.save(model, "partial.onnx")
    done = run("doctor", "partial.onnx")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("gradients lead from scores to image, but not on every way\n")
    assert "Round node 'step'" in done.out


def test_what_does_not_depend_on_it_is_a_failure(place, run):
    done = run("doctor", "model.onnx", "--of", "relu", "--wrt", "scores", "--wrt", "image")
    assert done.code == 1
    assert done.out.startswith("relu does not depend on scores\n")


def test_whole_numbers_are_refused(whole, run):
    done = run("doctor", "whole.onnx", "--of", "whole")
    assert (done.code, done.out) == (2, "")
    assert "'whole' is of type int32: only floating-point values have gradients" in done.err
    assert "'pool'" in done.err
    assert run("grad", "whole.onnx", "-o", "g.onnx", "--of", "whole").err == done.err


def test_json_is_one_line(whole, run):
    done = run("doctor", "whole.onnx", "red.png", "--json")
    (record,) = done.records
    assert done.code == 1
    assert (record["schema"], record["verdict"], record["open"]) == (2, "blocked", [])
    assert record["blocks"][0]["node"] == "whole"
    assert record["blocks"][0]["instead"] == "pool"
    assert record["operators"]["blocked"] == {"Cast": 1}
    assert record["commands"] == [
        "onnxlens gradcam whole.onnx IMAGE",
        "onnxlens grad whole.onnx -o whole.grad.onnx --of pool",
    ]
    assert set(record["health"]) == {"dead", "saturated", "not_finite"}


def test_many_blocks_of_a_kind_are_one_line(place, run):
    model = colours(preprocess=UNIT)
    conv, relu = model.graph.node[0].output[0], model.graph.node[1]
    names = [conv, *(f"step{i}" for i in range(58))]
    steps = [helper.make_node("Round", [a], [b], b) for a, b in pairwise(names)]
    sums = helper.make_node("Sum", [conv, *names[1:]], ["sum"], "sum")
    relu.input[0] = "sum"
    for node in (sums, *reversed(steps)):
        model.graph.node.insert(1, node)
    onnx.save(model, "steps.onnx")
    done = run("doctor", "steps.onnx")
    assert done.code == 0, done.err
    (line,) = (x for x in done.out.splitlines() if "Round node" in x)
    assert "Round node 'step0'" in line
    (record,) = run("doctor", "steps.onnx", "--json").records
    assert len(record["commands"]) == 1


def test_the_size_of_grad_and_what_stands_beside(place, run):
    onnx.save(sampler(), "open.onnx")
    assert "whose size is not known" in run("grad", "open.onnx", "-o", "g.onnx").err
    assert run("doctor", "open.onnx", "--size", "20x30").code == 0
    assert run("grad", "open.onnx", "-o", "said.onnx", "--size", "20x30").code == 0
    assert sizes("said.onnx") == ["N", 3, 20, 30]
    model = sampler()
    helper.set_model_props(model, metadata_of(UNIT, None))
    onnx.save(model, "beside.onnx")
    assert run("doctor", "beside.onnx").code == 0
    done = run("grad", "beside.onnx", "-o", "beside.grad.onnx")
    assert done.code == 0
    assert "bound to the size that stands beside the model" in done.err
    assert sizes("beside.grad.onnx") == ["N", 3, SIDE, SIDE]
    onnx.save(colours(("H", "W")), "free.onnx")
    assert run("grad", "free.onnx", "-o", "free.grad.onnx").code == 0
    assert sizes("free.grad.onnx")[2:] == ["H", "W"]
    assert "leave --size away" in run("grad", "model.onnx", "-o", "no.onnx", "--size", "99").err


def test_a_size_that_we_made_up_and_the_model_does_not_take(place, run):
    body = """(float[N,3,H,W] x) => (float[N,2] y) {
        c = Conv (x, v) a = Add (c, w) g = GlobalAveragePool (a) y = Flatten (g)
    }"""
    onnx.save(parsed(body, w=np.zeros((1, 2, 44, 1)), v=np.ones((2, 3, 5, 5))), "lines.onnx")
    done = run("doctor", "lines.onnx")
    assert done.code == 0, done.err
    assert "gradients lead from y to x" in done.out
    assert run("weights", "lines.onnx").code == 0
    assert run("doctor", "lines.onnx", "--size", "48x320").code == 0
    assert "does not fit" in run("doctor", "lines.onnx", "--size", "32").err


def test_what_the_runtime_does_not_load_is_not_fine(place, run):
    model = colours(preprocess=UNIT)
    model.graph.node.append(helper.make_node("Odd", ["relu"], ["odd"], "odd", domain="my.ops"))
    model.graph.output.append(helper.make_empty_tensor_value_info("odd"))
    model.opset_import.append(helper.make_opsetid("my.ops", 1))
    onnx.save(model, "odd.onnx")
    done = run("doctor", "odd.onnx")
    assert done.code == 1
    assert "Odd" in done.out
    assert "gradients lead" not in done.out
    (record,) = run("doctor", "odd.onnx", "--json").records
    assert record["verdict"] == "refused"


def test_a_photo_for_a_model_without_classes(place, run):
    model = colours(preprocess=UNIT, softmax=False, labels=None)
    del model.graph.node[3:], model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("pool", TensorProto.FLOAT, ["N", 3, 16, 16]))
    onnx.save(model, "maps.onnx")
    done = run("doctor", "maps.onnx", "red.png")
    assert done.code == 0, done.err
    assert "red.png: pool [1, 3, 16, 16] from 0.0 to" in done.out
    assert "red.png: the gradient arrives" in done.out
    (record,) = run("doctor", "maps.onnx", "red.png", "blue.jpg", "--json").records
    assert [i["image"] for i in record["images"]] == ["red.png", "blue.jpg"]
    assert record["images"][0]["outputs"]["pool"]["shape"] == [1, 3, 16, 16]
    assert record["images"][0]["lost"] == ""


def test_a_photo_for_a_model_of_whole_numbers(place, run):
    model = colours()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    model.graph.node[0].input[0] = "scaled"
    model.graph.node.insert(0, helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT))
    model.graph.node.insert(1, helper.make_node("Mul", ["pixels", "unit"], ["scaled"]))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(1 / 255), "unit"))
    onnx.save(model, "whole.onnx")
    done = run("doctor", "whole.onnx", "red.png")
    assert done.code == 0, done.err
    assert done.out.startswith("gradients lead from scores to pixels\n")
    assert "red.png: red" in done.out
    assert "red.png: the gradient arrives" in done.out


def test_a_photo_for_a_classifier(place, run):
    done = run("doctor", "model.onnx", "red.png")
    assert "red.png: red 0." in done.out or "red.png: red 1." in done.out
    (record,) = run("doctor", "model.onnx", "red.png", "--json").records
    assert record["images"][0]["predictions"][0]["label"] == "red"


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


@pytest.fixture
def strided(place):
    """A grey, channels-last model of a fixed batch: padded strides, what does not answer, a vector."""
    rng = np.random.default_rng(0)
    model = parsed(
        """(uint8[2,48,48,1] x) => (float[2,4] scores) {
            f = Cast <to = 1> (x) t = Transpose <perm = [0, 3, 1, 2]> (f)
            c = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (t, a) r = Relu (c)
            layer = Conv <strides = [2, 2], pads = [1, 1, 1, 1]> (r, b)
            low = Add (layer, deep) dead = Relu (low) both = Add (layer, dead)
            g = GlobalAveragePool (both) scores = Flatten (g)
        }""",
        a=rng.standard_normal((16, 1, 3, 3)),
        b=rng.standard_normal((4, 16, 3, 3)),
        deep=np.full((4, 1, 1), -1e6),
    )
    onnx.save(model, "strided.onnx")
    return place


def test_the_probe_of_the_embedded_model(run):
    done = run("doctor", "scenes", "--probe")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].split()[:3] == ["layer", "grid", "cell"]
    assert {"relu5", "relu1"} < {line.split()[0] for line in lines[1:]}
    assert lines[-1] == "every layer answers where it is said to lie"


def test_the_probe_as_json(strided, run):
    done = run("doctor", "strided.onnx", "--probe", "--layer", "layer", "--layer", "dead", "--json")
    (record,) = done.records
    assert done.code == 0
    assert (record["schema"], record["verdict"], record["model"]) == (2, "right", "strided.onnx")
    right, dead = record["probes"]
    assert (right["layer"], right["grid"], right["cell"]) == ("layer", [12, 12], [4, 4])
    assert (right["marks"], right["answered"]) == (9, 9)
    assert 0 <= right["median"]["cells"] <= right["largest"]["cells"] < 0.5
    assert right["largest"]["pixels"] == pytest.approx(4 * right["largest"]["cells"], abs=0.01)
    assert len(right["offset"]) == 2
    assert dead == {"layer": "dead", "problem": "answers to no mark"}


def test_the_probe_of_a_model_that_leaves_its_size_open(place, run):
    onnx.save(colours(("h", "w")), "open.onnx")
    for size in ([], ["--size", "40x56"], ["--preset", "imagenet", "--size", "64"]):
        done = run("doctor", "open.onnx", "--probe", "--layer", "re*", *size)
        assert done.code == 0, done.err
        assert "relu" in done.out


def test_what_has_no_place_is_said_and_a_failure_where_nothing_else_is(strided, run):
    done = run("doctor", "strided.onnx", "--probe", "--layer", "scores", "--layer", "dead")
    assert done.code == 1
    first, second, last = done.out.splitlines()
    assert first.startswith("scores: sees the whole picture")
    assert second == "dead: answers to no mark"
    assert last == "no layer can be compared"


def test_a_layer_that_answers_elsewhere_is_a_failure(place, run):
    """Its kernels are zero but for a corner, so what matters to it is not around the middle."""
    model = parsed(
        """(float[1,3,32,32] x) => (float[1,8,16,16] layer) {
            layer = Conv <strides = [2, 2], pads = [5, 5, 0, 0]> (x, a)
        }""",
        a=np.pad(np.random.default_rng(0).standard_normal((8, 3, 1, 1)), ((0, 0), (0, 0), (0, 6), (0, 6))),
    )
    onnx.save(model, "leaning.onnx")
    done = run("doctor", "leaning.onnx", "--probe", "--json")
    (record,) = done.records
    assert done.code == 1
    assert record["verdict"] == "wrong"
    assert record["probes"][0]["largest"]["cells"] > 1
    assert run("doctor", "leaning.onnx", "--probe").out.splitlines()[-1].endswith(": layer")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--probe", "--layer", "laier"], "no layer matches 'laier'; "),
        (["--probe", "--layer", "z*"], "no layer matches 'z*'"),
        (["--probe", "--of", "layer"], "leave 'layer' away"),
        (["--probe", "red.png"], "leave 'red.png' away"),
        (["--layer", "layer"], "say --probe too"),
    ],
)
def test_what_the_probe_does_not_take(strided, run, words, said):
    done = run("doctor", "strided.onnx", *words)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


def test_the_probe_needs_a_picture(place, run):
    onnx.save(parsed("(float[N,4] x) => (float[N,4] y) { y = Relu (x) }"), "vector.onnx")
    done = run("doctor", "vector.onnx", "--probe")
    assert done.code == 2
    assert "takes no picture" in done.err
