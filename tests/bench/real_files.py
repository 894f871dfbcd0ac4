"""Every command on trained models out of public packages: what works, what is missed, what is wrong.

python tests/bench/real_files.py [--only NAME]... [--try COMMAND]... [--folder CACHE] [--pictures FOLDER]

The list is real_files.toml; it says for each file what its own package makes of its answer. The packages are
fetched once, by name and version, with pip and npm; what they hold is read, not installed. Each command runs
as a person would type it, alone, on one thread, for at most fifteen minutes.

- works: exit code 0, every number written is finite, `predict` says what the package says of the same
  numbers (of classes, what ONNX Runtime alone answers), `activations` holds what the runtime computes there,
  the training graph of `grad` answers as the model does, with a finite gradient, and the map of the target is
  hottest inside the thing that it is of.
- elsewhere: all of that, but the map is hottest elsewhere.
- missed: the command says in one line that it cannot.
- WRONG: anything else.

Without --only and --try it writes docs/real-files.md. Takes two hours on one core.
"""

from __future__ import annotations

import ast
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import click
import cv2
import numpy as np
from drawings import picture
from packages import fetched, of_package
from page import ROOT, machine
from truths import Row, elsewhere, feeds, wrong_answers, wrong_maps, wrong_probabilities, wrong_things

from onnxlens.models.photos.photo import read_photo

LIST = Path(__file__).with_suffix(".toml")
PAGE = ROOT / "docs" / "real-files.md"
LIMIT = 900  # seconds for one command

# What is typed: {flags} say how photos go in, {unit} is a layer about two thirds of the way up.
TRIES = {
    "layers": "layers {model}",
    "doctor": "doctor {model} {photo} {flags}",
    "weights": "weights {model} {flags} -o {out}",
    "grad": "grad {model} {flags} -o {out}.onnx",
    "activations": "activations {model} {photo} {flags} -o {out}",
    "top": "top {model} {photos} {flags} -o {out}",
    "saliency (unit)": "saliency {model} {photo} {flags} --layer {unit} --top 2 -o {out}",
    "guided (unit)": "guided {model} {photo} {flags} --layer {unit} --top 2 -o {out}",
    "deconvnet (unit)": "deconvnet {model} {photo} {flags} --layer {unit} --top 2 -o {out}",
    "dream": "dream {model} {photo} {flags} --iterations 2 --octaves 2 --side 192 -o {out}",
    "dream (noise)": "dream {model} {flags} --objective 'channel({unit}, 0)' --iterations 8 -o {out}",
    "look": "look {model} {photo} {flags} -o {out}",
    "predict": "predict {model} {photo} {flags} --top 1000 --json",
    "explain": "explain {model} {photo} {flags} --target {target} -o {out}",
    "gradcam": "gradcam {model} {photo} {flags} --target {target} -o {out}",
    "saliency": "saliency {model} {photo} {flags} --target {target} -o {out}",
    "integrated": "integrated {model} {photo} {flags} --target {target} -o {out}",
    "occlusion": "occlusion {model} {photo} {flags} --target {target} {patch} -o {out}",
    "top3": "gradcam {model} {photo} {flags} --target top3 -o {out}",
    "run": "run {model} {photos} {flags} -o {out}",
}
OF_TARGET = "explain", "gradcam", "saliency", "integrated", "occlusion"

INTRODUCTION = """\
# Real files

Written by `python tests/bench/real_files.py` on {machine}.

Every command on {count} trained models that ship as `.onnx` files inside public packages. The
[list](../tests/bench/real_files.toml) says of each file what its package makes of its answer to the picture,
and where in the picture that lies; it was fixed before a command was tried. **works** means that the command
ended well, that every number is finite, that `predict` says what the package says, that feature maps and the
training graph's answers are those of ONNX Runtime alone on the same array, and that the map of the target
(the second table) is hottest inside the thing. **elsewhere** means that it is hottest at another place,
**missed** that the command says that it cannot. What needs no target is of a layer about two thirds of the
way up.
"""


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    printed: str
    said: str
    out: Path


# -- the commands ---------------------------------------------------------------------------------------


def typed(row: Row, command: str, model: Path) -> str:
    """The flags that a command of that name takes."""
    flags = {**row.flags, **({"labels": str(labels(row, model))} if row.labels else {})}
    if command == "grad":
        flags = {key: value for key, value in flags.items() if key == "size"}
    if command == "weights":
        flags = {key: value for key, value in flags.items() if key not in ("output", "labels")}
    return " ".join(f"--{key} {shlex.quote(value)}" for key, value in flags.items())


def labels(row: Row, model: Path) -> Path:
    """The names that the package holds beside the model: the file as it is, or a list in Python as JSON."""
    assert row.labels
    member, _, name = row.labels.partition(":")
    path = model.parent / f"{row.name}.labels.{'json' if name else 'txt'}"
    if not path.exists():
        data = of_package(row, [member])
        if name:
            assigned = (n for n in ast.parse(data).body if isinstance(n, ast.Assign | ast.AnnAssign))
            of = {
                ast.unparse(n.target if isinstance(n, ast.AnnAssign) else n.targets[0]): n for n in assigned
            }
            data = json.dumps(ast.literal_eval(of[name].value)).encode()  # pyright: ignore[reportArgumentType]
        path.write_bytes(data)
    return path


