"""The benchmark suite: ours beside PyTorch, Captum, pytorch-grad-cam's computation and ONNX Runtime alone.

python tests/bench/suite.py [--quick] [--network NAME ...] [--only ROW ...] [--threads N ...]

Takes the extra `bench`. Each network runs in a process of its own for each number of threads; in it, all
contestants of a row take turns, on the same weights and inputs, and their answers are compared first. What
is measured goes into record.json beside this file, in place of what stood there for the same network, row,
batch and threads, and from there into docs/benchmarks.md; an interrupted run loses nothing that it printed.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import page

NETWORKS = ("squeezenet", "resnet50", "vgg16", "mobilenet_v2", "vit_s16")
MEMORY = "memory"
HERE = Path(__file__).parent
RECORD = HERE / "record.json"


def contest(
    network: str, folder: Path, threads: int, seconds: float, rows: list[str]
) -> Iterator[dict[str, Any]]:
    """What the rows of a network give, as it comes."""
    command = [
        sys.executable,
        str(HERE / "contest.py"),
        network,
        str(folder),
        str(threads),
        str(seconds),
        *rows,
    ]
    # OpenMP reads its number of threads once, before PyTorch can be told of another.
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        yield from map(json.loads, process.stdout)
    if process.returncode:
        click.echo(
            f"{network}, {threads} threads: stopped with {process.returncode}; the rest is left out", err=True
        )


def peaks(network: str, folder: Path) -> dict[str, Any]:
    """The peak of each method and of the bare forward pass at its batch, in MB."""
    peaks = importlib.import_module("peaks")
    path = str(folder / f"{network}.onnx")

    def peak(method: str, batch: int) -> float:
        words = [sys.executable, str(HERE / "peaks.py"), method, path, str(batch)]
        return float(subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout)

    batches = {m: peaks.batch(m, path) for m in peaks.METHODS if m != "forward"}
    bare = {n: peak("forward", n) for n in sorted(set(batches.values()))}
    methods = {m: [peak(m, n), bare[n]] for m, n in batches.items()}
    return {"network": network, "row": MEMORY, "batch": 1, "threads": 0, "peaks": methods}


def kept(record: dict[str, Any], found: dict[str, Any]) -> None:
    """Put a result in the place of an earlier one of the same kind, and write record and page."""
    same = ("network", "row", "batch", "threads")
    others = [r for r in record["results"] if any(r[k] != found[k] for k in same)]
    record["results"] = [*others, found]
    record["machine"] = page.machine()
    text = json.dumps(record, indent=1, sort_keys=True) + "\n"
    RECORD.with_suffix(".new").write_text(text, encoding="utf-8")
    RECORD.with_suffix(".new").replace(RECORD)
    page.PAGE.write_text(page.page(record), encoding="utf-8")


@click.command()
@click.option("--network", "networks", multiple=True, type=click.Choice(NETWORKS), help="All by default.")
@click.option("--only", multiple=True, help="A row, or memory. All by default.")
@click.option("--threads", multiple=True, type=click.IntRange(1), help="1 and 2 by default.")
@click.option("--seconds", default=4.0, show_default=True, help="For a row, in which it takes its turns.")
@click.option("--quick", is_flag=True, help="Least turns; nothing is written.")
def main(
    networks: tuple[str, ...], only: tuple[str, ...], threads: tuple[int, ...], seconds: float, quick: bool
) -> None:
    """Measure, print, and write docs/benchmarks.md."""
    os.environ["ONNXLENS_CACHE_SIZE"] = "0"  # what a start costs is part of what is measured
    known = [*page.rows(), MEMORY]
    if wrong := [name for name in only if name not in known]:
        raise click.BadParameter(f"{wrong[0]!r} is none of {', '.join(known)}", param_hint="--only")
    rows = [r for r in page.rows() if not only or r in only]
    record: dict[str, Any] = {"results": []}
    if RECORD.exists() and not quick:
        record = json.loads(RECORD.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as place:
        for network in networks or NETWORKS:
            for count in threads or (1, 2):
                # Without rows the network is exported all the same, for what follows.
                for found in contest(network, Path(place), count, 0 if quick else seconds, rows):
                    told(record, found, quick)
            if MEMORY in only or not only:
                told(record, peaks(network, Path(place)), quick)


def told(record: dict[str, Any], found: dict[str, Any], quick: bool) -> None:
    """Print a result and keep it."""
    click.echo(page.lines(found))
    if not quick:
        kept(record, found)


if __name__ == "__main__":
    main()
