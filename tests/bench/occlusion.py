"""Occlusion: exact incremental against our own plain batches and the bare forward pass, in turns.

python tests/bench/occlusion.py [MODEL] [--threads N] [--repeats N] [--patch N] [--stride N] [--narrow SHARE]

MODEL is a file, a name of the zoo, or an architecture that the onnx package carries, with random weights:
squeezenet, resnet50, vgg19, ... The answers are checked to be equal before anything is timed. A patch near
the border changes less than one inside, so the incremental way is timed on parts of the places that are
spread over all of them, and averaged; the others cost the same everywhere.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import onnx
import onnxruntime

sys.path.insert(0, str(Path(__file__).parents[1]))
from oracles.networks import opened, randomised

from onnxlens.engine.attribution.perturbation import occlusion, plans
from onnxlens.engine.attribution.perturbation.answerer import BATCH, answerer_of
from onnxlens.engine.attribution.perturbation.occlusion import Hiding, answers, asking, how, plainly
from onnxlens.engine.attribution.perturbation.places import places
from onnxlens.engine.runtime.network import Network
from onnxlens.models.network.zoo import resolve

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"


@click.command()
@click.argument("model", default="squeezenet")
@click.option("--threads", default=0, help="As ONNX Runtime counts; 0 is all cores.")
@click.option("--repeats", default=5)
@click.option("--patch", default=16)
@click.option("--stride", default=8)
@click.option("--parts", default=8, help="Parts of the places that are timed.")
@click.option("--narrow", type=float, help="Also with changes narrowed to this share of each map.")
@click.option("--forced", is_flag=True, help="Cut the network without a trial.")
def main(
    model: str,
    threads: int,
    repeats: int,
    patch: int,
    stride: int,
    parts: int,
    narrow: float | None,
    forced: bool,
) -> None:
    """Print the milliseconds for each place and their ratios."""
    file = LIGHT / f"light_{model}.onnx"
    source = opened(randomised(onnx.load(file))) if file.exists() else onnx.load(resolve(model))
    quick, slow = (Network(source, "cpu", threads) for _ in range(2))
    name = quick.graph.inputs[0]
    _, *sizes = quick.graph[name].shape or ()
    shape = [d if isinstance(d, int) else 224 for d in sizes]
    image, filler = np.random.default_rng(0).standard_normal((2, *shape)).astype(np.float32)
    spots = places((shape[1], shape[2]), (patch, patch), (stride, stride))
    hiding = Hiding(image, filler, spots)
    if forced:
        plans._trial = lambda runs: [2.0, 1.0]
    start = time.perf_counter()
    first = next(answers(quick, None, hiding))
    planned = time.perf_counter() - start
    print(f"{model}: {len(spots)} places; {how(quick, None, spots)} ({planned:.1f} s to find out)")
    (plan,) = answerer_of(quick, None).plans.values()
    if plan.way is None:
        return
    size = answerer_of(slow, None).fixed or BATCH
    batches = max(1, 8 // size) * occlusion.workers(quick)
    plain = plainly(slow, None, hiding)
    for a, b in zip(next(plain(np.arange(size))), first, strict=True):
        error = np.abs(a - b[: len(a)]).max() / np.abs(a).max()
        print(f"largest difference, of the largest value: {error:.1e}")
        assert error < 1e-5

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    bare = onnxruntime.InferenceSession(source.SerializeToString(), options)
    x = np.repeat(image[None], size, axis=0).astype(quick.graph[name].dtype)
    _, ask = asking(quick, None, hiding)
    together = np.arange(min(len(spots), 2 * occlusion.TOGETHER * occlusion.workers(quick)))
    several = np.arange(min(len(spots), size * batches))
    begun = np.linspace(0, len(spots) - len(together), parts).astype(int)
    ways: dict[str, tuple[int, Callable[[int], object]]] = {
        "bare forward": (size * batches, lambda _: [bare.run(None, {name: x}) for _ in range(batches)]),
        "plain batches": (len(several), lambda _: list(plain(several))),
        "incremental": (len(together), lambda at: list(ask(at + together))),
    }
    if narrow:
        _, near = asking(quick, None, hiding, share=narrow)
        ways[f"narrowed to {narrow}"] = len(together), lambda at: list(near(at + together))
        print(f"narrowed to {narrow}: {how(quick, None, spots, narrow)}")
        exact, close = (
            np.concatenate([a.scores for at in begun for a in f(at + together)]) for f in (ask, near)
        )
        top = exact.mean(0).argmax()
        off = np.abs(exact - close)[:, top].max() / np.ptp(exact[:, top])
        print(f"narrowed to {narrow}: off by up to {off:.2%} of the range, best class, places timed")
    times = {key: np.empty((parts, repeats)) for key in ways}
    for i, at in enumerate(begun.tolist()):
        for j in range(repeats):
            for key, (count, run) in ways.items():
                start = time.perf_counter()
                run(at)
                times[key][i, j] = (time.perf_counter() - start) / count
    medians = {key: float(np.median(t, axis=1).mean()) for key, t in times.items()}
    for key, value in medians.items():
        print(f"{key}: {1e3 * value:.2f} ms a place, {value / medians['incremental']:.2f} of incremental")


if __name__ == "__main__":
    main()
