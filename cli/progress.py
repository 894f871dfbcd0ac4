"""How far a long run is: a line that changes on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .console import note

EVERY = 10.0  # seconds between lines where there is no terminal
Tell = Callable[[int, int], None]  # images that are done by now, and those of them that failed


@contextmanager
def live(count: int, quiet: bool = False) -> Iterator[Tell]:
    """The progress of a run over `count` images: rate, errors and time left."""
    start = time.monotonic()
    if quiet:
        yield lambda done, failed: None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        news = TextColumn("{task.fields[rate]:.3g}/s, {task.fields[failed]} failed,")
        columns = TextColumn("images"), BarColumn(), MofNCompleteColumn(), news, TimeRemainingColumn()
        console, apart = Console(stderr=True), sys.stdout.isatty()  # rows that go elsewhere stay there
        with Progress(
            *columns, TextColumn("left"), console=console, transient=True, redirect_stdout=apart
        ) as bar:
            task = bar.add_task("images", total=count, rate=0.0, failed=0)

            def show(done: int, failed: int) -> None:
                bar.update(task, completed=done, failed=failed, rate=done / (time.monotonic() - start))

            yield show
    else:
        last = start

        def tell(done: int, failed: int) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= EVERY:
                last = now
                note(line(done, count, failed, now - start))

        yield tell


def line(done: int, count: int, failed: int, seconds: float) -> str:
    """1,200 of 5,000 images, 3 failed, 410/s, 9 s left."""
    rate = done / max(seconds, 1e-9)
    bad = f", {failed:,} failed" if failed else ""
    left = f", {duration((count - done) / rate)} left" if done else ""
    return f"{done:,} of {count:,} images{bad}, {rate:.3g}/s{left}"


def duration(seconds: float) -> str:
    """Seconds for people: 9 s, 12 min, 3.5 h, 2.1 days."""
    for unit, size, most in (("s", 1, 120), ("min", 60, 120 * 60), ("h", 3600, 48 * 3600)):
        if seconds < most:
            return f"{seconds / size:.0f} {unit}" if unit != "h" else f"{seconds / size:.1f} {unit}"
    return f"{seconds / 86400:.1f} days"
