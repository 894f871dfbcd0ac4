"""Rows as they come, written in shards."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from ...engine.errors import Unavailable

if TYPE_CHECKING:
    from ..maps.row import Row
    from .folder import RunFolder

OFTEN = 60.0  # seconds after which rows are written, however few: what a power cut may cost
Heard = Callable[[list["Row"]], object]  # the rows of a batch, as they come


def collect(
    folder: RunFolder, batches: Iterator[list[Row]], shard: int, fail_fast: bool, heard: Heard
) -> bool:
    """Take rows as they come and write them in shards; whether an image failed. What came is kept.

    Each batch is told to `heard`; with `fail_fast` the first one with an image that failed is the last.
    """
    held: list[Row] = []
    failed = False
    since = time.monotonic()
    with Behind(folder) as shards:
        try:
            for rows in batches:
                held += rows
                failed = failed or any(row["error"] for row in rows)
                heard(rows)
                if failed and fail_fast:
                    break
                if len(held) >= shard or time.monotonic() - since > OFTEN:
                    shards.add(held)
                    held, since = [], time.monotonic()
        except BaseException:
            with suppress(Unavailable):  # what ends the run may be that nothing can be written
                shards.add(held)
                shards.wait()
            raise
        shards.add(held)
        shards.wait()
    return failed


class Behind:
    """Rows on their way to the disk while the next ones are made: it takes long until their files are there.

    Of one shard at a time. What goes wrong with it is raised by the next call.
    """

    def __init__(self, folder: RunFolder):
        self._folder, self._pool = folder, ThreadPoolExecutor(1)
        self._last: Future[None] | None = None

    def __enter__(self) -> Behind:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def add(self, rows: list[Row]) -> None:
        """Write the rows of one shard, when the one before is written."""
        self.wait()
        self._last = self._pool.submit(self._folder.add, rows)

    def wait(self) -> None:
        """Until all rows are written. Raises what writing them did."""
        last, self._last = self._last, None
        if last:
            last.result()
