"""Rows as they come, written in shards and said."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from ....engine.errors import Unavailable
from ...console import emit, note

if TYPE_CHECKING:
    from ....models.maps.row import Row
    from ...progress import Tell
    from .plan import Plan
    from .runfolder import RunFolder

OFTEN = 60.0  # seconds after which rows are written, however few: what a power cut may cost
NAMED = 20  # images that failed, at most, whose errors are said


def collect(folder: RunFolder, plan: Plan, batches: Iterator[list[Row]], tell: Tell) -> int:
    """Take rows as they come and write them in shards; how many images failed. What came is kept."""
    held: list[Row] = []
    done = failed = 0
    since = time.monotonic()
    with Behind(folder) as shards:
        try:
            for rows in batches:
                held += rows
                done += len({row["path"] for row in rows})
                bad = [row for row in rows if row["error"]]
                failed += len(bad)
                for row in bad[: max(0, NAMED - failed + len(bad))]:
                    note(f"{row['path']}: {row['error']}")
                tell(done, failed)
                if plan.as_json:
                    for row in rows:
                        emit(row)
                if bad and plan.fail_fast:
                    break
                if len(held) >= plan.shard or time.monotonic() - since > OFTEN:
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
