"""`onnxlens cache`: what is kept on this machine to be used again."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

import click

from ....engine.errors import Unavailable
from ....host import cache_folder
from ... import options
from ...console import emit, say, table

# What lies in a folder of this name, the file that each entry has one of, and what it takes to have it again.
KINDS = {
    "zoo": ("*.onnx", "models of the zoo: from the net"),
    "kernels": ("**/*.nbc", "compiled kernels: in a few seconds"),
    "graphs": ("*/sums.json", "compiled graphs: in a second each"),
    "providers": ("*", "that a provider is right with a graph: in one answer of the CPU each"),
}
MADE = ("kernels", "graphs", "providers")  # without the net


@click.group("cache", cls=options.Group, context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """See and clear what is kept: downloaded models, compiled kernels and graphs, answers that were checked.

    ONNXLENS_CACHE names another folder. Graphs take up to 1000 MB, or what ONNXLENS_CACHE_SIZE says in MB;
    those that have not been used for longest go first. With 0 none are kept.

    \b
    onnxlens cache show
    onnxlens cache clear
    """


@command.command()
@options.as_json
@options.debug
def show(as_json: bool) -> None:
    """Show where it lies and how much there is.

    \b
    onnxlens cache show
    """
    held = {kind: (_entries(kind), _size(kind)) for kind in KINDS}
    if as_json:
        kinds = {kind: {"entries": count, "bytes": size} for kind, (count, size) in held.items()}
        emit({"folder": str(cache_folder()), **kinds})
        return
    say(str(cache_folder()))
    rows = [(k, str(n), f"{size / 1e6:.1f}", KINDS[k][1]) for k, (n, size) in held.items()]
    table(("kind", "entries", "MB", "had again"), rows)


@command.command()
@click.option("--all", "everything", is_flag=True, help="Also the downloaded models.")
@options.as_json
@options.debug
def clear(everything: bool, as_json: bool) -> None:
    """Remove all but downloaded models. Other processes may go on.

    \b
    onnxlens cache clear
    """
    kinds = list(KINDS) if everything else list(MADE)
    freed = 0
    for kind in kinds:
        place = cache_folder() / kind
        before = _size(kind)
        shutil.rmtree(place, ignore_errors=True)
        left = _size(kind)
        freed += before - left
        if left:
            raise Unavailable(f"cannot remove all of {place}; {left / 1e6:.1f} MB are left")
    if as_json:
        emit({"folder": str(cache_folder()), "cleared": kinds, "bytes": freed})
    else:
        say(f"{cache_folder()}: {freed / 1e6:.1f} MB of {' and '.join(kinds)} removed")


def _entries(kind: str) -> int:
    return sum(1 for _ in (cache_folder() / kind).glob(KINDS[kind][0]))


def _size(kind: str) -> int:
    """The bytes of all files of a kind; others may remove some meanwhile."""
    size = 0
    for folder, _, files in os.walk(cache_folder() / kind):
        for name in files:
            with suppress(OSError):
                size += Path(folder, name).lstat().st_size
    return size
