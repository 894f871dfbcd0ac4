"""Files in the runtimes that are installed, each in a process of its own: what they answer, or say."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np
from onnx import GraphProto, numpy_helper

from ...errors import OnnxlensError, Unavailable
from ..plugins import package_of
from ..session import answers_of

Arrays = Mapping[str, np.ndarray]
LINE = 300  # characters of what it says
LONGEST = 600  # seconds that a runtime may take for a file
MARK = b"the answer:"  # behind whatever a runtime prints
PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    f"from {__name__} import main; main(*sys.argv[2:])"
)


class Installed(NamedTuple):
    """A runtime that this environment may have."""

    call: Callable[[str, Arrays], Arrays]  # a file and its inputs; outputs by name
    packages: tuple[str, ...]  # the distributions that have it, of which one is there
    least: int = 0  # the first major version that counts
    words: str = ""  # the `--for` of its files, where that is not its own name


def by_reference(path: str, feeds: Arrays) -> Arrays:
    """What ONNX's own evaluator answers."""
    from onnx.reference import ReferenceEvaluator

    session = ReferenceEvaluator(path)
    found = session.run(None, dict(feeds))
    return {str(name): np.asarray(a) for name, a in zip(session.output_names, found, strict=True)}


def by_openvino(path: str, feeds: Arrays) -> Arrays:
    """What OpenVINO answers on the CPU, in single precision."""
    import openvino  # pyright: ignore[reportMissingImports]

    core = openvino.Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    found = core.compile_model(core.read_model(path), "CPU", settings)(dict(feeds))
    return {name: array for value, array in found.items() for name in value.get_names()}


def by_plugin(path: str, feeds: Arrays) -> Arrays:
    """What ONNX Runtime answers with OpenVINO's plugin on the CPU, in single precision."""
    return answers_of(path, feeds, "openvino:cpu")


def by_opencv(path: str, feeds: Arrays) -> Arrays:
    """What the newer engine of OpenCV answers."""
    from ....host import cv2

    net = cv2.dnn.readNetFromONNX(path, engine=cv2.dnn.ENGINE_NEW)
    for name, array in feeds.items():
        net.setInput(array, name)
    names = net.getUnconnectedOutLayersNames()
    return dict(zip(names, net.forward(names), strict=True))


INSTALLED: dict[str, Installed] = {
    "onnxruntime": Installed(answers_of, ("onnxruntime", "onnxruntime-gpu")),
    "openvino": Installed(by_openvino, ("openvino",)),
    "openvino-plugin": Installed(by_plugin, (package_of("openvino"),), words="openvino"),
    "opencv": Installed(by_opencv, ("opencv-python-headless", "opencv-python"), 5),
    "reference": Installed(by_reference, ("onnx",)),
}


def words_for(runtime: str) -> str:
    """The `--for` of files for one of INSTALLED."""
    return INSTALLED[runtime].words or runtime


def version(runtime: str) -> str | None:
    """The version of one of INSTALLED, None where this environment does not have it."""
    for name in INSTALLED[runtime].packages:
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        return found if int(found.split(".")[0]) >= INSTALLED[runtime].least else None
    return None


def answers(runtime: str, path: Path, feeds: Arrays) -> dict[str, np.ndarray]:
    """What one of INSTALLED answers for a file, by name, in a process of its own, which it may end.

    Raises Unavailable, with the last line of what it said, where it does not answer.
    """
    line = [sys.executable, "-c", PROGRAM, json.dumps(sys.path), runtime, str(path)]
    return _unpacked(ran(line, _packed(feeds)).rpartition(MARK)[-1])


def ran(line: list[str], given: bytes = b"") -> bytes:
    """What a program prints. Raises Unavailable, with the last line that it said or what ended it."""
    try:
        done = subprocess.run(line, input=given, capture_output=True, timeout=LONGEST)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"no answer in {LONGEST} s") from None
    if done.returncode:
        said = [s.strip() for s in done.stderr.decode(errors="replace").splitlines() if s.strip()]
        by_itself = said and done.returncode > 0
        raise Unavailable(said[-1][:LINE] if by_itself else f"the process ended with {done.returncode}")
    return done.stdout


def _packed(arrays: Arrays) -> bytes:
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in arrays.items()]
    return GraphProto(initializer=tensors).SerializeToString()


def _unpacked(data: bytes) -> dict[str, np.ndarray]:
    tensors = GraphProto.FromString(data).initializer
    return {t.name: np.array(numpy_helper.to_array(t)) for t in tensors}  # OpenVINO wants arrays to write to


def main(runtime: str, path: str) -> None:
    """The process that `answers` starts: arrays come in and go out in ONNX's own format."""
    try:
        found = INSTALLED[runtime].call(path, _unpacked(sys.stdin.buffer.read()))
    except OnnxlensError as error:
        sys.exit(str(error))
    sys.stdout.buffer.write(MARK + _packed(found))
