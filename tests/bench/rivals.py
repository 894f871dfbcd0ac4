"""Derivatives of ONNX files by onnxlens and by onnx-ad, side by side: what is right, and what it costs.

    python tests/bench/rivals.py --peer PYTHON cases [--every N]
    python tests/bench/rivals.py --peer PYTHON networks [NAME ...] [--rounds N]

PYTHON is one that has onnx-ad (`python -m venv peer && peer/bin/pip install onnx-ad==0.3.0`): it only writes
files, so that each is made with its own packages, and all are run here, in plain ONNX Runtime on one thread.

cases: ONNX's single-operator cases, in double precision where they can be, in reverse and in forward mode,
against central differences along one random direction. A case counts where these agree at three step sizes.
networks: those of the suite (extra `bench`), those that the onnx package carries (vgg19, zfnet512, ...; with
random weights) or files. Ours are what `onnxlens grad --for onnxruntime` writes. Each file is made in a
process of its own, its answer is held against the other's before anything is timed, and then all are timed
in turns, side by side or, where they are large, with one at a time in memory. Medians, and ours over theirs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
from onnx import ModelProto, version_converter

from onnxlens.engine.autodiff.forward import jvp
from onnxlens.engine.autodiff.gradient import gradient
from onnxlens.engine.errors import OnnxlensError

ROOT = Path(__file__).parents[2]
LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"  # zfnet512, vgg19, ... without their weights
SUITE = "squeezenet", "resnet50", "vgg16", "mobilenet_v2", "vit_s16"  # of networks.py, which needs PyTorch
FORWARD = ("--mode", "forward")
SEEDS = 8  # rows of a Jacobian in one pass
TOGETHER = 2**30  # bytes of the files of one network, up to which their sessions are held side by side
BOUNDS = {np.dtype(np.float64): (1e-5, 1e-5), np.dtype(np.float32): (1e-2, 1e-2)}  # step, relative error
Feeds = Mapping[str, np.ndarray]

PEER = """
import json, sys, onnx
from onnx_ad import forward, reverse
said = {}
for line in open(sys.argv[1]):
    job = json.loads(line)
    for mode, make in (("reverse", reverse), ("forward", forward)):
        path = job["path"].replace(".onnx", "." + mode + ".onnx")
        try:
            made = make(onnx.load(job["path"]), inputs=job["wrt"], outputs=job["of"], layout="onnx")
            onnx.save(made, path)
        except Exception as error:
            said[path] = type(error).__name__ + ": " + str(error)
json.dump(said, open(sys.argv[2], "w"))
"""


def by_peer(python: str, folder: Path, jobs: list[dict[str, object]]) -> dict[str, str]:
    """Have the peer differentiate files; why it did not, by the path that there is not."""
    asked, said = folder / "jobs", folder / "said"
    asked.write_text("\n".join(map(json.dumps, jobs)))
    subprocess.run([python, "-c", PEER, str(asked), str(said)], check=True)
    return json.loads(said.read_text())


def session(model: ModelProto | str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    data = model if isinstance(model, str) else model.SerializeToString()
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


# -- single operators ---------------------------------------------------------------------------------------


def slope(call: Callable[[Feeds], Feeds], feeds: Feeds, us: Feeds, vs: Feeds) -> float | None:
    """⟨u, Jv⟩ by central differences; None where three step sizes do not agree."""
    step, bound = BOUNDS[next(iter(vs.values())).dtype]
    found = []
    for h in (step, step / 2, 2 * step):
        above, below = (
            call({**feeds, **{n: np.asarray(feeds[n] + s * v, v.dtype) for n, v in vs.items()}})
            for s in (h, -h)
        )
        found.append(
            sum(float((u * (above[n].astype(float) - below[n])).sum()) for n, u in us.items()) / 2 / h
        )
    return found[0] if np.ptp(found) <= bound * (1 + max(map(abs, found))) else None


def judged(model: ModelProto | str, feeds: Feeds, pairs: Feeds, expected: float, bound: float) -> str:
    """right, wrong, nan or cannot run: the products of a derivative's last outputs with these vectors."""
    from oracles.differences import runner

    try:
        model = onnx.load(model) if isinstance(model, str) else model
        names = [o.name for o in model.graph.output]
        found = dict(zip(names, runner(model)(feeds), strict=True))
    except Exception:
        return "cannot run"
    total = sum(
        float((found[n].reshape(v.shape) * v).sum())
        for n, v in zip(names[-len(pairs) :], pairs.values(), strict=True)
    )
    if not np.isfinite(total):
        return "nan"
    return "right" if abs(total - expected) <= bound * (1 + abs(expected)) else "wrong"


