"""Models that take more than one picture: what is said of their other inputs, on every command."""

import json
import re
from itertools import product

import cv2
import numpy as np
import onnx
import pytest
from oracles.companions import pairs, texts
from oracles.toys import blob

from onnxlens.models.lens import Lens

ALL = "--input", "input_ids=1;2;3;4;5", "--input", "attention_mask=1"


@pytest.fixture
def here(place):
    onnx.save(texts(), "texts.onnx")
    onnx.save(pairs(), "pairs.onnx")
    return place


def heat(folder):
    record = json.loads((folder / "manifest.json").read_text())
    (result,) = record["results"]
    files = [file for file in result["files"].values() if file.endswith(".npy")]
    return record, np.load(folder / files[-1])


OWN = "texts", "words"
SIZES = [OWN, ("N", "words"), (5, 1), (None, None), ("N", 1)]
WAYS = ["saliency", "integrated", "lrp", "rise", "deconvnet"]


@pytest.mark.parametrize(("way", "sizes"), [*product(["gradcam", "occlusion"], SIZES), *product(WAYS, [OWN])])
def test_a_text_whose_ids_are_given_is_explained_as_a_class_is(here, run, way, sizes):
    onnx.save(texts(sizes), "texts.onnx")
    more = ["--masks", "40"] if way == "rise" else []
    assert run(way, "model.onnx", "red.png", "--target", 0, "-o", "one", *more).code == 0
    mask = "attention_mask=1" if sizes[0] else "attention_mask=1;1;1;1;1"
    done = run(way, "texts.onnx", "red.png", "--target", 0, "-o", "two", *ALL[:3], mask, *more)
    assert done.code == 0, done.err
    (_, one), (record, two) = heat(here / "one"), heat(here / "two")
    np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-5 * np.abs(one).max())
    assert record["model"]["input"] == "image"
    assert record["model"]["inputs"]["input_ids"]["shape"] == [5, 1]
    assert record["model"]["inputs"]["attention_mask"]["type"] == "bool"


@pytest.mark.parametrize(
    ("command", "more"),
    [
        ("predict", ["red.png"]),
        ("activations", ["red.png", "-o", "out"]),
        ("explain", ["red.png", "-o", "out"]),
        ("dream", ["red.png", "-o", "out", "--iterations", "1", "--octaves", "1"]),
        ("dream", ["-o", "out", "--target", "class 1", "--iterations", "1"]),
        ("run", [".", "-o", "out"]),
        ("top", ["red.png", "blue.jpg", "-o", "out"]),
        ("look", ["red.png", "-o", "out"]),
        ("doctor", []),
        ("doctor", ["red.png"]),
        ("doctor", ["--probe"]),
        ("layers", []),
        ("weights", ["-o", "out"]),
    ],
    ids=lambda v: v if isinstance(v, str) else f"{len(v)}",
)
def test_every_command_works(here, run, command, more):
    said = [] if command in ("layers", "weights") else ALL
    done = run(command, "texts.onnx", *more, *said)
    assert done.code == 0, done.err


def test_one_text_is_one_number_for_each_picture(here):
    """Three words of one text, of which the second does not count: red and blue."""
    said = {"input_ids": "1,2,3", "attention_mask": [1, 0, 1]}
    lens = Lens("texts.onnx", inputs=said)
    flat, scores = lens.network.run(lens.feeds(blob())[0], ["flat", "scores"]).values()
    np.testing.assert_allclose(scores, 200 * (flat[:, :1] + flat[:, 2:]), rtol=1e-5)


def test_values_may_be_files_and_stand_in_settings(here, run):
    np.save("ids.npy", np.arange(1, 6, dtype=np.int32)[:, None])
    truth = run("predict", "model.onnx", "red.png", "--json").records[0]["predictions"]
    for words in (["--input", "input_ids=ids.npy", "--input", "attention_mask=1"], []):
        done = run("predict", "texts.onnx", "red.png", "--json", *words)
        assert done.code == 0, done.err
        found = done.records[0]["predictions"]
        assert [p["index"] for p in found] == [p["index"] for p in truth]
        assert found[0]["probability"] == pytest.approx(truth[0]["probability"], abs=1e-5)
        (here / "pyproject.toml").write_text(
            "[tool.onnxlens.input]\ninput_ids = [[1], [2], [3], [4], [5]]\nattention_mask = 1\n"
        )


def test_a_run_is_of_what_its_inputs_were_given(here, run):
    np.save("ids.npy", np.arange(1, 6)[:, None])
    words = ["run", "texts.onnx", "red.png", "-o", "out", "--input", "attention_mask=1"]
    assert run(*words, "--input", "input_ids=ids.npy").code == 0
    settings = json.loads((here / "out/manifest.json").read_text())["arguments"]["settings"]
    assert settings["inputs"] == {"attention_mask": "1", "input_ids": str(here / "ids.npy")}
    assert run(*words, "--input", "input_ids=1;2;3;4;5", "--resume").code == 0  # the same numbers
    done = run(*words, "--input", "input_ids=5;4;3;2;1", "--resume")
    assert done.code == 2
    assert "was begun with inputs" in done.err
    page = run("report", "out", "-o", "report.html")
    assert page.code == 0, page.err
    assert "--input" in (here / "report.html").read_text()


