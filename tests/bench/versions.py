"""Two versions of onnxlens side by side: what they answer, to the bit, or how long they take.

python tests/bench/versions.py OTHER [--only NAME]... [--model NAME]... [--folder FOLDER]
python tests/bench/versions.py OTHER --times [--only NAME]... [--model NAME]... [--rounds N]

OTHER is a revision of this repository or the folder of an installed version. Both get the same command lines,
each as a process of its own, on one thread, on 20 scenes of the embedded model and, with ONNXLENS_TEST_DATA,
on its photos with SqueezeNet. Compared are files byte by byte, rows, manifests and what --json prints value
by value, pages by the pictures inside them, and all other text line by line. Exit code 1 where a file or
a value differs or is lost; fields that are new, fields that only changed their names, and texts that say the
same numbers in other words are listed but do not count. With --times the two take turns, and 1 means that
one takes a tenth longer than the other version, by the clock and in processor time.

With --folder what both made stays there, and of a revision what is there already is not made again.
"""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import click
from differences import Differences, Made, compare, firsts, read
from page import ROOT
from top import draw
from turns import COMMANDS, ENTRIES, in_turns, served, started

DATA = Path(os.environ.get("ONNXLENS_TEST_DATA", "no test data"))
SCENES = 20
ALL = "gradcam,occlusion,saliency,guided,deconvnet"
SLOWER = 1.1  # what counts as slower
WIDTH = 200  # of a line that is printed
TRIALS = 5  # of a command that differs, where the clock has a say
BY_THE_CLOCK = {"occlusion", "look", ALL}
TOLD = 12  # differences of a command that are printed

# What is typed: {flags} say how photos go in, {unit} is a layer, {layers} a pattern of some.
TRIES = {
    "layers": "layers {model}",
    "layers --json": "layers {model} --json",
    "doctor": "doctor {model} {photos} {flags}",
    "doctor --json": "doctor {model} {photos} {flags} --json",
    "grad": "grad {model} -o out/grad.onnx",
    "predict": "predict {model} {photos} {flags}",
    "predict --json": "predict {model} {photos} {flags} --json",
    "weights": "weights {model} {preset} -o out",
    "activations": "activations {model} {photos} {flags} --layer {unit} -o out",
    "top": "top {model} {folder} {flags} --deconv -o out",
    "gradcam": "gradcam {model} {photos} {flags} --target top2 -o out",
    "gradcam --layers": "gradcam {model} {photos} {flags} --layers {layers} --guided -o out --json",
    "occlusion": "occlusion {model} {photos} {flags} -o out",
    "occlusion --json": "occlusion {model} {photo} {flags} --patch 16 --patch 32 --fill blur -o out --json",
    "occlusion --coarse": "occlusion {model} {photo} {flags} --coarse --narrow 0.8 --exact -o out",
    "deconvnet": "deconvnet {model} {photos} {flags} -o out",
    "deconvnet --layer": "deconvnet {model} {photos} {flags} --layer {unit} --top 2 -o out --json",
    "guided": "guided {model} {photos} {flags} --target top2 -o out",
    "guided --layer": "guided {model} {photos} {flags} --layer {unit} --channels 1,3 -o out",
    "saliency": "saliency {model} {photos} {flags} --target top2 -o out --json",
    "saliency --layer": "saliency {model} {photos} {flags} --layer {unit} --channel 1 --position 5,6 -o out",
    "lrp": "saliency {model} {photos} {flags} --method lrp --style diverging -o out",
    "input-x-gradient": "saliency {model} {photos} {flags} --method input-x-gradient -o out",
    "integrated": "saliency {model} {photos} {flags} --method integrated --style overlay -o out --json",
    "smoothgrad": "saliency {model} {photos} {flags} --method smoothgrad --steps 20 -o out",
    "dream": "dream {model} {photo} {flags} --iterations 3 --octaves 2 --side 192 -o out",
    "dream of noise": "dream {model} {flags} --objective 'channel({unit}, 0)' --iterations 8 -o out",
    "look": "look {model} {photo} {flags} -o out",
    "run": "run {model} {folder} {flags} --method {all} --target top2 --pictures png -o out",
    "run of a folder": "saliency {model} {folder} {flags} -o out",
    "report": "report ../run/out -o out/report.html",
    "runs show": "runs show ../run/out --json",
    "runs verify": "runs verify ../run/out",
}


class Version(NamedTuple):
    """A version: the folder that is put on PYTHONPATH, with a link `onnxlens` in it, and its name."""

    name: str
    place: Path
    kept: bool

    def environment(self) -> dict[str, str]:
        """One thread, and kernels and graphs that this version has compiled itself."""
        own = {"PYTHONPATH": str(self.place), "ONNXLENS_CACHE": str(self.place / "cache")}
        return {**os.environ, **own, "OMP_NUM_THREADS": "1", "ONNXLENS_THREADS": "1", "COLUMNS": "200"}

    def spellings(self) -> list[str]:
        """How its texts may name its own folder."""
        package = self.place / "onnxlens"
        return [str(package), str(package.resolve())]


