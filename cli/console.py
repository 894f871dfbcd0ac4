"""What a person or a program reads: results on stdout, all else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from ..models.network.provenance import SCHEMA

NAME = "{task.description}"  # of a bar: as it is, brackets in a name are no markup


def printable(text: str) -> str:
    """Text without control characters: names come from files, and a terminal obeys what it is sent."""
    return "".join(c if c.isprintable() else "�" for c in text)


def counted(count: int, what: str) -> str:
    """A number of things: 1 image, 1,000 images."""
    return f"{count:,} {what}{'s' * (count != 1)}"


def say(text: str) -> None:
    """A line of results."""
    click.echo(printable(text))


def note(text: str) -> None:
    """A line about the run, for people."""
    click.echo(printable(text), err=True)


def emit(record: dict[str, Any]) -> None:
    """A result as one line of JSON, in ASCII: some control characters lie beyond it."""
    click.echo(json.dumps({"schema": SCHEMA, **record}, allow_nan=False))


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Rows under heads, in columns as wide as they need to be; never cut, also in a pipe."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 10_000)
    sheet = Table(*heads, box=None, pad_edge=False, header_style="bold", show_header=bool(heads))
    for row in rows:
        sheet.add_row(*(Text(printable(cell), no_wrap=False, overflow="fold") for cell in row))
    console.print(sheet)


@contextmanager
def download(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress callback (bytes done, bytes in all): a bar on a terminal, a line at each tenth elsewhere.

    Nothing is shown before it is called: a model that is here is not brought.
    """
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        columns = TextColumn(NAME, markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn()
        bar = Progress(*columns, console=Console(stderr=True))
        task = bar.add_task(printable(what), total=None)

        def show(done: int, size: int) -> None:
            bar.start()
            bar.update(task, completed=done, total=size)

        try:
            yield show
        finally:
            bar.stop()
        return
    told = -1

    def tell(done: int, size: int) -> None:
        nonlocal told
        tenth = 10 * done // max(size, 1)
        if tenth > told:
            told = tenth
            note(f"{what}: {10 * tenth} % of {size / 1e6:.1f} MB")

    yield tell


@contextmanager
def counting(what: str, quiet: bool = False) -> Iterator[Callable[..., None]]:
    """A progress callback (steps done, steps in all, and what there is to say): a bar on a terminal.

    Nothing elsewhere or if `quiet`.
    """
    if quiet or not sys.stderr.isatty():
        yield lambda done, count, news="": None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn(NAME, markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(printable(what), total=None)

        def tell(done: int, count: int, news: str = "") -> None:
            bar.update(task, completed=done, total=count, description=printable(f"{what} {news}".rstrip()))

        yield tell
