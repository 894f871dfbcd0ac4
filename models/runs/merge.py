"""Several runs as one."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...engine.errors import BadRequest, OnnxlensError
from ...engine.runtime.ahead import ahead
from ..storage.addresses import is_address
from ..storage.files import Files, files_at
from ..storage.shards import Row, read_rows
from ..storage.store import reading
from .folder import RunFolder
from .manifest import differs, files_of, read_manifest
from .run import Run, ended

SHARD = 10_000  # rows in a file


def merge(
    runs: Sequence[str | os.PathLike[str]],
    out: str | os.PathLike[str],
    *,
    rows: str = "jsonl",
    overwrite: bool = False,
) -> Run:
    """Join runs of one model with the same options over parts of the same photos.

    The rows come sorted by photo, and an image that stands in several runs is taken from the first.

    Parameters
    ----------
    runs
        Folders of runs, or their addresses in a store.
    out
        The folder or address of the joined run, none of these.
    rows
        Format of its rows: "jsonl" or "parquet".
    overwrite
        Replace the run in `out`.

    Returns
    -------
    Run
        What lies in `out` now.

    Raises
    ------
    BadRequest
        For what is no run, or one that was begun with other options than the first, and where `out` holds a
        run.
    OnnxlensError
        Where a file of a run is missing or damaged.

    Examples
    --------
    >>> parts = [
    ...     onnxlens.run("model.onnx", "photos", f"part-{i}", part=(i, 2), batch=1) for i in (1, 2)
    ... ]
    >>> onnxlens.merge([part.place for part in parts], "whole").images
    2
    """
    out = out if isinstance(out, str) else Path(out)
    parts = [files_at(run) for run in runs]
    if not parts:
        raise BadRequest("say which runs are joined")
    manifests = [read_manifest(part) for part in parts]
    words = (
        f"{parts[0]} with",
        "what is joined is runs over parts of one folder, of one model and its options",
    )
    for part, manifest in zip(parts[1:], manifests[1:], strict=True):
        differs(str(part), manifest["identity"], manifests[0]["identity"], words)
    if _whole(out) in map(_whole, runs):
        raise BadRequest(f"{out} is one of the runs; say another folder with -o")
    with RunFolder(out, manifests[0]["identity"], overwrite=overwrite, kind=rows) as joint:
        return ended(joint, _joined(joint, parts, manifests))


def _whole(place: str | os.PathLike[str]) -> str:
    is_there = isinstance(place, str) and is_address(place)
    return str(place).rstrip("/") if is_there else str(Path(place).resolve())


def _joined(folder: RunFolder, runs: Sequence[Files], manifests: Sequence[dict[str, Any]]) -> str:
    """Fill a run's folder with the rows and files of others, whose identities are the same; its state."""
    owners: dict[str, Files] = {}  # the run of each image; the rows are held once, at the end
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
            folder.files.write(name, data)
        folder.add(rows[start:end])
        start = end
    state = "done" if all(m.get("state") == "done" for m in manifests) else "interrupted"
    seconds = [m["seconds"] for m in manifests if "seconds" in m]
    folder.end(state, images=folder.counts["images"], seconds=sum(seconds))
    return state


def _file(of: tuple[Files, str]) -> bytes:
    run, name = of
    try:
        return run.read(name)
    except OSError as error:
        raise OnnxlensError(
            f"{run}/{name}: {error.strerror or error}; `onnxlens runs verify {run}` lists what is missing"
        ) from error
