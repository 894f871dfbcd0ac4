"""A run at an address: what a store that has neither a lock nor a way to rename can promise of it.

An object is there as a whole or not at all, and rows come after all files that they name. Of two runs at
once the one that began later has the manifest; the other sees that before it writes more rows, and stops.
What that one wrote in between, the later one finds at its end: shards are called after their run.
"""

from __future__ import annotations

import glob
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Semaphore
from typing import Any

from ....engine.errors import BadRequest, Unavailable
from ....models.storage.addresses import CLOUDS
from ....models.storage.files import Bucket
from ....models.storage.shards import Row, shards
from .runfolder import MADE, UNFINISHED, RunFolder
from .runrecord import read_manifest

WRITERS, AHEAD = 16, 256  # objects on their way at once, and those that may wait for that


class RunStore(RunFolder):
    """A RunFolder at an address. `add` and `end` raise Unavailable too where another run took over."""

    files: Bucket

    def __init__(self, *about: Any, **more: Any):
        super().__init__(*about, **more)
        if glob.has_magic(self.files.path):  # what is to be deleted would be taken for a pattern
            raise BadRequest(f"{self.files}: the address of a run has no *, ? or [; say another one with -o")
        self._known: set[str] | None = None
        self._seen: set[str] = set()  # shards that are not ours
        self._pool = ThreadPoolExecutor(WRITERS)  # a request is mostly waiting
        self._waiting: deque[Future[None]] = deque()
        self._room = Semaphore(AHEAD)
        self._refusal: BaseException | None = None

    def _hold(self) -> None: ...

    def _release(self) -> None:
        self._pool.shutdown(cancel_futures=True)

    def _remove(self, *names: str) -> None:
        for name in names:
            self.files.asked("write", name, self._clear)

    def _begun(self, earlier: dict[str, Any]) -> None:
        if earlier and self.resume:  # from here on an earlier one that lives writes no more rows
            self.begin(earlier)

    def _keep(self, name: str) -> None:
        self._seen.add(name)
        super()._keep(name)

    def _there(self, name: str) -> bool:
        if self._known is None:  # one list in place of a question for each of millions
            self._known = set(self.files.names(*MADE[1:]))
        return name in self._known

    def begin(self, manifest: dict[str, Any]) -> None:
        """Write the manifest of a run that is not done, as the one that holds it from now on."""
        super().begin({**manifest, "writer": self._mark})

    def end(self, state: str, **more: Any) -> None:
        """Write the manifest once more, with its counts, if this run still holds it."""
        self._check()
        for name in shards(self.files):
            # Of a run that had not seen yet that it is over.
            if self._mark not in name and name not in self._seen:
                self._known = None
                self._keep(name) if self.resume else self._remove(name)
        super().end(state, **more)

    def write(self, name: str, data: bytes, safely: bool = False) -> None:
        """Write an object; any thread may. If not `safely`, it is there after `settle`.

        Raises Unavailable where that fails, and where an earlier one did.
        """
        if self._refusal:
            raise self._refusal
        if safely:
            self._put(name, data)
            return
        self._room.acquire()
        sent = self._pool.submit(self._put, name, data)
        self._waiting.append(sent)
        sent.add_done_callback(self._answered)

    def settle(self) -> None:
        """Wait until all objects are there. Raises Unavailable where one was refused, now or before."""
        while self._waiting:
            wait([self._waiting.popleft()])
        if self._refusal:  # a row that names that object may be among those not written yet
            raise self._refusal

    def _answered(self, sent: Future[None]) -> None:
        self._room.release()
        if not sent.cancelled() and (error := sent.exception()):
            self._refusal = self._refusal or error

    def add(self, rows: list[Row]) -> None:
        """Write rows as the next shard, which has a name that no other run gives."""
        if rows:
            self.settle()
            self._check()
            super().add(rows)
            self.done.update(row["path"] for row in rows)

    def _next(self) -> str:
        return f"{super()._next()}-{self._mark}"

    def _put(self, name: str, data: bytes) -> None:
        self.files.asked("write", name, lambda path: self._sent(path, data))

    def _sent(self, path: str, data: bytes) -> None:
        store, kinds = self.files.store, self.files.store.protocol
        if not CLOUDS.isdisjoint([kinds] if isinstance(kinds, str) else kinds):
            store.pipe_file(path, data)
            return
        other = f"{self.files.path}/{UNFINISHED}/{self._mark}-{next(self._numbers)}"
        for place in (path, other):
            store.makedirs(place.rpartition("/")[0], exist_ok=True)
        try:
            store.pipe_file(other, data)
            store.mv(other, path)
        except BaseException:
            self._clear(other)
            raise

    def _clear(self, path: str) -> None:
        store = self.files.store
        for is_gone in (False, True):
            store.invalidate_cache()
            if not store.exists(path):
                return
            if is_gone:  # not all stores say so where an object must not be deleted
                raise PermissionError("it cannot be deleted")
            store.rm(path, recursive=True)

    def _check(self) -> None:
        """Raise Unavailable where another run holds the manifest now."""
        try:
            writer = read_manifest(self.files).get("writer")
        except BadRequest:
            writer = None
        if writer != self._mark:
            raise Unavailable(f"another run has taken over {self.files}, and does the rest")
