"""The folder of a run: held by one process at a time, and whole whenever that one is killed.

A run in a store, see runstore.py, is one with another way to write and without the lock.

manifest.json          what is run, with what; written first, and last with the counts
rows/part-00000.jsonl  rows; every file that they name was on the disk before
pictures/  maps/       the tree of the photos once more
.unfinished/           what is being written; nothing that counts is ever in there
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ....engine.errors import BadRequest, Unavailable
from ....models.storage.files import Bucket, Disk, files_at, within
from ....models.storage.shards import ENDINGS, Row, encoded, number_of, read_rows, read_shard, shards
from ...folder import MANIFEST, check_writable
from .lock import lock
from .runrecord import differs, files_of, read_manifest

UNFINISHED = ".unfinished"
MADE = ("rows", "pictures", "maps")


def run_at(place: Path | str, *about: Any, **more: Any) -> RunFolder:
    """The run in a folder or at an address; the rest is that of a RunFolder."""
    files = files_at(place)
    if isinstance(files, Disk):
        return RunFolder(files, *about, **more)
    from .runstore import RunStore

    return RunStore(files, *about, **more)


class RunFolder:
    """A folder that a run writes into, as a context.

    Raises BadRequest on entering where another process runs there, where a run lies there that is neither
    to be resumed nor overwritten, and where the one to be resumed is of another `identity`; Unavailable
    where the folder cannot be written.
    """

    def __init__(
        self,
        files: Disk | Bucket,
        identity: dict[str, Any],
        resume: bool = False,
        overwrite: bool = False,
        kind: str = "jsonl",
    ):
        self.files, self.identity, self.kind = files, identity, kind
        self.resume, self.overwrite = resume, overwrite
        self.path = Path(str(files))
        self.done: set[str] = set()
        self.counts: Counter[str] = Counter()
        self._manifest: dict[str, Any] = {}
        self._folders: set[str] = set()
        self._shards: Iterator[int] | None = None
        self._numbers, self._mark = itertools.count(), os.urandom(8).hex()  # other machines may write too

    def __enter__(self) -> RunFolder:
        self._hold()
        try:
            self._take_over()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(Unavailable):
            self._remove(UNFINISHED)  # a lost machine may have left something
        self._release()

    def _hold(self) -> None:
        check_writable(self.path)
        with _said(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        for name in MADE:
            within(self.path, name)
        self._lock = lock(self.path)

    def _release(self) -> None:
        self._lock.release()

    def _take_over(self) -> None:
        """Look at what lies in the folder: leave it, go on with it, or clear it away."""
        earlier = self._earlier()
        self._remove(UNFINISHED, *(() if self.resume or not earlier else (*MADE, MANIFEST)))
        self._begun(earlier)
        if earlier and self.resume:
            for name in shards(self.files):
                self._keep(name)

    def _begun(self, earlier: dict[str, Any]) -> None:
        with _said(self.path):
            (self.path / UNFINISHED).mkdir()

    def _remove(self, *names: str) -> None:
        for path in (self.path / name for name in names):
            if path.is_file():
                path.unlink()
            else:
                shutil.rmtree(path, ignore_errors=True)

    def _earlier(self) -> dict[str, Any]:
        """The manifest of a run that this one may go on with or replace; empty where there is none."""
        if self.files.size(MANIFEST) is None:
            if self.files.names(*MADE):
                raise BadRequest(
                    f"{self.files} holds files, but no {MANIFEST} of a run; say another folder with -o"
                )
            return {}
        manifest = read_manifest(self.files)
        if self.resume:
            differs(str(self.files), manifest["identity"], self.identity)
        elif not self.overwrite:
            raise BadRequest(
                f"{self.files} holds an earlier run; say --resume to go on with it, --overwrite to replace "
                "it, or another folder with -o"
            )
        return manifest

    def finished(self) -> set[str]:
        """The images that an earlier run has rows of, which this one would go on with; nothing is written.

        Raises BadRequest where entering would, but for a run that is going on.
        """
        earlier = self._earlier()
        return {row["path"] for row in read_rows(self.files)} if earlier and self.resume else set()

    def _keep(self, name: str) -> None:
        """Take a shard's images as done, but for those that a file is missing of or another shard has."""
        rows = read_shard(self.files, name)
        kept = {row["path"] for row in rows} - self.done
        kept -= {row["path"] for row in rows if not all(self._there(f) for f in files_of(row))}
        if any(row["path"] not in kept for row in rows):
            rows = [row for row in rows if row["path"] in kept]
            if rows:
                self.write(name, encoded(rows, name.rpartition(".")[2]), safely=True)
            else:
                self._remove(name)
        self.done |= kept
        self._count(rows)

    def _there(self, name: str) -> bool:
        return bool(self.files.size(name))

    def begin(self, manifest: dict[str, Any]) -> None:
        """Write the manifest of a run that is not done."""
        self._manifest = {**manifest, "identity": self.identity}
        self._say("running")

    def end(self, state: str, **more: Any) -> None:
        """Write the manifest once more, with its counts."""
        self._say(state, counts=dict(self.counts), **more)

    def _say(self, state: str, **more: Any) -> None:
        record = {**self._manifest, "state": state, **more}
        self.write(MANIFEST, json.dumps(record, indent=2, allow_nan=False).encode(), safely=True)

    def write(self, name: str, data: bytes, safely: bool = False) -> None:
        """Write a file of the run, whole or not at all; any thread may. `safely`: it is on the disk then.

        Raises Unavailable where that fails. Names are plain text here: there are millions of them.
        """
        folder = name.rpartition("/")[0]
        unfinished = f"{self.path}/{UNFINISHED}/{self._mark}-{next(self._numbers)}"
        with _said(f"{self.path}/{name}"):
            if folder not in self._folders:
                (self.path / folder).mkdir(parents=True, exist_ok=True)
                self._folders.add(folder)
            try:
                with open(unfinished, "wb", buffering=0) as file:  # noqa: PTH123
                    rest = memoryview(data)
                    while rest:
                        rest = rest[file.write(rest) :]
                    if safely:
                        os.fsync(file.fileno())
                os.replace(unfinished, f"{self.path}/{name}")  # noqa: PTH105
            except BaseException:
                Path(unfinished).unlink(missing_ok=True)
                raise
        if safely and os.name == "posix":
            _sync_folder(self.path / folder)

    def add(self, rows: list[Row]) -> None:
        """Write rows as the next shard, when all files that they name are on the disk."""
        if not rows:
            return
        self.settle()
        self.write(f"{self._next()}{ENDINGS[self.kind]}", encoded(rows, self.kind), safely=True)
        self._count(rows)

    def settle(self) -> None:
        """Wait until all files that were written are safe. Raises Unavailable where one is not."""
        if hasattr(os, "sync"):
            os.sync()  # once for all of them: thousands of files, and each would wait for the disk

    def _next(self) -> str:
        """The name of the next shard, without its ending."""
        if self._shards is None:
            self._shards = itertools.count(max(map(number_of, shards(self.files)), default=-1) + 1)
        return f"rows/part-{next(self._shards):05}"

    def _count(self, rows: Iterable[Row]) -> None:
        rows = list(rows)
        self.counts["images"] += len({row["path"] for row in rows})
        self.counts["rows"] += len(rows)
        self.counts["errors"] += sum(row["error"] is not None for row in rows)
        self.counts["problems"] += sum(row["problem"] is not None for row in rows)


class _said:  # noqa: N801 (a function that is a context)
    """Turns an OSError into one line that says what cannot be written."""

    def __init__(self, path: Path | str):
        self.path = path

    def __enter__(self) -> None: ...

    def __exit__(self, _: Any, error: Any, __: Any) -> None:
        if isinstance(error, OSError):
            raise Unavailable(f"cannot write {self.path}: {error.strerror or error}") from error


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