class Subject(NamedTuple):
    """A model, its photos, and what is asked of it."""

    model: str
    preset: str
    flags: str
    photos: list[Path]
    unit: str
    layers: str

    def typed(self, line: str) -> list[str]:
        """A command line for this model."""
        photos = " ".join(shlex.quote(str(p)) for p in self.photos)
        folder = shlex.quote(str(self.photos[0].parent))
        mine = self._asdict() | {"photos": photos, "photo": self.photos[3], "folder": folder, "all": ALL}
        return shlex.split(line.format_map(mine))


# -- the versions -----------------------------------------------------------------------------------------


def version(other: str, place: Path) -> Version:
    """A revision, unpacked, or the folder of a package or of the packages that it is among."""
    folder = Path(other)
    if folder.is_dir():
        folder = folder / "onnxlens" if (folder / "onnxlens").is_dir() else folder
        return _linked(folder.name, folder.resolve(), place / "there")
    named = subprocess.run(["git", "rev-parse", "--short=12", f"{other}^{{commit}}"], **_GIT)
    if named.returncode:
        raise click.BadParameter(f"{other!r} is neither a folder nor a revision", param_hint="OTHER")
    revision = named.stdout.decode().strip()
    unpacked = place / revision / "onnxlens"
    if not unpacked.exists():
        packed = subprocess.run(["git", "archive", revision], check=True, **_GIT).stdout
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(unpacked, filter="data")
    return _checked(Version(revision, unpacked.parent, True))


_GIT = {"cwd": ROOT, "capture_output": True}


def _linked(name: str, folder: Path, place: Path) -> Version:
    place.mkdir(parents=True, exist_ok=True)
    (place / "onnxlens").unlink(missing_ok=True)
    (place / "onnxlens").symlink_to(folder)
    return _checked(Version(name, place, False))


def _checked(one: Version) -> Version:
    """The version itself, if Python really finds it there."""
    words = [sys.executable, "-c", "import onnxlens; print(onnxlens.__file__)"]
    done = subprocess.run(words, env=one.environment(), cwd=one.place, capture_output=True, text=True)
    if not done.stdout.startswith(str(one.place)):
        raise click.ClickException(f"{one.name} is not what Python imports: {done.stdout or done.stderr}")
    return one


# -- the subjects -----------------------------------------------------------------------------------------


def subjects(place: Path) -> dict[str, Subject]:
    """The embedded model and, where there is test data, SqueezeNet."""
    drawn = place / "scenes"
    scenes = sorted(drawn.iterdir()) if drawn.is_dir() else draw(drawn, SCENES, 192, "png")
    found = {"scenes": Subject("scenes", "", "", scenes, "conv4", "'relu?'")}
    squeezenet = DATA / "models" / "squeezenet1.1-caffe2-fp16.onnx"
    if squeezenet.is_file():
        labels = f"--labels {shlex.quote(str(DATA / 'models' / 'imagenet-labels.csv'))}"
        photos = sorted((DATA / "photos").iterdir())
        flags = "--preset caffe", f"--preset caffe {labels}"
        found["squeezenet"] = Subject(
            shlex.quote(str(squeezenet)), *flags, photos, "fire8/concat_1", "'fire[69]/concat_1'"
        )
    return found


# -- answers ----------------------------------------------------------------------------------------------


def compared(here: Version, there: Version, name: str, subject: Subject, place: Path) -> Differences:
    """What two versions make of a command line.

    Occlusion cuts a network where a trial was fastest, and each cut rounds the last digit in its own way: the
    same version may differ from itself. So such a command is tried again, a few times, and may agree once.
    """
    found = compare(made(here, name, subject, place), made(there, name, subject, place))
    by_the_clock = BY_THE_CLOCK & set(subject.typed(TRIES[name.split("/", 1)[1]]))
    for _ in range(TRIALS - 1 if by_the_clock else 0):
        if not found.found:
            break
        mine, theirs = (made(one._replace(kept=False), name, subject, place) for one in (here, there))
        found = compare(mine, theirs)
    return found


def made(one: Version, name: str, subject: Subject, place: Path) -> Made:
    """What a version makes of a command line, in a folder of its own."""
    folder = place / one.name / name.replace(" ", "_")
    ended = folder / "ended.json"
    words = subject.typed(TRIES[name.split("/", 1)[1]])
    kept = one.kept and ended.exists() and "../run" not in TRIES[name.split("/", 1)[1]]
    if not (kept and json.loads(ended.read_text())["typed"] == words):
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "out").mkdir(parents=True)
        done = subprocess.run(
            [sys.executable, "-m", "onnxlens", *words],
            env=one.environment(),
            cwd=folder,
            capture_output=True,
            text=True,
        )
        said = {"code": done.returncode, "printed": done.stdout, "said": done.stderr}
        ended.write_text(json.dumps({"typed": words, **said}))
    said = json.loads(ended.read_text())
    printed = {"printed": said["printed"], "said": said["said"]}
    return read(folder / "out", printed, said["code"], one.spellings())


