"""What a start costs: which packages a command takes with it before there is anything to compute."""

import ast
import subprocess
import sys

import pytest

from onnxlens.cli import COMMANDS

HEAVY = {"numpy", "onnx", "onnxruntime", "numba", "cv2", "torch", "rich", "requests", "jinja2"}
FIND = """
import atexit, sys
atexit.register(lambda: print(sorted({m.partition(".")[0] for m in sys.modules}), file=sys.stderr))
from onnxlens.cli import main
main(sys.argv[1:])
"""


def packages(*words):
    """The packages that a command line has imported when it ends."""
    done = subprocess.run([sys.executable, "-c", FIND, *words], capture_output=True, text=True)
    return set(ast.literal_eval(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_imports_nothing_heavy(command):
    assert not HEAVY & packages(command, "--help")


@pytest.mark.parametrize("words", [("gradcam", "a.onnx"), ("saliency", "a.onnx", "b.png", "--steps", "0")])
def test_neither_does_a_command_line_that_is_wrong(words):
    assert not HEAVY & packages(*words)


def test_what_needs_no_network_runs_none():
    assert not {"numba", "cv2", "onnxruntime", "torch"} & packages("zoo", "list")
    assert not HEAVY & packages("cache", "show", "--json")
    # What lies beside the model says how its answers are read, and who reads that knows how photos go in.
    assert not {"onnxruntime", "torch"} & packages("layers", "scenes")