def test_python_takes_arrays(here):
    lens = Lens("texts.onnx", inputs={"input_ids": np.arange(1, 6)[:, None], "attention_mask": 1})
    truth, photo = Lens("model.onnx"), blob(colour=0, at=(20, 20))
    np.testing.assert_allclose(lens.gradcam(photo).map, truth.gradcam(photo).map, rtol=1e-4)
    assert lens.inputs["attention_mask"].all()
    assert lens.inputs["attention_mask"].shape == (5, 1)


@pytest.mark.parametrize("batch", ["N", 1, 2])
def test_the_second_picture_goes_in_as_the_first_does(here, run, batch):
    onnx.save(pairs(batch), "pairs.onnx")
    cv2.imwrite("grey.png", np.full((60, 90, 3), 110, np.uint8))
    both = blob(at=(20, 30)).astype(int) + blob(at=(40, 70)) - 110
    cv2.imwrite("both.png", np.clip(both, 0, 255).astype(np.uint8)[..., ::-1])
    words = ["gradcam", "pairs.onnx", "both.png", "--target", "red", "--layer", "relu", "--input", "share=1"]
    for name, second in (("alone", "grey.png"), ("same", "red.png"), ("input", "red.png")):
        said = ["--input", f"left={second}"] if name == "input" else ["--second", second]
        done = run(*words, "-o", name, *said)
        assert done.code == 0, done.err
    alone, same, named = (heat(here / n)[1] for n in ("alone", "same", "input"))
    np.testing.assert_array_equal(same, named)
    first, other = (slice(6, 16), slice(6, 16)), (slice(16, 27), slice(20, 30))
    assert alone[first].max() == pytest.approx(alone[other].max(), rel=0.2)
    assert same[first].max() < 0.1 * same[other].max()


NONE = ("--input", "attention_mask=1")
CASES = [
    (
        "texts.onnx",
        [],
        "needs input_ids .int64, texts x words., attention_mask .bool, texts x words.: say --input ",
    ),
    ("texts.onnx", NONE, "needs input_ids .int64, texts x words.: say --input input_ids=VALUE"),
    (
        "texts.onnx",
        [*ALL, "--input", "input_idz=1"],
        "no input 'input_idz' beside 'image'; nearest: input_ids",
    ),
    ("texts.onnx", [*NONE, "--input", "input_ids=1.5,2"], "ids .int64, texts x words. takes whole numbers"),
    (
        "texts.onnx",
        ["--input", "input_ids=1,2", "--input", "attention_mask=1,1,1"],
        "mask .*does not take 3 numbers",
    ),
    ("texts.onnx", [*NONE, "--input", "input_ids=none.npy"], "none.npy: no such file"),
    ("texts.onnx", [*NONE, "--input", "input_ids=objects.npy"], "objects.npy: a .npy file of object"),
    ("texts.onnx", [*NONE, "--input", "input_ids=cut.npy"], "cut.npy: .*cut short"),
    ("texts.onnx", [*NONE, "--input", "input_ids=large.npy"], "large.npy: .*cut short"),
    ("texts.onnx", [*NONE, "--input", "input_ids=1,,2"], "'1,,2' is no list of numbers"),
    ("texts.onnx", [*NONE, "--input", "input_ids=1;2,3"], "is no list of numbers"),
    ("texts.onnx", [*NONE, "--input", "input_ids"], "'input_ids' is not NAME=VALUE"),
    ("texts.onnx", [*ALL, *NONE], "'attention_mask=1' is said twice"),
    ("texts.onnx", [*ALL, "--input", "image=1"], "no image input of four axes"),
    ("texts.onnx", [*NONE, "--input", "input_ids=red.png"], "ids .* does not take 1 x 3 x 32 x 32"),
    ("texts.onnx", [*ALL, "--second", "red.png"], "second picture .*none but 'image'"),
    ("texts.onnx", [*NONE, "--input", "input_ids=99"], "cannot run the model"),
    ("pairs.onnx", ["--input", "share=1"], "needs left .float32, N x 3 x 32 x 32.: .*or --second PHOTO"),
    ("pairs.onnx", ["--second", "red.png"], "needs share .float32, one.: say --input share=VALUE"),
    ("pairs.onnx", ["--second", "red.png", "--input", "share=1,2"], "share .* does not take 2 numbers"),
    ("pairs.onnx", ["--second", "none.png", "--input", "share=1"], "none.png: no such file"),
    ("model.onnx", ["--input", "input_ids=1"], "no input 'input_ids' beside 'image'"),
]


@pytest.mark.parametrize(("model", "words", "message"), CASES)
def test_what_does_not_fit_is_one_line(here, run, model, words, message):
    np.save("objects.npy", np.array([{}, 1], object), allow_pickle=True)
    np.save("cut.npy", np.arange(9))
    (here / "cut.npy").write_bytes((here / "cut.npy").read_bytes()[:-3])
    huge = np.lib.format.magic(1, 0)
    text = (
        b"{'descr': '<i8', 'fortran_order': False, 'shape': (999999999999, 99999999999), }".ljust(117) + b"\n"
    )
    (here / "large.npy").write_bytes(huge + len(text).to_bytes(2, "little") + text)
    done = run("predict", model, "red.png", *words)
    assert done.code in (1, 2)
    assert "Traceback" not in done.err
    (line,) = [line for line in done.err.splitlines() if line.startswith(("onnxlens: ", "Error"))]
    assert re.search(message, line), line