def row(name: str, found: Differences) -> str:
    """A line of the table."""
    numbers = [len(part) for part in (*found.files, *found.values)] + [len(found.renamed), found.lines]
    return f"{name:32}" + "".join(f"{n:8}" for n in (*numbers, len(found.changed)))


HEAD = (
    f"{'':32}{'files':>8}{'':24}{'values':>8}{'':32}{'lines':>8}\n{'':32}"
    + "".join(f"{w:>8}" for w in ("equal", "differ", "new", "lost") * 2)
    + "".join(f"{w:>8}" for w in ("renamed", "all", "changed"))
)


def told(found: Differences) -> Iterator[str]:
    """What the numbers of a row stand for, the first of each kind."""
    kinds = {
        "": found.told,
        "new file ": found.files.here,
        "lost file ": found.files.there,
        "new ": [place + more for place, more in firsts(found.values.here)],
        "lost ": [place + more for place, more in firsts(found.values.there)],
        "renamed ": [f"{old} -> {new}" for new, old in found.renamed],
        "text ": found.changed,
    }
    for kind, all_of_it in kinds.items():
        yield from (f"    {kind}{line}"[:WIDTH] for line in all_of_it[:TOLD])
        if len(all_of_it) > TOLD:
            yield f"    ... {len(all_of_it) - TOLD} more"


def answers(
    here: Version, there: Version, asked: dict[str, Subject], only: Sequence[str], place: Path
) -> bool:
    """Print the table as it comes; whether anything differs."""
    click.echo(HEAD)
    worse = False
    for label, subject in asked.items():
        for name in only or TRIES:
            full = f"{label}/{name}"
            found = compared(here, there, full, subject, place)
            worse |= found.found
            click.echo(row(full, found))
            for line in told(found):
                click.echo(line)
    return worse


# -- times ------------------------------------------------------------------------------------------------


def slower(
    here: Version, there: Version, asked: dict[str, Subject], only: Sequence[str], rounds: int, place: Path
) -> bool:
    """Print the medians as they come; whether any is over SLOWER both by the clock and in processor time."""
    click.echo(f"{'milliseconds':36}{'here':>10}{'there':>10}{'ratio':>8}{'processor':>12}")
    worse = False
    for label, subject in asked.items():
        for entry in only or ENTRIES:

            def opened(one: Version, entry: str = entry, subject: Subject = subject) -> Any:
                if entry in COMMANDS:
                    words = subject.typed(COMMANDS[entry])
                    return started(one.environment(), words, place / "timed" / one.name)
                words = [entry, shlex.split(subject.model)[0], subject.preset[9:], str(subject.photos[3])]
                return served(one.environment(), words)

            mine, theirs = in_turns([partial(opened, here), partial(opened, there)], rounds)
            wall, cpu = mine.wall / theirs.wall, mine.cpu / theirs.cpu
            worse |= min(wall, cpu) > SLOWER
            times = "".join(f"{1e3 * took.wall:10.2f}" for took in (mine, theirs))
            click.echo(f"{label + '/' + entry:36}{times}{wall:8.3f}{cpu:12.3f}")
    return worse


@click.command()
@click.argument("other")
@click.option("--only", multiple=True, help="A command of the list, or an entry of --times. All by default.")
@click.option(
    "--model", "models", multiple=True, help="scenes or squeezenet; with --times also a .onnx file."
)
@click.option("--folder", type=click.Path(path_type=Path), help="Where what both make stays.")
@click.option("--times", is_flag=True, help="Compare how long they take instead.")
@click.option("--rounds", default=5, show_default=True, help="Of fresh processes, with --times.")
def main(
    other: str, only: tuple[str, ...], models: tuple[str, ...], folder: Path | None, times: bool, rounds: int
) -> None:
    """Print the table and end with 1 where something differs."""
    if wrong := [name for name in only if name not in (ENTRIES if times else TRIES)]:
        known = ", ".join(ENTRIES if times else TRIES)
        raise click.BadParameter(f"{wrong[0]!r} is none of {known}", param_hint="--only")
    with tempfile.TemporaryDirectory() as temporary:
        place = (folder or Path(temporary)).resolve()
        place.mkdir(parents=True, exist_ok=True)
        here, there = _linked("here", ROOT, place / "here"), version(other, place)
        asked = {k: v for k, v in subjects(place).items() if not models or k in models}
        click.echo(f"here: {ROOT}; there: {there.name}")
        if times:
            worse = slower(here, there, asked, only, rounds, place)
        else:
            worse = answers(here, there, asked, only, place / "made")
    sys.exit(int(worse))


if __name__ == "__main__":
    main()
