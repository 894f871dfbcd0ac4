"""The peak memory of one method, in a process that does nothing else. Started by suite.py.

python tests/bench/peaks.py METHOD MODEL BATCH

Prints the peak of the resident set in MB, from Linux's own count, since what getrusage gives begins at the
size of the process that started this one. "forward" is ONNX Runtime alone on a batch, with all that the
methods import imported.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

from onnxlens.engine.attribution.averaged import Averaged
from onnxlens.engine.attribution.explainer import Explainer
from onnxlens.engine.attribution.perturbation.occlusion import Hiding, answers
from onnxlens.engine.attribution.perturbation.places import places
from onnxlens.engine.attribution.projector import Projector
from onnxlens.engine.runtime.ahead import BATCH
from onnxlens.engine.runtime.network import Network
from onnxlens.engine.sums import quoted
from onnxlens.models.dreams.ascent import Ascent
from onnxlens.models.dreams.dream import default_layer, dream
from onnxlens.models.lens import Lens

IMAGE = np.random.default_rng(0).standard_normal((1, 3, 224, 224), np.float32)


def _forward(path: str, batch: int) -> None:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for _ in range(3):
        session.run(None, {"image": np.repeat(IMAGE, batch, 0)})


def _occlusion(path: str, _: int) -> None:
    spots = places((224, 224), (16, 16), (8, 8))
    hiding = Hiding(IMAGE[0], np.zeros_like(IMAGE[0]), spots)
    for _ in answers(Network(path, provider="cpu"), None, hiding):
        pass


def _dream(path: str, _: int) -> None:
    lens = Lens(path, preset="imagenet", provider="cpu")
    photo = lens.preprocess.inverse(IMAGE)[0]
    dream(Ascent(lens, f"layer({quoted(default_layer(lens))})"), photo, octaves=1, iterations=5)


METHODS: dict[str, Callable[[str, int], object]] = {
    "forward": _forward,
    "gradcam": lambda path, _: Explainer(Network(path, provider="cpu"))({"image": IMAGE}),
    "saliency": lambda path, _: Projector(Network(path, provider="cpu"), "saliency")({"image": IMAGE}),
    "integrated": lambda path, _: Averaged(Network(path, provider="cpu"))({"image": IMAGE}),
    "occlusion": _occlusion,
    "dream": _dream,
}


def batch(method: str, path: str) -> int:
    """How many images a method runs the network on at once."""
    return {"occlusion": BATCH}.get(method, 1)


if __name__ == "__main__":
    METHODS[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
    print(int(re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())[0]) / 1024)
