"""Models that are larger than one protobuf, through the real command line, and the memory that takes.

Off unless ONNXLENS_TEST_GIANT is set: 2.3 GB are written twice, and about 7 GB of memory used.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
from oracles.giant import write_giant
from oracles.toys import blob

from onnxlens.engine.autodiff.gradient import training_graph
from onnxlens.engine.runtime.session import Session

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not os.environ.get("ONNXLENS_TEST_GIANT"), reason="set ONNXLENS_TEST_GIANT=1 for models over 2 GB"
    ),
    pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc"),
]
WATCH = """
import sys, threading, time
most = 0
def watch():
    global most
    while True:
        text = open("/proc/self/status").read()
        most = max(most, int(text.split("RssAnon:")[1].split()[0]) * 1024)
        time.sleep(0.01)
threading.Thread(target=watch, daemon=True).start()
from onnxlens.cli import main
try:
    main(sys.argv[1:])
finally:
    print(most, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def giant(tmp_path_factory) -> tuple[Path, int]:
    """The folder of the model and a photo, and the bytes of its weights."""
    folder = tmp_path_factory.mktemp("giant")
    size = write_giant(folder / "giant.onnx")
    cv2.imwrite(str(folder / "red.png"), blob(at=(20, 30))[..., ::-1])
    yield folder, size
    for file in folder.glob("*"):
        if file.is_file():
            file.unlink()  # pytest keeps the folders of the last runs


@pytest.fixture
def onnxlens(giant):
    """Run a command; what it printed as JSON, and the most memory of its own in copies of the weights.

    Pages of the mapped file do not count: the system takes them back when it needs them.
    """
    folder, size = giant

    def onnxlens(*arguments: str) -> tuple[list[dict], float]:
        command = [sys.executable, "-c", WATCH, *arguments, "--json"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)
        *said, most = done.stderr.splitlines()
        print(f"{arguments[0]}: {int(most) / size:.2f} x the weights")
        assert done.returncode == 0, said
        return [json.loads(line) for line in done.stdout.splitlines()], int(most) / size

    return onnxlens


def test_looking_at_the_graph_reads_no_weights(onnxlens):
    rows, copies = onnxlens("layers", "giant.onnx")
    assert next(r for r in rows if r["name"] == "second")["weights"] > 2**29
    assert copies < 0.1


def test_answers_cost_the_one_copy_that_the_runtime_prepares(onnxlens, giant):
    (found,), copies = onnxlens("predict", "giant.onnx", "red.png")
    assert len(found["predictions"]) == 3
    assert copies < 1.1


def test_gradcam_costs_two_one_for_each_way_through_the_matrix(onnxlens, giant):
    (found,), copies = onnxlens("gradcam", "giant.onnx", "red.png")
    assert found["map_range"][1] > 0
    assert copies < 2.1


def test_the_doctor_loads_what_gradcam_does(onnxlens):
    (finding,), copies = onnxlens("doctor", "giant.onnx")
    assert finding["verdict"] == "open"
    assert copies < 2.1


def test_the_training_graph_is_written_in_two_files(onnxlens, giant):
    folder, _ = giant
    (found,), copies = onnxlens("grad", "giant.onnx", "-o", "made.onnx")
    assert copies < 0.1
    assert sorted(p.name for p in folder.glob("made*")) == ["made.onnx", "made.onnx.data"]
    assert found["data"] == "made.onnx.data"
    side = np.random.default_rng(1).random((1, 3, 64, 64), np.float32)
    graph = training_graph(folder / "giant.onnx")
    feeds = {"image": side[..., : graph["image"].shape[2], : graph["image"].shape[3]]}
    feeds["seed/scores"] = np.array([[1, -2, 0.5]], "f")
    expected = Session(graph)(feeds)
    made = onnxruntime.InferenceSession(folder / "made.onnx", providers=["CPUExecutionProvider"])
    for name, array in zip(expected, made.run(list(expected), feeds), strict=True):
        np.testing.assert_array_equal(array, expected[name])
    assert np.abs(expected["grad/image"]).max() > 0
