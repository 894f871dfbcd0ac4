"""Gradients by ONNX Runtime's training wheel, for tests/bench/sources.py; runs where that wheel is.

python training_wheel.py FOLDER

The wheel (onnxruntime-training 1.19.2, the last one) replaces onnxruntime and wants numpy below 2, so it
lives in a virtual environment of its own, and this file imports nothing of ours. FOLDER/index.json names for
each case its models, of which that with the most gradients counts, the scalar to differentiate and the
values to differentiate it in; FOLDER/<case>.npz holds the inputs. Written: FOLDER/<case>.found.npz with the
gradients as far as there are any, and FOLDER/said.json with the reason for what is missing.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime.capi._pybind_state import (  # pyright: ignore[reportMissingImports]
    GradientGraphBuilder,
    get_optimized_model,
)

PATIENCE = 120  # seconds a case


def gradients(model: bytes, loss: str, wrt: list[str], feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The gradients of a scalar, as onnxruntime.training.onnxblock builds them.

    Raises whatever the wheel raises where it knows none.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    optimised = get_optimized_model(model, set(wrt), options)
    builder = GradientGraphBuilder(optimised, {loss}, set(wrt), loss, options)
    builder.build()
    whole = onnx.load_from_string(builder.get_model())
    made = {name for node in whole.graph.node for name in node.output}
    names = {name: f"{name}_grad" for name in wrt if f"{name}_grad" in made}
    shown = {o.name for o in whole.graph.output}
    whole.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names.values() if n not in shown)
    session = onnxruntime.InferenceSession(
        whole.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    taken = {i.name for i in session.get_inputs()}
    values = session.run([*names.values()], {k: v for k, v in feeds.items() if k in taken})
    return dict(zip(names, values, strict=True))


def attempt(folder: Path, case: str, models: list[str], loss: str, wrt: list[str], pipe) -> None:
    """All of `wrt` at once, else one by one, on the first of the models on which it works."""
    said, best, feeds = "" if models else "no opset that it knows", {}, {}
    try:
        feeds = dict(np.load(folder / f"{case}.npz"))
    except ValueError as error:  # a type that its NumPy does not know
        said, models = str(error), []
    for file in models:
        model = (folder / file).read_bytes()
        found: dict[str, np.ndarray] = {}
        for names in (wrt, *([name] for name in wrt if len(wrt) > 1)):
            if set(wrt) <= set(found):
                break
            try:
                found = gradients(model, loss, names, feeds) | found
            except Exception as error:
                said = said or str(error)
        best = max(best, found, key=len)
        if set(wrt) <= set(best):
            break
    np.savez(folder / f"{case}.found.npz", **{f"grad/{name}": value for name, value in best.items()})
    pipe.send("" if set(wrt) <= set(best) else said)


def main(folder: Path) -> None:
    """Each case in a process of its own: some end it."""
    index = json.loads((folder / "index.json").read_text())
    said = {}
    context = multiprocessing.get_context("fork")
    for case, (models, loss, wrt) in index.items():
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=attempt, args=(folder, case, models, loss, wrt, theirs))
        process.start()
        theirs.close()
        try:
            said[case] = ours.recv() if ours.poll(PATIENCE) else "it did not end"
        except EOFError:
            said[case] = "the process died"
        process.kill()
        process.join()
    (folder / "said.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