def verdicts(
    mode: str,
    model: ModelProto,
    feeds: Feeds,
    us: Feeds,
    vs: Feeds,
    expected: float,
    path: str,
    refused: Mapping[str, str],
) -> tuple[str, str]:
    """Ours and theirs on one case in one mode."""
    back = mode == "reverse"
    given, pairs = (us, vs) if back else (vs, us)
    bound = BOUNDS[next(iter(vs.values())).dtype][1]
    try:
        made = (gradient if back else jvp)(model, of=list(us), wrt=list(vs))
        own = {f"{'seed' if back else 'tangent'}/{n}": v for n, v in given.items()}
        mine = judged(made, {**feeds, **own}, pairs, expected, bound)
    except OnnxlensError:
        mine = "refused"
    other = path.replace(".onnx", f".{mode}.onnx")
    if other in refused:
        return mine, "refused"
    stacked = {f"{'adj' if back else 'fwd'}_{n}": v[..., None] for n, v in given.items()}
    return mine, judged(other, {**feeds, **stacked}, pairs, expected, bound)


def cases(peer: str, every: int) -> None:
    """Print what is right, wrong and refused of ONNX's single-operator cases."""
    from oracles.cases import CASES, posed
    from oracles.differences import runner

    rng = np.random.default_rng(0)
    with TemporaryDirectory() as place:
        folder, posed_ones, jobs = Path(place), {}, []
        for name, case in list(CASES.items())[::every]:
            model, feeds, of, wrt = posed(*case)
            if not of or not wrt:
                continue
            call, outputs = runner(model), [o.name for o in model.graph.output]
            answer = lambda f, call=call, outputs=outputs: dict(zip(outputs, call(f), strict=True))
            clean = answer(feeds)
            us = {n: rng.standard_normal(clean[n].shape).astype(clean[n].dtype) for n in of}
            vs = {n: rng.standard_normal(feeds[n].shape).astype(feeds[n].dtype) for n in wrt}
            expected = slope(answer, feeds, us, vs)
            if expected is None:
                print(f"{name}: no slope")
                continue
            path = str(folder / f"{name}.onnx")
            onnx.save(model, path)
            posed_ones[name] = model, feeds, us, vs, expected, path
            jobs.append({"path": path, "of": of, "wrt": wrt})
        refused = by_peer(peer, folder, jobs)
        counts: dict[tuple[str, str], Counter[str]] = {}
        for name, case in posed_ones.items():
            for mode in ("reverse", "forward"):
                mine, theirs = verdicts(mode, *case, refused)
                counts.setdefault((mode, "onnxlens"), Counter())[mine] += 1
                counts.setdefault((mode, "onnx-ad"), Counter())[theirs] += 1
                if mine != "right":
                    print(f"{mode} {name}: ours {mine}, theirs {theirs}")
    for (mode, whose), counted in counts.items():
        print(f"{mode:8} {whose:9} " + ", ".join(f"{k} {n}" for k, n in counted.most_common()))


# -- networks -----------------------------------------------------------------------------------------------


def networks(peer: str, names: list[str], rounds: int) -> None:
    """Print what the derivatives of networks cost, ours and theirs."""
    for name in names:
        with TemporaryDirectory() as place:
            path = Path(place) / f"{Path(name).stem}.onnx"
            _written(name, path)
            of, wrt = _ends(path)
            refused = by_peer(peer, Path(place), [{"path": str(path), "of": [of[0]], "wrt": [wrt[0]]}])
            print(f"\n{name}" + "".join(f"\n  onnx-ad: {why}" for why in refused.values()), flush=True)
            _compared(path, rounds)


def _written(name: str, path: Path) -> None:
    """A network of the suite, of the onnx package, or a file of its own, for one picture.

    Shapes are inferred, as onnx-ad needs the number of axes of each value.
    """
    if Path(name).is_file():
        model = onnx.load(name)
    elif name not in SUITE:
        from oracles.networks import randomised

        light = onnx.load(LIGHT / f"light_{name}.onnx")
        model = randomised(version_converter.convert_version(light, 18))  # onnx-ad takes from 13 on
        model.ir_version = 8  # of old files each weight had to be an input
    else:
        from networks import export, made

        export(made(name), path)
        model = onnx.load(path)
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(onnx.shape_inference.infer_shapes(model), path)


def _ends(path: Path) -> list[tuple[str, list[int]]]:
    """The name and the shape, for one picture, of a network's first output and of its first input."""
    graph = onnx.load(path, load_external_data=False).graph
    weights = {w.name for w in graph.initializer}
    picture = next(v for v in graph.input if v.name not in weights)
    ends = [(v.name, v.type.tensor_type.shape.dim) for v in (graph.output[0], picture)]
    return [(name, [d.dim_value or 1 for d in dims]) for name, dims in ends]