def ended(line: str, out: Path) -> Ended:
    """Run a command line as a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ONNXLENS_THREADS": "1", "COLUMNS": "200"}
    command = [sys.executable, "-m", "onnxlens", *shlex.split(line)]
    try:
        done = subprocess.run(
            command, env=environment, cwd=out.parent, capture_output=True, text=True, timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        return Ended(1, "", f"onnxlens: not done after {LIMIT} s", out)
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
    if "Traceback" in end.said or end.code not in (0, 1, 2) or (end.code and len(errors) != 1):
        return "WRONG", f"exit code {end.code}: {said}"
    if end.code:
        return "missed", said
    problem = next(problems(row, name, end, model, photo), "")
    away = next(elsewhere(row, end.out), "") if name in OF_TARGET and not problem else ""
    return ("WRONG", problem) if problem else ("elsewhere", away) if away else ("works", "")


def problems(row: Row, name: str, end: Ended, model: Path, photo: Path) -> Iterator[str]:
    """What is wrong with the answer of a command that ended well."""
    yield from (f"{path.name} is not finite" for path in arrays(end.out) if not finite(path, photo))
    if "NaN" in end.printed:
        yield "prints NaN"
    if name == "predict":
        said = json.loads(end.printed)
        found = said["predictions" if row.scores else "things"]
        yield from wrong_probabilities(row, found, feeds(row, model, photo), model)
        yield from wrong_things(row, found, model, photo)
    if name == "activations":
        yield from wrong_maps(row, end.out, model, photo)
    if name == "grad":
        yield from wrong_answers(row, model, Path(f"{end.out}.onnx"), photo)


def finite(path: Path, photo: Path) -> bool:
    """Whether an array holds numbers; one of the photo's pixels says NaN beyond what the input covers."""
    values = np.load(path)
    if values.shape[:2] == read_photo(photo).shape[:2]:
        return bool(np.isfinite(values).any()) and not np.isinf(values).any()
    return bool(np.isfinite(values).all())


def arrays(out: Path) -> Iterator[Path]:
    """The arrays of numbers that a command wrote."""
    return (path for path in out.rglob("*.npy") if np.load(path, mmap_mode="r").dtype.kind == "f")


# -- the page -------------------------------------------------------------------------------------------


def shown(row: Row, folder: Path, cache: Path) -> Path:
    """The picture of a file, written into a folder."""
    path = folder / f"{row.picture}.png"
    cv2.imwrite(str(path), picture(row.picture, cache))
    return path


def tried(row: Row, model: Path, place: Path, tries: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Commands on one file: the word and the reason, by the command."""
    photos = place / "photos"
    photos.mkdir(parents=True, exist_ok=True)
    photo = shown(row, photos, model.parent)
    words = {"model": model, "photo": photo, "photos": photos, "target": shlex.quote(row.target)}
    words["patch"] = "--patch 256 --stride 256" if row.slow else ""
    first = ["activations"] if any("{unit}" in TRIES[name] for name in tries) else []
    cells = {}
    for name in dict.fromkeys((*first, *tries)):
        out = place / name.replace(" ", "-")
        shutil.rmtree(out, ignore_errors=True)
        Path(f"{out}.onnx").unlink(missing_ok=True)
        layer = shlex.quote(unit(place / "activations"))
        line = TRIES[name].format(**words, out=out, unit=layer, flags=typed(row, name, model))
        cells[name] = verdict(row, name, ended(line, out), model, photo)
        if cells[name][1]:
            print(f"{row.name}, {name}: {cells[name][0]}: {cells[name][1]}", flush=True)
    return {name: cells[name] for name in tries}


def written(rows: dict[str, Row], table: dict[str, dict[str, tuple[str, str]]]) -> str:
    """The page."""
    count = Counter(word for cells in table.values() for word, _ in cells.values())
    lines = [INTRODUCTION.format(machine=machine(), count=len(rows))]
    lines += [", ".join(f"{n} {word}" for word, n in count.most_common()) + ".", ""]
    lines += ["| file | " + " | ".join(TRIES) + " |", "| --- |" + " --- |" * len(TRIES)]
    lines += [
        f"| {n} | " + " | ".join(word for word, _ in cells.values()) + " |" for n, cells in table.items()
    ]
    lines += [
        "",
        "## The files",
        "",
        "| file | package | what it does | answers | target |",
        "| --- |" + " --- |" * 4,
    ]
    for name, row in rows.items():
        path = row.path if isinstance(row.path, str) else f"{row.path[0]}, ... ({len(row.path)} parts)"
        package = f"{row.registry}: {row.package} {row.version}, `{path}`"
        lines.append(f"| {name} | {package} | {row.does} | {row.readout} | `{row.target}` |")
    lines += ["", "## What does not work", ""]
    for name, cells in table.items():
        reasons = [
            f"{command}: {reason.removeprefix('onnxlens: ')}"
            for command, (_, reason) in cells.items()
            if reason
        ]
        lines += [f"- {name}, {reason}" for reason in reasons]
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
            words = Counter(word for word, _ in found.values())
            print(f"{name}: " + ", ".join(f"{n} {word}" for word, n in words.items()), flush=True)
            return found

        table = dict(zip(models, pool.map(cells, models), strict=True))
    if not only and not tries:
        PAGE.write_text(written(rows, table))


if __name__ == "__main__":
    main()
