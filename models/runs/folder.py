"""The folder of a run, or its place in a store: whole whenever the process that writes it is killed.

manifest.json          what is run, with what; written first, and last with the counts
rows/part-00000.jsonl  rows; every file that they name was there before
pictures/  maps/       the tree of the photos once more

One process at a time holds a folder. A store has no lock: of two runs at once the one that began later has
the manifest; the other sees that before it writes more rows, and stops. What that one wrote in between, the
later one finds at its end: shards in a store are called after their run.
"""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...engine.errors import BadRequest, Unavailable
from ..storage.disk import UNFINISHED
from ..storage.files import files_at
from ..storage.folder import MANIFEST
from ..storage.shards import ENDINGS, Row, encoded, number_of, read_rows, read_shard, shards
from .manifest import differs, files_of, read_manifest

MADE = ("rows", "pictures", "maps")


class RunFolder:
    """A folder or an address that a run writes into, as a context.

    Raises BadRequest for an address that cannot be one of a run; on entering where another process runs
    there, where a run lies there that is neither to be resumed nor overwritten, and where the one to be
    resumed is of another `identity`; Unavailable where nothing can be written there. `add` and `end` raise
    Unavailable too where another run took over.
    """

    def __init__(
        self,
        place: Path | str,
        identity: dict[str, Any],
        resume: bool = False,
        overwrite: bool = False,
        kind: str = "jsonl",
    ):
        self.place, self.files = str(place), files_at(place, writing=True)
        self.identity, self.kind = identity, kind
        self.resume, self.overwrite = resume, overwrite
        self.done: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.mark = "" if self.files.locks else os.urandom(8).hex()  # of this run among those without a lock
        self._manifest: dict[str, Any] = {}
        self._kept: set[str] = set()  # shards of earlier runs
        self._shards: Iterator[int] | None = None

    def __enter__(self) -> RunFolder:
        self.files.lock(*MADE)
        try:
            self._take_over()
        except BaseException:
            self.files.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(Unavailable):
            self.files.remove(UNFINISHED)  # a lost machine may have left something
        self.files.close()

    def _take_over(self) -> None:
        """Look at what lies in the folder: leave it, go on with it, or clear it away."""
        earlier = self._earlier()
        self.files.begin(*(() if self.resume or not earlier else (*MADE, MANIFEST)))
        if not earlier or not self.resume:
            return
        if self.mark:  # from here on an earlier one that lives writes no more rows
            self.begin(earlier)
        self._keep(shards(self.files))

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

    def _keep(self, names: Iterable[str]) -> None:
        """Take the images of some shards as done, but for those that a file is missing of or another has."""
        there: Callable[[str], bool] | None = None
        for name in names:
            there = there or self.files.holding(*MADE[1:])
            rows = read_shard(self.files, name)
            kept = {row["path"] for row in rows} - self.done
            kept -= {row["path"] for row in rows if not all(map(there, files_of(row)))}
            if any(row["path"] not in kept for row in rows):
                rows = [row for row in rows if row["path"] in kept]
                if rows:
                    self.files.write(name, encoded(rows, name.rpartition(".")[2]), safely=True)
                else:
                    self.files.remove(name)
            self.done |= kept
            self._kept.add(name)
            self._count(rows)

    def begin(self, manifest: dict[str, Any]) -> None:
        """Write the manifest of a run that is not done, as the one that holds it from now on."""
        self._manifest = {
            **manifest,
            **({"writer": self.mark} if self.mark else {}),
            "identity": self.identity,
        }
        self._say("running")

    def end(self, state: str, **more: Any) -> None:
        """Write the manifest once more, with its counts, if this run still holds the folder."""
        self._check()
        if self.mark:  # of a run that had not seen yet that it is over
            late = [n for n in shards(self.files) if self.mark not in n and n not in self._kept]
            self._keep(late) if self.resume else self.files.remove(*late)
        self._say(state, counts=dict(self.counts), **more)

    def _say(self, state: str, **more: Any) -> None:
        record = {**self._manifest, "state": state, **more}
        self.files.write(MANIFEST, json.dumps(record, indent=2, allow_nan=False).encode(), safely=True)

    def add(self, rows: list[Row]) -> None:
        """Write rows as the next shard, when all files that they name are there."""
        if not rows:
            return
        self.files.settle()
        self._check()
        self.files.write(f"{self._next()}{ENDINGS[self.kind]}", encoded(rows, self.kind), safely=True)
        self._count(rows)
        if self.mark:  # what another run wrote of them counts no more
            self.done.update(row["path"] for row in rows)

    def _check(self) -> None:
        """Raise Unavailable where another run holds the manifest now."""
        if not self.mark:
            return
        try:
            writer = read_manifest(self.files).get("writer")
        except BadRequest:
            writer = None
        if writer != self.mark:
            raise Unavailable(f"another run has taken over {self.files}, and does the rest")

    def _next(self) -> str:
        """The name of the next shard, without its ending."""
        if self._shards is None:
            self._shards = itertools.count(max(map(number_of, shards(self.files)), default=-1) + 1)
        return f"rows/part-{next(self._shards):05}{'-' * bool(self.mark)}{self.mark}"

    def _count(self, rows: Iterable[Row]) -> None:
        rows = list(rows)
        self.counts["images"] += len({row["path"] for row in rows})
        self.counts["rows"] += len(rows)
        self.counts["errors"] += sum(row["error"] is not None for row in rows)
        self.counts["problems"] += sum(row["problem"] is not None for row in rows)
