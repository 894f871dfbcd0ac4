"""Several runs as one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ....engine.errors import OnnxlensError
from ....engine.runtime.ahead import ahead
from ....models.storage.files import Bucket, Disk
from ....models.storage.shards import Row, read_rows
from ....models.storage.store import reading
from .runfolder import RunFolder
from .runrecord import files_of

SHARD = 10_000  # rows in a file


def joined(folder: RunFolder, runs: Sequence[Disk | Bucket], manifests: Sequence[dict[str, Any]]) -> None:
    """Fill a run's folder with the rows and files of others, whose identities are the same."""
    owners: dict[str, Disk | Bucket] = {}  # the run of each image; the rows are held once, at the end
    rows: list[Row] = []
    for run in runs:
        for row in read_rows(run):
            if owners.setdefault(row["path"], run) is run:
                rows.append(row)
    rows.sort(key=lambda row: os.fsencode(row["path"]))  # stable: methods and targets stay in their order
    folder.begin(
        {k: v for k, v in manifests[0].items() if k not in ("identity", "state", "counts", "writer")}
    )
    start, waiting = 0, max(reading(str(run)) for run in runs)
    while start < len(rows):
        end = min(start + SHARD, len(rows))
        while end < len(rows) and rows[end]["path"] == rows[end - 1]["path"]:
            end += 1
        files = [(owners[row["path"]], name) for row in rows[start:end] for name in files_of(row)]
        for (_, name), data in zip(files, ahead(_file, files, waiting), strict=True):
            folder.write(name, data)
        folder.add(rows[start:end])
        start = end
    whole = all(m.get("state") == "done" for m in manifests)
    seconds = [m["seconds"] for m in manifests if "seconds" in m]
    folder.end("done" if whole else "interrupted", images=folder.counts["images"], seconds=sum(seconds))


def _file(of: tuple[Disk | Bucket, str]) -> bytes:
    run, name = of
    try:
        return run.read(name)
    except OSError as error:
        raise OnnxlensError(
            f"{run}/{name}: {error.strerror or error}; `onnxlens runs verify {run}` lists what is missing"
        ) from error
