"""Exported gradients in other runtimes: right, refused or silently wrong, as they are and with `--for`.

    python tests/bench/elsewhere/table.py FOLDER [RUNTIME]... [--only TEXT] [--each]

Environments of the runtimes (with pinned packages) and files are made in FOLDER, and stay there for the next
time (LiteRT's with the Python that python3.12 is); onnxruntime, openvino, its plugin, opencv and the
reference evaluator are those of this environment. A gradient is right within 1e-4 of its norm of what ONNX
Runtime says to the plain export, as are the model's own outputs.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click
import numpy as np
from exports import EXPORTS, write, write_feeds, write_model
from runners import RUNNERS, answers, install, read_arrays, version

from onnxlens.engine.errors import BadRequest, Unavailable
from onnxlens.engine.runtime.exports.checked import BOUND, distance


def forward(name: str, runtime: str, folder: Path) -> str:
    """Whether the network alone runs: "right", "refused: ..." or "wrong: ..."."""
    feeds, right = asked(name, folder)
    model = write_model(name, folder, RUNNERS[runtime].sizes)
    own = {k: x for k, x in feeds.items() if not k.startswith("seed/")}
    return verdict(runtime, folder, model, own, [a for k, a in right.items() if not k.startswith("grad/")])


def backward(name: str, runtime: str, folder: Path, is_for: bool) -> str:
    """The same of an export, with or without `--for` (and `--batch` where the runtime needs it)."""
    feeds, right = asked(name, folder)
    runner = RUNNERS[runtime]
    try:
        model = write(name, folder, runner.runtime, runner.sizes) if is_for else write(name, folder)
    except BadRequest as error:
        return f"refused by onnxlens: {error}"
    return verdict(runtime, folder, model, feeds, list(right.values()))


def asked(name: str, folder: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Inputs and right outputs."""
    feeds = read_arrays(write_feeds(name, folder))
    right = {k.removeprefix("right:"): a for k, a in feeds.items() if k.startswith("right:")}
    return {k: a for k, a in feeds.items() if not k.startswith("right:")}, right


def verdict(
    runtime: str, folder: Path, model: Path, feeds: dict[str, np.ndarray], right: list[np.ndarray]
) -> str:
    try:
        found = answers(runtime, folder, model, feeds)
    except Unavailable as error:
        return f"refused: {error}"
    off = max(distance(a, b) for a, b in zip(found, right, strict=True))
    return "right" if off <= BOUND else f"wrong: {off:.0e}"


def kinds(said: list[str]) -> str:
    """Cells of the table: right, refused, silently wrong."""
    count = Counter(s.split(":")[0].split()[0] for s in said)
    return " | ".join(str(count[kind]) for kind in ("right", "refused", "wrong"))


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path))
@click.argument("runtimes", nargs=-1)
@click.option("--only", default="", help="Exports with this in their name.")
@click.option("--each", is_flag=True, help="A line for each export that is not right.")
def command(folder: Path, runtimes: tuple[str, ...], only: str, each: bool) -> None:
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    names = [name for name in EXPORTS if only in name]
    print("| runtime | version | forward | right | refused | wrong | right, `--for` | refused | wrong |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for runtime in runtimes or RUNNERS:
        install(runtime, folder)
        said = {
            "forward": {n: forward(n, runtime, folder) for n in names},
            "plain": {n: backward(n, runtime, folder, False) for n in names},
            "for": {n: backward(n, runtime, folder, True) for n in names},
        }
        ran = sum(s == "right" for s in said["forward"].values())
        cells = [f"{ran} of {len(names)}", kinds([*said["plain"].values()]), kinds([*said["for"].values()])]
        word = f"`{RUNNERS[runtime].runtime}`"
        print(f"| {runtime} ({word}) | {version(runtime)} | " + " | ".join(cells) + " |", flush=True)
        for way, by_name in said.items() if each else ():
            for name, what in by_name.items():
                if what != "right":
                    print(f"    {way:7} {name}: {what}", flush=True)


if __name__ == "__main__":
    command()