def by_us(source: Path, out: Path, of: str, wrt: str, *options: str) -> Path:
    """Have `onnxlens grad` write a derivative, in a process of its own, which gives its memory back."""
    command = [sys.executable, "-m", "onnxlens", "grad", str(source), "-o", str(out), "--external-data"]
    ends = ["--of", of, "--wrt", wrt, "--for", "onnxruntime"]
    subprocess.run([*command, *ends, *options], check=True, capture_output=True, cwd=ROOT)
    return out


def _compared(source: Path, rounds: int) -> None:
    """Run the files of one network in turns; what is compared is equal first."""
    rng = np.random.default_rng(0)
    (of, scores), (wrt, picture) = _ends(source)
    x = rng.standard_normal(picture).astype(np.float32)
    us = rng.standard_normal((SEEDS, *scores)).astype(np.float32)
    vs = rng.standard_normal((SEEDS, *picture)).astype(np.float32)
    back, forth = (source.with_suffix(f".{mode}.onnx") for mode in ("reverse", "forward"))
    ours = {
        name: by_us(source, source.with_suffix(f".{name}.onnx"), of, wrt, *options)
        for name, options in (("one", ()), ("tangent", FORWARD), ("rows", ("--seeds", str(SEEDS))))
    }
    asked = {
        "forward pass": (source, {}),
        "gradient, ours": (ours["one"], {f"seed/{of}": us[0]}),
        "gradient, theirs": (back, {f"adj_{of}": us[0, ..., None]}),
        "tangent, ours": (ours["tangent"], {f"tangent/{wrt}": vs[0]}),
        "tangent, theirs": (forth, {f"fwd_{wrt}": vs[0, ..., None]}),
        f"{SEEDS} rows, ours": (ours["rows"], {f"seed/{of}": us}),
        f"{SEEDS} rows, theirs": (back, {f"adj_{of}": np.moveaxis(us, 0, -1).copy()}),
    }
    files = {what: (path, {wrt: x, **given}) for what, (path, given) in asked.items() if path.exists()}
    _assert_alike({what: opened(*file)() for what, file in files.items()})
    median = {what: float(np.median(taken)) for what, taken in _seconds(files, rounds).items()}
    for what, taken in median.items():
        times = f"{taken * 1000:8.1f} ms {taken / median['forward pass']:6.2f} forward passes"
        ratio = median.get(what.replace("ours", "theirs")) if what.endswith(", ours") else None
        print(f"  {what:17} {times}" + ("" if ratio is None else f"   {taken / ratio:.2f} of theirs"))


def opened(path: Path, feeds: Feeds) -> Callable[[], np.ndarray]:
    """A file as a function: its last output. The session goes with it."""
    one = session(str(path))
    return lambda: np.asarray(one.run([one.get_outputs()[-1].name], dict(feeds))[0])


def _assert_alike(found: Mapping[str, np.ndarray]) -> None:
    """Holds what is compared against each other; theirs have the axis of the seeds behind."""
    for what in found:
        other = what.replace("ours", "theirs")
        if other != what and other in found:
            a = found[what]
            b = np.moveaxis(found[other], -1, 0).reshape(a.shape)
            apart = np.linalg.norm(a - b) / np.linalg.norm(b)
            assert apart <= 1e-4, f"{what} is {apart:.1e} of its norm off theirs"


def _seconds(files: Mapping[str, tuple[Path, Feeds]], rounds: int) -> dict[str, list[float]]:
    """What each run took, in turns.

    Small files stay open side by side. Of large ones one at a time is open: in each round each is read
    anew, run once to be warm, and then timed.
    """
    folder = next(iter(files.values()))[0].parent
    small = sum(f.stat().st_size for f in folder.iterdir()) <= TOGETHER
    kept, seconds = {}, {what: [] for what in files}
    for _ in range(rounds):
        for what, file in files.items():
            call = kept.get(what) or opened(*file)
            if what not in kept:
                call()
            if small:
                kept[what] = call
            start = time.perf_counter()
            call()
            seconds[what].append(time.perf_counter() - start)
            del call  # before the next is opened
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", required=True, metavar="PYTHON", help="a Python that has onnx-ad")
    parser.add_argument("what", choices=("cases", "networks"))
    parser.add_argument(
        "names", nargs="*", help="networks, or files of others; by default squeezenet and resnet50"
    )
    parser.add_argument("--every", type=int, default=1, help="one of so many cases")
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    if asked.what == "cases":
        cases(asked.peer, asked.every)
    else:
        networks(asked.peer, asked.names or ["squeezenet", "resnet50"], asked.rounds)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))  # oracles
    main()
