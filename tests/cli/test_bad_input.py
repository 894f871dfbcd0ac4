"""What cannot be done gets one line, exit code 1 or 2, and leaves nothing behind."""

import re
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from oracles.toys import UNIT, build, colours

NODE = helper.make_node


@pytest.fixture
def bad(place):
    """Every way in which an image, a model or a list of labels can be broken."""
    files = {name: Path(name).read_bytes() for name in ("red.png", "blue.jpg", "model.onnx")}
    for name, data in files.items():
        Path(f"cut-{name}").write_bytes(data[: len(data) // 2])
    Path("empty.png").touch()
    Path("empty.onnx").touch()
    Path("nothing").mkdir()
    Path("text.png").write_text("not a picture")
    Path("text.onnx").write_text("not a model")
    Path("noise.onnx").write_bytes(np.random.default_rng(0).bytes(4096))
    Path("three.txt").write_text("a\nb\nc\n")
    Path("broken.json").write_text('["a", ')
    Path("bytes.txt").write_bytes(b"\xff\xfe\x00" * 9)
    cv2.imwrite("one.png", np.zeros((1, 1, 3), np.uint8))

    whole_numbers = colours(preprocess=UNIT)
    whole_numbers.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    whole_numbers.graph.node.insert(0, NODE("Cast", ["image"], ["floats"], to=TensorProto.FLOAT))
    whole_numbers.graph.node[1].input[0] = "floats"
    onnx.save(whole_numbers, "integers.onnx")
    onnx.save(build([NODE("Softmax", ["x"], ["y"])], {"x": (1, 9)}, {"y": (1, 9)}), "vector.onnx")
    square = (1, 3, 8, 8)
    two = build([NODE("Add", ["x", "z"], ["y"])], {"x": square, "z": square}, {"y": square})
    onnx.save(two, "two.onnx")
    onnx.save(build([NODE("Relu", ["x"], ["y"])], {"x": square}, {"y": square}), "pictures.onnx")
    onnx.save(colours(size=("H", "W")), "open.onnx")
    onnx.save(build([NODE("Relu", ["x"], ["y"])], {"x": (1, "a", 8, "b")}, {"y": None}), "axes.onnx")
    sample = colours(preprocess=UNIT)  # known to ONNX Runtime, and without a gradient here
    sample.graph.node[4].input[0] = "again"
    sample.graph.node.insert(4, NODE("SampleOp", ["mean"], ["again"], "again", domain="com.microsoft"))
    sample.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(sample, "sample.onnx")
    whole = colours(preprocess=UNIT)  # nothing differentiable leads through whole numbers
    whole.graph.node[3].input[0] = "back"
    whole.graph.node.insert(3, NODE("Cast", ["pool"], ["whole"], "whole", to=TensorProto.INT32))
    whole.graph.node.insert(4, NODE("Cast", ["whole"], ["back"], "back", to=TensorProto.FLOAT))
    onnx.save(whole, "whole.onnx")
    for name, operator, domain in (("alien.onnx", "Odd", "my.ops"), ("unheard.onnx", "Odd", "")):
        model = colours(preprocess=UNIT)
        node = next(n for n in model.graph.node if n.op_type == "GlobalAveragePool")
        node.op_type, node.domain = operator, domain
        if domain:
            model.opset_import.append(helper.make_opsetid(domain, 1))
        onnx.save(model, name)
    return place


RED = ("model.onnx", "red.png")
CASES = [
    (("model.onnx", "none.png"), 1, "none.png: no such file"),
    (("model.onnx", "nothing"), 2, "no photo in nothing"),
    (("model.onnx", "text.png"), 1, "text.png: not a picture"),
    (("model.onnx", "model.onnx"), 1, "model.onnx: not a picture"),
    (("model.onnx", "empty.png"), 1, "empty.png: the file is empty"),
    (("model.onnx", "cut-red.png"), 1, "cut-red.png: .*cut short"),
    (("model.onnx", "cut-blue.jpg"), 1, "cut-blue.jpg: .*cut short"),
    (("model.onnx", "one.png"), 1, "one.png: 1x1"),
    (("modle.onnx", "red.png"), 2, "no model 'modle.onnx'"),
    (("squeezenet", "red.png"), 2, "nearest: .*squeezenet"),
    ((".", "red.png"), 1, "is a folder, not an ONNX file"),
    (("text.onnx", "red.png"), 1, "text.onnx: not an ONNX"),
    (("noise.onnx", "red.png"), 1, "noise.onnx: not an ONNX"),
    (("empty.onnx", "red.png"), 1, "empty.onnx: not an ONNX"),
    (("cut-model.onnx", "red.png"), 1, "cut-model.onnx: not an ONNX"),
    (("red.png", "red.png"), 1, "red.png: not an ONNX"),
    (("integers.onnx", "red.png"), 2, "takes pixels as whole numbers .uint8.*--preset raw"),
    (("vector.onnx", "red.png"), 1, "no image input of four axes"),
    (("two.onnx", "red.png"), 2, "besides the image 'x' the model needs z .float32.*: say --input z=VALUE"),
    (("pictures.onnx", "red.png", "--preset", "unit", "--target", "box(0)"), 2, "which have no box"),
    (("bare.onnx", "red.png"), 2, "say --preset"),
    (("bare.onnx", "red.png", "--preset", "imgenet"), 2, "nearest: imagenet"),
    (("open.onnx", "red.png", "--preset", "unit"), 2, "say --size"),
    (("axes.onnx", "red.png", "--preset", "unit"), 2, "--layout"),
    (("alien.onnx", "red.png"), 1, "Odd node 'mean'.*my.ops:Odd has no rule"),
    (("sample.onnx", "red.png"), 1, "SampleOp node 'again'.*is written by no exporter"),
    (("unheard.onnx", "red.png"), 1, "Odd node 'mean'"),
    ((*RED, "--size", "40x48"), 2, "cannot take pictures of 40x48"),
    ((*RED, "--size", "big"), 2, "'big' is not a size"),
    ((*RED, "--size", "9" * 5000), 2, "is not a size"),
    ((*RED, "--layout", "nhwc"), 2, "read as nhwc"),
    ((*RED, "--layout", "hwc"), 2, "nchw"),
    ((*RED, "--target", 5), 2, "no class 5: the model has classes 0 to 4"),
    ((*RED, "--target", -1), 2, "no class -1"),
    ((*RED, "--target", "9" * 5000), 2, "no class 99"),
    ((*RED, "--target", "gren"), 2, "nearest: .*green"),
    ((*RED, "--target", ""), 2, "give the index"),
    ((*RED, "--target", 0, "--target", "gren"), 2, "gren"),
    ((*RED, "--layer", "rleu"), 2, "no layer 'rleu'; nearest: relu"),
    ((*RED, "--layer", "flat"), 2, r"layer 'flat' of shape .* is no feature map"),
    ((*RED, "--layer", "head.weight"), 2, "is no feature map"),
    ((*RED, "--colour", "trubo"), 2, "nearest: turbo"),
    ((*RED, "--alpha", "2"), 2, "alpha"),
    ((*RED, "--alpha", "nan"), 2, "alpha"),
    ((*RED, "--threads", "0"), 2, "threads"),
    ((*RED, "--provider", "cpuu"), 2, "nearest: cpu"),
    ((*RED, "--labels", "three.txt"), 2, "three.txt: 3 labels were given for a model of 5 classes"),
    ((*RED, "--labels", "broken.json"), 2, "cannot read labels from broken.json"),
    ((*RED, "--labels", "bytes.txt"), 2, "bytes.txt: not UTF-8 text"),
    ((*RED, "--labels", "none.txt"), 2, "none.txt: No such file"),
    ((*RED, "--labels", "."), 2, "cannot read labels"),
    ((), 2, "Missing argument"),
    (("model.onnx",), 2, "Missing argument"),
]


def is_one_line(done, code, text):
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith("onnxlens: ")
    assert done.err.endswith("\n")
    assert done.err.count("\n") == 1
    assert len(done.err) < 1100
    assert re.search(text, done.err), done.err


@pytest.mark.parametrize(("words", "code", "text"), CASES, ids=lambda x: str(x)[:60])
def test_one_line_and_nothing_written(words, code, text, bad, run):
    before = sorted(bad.rglob("*"))
    is_one_line(run("gradcam", *words, "-o", "out/deep", "-q"), code, text)
    assert sorted(bad.rglob("*")) == before
    explains = {"--target", "--layer", "--colour", "--alpha"} & set(words) or "node" in text
    if not explains:
        is_one_line(run("predict", *words, "-q"), code, text)


def test_an_earlier_run_survives_a_failed_one(bad, run):
    run("gradcam", "model.onnx", "red.png", "-o", "out")
    before = {p.name: p.read_bytes() for p in Path("out").iterdir()}
    for words in (("text.onnx", "blue.jpg"), ("model.onnx", "none.png"), (*RED, "--colour", "trubo")):
        assert run("gradcam", *words, "-o", "out", "--overwrite").code in (1, 2)
        assert {p.name: p.read_bytes() for p in Path("out").iterdir()} == before


@pytest.mark.parametrize("output", ["model.onnx", "model.onnx/below", "x" * 300])
def test_a_folder_that_cannot_be_written(output, bad, run):
    is_one_line(run("gradcam", *RED, "-o", output, "-q"), 1, output[:20])
    is_one_line(run("grad", "model.onnx", "-o", f"{output}/grad.onnx"), 1, output[:20])


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a place where nobody can write")
def test_a_place_where_nobody_can_write(bad, run):
    is_one_line(run("gradcam", *RED, "-o", "/proc/onnxlens", "-q"), 1, "cannot write to /proc/onnxlens")
    is_one_line(run("grad", "model.onnx", "-o", "/proc/grad.onnx"), 1, "cannot write to /proc")


def test_a_way_that_no_gradient_takes(bad, run):
    done = run("gradcam", "whole.onnx", "red.png", "--layer", "pool", "-q")
    assert (done.code, done.err, done.out.count("\n")) == (1, "", 1)
    assert re.search(
        "no map: .*gradient of class 0 is zero from 'pool' on.*Cast node 'whole', which gives int32", done.out
    )
    assert not Path("onnxlens-out").exists()


def test_a_disk_that_fills_up(bad, run, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("onnxlens.models.storage.folder.write_whole", full)
    is_one_line(run("gradcam", *RED, "-q"), 1, "cannot write .*No space left on device")
    assert not any(Path("onnxlens-out").iterdir())


def test_a_provider_that_is_not_here(bad, run):
    missing = "coreml" if sys.platform != "darwin" else "directml"
    is_one_line(run("gradcam", *RED, "-q", "--provider", missing), 1, f"{missing} cannot be used")
    from onnxlens.engine.runtime.provider import why_not

    if why_not("cuda"):
        is_one_line(run("gradcam", *RED, "-q", "--provider", "cuda"), 1, "cuda cannot be used: ")


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("layers", "text.onnx"), 1, "not an ONNX"),
        (("layers", "nothing.onnx"), 2, "no model"),
        (("grad", "model.onnx"), 2, "--out"),
        (("grad", "text.onnx", "-o", "out/grad.onnx"), 1, "not an ONNX"),
        (("grad", "model.onnx", "-o", "out/grad.onnx", "--of", "scors"), 2, "nearest: scores"),
        (("grad", "model.onnx", "-o", "out/grad.onnx", "--wrt", "imag"), 2, "nearest: image"),
        (("grad", "model.onnx", "-o", "out/grad.onnx", "--rules", "guid"), 2, "nearest: guided"),
        (("grad", "integers.onnx", "-o", "out/grad.onnx"), 2, "only floating-point values"),
        (("grad", "model.onnx", "-o", "."), 2, "is a folder"),
        (("grad", "model.onnx", "-o", ".", "--overwrite"), 2, "is a folder"),
        (("predict", "model.onnx", "red.png", "--top", "0"), 2, "top"),
        (("predict", "alien.onnx", "red.png", "-q"), 1, "ONNX Runtime cannot load the model.*my.ops:Odd"),
        (("demo", "-o", "model.onnx", "-q"), 1, "cannot write to model.onnx"),
        (("zoo", "show", "../../etc/passwd"), 2, "the zoo has no model"),
    ],
    ids=lambda x: str(x)[:60],
)
def test_the_other_commands(words, code, text, bad, run):
    before = sorted(bad.rglob("*"))
    is_one_line(run(*words), code, text)
    assert sorted(bad.rglob("*")) == before
