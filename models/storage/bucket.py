"""Objects at an address, by their names below it: what a store can promise that has no lock and no rename.

An object is there as a whole or not at all; other stores than CLOUDS get it under another name first.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Semaphore
from typing import Any

from ...engine.errors import BadRequest, Unavailable
from .addresses import CLOUDS, fetched, opened, said
from .disk import UNFINISHED

WRITERS, AHEAD = 16, 256  # objects on their way at once, and those that may wait for that


class Bucket:
    """A place in a store that fsspec knows, `path` in its words, with what a Disk has.

    Raises Unavailable where the store cannot be reached or refuses.
    """

    locks = False

    def __init__(self, address: str):
        self.address = address.rstrip("/")
        self.store, path = opened(address)
        self.path: str = path.rstrip("/")
        self._sent = Sending()
        self._numbers, self._mark = itertools.count(), os.urandom(8).hex()

    def __str__(self) -> str:
        return self.address

    def read(self, name: str) -> bytes:
        """A file's bytes. Raises as `Disk.read` does."""
        return self._asked("read", name, lambda path: fetched(self.store, path))

    def size(self, name: str) -> int | None:
        """A file's size in bytes; None where there is none."""
        try:
            return self._asked("read", name, self._info)["size"]
        except FileNotFoundError:
            return None

    def names(self, *folders: str) -> list[str]:
        """The names of all files in some folders and below, sorted."""
        found = [f for folder in folders for f in self._asked("list", folder, self._found)]
        names = (str(f).removeprefix(f"{self.path}/") for f in found)
        return sorted(n for n in names if not n.endswith("/"))  # which some programs write for a folder

    def holding(self, *folders: str) -> Callable[[str], bool]:
        """As `Disk.holding`: by one list in place of a question for each of millions."""
        return set(self.names(*folders)).__contains__

    def lock(self, *folders: str) -> None:
        """Nothing: others may write here too."""

    def begin(self, *stale: str) -> None:
        """Clear away what is unfinished, and the files and folders `stale`."""
        self.remove(UNFINISHED, *stale)

    def write(self, name: str, data: bytes, safely: bool = False) -> None:
        """Write an object; any thread may. If not `safely`, it is there after `settle`.

        Raises Unavailable where that fails, and where an earlier one did.
        """
        put = lambda: self._asked("write", name, lambda path: self._put(path, data))
        if safely:
            self._sent.check()
            put()
        else:
            self._sent.add(put)

    def settle(self) -> None:
        """Wait until all objects are there. Raises Unavailable where one was refused, now or before."""
        self._sent.settle()

    def remove(self, *names: str) -> None:
        """Delete files, and folders with all that is in them."""
        for name in names:
            self._asked("write", name, self._clear)

    def close(self) -> None:
        """Give up what is not on its way yet."""
        self._sent.close()

    def _info(self, path: str) -> dict[str, Any]:
        self.store.invalidate_cache()  # others write there too
        return self.store.info(path)

    def _found(self, path: str) -> list[str]:
        self.store.invalidate_cache()
        return self.store.find(path)

    def _put(self, path: str, data: bytes) -> None:
        store, kinds = self.store, self.store.protocol
        if not CLOUDS.isdisjoint([kinds] if isinstance(kinds, str) else kinds):
            store.pipe_file(path, data)
            return
        other = f"{self.path}/{UNFINISHED}/{self._mark}-{next(self._numbers)}"
        for place in (path, other):
            store.makedirs(place.rpartition("/")[0], exist_ok=True)
        try:
            store.pipe_file(other, data)
            store.mv(other, path)
        except BaseException:
            self._clear(other)
            raise

    def _clear(self, path: str) -> None:
        for is_gone in (False, True):
            self.store.invalidate_cache()
            if not self.store.exists(path):
                return
            if is_gone:  # not all stores say so where an object must not be deleted
                raise PermissionError("it cannot be deleted")
            self.store.rm(path, recursive=True)

    def _asked(self, what: str, name: str, ask: Callable[[str], Any]) -> Any:
        """What `ask` gives for a name's path in the store. Its errors, each store has its own, become ours;
        FileNotFoundError stays what it is where something is read.
        """
        if ".." in name.split("/"):
            raise BadRequest(f"{name} leads out of {self}")
        try:
            return ask(f"{self.path}/{name}")
        except Exception as error:
            if isinstance(error, FileNotFoundError) and what == "read":
                raise
            raise Unavailable(f"cannot {what} {self}/{name}: {said(error)}") from error


class Sending:
    """Objects on their way to a store, several at once: a request is mostly waiting.

    The first error of one is raised by all that is asked after it: a row that names that object may be among
    those not written yet.
    """

    def __init__(self):
        self._pool = ThreadPoolExecutor(WRITERS)
        self._waiting: deque[Future[None]] = deque()
        self._room = Semaphore(AHEAD)
        self._refusal: BaseException | None = None

    def check(self) -> None:
        """Raise the error of one that was refused."""
        if self._refusal:
            raise self._refusal

    def add(self, put: Callable[[], None]) -> None:
        """Have one sent, when there is room for it."""
        self.check()
        self._room.acquire()
        sent = self._pool.submit(put)
        self._waiting.append(sent)
        sent.add_done_callback(self._answered)

    def settle(self) -> None:
        """Wait until all are there. Raises as `check`."""
        while self._waiting:
            wait([self._waiting.popleft()])
        self.check()

    def close(self) -> None:
        """Give up what is not on its way yet."""
        self._pool.shutdown(cancel_futures=True)

    def _answered(self, sent: Future[None]) -> None:
        self._room.release()
        if not sent.cancelled() and (error := sent.exception()):
            self._refusal = self._refusal or error
